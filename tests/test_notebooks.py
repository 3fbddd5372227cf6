"""The notebooks: strict under nbval, and the guards for what nbval does not see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbFile, coalesce_streams

from labauth_nb.masking import MASK, scrub_code
from labauth_nb.providers import SECRET_FIELDS

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
TAGS = {"raises-exception"}


def differing(session: pytest.Session, path: Path, other: Path) -> list[int]:
    """The code cells of `path`, by number, whose saved outputs nbval does not find in `other`."""
    ran = [cell for cell in nbformat.read(other, as_version=4).cells if cell.cell_type == "code"]
    cells = list(IPyNbFile.from_parent(session, path=path).collect())
    assert len(cells) == len(ran)
    return [
        number
        for number, (cell, again) in enumerate(zip(cells, ran, strict=True))
        if not cell.compare_outputs(
            coalesce_streams(again.outputs), coalesce_streams(cell.cell.outputs)
        )
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_guard(path: Path) -> None:
    """Nbval compares every code cell (a null execution count would turn that off), and no tag hides
    one."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        assert isinstance(cell.execution_count, int), f"cell {number} was not run"
        assert set(cell.metadata.get("tags", [])) <= TAGS
        assert len(cell.source.splitlines()) <= 12
        assert not re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source.upper())
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_clean(path: Path) -> None:
    """No saved cell holds a secret of the sandbox, an absolute path, an address, or what looks like
    a secret."""
    from labauth_nb.sandbox.lab import SITES

    text = path.read_text("utf-8")
    for site in SITES.values():
        for name, value in vars(sys.modules[site.__module__]).items():
            if name in ("CLIENT_SECRET", "API_KEY", "API_TOKEN", "JOB_TOKEN", "PASSWORD"):
                assert value not in text
    for cell in nbformat.read(path, as_version=4).cells:
        assert MASK not in scrub_code(cell.source, SECRET_FIELDS)
    assert not re.search(r"(/(home|root|Users|tmp)/|127\.0\.0\.1:\d|0x[0-9a-f]{8})", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_reader_stays_signed_in(path: Path) -> None:
    """After Run All the reader's sign-ins are as their cells show: log out is of a sign-in made for
    the lesson, by a name of its own, and no cell takes the sandbox's tokens away."""
    cells = nbformat.read(path, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    out = re.findall(r"%labauth logout ?(\S*)|logout\(\"?([^)\"]*)", source)
    named = re.findall(r"--as (\S+)|name=[\"'](\S+?)[\"']", source)
    assert {one or other for one, other in out} <= {one or other for one, other in named}
    assert "sandbox.reset(" not in source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_mutation(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Nbval holds an output that is not as saved against exactly the cell it is of."""
    notebook = nbformat.read(path, as_version=4)
    again = tmp_path / path.name
    changed = []
    for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        for output in cell.outputs[-1:]:
            changed.append(number)
            if "text" in output:
                output["text"] += "mutant"
            elif "data" in output:
                output["data"]["text/plain"] += "mutant"
            else:
                output["evalue"] += "mutant"
    nbformat.write(notebook, again)
    assert len(changed) > 3
    assert differing(request.session, path, again) == changed
    assert differing(request.session, path, path) == []


def midnight(seconds: float) -> str:
    """A time zone where the local day ends in `seconds`; its offset has odd minutes and seconds
    too."""
    left = (
        datetime(2000, 1, 2) - datetime.now(UTC).replace(year=2000, month=1, day=1, tzinfo=None)
    ).seconds
    ahead = int(left - seconds) % 86400
    return f"MID-{ahead // 3600}:{ahead // 60 % 60:02}:{ahead % 60:02}"


NBCONVERT = "nbconvert --log-level ERROR --to notebook --execute --output done.ipynb --output-dir"
PAPERMILL = "papermill --no-progress-bar --log-level ERROR -k python3"


@pytest.mark.executed
@pytest.mark.timeout(420)  # its own limit is 300 s
@pytest.mark.parametrize(
    ("number", "path"), [*enumerate(NOTEBOOKS)], ids=[p.stem for p in NOTEBOOKS]
)
def test_unattended(
    number: int, path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nbconvert or papermill (in turn) runs the notebook to its end while the local day ends, and
    nbval finds what is saved.

    Only cells that are to fail do. (papermill's exit code counts those too.)
    """
    done = tmp_path / "done.ipynb"
    folder, papers = (
        [*NBCONVERT.split(), str(tmp_path), str(path)],
        [
            *PAPERMILL.split(),
            str(path),
            str(done),
        ],
    )
    ran = subprocess.run(
        [sys.executable, "-m", *(papers if number % 2 else folder)],
        cwd=tmp_path,
        env={**os.environ, "TZ": midnight(8)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.exists(), ran.stderr[-3000:]
    for cell in nbformat.read(done, as_version=4).cells:
        if cell.cell_type == "code":
            failed = any(output.output_type == "error" for output in cell.outputs)
            assert cell.execution_count is not None, cell.source
            assert failed == ("raises-exception" in cell.metadata.get("tags", [])), cell.source
    assert differing(request.session, path, done) == []
