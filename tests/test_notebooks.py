"""The notebooks: strict under nbval, and the guards for what nbval does not see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labauth_nb.masking import MASK, scrub_code
from labauth_nb.providers import SECRET_FIELDS

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
TAGS = {"raises-exception"}


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """A strict run of nbval on `path`, in a pytest of its own."""
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
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=path.parent)


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
        assert "NBVAL" not in cell.source.upper()
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_clean(path: Path) -> None:
    """No saved cell holds a secret of the sandbox, an absolute path, an address, or what looks like a secret."""
    from labauth_nb.sandbox import benchling, dnanexus, foundry, qbench

    text = path.read_text("utf-8")
    for site in (benchling, qbench, foundry, dnanexus):
        for name, value in vars(site).items():
            if name in ("CLIENT_SECRET", "API_KEY", "API_TOKEN", "JOB_TOKEN", "PASSWORD"):
                assert value not in text
    for cell in nbformat.read(path, as_version=4).cells:
        assert MASK not in scrub_code(cell.source, SECRET_FIELDS)
    assert not re.search(r"(/(home|root|Users|tmp)/|127\.0\.0\.1:\d|0x[0-9a-f]{8})", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_mutation(path: Path, tmp_path: Path) -> None:
    """nbval passes the notebook once more, and fails it in exactly the cells whose saved output is changed."""
    again = tmp_path / path.name
    again.write_text(path.read_text("utf-8"), "utf-8")
    assert nbval(again).returncode == 0
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
