"""A hostile, broken or careless server, a proxy, a fork, an interruption: one message each, and no
secret in it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kernels import Kernel
from test_secrets import leaks
from test_wire import BOMB, GZIP, Wire, peak, reply

from labauth_nb import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    NotSignedIn,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    begin,
    login,
    logout,
    refresh,
    session,
    status,
)
from labauth_nb.clocks import WALL
from labauth_nb.logins import signins
from labauth_nb.masking import Fields, Secret
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab
from labauth_nb.sessions import session as sessions
from labauth_nb.tokens import exchanges, grants, openid
from labauth_nb.tokens.exchanges import Exchange
from labauth_nb.tokens.wire import CA_VARIABLES, trusted

Answer = tuple[int, dict[str, str], bytes]
CLIENT = {"client_id": "some-client", "client_secret": "kanari-client-secret-0001"}


class Server(ThreadingHTTPServer):
    """Answers by `answer(verb, path, headers, body)`; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str, str, dict[str, str], bytes], Answer] = lambda *_: (
            404,
            {},
            b"{}",
        )


class _Handler(BaseHTTPRequestHandler):
    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server: Server = self.server  # type: ignore[assignment]
        server.seen.append((self.command, self.path, dict(self.headers), body))
        status, headers, content = server.answer(self.command, self.path, dict(self.headers), body)
        self.send_response(status)
        for name, value in headers.items():
            for each in value.split("\n"):
                self.send_header(name, each)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _any

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    threading.Thread(target=it.serve_forever, daemon=True).start()
    yield it
    it.shutdown()
    it.server_close()


JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}


def token_answer(**more: Any) -> Answer:
    return (
        200,
        JSON,
        json.dumps(
            {"access_token": "kanari-token", "token_type": "Bearer", "expires_in": 900} | more
        ).encode(),
    )


NOTHING_GOOD: list[dict[str, Any]] = [
    {},
    {"errors": ["Unauthorized"]},
    {"success": False},
    {"data": {"error": "x"}},
    {"fault": {"id": "x"}},
    {"statusCode": 401},
]


@pytest.mark.parametrize(
    "answer",
    [
        (200, HTML, b"<html>Sign in</html>"),
        (404, HTML, b"<html>Not found</html>"),
        (403, JSON, b"{}"),
        (405, JSON, b"{}"),
        (500, JSON, b"{}"),
        (200, JSON, b"[]"),
        (200, JSON, b"not json"),
        (200, {}, b""),
        (401, JSON, b'{"error": "invalid_token"}'),
        (403, JSON, b'{"error": {"type": "Forbidden", "message": "Blocked by policy"}}'),
        (403, JSON, b'{"error": "access_denied", "error_description": "Blocked by policy"}'),
        (403, JSON, b'{"errorName": "BLOCKED"}'),
        (404, JSON, b'{"error": "not_found"}'),
        *((200, JSON, json.dumps(body).encode()) for body in NOTHING_GOOD),
    ],
)
@pytest.mark.parametrize(
    ("provider", "fields"),
    [("benchling", {"api_key": "sk_x"}), ("foundry", {"token": "t"}), ("dnanexus", {"token": "t"})],
)
def test_not_proven(server: Server, provider: str, fields: dict[str, str], answer: Answer) -> None:
    """A pasted credential that the server did not accept is no sign-in: a web page or an empty
    answer is no proof."""
    server.answer = lambda *_: answer
    with pytest.raises(LabauthError, match="responded with") as caught:
        login(provider, tenant=server.url, **fields)
    assert len(status()) == 0
    assert ("could not be verified" in str(caught.value)) == (answer[0] == 403)


@pytest.mark.parametrize(
    ("provider", "status_code", "body"),
    [
        ("foundry", 403, {"errorCode": "PERMISSION_DENIED", "errorName": "ApiUsageDenied"}),
        ("dnanexus", 401, {"error": {"type": "PermissionDenied", "message": "no"}}),
        ("dnanexus", 403, {"error": {"type": "SpendingLimitExceeded", "message": "no"}}),
        ("dnanexus", 403, {"error": {"type": "OrgExpired", "message": "no"}}),
    ],
)
def test_proven_without_access(
    server: Server, provider: str, status_code: int, body: dict[str, Any]
) -> None:
    """What a provider's document says of a good token without access proves a pasted one."""
    server.answer = lambda *_: (status_code, JSON, json.dumps(body).encode())
    assert login(provider, tenant=server.url, token="kanari-token").status != "expired"
    server.answer = lambda *_: (400, JSON, json.dumps(body).encode())
    with pytest.raises(LabauthError, match="responded with 400"):
        login(provider, tenant=server.url, token="kanari-token")


@pytest.mark.parametrize(
    "more",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"access_token": "a b"},
        {"access_token": "t\u2019"},
        {"access_token": 5},
    ],
)
def test_no_usable_token(server: Server, more: dict[str, Any]) -> None:
    """A token response without a token that can be sent is a message at sign-in, not a crash at the
    first request."""
    server.answer = lambda *_: token_answer(**more)
    with pytest.raises(LabauthError, match="Benchling responded with 200 without a token"):
        login("benchling", tenant=server.url, **CLIENT)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"token_type": "mac"}, r"with a token of the type 'mac', not Bearer \(RFC 6750\)\. Check"),
        ({"token_type": ["Bearer"]}, r"with a token of the type '…'.* not Bearer"),
        ({"token_type": "kanari-token"}, r"with a token of the type '…'.* not Bearer"),
        ({"token_type": "DPoP"}, r"with a token of the type 'DPoP', not Bearer"),
        ({"access_token": None, "errors": ["Not today", "Nor ever"]}, r"\(Not today\)\."),
        (
            {"access_token": None, "errors": [{"code": "E7", "message": "Not today"}]},
            r"E7 \(Not today\)\.",
        ),
        ({"token_type": "mac", "error": "use_dpop"}, r"use_dpop\."),
        ({"access_token": "a b", "error": "busy_now"}, r"busy_now\."),
        ({"access_token": None, "error": "access_denied"}, r"access_denied\."),
        (
            {
                "access_token": None,
                "error": "busy_now",
                "error_description": "Not kanari-client-secret-0001",
            },
            r"busy_now \(Not \*\*\*\)",
        ),
    ],
)
def test_own_words_in_200(server: Server, more: dict[str, Any], said: str) -> None:
    """An error in a 200, or a token of an unknown type, is told as such, in the server's words."""
    server.answer = lambda *_: token_answer(**more)
    with pytest.raises(SignInRefused, match=f"Benchling responded with 200 {said}") as caught:
        login("benchling", tenant=server.url, **CLIENT)
    assert "without a token" not in str(caught.value)
    assert "kanari" not in repr(caught.value.response.content)


def test_captive_portal(server: Server) -> None:
    """A web page where a token was due is called one, with where it may come from."""
    server.answer = lambda *_: (200, HTML, b"<html>Welcome to our Wi-Fi</html>")
    with pytest.raises(SignInRefused) as caught:
        login("benchling", tenant=server.url, **CLIENT)
    said = str(caught.value)
    assert said.startswith("Benchling responded with 200 (a web page instead of JSON")
    assert "proxy or firewall" in said
    assert "network that wants you to sign in first" in said
    assert "without a token" not in said


@pytest.mark.parametrize(
    "expires_in", ["3600", 0, -5, None, "soon", float("nan"), float("inf"), 1e308, [], True]
)
def test_odd_lives(server: Server, expires_in: Any) -> None:
    """Whatever expires_in is: the status can be shown, and ten requests cost no ten tokens."""
    server.answer = lambda verb, path, *_: (
        token_answer(expires_in=expires_in) if path.endswith("/token") else (200, JSON, b"{}")
    )
    mine = login("benchling", tenant=server.url, **CLIENT)
    assert len(repr(status())) < 1000
    assert len(repr(mine)) < 300
    for _ in range(10):
        session("benchling").get("plates")
    asked = sum(path.endswith("/token") for _, path, *_ in server.seen)
    assert 1 <= asked <= (10 if expires_in is True else 1)  # True is a life of 1 s


def test_echoed_secrets(server: Server) -> None:
    """A server that echoes what it was sent gets no secret into a message, nor into a pickled
    error."""

    def echo(verb: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        said = f"you sent {headers.get('Authorization')} {parse_qs(body.decode())}\x1b[31m"
        return (
            400,
            JSON,
            json.dumps({"error": {"type": "invalid_request", "message": said}}).encode(),
        )

    server.answer = echo
    for provider, fields in (
        ("benchling", CLIENT),
        ("foundry", CLIENT),
        ("benchling", {"api_key": "sk_kanari000001"}),
    ):
        with pytest.raises(LabauthError) as caught:
            login(provider, tenant=server.url, **fields)
        for place in (
            str(caught.value).encode(),
            pickle.dumps(caught.value),
            pickle.dumps(caught.value.response),
        ):
            assert b"kanari" not in place
            assert b"\x1b" not in str(caught.value).encode()


def test_echoed_who(server: Server) -> None:
    """A name that echoes the token, or holds terminal codes, is masked and put on one line."""
    me = {"username": "Bearer kanari-token\n\x1b[31mred" + "x" * 500}
    server.answer = lambda verb, path, *_: (
        token_answer() if "token" in path else (200, JSON, json.dumps(me).encode())
    )
    mine = login("foundry", tenant=server.url, **CLIENT)
    assert "kanari" not in repr(mine)
    assert "\x1b" not in repr(mine)
    assert len(repr(mine)) < 300


def test_two_cookies(server: Server) -> None:
    """Two cookies jid with different paths do not break a QBench sign-in."""
    both = {"Set-Cookie": "jid=a; Path=/qbench\njid=b; Path=/"} | JSON
    server.answer = lambda *_: (200, both, token_answer(refresh_token="r")[2])
    assert (
        login("qbench", tenant=server.url, client_id="i", client_secret="s" * 32).status == "valid"
    )


def test_redirected_credentials(server: Server, lab: Lab) -> None:
    """A token endpoint that redirects gets nothing sent on: it is refused, and the tenant
    questioned."""
    there = lab.origin("benchling") + "/api/v2/token"
    server.answer = lambda *_: (307, {"Location": there}, b"")
    with pytest.raises(LabauthError, match="a redirect to another address"):
        login("benchling", tenant=server.url, **CLIENT)
    assert lab.token_requests("benchling") == 0


@pytest.mark.parametrize("code", [302, 307, 404])
@pytest.mark.parametrize("provider", ["foundry", "dnanexus"])
def test_redirected_revocation(server: Server, provider: str, code: int) -> None:
    """A revocation that was not done, as it was redirected or not found, is not called one."""
    method, fields = (
        ("password", {"username": "u", "password": "p"})
        if provider == "dnanexus"
        else (None, CLIENT)
    )

    def answered(verb: str, path: str, *_: object) -> Answer:
        if "revoke" in path or "destroy" in path:
            return code, {"Location": f"{server.url}/elsewhere"}, b""
        return (
            token_answer() if "oken" in path else (200, JSON, b'{"id": "user-u", "username": "u"}')
        )

    server.answer = answered
    login(provider, method, tenant=server.url, **fields)
    (said,) = logout(provider)
    assert "The token was not revoked" in said
    assert "The token was revoked" not in said
    assert str(code) in said


def test_proxy(server: Server, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company proxy in the environment is not used for this computer itself: no credential goes
    to it."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.url)
    login("benchling", tenant="sandbox")
    login("foundry", "token", tenant="sandbox")
    assert session("benchling").get("plates").status_code == 200
    assert server.seen == []


@pytest.mark.parametrize(
    "typed",
    [
        "[acme].qbench.net",
        "https://[acme",
        "acme\u2100x",
        "https://https://acme",
        "\x00",
        "http://",
    ],
)
def test_malformed_tenants(typed: str) -> None:
    """A tenant that cannot even be parsed is a message about the tenant."""
    with pytest.raises(InvalidInput, match="is not a QBench address"):
        login("qbench", tenant=typed)


def test_stale_variable_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused secret that came from the environment is named with its variable, or it would win
    again and again."""
    monkeypatch.setenv(
        "DX_SECURITY_CONTEXT", '{"auth_token": "stale-token", "auth_token_type": "Bearer"}'
    )
    monkeypatch.setenv("DX_APISERVER_HOST", lab.origin("dnanexus"))
    with pytest.raises(LabauthError, match=r"the one from the environment \(DX_SECURITY_CONTEXT\)"):
        login("dnanexus")


def test_token_of_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """DX_SECURITY_CONTEXT without a host is api.dnanexus.com's, as dxpy takes it: it goes to no
    other host."""
    monkeypatch.setenv(
        "DX_SECURITY_CONTEXT", '{"auth_token": "kanari-token", "auth_token_type": "Bearer"}'
    )
    with pytest.raises(
        LabauthError, match=r"it is for api.dnanexus.com, not for https://evil.invalid"
    ):
        login("dnanexus", tenant="https://evil.invalid")


def test_logout_during_a_renewal(lab: Lab) -> None:
    """A log out while a renewal is under way revokes that token as well; who asked for it is told,
    and nothing lives on."""
    login("foundry", tenant="sandbox")
    lab.next("foundry", "slow", path="oauth2/token", seconds=0.7)
    errors: list[Exception] = []

    def renew() -> None:
        try:
            refresh("foundry")
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=renew)
    thread.start()
    while lab.count("foundry", "oauth2/token") < 2:
        time.sleep(0.01)
    assert "The token was revoked at Foundry." in logout("foundry")[0]
    thread.join(10)
    assert [type(error) for error in errors] == [NotSignedIn]
    assert len(lab.sites["foundry"].tokens) == 2
    assert all(issued.dead for issued in lab.sites["foundry"].tokens.values())


def test_every_minted_token_is_revoked(lab: Lab) -> None:
    """A token that was replaced early, and is still good at the provider, is revoked at log out
    with its successor."""
    login("foundry", tenant="sandbox")
    refresh("foundry")
    logout("foundry")
    assert [issued.dead for issued in lab.sites["foundry"].tokens.values()] == [True, True]


def _in_child(held: Any, results: Any) -> None:
    results.put(held.get("plates").status_code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_during_a_renewal(lab: Lab) -> None:
    """A child forked while another thread renews does not wait for a thread that it
    does not have."""
    mine = login("benchling", tenant="sandbox")
    held = session("benchling")
    lab.advance("16m")
    mine._tokens._lock.acquire()
    mine._tokens._flight = type(mine._tokens._flight) and None
    from labauth_nb.tokens.renewal import _Flight

    mine._tokens._flight = _Flight()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_child, args=(held, results))
    child.start()
    mine._tokens._lock.release()
    mine._tokens._flight = None
    try:
        assert results.get(timeout=20) == 200
    finally:
        child.kill()
        child.join(10)


def test_no_access_said_like_dead(lab: Lab) -> None:
    """Where one path answers 401 for "no access" and others work, that path costs one renewal in
    all, not one each time."""
    here = lab.sites["benchling"]

    @here.app.get("/api/v2/forbidden")
    def forbidden() -> Any:
        return here.error(401, "authentication_error", "no access")

    login("benchling", tenant="sandbox")
    held, before = session("benchling"), lab.token_requests("benchling")
    for _ in range(10):
        assert held.get("plates").status_code == 200
        assert held.get("forbidden").status_code == 401
    assert lab.token_requests("benchling") - before == 1
    login("benchling", "api-key", tenant="sandbox", name="key")
    assert session("key").get("forbidden").status_code == 401
    assert status("key").rows[0][5] == "valid"


def test_probe_does_not_hold_up(lab: Lab) -> None:
    """An API that is down does not hold up a sign-in whose token has come."""
    lab.next("foundry", 503, times=20, path="/me")
    before = lab.clock.time()
    login("foundry", tenant="sandbox")
    assert lab.clock.time() - before < 1
    assert lab.count("foundry", "/me") == 1


def test_probe_loses_no_fresh_token(server: Server) -> None:
    """A token that has just come is not renewed, nor lost, as the API answers 401 to who-am-I."""
    tokens = [token_answer()]
    refusal = (
        400,
        JSON,
        b'{"error": "invalid_request", "error_description": "one token a minute"}',
    )
    server.answer = lambda verb, path, *_: (
        (tokens.pop() if tokens else refusal) if path.endswith("token") else (401, JSON, b"{}")
    )
    mine = login("foundry", tenant=server.url, **CLIENT)
    assert (mine.who, mine.status) == (None, "valid")


def test_own_auth(lab: Lab) -> None:
    """An auth= of the user's own is not replaced, even one that adds nothing."""
    login("benchling", tenant="sandbox")
    assert session("benchling").get("plates", auth=lambda request: request).status_code == 401
    assert (
        session("benchling").get("plates", auth=("sk_sandboxBenchlingApiKey01", "")).status_code
        == 200
    )


def test_pages_without_a_total(server: Server) -> None:
    """QBench pages without total_pages are walked until an empty one: nothing is left out in
    silence."""

    def answer(verb: str, path: str, *_: Any) -> Answer:
        if "token" in path:
            return token_answer()
        number = int(parse_qs(path.partition("?")[2]).get("page_num", ["1"])[0])
        return 200, JSON, json.dumps({"data": [{"id": number}] if number < 4 else []}).encode()

    server.answer = answer
    login("qbench", tenant=server.url, client_id="i", client_secret="s" * 32)
    assert list(session("qbench").frame("orders")["id"]) == [1, 2, 3]


def test_bounded_patience(server: Server) -> None:
    """Retry-After: 0 is no reason for a hammering, and one in the far future none to wait."""
    times: list[float] = []

    def answer(verb: str, path: str, *_: Any) -> Answer:
        if path.endswith("/token"):
            return token_answer()
        times.append(time.monotonic())
        return (
            429,
            JSON
            | {
                "Retry-After": "0" if len(times) < 3 else "2000000000",
                "x-rate-limit-reset": "1900000000",
            },
            b"{}",
        )

    server.answer = answer
    login("benchling", tenant=server.url, **CLIENT)
    mine = session("benchling")
    mine.tries, mine.patience = 3, "60s"
    assert mine.get("plates").status_code == 429
    assert len(times) == 3
    assert times[1] - times[0] >= 0.15


def test_patience_bounds_a_busy_token_endpoint(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sign-in waits for a busy token endpoint no longer than its patience."""
    monkeypatch.setenv("LABAUTH_PATIENCE", "1s")
    server.answer = lambda *_: (503, {"Retry-After": "9"}, b"{}")
    began = time.monotonic()
    with pytest.raises(ProviderError, match="responded with 503"):
        login("foundry", tenant=server.url, client_id="i", client_secret="kanari-secret")
    assert time.monotonic() - began < 8
    assert len(server.seen) == 1


def test_one_way_body_has_a_status(lab: Lab) -> None:
    """The error for a body that cannot be sent twice carries the provider's status and code."""
    login("dnanexus", "password", tenant="sandbox")
    lab.revoke("dnanexus")
    with pytest.raises(ProviderError) as caught:
        session("dnanexus").post("system/whoami", data=iter([b"{}"]))
    assert (caught.value.status, caught.value.code) == (401, "InvalidAuthentication")


def test_expired_when_pasted(lab: Lab) -> None:
    """A pasted token that has already expired is refused at once, with where to get a new one."""
    old = lab.credentials("foundry", "token")["token"]
    lab.advance("9h")
    with pytest.raises(
        LoginExpired, match=r"has already expired. Get a new one: Account, Settings, Tokens"
    ):
        login("foundry", tenant="sandbox", token=old)


def test_login_masks_its_arguments() -> None:
    """From the first line of login() on, no frame shows a secret: also where your own code wraps
    the error."""
    with pytest.raises(LabauthError) as caught:
        login("benchling", tenant="http://127.0.0.1:1", **CLIENT)
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if "labauth_nb" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename:
            assert "kanari" not in repr(frame.f_locals)


@pytest.mark.parametrize("verb", ["login", "refresh", "get", "answer"])
def test_an_interrupt_shows_no_secret(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    """Ctrl-C in the middle of a request, in Python: no frame of it holds what was sent."""
    secret = "kanari-client-secret-0001"
    lab.set("foundry", client_secret=secret)
    mine = login("foundry", tenant="sandbox", client_secret=secret)
    attempt = begin("foundry", "user", tenant="sandbox")
    landed = lab.visit(attempt.url)
    acts: dict[str, Callable[[], object]] = {
        "login": lambda: login("foundry", tenant="sandbox", client_secret=secret),
        "refresh": lambda: refresh("foundry"),
        "get": lambda: session("foundry").get("ontologies"),
        "answer": lambda: attempt.answer(landed),
    }
    frames: list[str] = []

    def interrupted(connection: object, data: object) -> None:
        stack = traceback.StackSummary.extract(traceback.walk_stack(None), capture_locals=True)
        theirs = [each for each in stack if re.search("urllib3|http", each.filename)]
        frames.extend(str(each.locals) for each in theirs)
        raise KeyboardInterrupt

    monkeypatch.setattr("http.client.HTTPConnection.send", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        acts[verb]()
    code = parse_qs(urlsplit(landed).query)["code"][0]
    secrets = [secret, code, *(token.removeprefix("Bearer ") for token in mine.source().secrets())]
    assert leaks(secrets, *frames)
    shown = [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert leaks(secrets, repr(shown[2:])) == []  # the first two are this test's
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.slow
def test_interrupted_sign_in(server: Server, tmp_path: Path) -> None:
    """Interrupting a sign-in that hangs, in a kernel with %xmode Verbose, shows no secret."""

    def hang(*_: object) -> Answer:
        threading.Timer(0.3, kernel.manager.interrupt_kernel).start()
        time.sleep(20)
        return token_answer()

    server.answer = hang
    env = {
        "BENCHLING_CLIENT_ID": "cid",
        "BENCHLING_CLIENT_SECRET": "kanari-client-secret-0001",
        "BENCHLING_URL": server.url,
    }
    kernel = Kernel(tmp_path, env)
    try:
        kernel.run("%xmode Verbose\n%load_ext labauth_nb")
        began = time.monotonic()
        output = kernel.text("%labauth login benchling")
        assert time.monotonic() - began < 15
        assert "KeyboardInterrupt" in output or "Stopped" in output
        assert "kanari" not in "".join(kernel.messages)
    finally:
        kernel.stop()


INTERRUPTED = [("foundry", "service-user"), ("dnanexus", "password")]


def alive(lab: Lab, provider: str) -> list[str]:
    """The tokens that the provider has issued by name or client, and that are still good."""
    site = lab.sites[provider]
    return [token for token in site.tokens if not token.startswith("sandbox") and site.good(token)]


@pytest.mark.parametrize("where", ["send", "_who"])
@pytest.mark.parametrize(("provider", "method"), INTERRUPTED)
def test_interrupted_after_the_token(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, provider: str, method: str, where: str
) -> None:
    """Ctrl-C after the token came revokes it, goes on, and leaves the login that was
    there before."""
    login(provider, method, tenant="sandbox")
    held, before = session(provider), alive(lab, provider)
    assert before

    def interrupt(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(signins, where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            login(provider, method, tenant="sandbox")
    assert lab.token_requests(provider) == 2
    assert alive(lab, provider) == before
    assert session(provider).login is held.login
    assert held.login.signed_in


def test_interrupted_token_request(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the token request is under way revokes the token that comes of it."""
    real = grants.GRANTS["client_credentials"]

    def slowly(exchange: Exchange, previous: Any) -> Any:
        token = real(exchange, previous)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(1)
        return token

    monkeypatch.setitem(grants.GRANTS, "client_credentials", slowly)
    with pytest.raises(KeyboardInterrupt):
        login("foundry", tenant="sandbox")
    assert lab.token_requests("foundry") == 1
    assert alive(lab, "foundry") == []
    assert len(status()) == 0


def test_interrupted_between_token_requests(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a busy token endpoint is waited for: nothing more is sent."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        os.kill(os.getpid(), signal.SIGINT) if len(pauses) == 1 else None
        time.sleep(0.5)  # in the thread that asks; the interrupt is for the main one

    monkeypatch.setattr(lab.clock, "sleep", pause)
    lab.next("foundry", 503, times=2, path="token")
    with pytest.raises(KeyboardInterrupt):
        login("foundry", tenant="sandbox")
    assert (lab.token_requests("foundry"), len(pauses)) == (1, 1)
    assert alive(lab, "foundry") == []


@pytest.mark.parametrize("how", ["busy", "unreachable"])
def test_interrupted_wait(server: Server, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Ctrl-C while a token endpoint is waited for comes back at once, and not when the
    wait ends."""
    monkeypatch.setattr(exchanges, "DISCARD_SECONDS", 30)
    monkeypatch.setattr("labauth_nb.tokens.wire.BACKOFF_SECONDS", (9.0,))
    monkeypatch.setenv("LABAUTH_PATIENCE", "60s")
    url = server.url if how == "busy" else "http://127.0.0.1:1"
    server.answer = lambda *_: (503, {"Retry-After": "9"}, b"{}")
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        login("foundry", tenant=url, **CLIENT)
    assert time.monotonic() - began < 6


def late_token(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, during: Callable[[], None]
) -> threading.Event:
    """Set once the token has come that is issued while `during` runs, long after it was
    waited for."""
    monkeypatch.setattr("labauth_nb.tokens.renewal.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(exchanges, "DISCARD_SECONDS", 0.1)
    real, came = grants.GRANTS["client_credentials"], threading.Event()

    def slowly(exchange: Exchange, previous: Any) -> Any:
        token = real(exchange, previous)
        during()
        time.sleep(1.5)
        came.set()
        return token

    monkeypatch.setitem(grants.GRANTS, "client_credentials", slowly)
    return came


def dies(lab: Lab, provider: str) -> bool:
    """Whether every token that was issued there dies within a few seconds."""
    end = time.monotonic() + 5
    while alive(lab, provider) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(lab, provider)


def test_interrupted_long_before_the_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that comes long after its sign-in was interrupted is revoked, although
    nobody waits."""
    came = late_token(lab, monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        login("foundry", tenant="sandbox")
    assert alive(lab, "foundry")
    assert came.wait(10)
    assert dies(lab, "foundry")


@pytest.mark.parametrize("revoke", [None, False])
def test_logout_long_before_the_token(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    revoke: bool | None,
) -> None:
    """A token that a renewal brings long after the log out is revoked too, unless none
    was to be."""
    mine = login("foundry", tenant="sandbox")
    under_way = threading.Event()
    came = late_token(lab, monkeypatch, under_way.set)
    caught: list[BaseException] = []

    def renew() -> None:
        try:
            mine.refresh()
        except NotSignedIn as error:
            caught.append(error)

    thread = threading.Thread(target=renew)
    thread.start()
    assert under_way.wait(10)
    logout("foundry", revoke=revoke)
    assert came.wait(10)
    thread.join(10)
    assert "logged out" in str(caught[0])
    assert dies(lab, "foundry") == (revoke is None)
    assert len(alive(lab, "foundry")) == (0 if revoke is None else 2)


def test_cancelled_between_token_requests(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser sign-in that is cancelled while its code is redeemed sends nothing more."""
    attempt = begin("foundry", "user", tenant="sandbox")
    landed = lab.visit(attempt.url)
    monkeypatch.setattr(lab.clock, "sleep", lambda seconds: attempt.cancel())
    lab.next("foundry", 503, path="token")
    with pytest.raises(NotSignedIn, match="cancelled"):
        attempt.answer(landed)
    assert lab.token_requests("foundry") == 1


def test_revocation_does_not_hold_up_an_interrupt(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation that takes long goes on without the person who interrupted."""
    gate = threading.Event()
    monkeypatch.setattr(exchanges, "DISCARD_SECONDS", 0.1)
    monkeypatch.setitem(grants.REVOCATIONS, "oauth2", lambda *given: gate.wait(60))
    monkeypatch.setattr(signins, "_who", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        login("foundry", tenant="sandbox")
    assert time.monotonic() - start < 30
    gate.set()


def test_secret_of_a_closed_login(lab: Lab) -> None:
    """After a log out the login holds no secret any more."""
    mine = login("qbench", tenant="sandbox")
    logout("qbench")
    assert mine.secrets() == []
    assert not any(isinstance(value, Secret) for value in mine.found.fields.values())


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": "abc", "expires_in": ' + HUGE + "}",
        "[" * 100_000,
        '{"access_token": "abc\\ud800"}',
        '{"access_token": "abc", "refresh_token": "\\ud800", "expires_in": 3600}',
        '{"error": ' + "[" * 100_000,
    ],
    ids=["number", "nesting", "surrogate", "surrogate-refresh", "nested-error"],
)
def test_token_answer_that_python_cannot_hold(
    monkeypatch: pytest.MonkeyPatch, lab: Lab, body: str
) -> None:
    """An answer with a number of 400 digits, a nesting or a spelling that breaks Python is refused
    in a message, or works."""
    flask = pytest.importorskip("flask")
    lab.sites["benchling"].app.view_functions["token"] = lambda: flask.Response(
        body, 200, mimetype="application/json"
    )
    said = ""
    try:
        login("benchling", tenant="sandbox")
    except LabauthError as error:
        said = str(error)
    assert said == "" or "Benchling responded with 200 without a token in it" in said
    assert repr(status())


@pytest.mark.parametrize("location", ["http://[::1", b"http://\xff\xfe/"], ids=["bracket", "bytes"])
def test_redirect_to_no_address(lab: Lab, location: str | bytes) -> None:
    """A redirect to what is no address is a message, at sign-in, at the probe and in a session;
    none is followed."""
    flask = pytest.importorskip("flask")
    text = location if isinstance(location, str) else location.decode("latin-1")

    def answer(*args: object, **more: object) -> object:
        response = flask.Response("", 302)
        response.autocorrect_location_header = False
        response.headers["Location"] = text
        return response

    login("foundry", tenant="sandbox")
    held = session("foundry")
    functions = lab.sites["foundry"].app.view_functions
    functions["list_ontologies"] = functions["me"] = answer
    with pytest.raises(LabauthError):
        held.check(held.get("ontologies"))
    assert login("foundry", tenant="sandbox").who is None
    functions["token"] = answer
    with pytest.raises(LabauthError):
        login("foundry", tenant="sandbox")


def test_long_echo_is_scrubbed_before_it_is_cut(lab: Lab) -> None:
    """A server that echoes a long token in its error: not even a part of it is shown."""
    flask = pytest.importorskip("flask")
    token = "eyJ" + "CANARY" * 90
    body = {
        "errorCode": "UNAUTHORIZED",
        "errorName": "X",
        "errorDescription": f"Token {token} is not valid",
    }
    lab.sites["foundry"].app.view_functions["me"] = lambda: (flask.jsonify(body), 401)
    with pytest.raises(LabauthError) as caught:
        login("foundry", "token", tenant="sandbox", token=token)
    assert "CANARY" not in str(caught.value)


def test_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    """A notebook whose folder was deleted, and a user without a home, still sign in; what is
    missing is a message."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    lab.reset()
    login("benchling", tenant="sandbox")
    with pytest.raises(MissingCredentials):
        login("foundry", "token", tenant="acme")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(MissingCredentials):
        login("dnanexus")


def test_words_that_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no text, or text that cannot be sent, is refused in a message; a variable of odd
    bytes is ignored."""
    with pytest.raises(InvalidInput, match="tenant must be text"):
        login("benchling", tenant=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="name must be text"):
        login("benchling", name=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="cannot be sent"):
        login("benchling", tenant="acme", client_id="\ud800", client_secret="x")
    monkeypatch.setenv("BENCHLING_CLIENT_SECRET", "\udcff")
    with pytest.raises(
        MissingCredentials, match="in the environment was ignored, it is not text in UTF-8"
    ):
        login("benchling", tenant="acme", client_id="x")


@pytest.mark.parametrize("way", ["get", "frame"])
def test_slow_data(server: Server, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A longer timeout= is named where one can be given: to a request, not to a walk."""
    monkeypatch.setattr(sessions, "TIMEOUT", (1, 0.2))
    late = threading.Event()

    def answer(verb: str, path: str, *_: object) -> Answer:
        if not path.endswith("/token"):
            late.wait(5)
        return token_answer()

    server.answer = answer
    login("benchling", tenant=server.url, **CLIENT)
    with pytest.raises(ProviderUnreachable, match="sent nothing in time") as caught:
        getattr(session("benchling"), way)("plates")
    late.set()
    assert ("timeout=" in str(caught.value)) == (way == "get")


# Tables: what any of a server's ends may send


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A server that sends the bytes it is given; nobody waits for it to be less busy."""
    monkeypatch.setattr(exchanges, "AGAIN_SECONDS", 0)
    monkeypatch.setenv("LABAUTH_PATIENCE", "0s")
    with Wire() as it:
        threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True).start()
        yield it
        it.shutdown()


KANARI = b"kanari-client-secret-0001 kanari-token"
ERROR = b'{"error": "oddly_refused", "error_description": "No."}'
PAGE = b"<!DOCTYPE html><p>" + KANARI
BODIES: dict[str, bytes] = {
    "empty": b"",
    "space": b" \n",
    "null": b"null",
    "true": b"true",
    "a number": b"5",
    "text": b'"text"',
    "a list": b"[]",
    "a list of lists": b"[[[]]]",
    "an object": b"{}",
    "not JSON": b"not json",
    "half": b'{"access_token": "kan',
    "a huge number": b'{"expires_in": 1' + b"0" * 5000 + b"}",
    "NaN": b'{"interval": NaN, "expires_in": Infinity}',
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 50_000,
    "nested to its end": b"[" * 1000 + b"]" * 1000,
    "duplicate keys": b'{"data": 1, "data": [], "data": null}',
    "a lone surrogate": b'{"error": "\\ud800"}',
    "no UTF-8": b'{"error": "\xff\xfe\xfd"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "zeros": bytes(1000),
    "escape codes": b'{"error": "\\u001b[31m", "message": "a\\r\\nb"}',
    "an error": ERROR,
    "error is a list": b'{"error": [1], "message": {"a": "b"}, "error_description": 7}',
    "error is a number": b'{"error": 7, "errorName": [], "parameters": 5}',
    "wrong types": b'{"access_token": [], "keys": 5, "device_code": {}, "issuer": [], "id": 1}',
    "empty words": b'{"access_token": "", "keys": [], "device_code": "", "issuer": "", "id": ""}',
    "odd keys": b'{"keys": [null, 5, [], {}, {"kty": "RSA", "n": "", "e": 1}]}',
    "a page": PAGE,
}
REPLIES: dict[str, list[bytes]] = {
    **{name: reply(body) for name, body in BODIES.items()},
    "204": reply(b"", status="204 No Content"),
    "200 as a page": reply(PAGE, "Content-Type: text/html"),
    "302": reply(b"", "Location: http://127.0.0.2:1/?kanari-token", status="302 Found"),
    "302 to itself": reply(b"", "Location: ", status="302 Found"),
    "302 to nowhere": reply(b"{}", status="302 Found"),
    "304": reply(b"", status="304 Not Modified"),
    "307 to no address": reply(b"", "Location: http://[::1", status="307 Again"),
    "401": reply(b"", status="401 No"),
    "401 with an odd header": reply(b"{}", "WWW-Authenticate: \xff", status="401 No"),
    "403 as a page": reply(PAGE, status="403 No"),
    **{
        f"429, {after!r}": reply(b"{}", f"Retry-After: {after}", status="429 Later")
        for after in ("soon", "-1", "nan", "1e999", "9" * 400, "Thu, 99 Foo 2026", "")
    },
    "500": reply(ERROR, status="500 Oh"),
    "503 as a page": reply(PAGE, "Content-Type: text/html", status="503 Down"),
    "599": reply(b"", status="599 Odd"),
    "an unknown charset": reply(ERROR, "Content-Type: application/json; charset=odd"),
    "a reason that tells": reply(b"{}", status="400 kanari-token"),
    "no length, then the end": [b"HTTP/1.1 200 OK\r\n\r\n{"],
    "a truncated body": [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"],
    "only a continue": [b"HTTP/1.1 100 Continue\r\n\r\n"],
    "no gzip": reply(b"{}", GZIP),
    "a bomb": reply(BOMB, GZIP),
}
"""What every end may send instead of what it should: none of these is good."""


def exchange_with(url: str) -> Exchange:
    """A sign-in to Benchling by the issuer at `url`, as far as discovery."""
    benchling = PROVIDERS["benchling"]
    names = ("token_endpoint", "jwks_uri", "device_authorization_endpoint")
    fields = Fields(issuer=url, client_id="x", client_secret=Secret(CLIENT["client_secret"]))
    it = Exchange(benchling, benchling.method("oidc"), url, url, fields, WALL, patience=0)
    it.metadata = {"issuer": url, **dict.fromkeys(names, url)}
    return it


def discovered(url: str) -> None:
    it = exchange_with(url)
    it.metadata = {}
    openid.discover(it)


def polled(url: str) -> None:
    code = Secret("kanari-token")
    asked = openid.Device(code, "A-B", url, url, WALL.time() + 0.3, 0.02)
    openid.poll(exchange_with(url), asked, threading.Event())


def walked(url: str) -> None:
    login("benchling", "api-key", tenant=url, api_key="kanari-token")
    session("benchling").frame("plates")


ENDS: dict[str, Callable[[str], object]] = {
    "token endpoint": lambda url: login("benchling", tenant=url, **CLIENT),
    "discovery": discovered,
    "keys": lambda url: openid._keys(exchange_with(url)),
    "device": lambda url: openid.device(exchange_with(url)),
    "polling": polled,
    "API": walked,
    "probe": lambda url: login("dnanexus", tenant=url, token="kanari-token"),
}
WHO = r"^(Benchling|DNAnexus|The identity provider|The server at http|The code expired)"


GOOD = {
    *(("probe", case) for case in ("wrong types", "empty words")),  # they have an id
    *(("API", case) for case in ("empty words", "error is a number")),  # one empty list is a page
}
UNBOUNDED = {("API", "a bomb"), ("API", "302")}
"""The user's own requests follow redirects and have no bound on size: not covered here."""
ROWS = [(end, case) for end in ENDS for case in REPLIES if (end, case) not in GOOD | UNBOUNDED]


@pytest.mark.parametrize(("end", "case"), ROWS)
def test_every_end(raw: Wire, monkeypatch: pytest.MonkeyPatch, end: str, case: str) -> None:
    """Whatever an end sends instead of what it should, there is a message: soon, small, and without
    a secret."""
    raw.script = lambda: REPLIES[case]
    if end == "API":  # the probe has its own row
        raw.scripts["/api/v2/projects?pageSize=1"] = lambda: reply(b'{"projects": []}')
    began, before = time.monotonic(), peak()
    with pytest.raises(LabauthError, match=WHO) as caught:
        ENDS[end](raw.url)
    said = str(caught.value)
    assert time.monotonic() - began < 15
    assert peak() - before < 60
    assert len(said) < 800
    assert said.isprintable()
    assert "kanari" not in f"{said} {caught.value!r} {vars(caught.value)}"
    busy = case.startswith(("429", "5")) and end != "polling"
    assert busy <= isinstance(caught.value, ProviderError)
    assert not (busy and isinstance(caught.value, SignInRefused))


MALFORMED = {
    "a negative chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"],
    "two lengths": [b"HTTP/1.1 200 OK\r\nContent-Length: 2, 5\r\n\r\n{}"],
    "a negative chunk of a redirect": [
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"
    ],
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("way", ["get", "frame"])
def test_malformed_response(raw: Wire, case: str, way: str) -> None:
    """A response against the rules of HTTP is a message, also in a walk and on a redirect."""
    raw.scripts["/api/v2/projects?pageSize=1"] = lambda: reply(b'{"projects": []}')
    raw.script = lambda: MALFORMED[case]
    login("benchling", "api-key", tenant=raw.url, api_key="kanari-token")
    with pytest.raises(ProviderUnreachable, match="sent a response that cannot be read") as caught:
        getattr(session("benchling"), way)("plates")
    assert "kanari" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [b"", GZIP.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"])
def test_redirect_cut_short(raw: Wire, body: bytes, stream: bool) -> None:
    """A redirect whose body is cut short is asked for again; one that cannot be unpacked is
    followed."""
    start, asked = b"HTTP/1.1 302 Found\r\nLocation: /x\r\n", []

    def script() -> list[bytes]:
        asked.append(1)
        return [start + (body or b"Content-Length: %d\r\n\r\nab" % (2 if asked[1:] else 50))]

    raw.scripts["/api/v2/projects?pageSize=1"] = lambda: reply(b'{"projects": []}')
    raw.scripts["/api/v2/plates"], raw.scripts["/x"] = script, lambda: reply(b"{}")
    login("benchling", "api-key", tenant=raw.url, api_key="kanari-token")
    held = session("benchling")
    held.patience = "10s"
    assert held.get("plates", stream=stream).json() == {}
    assert len(asked) == (1 if body else 2)


def test_handshake_cut_off() -> None:
    """A server that hangs up while TLS is agreed on broke off; its certificate is not to blame."""

    def cut(listener: socket.socket) -> None:
        connection = listener.accept()[0]
        connection.recv(4096)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=cut, args=(listener,), daemon=True).start()
        with pytest.raises(ProviderUnreachable, match="closed the connection") as caught:
            login("benchling", tenant=f"https://127.0.0.1:{listener.getsockname()[1]}", **CLIENT)
    assert caught.value.passing


@pytest.mark.parametrize("way", ["get", "frame"])
def test_stalled_body(raw: Wire, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A body that stalls half-way did not come in time; it is not one that cannot be read."""
    monkeypatch.setattr(sessions, "TIMEOUT", (1, 0.2))
    late = threading.Event()

    def script() -> Iterator[bytes]:
        yield b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"plates": ['
        late.wait(5)

    raw.scripts["/api/v2/projects?pageSize=1"] = lambda: reply(b'{"projects": []}')
    raw.script = script
    login("benchling", "api-key", tenant=raw.url, api_key="kanari-token")
    with pytest.raises(ProviderUnreachable, match="sent nothing in time") as caught:
        getattr(session("benchling"), way)("plates")
    late.set()
    assert ("timeout=" in str(caught.value)) == (way == "get")


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Path]]:
    """An https server with a certificate of an organization's own authority, and that
    one's file."""
    trustme = pytest.importorskip("trustme")
    for name in CA_VARIABLES:
        monkeypatch.delenv(name)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    it = Server()
    it.url = it.url.replace("http:", "https:")
    it.socket = context.wrap_socket(it.socket, server_side=True)
    it.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it
    it.answer = lambda *_: token_answer(count=0)
    threading.Thread(target=it.serve_forever, daemon=True).start()
    yield it, tmp_path / "ca.pem"
    it.shutdown()
    it.server_close()


def _sign_in(url: str) -> Any:
    return login("benchling", tenant=url, **CLIENT)


def _discover(url: str) -> Any:
    known = {"tenant": url, "issuer": url, "client_id": "mine", "redirect_uri": "https://a.example"}
    return begin("benchling", "oidc", **known)


def _probe(url: str) -> Any:
    return login("foundry", "token", tenant=url, token="a-token")


@pytest.mark.parametrize("act", [_sign_in, _discover, _probe])
def test_private_authority(
    private: tuple[Server, Path], act: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization's own certificates are trusted where a variable names them, and
    only there."""
    server, file = private
    with pytest.raises(LabauthError, match="set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its"):
        act(server.url)
    assert not server.seen
    for name in CA_VARIABLES[:3]:
        with monkeypatch.context() as patch:
            patch.setenv(name, str(file))
            with contextlib.suppress(LabauthError):  # it has answered
                act(server.url)
        assert server.seen, name
        server.seen.clear()


@pytest.mark.parametrize("name", CA_VARIABLES[:3])
def test_private_authority_of_an_api(
    private: tuple[Server, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session trusts its own `verify` first, then what the variables name."""
    server, file = private
    monkeypatch.setenv(name, str(file))
    lab = _sign_in(server.url).session()
    assert lab.get("plates").ok
    lab.verify = str(Path(ssl.get_default_verify_paths().cafile or sys.executable).parent)
    lab.close()
    with pytest.raises(LabauthError, match="set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its"):
        lab.get("plates")
    monkeypatch.delenv(name)
    lab.verify = str(file)
    assert lab.get("plates").ok


@pytest.mark.parametrize(
    ("content", "why"), [("nonsense", "holds no certificates"), (None, "cannot be read")]
)
@pytest.mark.parametrize("name", [*CA_VARIABLES[:3], "verify="])
def test_no_certificates_in_the_file(
    private: tuple[Server, Path],
    content: str | None,
    why: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that holds no certificates is told by its name; the provider is not blamed."""
    server, file = private
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    lab, bad = _sign_in(server.url).session(), file.with_name(f"other-{name[:3]}{content}.pem")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    if content:
        bad.write_text(content)
    acts: list[Callable[[], Any]] = [lambda: lab.get("plates")]
    if name == "verify=":
        lab.verify = str(bad)
    else:
        monkeypatch.setenv(name, str(bad))
        acts += [lambda: _sign_in(server.url), lambda: _discover(server.url)]
    for act in acts:
        with pytest.raises(LabauthError) as caught:
            act()
        assert str(caught.value).startswith(f"Nothing was sent: {name} names {bad}, which {why}")
        assert "Benchling" not in str(caught.value)


def test_certificates_where_none_are_needed(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over plain http, to the sandbox, a variable that names no file stops nothing; without any,
    requests' own count."""
    for name in CA_VARIABLES:
        monkeypatch.delenv(name)
    assert trusted() is True
    assert trusted(False) is False
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    login("qbench", tenant="sandbox")
    assert session("qbench").get("customers").ok


def test_certificates_that_go_away(
    private: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is removed, or overwritten, after its first use is told as at its first use."""
    server, file = private
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    mine = _sign_in(server.url).session()
    assert mine.get("plates").ok
    for change, why in (
        (lambda: file.write_text("x"), "holds no certificates"),
        (file.unlink, "cannot be read"),
    ):
        change()
        for act in (lambda: mine.get("plates"), lambda: _sign_in(server.url)):
            with pytest.raises(
                LabauthError, match=f"^Nothing was sent: SSL_CERT_FILE names .*{why}"
            ):
                act()


@pytest.mark.slow
def test_truststore(private: tuple[Server, Path]) -> None:
    """After `truststore.inject_into_ssl()` the operating system's certificates are trusted."""
    pytest.importorskip("truststore")
    server, file = private
    code = (
        "import os, sys, truststore; truststore.inject_into_ssl()\nimport labauth_nb\nfrom"
        " labauth_nb.tokens import wire; wire.CA_VARIABLES = ()\nmine ="
        " labauth_nb.login('benchling', tenant=sys.argv[1], client_id='i',"
        " client_secret='s')\nprint(mine.session().get('plates').status_code)"
    )
    env = {**os.environ, "SSL_CERT_FILE": str(file)}  # the "operating system's", for OpenSSL
    command = [sys.executable, "-c", code, server.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert ran.stdout.strip() == "200", ran.stderr[-500:]
