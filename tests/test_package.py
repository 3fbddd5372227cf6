"""What is installed: the wheel works in an empty environment, and neither it nor the source
distribution has strays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
# an environment is made, and packages are fetched
pytestmark = [pytest.mark.once, pytest.mark.timeout(1200)]
SMOKE = """
import pathlib, sys
import labauth_nb
from labauth_nb.notebook import widget
from labauth_nb.sandbox import running
assert pathlib.Path(labauth_nb.__file__).is_relative_to(sys.prefix), labauth_nb.__file__
assert "export default" in widget.Widget._esm
assert "export function attach" in widget.CODE["js"] and ".labauth" in widget.CODE["css"]
for name, method, path in (
    ("benchling", "app", "plates"), ("qbench", None, "orders"), ("foundry", None, "ontologies")
):
    labauth_nb.login(name, method, tenant="sandbox")
    assert labauth_nb.session(name).get(path).ok
attempt = labauth_nb.begin("benchling", "oidc", tenant="sandbox")
print(attempt.answer(running().visit(attempt.url)))
"""


EXTENSION = "share/jupyter/labextensions/labauth-nb"
SERVED = ["package.json", *(f"static/{x}" for x in ("panel.css", "panel.js", "remoteEntry.js"))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the wheel, the source distribution), built from a copy of what git tracks or would."""
    folder = tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (REPO / name).exists():
            target = folder / "repo" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPO / name).read_bytes())
    (folder / "repo" / ".venv").mkdir()
    (folder / "repo" / ".venv" / "stray.py").write_text("stray")
    (folder / "repo" / "labauth_nb" / "__pycache__").mkdir(exist_ok=True)
    (folder / "repo" / "labauth_nb" / "__pycache__" / "stray.pyc").write_text("stray")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(folder / "repo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def test_wheel_holds_what_it_needs(built: tuple[Path, Path]) -> None:
    """The wheel holds the package whole (panel, sandbox, types), the JupyterLab extension, and
    nothing else."""
    names = set(zipfile.ZipFile(built[0]).namelist())
    shared = {name.partition(".data/data/")[2] for name in names} - {""}
    assert shared == {f"{EXTENSION}/{name}" for name in SERVED}
    own = {
        p.relative_to(REPO).as_posix()
        for p in (REPO / "labauth_nb").rglob("*")
        if p.suffix in (".py", ".js", ".css", ".json", ".typed")
    }
    assert {n for n in names if ".dist-info/" not in n and ".data/" not in n} == own
    assert "labauth_nb/notebook/panel.js" in names
    assert "labauth_nb/sandbox/identity.py" in names


def test_source_distribution_has_no_strays(built: tuple[Path, Path]) -> None:
    """The source distribution holds the package, the tests, the notebooks and the pages, and
    nothing that a machine made."""
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names}
    pages = {
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }
    assert tops == {"labauth_nb", "tests", "notebooks", "binder"} | pages
    assert not [
        name for name in names if "stray" in name or "__pycache__" in name or "test-output" in name
    ]


def test_wheel_works_in_an_empty_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In a new virtual environment, from an empty folder, the wheel signs in on its own sandbox, a
    browser method too."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"labauth-nb[sandbox] @ {built[0].as_uri()}",
    ]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (tmp_path / "empty").mkdir()
    ran = subprocess.run(
        [python, "-I", "-c", SMOKE],
        cwd=tmp_path / "empty",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Signed in to Benchling (sandbox) as ada@sandbox.example, method oidc" in ran.stdout


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_extension_is_installed(built: tuple[Path, Path], tmp_path: Path, editable: bool) -> None:
    """The wheel, and an editable install, bring the JupyterLab extension, which JupyterLab lists as
    enabled; its version is the package's."""
    what = ["-e", str(built[0].parent / "repo")] if editable else [str(built[0])]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--prefix"]
    done = subprocess.run(
        [*install, str(tmp_path), "--ignore-installed", *what],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / EXTENSION
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == SERVED
    for name in ("panel.js", "panel.css"):
        ours = (REPO / "labauth_nb" / "notebook" / name).read_text("utf-8")
        assert (folder / "static" / name).read_text("utf-8") == ours
    about = json.loads((folder / "package.json").read_text())
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert about["version"] == project["version"]
    assert (folder / about["jupyterlab"]["_build"]["load"]).is_file()
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"],
        env={**os.environ, "JUPYTER_PATH": str(tmp_path / "share" / "jupyter")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    shown = [line for line in listed.stderr.splitlines() if "labauth-nb" in line]
    assert any("enabled" in line and "OK" in line for line in shown), listed.stderr[-2000:]
