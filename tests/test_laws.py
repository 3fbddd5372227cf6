"""The laws of the house (see the module docstrings): they hold for the whole tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import house
import pytest

import labauth_nb
from labauth_nb.providers import PROVIDERS
from labauth_nb.providers.model import Provider

ROOT = Path(labauth_nb.__file__).parent
REPO = Path(__file__).parent.parent

# What is left of the old house, named one by one; nothing joins it.
CIRCLES = {
    frozenset({"tokens.grants", "tokens.openid"}),
    frozenset({"sessions.session", "logins.logins", "logins.statuses"}),
    frozenset({"sandbox.lab", "sandbox.visits", "sandbox.identity", "sandbox.authorization"}),
}
CLIMBS = {("sessions.session", "logins.logins")}

FILES = sorted(ROOT.rglob("*.py"))


def test_no_circle() -> None:
    """Nowhere do rooms import each other in a circle, not lazily either, nor for types."""
    assert house.circles(house.arrows()) <= CIRCLES


def test_arrows_run_down() -> None:
    """A wing imports the wings below it only; the sandbox never imports the client side."""
    assert house.climbs(house.arrows()) <= CLIMBS


def test_drawing() -> None:
    """CONTRIBUTING.md draws the house as its imports do."""
    drawing = f"```mermaid\n{house.drawn(house.arrows())}\n```"
    assert drawing in (REPO / "CONTRIBUTING.md").read_text("utf-8"), f"python tests/house.py prints:\n{drawing}"


def test_public_names() -> None:
    """Public names are complete, sorted, and there; nothing else is offered."""
    assert labauth_nb.__all__ == sorted(labauth_nb.__all__)
    for name in labauth_nb.__all__:
        assert getattr(labauth_nb, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        labauth_nb.nonsense  # noqa: B018
    assert set(labauth_nb.__all__) <= set(dir(labauth_nb))


def test_import_stays_light() -> None:
    """`import labauth_nb` loads none of the heavy packages, and loading the extension neither."""
    heavy = ["pandas", "jwt", "ipywidgets", "anywidget", "flask", "cryptography", "requests", "dotenv", "tqdm"]
    code = (
        f"import sys, IPython; heavy = set({heavy!r}) - set(sys.modules); import labauth_nb; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; ip = InteractiveShell.instance(); "
        f"heavy = set({heavy!r}) - set(sys.modules); ip.run_line_magic('load_ext', 'labauth_nb'); "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_data(name: str) -> None:
    """A provider's file defines no function and no class, and branches nowhere."""
    tree = ast.parse((ROOT / "providers" / f"{name}.py").read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.IfExp)
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


GENERAL = [p for p in FILES if p.relative_to(ROOT).parts[0] not in ("providers", "sandbox")]


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.name)
def test_no_branch_on_a_provider(path: Path) -> None:
    """No room compares with a provider's name: where providers differ, the difference is data or the name of a grant."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare):
            constants = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            assert not set(constants) & set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda p: p.name)
def test_names_agree(provider: Provider) -> None:
    """Provider, sandbox file, test and tutorial share one name; fields and hints are filled in."""
    name = provider.name
    for path in (
        f"labauth_nb/providers/{name}.py",
        f"labauth_nb/sandbox/{name}.py",
        f"tests/test_{name}.py",
        f"notebooks/{name}.ipynb",
    ):
        assert (REPO / path).exists(), path
    assert len({m.name for m in provider.methods}) == len(provider.methods)
    for method in provider.methods:
        assert method.flow or sum(f.secret for f in method.fields) >= 1
        assert all(f.label and f.hint for f in method.fields)


def test_grants_are_known() -> None:
    """Every grant, revocation and file reader that a provider names is there, and none is left unused."""
    from labauth_nb.credentials.vendor_files import FILES as READERS
    from labauth_nb.tokens.grants import GRANTS, REVOCATIONS

    methods = [m for p in PROVIDERS.values() for m in p.methods]
    assert {m.grant for m in methods} == set(GRANTS)
    assert {m.revoke for m in methods if m.revoke} == set(REVOCATIONS)
    assert {m.files for m in methods if m.files} == set(READERS)


def test_tests_promise() -> None:
    """Every test has a docstring: its promise."""
    for path in (REPO / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
