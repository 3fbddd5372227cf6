"""Foundry on the sandbox: what it enforces, the shapes of its answers, and the vendor's own client
as a witness."""

from __future__ import annotations

import base64
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import requests
from conftest import Crowd, check_headers
from pages import CHALLENGE, HERE, INVALID_GRANT, PKCE, VERIFIER, Client, Form, landed, refused

from labauth_nb import ProviderError, SignInRefused, login, logout, session
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.foundry import CLIENT_ID, CLIENT_SECRET, PUBLIC_CLIENT_ID, SCOPES

TOKEN, REVOKE = "/multipass/api/oauth2/token", "/multipass/api/oauth2/revoke_token"
ONTOLOGIES, OBJECTS = "/api/v2/ontologies", "/api/v2/ontologies/lab/objects/Sample"
ME, CURRENT = "/multipass/api/me", "/api/v2/admin/users/getCurrent"
GRANT = {"grant_type": "client_credentials", "scope": "api:ontologies-read"}
AUTHORIZE, CALLBACK = "/multipass/api/oauth2/authorize", "/multipass/api/oauth2/callback"
SENT = {
    "client_id": PUBLIC_CLIENT_ID,
    "scope": "api:ontologies-read offline_access",
    "state": "some-state",
}
PUBLIC = Client(
    "foundry",
    AUTHORIZE,
    TOKEN,
    SENT | PKCE,
    {"client_id": PUBLIC_CLIENT_ID, "code_verifier": VERIFIER},
)
address, exchange, code_for = PUBLIC.address, PUBLIC.exchange, PUBLIC.code


def ask(
    lab: Lab, path: str = ONTOLOGIES, verb: str = "GET", token: str = "", **options: Any
) -> requests.Response:
    if token:
        options["headers"] = {"Authorization": f"Bearer {token}"}
    return requests.request(verb, lab.origin("foundry") + path, timeout=10, **options)


def ask_token(
    lab: Lab, way: str = "body", grant: dict[str, str] = GRANT, path: str = TOKEN, **changed: str
) -> requests.Response:
    """A request with the client authentication in the Basic header, in the body, in both or in
    neither."""
    fields = lab.credentials("foundry", "service-user") | changed
    client = {name: fields[name] for name in ("client_id", "client_secret")}
    basic = (client["client_id"], client["client_secret"]) if way in ("basic", "both") else None
    return ask(
        lab, path, "POST", data=grant | (client if way in ("body", "both") else {}), auth=basic
    )


def token_for(lab: Lab, scope: str = "api:ontologies-read") -> str:
    return str(ask_token(lab, grant=GRANT | {"scope": scope}).json()["access_token"])


def said(response: requests.Response) -> tuple[int, str, str]:
    """(status, errorCode, errorName) of an answer in the API's shape."""
    body = response.json()
    assert {"errorCode", "errorName", "errorInstanceId", "parameters"} <= set(body)
    check_headers(response)
    return response.status_code, body["errorCode"], body["errorName"]


UNAUTHORIZED = (401, "UNAUTHORIZED", "Default:Unauthorized")


@pytest.mark.parametrize("way", ["basic", "body"])
def test_client_authentication(lab: Lab, way: str) -> None:
    """A token comes for the client's secret in the body as well as in the Basic header: an hour, no
    refresh token."""
    body = ask_token(lab, way).json()
    claims = jwt.decode(body.pop("access_token"), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert body == {"token_type": "Bearer", "expires_in": 3600, "scope": "api:ontologies-read"}


WRONG_CLIENTS = [
    ("basic", {"client_secret": "x"}),
    ("body", {"client_secret": "x"}),
    ("body", {"client_id": "x"}),
]


@pytest.mark.parametrize("path", [TOKEN, REVOKE])
@pytest.mark.parametrize(("way", "changed"), [*WRONG_CLIENTS, ("neither", {}), ("both", {})])
def test_client_refused(lab: Lab, path: str, way: str, changed: dict[str, str]) -> None:
    """A wrong client, none, or one given twice is 401 invalid_client, at the revocation endpoint as
    well."""
    assert refused(ask_token(lab, way, path=path, **changed)) == (401, "invalid_client")


@pytest.mark.parametrize("grant", ["", "password", "refresh_token", "authorization_code"])
def test_grant_refused(lab: Lab, grant: str) -> None:
    """A grant that is missing, unknown, or lacks its own parameters gets RFC 6749's error."""
    expected = "unsupported_grant_type" if grant == "password" else "invalid_request"
    assert refused(ask_token(lab, grant={"grant_type": grant})) == (400, expected)


@pytest.mark.parametrize("scope", ["api:everything", "api:ontologies-read api:everything"])
def test_scope_refused(lab: Lab, scope: str) -> None:
    """A scope that the application lacks is invalid_scope, though it has the others."""
    assert refused(ask_token(lab, grant=GRANT | {"scope": scope})) == (400, "invalid_scope")


def test_new_secret_and_suspension(lab: Lab) -> None:
    """When the secret is regenerated the old one is refused; a suspended user gets no token, and
    its tokens stop."""
    access, old = token_for(lab), lab.credentials("foundry", "service-user")["client_secret"]
    lab.set("foundry", client_secret="another")
    assert refused(ask_token(lab, client_secret=old)) == (401, "invalid_client")
    assert ask_token(lab).status_code == 200
    lab.suspend("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED
    with pytest.raises(SignInRefused, match="401 invalid_client"):
        login("foundry", "service-user", tenant="sandbox")


def test_expiry(lab: Lab) -> None:
    """A token lasts the hour that it was given, by the sandbox's clock, and the time-to-live
    endpoint counts it down."""
    access = token_for(lab)
    lab.advance("59m")
    assert 0 < ask(lab, "/multipass/api/token/ttl", token=access).json() <= 60
    assert ask(lab, token=access).status_code == 200
    lab.advance("1m")
    assert said(ask(lab, token=access)) == UNAUTHORIZED


@pytest.mark.parametrize("end", ["expire", "revoke", "endpoint", "reset"])
def test_token_ended(lab: Lab, end: str) -> None:
    """Expired or revoked by a lever, revoked by its owner or forgotten by a reset: the token is
    refused at once."""
    access = token_for(lab)
    if end == "endpoint":
        assert ask_token(lab, grant={"token": access}, path=REVOKE).status_code == 200
        assert ask_token(lab, grant={"token": "unknown"}, path=REVOKE).status_code == 200
    elif end == "reset":
        lab.reset()
    else:
        getattr(lab, end)("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED
    assert ask(lab, token=token_for(lab)).status_code == 200


def test_log_out_revokes(lab: Lab) -> None:
    """Logging out of a service user ends its token at the sandbox."""
    access = login("foundry", "service-user", tenant="sandbox").token().access_token
    assert ask(lab, token=access).status_code == 200
    logout("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED


def test_skew(lab: Lab) -> None:
    """The server's Date header and its tokens tell its own time, however far the client's clock is
    off."""
    lab.skew(7200)
    claims = jwt.decode(token_for(lab), options={"verify_signature": False})
    response = ask(lab, token=token_for(lab))
    assert response.status_code == 200
    assert len(response.raw.headers.getlist("date")) == 1
    for told in (claims["iat"], parsedate_to_datetime(response.headers["date"]).timestamp()):
        assert told - lab.clock.time() == pytest.approx(7200, abs=5)


def test_challenges(lab: Lab) -> None:
    """401 names Basic to a client and Bearer to a caller of the API, with invalid_token for a token
    that is dead."""
    for response in (
        ask_token(lab, "body", client_secret="x"),
        ask_token(lab, "basic", client_secret="x"),
    ):
        assert response.headers["WWW-Authenticate"] == 'Basic realm="sandbox"'
    assert ask(lab).headers["WWW-Authenticate"] == 'Bearer realm="sandbox"'
    assert (
        ask(lab, token="x").headers["WWW-Authenticate"]
        == 'Bearer realm="sandbox", error="invalid_token"'
    )
    assert ask(lab, TOKEN).headers["Allow"] == "OPTIONS, POST"
    assert "GET" in ask(lab, verb="DELETE").headers["Allow"]


@pytest.mark.parametrize("token", ["", "x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ."])
def test_no_token(lab: Lab, token: str) -> None:
    """Without a token, or with one that the sandbox never gave, every endpoint is 401 in the API's
    shape."""
    for path in (
        ONTOLOGIES,
        OBJECTS,
        ME,
        CURRENT,
        "/multipass/api/token/ttl",
        "/api/v2/datasets/x",
    ):
        assert said(ask(lab, path, token=token)) == UNAUTHORIZED


NEEDS = {
    ONTOLOGIES: "api:ontologies-read",
    OBJECTS: "api:ontologies-read",
    CURRENT: "api:admin-read",
}


@pytest.mark.parametrize(("path", "scope"), NEEDS.items())
def test_missing_scope(lab: Lab, path: str, scope: str) -> None:
    """A call beyond the token's scopes is 403 and names the missing scope; who I am needs none; no
    scope asked means all."""
    other = token_for(lab, "api:datasets-read")
    response = ask(lab, path, token=other)
    assert said(response) == (403, "PERMISSION_DENIED", "ApiUsageDenied")
    assert response.json()["parameters"] == {"missingScope": scope}
    assert ask(lab, ME, token=other).json()["username"] == "sandbox-service-user"
    assert ask(lab, path, token=token_for(lab, scope)).status_code == 200
    assert ask(lab, path, token=token_for(lab, "")).status_code == 200


def test_missing_scope_said(lab: Lab) -> None:
    """A session's error names the scope to ask for."""
    login("foundry", "service-user", tenant="sandbox", scopes="api:datasets-read")
    with (
        session("foundry") as held,
        pytest.raises(ProviderError, match="Ask for the scope api:ontologies-read"),
    ):
        held.check(held.get("ontologies"))


def test_pasted_token(lab: Lab) -> None:
    """A token made in the settings acts as the user, with all scopes, for its own 8 hours."""
    access = lab.credentials("foundry", "token")["token"]
    assert [ask(lab, path, token=access).status_code for path in (ONTOLOGIES, CURRENT)] == [
        200,
        200,
    ]
    assert ask(lab, ME, token=access).json()["username"] == "ada"
    lab.advance("8h")
    assert said(ask(lab, ME, token=access)) == UNAUTHORIZED


def test_paging(lab: Lab) -> None:
    """130 objects come in pages of 50, 50 and 30, each once; the last page has no nextPageToken;
    ontologies are not paged."""
    access, pages, cursor = token_for(lab), [], ""
    while not pages or cursor:
        body = ask(lab, OBJECTS, token=access, params={"pageSize": 50, "pageToken": cursor}).json()
        pages, cursor = (
            [*pages, [row["__primaryKey"] for row in body["data"]]],
            body.get("nextPageToken", ""),
        )
    assert [len(page) for page in pages] == [50, 50, 30]
    assert len({key for page in pages for key in page}) == 130
    assert "nextPageToken" not in body
    assert list(ask(lab, token=access).json()) == ["data"]


@pytest.mark.parametrize(
    "params",
    [{"pageSize": 0}, {"pageSize": 1001}, {"pageToken": "x"}, {"pageToken": "LTk="}],
    ids=str,
)
def test_page_refused(lab: Lab, params: dict[str, Any]) -> None:
    """A page size or a page token that cannot be is 400 in the API's shape."""
    assert said(ask(lab, OBJECTS, token=token_for(lab), params=params))[:2] == (
        400,
        "INVALID_ARGUMENT",
    )


def test_rate_limit(lab: Lab) -> None:
    """A user has 5,000 requests a minute; the next is 429 in the API's shape, without headers,
    until the minute has passed."""
    access = token_for(lab)
    assert ask(lab, token=access).status_code == 200
    (window,) = lab.sites["foundry"].windows.values()
    assert window[1] == 1
    window[1] = 4999
    last, over = ask(lab, token=access), ask(lab, token=access)
    assert (last.status_code, said(over)) == (200, (429, "RATE_LIMITED", "Default:RateLimited"))
    assert {
        name for name in over.headers if "limit" in name.lower() or "retry" in name.lower()
    } == set()
    assert ask(lab, token=lab.credentials("foundry", "token")["token"]).status_code == 200
    lab.advance(60)
    assert ask(lab, token=access).status_code == 200


def test_thirty_at_once(lab: Lab, crowd: Crowd) -> None:
    """Of a user's requests 30 may be under way: the 31st is 429 without a header, another user's is
    served, and then it is."""
    access, _ = signed_in(lab)
    with crowd("foundry", 30, lambda: ask(lab, ME, token=access)) as held:
        over = ask(lab, token=access)
        assert said(over) == (429, "RATE_LIMITED", "Default:RateLimited")
        assert {
            name for name in over.headers if "limit" in name.lower() or "retry" in name.lower()
        } == set()
        assert ask(lab, token=token_for(lab)).status_code == 200
    assert [each.result().status_code for each in held] == [200] * 30
    assert ask(lab, token=access).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/api/v2/nothing", "/multipass/api/nothing", "/api/v3/ontologies", "/api//v2/ontologies"],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_path(lab: Lab, verb: str, path: str) -> None:
    """Every unknown path is a 404 in the API's shape, and a verb that a known path does not take a
    405 in it."""
    access = token_for(lab)
    assert said(ask(lab, path, verb, access)) == (404, "NOT_FOUND", "ApiNotFound")
    assert (
        said(ask(lab, ONTOLOGIES, "DELETE", access))[:2]
        == said(ask(lab, TOKEN))[:2]
        == (405, "INVALID_ARGUMENT")
    )


@pytest.mark.parametrize(
    "path", ["ontologies/none", "ontologies/none/objectTypes", "ontologies/none/objects/Sample"]
)
def test_unknown_item(lab: Lab, path: str) -> None:
    """What is not there is a 404 with its own errorName."""
    access = token_for(lab, "")
    assert said(ask(lab, f"/api/v2/{path}", token=access)) == (404, "NOT_FOUND", "OntologyNotFound")
    assert said(ask(lab, "/api/v2/ontologies/lab/objects/X", token=access)) == (
        404,
        "NOT_FOUND",
        "ObjectTypeNotFound",
    )
    assert said(ask(lab, "/api/v2/datasets/none", token=token_for(lab, "api:datasets-read"))) == (
        404,
        "NOT_FOUND",
        "DatasetNotFound",
    )
    assert said(ask(lab, "/api/v2/datasets/none", token=token_for(lab)))[2] == "ApiUsageDenied"


def test_faults(lab: Lab) -> None:
    """The next N answers are what the lever says, in the API's shape, and requests are counted all
    the same."""
    access = token_for(lab)
    lab.next("foundry", 429)
    lab.next("foundry", 500, times=2, path="ontologies")
    lab.next("foundry", 503, path="token")
    assert said(ask(lab, token=access)) == (429, "RATE_LIMITED", "Default:RateLimited")
    assert ask(lab, ME, token=access).status_code == 200
    assert [said(ask(lab, token=access))[:2] for _ in range(2)] == [(500, "INTERNAL")] * 2
    assert [ask_token(lab).status_code for _ in range(2)] == [503, 200]
    assert (lab.count("foundry", f"GET {ONTOLOGIES}"), lab.token_requests("foundry")) == (3, 3)


def renew(lab: Lab, refresh_token: str, **changed: str) -> requests.Response:
    form = {
        "grant_type": "refresh_token",
        "client_id": PUBLIC_CLIENT_ID,
        "refresh_token": refresh_token,
    }
    return ask(lab, TOKEN, "POST", data=form | changed)


def signed_in(lab: Lab) -> tuple[str, str]:
    """(access token, refresh token) of a person who signed in with the public client."""
    body = exchange(lab, code_for(lab)).json()
    return body["access_token"], body["refresh_token"]


def alive(lab: Lab, *tokens: str) -> list[bool]:
    return [ask(lab, ME, token=token).status_code == 200 for token in tokens]


def test_code_grant(lab: Lab) -> None:
    """Allowed on the page, the browser brings code and state; the token acts as the person, with
    the scopes asked for."""
    answer = landed(lab.visit(address(lab)))
    assert (set(answer), answer["state"]) == ({"code", "state"}, "some-state")
    response = exchange(lab, answer["code"])
    body = response.json()
    access, refresh_token = body.pop("access_token"), body.pop("refresh_token")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "api:ontologies-read offline_access",
    }
    assert (response.headers["cache-control"], refresh_token == access) == ("no-store", False)
    assert ask(lab, ME, token=access).json()["username"] == "ada"
    assert ask(lab, token=access).status_code == 200
    assert said(ask(lab, CURRENT, token=access))[2] == "ApiUsageDenied"
    assert (lab.count("foundry", AUTHORIZE), lab.token_requests("foundry")) == (2, 1)
    lab.advance("1h")
    assert alive(lab, access) == [False]


@pytest.mark.parametrize("scope", [None, "api:admin-read"])
def test_code_scopes(lab: Lab, scope: str | None) -> None:
    """No scope asked means all of the application's; a refresh token comes only where
    offline_access was asked for."""
    body = exchange(lab, code_for(lab, scope=scope)).json()
    assert set(body["scope"].split()) == ({scope} if scope else SCOPES - {"offline_access"})
    assert "refresh_token" not in body
    assert ask(lab, CURRENT, token=body["access_token"]).status_code == 200


STRANGERS = [
    None,
    "",
    "https://evil.example/",
    "https://127.0.0.1/",
    "http://127.0.0.1.evil.example/",
    "http://127.0.0.1:80@evil.example/",
    "http://127.0.0.1\\@evil.example/",
    "http://user@localhost/",
    "http://127.0.0.1:8888/#fragment",
    "http://127.0.0.1:8888/\r\nX: y",
    "http://127.0.0.1:\u0661/",
    "//127.0.0.1/",
    "http://[::2]:8888/",
    "http://[::1].evil.example/",
    "http://[::1",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("redirect_uri", STRANGERS, ids=repr)
def test_unregistered_redirect(lab: Lab, redirect_uri: str | None) -> None:
    """To a redirect_uri that is not registered nobody is sent: an error page, whoever the client
    and whatever the error."""
    for more in ({}, {"response_type": "token"}, {"client_id": CLIENT_ID}):
        page = requests.get(
            address(lab, redirect_uri=redirect_uri, **more), allow_redirects=False, timeout=10
        )
        assert (page.status_code, "location" in page.headers) == (400, False)
        assert page.headers["content-type"].startswith("text/html")


def test_unknown_client(lab: Lab) -> None:
    """An unknown client, one given twice, and a redirect_uri given twice get an error page and no
    redirect."""
    good = address(lab)
    for url in (
        address(lab, client_id="<b>"),
        address(lab, client_id=None),
        good + "&client_id=x",
        good + f"&redirect_uri={HERE}",
    ):
        page = requests.get(url, allow_redirects=False, timeout=10)
        assert (page.status_code, "location" in page.headers, "<b>" in page.text) == (
            400,
            False,
            False,
        )
        with pytest.raises(ValueError, match="registered"):
            lab.visit(url)


REGISTERED = ["http://[::1]:8987/", "http://[::1]"]
REGISTERED += [
    "http://127.0.0.1:8987/",
    "http://127.0.0.1:1/any/path?x=1",
    "http://localhost:65535/",
    "http://127.0.0.1",
]


@pytest.mark.parametrize("redirect_uri", REGISTERED)
def test_registered_redirect(lab: Lab, redirect_uri: str) -> None:
    """Loopback is registered for any port and path; code and state are added to what its query
    holds."""
    url = lab.visit(address(lab, redirect_uri=redirect_uri))
    answer = landed(url, redirect_uri)
    assert ({"code", "state"} <= set(answer), answer.get("x")) == (
        True,
        "1" if "x=1" in redirect_uri else None,
    )
    assert exchange(lab, answer["code"], redirect_uri=redirect_uri).status_code == 200


def test_more_redirects(lab: Lab) -> None:
    """A lever registers another redirect_uri, to the letter."""
    other = "https://hub.example/labauth"
    with pytest.raises(ValueError, match="redirect_uri is not registered"):
        lab.visit(address(lab, redirect_uri=other))
    lab.set("foundry", redirects=[other])
    assert landed(lab.visit(address(lab, redirect_uri=other)), other)["state"] == "some-state"
    with pytest.raises(ValueError, match="redirect_uri is not registered"):
        lab.visit(address(lab, redirect_uri=other + "/"))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_redirects_by_path(lab: Lab, host: str) -> None:
    """A loopback address that is registered counts by host, path and query, on any port (RFC 8252
    7.3), and no other does."""
    other = "localhost" if host != "localhost" else "127.0.0.1"
    lab.set("foundry", redirects=[f"http://{host}:8765/cb?app=1", "https://hub.example/labauth"])
    for home in (f"http://{host}:9/cb?app=1", f"http://{host}/cb?app=1"):
        assert exchange(lab, code_for(lab, redirect_uri=home), redirect_uri=home).status_code == 200
    strangers = [
        f"http://{host}:8765/",
        f"http://{host}:8765/cb",
        f"http://{host}:8765/cb?app=2",
        f"http://{other}:8765/cb?app=1",
    ]
    for home in (*strangers, "https://hub.example:8443/labauth"):
        with pytest.raises(ValueError, match="redirect_uri is not registered"):
            lab.visit(address(lab, redirect_uri=home))
    code = code_for(lab, redirect_uri=f"http://{host}:9/cb?app=1")
    assert refused(exchange(lab, code, redirect_uri=f"http://{host}:10/cb?app=1")) == INVALID_GRANT


WRONG_REQUESTS = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "invalid_request"),
    ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge": ""}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": "\u00e9" * 43}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"scope": "api:ontologies-read api:everything"}, "invalid_scope"),
]


@pytest.mark.parametrize(("changed", "error"), WRONG_REQUESTS, ids=str)
def test_authorize_refused(lab: Lab, changed: dict[str, str | None], error: str) -> None:
    """Every other mistake goes back to the client as an error with its description and the state;
    no page is shown."""
    page = requests.get(address(lab, **changed), allow_redirects=False, timeout=10)
    answer = landed(page.headers["location"])
    assert set(answer) == {"error", "error_description", "state"}
    assert (answer["error"], answer["state"]) == (error, "some-state")
    assert page.headers["cache-control"] == "no-store"


def test_repeated_parameters(lab: Lab) -> None:
    """A parameter given twice is refused at both endpoints; a state given twice is not
    sent back."""
    assert landed(lab.visit(address(lab) + "&scope=api:admin-read"))["error"] == "invalid_request"
    answer = landed(lab.visit(address(lab) + "&state=other"))
    assert (answer["error"], "state" in answer) == ("invalid_request", False)
    form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
    ]
    assert refused(ask(lab, TOKEN, "POST", data=[*form, ("client_id", CLIENT_ID)])) == (
        400,
        "invalid_request",
    )


def test_declined(lab: Lab) -> None:
    """Deny gives access_denied with the state; a suspended user is not even asked, and gets nothing
    for an older code."""
    for url in (lab.visit(address(lab), "deny"), lab.visit(address(lab, state=None), "deny")):
        answer = landed(url)
        assert (answer["error"], "code" in answer, "state" in answer) == (
            "access_denied",
            False,
            "some-state" in url,
        )
    code = code_for(lab)
    lab.suspend("foundry")
    assert (
        requests.get(address(lab), allow_redirects=False, timeout=10)
        .headers["location"]
        .startswith(HERE + "?error=access_denied")
    )
    assert landed(lab.visit(address(lab)))["error"] == "access_denied"
    assert refused(exchange(lab, code)) == INVALID_GRANT


def test_consent_page(lab: Lab) -> None:
    """The page says who asks whom for what, is not stored, framed or told to others, and its cookie
    is the server's only."""
    page = requests.get(address(lab, state="<script>"), timeout=10)
    assert page.status_code == 200
    for told in (PUBLIC_CLIENT_ID, "ada", "api:ontologies-read", "offline_access", "SANDBOX"):
        assert told in page.text
    assert "<script" not in page.text
    assert Form(page.text).buttons == [("choice", "allow"), ("choice", "deny")]
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == (
        "no-store",
        "no-referrer",
    )
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "form-action" not in page.headers["content-security-policy"]
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_forged_consent(lab: Lab) -> None:
    """A form counts only from the browser that was shown it, for the very request on it, with its
    seal and a choice."""
    url, other = address(lab), address(lab, scope="api:admin-read")
    with requests.Session() as browser, requests.Session() as stranger:
        seal = Form(browser.get(url, timeout=10).text).inputs["seal"]
        stranger.get(url, timeout=10)
        good = {"seal": seal, "choice": "allow"}

        def send(who: Any, where: str, form: dict[str, str]) -> tuple[int, bool]:
            page = who.post(where, data=form, allow_redirects=False, timeout=10)
            return page.status_code, "location" in page.headers

        wrong = [
            (requests, url, good),
            (stranger, url, good),
            (browser, other, good),
            (browser, url, {"choice": "allow"}),
        ]
        wrong += [
            (browser, url, good | {"seal": seal[::-1]}),
            (browser, url, good | {"seal": "\u00e9"}),
        ]
        wrong += [(browser, url, {"seal": seal}), (browser, url, good | {"choice": "perhaps"})]
        assert [send(*each) for each in wrong] == [(400, False)] * len(wrong)
        assert send(browser, url, good) == (303, True)


def test_callback_page(lab: Lab) -> None:
    """The vendor's own redirect shows the code to be copied, an error as a message, and neither as
    markup."""
    callback = lab.origin("foundry") + CALLBACK
    url = lab.visit(address(lab, redirect_uri=callback))
    code = landed(url, callback)["code"]
    page = requests.get(url, timeout=10)
    assert re.search(r'<code id="code">(.*?)</code>', page.text)[1] == code  # type: ignore[index]
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == (
        "no-referrer",
        "no-store",
    )
    assert exchange(lab, code, redirect_uri=callback).status_code == 200
    with pytest.raises(ValueError, match="The user declined"):
        lab.visit(address(lab, redirect_uri=callback), "deny")
    for query in ("", "?code=<b>", "?error=<b>"):
        assert "<b>" not in requests.get(callback + query, timeout=10).text
    assert requests.get(callback, timeout=10).status_code == 400


WRONG_EXCHANGES: list[dict[str, str | None]] = [
    {"redirect_uri": "http://127.0.0.1:8889/"},
    {"redirect_uri": "http://127.0.0.1:8888"},
    {"code_verifier": VERIFIER + "x"},
    {"code_verifier": CHALLENGE},
    {"code_verifier": "\u00e9" * 50},
    {"code_verifier": None},
    {"code": "x"},
]


@pytest.mark.parametrize("changed", WRONG_EXCHANGES, ids=str)
def test_code_refused(lab: Lab, changed: dict[str, str | None]) -> None:
    """A code counts only with the redirect_uri it was asked with and the verifier of
    its challenge."""
    code = code_for(lab)
    assert refused(exchange(lab, **{"code": code} | changed)) == INVALID_GRANT
    assert (
        refused(exchange(lab, code, redirect_uri=None))
        == refused(exchange(lab, ""))
        == (400, "invalid_request")
    )
    assert exchange(lab, code).status_code == 200


def test_code_lasts_a_minute(lab: Lab) -> None:
    """A code is good for 60 seconds."""
    first, second = code_for(lab), code_for(lab)
    lab.advance(59)
    assert exchange(lab, first).status_code == 200
    lab.advance(1)
    assert refused(exchange(lab, second)) == INVALID_GRANT


def test_code_counts_once(lab: Lab) -> None:
    """A code that comes twice is refused, and every token that came from it ends, also the renewed
    ones; others go on."""
    other, _ = signed_in(lab)
    code = code_for(lab)
    body = exchange(lab, code).json()
    renewed = renew(lab, body["refresh_token"]).json()
    assert alive(lab, body["access_token"], renewed["access_token"]) == [True, True]
    assert refused(exchange(lab, code)) == INVALID_GRANT
    assert alive(lab, body["access_token"], renewed["access_token"], other) == [False, False, True]
    assert refused(renew(lab, renewed["refresh_token"])) == INVALID_GRANT


def test_one_of_many(lab: Lab) -> None:
    """Of 16 requests at once with the same code, or the same refresh token, one is answered, and
    then the family is ended."""
    code, (_, refresh_token) = code_for(lab), signed_in(lab)
    for ask_once in (lambda _: exchange(lab, code), lambda _: renew(lab, refresh_token)):
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask_once, range(16)))
        assert sorted(each.status_code for each in answers) == [200] + [400] * 15
        (good,) = [each.json() for each in answers if each.status_code == 200]
        assert alive(lab, good["access_token"]) == [False]
        assert refused(renew(lab, good["refresh_token"])) == INVALID_GRANT


def test_short_verifier(lab: Lab) -> None:
    """A code_verifier of fewer than 43 characters proves nothing, though its hash fits (RFC 7636
    4.1)."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"short").digest()).rstrip(b"=").decode()
    assert (
        refused(exchange(lab, code_for(lab, code_challenge=challenge), code_verifier="short"))
        == INVALID_GRANT
    )


NO_PKCE: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}


def test_confidential_client(lab: Lab) -> None:
    """The confidential client must authenticate for a code and may leave PKCE away; what it began
    with PKCE it must prove."""
    secret = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    code = code_for(lab, client_id=CLIENT_ID, **NO_PKCE)
    assert refused(exchange(lab, code, client_id=CLIENT_ID, code_verifier=None)) == (
        401,
        "invalid_client",
    )
    wrong = secret | {"client_secret": "x"}
    assert refused(exchange(lab, code, code_verifier=None, **wrong)) == (401, "invalid_client")
    # a verifier without a challenge: PKCE was taken away
    assert refused(exchange(lab, code, **secret)) == INVALID_GRANT
    body = exchange(lab, code, code_verifier=None, **secret).json()
    assert ask(lab, ME, token=body["access_token"]).json()["username"] == "ada"
    assert refused(renew(lab, body["refresh_token"], client_id=CLIENT_ID)) == (
        401,
        "invalid_client",
    )
    assert renew(lab, body["refresh_token"], **secret).status_code == 200
    code = code_for(lab, client_id=CLIENT_ID)
    assert refused(exchange(lab, code, code_verifier=None, **secret)) == INVALID_GRANT
    assert exchange(lab, code, **secret).status_code == 200


def test_another_clients(lab: Lab) -> None:
    """A code or a refresh token of one client is nothing to another; revoking it is refused."""
    secret = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    code = code_for(lab)
    assert refused(exchange(lab, code, **secret)) == INVALID_GRANT
    body = exchange(lab, code).json()
    assert refused(renew(lab, body["refresh_token"], **secret)) == INVALID_GRANT
    for name in ("access_token", "refresh_token"):
        assert (
            refused(ask(lab, REVOKE, "POST", data={"token": body[name], **secret})) == INVALID_GRANT
        )
    assert alive(lab, body["access_token"]) == [True]
    assert renew(lab, body["refresh_token"]).status_code == 200


def test_public_client(lab: Lab) -> None:
    """A public client has no service user; one that shows a secret, or names nobody, is not it."""
    form = {"client_id": PUBLIC_CLIENT_ID, "grant_type": "client_credentials"}
    assert refused(ask(lab, TOKEN, "POST", data=form)) == (400, "unauthorized_client")
    code = code_for(lab)
    assert refused(exchange(lab, code, client_secret="x")) == (401, "invalid_client")
    assert refused(exchange(lab, code, client_id=None)) == (401, "invalid_client")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": HERE,
        "code_verifier": VERIFIER,
    }
    assert refused(ask(lab, TOKEN, "POST", data=form, auth=(PUBLIC_CLIENT_ID, "x"))) == (
        401,
        "invalid_client",
    )


@pytest.mark.parametrize(
    "more", [{}, {"client_id": PUBLIC_CLIENT_ID}, {"client_id": "", "client_secret": ""}], ids=str
)
def test_public_client_as_basic(lab: Lab, more: dict[str, str]) -> None:
    """A public client may be the user name of Basic with an empty password: for a code, to renew
    and to revoke."""

    def send(path: str, **form: str) -> requests.Response:
        return ask(lab, path, "POST", data=form | more, auth=(PUBLIC_CLIENT_ID, ""))

    sent = {"grant_type": "authorization_code", "redirect_uri": HERE, "code_verifier": VERIFIER}
    body = send(TOKEN, code=code_for(lab), **sent).json()
    again = send(TOKEN, grant_type="refresh_token", refresh_token=body["refresh_token"]).json()
    assert alive(lab, body["access_token"], again["access_token"]) == [True, True]
    assert send(REVOKE, token=again["access_token"]).status_code == 200
    assert alive(lab, again["access_token"]) == [False]


def test_public_client_with_empty_secret(lab: Lab) -> None:
    """A client_secret without a value is none (RFC 6749 3.2), beside a public client's name as
    beside a Basic header."""
    assert exchange(lab, code_for(lab), client_secret="").status_code == 200
    beside = ask_token(lab, "basic", grant=GRANT | {"client_secret": "", "client_id": CLIENT_ID})
    assert beside.status_code == 200


@pytest.mark.parametrize("path", [TOKEN, REVOKE])
def test_two_client_ids(lab: Lab, path: str) -> None:
    """A request that names one client in the Basic header and another in its body is
    invalid_client."""
    for other in (PUBLIC_CLIENT_ID, "x"):
        assert refused(ask_token(lab, "basic", grant=GRANT | {"client_id": other}, path=path)) == (
            401,
            "invalid_client",
        )
    twice = GRANT | {"token": ["x", "y"], "scope": ["api:a", "api:b"]}
    assert refused(ask_token(lab, "basic", grant=twice, path=path)) == (400, "invalid_request")
    form = {"client_id": CLIENT_ID, "token": "x", "grant_type": "client_credentials"}
    assert refused(ask(lab, path, "POST", data=form, auth=(PUBLIC_CLIENT_ID, ""))) == (
        401,
        "invalid_client",
    )


def test_refresh_rotates(lab: Lab) -> None:
    """Each refresh gives a new refresh token; when the old one comes again, the whole
    family ends."""
    access, first = signed_in(lab)
    body = renew(lab, first).json()
    assert body["scope"] == "api:ontologies-read offline_access"
    assert body["refresh_token"] != first
    assert alive(lab, access, body["access_token"]) == [True, True]
    third = renew(lab, body["refresh_token"]).json()
    assert refused(renew(lab, first)) == INVALID_GRANT
    assert alive(lab, access, body["access_token"], third["access_token"]) == [False] * 3
    assert refused(renew(lab, third["refresh_token"])) == INVALID_GRANT


def test_refresh_without_rotation(lab: Lab) -> None:
    """Without rotation no refresh token comes with a refresh, and the old one stays good for its
    own life."""
    lab.set("foundry", rotate=False, refresh_life=7200)
    access, refresh_token = signed_in(lab)
    bodies = [renew(lab, refresh_token).json() for _ in range(2)]
    assert [("refresh_token" in body) for body in bodies] == [False, False]
    assert alive(lab, access, *(body["access_token"] for body in bodies)) == [True] * 3
    lab.advance("2h")
    assert refused(renew(lab, refresh_token)) == INVALID_GRANT


def test_refresh_refused(lab: Lab) -> None:
    """A refresh token ends after 30 days, gives no scope beyond its own, and nothing to a suspended
    user."""
    _, refresh_token = signed_in(lab)
    assert refused(renew(lab, refresh_token, scope="api:admin-read")) == (400, "invalid_scope")
    narrow = renew(lab, refresh_token, scope="offline_access").json()
    assert narrow["scope"] == "offline_access"
    assert said(ask(lab, token=narrow["access_token"]))[2] == "ApiUsageDenied"
    assert (
        renew(lab, narrow["refresh_token"]).json()["scope"] == "api:ontologies-read offline_access"
    )
    _, refresh_token = signed_in(lab)
    lab.suspend("foundry")
    assert refused(renew(lab, refresh_token)) == INVALID_GRANT
    lab.suspend("foundry", False)
    assert refused(renew(lab, "")) == (400, "invalid_request")
    assert refused(renew(lab, "unknown")) == INVALID_GRANT
    lab.advance("30d")
    assert refused(renew(lab, refresh_token)) == INVALID_GRANT


def test_revocation(lab: Lab) -> None:
    """The public client revokes by its name: an access token alone, a refresh token with all that
    came from the sign-in."""

    def revoke(token: str, client_id: str = PUBLIC_CLIENT_ID) -> requests.Response:
        return ask(lab, REVOKE, "POST", data={"client_id": client_id, "token": token})

    access, refresh_token = signed_in(lab)
    assert refused(ask(lab, REVOKE, "POST", data={"client_id": PUBLIC_CLIENT_ID})) == (
        400,
        "invalid_request",
    )
    assert refused(revoke("")) == (400, "invalid_request")
    assert (
        refused(revoke(access, CLIENT_ID))
        == refused(revoke(access, "x"))
        == (401, "invalid_client")
    )
    assert [revoke(access).status_code, revoke("unknown").status_code] == [200, 200]
    second = renew(lab, refresh_token).json()
    assert alive(lab, access, second["access_token"]) == [False, True]
    other, _ = signed_in(lab)
    assert revoke(second["refresh_token"]).status_code == 200
    assert alive(lab, second["access_token"], other) == [False, True]
    assert refused(renew(lab, second["refresh_token"])) == INVALID_GRANT


def test_levers_on_signed_in(lab: Lab) -> None:
    """Expiring or revoking by a lever ends access tokens and leaves the refresh token good, unless
    that is asked for too."""
    for lever in (lab.expire, lab.revoke):
        access, refresh_token = signed_in(lab)
        lever("foundry")
        assert alive(lab, access, str(renew(lab, refresh_token).json()["access_token"])) == [
            False,
            True,
        ]
    access, refresh_token = signed_in(lab)
    lab.revoke("foundry", refresh=True)
    assert alive(lab, access) == [False]
    assert refused(renew(lab, refresh_token)) == INVALID_GRANT
    _, refresh_token = signed_in(lab)
    lab.reset()
    assert refused(renew(lab, refresh_token)) == INVALID_GRANT


def test_visit_refuses(lab: Lab) -> None:
    """A visit to another address, with an unknown choice or field, or of a broken page raises with
    a message."""
    with pytest.raises(ValueError, match="not one of the sandbox's"):
        lab.visit("http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="'allow' or 'deny'"):
        lab.visit(address(lab), "perhaps")
    with pytest.raises(ValueError, match="no field 'password'"):
        lab.visit(address(lab), password="x")
    with pytest.raises(ValueError, match="foundry responded with 404"):
        lab.visit(lab.origin("foundry") + "/nothing")
    lab.next("foundry", "html")
    with pytest.raises(ValueError, match="We will be back soon"):
        lab.visit(address(lab))


JUNK = [
    "\u00e9\u4e2d",
    "%ff%fe",
    "a" * 20000,
    "<script>",
    "\x00\r\n",
    "..//",
    "[]",
    "&&==",
    "\U0001f600",
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:9]))
def test_hostile_input(lab: Lab, junk: str) -> None:
    """Whatever is sent to the sign-in endpoints, the sandbox answers with less than 500 and does
    not fail itself."""
    origin, names = (
        lab.origin("foundry"),
        (
            "client_id",
            "redirect_uri",
            "scope",
            "state",
            "code_challenge",
            "response_type",
        ),
    )
    urls = [address(lab, **{name: junk}) for name in names]
    urls += [
        f"{origin}{AUTHORIZE}?{quote(junk, safe='%&=')}",
        f"{address(lab)}&state=%ff%00",
        f"{origin}{CALLBACK}?code={quote(junk)}",
    ]
    for url in urls:
        for verb, form in (("GET", {}), ("POST", {"seal": junk, "choice": junk})):
            answer = requests.request(
                verb,
                url,
                data=form,
                cookies={"sandbox-foundry": "x"},
                allow_redirects=False,
                timeout=10,
            )
            assert answer.status_code < 500
    for name in (
        "grant_type",
        "code",
        "redirect_uri",
        "client_id",
        "client_secret",
        "code_verifier",
        "refresh_token",
        "scope",
        "token",
    ):
        for grant in ("authorization_code", "refresh_token", "client_credentials"):
            form = {
                "grant_type": grant,
                "client_id": PUBLIC_CLIENT_ID,
                "code": "x",
                "redirect_uri": HERE,
            } | {name: junk}
            assert 400 <= ask(lab, TOKEN, "POST", data=form).status_code < 500
    for header in ("Basic \xff", "Basic ====", "Basic " + "Q" * 4001, "Bearer \xff"):
        sent = requests.post(
            origin + TOKEN,
            data={"grant_type": "refresh_token"},
            headers={"Authorization": header},
            timeout=10,
        )
        assert refused(sent) == (401, "invalid_client")
    assert ask(lab, TOKEN, "POST", data=b"\xff=\xfe&grant_type", headers={}).status_code == 400


def client_for(lab: Lab, scopes: list[str] | None, secret: str = "") -> Any:
    """foundry-platform-sdk pointed at the sandbox."""
    import foundry_sdk

    fields, config = lab.credentials("foundry", "service-user"), foundry_sdk.Config(scheme="http")
    auth = foundry_sdk.ConfidentialClientAuth(
        fields["client_id"], secret or fields["client_secret"], scopes=scopes, should_refresh=False
    )
    return foundry_sdk.FoundryClient(
        auth=auth, hostname=lab.origin("foundry").removeprefix("http://"), config=config
    )


@pytest.mark.witness
def test_witness(lab: Lab) -> None:
    """foundry-platform-sdk signs in as a service user, and reads ontologies, their types and all
    objects over their pages."""
    client = client_for(lab, ["api:ontologies-read"])
    assert [each.api_name for each in client.ontologies.Ontology.list().data] == [
        "lab",
        "manufacturing",
    ]
    assert client.ontologies.Ontology.get("lab").display_name == "Laboratory"
    assert [each.api_name for each in client.ontologies.Ontology.ObjectType.list("lab")] == [
        "Sample"
    ]
    objects = list(client.ontologies.OntologyObject.list("lab", "Sample", page_size=50))
    assert (len(objects), len({each["sampleId"] for each in objects})) == (130, 130)
    assert lab.count("foundry", f"GET {OBJECTS}") == 3
    assert lab.token_requests("foundry") == 1


@pytest.mark.witness
def test_witness_missing_scope(lab: Lab) -> None:
    """foundry-platform-sdk sees a missing scope as PermissionDenied with its name; without scopes
    it has them all."""
    import foundry_sdk

    client = client_for(lab, ["api:datasets-read"])
    with pytest.raises(foundry_sdk.PermissionDeniedError) as caught:
        client.ontologies.Ontology.list()
    assert (caught.value.name, caught.value.parameters) == (
        "ApiUsageDenied",
        {"missingScope": "api:ontologies-read"},
    )
    assert client_for(lab, None).admin.User.get_current().username == "sandbox-service-user"


@pytest.mark.witness
def test_witness_refused(lab: Lab) -> None:
    """foundry-platform-sdk reports a wrong secret, a dead token and an unknown ontology by its own
    errors."""
    import foundry_sdk

    with pytest.raises(foundry_sdk.SDKInternalError, match=r"401 UNAUTHORIZED.*oauth2/token"):
        client_for(lab, None, secret="wrong").ontologies.Ontology.list()
    client = client_for(lab, None)
    with pytest.raises(foundry_sdk.NotFoundError):
        client.ontologies.Ontology.get("none")
    lab.revoke("foundry")
    with pytest.raises(foundry_sdk.UnauthorizedError):
        client.ontologies.Ontology.list()


@pytest.mark.witness
def test_witness_public_client(lab: Lab) -> None:
    """foundry-platform-sdk's PublicClientAuth signs in by code, renews with each new refresh token,
    and signs out."""
    import foundry_sdk

    # the SDK counts a token as expired 60 s early, so it renews this one at every call
    lab.set("foundry", life=60)
    auth = foundry_sdk.PublicClientAuth(
        PUBLIC_CLIENT_ID, HERE, scopes=["api:ontologies-read"], should_refresh=False
    )
    hostname, config = (
        lab.origin("foundry").removeprefix("http://"),
        foundry_sdk.Config(scheme="http"),
    )
    client = foundry_sdk.FoundryClient(auth=auth, hostname=hostname, config=config)
    ontologies = client.ontologies.Ontology  # making it tells `auth` the host and the scheme
    url = auth.sign_in()
    assert url.startswith(lab.origin("foundry") + AUTHORIZE)
    answer = landed(lab.visit(url))
    auth.set_token(answer["code"], answer["state"])
    assert [each.api_name for each in ontologies.list().data] == ["lab", "manufacturing"]
    assert ontologies.get("lab").display_name == "Laboratory"
    assert lab.token_requests("foundry") == 3
    lab.set("foundry", life=3600)
    access = auth.get_token().access_token
    assert alive(lab, access) == [True]
    auth.sign_out()
    assert alive(lab, access) == [False]
