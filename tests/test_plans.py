"""A plan: what is known of a sign-in before its first request, and what is missing; nothing is
sent, nobody is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from labauth_nb import InvalidInput, MissingCredentials, UntrustedOrigin, logout
from labauth_nb.credentials import sources, stores, vendor_files
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import terminal
from labauth_nb.notebook.panel import LoginPanel
from labauth_nb.notebook.widget import Panel
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

KANARI = "kanari-secret-0001"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each place that supplies credentials was looked into."""
    count: Counter[str] = Counter()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            count[name] += 1
            return real(*args)

        return call

    monkeypatch.setattr(sources, "_environment", counting("environment", sources._environment))
    monkeypatch.setattr(sources, "nearest_dotenv", counting(".env", sources.nearest_dotenv))
    for name, real in list(vendor_files.FILES.items()):
        monkeypatch.setitem(vendor_files.FILES, name, counting("vendor's files", real))
    monkeypatch.setattr(stores, "unavailable", counting("store", stores.unavailable))
    monkeypatch.setattr(stores, "heads", counting("remembered", stores.heads))
    return count


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_form_costs_one_look_up(
    provider: str, looked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form costs one look-up of each source, a message to the page none, and a submit none
    either."""
    told: list[str] = []
    form = LoginPanel(plan(Wish(provider)), form=True)
    monkeypatch.setattr(Panel, "post", lambda self, message: told.append(message["type"]))
    form.views.append(SimpleNamespace())  # type: ignore[arg-type]
    form.tell()
    assert (looked["environment"], looked[".env"]) == (1, 1)
    assert looked["vendor's files"] <= 1
    assert looked["store"] <= 2  # the keyring, and the file where there is none
    before = looked.copy()
    for _ in range(3):
        form.tell()
    form.heard({"type": "resolve", "tenant": "acme", "number": 1})
    assert looked == before
    method = form.plan.method.name
    form.heard({"type": "submit", "method": method, "fields": {}})
    assert "missing" in str(form.error)
    assert {
        name: looked[name] - before[name] for name in ("environment", ".env", "vendor's files")
    } == {
        "environment": 0,
        ".env": 0,
        "vendor's files": 0,
    }
    assert {"state", "resolved"} <= set(told)


def test_a_sign_in_costs_one_look_up(lab: Lab, looked: Counter[str]) -> None:
    """Signing in with what is there looks into each source once; what a prompt brings looks nothing
    up again."""
    given = lab.credentials("qbench", "client")
    known = plan(Wish("qbench", tenant=lab.origin("qbench")))
    assert [each.name for each in known.missing] == ["client_id", "client_secret"]
    filled = known.filled(given, asked=True)
    assert filled.ready
    assert terminal.sign_in(filled).found.source() == "typed here"
    assert looked["environment"] == looked[".env"] == looked["remembered"] == 1


def test_nothing_is_raised_for_what_is_missing() -> None:
    """A plan says what is missing; it raises nothing for it, and its error names fields, variables
    and the line to run."""
    known = plan(Wish("qbench", name="mine"))
    assert not known.ready
    assert [each.name for each in known.missing] == ["tenant", "client_id", "client_secret"]
    error = known.error()
    assert isinstance(error, MissingCredentials)
    assert "QBENCH_CLIENT_ID" in str(error)
    assert str(error).endswith("%labauth login qbench --as mine")
    assert repr(known) == "<Plan: qbench client, missing: tenant, client_id, client_secret>"


def test_nobody_is_asked_and_nothing_is_sent(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making and filling a plan asks no person, and sends no request."""
    for name in ("builtins.input", "getpass.getpass"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("somebody was asked"))
    for provider in PROVIDERS.values():
        for method in provider.methods:
            known = plan(Wish(provider.name, method.name, lab.origin(provider.name)))
            fields = [f.name for f in (provider.tenant, *method.fields)]
            assert {each.name for each in known.missing} <= set(fields)
            assert known.filled({each.name: "x" for each in known.missing}).missing == []
            assert lab.token_requests(provider.name) == 0


def test_what_a_person_gives_stands_above_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that a form brings replaces the one that was found, and the rest of the
    plan stays."""
    monkeypatch.setenv("QBENCH_CLIENT_ID", "from-the-environment")
    known = plan(Wish("qbench", tenant="acme"))
    filled = known.filled({"client_id": "typed", "client_secret": KANARI})
    assert known.found.fields["client_id"] == "from-the-environment"
    assert (filled.found.fields["client_id"], filled.found.sources["client_id"]) == ("typed", "you")
    assert filled.ready
    assert filled.found.source() == "typed here"
    assert filled.found.fields["tenant"] == "acme"
    with pytest.raises(InvalidInput):
        known.filled({"tenant": "ac me"})


def test_a_doubt_is_no_error_until_nobody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that only a line of the notebook names is a doubt of the plan; a person who has
    seen it ends it."""
    monkeypatch.setenv("FOUNDRY_TOKEN", KANARI)
    known = plan(Wish("foundry", "token", "https://evil.example", line=True))
    assert [doubt.address for doubt in known.doubts] == ["https://evil.example"]
    assert isinstance(known.error(), UntrustedOrigin)
    assert known.filled({}, seen=["https://evil.example"]).ready


def test_a_wish_and_a_plan_hide_what_was_typed() -> None:
    """Neither repr shows a value of a field."""
    wish = Wish("benchling", "api-key", "acme", fields={"api_key": KANARI})
    assert repr(wish) == "<Wish: benchling api-key acme api_key>"
    assert KANARI not in repr(plan(wish)) + str(vars(plan(wish))["found"].fields)


def test_a_log_out_leaves_the_plan_as_it_was(lab: Lab) -> None:
    """What a login forgets at its log out is its own copy: the form that is shown afterwards is
    complete again."""
    known = plan(Wish("benchling", tenant="sandbox"))
    terminal.sign_in(known)
    logout("benchling")
    assert terminal.sign_in(known).signed_in


@pytest.mark.parametrize("provider", PROVIDERS)
def test_form_prompts_and_error_show_the_same_plan(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a form leaves empty, what is asked for at prompts, and what the error names are the same
    fields, in one order."""
    prompts: list[str] = []
    method = next(m for m in PROVIDERS[provider].methods if m.issued_here and not m.flow)
    known = plan(Wish(provider, method.name))
    wanted = [each.label for each in known.missing]
    fields = next(m for m in LoginPanel(known).form()["methods"] if m["name"] == method.name)[
        "fields"
    ]
    assert [
        f["label"] for f in fields if not f["optional"] and not f["value"] and not f["supplied"]
    ] == wanted
    positions = [str(known.error()).index(label) for label in wanted]
    assert positions == sorted(positions)
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    for name in ("builtins.input", "getpass.getpass"):
        monkeypatch.setattr(name, lambda prompt: prompts.append(prompt) or "")
    while known.missing:
        prompts.clear()
        with pytest.raises(MissingCredentials, match=f"No {known.missing[0].label} was given"):
            terminal.sign_in(known)
        asked = known.missing[0] is PROVIDERS[provider].tenant
        whose = "Your" if asked else PROVIDERS[provider].title
        assert prompts[0].startswith(f"{whose} {known.missing[0].label}")
        value = "acme" if asked else "x"
        known = known.filled({known.missing[0].name: value})


def test_a_pasted_token_that_is_none_is_traced_to_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot even be sent is refused with the variable that it came from: else a stale one
    wins again and again."""
    monkeypatch.setenv("LABAUTH_BENCHLING_ID_TOKEN", KANARI)
    with pytest.raises(
        InvalidInput, match=r"the one from the environment \(LABAUTH_BENCHLING_ID_TOKEN\)"
    ) as caught:
        terminal.sign_in(plan(Wish("benchling", "id-token", "acme")))
    assert KANARI not in str(caught.value)


def test_a_form_after_a_log_out_looks_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel that is signed in keeps nothing of what was found: the form after a log out shows
    what is there by then."""
    given = lab.credentials("qbench", "client")
    monkeypatch.setenv("QBENCH_CLIENT_ID", given["client_id"])
    form = LoginPanel(plan(Wish("qbench", tenant=lab.origin("qbench"))), form=True)
    form.heard(
        {"type": "submit", "method": "client", "fields": {"client_secret": given["client_secret"]}}
    )
    assert form.login is not None
    monkeypatch.setenv("QBENCH_CLIENT_ID", "another-one")
    assert form.state()["form"] is None
    logout("qbench")
    form.heard({"type": "again"})
    shown = form.state()["form"]
    assert shown is not None
    fields = {field["name"]: field["value"] for field in shown["methods"][0]["fields"]}
    assert fields == {
        "tenant": lab.origin("qbench"),
        "client_id": "another-one",
        "client_secret": "",
    }


def test_a_panel_keeps_no_frame_of_what_went_wrong(lab: Lab) -> None:
    """The error that a form shows has no traceback and no context, whose frames would hold the
    secret that was typed."""
    form = LoginPanel(plan(Wish("qbench", tenant=lab.origin("qbench"))), form=True)
    form.heard(
        {
            "type": "submit",
            "method": "client",
            "fields": {"client_id": "mine", "client_secret": KANARI},
        }
    )
    assert "invalid_client" in str(form.error) or "invalid_grant" in str(form.error)
    assert form.error is not None
    assert (form.error.__traceback__, form.error.__context__, form.error.field) == (
        None,
        None,
        "client_secret",
    )
