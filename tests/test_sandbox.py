"""The sandbox's levers: declared per site, checked, listed, and as the README says; no circle
inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.lab import SITES
from labauth_nb.sandbox.levers import FAULTS, KINDS

README = Path(__file__).parent.parent / "README.md"
WRONG = {
    "True or False": [1, 0, None, "no"],
    "seconds": [True, -1, float("nan"), float("inf"), "60", None],
    "seconds or None": [False, -1, "60"],
    "status": [500, "401", None],
    "text": [3, None, b"x", ["x"]],
    "list of texts": ["https://hub.example/", [1], None],
}
"""Values that a lever of each kind does not take."""


@pytest.mark.parametrize("name", SITES)
def test_levers_have_a_first_state_and_help(lab: Lab, name: str) -> None:
    """Every lever says its kind and what it does; its first state is what it takes, and is what the
    site starts with."""
    for lever_name, lever in SITES[name].levers().items():
        assert lever.kind in KINDS
        assert lever.help
        assert lever.takes(lever.default)
        assert getattr(lab.site(name), lever_name) == lever.default


@pytest.mark.parametrize("name", SITES)
def test_a_wrong_lever_is_refused(lab: Lab, name: str) -> None:
    """A wrong kind, or an unknown name, is refused with the list of that site's levers and their
    help; nothing is set."""
    site, listed = lab.site(name), lab.levers(name)
    wrong: list[tuple[str, Any]] = [("nonsense", 1), ("lab", 1), ("tokens", {})]
    wrong += [
        (lever.name, value)
        for lever in SITES[name].levers().values()
        for value in WRONG[lever.kind]
    ]
    for lever_name, value in wrong:
        with pytest.raises(ValueError, match=f"^{name}.*{lever_name}") as error:
            lab.set(name, **{"suspended": True, lever_name: value})
        assert str(error.value).endswith(listed)
        assert site.suspended is False
    for lever in SITES[name].levers().values():
        assert f"{lever.name} ({lever.values()}): {lever.help}" in listed


def test_a_lever_is_set_and_reset(lab: Lab) -> None:
    """A lever stays as it was set until the sandbox is reset, on its own site only."""
    lab.set("foundry", life=30, redirects=["https://hub.example/"])
    assert (lab.site("foundry").life, lab.site("qbench").life, lab.site("idp").redirects) == (
        30,
        3600,
        [],
    )
    lab.reset()
    assert (lab.site("foundry").life, lab.site("foundry").redirects) == (3600, [])


def test_unknown_site_or_response(lab: Lab) -> None:
    """An unknown provider, or a response that `next` does not know, is refused with the list of
    what there is."""
    for unknown in (
        lambda: lab.set("idq"),
        lambda: lab.next("idq", 503),
        lambda: lab.credentials("idq", "app"),
    ):
        with pytest.raises(
            ValueError,
            match=f"no provider 'idq'.* {', '.join(SITES)}",
        ):
            unknown()
    for response in (418, "503", True):
        with pytest.raises(ValueError, match=r"knows no response(.|\n)*429(.|\n)*'truncated'"):
            lab.next("idp", response)
    assert not lab.site("idp").faults


def test_readme_lists_the_levers() -> None:
    """The README's table of levers, and its responses of `next`, are the declared ones."""
    text = (
        README.read_text("utf-8").partition("## Testing with the sandbox")[2].partition("\n## ")[0]
    )
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", row) for name, row in rows.items()} == {
        n: list(s.levers()) for n, s in SITES.items()
    }
    faults = re.search(r"`next` \(([^)]*)\)", text)
    assert faults
    assert faults[1].split(", ") == [str(f) if isinstance(f, int) else f'"{f}"' for f in FAULTS]
