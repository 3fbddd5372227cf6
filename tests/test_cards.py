"""What a page is sent of a plan and of a login."""

from __future__ import annotations

import pytest

from labauth_nb import LabauthError, login
from labauth_nb.credentials import keyrings, presets, stores
from labauth_nb.logins import logins
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import cards
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab


def form(provider: str, method: str | None = None, tenant: str | None = None) -> cards.FormState:
    return cards.form_state(plan(Wish(provider, method, tenant)), False)


def names(shown: cards.FormState) -> list[str]:
    return [each["name"] for each in shown["methods"]]


@pytest.mark.parametrize(
    ("provider", "order"),
    [
        ("benchling", ["api-key", "id-token", "oidc", "app"]),
        ("qbench", ["client"]),
        ("foundry", ["user", "token", "service-user"]),
        # a browser sign-in that DNAnexus must have arranged comes last, a job's only in a job
        ("dnanexus", ["api-token", "password", "browser"]),
    ],
)
def test_the_easiest_way_first(provider: str, order: list[str]) -> None:
    """A form begins with the way that leaves the least to type, a browser before a paste; a way
    that was asked for is chosen all the same."""
    shown = form(provider)
    assert (names(shown), shown["method"]) == (order, order[0])
    assert form(provider, order[-1])["method"] == order[-1]


def test_what_is_there_makes_a_way_easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an admin has preset, or the environment has, counts: a browser sign-in that needs
    nothing more comes first, and its fields are there with who set them."""
    preset = {"issuers": {"benchling": "https://acme.okta.com"}, "tenants": {"benchling": "acme"}}
    given = presets.LabAuth(**preset, client_ids={"benchling/oidc": "ours"})
    monkeypatch.setattr(presets, "presets", given)
    shown = form("benchling")
    assert (names(shown)[0], shown["method"]) == ("oidc", "oidc")
    fields = {each["name"]: each for each in shown["methods"][0]["fields"]}
    for name, value in (("tenant", "acme"), ("client_id", "ours")):
        supplied = (fields[name]["value"], fields[name]["supplied"], fields[name]["locked"])
        assert supplied == (value, "preset by your admin", True)


def test_the_admins_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the ways that the admin allows are offered, and the form begins with the first of
    them."""
    allowed = presets.LabAuth(methods={"benchling": ["app", "api-key"]})
    monkeypatch.setattr(presets, "presets", allowed)
    shown = form("benchling")
    assert (names(shown), shown["method"]) == (["api-key", "app"], "app")


def test_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link to where a secret is made follows the address. Without one, on the sandbox, and
    where an address is in doubt there is none."""
    linked = {each["name"]: each["page"] for each in form("foundry", tenant="acme")["methods"]}
    assert linked["token"] == "https://acme.palantirfoundry.com/workspace/settings/tokens"
    for shown in (form("foundry"), form("foundry", tenant="sandbox")):
        assert {each["page"] for each in shown["methods"]} == {""}
    monkeypatch.setenv("FOUNDRY_TOKEN", "kanari-token-0001")
    with open(".env", "w") as file:
        file.write("FOUNDRY_HOSTNAME=evil.example.com\n")
    doubted = {each["name"]: each["page"] for each in form("foundry")["methods"] if each["doubts"]}
    assert doubted == {"token": "", "user": ""}
    typed = cards.resolved_state(plan(Wish("foundry")), 1, "https://acme.palantirfoundry.com", "")
    assert {each["method"]: each["page"] for each in typed["links"]} == linked


def test_where_it_can_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a keyring the form offers a file, in plain words; where neither works, nothing."""
    working = {stores.KEYRING: "", stores.FILE: ""}
    monkeypatch.setattr(stores, "unavailable", lambda store: working[store])
    shown = form("qbench")
    assert (shown["store"], "keyring" in shown["store_words"]) == (stores.KEYRING, True)
    working[stores.KEYRING] = keyrings.NO_KEYRING
    shown = form("qbench")
    assert shown["store"] == stores.FILE
    assert shown["store_words"].startswith("No keyring can be used here. Kept in a file that only")
    assert "not encrypted" in shown["store_words"]
    working[stores.FILE] = "Nothing can be remembered."
    assert (form("qbench")["store"], form("qbench")["store_words"]) == ("", "")


def test_how_a_login_stands(lab: Lab) -> None:
    """A login that renews itself needs nobody when its token has expired, nor while the provider
    has a problem; once it is refused, and where nothing can renew it, it needs somebody."""
    mine = login("benchling", tenant="sandbox")
    pasted = login("foundry", "token", tenant="sandbox", name="pasted")
    assert (cards.card_state(mine), cards.card_state(pasted)) == ("valid", "valid")
    lab.advance("16m")
    assert cards.card_state(mine) == "asleep"
    lab.next("benchling", 503, times=20, path="token")
    with pytest.raises(LabauthError):
        mine.refresh()
    assert (cards.card_state(mine), mine.last_error != "") == ("unreachable", True)
    lab.sites["benchling"].faults.clear()
    lab.archive()
    with pytest.raises(LabauthError):
        mine.refresh()
    refused = cards.login_state(mine)
    assert (refused["state"], refused["renewable"]) == ("needs", False)
    lab.archive(False)
    mine.refresh()
    assert cards.card_state(mine) == "valid"
    lab.advance("90d")
    assert (cards.card_state(mine), cards.card_state(pasted)) == ("asleep", "needs")
    left = cards.login_state(pasted)["left"]
    assert left is not None
    assert left < 0


def test_who_needs_somebody_comes_first(lab: Lab) -> None:
    """The table has the logins that need a person first; its title says what it shows."""
    for name in ("benchling", "qbench"):
        login(name, tenant="sandbox")
    login("foundry", "token", tenant="sandbox", name="pasted")
    lab.advance("90d")
    every = cards.status_state(None)
    assert [row["name"] for row in every["rows"]] == ["pasted", "benchling", "qbench"]
    assert every["title"] == "Logins in this kernel"
    one = cards.status_state("qbench")
    assert ([row["name"] for row in one["rows"]], one["title"]) == (["qbench"], "Login qbench")


def test_every_provider_has_a_form() -> None:
    """Each method of each provider can be shown, its address asked for first, by one label."""
    for provider in PROVIDERS.values():
        for shown in form(provider.name)["methods"]:
            assert shown["fields"][0]["label"] == f"{provider.title} address"
    assert not logins.known()
