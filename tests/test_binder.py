"""Binder: what `binder/` says, as repo2docker reads it, without building an image. `.ci/run` builds
the same environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
pytestmark = pytest.mark.once
TOOL = Path(sys.executable).with_name("jupyter-repo2docker")


@pytest.mark.skipif(not TOOL.exists(), reason="jupyter-repo2docker is not installed")
def test_dockerfile(tmp_path: Path) -> None:
    """repo2docker takes `binder/`: the Python asked for, the whole repository before pip, then
    postBuild."""
    copy = tmp_path / "repo"
    kept = ("binder", "labauth_nb", "notebooks", "pyproject.toml", "README.md", "LICENSE")
    for name in kept:
        source = REPO / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy)
    command = [
        str(TOOL),
        "--no-build",
        "--debug",
        "--user-id",
        "1000",
        "--user-name",
        "jovyan",
        str(copy),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said[-2000:]
    assert "Building conda environment for python=3.13" in said
    steps = [
        "COPY --chown=1000:1000 src/ ",
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "RUN ./binder/postBuild",
    ]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


def test_one_folder() -> None:
    """There is `binder/` only: a `.binder/` beside it, or a second list of packages, would win
    unseen."""
    assert not (REPO / ".binder").exists()
    assert sorted(p.name for p in (REPO / "binder").iterdir()) == [
        "postBuild",
        "requirements.txt",
        "runtime.txt",
    ]
    assert os.access(REPO / "binder" / "postBuild", os.X_OK)


def test_post_build_opens_the_quickstart(tmp_path: Path) -> None:
    """PostBuild sets the page that one click opens, in the environment whose Python runs it."""
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "print(\'{tmp_path}\')"\n'
    )
    (tmp_path / "python").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([str(REPO / "binder" / "postBuild")], env=env, check=True, timeout=30)
    settings = json.loads(
        (tmp_path / "etc/jupyter/jupyter_server_config.d/labauth.json").read_text()
    )
    page = settings["ServerApp"]["default_url"]
    assert (REPO / page.removeprefix("/lab/tree/")).exists()
    assert settings["LabApp"]["default_url"] == page
