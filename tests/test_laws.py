"""The laws of the house (see the module docstrings): they hold for the whole tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import house
import pytest

import labauth_nb
from labauth_nb.providers import PROVIDERS
from labauth_nb.providers.model import Provider

ROOT = Path(labauth_nb.__file__).parent
REPO = Path(__file__).parent.parent


FILES = sorted(ROOT.rglob("*.py"))


def test_no_circle() -> None:
    """Nowhere do rooms import each other in a circle, not lazily either, nor for types."""
    assert house.circles(house.arrows()) == set()


def test_arrows_run_down() -> None:
    """A wing imports the wings below it only; the sandbox never imports the client side."""
    assert house.climbs(house.arrows()) == set()


def test_no_private_name_over_a_wall() -> None:
    """No wing imports a private name of another; that none is reached through an object is ruff's
    SLF001."""
    assert house.taken_privately() == set()


def test_drawing() -> None:
    """CONTRIBUTING.md draws the house as its imports do."""
    drawing = f"```mermaid\n{house.drawn(house.arrows())}\n```"
    assert drawing in (REPO / "CONTRIBUTING.md").read_text("utf-8"), (
        f"python tests/house.py prints:\n{drawing}"
    )


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
    heavy = [
        "pandas",
        "jwt",
        "ipywidgets",
        "anywidget",
        "flask",
        "cryptography",
        "requests",
        "dotenv",
        "tqdm",
    ]
    code = (
        f"import sys, IPython; heavy = set({heavy!r}) - set(sys.modules); import labauth_nb; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; ip ="
        f" InteractiveShell.instance(); heavy = set({heavy!r}) - set(sys.modules);"
        " ip.run_line_magic('load_ext', 'labauth_nb'); print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
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
    """No room compares with a provider's name: where providers differ, the difference is data or
    the name of a grant."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare):
            constants = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            assert not set(constants) & set(PROVIDERS)


# Vendors' words that still stand in general wings, named one by one; nothing joins them.
VENDORS_WORDS = {
    *(("credentials", word) for word in ("benchling", "foundry")),  # examples, in help
    # Foundry's errors
    *(("responses", f"error{part}") for part in ("code", "description", "name")),
    *(("responses", word) for word in ("missingscope", "usermessage")),
    ("logins", "benchling"),  # an example, in a message
    *(("notebook", name) for name in PROVIDERS),  # examples, in the usage
}


@cache
def vendors_words() -> set[str]:
    """What has a vendor for an author: providers' names, variables and error codes, in small
    letters.

    Words like `nextPageToken`, which nobody else would write, are taken from the data and the
    sandbox.
    """
    words = {"multipass"} | {word for p in PROVIDERS.values() for word in (p.name, p.title)}
    for provider in PROVIDERS.values():
        for field in (provider.tenant, *(f for m in provider.methods for f in m.fields)):
            words |= {field.name} if field.once else set()
            words |= {n for e in field.env for n in (e.name, e.scheme, e.port, e.unless)}
        words |= {
            word for m in provider.methods for word in (m.job_variable, m.cookie, m.digest_key)
        }
        words |= {code for code in provider.hints if re.fullmatch(r"[A-Z]\w+", code)}
    for path in FILES:
        if wing(path) in ("providers", "sandbox"):
            words |= set(re.findall(r"\b[a-z]+[A-Z]\w*\b", " ".join(said(path))))
    return {word.lower() for word in words if word}


def wing(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def said(path: Path) -> Iterator[str]:
    """Every string in a file that is no docstring, and every name in it."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    prose = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value
        for name in ("id", "attr", "arg", "name"):
            if isinstance(found := getattr(node, name, None), str):
                yield found


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.name)
def test_no_vendors_word(path: Path) -> None:
    """Vendors' names, variables and error codes stand in providers/, the sandbox and the readers of
    their files only."""
    words = "|".join(sorted(map(re.escape, vendors_words()), key=len, reverse=True))
    found = re.findall(rf"(?<![a-z0-9])({words})(?![a-z0-9])", "\n".join(said(path)).lower())
    if path.stem != "vendor_files":
        assert {(wing(path), word) for word in found} <= VENDORS_WORDS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_message_speaks_of_tenants(path: Path) -> None:
    """A person reads of an address, by its label: `tenant` is the name of an option and of data."""
    sentences = (words for words in said(path) if " " in words)
    assert [each for each in sentences if re.search(r"(?i)(?<![-{])\btenant", each)] == []


OWN_ERRORS = ("error", "caught", "said", "sentence")


def looks_into(tree: ast.AST) -> list[int]:
    """The lines that search, compare or cut the text of an error: ``"x" in str(error)``,
    ``str(error).partition``."""

    def is_text(node: ast.AST) -> bool:
        called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "str"
        return called and getattr(node.args[0] if node.args else None, "id", "") in OWN_ERRORS  # type: ignore[attr-defined]

    found = []
    for node in ast.walk(tree):
        compared = isinstance(node, ast.Compare) and any(
            map(is_text, (node.left, *node.comparators))
        )
        cut = isinstance(node, ast.Attribute) and is_text(node.value)
        searched = (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).startswith("re.")
            and any(map(is_text, node.args))
        )
        if compared or cut or searched:
            found.append(node.lineno)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.name != "responses.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_messages_are_not_parsed(path: Path) -> None:
    """No code looks into the text of our own messages: what it needs stands beside them, as data.
    (responses.py reads what requests and OpenSSL say.)"""
    assert looks_into(ast.parse(path.read_text("utf-8"))) == []


def test_a_parsed_message_is_seen() -> None:
    """The law above sees a search, a comparison and a cut."""
    for code in (
        '"issuer" in str(error)',
        'str(error).partition(" Check")',
        're.search("x", str(caught))',
        'str(error) == "x"',
    ):
        assert looks_into(ast.parse(code)) == [1]


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


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda p: p.name)
def test_what_a_new_provider_needs_elsewhere(provider: Provider) -> None:
    """What general rooms and tables know of a provider is there: its site, a request for tests to
    make, its keys' beginning, the paths of its revocations, its pages' links."""
    from conftest import READ

    from labauth_nb.masking import holds_key
    from labauth_nb.sandbox.lab import SITES

    name = provider.name
    assert name in SITES, f"sandbox/lab.py: _ALL has no site called {name}"
    assert name in READ, f"tests/conftest.py: READ has no row for {name}"
    fields = [f for m in provider.methods for f in m.fields]
    for begins in filter(None, (f.begins for f in fields)):
        assert holds_key(begins + 8 * "A1b2"), f"masking.py: _LOOKS does not know {begins}"
    for page in ("README.md", "CHANGELOG.md", "pyproject.toml"):
        assert provider.title in (REPO / page).read_text("utf-8"), f"{page} names no {name}"
    if any(m.revoke == "oauth2" for m in provider.methods):
        assert "revoke" in provider.paths, f"providers/{name}.py: paths has no revoke"


def test_grants_are_known() -> None:
    """Every grant, revocation and file reader that a provider names is there, and none is left
    unused."""
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
