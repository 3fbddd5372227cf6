"""DNAnexus on the sandbox: what it enforces, the shapes of its answers, and the vendor's own client
as a witness."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
import requests
from conftest import check_headers
from pages import HERE, Client, Form, landed, refused

from labauth_nb import ProviderError, SignInRefused, login, logout, session
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.dnanexus import FILES, LOCKED, PROJECTS

NEW, DESTROY, WHOAMI = "/system/newAuthToken", "/system/destroyAuthToken", "/system/whoami"
AUTHORIZE, TOKEN = "/oauth2/authorize", "/oauth2/token"
SERVER = Client("dnanexus", AUTHORIZE, TOKEN, {"client_id": "apiserver", "state": "a state"})
address, exchange = SERVER.address, SERVER.exchange
USER_INFO, GREET = "/system/getUserInfo", "/system/greet"
FIND_PROJECTS, FIND_DATA = "/system/findProjects", "/system/findDataObjects"


def ask(
    lab: Lab,
    path: str = WHOAMI,
    token: str = "",
    body: Any = None,
    verb: str = "POST",
    **options: Any,
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options.setdefault("json", {} if body is None else body)
    return requests.request(
        verb, lab.origin("dnanexus") + path, headers=headers, timeout=10, **options
    )


def ask_token(lab: Lab, seconds: float = 3600, **changed: Any) -> requests.Response:
    """A sign-in with user name and password, for a token that lasts `seconds`."""
    fields = lab.credentials("dnanexus", "password") | {"otp": None}
    return ask(
        lab, NEW, body={"expires": int((lab.clock.time() + seconds) * 1000)} | fields | changed
    )


def pasted(lab: Lab, method: str = "api-token") -> str:
    return lab.credentials("dnanexus", method)["token"]


def signature(token: str) -> dict[str, str]:
    return {"tokenSignature": hashlib.sha256(token.encode()).hexdigest()}


def said(response: requests.Response) -> tuple[int, str]:
    """(status, type) of an answer in DNAnexus' error shape; JSON even then, which dxpy needs."""
    assert list(response.json()) == ["error"]
    assert {"type", "message"} <= set(response.json()["error"])
    assert response.headers["content-type"] == "application/json"
    check_headers(response)
    return response.status_code, response.json()["error"]["type"]


DEAD = (401, "InvalidAuthentication")


def test_password(lab: Lab) -> None:
    """User name and password give a token, its signature and the user, and it lasts as long as was
    asked for."""
    body = ask_token(lab, seconds=18 * 3600).json()
    token = body["access_token"]
    assert body["token_signature"] == signature(token)["tokenSignature"]
    assert (body["token_type"], body["user_id"]) == ("Bearer", "user-ada")
    lab.advance("17h")
    assert ask(lab, token=token).json() == {"id": "user-ada"}
    lab.advance("1h")
    assert said(ask(lab, token=token)) == DEAD


@pytest.mark.parametrize(
    "changed", [{"password": "wrong"}, {"username": "wrong"}, {"password": None}], ids=str
)
def test_password_refused(lab: Lab, changed: dict[str, Any]) -> None:
    """A wrong user name or password gets no token."""
    assert said(ask_token(lab, **changed)) == (401, "UsernameOrPasswordError")


@pytest.mark.parametrize(
    "expires", [None, "tomorrow", 1_000_000, 10**400], ids=lambda value: str(value)[:9]
)
def test_expires_refused(lab: Lab, expires: object) -> None:
    """A token must be asked for until a time in the future, in milliseconds."""
    assert said(ask_token(lab, expires=expires)) == (422, "InvalidInput")


def test_new_password_and_suspension(lab: Lab) -> None:
    """After a new password the old one is refused; a suspended user cannot sign in, and its tokens
    stop for that time."""
    token = ask_token(lab).json()["access_token"]
    lab.set("dnanexus", password="another")
    assert said(ask_token(lab, password="sandbox-dnanexus-password")) == (
        401,
        "UsernameOrPasswordError",
    )
    lab.suspend("dnanexus")
    assert said(ask_token(lab)) == (401, "UsernameOrPasswordError")
    assert said(ask(lab, token=token)) == DEAD
    lab.suspend("dnanexus", False)
    assert ask(lab, token=token).status_code == 200


def test_otp(lab: Lab) -> None:
    """With two-factor sign-in the code is asked for only after the right password, and only the
    right code opens."""
    lab.set("dnanexus", otp="246810")
    assert said(ask_token(lab, password="wrong", otp="246810")) == (401, "UsernameOrPasswordError")
    assert said(ask_token(lab)) == said(ask_token(lab, otp="")) == (401, "OTPRequiredError")
    assert said(ask_token(lab, otp="000000")) == (401, "OTPMismatchError")
    assert ask_token(lab, otp="246810").status_code == 200
    with pytest.raises(SignInRefused, match="401 OTPRequiredError"):
        login("dnanexus", "password", tenant="sandbox")
    assert login("dnanexus", "password", tenant="sandbox", otp="246810").who == "ada"


def test_otp_lock(lab: Lab) -> None:
    """After three wrong codes not even the right one is taken, until a while has passed; asking
    without a code is no try."""
    lab.set("dnanexus", otp="246810")
    for code in ("000000", None, "111111", None, "222222"):
        ask_token(lab, otp=code)
    assert said(ask_token(lab, otp="246810")) == (401, "OTPMismatchError")
    lab.advance("15m")
    assert ask_token(lab, otp="246810").status_code == 200


@pytest.mark.parametrize("method", ["api-token", "job"])
@pytest.mark.parametrize("lever", ["expire", "revoke", "reset"])
def test_token_ended(lab: Lab, method: str, lever: str) -> None:
    """Expired, revoked or forgotten by a lever: API and job tokens are refused at once, until a new
    one is pasted."""
    token = pasted(lab, method)
    assert ask(lab, token=token).status_code == 200
    lab.reset() if lever == "reset" else getattr(lab, lever)("dnanexus")
    assert said(ask(lab, token=token)) == DEAD
    assert ask(lab, token=pasted(lab, method)).status_code == 200


def test_lasting(lab: Lab) -> None:
    """An API token outlives a year, and a server clock that is off by an hour."""
    token = pasted(lab)
    lab.advance("365d")
    lab.skew(3600)
    assert ask(lab, token=token).status_code == 200


def test_destroyed_token(lab: Lab) -> None:
    """A token is destroyed by its signature, sent with a good token; then it is unknown, and others
    go on."""
    token, other = (ask_token(lab).json()["access_token"] for _ in range(2))
    assert said(ask(lab, DESTROY, body=signature(token))) == DEAD
    assert said(ask(lab, DESTROY, token, {"tokenSignature": "x"})) == (404, "ResourceNotFound")
    assert ask(lab, DESTROY, token, signature(token)).json() == signature(token)
    assert said(ask(lab, token=token)) == said(ask(lab, DESTROY, token, signature(token))) == DEAD
    assert ask(lab, token=token).json()["error"]["message"] == "The token could not be found"
    assert ask(lab, token=other).status_code == 200


def test_log_out_destroys(lab: Lab) -> None:
    """Logging out destroys the token that we asked for, and leaves a pasted one alone."""
    minted = login("dnanexus", "password", tenant="sandbox").token().access_token
    logout("dnanexus")
    kept = login("dnanexus", "api-token", tenant="sandbox").token().access_token
    logout("dnanexus")
    assert [ask(lab, token=token).status_code for token in (minted, kept)] == [401, 200]


NOT_JSON = [
    {"json": []},
    {"json": "text"},
    {"json": None, "data": "{"},
    {"json": None, "data": "{}"},
    {"json": None},
]


@pytest.mark.parametrize("options", NOT_JSON, ids=str)
@pytest.mark.parametrize("path", [WHOAMI, NEW])
def test_post_and_json_only(lab: Lab, path: str, options: dict[str, Any]) -> None:
    """Every call is a POST with a JSON hash, said to be JSON; anything else is refused in DNAnexus'
    shape."""
    assert said(ask(lab, path, pasted(lab), **options)) == (400, "MalformedJSON")
    assert said(ask(lab, path, pasted(lab), verb="GET")) == (404, "ResourceNotFound")


def test_who(lab: Lab) -> None:
    """Who I am is told to a token and to nobody else: without one the message asks to log in."""
    token = pasted(lab)
    assert ask(lab, token=token).json() == {"id": "user-ada"}
    assert ask(lab, "/user-ada/describe", token).json()["handle"] == "ada"
    for path in (WHOAMI, DESTROY, FIND_PROJECTS, FIND_DATA, "/user-ada/describe"):
        assert said(ask(lab, path)) == said(ask(lab, path, "unknown")) == DEAD
    assert ask(lab).json()["error"]["message"] == "You need to be logged in to use this method"


def test_user_info_and_greeting(lab: Lab) -> None:
    """GetUserInfo has the user name that `dx login` reads, greet no news; both need a token, and
    POST with JSON."""
    token = pasted(lab)
    assert ask(lab, USER_INFO, token).json() == {"username": "ada"}
    assert ask(lab, GREET, token, {"client": "dxclient"}).json() == {
        "messages": [],
        "update": {"available": False},
    }
    for path in (USER_INFO, GREET):
        assert said(ask(lab, path)) == said(ask(lab, path, "unknown")) == DEAD
        assert said(ask(lab, path, token, verb="GET")) == (404, "ResourceNotFound")
        assert said(ask(lab, path, token, json=[])) == (400, "MalformedJSON")


def test_challenges(lab: Lab) -> None:
    """401 names Bearer, with invalid_token for a token that is dead, and not where the token only
    lacks a permission."""
    assert (
        ask(lab, token="x").headers["WWW-Authenticate"]
        == 'Bearer realm="sandbox", error="invalid_token"'
    )
    for response in (
        ask(lab),
        ask(lab, f"/{LOCKED}/describe", pasted(lab)),
        ask_token(lab, password="x"),
    ):
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (
            401,
            'Bearer realm="sandbox"',
        )


def test_permission_denied(lab: Lab) -> None:
    """No access is 401 as well, of another type: the token is good, and the session says what it
    means."""
    token = pasted(lab)
    assert said(ask(lab, f"/{LOCKED}/describe", token)) == (401, "PermissionDenied")
    assert said(ask(lab, FIND_DATA, token, {"scope": {"project": LOCKED}})) == (
        401,
        "PermissionDenied",
    )
    assert ask(lab, token=token).status_code == 200
    login("dnanexus", tenant="sandbox")
    with (
        session("dnanexus") as held,
        pytest.raises(ProviderError, match=r"PermissionDenied .* no access to that"),
    ):
        held.check(held.post(f"{LOCKED}/describe", json={}))


FOUND = [(FIND_PROJECTS, {}, [100, 100, 30]), (FIND_DATA, {"class": "file"}, [125, 125])]


@pytest.mark.parametrize(
    ("path", "filters", "sizes"), [*FOUND, (FIND_DATA, {"class": "record"}, [0])]
)
def test_paging(lab: Lab, path: str, filters: dict[str, str], sizes: list[int]) -> None:
    """Lists come in pages, each record once; `next` is always there, goes back as `starting`, and
    is null at the end."""
    token, pages, following = pasted(lab), [], {}
    while following is not None:
        body = ask(
            lab,
            path,
            token,
            {"limit": sizes[0] or 1, **filters} | ({"starting": following} if following else {}),
        ).json()
        assert set(body) == {"results", "next"}
        pages, following = [*pages, [row["id"] for row in body["results"]]], body["next"]
    assert [len(page) for page in pages] == sizes
    assert len({key for page in pages for key in page}) == sum(sizes)


def test_scope_of_find(lab: Lab) -> None:
    """FindDataObjects keeps to the project that it was given, and describes what it finds where
    asked to."""
    body = ask(
        lab, FIND_DATA, pasted(lab), {"scope": {"project": PROJECTS[1]}, "describe": True}
    ).json()
    assert {row["project"] for row in body["results"]} == {PROJECTS[1]}
    assert 0 < len(body["results"]) < len(FILES)
    assert body["results"][0]["describe"]["name"].endswith(".fastq.gz")


WRONG_INPUT = [
    {"limit": 0},
    {"limit": 1001},
    {"limit": "x"},
    {"starting": 1},
    {"starting": {"id": "x"}},
    {"scope": 1},
]


@pytest.mark.parametrize("body", WRONG_INPUT, ids=str)
def test_input_refused(lab: Lab, body: dict[str, Any]) -> None:
    """A limit, a start or a scope that cannot be is 422 InvalidInput."""
    assert said(ask(lab, FIND_DATA, pasted(lab), body)) == (422, "InvalidInput")


@pytest.mark.parametrize(
    "path",
    ["/", "/system/nothing", "/file-x", "/oauth2/nothing", "/system//whoami", "/system/whoami/"],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_path(lab: Lab, verb: str, path: str) -> None:
    """Every unknown path, and every unknown id, is a 404 in DNAnexus' shape."""
    assert said(ask(lab, path, pasted(lab), verb=verb)) == (404, "ResourceNotFound")
    assert said(ask(lab, "/file-000000000000000000000000/describe", pasted(lab))) == (
        404,
        "ResourceNotFound",
    )


def test_rate_limit(lab: Lab) -> None:
    """An account has 200 calls a second, however many tokens: then 429 without a header, and the
    next second is good."""
    one, two = pasted(lab), ask_token(lab).json()["access_token"]
    assert ask(lab, token=one).status_code == 200
    (window,) = lab.sites["dnanexus"].windows.values()  # [when it began, calls in it]
    assert window[1] == 1
    window[:] = [lab.clock.time(), 199]
    assert (ask(lab, token=two).status_code, window[1]) == (200, 200)
    window[:] = [lab.clock.time(), 200]
    over = ask(lab, token=one)
    assert said(over) == (429, "RateLimitConditional")
    assert {
        name for name in over.headers if "limit" in name.lower() or "retry" in name.lower()
    } == set()
    lab.advance(1)
    assert ask(lab, token=one).status_code == 200


def test_faults(lab: Lab) -> None:
    """The next N answers are what the lever says, in DNAnexus' shape, and requests are counted all
    the same."""
    token = pasted(lab)
    lab.next("dnanexus", 429)
    lab.next("dnanexus", 503, times=2, path="whoami")
    lab.next("dnanexus", 500, path="newAuthToken")
    assert said(ask(lab, token=token))[0] == 429
    assert [said(ask(lab, token=token)) for _ in range(2)] == [(503, "ServiceUnavailable")] * 2
    assert ask(lab, token=token).status_code == 200
    assert said(ask_token(lab)) == (500, "InternalError")
    assert (lab.count("dnanexus", f"POST {WHOAMI}"), lab.token_requests("dnanexus")) == (4, 1)


@pytest.mark.parametrize("client_id", ["apiserver", "sandbox-dnanexus-client"])
def test_code_grant(lab: Lab, client_id: str) -> None:
    """Logged in on the page, the browser brings a code; the token acts as the user for 30 days, and
    its life is unknown."""
    answer = landed(lab.visit(address(lab, client_id=client_id)))
    assert (set(answer), answer["state"]) == ({"code", "state"}, "a state")
    body = exchange(lab, answer["code"]).json()
    token = body.pop("access_token")
    assert body == {"token_type": "bearer", "user_id": "user-ada"}
    assert ask(lab, token=token).json() == {"id": "user-ada"}
    assert lab.token_requests("dnanexus") == 1
    lab.advance("29d")
    assert ask(lab, token=token).status_code == 200
    lab.advance("1d")
    assert said(ask(lab, token=token)) == DEAD


def test_client_as_basic(lab: Lab) -> None:
    """The client of a code may be the user name of Basic, or have an empty secret; two client_ids
    are refused."""
    form = {"grant_type": "authorization_code", "redirect_uri": HERE}

    def send(name: str, **more: str) -> requests.Response:
        sent = form | {"code": landed(lab.visit(address(lab)))["code"]} | more
        return requests.post(lab.origin("dnanexus") + TOKEN, data=sent, auth=(name, ""), timeout=10)

    assert (
        send("apiserver").status_code
        == send("apiserver", client_id="apiserver", client_secret="").status_code
        == 200
    )
    assert refused(send("apiserver", client_id="sandbox-dnanexus-client")) == (
        401,
        "invalid_client",
    )
    assert refused(send("sandbox-dnanexus-client")) == (400, "invalid_grant")


def test_state_not_echoed(lab: Lab) -> None:
    """A lever makes the server answer without the state, codes and errors alike."""
    lab.set("dnanexus", echo_state=False)
    for url in (
        lab.visit(address(lab)),
        lab.visit(address(lab), "deny"),
        lab.visit(address(lab, response_type="token")),
    ):
        assert "state" not in landed(url)


def test_code_life(lab: Lab) -> None:
    """The life of these tokens can be set, and the levers end them."""
    lab.set("dnanexus", life=60)
    token = exchange(lab, landed(lab.visit(address(lab)))["code"]).json()["access_token"]
    lab.advance(60)
    assert said(ask(lab, token=token)) == DEAD
    for lever in (lab.expire, lab.revoke):
        token = exchange(lab, landed(lab.visit(address(lab)))["code"]).json()["access_token"]
        assert ask(lab, token=token).status_code == 200
        lever("dnanexus")
        assert said(ask(lab, token=token)) == DEAD


STRANGERS = [
    {"client_id": "x"},
    {"client_id": None},
    {"redirect_uri": "https://evil.example/"},
    {"redirect_uri": None},
]


@pytest.mark.parametrize(
    "changed", [*STRANGERS, {"redirect_uri": "http://127.0.0.1:1@evil.example/"}], ids=str
)
def test_unregistered(lab: Lab, changed: dict[str, str | None]) -> None:
    """An unknown client, or a redirect_uri that is not registered, gets an error page and no
    redirect."""
    page = requests.get(address(lab, **changed), allow_redirects=False, timeout=10)
    assert (page.status_code, "location" in page.headers) == (400, False)
    with pytest.raises(ValueError, match="registered"):
        lab.visit(address(lab, **changed))


def test_more_redirects(lab: Lab) -> None:
    """A lever registers another redirect_uri."""
    lab.set("dnanexus", redirects=["https://hub.example/labauth"])
    assert lab.visit(address(lab, redirect_uri="https://hub.example/labauth")).startswith(
        "https://hub.example/labauth?code="
    )


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
    ],
    ids=str,
)
def test_authorize_refused(lab: Lab, changed: dict[str, str | None], error: str) -> None:
    """Other mistakes, and Cancel, go back to the client as an error with the state."""
    answer = landed(lab.visit(address(lab, **changed)))
    assert (answer["error"], answer["state"]) == (error, "a state")
    answer = landed(lab.visit(address(lab), "deny"))
    assert (answer["error"], answer["state"], "code" in answer) == (
        "access_denied",
        "a state",
        False,
    )


WRONG_EXCHANGES = [
    {"redirect_uri": HERE + "/"},
    {"client_id": "sandbox-dnanexus-client"},
    {"code": "x"},
]


@pytest.mark.parametrize("changed", WRONG_EXCHANGES, ids=str)
def test_code_refused(lab: Lab, changed: dict[str, str]) -> None:
    """A code counts only with the redirect_uri it was asked with, and for its client if one is
    named."""
    code = landed(lab.visit(address(lab)))["code"]
    assert refused(exchange(lab, **{"code": code} | changed)) == (400, "invalid_grant")
    assert refused(exchange(lab, code, grant_type="password")) == (400, "unsupported_grant_type")
    assert (
        refused(exchange(lab, code, grant_type=""))
        == refused(exchange(lab, ""))
        == (400, "invalid_request")
    )
    form = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", HERE),
        ("code", code),
        ("code", code),
    ]
    assert refused(requests.post(lab.origin("dnanexus") + TOKEN, data=form, timeout=10)) == (
        400,
        "invalid_request",
    )
    in_json = {"grant_type": "authorization_code", "code": code, "redirect_uri": HERE}
    assert refused(requests.post(lab.origin("dnanexus") + TOKEN, json=in_json, timeout=10)) == (
        400,
        "invalid_request",
    )
    assert exchange(lab, code, client_id="apiserver").status_code == 200


def test_code_counts_once(lab: Lab) -> None:
    """A code is good once and for 60 seconds; when it comes twice its token ends; a suspended user
    gets none."""
    codes = [landed(lab.visit(address(lab)))["code"] for _ in range(3)]
    token = exchange(lab, codes[0]).json()["access_token"]
    assert refused(exchange(lab, codes[0])) == (400, "invalid_grant")
    assert said(ask(lab, token=token)) == DEAD
    lab.suspend("dnanexus")
    assert refused(exchange(lab, codes[1])) == (400, "invalid_grant")
    lab.suspend("dnanexus", False)
    lab.advance(60)
    assert refused(exchange(lab, codes[2])) == (400, "invalid_grant")


def test_wrong_password_on_the_page(lab: Lab) -> None:
    """A wrong password brings the page again with a message; the third in one browser ends in
    access_denied."""
    for typed in ({"password": "wrong"}, {"username": "<b>"}):
        with pytest.raises(ValueError, match="Incorrect username or password"):
            lab.visit(address(lab), **typed)
    with requests.Session() as browser:
        url = address(lab)
        inputs = Form(browser.get(url, timeout=10).text).inputs
        assert list(inputs) == ["seal", "username", "password"]
        # told to practise
        assert (
            lab.credentials("dnanexus", "password")["password"] in browser.get(url, timeout=10).text
        )
        form = {
            "seal": inputs["seal"],
            "choice": "allow",
            "username": "<b>",
            "password": "a wrong password",
        }
        pages = [browser.post(url, data=form, allow_redirects=False, timeout=10) for _ in range(3)]
        assert [page.status_code for page in pages] == [401, 401, 303]
        assert all("Incorrect username" in page.text for page in pages[:2])
        assert not [
            page
            for page in pages
            if "a wrong password" in page.text or "<b>" in page.text.partition("<form")[2]
        ]
        assert landed(pages[2].headers["location"])["error"] == "access_denied"


def test_otp_on_the_page(lab: Lab) -> None:
    """With two-factor sign-in the page asks for the code as well, and only the right one opens."""
    lab.set("dnanexus", otp="246810")
    assert "otp" in Form(requests.get(address(lab), timeout=10).text).inputs
    with pytest.raises(ValueError, match="one-time code is required"):
        lab.visit(address(lab), otp="")
    with pytest.raises(ValueError, match="one-time code does not match"):
        lab.visit(address(lab), otp="000000")
    assert "code" in landed(lab.visit(address(lab)))
    lab.suspend("dnanexus")
    with pytest.raises(ValueError, match="Incorrect username or password"):
        lab.visit(address(lab))


def test_forged_login(lab: Lab) -> None:
    """The right password counts only in the form of the page itself."""
    fields = lab.credentials("dnanexus", "password") | {"choice": "allow"}
    for seal in ({}, {"seal": "x"}):
        page = requests.post(address(lab), data=fields | seal, allow_redirects=False, timeout=10)
        assert (page.status_code, "location" in page.headers) == (400, False)


JUNK = ["\u00e9\u4e2d", "%ff%fe", "a" * 20000, "\x00\r\n", "[" * 50000, "&&=="]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:9]))
def test_hostile_input(lab: Lab, junk: str) -> None:
    """Whatever is sent, the sandbox answers with less than 500 and does not fail itself."""
    origin = lab.origin("dnanexus")
    for name in ("client_id", "redirect_uri", "state", "response_type", "scope"):
        for verb, form in (
            ("GET", {}),
            ("POST", {"seal": junk, "choice": junk, "username": junk, "password": junk}),
        ):
            url = address(lab, **{name: junk})
            assert (
                requests.request(
                    verb, url, data=form, allow_redirects=False, timeout=10
                ).status_code
                < 500
            )
        assert exchange(lab, junk, **{name: junk}).status_code < 500
    assert (
        requests.get(
            f"{origin}{AUTHORIZE}?{quote(junk[:9000], safe='%&=')}", timeout=10
        ).status_code
        == 400
    )
    assert (
        requests.get(f"{address(lab)}&state=%ff%00", allow_redirects=False, timeout=10).status_code
        == 303
    )
    headers = {"Content-Type": "application/json"}
    assert said(requests.post(origin + NEW, data=junk.encode(), headers=headers, timeout=10)) == (
        400,
        "MalformedJSON",
    )


def dxpy(lab: Lab, token: str, script: str) -> Any:
    """What `script` leaves in `result`, with dxpy pointed at the sandbox, in another process: dxpy
    writes into os.environ."""
    port = lab.origin("dnanexus").rpartition(":")[2]
    before = f"""
import dxpy, json
dxpy.set_api_server_info(host="127.0.0.1", port={port}, protocol="http")
dxpy.set_security_context({{"auth_token_type": "Bearer", "auth_token": {token!r}}})
"""
    environ = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    environ |= {"DX_AUTHSERVER_HOST": "http://127.0.0.1", "DX_AUTHSERVER_PORT": port}
    command = [sys.executable, "-c", before + script + "\nprint(json.dumps(result))"]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.witness
def test_witness(lab: Lab) -> None:
    """Dxpy says who I am, walks findProjects page by page and finds the files of a project."""
    script = f"""
files = dxpy.find_data_objects(classname="file", project={PROJECTS[0]!r}, describe=True)
result = [
    dxpy.whoami(),
    [each["id"] for each in dxpy.find_projects(level="VIEW")],
    [each["describe"]["name"] for each in files],
    dxpy.DXProject({PROJECTS[0]!r}).describe()["name"],
    [dxpy.user_info()["username"], dxpy.api.system_greet({{"client": "dxclient"}})["messages"]],
]
"""
    who, projects, files, name, login = dxpy(lab, pasted(lab), script)
    assert login == ["ada", []]
    assert (who, projects, name) == ("user-ada", PROJECTS, "Sequencing run 001")
    assert (len(files), files[0]) == (84, "sample_001.fastq.gz")
    assert lab.count("dnanexus", FIND_PROJECTS) == 2


@pytest.mark.witness
def test_witness_destroyed(lab: Lab) -> None:
    """Dxpy signs in by password, destroys the token as `dx logout` does, and then sees
    InvalidAuthentication at once."""
    fields = lab.credentials("dnanexus", "password") | {
        "otp": "",
        "expires": int((lab.clock.time() + 3600) * 1000),
    }
    script = f"""
import hashlib
server = dxpy.get_auth_server_name()
once = {{"prepend_srv": False, "max_retries": 1}}
issued = dxpy.DXHTTPRequest(server + "/system/newAuthToken", {fields!r}, auth=None, **once)
token = issued["access_token"]
dxpy.set_security_context({{"auth_token_type": issued["token_type"], "auth_token": token}})
result = [dxpy.whoami()]
signature = hashlib.sha256(token.encode()).hexdigest()
dxpy.DXHTTPRequest(server + "/system/destroyAuthToken", {{"tokenSignature": signature}}, **once)
try:
    dxpy.whoami()
except dxpy.exceptions.DXAPIError as error:
    result += [error.code, error.name]
"""
    assert dxpy(lab, "unused", script) == ["user-ada", 401, "InvalidAuthentication"]
    assert lab.count("dnanexus", WHOAMI) == 2


@pytest.mark.witness
def test_witness_permission(lab: Lab) -> None:
    """Dxpy sees a project without access as PermissionDenied, and its token is good afterwards."""
    script = f"""
try:
    dxpy.DXProject({LOCKED!r}).describe()
except dxpy.exceptions.PermissionDenied as error:
    result = [error.code, dxpy.whoami()]
"""
    assert dxpy(lab, pasted(lab), script) == [401, "user-ada"]
