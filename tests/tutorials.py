"""Runs tutorials and saves them: outputs, and nothing that a machine or a day made.

`python tests/tutorials.py notebooks/qbench.ipynb` ...
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

VIEW = "application/vnd.jupyter.widget-view+json"


def save(path: Path) -> None:
    """Run every cell of `path` in an empty folder; keep its outputs without widgets."""
    notebook = nbformat.read(path, as_version=4)
    kept = notebook.metadata.copy()
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, record_timing=False, resources=where).execute()
    notebook.metadata = kept
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
            output.get("metadata", {}).clear()
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        save(Path(name))
