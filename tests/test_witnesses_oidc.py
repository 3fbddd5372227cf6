"""A certified identity provider, unmodified, as the lab's own: oidc-provider of npm, by its default
policies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from test_hostile import JSON, Answer, Server
from test_secrets import leaks

from labauth_nb import Attempt, InvalidInput, LoginExpired, SignInRefused, begin, logout, session
from labauth_nb.tokens import openid, wire

MAJOR = "9"
CONFIGURATION = Path(__file__).with_name("oidc_provider.mjs")
NODE, NPM = shutil.which("node"), shutil.which("npm")
SECRET = "kanari +%:/=secret"
CALLBACK = "http://127.0.0.1/callback"
pytestmark = [
    pytest.mark.witness,
    pytest.mark.once,
    pytest.mark.skipif(NODE is None or NPM is None, reason="no node or npm is installed"),
]


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The issuers of tests/oidc_provider.mjs by name, in one process of node that ends with its
    standard input."""
    asked = subprocess.run(
        [str(NODE), "-p", "parseInt(process.versions.node)"], capture_output=True, text=True
    )
    if int(asked.stdout) < 20:
        pytest.skip("oidc-provider needs node 20 or later")
    where = str(tmp_path_factory.mktemp("oidc-provider"))
    options = [
        "--prefix",
        where,
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--no-save",
    ]
    command = [str(NPM), "install", *options, f"oidc-provider@{MAJOR}"]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if installed.returncode:
        pytest.skip(f"oidc-provider cannot be installed: {installed.stderr[-300:]}")
    run = [str(NODE), str(CONFIGURATION), where]
    with subprocess.Popen(
        run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as node:
        assert node.stdin
        assert node.stdout
        # else a node that says nothing is waited for without end
        ender = threading.Timer(60, node.kill)
        ender.start()
        line = next((line for line in node.stdout if line.startswith("issuers ")), "")
        ender.cancel()
        assert line, "oidc-provider did not start"
        yield json.loads(line.partition(" ")[2])
        node.stdin.close()
        try:
            node.wait(10)
        finally:
            node.kill()


@pytest.fixture
def benchling() -> Iterator[Server]:
    """An API that takes any token; what it was sent is in `seen`."""
    server = Server()

    def api(*_: object) -> Answer:
        return 200, JSON, b'{"plates": [], "nextToken": ""}'

    server.answer = api
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The forms that went to the issuer, each with how the client authenticated."""
    forms: list[dict[str, Any]] = []
    real = wire.exchange

    def spy(verb: str, url: str, trust_env: bool, **parts: Any) -> requests.Response:
        if verb == "POST":
            basic = "Authorization" in parts["headers"]
            forms.append({"by": "basic" if basic else "body", **parts["data"]})
        return real(verb, url, trust_env, **parts)

    monkeypatch.setattr(wire, "exchange", spy)
    return forms


def signing_in(benchling: Server, issuer: str, client_id: str = "rsa", **fields: str) -> Attempt:
    given = {"redirect_uri": CALLBACK} | fields
    return begin(
        "benchling", "oidc", tenant=benchling.url, issuer=issuer, client_id=client_id, **given
    )


def visit(url: str, **typed: str) -> requests.Response:
    """Play the person: every page of oidc-provider has one form; gives the page without one."""
    typed = {"login": "ada", "password": "x"} | typed
    with requests.Session() as browser:
        page = browser.get(url, timeout=20)
        for _ in range(6):
            form = re.search(r'<form[^>]*? action="([^"]*)"', page.text)
            if form is None:
                return page
            fields = {}
            for tag in re.findall(r"<input[^>]*>", page.text):
                named = dict(re.findall(r'(\w+)="([^"]*)"', tag))
                fields[named["name"]] = typed.get(named["name"], unescape(named.get("value", "")))
            page = browser.post(urljoin(page.url, unescape(form[1])), data=fields, timeout=20)
        raise AssertionError(page.text)


def reads(benchling: Server) -> str:
    """The ID token with which Benchling is asked."""
    assert session("benchling").get("plates").status_code == 200
    return benchling.seen[-1][2]["Authorization"].removeprefix("Bearer ")


CLIENTS = [
    ("public", "rsa", "", "body"),
    ("public", "ed25519", "", "body"),
    ("basic", "a lab", SECRET, "basic"),
    ("post", "a lab", SECRET, "body"),
]
EVERY = pytest.mark.parametrize(
    ("name", "client_id", "secret", "by"), CLIENTS, ids=[f"{n}-{c}" for n, c, _, _ in CLIENTS]
)


@EVERY
def test_browser(
    issuers: dict[str, str],
    benchling: Server,
    sent: list[dict[str, Any]],
    name: str,
    client_id: str,
    secret: str,
    by: str,
) -> None:
    """Signed in by the listener you are shown your address; it is renewed without you, and revoked
    at log out."""
    given = {"client_secret": secret} if secret else {}
    attempt = signing_in(benchling, issuers[name], client_id, **given)
    landed = visit(attempt.url)
    assert "You are signed in to Benchling." in landed.text
    mine = attempt.wait(20)
    assert mine.who == "ada@lab.example"
    assert mine.time_left == "60 min"
    mine.refresh()
    assert sent[-1]["grant_type"] == "refresh_token"
    assert reads(benchling) == mine.token().access_token
    refresh_token = str.__str__(mine.source().current.refresh_token)
    assert "The token was revoked at the identity provider." in logout("benchling")[0]
    assert {form["by"] for form in sent} == {by}
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client_id}
    auth = None if by == "body" else ("a+lab", "kanari+%2B%25%3A%2F%3Dsecret")
    form |= {"client_secret": secret} if by == "body" and secret else {}
    form = form if auth is None else {n: v for n, v in form.items() if n != "client_id"}
    again = requests.post(issuers[name] + "/token", data=form, auth=auth, timeout=20)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@EVERY
def test_device(
    issuers: dict[str, str],
    benchling: Server,
    sent: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    client_id: str,
    secret: str,
    by: str,
) -> None:
    """A code typed on another device signs in the same, with a refresh token."""
    monkeypatch.setattr(openid, "INTERVAL_SECONDS", 0.2)
    attempt = signing_in(
        benchling, issuers[name], client_id, **({"client_secret": secret} if secret else {})
    )
    _, user_code = attempt.device()
    assert visit(attempt.device_link, user_code=user_code).status_code == 200
    mine = attempt.wait(30)
    assert mine.who == "ada@lab.example"
    mine.refresh()
    assert sent[-1]["grant_type"] == "refresh_token"
    assert reads(benchling) == mine.token().access_token
    assert {form["by"] for form in sent} == {by}


def test_rotation(issuers: dict[str, str], benchling: Server) -> None:
    """A public client's refresh token works once; a copy that is used ends the sign-in, with how to
    come back."""
    attempt = signing_in(benchling, issuers["public"])
    visit(attempt.url)
    mine = attempt.wait(20)
    used = mine.source().current
    for _ in range(3):
        mine.refresh()
        assert mine.source().current.refresh_token != used.refresh_token
    form = {
        "grant_type": "refresh_token",
        "refresh_token": str.__str__(used.refresh_token),
        "client_id": "rsa",
    }
    assert (
        requests.post(issuers["public"] + "/token", data=form, timeout=20).json()["error"]
        == "invalid_grant"
    )
    with pytest.raises(LoginExpired) as caught:
        mine.refresh()
    assert str(caught.value).startswith(
        "The identity provider no longer accepts the refresh token of this sign-in. To sign in"
        " again, type %labauth login"
    )
    assert leaks([str.__str__(used.refresh_token)], str(caught.value)) == []


def test_no_refresh_token(issuers: dict[str, str], benchling: Server) -> None:
    """Without offline_access no refresh token comes: the login ends with its ID token, and says how
    to come back."""
    attempt = signing_in(benchling, issuers["public"], scopes="openid email")
    visit(attempt.url)
    mine = attempt.wait(20)
    with pytest.raises(LoginExpired, match="To sign in again, type %labauth login benchling"):
        mine.refresh()


def test_no_email(issuers: dict[str, str], benchling: Server) -> None:
    """Without the claims parameter, its default, the ID token has no email: what to ask the admin
    for is said."""
    attempt = signing_in(benchling, issuers["plain"])
    landed = visit(attempt.url)
    said = (
        "it has no claim 'email', by which Benchling finds the user. Ask the admin of your identity"
        " provider"
    )
    assert said in unescape(landed.text)
    with pytest.raises(SignInRefused, match="it has no claim 'email'"):
        attempt.wait(20)
    assert benchling.seen == []


def test_wrong_client_secret(issuers: dict[str, str], benchling: Server) -> None:
    """A wrong secret is told in the issuer's words and with what to check."""
    for name in ("basic", "post"):
        attempt = signing_in(benchling, issuers[name], "a lab", client_secret="kanari-wrong-secret")
        visit(attempt.url)
        with pytest.raises(SignInRefused) as caught:
            attempt.wait(20)
        assert (
            str(caught.value)
            == "The identity provider responded with 401 invalid_client (client authentication"
            " failed). Check the client ID (and the secret of a confidential client) with its"
            " admin."
        )


def test_private_keys_only(issuers: dict[str, str], benchling: Server) -> None:
    """An issuer that wants a key of the client is said to, before a page is opened."""
    with pytest.raises(
        InvalidInput, match=r"accepts no client secret \(.*: private_key_jwt\)\. Ask its admin"
    ):
        signing_in(benchling, issuers["keys"], "a lab", client_secret=SECRET)


def test_declined(issuers: dict[str, str], benchling: Server) -> None:
    """What the issuer sends instead of a code, with its iss and state, is told with what to do."""
    attempt = signing_in(benchling, issuers["public"], scopes="openid email")
    landed = requests.get(f"{attempt.url}&prompt=none", timeout=20)
    assert "responded with login_required" in landed.text
    with pytest.raises(SignInRefused, match="login_required"):
        attempt.wait(20)
