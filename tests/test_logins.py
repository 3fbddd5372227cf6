"""The verbs in Python: login, session, status, refresh, logout."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from test_hostile import JSON, Server, server, token_answer

from labauth_nb import (
    InvalidInput,
    LoginExpired,
    NotSignedIn,
    begin,
    login,
    logout,
    refresh,
    session,
    status,
)
from labauth_nb.sandbox import Lab

__all__ = ["server"]


def test_several_accounts(lab: Lab) -> None:
    """Logins of one provider live side by side by name, each with its own session."""
    login("benchling", tenant="sandbox")
    login("benchling", "api-key", tenant="sandbox", name="mine")
    assert [row["login"] for row in status()] == ["benchling", "mine"]
    assert session("mine").get("plates").status_code == 200
    logout("mine")
    assert session("benchling").get("plates").status_code == 200
    with pytest.raises(NotSignedIn):
        session("mine")


def test_the_only_one(lab: Lab) -> None:
    """Without a name, session, refresh and logout take the only login; with several
    they ask which."""
    login("qbench", tenant="sandbox")
    assert session().login.name == "qbench"
    assert refresh().name == "qbench"
    login("foundry", tenant="sandbox")
    with pytest.raises(NotSignedIn, match=r"There are 2 logins. Give one of: qbench, foundry"):
        session()


def test_signing_in_again_revives_sessions(lab: Lab) -> None:
    """A session that a cell holds goes on with the new login of its name; on another tenant it does
    not."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    logout("benchling")
    with pytest.raises(NotSignedIn):
        held.get("plates")
    login("foundry", tenant="sandbox", name="x")
    old = session("x")
    login("benchling", tenant="sandbox", name="x")
    with pytest.raises(NotSignedIn, match="x is signed out"):
        old.get("ontologies")


def named_by(server: Server) -> None:
    """A server of which a token "kanari-ada-2" is ada's; "nobody" is told no name; any client gets
    a token."""

    def answer(verb: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        who = headers.get("Authorization", "").partition("kanari-")[2].partition("-")[0]
        if path.endswith("/token"):
            return token_answer()
        named = {"username": None if who == "nobody" else who}
        return 200, JSON, json.dumps({**named, "projects": []}).encode()

    server.answer = answer


ADA, APP = {"token": "kanari-ada-1"}, {"client_id": "one", "client_secret": "kanari-secret-1"}
NOBODY, KEY = {"token": "kanari-nobody-1"}, {"api_key": "sk_kanari-1"}
SAME = [
    ("foundry", ADA, {"token": "kanari-ada-2"}),
    ("foundry", NOBODY, NOBODY),
    ("benchling", APP, APP | {"client_secret": "kanari-secret-2"}),
    ("benchling", KEY, KEY),
]
OTHERS = [
    (
        "foundry",
        ADA,
        {"token": "kanari-grace-1"},
        "the login of ada: it is now the login of grace. ",
    ),
    (
        "foundry",
        ADA,
        NOBODY,
        "the login of ada: it is now the login of a user that the provider does not name. ",
    ),
    (
        "foundry",
        NOBODY,
        ADA,
        "the login of a user that the provider does not name: it is now the login of ada. ",
    ),
    (
        "foundry",
        NOBODY,
        {"token": "kanari-nobody-2"},
        "of a user that the provider does not name, by another sign-in",
    ),
    (
        "benchling",
        APP,
        APP | {"client_id": "two"},
        "of the client one: it is now the login of the client two. ",
    ),
    (
        "benchling",
        APP,
        KEY,
        "of the client one: it is now the login of a user that the provider does not name. ",
    ),
    (
        "benchling",
        KEY,
        {"api_key": "sk_kanari-2"},
        "of a user that the provider does not name, by another sign-in",
    ),
]


@pytest.mark.parametrize(("provider", "first", "then"), SAME)
def test_the_same_person_again(
    server: Server, provider: str, first: dict[str, str], then: dict[str, str]
) -> None:
    """A session goes on when the same person or client signs in again, also with a new token or
    secret."""
    named_by(server)
    held = login(provider, tenant=server.url, **first).session()
    login(provider, tenant=server.url, **then)
    assert held.get("x").status_code == 200


@pytest.mark.parametrize(("provider", "first", "then", "said"), OTHERS)
def test_another_person_under_the_name(
    server: Server, provider: str, first: dict[str, str], then: dict[str, str], said: str
) -> None:
    """A session never becomes another person's: it raises, names both, sends nothing, and a new one
    works."""
    named_by(server)
    held = login(provider, tenant=server.url, **first).session()
    data = pickle.dumps(held)
    login(provider, tenant=server.url, **then)
    before = len(server.seen)
    with pytest.raises(NotSignedIn) as caught:
        held.get("x")
    assert said in str(caught.value)
    assert f"Take a new session: lab = %labauth session {provider}" in str(caught.value)
    assert "kanari" not in str(caught.value)
    with pytest.raises(NotSignedIn):
        held.login.refresh()
    if "by another" not in said:  # a pickle holds no secret to tell two nameless users by
        with pytest.raises(NotSignedIn, match=r"here \w+ is the login of"):
            pickle.loads(data).get("x")
    assert len(server.seen) == before
    assert session(provider).get("x").status_code == 200


def test_another_person_after_a_log_out(server: Server) -> None:
    """After a log out and a sign-in as somebody else, a session of before says whose login it is
    now."""
    named_by(server)
    held = login("foundry", tenant=server.url, **ADA).session()
    logout("foundry", revoke=False)
    with pytest.raises(NotSignedIn, match=r"foundry is signed out\. To sign in again"):
        held.get("x")
    login("foundry", tenant=server.url, token="kanari-grace-1")
    with pytest.raises(NotSignedIn, match="of ada: it is now the login of grace"):
        held.get("x")


@pytest.mark.parametrize("verb", ["pages", "frame"])
def test_another_person_amid_a_walk(server: Server, verb: str) -> None:
    """A walk that another person's sign-in ends carries what was read, and where to go on."""
    named_by(server)
    named, pages = (
        server.answer,
        [{"data": [{"id": n}], "nextPageToken": f"page-{n + 1}"} for n in range(9)],
    )

    def answer(*given: Any) -> Any:
        if "/things" not in given[1]:
            return named(*given)
        if len(pages) == 7:
            login("foundry", tenant=server.url, token="kanari-grace-1")
        return 200, JSON, json.dumps(pages.pop(0)).encode()

    server.answer = answer
    held = login("foundry", tenant=server.url, **ADA).session()
    with pytest.raises(NotSignedIn, match="it is now the login of grace") as caught:
        list(getattr(held, verb)("things"))
    assert [row["id"] for row in caught.value.records or []] == [0, 1, 2]
    assert caught.value.cursor == "page-3"


def test_a_failed_login_leaves_the_old_one(lab: Lab) -> None:
    """A sign-in that fails does not end the login that was there."""
    login("benchling", tenant="sandbox")
    with pytest.raises(Exception, match="invalid_client"):
        login("benchling", tenant="sandbox", client_secret="wrong-0001")
    assert session("benchling").get("plates").status_code == 200


@pytest.mark.parametrize("name", ["two words", "", " ", "-x"])
def test_bad_names(lab: Lab, name: str) -> None:
    """A login's name is one word."""
    if name:
        with pytest.raises(InvalidInput, match="use one word"):
            login("benchling", tenant="sandbox", name=name)
    with pytest.raises(InvalidInput, match="not both"):
        logout("benchling", all=True)


@pytest.mark.parametrize(
    ("provider", "method", "said"),
    [
        ("benchling", "app", "Not revoked: Benchling offers no way to revoke a token from here."),
        ("benchling", "api-key", "Not revoked: Benchling offers no way to revoke it from here."),
        ("qbench", "client", "Not revoked: QBench offers no way to revoke a token from here."),
        ("foundry", "service-user", "The token was revoked at Foundry."),
        ("dnanexus", "password", "The token was revoked at DNAnexus."),
        ("dnanexus", "api-token", "The API token was not revoked, as it was not made here"),
        ("dnanexus", "job", "A job's token is never destroyed"),
    ],
)
def test_what_a_log_out_says(lab: Lab, provider: str, method: str, said: str) -> None:
    """A log out prints what was revoked and what was not, and it is so at the server."""
    login(provider, method, tenant="sandbox")
    (sentence,) = logout(provider)
    assert said in sentence
    revoked = [issued.dead for issued in lab.sites[provider].tokens.values()]
    assert any(revoked) == ("was revoked" in said)


def test_revoke_on_request(lab: Lab) -> None:
    """--revoke destroys a token not made here; a revocation that fails is told, and the login
    forgotten all the same."""
    login("dnanexus", tenant="sandbox")
    assert "The token was revoked" in logout("dnanexus", revoke=True)[0]
    login("foundry", tenant="sandbox")
    lab.next("foundry", 500, path="revoke")
    assert "The token was not revoked: Foundry responded with 500" in logout("foundry")[0]
    login("foundry", tenant="sandbox")
    assert "was not revoked, as you asked" in logout("foundry", revoke=False)[0]
    assert len(status()) == 0


def test_log_out_of_all_ends_sign_ins(lab: Lab) -> None:
    """A log out of all ends a sign-in under way in a browser, too: its response is not used."""
    attempt = begin("foundry", "user", tenant="sandbox")
    home = lab.visit(attempt.url)
    assert logout(all=True) == ["A sign-in to Foundry in progress was cancelled."]
    with pytest.raises(InvalidInput, match="Start again from the notebook"):
        attempt.answer(home)
    assert len(status()) == 0


def test_refresh_of_what_was_pasted(lab: Lab) -> None:
    """A pasted token cannot be renewed: the error says what to type."""
    login("foundry", "token", tenant="sandbox")
    with pytest.raises(
        LoginExpired, match=r"A pasted Token cannot be renewed\. Get a new one, then type %labauth"
    ):
        refresh("foundry")


def test_five_states(lab: Lab) -> None:
    """A login's status has five values, and each is reached."""
    mine = login("benchling", tenant="sandbox")
    assert mine.status == "valid"
    lab.advance(850)
    assert mine.status == "expiring"
    lab.advance(100)
    assert mine.status == "expired"
    logout("benchling")
    assert mine.status == "signed out"
    assert login("dnanexus", tenant="sandbox").status == "valid with unknown expiry"


def test_a_refused_token_that_works_again(lab: Lab) -> None:
    """A pasted token that was refused is expired only until the provider accepts it again."""
    mine = login("foundry", "token", tenant="sandbox")
    held, issued = mine.session(), lab.sites["foundry"].tokens[mine.token().access_token]
    issued.dead = True
    assert held.get("ontologies").status_code == 401
    assert mine.status == "expired"
    issued.dead = False
    assert held.get("ontologies").status_code == 200
    assert mine.status == "valid"


def test_status_is_stable(lab: Lab) -> None:
    """The status and its frame say the same twice, with times in whole minutes; the HTML is
    escaped."""
    login("benchling", tenant="sandbox")
    login("dnanexus", tenant="sandbox", name="<b>")
    assert repr(status()) == repr(status())
    assert list(status().frame()["login"]) == ["benchling", "<b>"]
    assert "&lt;b&gt;" in status()._repr_html_()
    assert "<b>" not in status()._repr_html_()
    assert repr(status("benchling")).count("\n") == 1


def test_a_login_is_not_copied(lab: Lab) -> None:
    """A login holds secrets: it is neither pickled nor deep-copied."""
    mine = login("benchling", tenant="sandbox")
    with pytest.raises(TypeError, match="holds secrets"):
        pickle.dumps(mine)
    with pytest.raises(TypeError, match="holds secrets"):
        copy.deepcopy(mine)
