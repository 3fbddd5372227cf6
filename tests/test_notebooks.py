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

from labauth_nb.masking import MASK, scrub_code
from labauth_nb.providers import SECRET_FIELDS

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
TAGS = {"raises-exception"}


def nbval(*paths: Path, zone: str = "UTC") -> subprocess.CompletedProcess[str]:
    """A strict run of nbval on `paths`, in a pytest of its own, in the time zone `zone`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        *map(str, paths),
    ]
    env = {**os.environ, "TZ": zone}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=paths[0].parent, env=env)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_guard(path: Path) -> None:
    """nbval compares every code cell (a null execution count would turn that off), and no tag hides one."""
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
    """No saved cell holds a secret of the sandbox, an absolute path, an address, or what looks like a secret."""
    from labauth_nb.sandbox import benchling, dnanexus, foundry, identity, qbench

    text = path.read_text("utf-8")
    for site in (benchling, qbench, foundry, dnanexus, identity):
        for name, value in vars(site).items():
            if name in ("CLIENT_SECRET", "API_KEY", "API_TOKEN", "JOB_TOKEN", "PASSWORD"):
                assert value not in text
    for cell in nbformat.read(path, as_version=4).cells:
        assert MASK not in scrub_code(cell.source, SECRET_FIELDS)
    assert not re.search(r"(/(home|root|Users|tmp)/|127\.0\.0\.1:\d|0x[0-9a-f]{8})", text)


@pytest.mark.executed
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_mutation(path: Path, tmp_path: Path) -> None:
    """nbval passes the notebook once more, in another time zone, and fails it in exactly the cells whose output is changed."""
    again = tmp_path / path.name
    again.write_text(path.read_text("utf-8"), "utf-8")
    first = nbval(again, zone="Asia/Kolkata")
    assert first.returncode == 0, first.stdout[-3000:]
    notebook = nbformat.read(path, as_version=4)
    changed = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", [])[-1:]:
            changed += 1
            if "text" in output:
                output["text"] += "mutant"
            elif "data" in output:
                output["data"]["text/plain"] += "mutant"
            else:
                output["evalue"] += "mutant"
    nbformat.write(notebook, again)
    ran = nbval(again)
    assert changed > 3
    assert re.search(rf"\b{changed} failed", ran.stdout), ran.stdout[-2000:]


@pytest.mark.executed
def test_midnight() -> None:
    """All notebooks pass while the local day ends: in a time zone where that is 30 seconds from now."""
    ahead = (datetime(2000, 1, 1, 23, 59, 30) - datetime.now(UTC).replace(year=2000, month=1, day=1, tzinfo=None)).seconds
    hours, minutes, seconds = ahead // 3600, ahead // 60 % 60, ahead % 60
    ran = nbval(*NOTEBOOKS, zone=f"MID-{hours}:{minutes:02}:{seconds:02}")
    assert ran.returncode == 0, ran.stdout[-3000:]


def failures(path: Path) -> list[str]:
    """The cells of an executed notebook that were not run, or failed without the tag that allows it."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        failed = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        allowed = "raises-exception" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and (cell.execution_count is None or bool(failed) != allowed):
            found.append(cell.source)
    return found


@pytest.mark.executed
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_by_nbconvert(path: Path, tmp_path: Path) -> None:
    """`jupyter nbconvert --execute` runs the notebook, and only the cells that are to fail do."""
    command = "-m nbconvert --log-level ERROR --to notebook --execute --output done.ipynb"
    arguments = [sys.executable, *command.split(), "--output-dir", str(tmp_path), str(path)]
    ran = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert failures(tmp_path / "done.ipynb") == []


@pytest.mark.executed
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_by_papermill(path: Path, tmp_path: Path) -> None:
    """papermill runs the notebook to its end, and only the cells that are to fail do (its own exit code counts those too)."""
    command = "-m papermill --no-progress-bar --log-level ERROR -k python3"
    arguments = [sys.executable, *command.split(), str(path), "done.ipynb"]
    subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert failures(tmp_path / "done.ipynb") == []
