"""The README is a promise: its code runs, its tables and its verbs are the package's."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import Kernel

import labauth_nb
from labauth_nb.credentials.sources import variables
from labauth_nb.notebook import magic, options
from labauth_nb.providers import PROVIDERS
from labauth_nb.tokens import wire

REPO = Path(__file__).parent.parent
README = (REPO / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.M | re.S)


def blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCKS if name == kind]


@pytest.mark.slow
def test_python_blocks_run(tmp_path: Path) -> None:
    """The README's Python blocks run, one after another, in one kernel, and none of them fails."""
    kernel = Kernel(tmp_path)
    try:
        assert kernel.text("import labauth_nb") == ""
        for block in blocks("python"):
            outputs = kernel.run(block)
            assert not [o for o in outputs if o["output_type"] == "error"], block
        assert "Cell viability plate 001" in kernel.text(blocks("python")[0])
    finally:
        kernel.stop()


@pytest.mark.slow
def test_pytest_block_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's example of a test passes, with the fixture that installing the package gives
    pytest."""
    monkeypatch.delenv("LABAUTH_PATIENCE")  # conftest.py's; a user has none
    [example] = [block for block in blocks("python") if "def test_" in block]
    (tmp_path / "test_report.py").write_text(f"import labauth_nb\n\n\n{example}")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "test_report.py",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "1 passed" in ran.stdout, ran.stdout


@pytest.mark.slow
def test_presets_block_loads(tmp_path: Path) -> None:
    """The README's presets are ones that the extension takes, and a user then types only the
    provider."""
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    [presets] = blocks("py")
    (profile / "ipython_config.py").write_text(f"c = get_config()  # noqa\n{presets}")
    kernel = Kernel(tmp_path, {"IPYTHONDIR": str(tmp_path / "ipython"), "HOME": str(tmp_path)})
    try:
        assert kernel.text("%load_ext labauth_nb") == ""
        assert "acme" in kernel.text("%config LabAuth.tenants")
        assert "needs a person with a browser" in kernel.text("%labauth login foundry")
    finally:
        kernel.stop()


def test_every_method_is_in_the_table() -> None:
    """The table lists each provider, with its pages, and each of its methods, the default marked;
    and nothing else."""
    rows = [
        line.split(" | ")
        for line in README.splitlines()
        if line.startswith("| ") and line.count(" | ") == 3
    ]
    found: dict[str, list[str]] = {}
    provider = ""
    for row in rows[1:]:
        if named := re.search(r"\[`(\w+)`\]\((\S+)\)", row[0]):
            provider = named[1]
            assert named[2] == PROVIDERS[provider].docs
        if method := re.match(r"`([\w-]+)`( \(default\))?$", row[1]):
            assert bool(method[2]) == (method[1] == PROVIDERS[provider].methods[0].name)
            found.setdefault(provider, []).append(method[1])
    assert found == {p.name: [m.name for m in p.methods] for p in PROVIDERS.values()}


def test_verbs_agree() -> None:
    """The README's verbs, `%labauth?`, `%labauth VERB --help` and the parsers say the same."""
    [told] = [text for name, text in BLOCKS if not name and text.startswith("%labauth")]
    usages = [verb.usage for verb in options.VERBS.values()]
    assert told.splitlines() == usages
    assert [
        line
        for line in options.TEACH.splitlines()
        if re.match(r"%labauth [a-z]+( [A-Z\[]|$)", line)
    ] == usages
    assert magic.LabauthMagics.labauth.__doc__ == options.TEACH
    assert list(magic.RUN) == list(options.VERBS)
    for name, verb in options.verbs().items():
        text = options.help_of(name)
        assert text.startswith(verb.usage)
        assert " ".join(text.split()).count(verb.help) == 1
        assert all(option.name in text and len(option.help) > 8 for option in verb.options)


def test_names_in_the_text_are_there() -> None:
    """What the README calls `labauth_nb.x(...)`, a lever, an option or a test file is there."""
    from labauth_nb.sandbox import Lab

    for name in {*re.findall(r"labauth_nb\.(\w+)\(", README), *re.findall(r"`\.(\w+)\(", README)}:
        assert hasattr(labauth_nb, name), name
    levers = README.split("Levers: ")[1].split("counters:")[0]
    for name in re.findall(r"`(\w+)`", levers):
        assert hasattr(Lab, name), name
    paths = re.findall(r"`(tests/\w+\.py|labauth_nb/[\w/.]*|\.ci/run)`", README)
    for path in paths + re.findall(r"\]\(((?:notebooks|[A-Z])[\w./-]+)\)", README):
        assert (REPO / path).exists(), path
    known = {option.name for verb in options.verbs().values() for option in verb.options}
    for option in set(re.findall(r"(?<=`)(--[a-z-]+)", README)) - {"--allow-root"}:
        assert option in known, option
    names = {
        v
        for p in PROVIDERS.values()
        for m in p.methods
        for f in (p.tenant, *m.fields)
        for v in variables(p, f)
    }
    for name in set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README)):
        assert name in {*names, *wire.CA_VARIABLES, "LABAUTH_PATIENCE"}, name


def old_pythons() -> list[str]:
    """Pythons before 3.11 on this computer: on the PATH, or pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    found = [shutil.which(f"python3.{minor}") for minor in range(8, 11)]
    pyenv = [
        str(path)
        for minor in range(8, 11)
        for path in (
            root.glob(f"versions/3.{minor}.*/bin/python3") if os.access(root, os.X_OK) else ()
        )
    ]
    return [
        p
        for p in (*filter(None, found), *pyenv)
        if not subprocess.run([p, "-c", ""], capture_output=True).returncode
    ]


OLD = old_pythons()
TOO_OLD = "Python 3.11 or later is needed"


@pytest.mark.slow
@pytest.mark.parametrize("command", [text for text in blocks("sh") if "python3 -m venv" in text])
def test_python_too_old(command: str, tmp_path: Path) -> None:
    """On each old Python here both commands say one line and make nothing; where there is none,
    3.10 is played."""
    check, rest = command.split(" && ", 1)
    assert rest.startswith("python3 -m venv ")
    code = shlex.split(check)[2]
    work = tmp_path / "work"
    played = code.replace("import sys", "import sys; sys.version_info = (3, 10, 13)", 1)
    said = subprocess.run([sys.executable, "-c", played], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (1, "", f"{TOO_OLD}\n")
    subprocess.run([sys.executable, "-c", code], check=True)
    for old in OLD:
        whole = command.replace("python3 ", f"{old} ")
        ran = subprocess.run(["sh", "-c", whole], cwd=work, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"{TOO_OLD}\n"), old
    assert not list(work.iterdir())


@pytest.mark.slow
def test_import_on_a_python_too_old() -> None:
    """A copied folder says the same when it is imported, not that a name or a syntax is unknown."""
    played = "import sys; sys.version_info = (3, 10, 13); import labauth_nb"
    for python, code in [(sys.executable, played), *((old, "import labauth_nb") for old in OLD)]:
        ran = subprocess.run([python, "-B", "-c", code], cwd=REPO, capture_output=True, text=True)
        assert ran.stderr.splitlines()[-1] == f"ImportError: {TOO_OLD}", python


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_pages_are_plain(name: str) -> None:
    """The pages people read name no registry's host and no path of a machine."""
    text = (REPO / name).read_text("utf-8")
    assert not re.search(r"pypi\.org|npmjs|/(home|root|Users|work)/", text)
