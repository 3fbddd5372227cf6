"""Benchling on the sandbox: what it enforces, the shapes of its answers, and the vendor's own
client as a witness."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import yaml
from conftest import check_headers
from jsonschema import Draft4Validator

from labauth_nb import SignInRefused, login
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.identity import CLIENT_ID, EMAIL

TOKEN, PLATES = "/api/v2/token", "/api/v2/plates"
GRANT = {"grant_type": "client_credentials"}


def ask(lab: Lab, path: str = PLATES, verb: str = "GET", **options: Any) -> requests.Response:
    return requests.request(verb, lab.origin("benchling") + path, timeout=10, **options)


def ask_token(
    lab: Lab, way: str = "basic", grant: dict[str, str] = GRANT, **changed: str
) -> requests.Response:
    """A token request with the client authentication in the Basic header, in the body, in both or
    in neither."""
    client = lab.credentials("benchling", "app") | changed
    form = grant | (client if way in ("body", "both") else {})
    basic = (client["client_id"], client["client_secret"]) if way in ("basic", "both") else None
    return ask(lab, TOKEN, "POST", data=form, auth=basic)


def as_app(lab: Lab) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask_token(lab).json()['access_token']}"}


def as_user(lab: Lab) -> tuple[str, str]:
    return lab.credentials("benchling", "api-key")["api_key"], ""


def said(response: requests.Response) -> tuple[int, str]:
    """(status, type) of an answer in Benchling's error shape."""
    error = response.json()["error"]
    assert (
        {"type", "message", "userMessage"}
        <= set(error)
        <= {"type", "message", "userMessage", "invalidId"}
    )
    assert list(response.json()) == ["error"]
    check_headers(response)
    return response.status_code, error["type"]


@pytest.mark.parametrize("way", ["basic", "body"])
def test_client_authentication(lab: Lab, way: str) -> None:
    """A token comes for the client's secret in the Basic header as well as in the body, for 15
    minutes."""
    body = ask_token(lab, way).json()
    assert (body.pop("access_token")[:3], body) == (
        "eyJ",
        {"token_type": "Bearer", "expires_in": 900},
    )


WRONG_CLIENTS = [
    ("basic", {"client_secret": "x"}),
    ("body", {"client_secret": "x"}),
    ("basic", {"client_id": "x"}),
]


@pytest.mark.parametrize(("way", "changed"), [*WRONG_CLIENTS, ("neither", {}), ("both", {})])
def test_client_refused(lab: Lab, way: str, changed: dict[str, str]) -> None:
    """A wrong client, none, or one given twice is 401 invalid_client in Benchling's
    error object."""
    assert said(ask_token(lab, way, **changed)) == (401, "invalid_client")


def test_two_client_ids(lab: Lab) -> None:
    """Basic may have its own client_id and an empty client_secret beside it; another client_id is
    invalid_client."""
    client_id = lab.credentials("benchling", "app")["client_id"]
    for good in ({"client_id": client_id}, {"client_id": "", "client_secret": ""}):
        assert ask_token(lab, grant=GRANT | good).status_code == 200
    assert said(ask_token(lab, grant=GRANT | {"client_id": "x"})) == (401, "invalid_client")
    assert said(ask_token(lab, grant=GRANT | {"client_id": [client_id, "x"]})) == (
        400,
        "invalid_request",
    )


def test_challenges(lab: Lab) -> None:
    """401 names Basic to a client or an API key, else Bearer, with invalid_token for a token that
    is unknown."""
    for response in (
        ask_token(lab, client_secret="x"),
        ask_token(lab, "neither"),
        ask(lab, auth=("sk_other", "")),
    ):
        assert response.headers["WWW-Authenticate"] == 'Basic realm="sandbox"'
    assert ask(lab).headers["WWW-Authenticate"] == 'Bearer realm="sandbox"'
    dead = ask(lab, headers={"Authorization": "Bearer x"})
    assert dead.headers["WWW-Authenticate"] == 'Bearer realm="sandbox", error="invalid_token"'


@pytest.mark.parametrize("grant", ["", "password", "refresh_token", "authorization_code"])
def test_grant_refused(lab: Lab, grant: str) -> None:
    """The client credentials grant is the only one."""
    expected = "unsupported_grant_type" if grant else "invalid_request"
    assert said(ask_token(lab, grant={"grant_type": grant})) == (400, expected)


def test_expiry(lab: Lab) -> None:
    """An app's token is good until its 900 seconds are over, by the sandbox's clock."""
    app = as_app(lab)
    lab.advance("14m")
    assert ask(lab, headers=app).status_code == 200
    lab.advance(60)
    assert said(ask(lab, headers=app)) == (401, "authentication_error")


@pytest.mark.parametrize("lever", ["expire", "revoke"])
def test_token_ended(lab: Lab, lever: str) -> None:
    """Expired or revoked by a lever: the token is refused at once, and the next one is good."""
    app = as_app(lab)
    getattr(lab, lever)("benchling")
    assert said(ask(lab, headers=app)) == (401, "authentication_error")
    assert ask(lab, headers=as_app(lab)).status_code == 200


def test_api_key(lab: Lab) -> None:
    """The API key counts only as the Basic user name, with an empty password."""
    key, _ = as_user(lab)
    assert ask(lab, auth=(key, "")).status_code == 200
    for wrong in (
        {"auth": (key, key)},
        {"auth": ("sk_other", "")},
        {"headers": {"Authorization": f"Bearer {key}"}},
        {},
    ):
        assert said(ask(lab, **wrong)) == (401, "authentication_error")


def test_suspended_user(lab: Lab) -> None:
    """A suspended user's API key and ID token stop, the app goes on, and the same key works again
    afterwards."""
    key, app = as_user(lab), as_app(lab)
    user = {"Authorization": f"Bearer {lab.credentials('benchling', 'id-token')['id_token']}"}
    lab.suspend("benchling")
    assert [
        ask(lab, **way).status_code for way in ({"auth": key}, {"headers": user}, {"headers": app})
    ] == [401, 401, 200]
    lab.suspend("benchling", False)
    assert [ask(lab, **way).status_code for way in ({"auth": key}, {"headers": user})] == [200, 200]


def test_archived_app(lab: Lab) -> None:
    """An archived app's tokens stop and it gets no new one; unarchived, the same secret works,
    until it is regenerated."""
    app = as_app(lab)
    lab.archive()
    assert said(ask(lab, headers=app)) == (401, "authentication_error")
    with pytest.raises(SignInRefused, match="401 invalid_client"):
        login("benchling", "app", tenant="sandbox")
    lab.archive(False)
    old = lab.credentials("benchling", "app")["client_secret"]
    assert ask(lab, headers=as_app(lab)).status_code == 200
    lab.set("benchling", client_secret="another")
    assert said(ask_token(lab, client_secret=old)) == (401, "invalid_client")
    assert ask_token(lab).status_code == 200


def with_id_token(lab: Lab, token: str = "") -> int:
    """The status for an ID token (none: a fresh one)."""
    token = token or lab.credentials("benchling", "id-token")["id_token"]
    return ask(lab, headers={"Authorization": f"Bearer {token}"}).status_code


WRONG_CLAIMS = [
    {"email": "nobody@sandbox.example"},
    {"email": None},
    {"iss": "https://x"},
    {"aud": "x"},
    {"exp": "never"},
]
WRONG_CLAIMS += [{"exp": None}, {"email": ["ada@sandbox.example"]}, {"aud": None}, {"iss": None}]


@pytest.mark.parametrize("changed", [{}, *WRONG_CLAIMS], ids=str)
def test_id_token(lab: Lab, changed: dict[str, Any]) -> None:
    """An ID token of the identity provider counts with the right issuer, audience and e-mail
    address, until it expires."""
    now, (kid, key) = int(lab.clock.time()), lab.sites["idp"].keys.current
    claims = {
        "iss": lab.origin("idp"),
        "sub": "ada",
        "email": EMAIL,
        "aud": CLIENT_ID,
        "exp": now + 600,
    } | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    signed = jwt.api_jws.encode(
        json.dumps(claims).encode(), key, algorithm="RS256", headers={"kid": kid}
    )
    assert with_id_token(lab, signed) == (401 if changed else 200)
    lab.advance(600)
    assert with_id_token(lab, signed) == 401


@pytest.mark.parametrize("fault", ["none", "hs256", "signature"])
def test_spoiled_id_token(lab: Lab, fault: str) -> None:
    """A spoiled ID token is refused: unsigned, signed with the public key, or wrongly; its claims:
    test_id_token."""
    lab.set("idp", fault=fault)
    assert with_id_token(lab) == 401
    lab.set("idp", fault="")
    assert with_id_token(lab) == 200


@pytest.mark.parametrize("keep_kid", [False, True])
def test_rotated_keys(lab: Lab, keep_kid: bool) -> None:
    """After the identity provider's keys were rotated, or it was reset, its older ID tokens are
    refused and new ones count."""
    old = lab.credentials("benchling", "id-token")["id_token"]
    assert with_id_token(lab, old) == 200
    lab.rotate_keys(keep_kid)
    assert [with_id_token(lab, old), with_id_token(lab)] == [401, 200]
    old = lab.credentials("benchling", "id-token")["id_token"]
    lab.reset()
    assert [with_id_token(lab, old), with_id_token(lab)] == [401, 200]


@pytest.mark.parametrize("site", ["benchling", "idp"])
@pytest.mark.parametrize("lever", ["expire", "revoke"])
def test_id_token_ended(lab: Lab, lever: str, site: str) -> None:
    """Expired or revoked by a lever on Benchling or on the identity provider, an ID token is
    refused; the next is good."""
    token = lab.credentials("benchling", "id-token")["id_token"]
    assert with_id_token(lab, token) == 200
    getattr(lab, lever)(site)
    assert [with_id_token(lab, token), with_id_token(lab)] == [401, 200]


HOSTILE = [
    "a.b.c",
    "...",
    "\u00e9",
    "e30.e30.e30",
    "W10.W10.",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6e319.e30.x",
    "W1tb" * 9000 + ".e30.x",
]


@pytest.mark.parametrize("token", HOSTILE, ids=lambda token: repr(token[:9]))
def test_hostile_token(lab: Lab, token: str) -> None:
    """No bearer token, however malformed, is more than refused."""
    answer = ask(lab, headers={"Authorization": b"Bearer " + token.encode()})
    assert said(answer) == (401, "authentication_error")
    answer = ask(lab, headers={"Authorization": b"Basic " + token.encode()})
    assert said(answer) == (401, "authentication_error")


def test_app_without_projects(lab: Lab) -> None:
    """An app that was added to no project sees empty lists and 404, not an error; the user sees
    everything."""
    lab.set("benchling", member=False)
    app = as_app(lab)
    assert ask(lab, headers=app).json() == {"plates": [], "nextToken": ""}
    assert said(ask(lab, PLATES + "/plt_sandbox001", headers=app)) == (404, "invalid_request_error")
    assert len(ask(lab, auth=as_user(lab)).json()["plates"]) == 50


def test_users(lab: Lab) -> None:
    """The tenant's users come in pages, each one also by id, and an app without projects sees none
    of them."""
    app = as_app(lab)
    pages = [ask(lab, "/api/v2/users", headers=app, params={"pageSize": 50}).json()]
    pages.append(
        ask(lab, "/api/v2/users", headers=app, params={"nextToken": pages[0]["nextToken"]}).json()
    )
    assert ([len(page["users"]) for page in pages], pages[1]["nextToken"]) == ([50, 10], "")
    assert len({user["id"] for page in pages for user in page["users"]}) == 60
    assert ask(lab, "/api/v2/users/ent_sandbox1", headers=app).json()["handle"] == "ada"
    lab.set("benchling", member=False)
    assert ask(lab, "/api/v2/users", headers=app).json()["users"] == []
    assert said(ask(lab, "/api/v2/users")) == (401, "authentication_error")


def test_paging(lab: Lab) -> None:
    """120 plates come in pages of 50, 50 and 20, each plate once; the last nextToken is the empty
    string."""
    pages, token = [], ""
    while not pages or token:
        body = ask(lab, params={"nextToken": token}, headers=as_app(lab)).json()
        pages, token = [*pages, [plate["id"] for plate in body["plates"]]], body["nextToken"]
    assert ([len(page) for page in pages], token) == ([50, 50, 20], "")
    assert len({key for page in pages for key in page}) == 120


WRONG_PAGES = [
    {"pageSize": 0},
    {"pageSize": 101},
    {"pageSize": "x"},
    {"nextToken": "x"},
    {"nextToken": "LTk="},
]


@pytest.mark.parametrize("params", WRONG_PAGES, ids=str)
def test_page_refused(lab: Lab, params: dict[str, Any]) -> None:
    """A page size over 100 and a token that was never given are 400."""
    assert said(ask(lab, params=params, auth=as_user(lab))) == (400, "invalid_request_error")


@pytest.mark.parametrize(("who", "most"), [("app", 300), ("user", 60)])
def test_rate_limit(lab: Lab, who: str, most: int) -> None:
    """An app has 300 requests in 30 s, all user keys together 60; the headers count down, and after
    the reset it goes on."""
    way: dict[str, Any] = {"headers": as_app(lab)} if who == "app" else {"auth": as_user(lab)}
    with requests.Session() as held:
        url = lab.origin("benchling") + PLATES + "?pageSize=1"
        answers = [held.get(url, **way) for _ in range(most + 1)]
        assert [a.status_code for a in answers] == [200] * most + [429]
        assert [int(a.headers["x-rate-limit-remaining"]) for a in answers] == [
            *range(most - 1, -1, -1),
            0,
        ]
        assert {a.headers["x-rate-limit-limit"] for a in answers} == {str(most)}
        assert said(answers[-1]) == (429, "invalid_request_error")
        assert answers[-1].json()["error"]["message"] == "Rate limit exceeded."
        assert "retry-after" not in answers[-1].headers
        lab.advance(int(answers[-1].headers["x-rate-limit-reset"]))
        assert held.get(url, **way).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/v2/nothing", "/api/v1/plates", "/api//v2/plates", "/api/v2/plates/", "/<b>"]
)
@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_unknown_path(lab: Lab, verb: str, path: str) -> None:
    """Every unknown path is a 404 in Benchling's shape; a verb that a known path does not take is a
    405 in it."""
    assert said(ask(lab, path, verb, headers=as_app(lab))) == (404, "invalid_request_error")
    assert (
        said(ask(lab, TOKEN)) == said(ask(lab, PLATES, "DELETE")) == (405, "invalid_request_error")
    )


def test_faults(lab: Lab) -> None:
    """The next N answers are what the lever says, on the path it names; the one after
    them is good."""
    app = as_app(lab)
    for status, kind in ((429, "invalid_request_error"), (500, "api_error"), (503, "api_error")):
        lab.next("benchling", status, times=2, path="plates", seconds=7)
        assert ask(lab, "/api/v2/projects", headers=app).status_code == 200
        answers = [ask(lab, headers=app) for _ in range(3)]
        assert [a.status_code for a in answers] == [status, status, 200]
        assert {said(a) for a in answers[:2]} == {(status, kind)}
        assert status != 429 or answers[0].headers["x-rate-limit-reset"] == "7"


def test_broken_answers(lab: Lab) -> None:
    """A web page, a response that breaks off and one that takes too long come on
    request, once each."""
    app = as_app(lab)
    lab.next("benchling", "html")
    page = ask(lab, headers=app)
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (503, "text/html")
    lab.next("benchling", "truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(lab, headers=app)
    lab.next("benchling", "slow", seconds=0.3)
    with pytest.raises(requests.Timeout):
        requests.get(lab.origin("benchling") + PLATES, headers=app, timeout=0.1)
    assert ask(lab, headers=app).status_code == 200


def test_counters(lab: Lab) -> None:
    """Requests are counted by verb and path; a reset brings counters, clock and levers back to the
    first state."""
    app, began = as_app(lab), lab.clock.time()
    ask(lab, headers=app)
    assert (
        lab.count("benchling", f"GET {PLATES}"),
        lab.count("benchling"),
        lab.token_requests("benchling"),
    ) == (1, 2, 1)
    lab.advance("1d")
    lab.next("benchling", 500, times=9)
    lab.reset()
    assert (lab.count("benchling"), ask(lab).status_code) == (0, 401)
    assert lab.clock.time() - began < 3600


@functools.cache
def openapi() -> dict[str, Any]:
    """Benchling's OpenAPI file, its `nullable` (OpenAPI 3.0) in JSON Schema's words."""
    import benchling_api_client.v2.stable

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(each) for each in node]
        if not isinstance(node, dict):
            return node
        rest = {
            key: plain(value)
            for key, value in node.items()
            if not (key == "nullable" and isinstance(value, bool))
        }
        return {"anyOf": [rest, {"type": "null"}]} if node.get("nullable") is True else rest

    text = (Path(benchling_api_client.v2.stable.__path__[0]) / "openapi.yaml").read_text(
        encoding="utf-8"
    )
    return plain(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # type: ignore[no-any-return]


def check_shape(response: requests.Response, path: str, verb: str = "get") -> None:
    """`response` keeps to the schema that the OpenAPI file has for this path, verb and status."""
    documented = openapi()["paths"][path][verb]["responses"][str(response.status_code)]
    schema = documented["content"]["application/json"]["schema"]
    Draft4Validator({"allOf": [schema], "components": openapi()["components"]}).validate(
        response.json()
    )


def keys(schema: dict[str, Any]) -> set[str]:
    """The keys that a record of this schema has, those of what it is made of included."""
    if "$ref" in schema:
        return keys(openapi()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return set(schema.get("properties", {})).union(
        *(keys(each) for each in schema.get("allOf", []))
    )


SHAPES = [("plates", "plate"), ("entries", "entry"), ("projects", "project"), ("users", "user")]


@pytest.mark.parametrize(("name", "one"), SHAPES)
def test_shapes(lab: Lab, name: str, one: str) -> None:
    """Lists and single items keep to Benchling's own schema, and each record has
    exactly its keys."""
    page = ask(lab, f"/api/v2/{name}", auth=as_user(lab))
    check_shape(page, f"/{name}")
    for row in page.json()[name]:
        assert set(row) == keys(openapi()["components"]["schemas"][one.title()])
    check_shape(
        ask(lab, f"/api/v2/{name}/{page.json()[name][0]['id']}", auth=as_user(lab)),
        f"/{name}/{{{one}_id}}",
    )
    missing = ask(lab, f"/api/v2/{name}/none", auth=as_user(lab))
    check_shape(missing, f"/{name}/{{{one}_id}}")
    assert missing.json()["error"]["invalidId"] == "none"


def test_shapes_of_refusals(lab: Lab) -> None:
    """The token endpoint's answers and a refused page keep to Benchling's own schema."""
    for response in (
        ask_token(lab),
        ask_token(lab, grant={}),
        ask_token(lab, client_secret="wrong"),
    ):
        check_shape(response, "/token", "post")
    check_shape(ask(lab, params={"pageSize": 101}, auth=as_user(lab)), "/plates")


@pytest.mark.witness
def test_witness_app(lab: Lab) -> None:
    """benchling-sdk signs in with client credentials and lists all plates page by page, for one
    token request."""
    from benchling_sdk.auth.client_credentials_oauth2 import ClientCredentialsOAuth2
    from benchling_sdk.benchling import Benchling

    client = Benchling(
        lab.origin("benchling"), ClientCredentialsOAuth2(**lab.credentials("benchling", "app"))
    )
    pages = [[plate.id for plate in page] for page in client.plates.list(page_size=50)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert len({key for page in pages for key in page}) == 120
    assert client.plates.get_by_id("plt_sandbox001").barcode == "PLT00001"
    assert client.entries.get_entry_by_id("etr_sandbox001").display_id == "EXP26000001"
    assert lab.token_requests("benchling") == 1

    refused = Benchling(
        lab.origin("benchling"), ClientCredentialsOAuth2("sandbox-benchling-app", "wrong")
    )
    with pytest.raises(Exception, match=r"HTTP 401: .*Client authentication failed"):
        refused.plates.get_by_id("plt_sandbox001")


@pytest.mark.witness
def test_witness_api_key(lab: Lab) -> None:
    """benchling-sdk signs in with the API key, and understands the refusal of a suspended user as
    its own error."""
    from benchling_sdk.auth.api_key_auth import ApiKeyAuth
    from benchling_sdk.benchling import Benchling
    from benchling_sdk.errors import BenchlingError

    client = Benchling(
        lab.origin("benchling"), ApiKeyAuth(lab.credentials("benchling", "api-key")["api_key"])
    )
    assert [len(page) for page in client.plates.list(page_size=100)] == [100, 20]
    lab.suspend("benchling")
    with pytest.raises(BenchlingError) as caught:
        client.plates.get_by_id("plt_sandbox001")
    assert (caught.value.status_code, caught.value.json["error"]["type"]) == (
        401,
        "authentication_error",
    )
