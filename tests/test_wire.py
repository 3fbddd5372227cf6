"""Every exchange ends in time, in little memory and in a message, on each urllib3."""

from __future__ import annotations

import gzip
import itertools
import resource
import socket
import socketserver
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
import urllib3

from labauth_nb import (
    LabauthError,
    LabSession,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    login,
)
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab
from labauth_nb.sessions import session as sessions
from labauth_nb.tokens import exchanges, wire

Script = Callable[[], Iterable[bytes]]
OFFERED = [(p.name, m) for p in PROVIDERS.values() for m in p.methods]
METHODS = [(name, m.name) for name, m in OFFERED if not m.flow and not m.job_variable]


class Wire(socketserver.ThreadingTCPServer):
    """Sends the bytes of `script()` for each request, or `scripts[path]()` where there is one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.script: Script = lambda: []
        self.scripts: dict[str, Script] = {}


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Wire = self.server  # type: ignore[assignment]
        length, path = 0, self.rfile.readline().split()[1].decode()
        while (line := self.rfile.readline().lower().strip()) != b"":
            length = int(line.split()[1]) if line.startswith(b"content-length:") else length
        self.rfile.read(length)
        try:
            for piece in server.scripts.get(path, server.script)():
                self.wfile.write(piece)
        except OSError:
            pass  # the client has hung up, as it should


@pytest.fixture
def server() -> Iterator[Wire]:
    with Wire() as it:
        threading.Thread(target=it.serve_forever, args=(0.05,), daemon=True).start()
        yield it
        it.shutdown()


def reply(body: bytes, *headers: str, status: str = "200 OK") -> list[bytes]:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return ["\r\n".join([*lines, *headers, "", ""]).encode() + body]


def drip(start: bytes, each: bytes) -> Script:
    def script() -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(0.05)
            yield each

    return script


def pour(start: bytes, each: bytes) -> Script:
    return lambda: itertools.chain([start], itertools.repeat(each))


def bomb() -> bytes:
    """200 MB in 0.2 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()])


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GZIP = "Content-Encoding: gzip"
BOMB = bomb()
SLOW = r"was too slow: it did not send a whole response within [0-9.]+ s\. Try again"
LONG = r"sent a response of more than 2 MB\. Check"
UNREADABLE, BROKEN = "sent a response that cannot be read", "closed the connection. Try again"
CASES: dict[str, tuple[Script, str]] = {
    "headers a byte at a time": (drip(OK, b"a"), SLOW),
    "endless headers": (pour(OK, b"a" * 60_000 + b": b\r\n"), LONG),
    "100 Continue again and again": (drip(b"", CONTINUE), SLOW),
    "100 Continue without an end": (pour(b"", CONTINUE * 1000), LONG),
    "body a byte at a time": (drip(OK + b"\r\n", b" "), SLOW),
    "body without an end": (pour(OK + b"\r\n", b" " * 65536), LONG),
    "chunk size without an end": (drip(CHUNKED, b"0"), SLOW),
    "trailers without an end": (pour(CHUNKED + b"0\r\n", b"A: b\r\n" * 1000), LONG),
    "silence": (drip(b"", b""), SLOW),
    "gzip bomb": (lambda: reply(BOMB, GZIP), LONG),
    "gzip bomb in gzip": (lambda: reply(gzip.compress(BOMB), f"{GZIP}, gzip"), UNREADABLE),
    "no gzip": (lambda: reply(b"{}", GZIP), UNREADABLE),
    "half a gzip": (lambda: reply(gzip.compress(b"{}")[:-9], GZIP), UNREADABLE),
    "negative chunk": (lambda: [CHUNKED + b"-5\r\nabc"], UNREADABLE),
    "huge length": (lambda: [OK + b"Content-Length: 99999999999999\r\n\r\n{"], BROKEN),
    "half a body": (lambda: [OK + b"Content-Length: 99\r\n\r\n{"], BROKEN),
    "nothing": (lambda: [], BROKEN),
    "not HTTP": (lambda: [b"SSH-2.0-refused\r\n"], UNREADABLE),
    "long line": (lambda: [OK + b"a" * 70_000 + b"\r\n\r\n"], UNREADABLE),
}
CLIENT = {"client_id": "some-client", "client_secret": "kanari-client-secret-0001"}
TOKEN = b'{"access_token": "kanari-token", "token_type": "Bearer", "expires_in": 900}'


def peak() -> float:
    """The most memory that this process has had, in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@pytest.mark.parametrize("case", CASES)
def test_token_endpoint(server: Wire, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Whatever a token endpoint sends, a sign-in ends in time, in 60 MB and in a true message."""
    server.script, said = CASES[case]
    monkeypatch.setattr(wire, "SECONDS", 0.7 if said == SLOW else 15)
    began, before = time.monotonic(), peak()
    with pytest.raises(LabauthError, match=f"did not respond: 127.0.0.1:[0-9]+ {said}") as caught:
        login("benchling", tenant=server.url, **CLIENT)
    assert time.monotonic() - began < 15
    assert peak() - before < 60
    assert "kanari" not in repr(caught.value)


def test_silent_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in where TLS does not begin is told without an option that it does not have."""
    monkeypatch.setattr(exchanges, "TIMEOUT", (0.3, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LabauthError, match=SLOW) as caught:
            login("benchling", tenant=address, **CLIENT)
    assert "timeout=" not in str(caught.value)


def after_a_token(server: Wire, script: Script) -> None:
    """`server` issues tokens of Foundry, and sends `script` to all other requests."""
    server.scripts["/multipass/api/oauth2/token"] = lambda: reply(TOKEN)
    server.script = script


@pytest.mark.parametrize("case", CASES)
def test_probe(server: Wire, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Whatever who-am-I sends, an issued token is kept, and a pasted one is not called good."""
    script, said = CASES[case]
    monkeypatch.setattr(wire, "SECONDS", 0.7 if said == SLOW else 15)
    after_a_token(server, script)
    began, before = time.monotonic(), peak()
    mine = login("foundry", tenant=server.url, **CLIENT)
    assert (mine.who, mine.status) == (None, "valid")
    with pytest.raises(LabauthError, match=said):
        login("dnanexus", tenant=server.url, token="kanari-token")
    assert time.monotonic() - began < 15
    assert peak() - before < 60


def walk(server: Wire, second: Script) -> LabSession:
    """A session of Benchling whose list has a page of one record, and then `second`."""
    server.scripts["/api/v2/token"] = lambda: reply(TOKEN)
    first = b'{"rows": [{"id": 1}], "nextToken": "t2"}'
    close = "Connection: close"  # as it does, so that the next page is not sent to a closed one
    server.scripts["/api/v2/odd"], server.script = lambda: reply(first, close), second
    return login("benchling", tenant=server.url, **CLIENT).session()


@pytest.mark.parametrize("case", [case for case, (_, said) in CASES.items() if said == SLOW])
def test_slow_page(server: Wire, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A walk ends where a page trickles in, headers or body, and keeps what was read before."""
    monkeypatch.setattr(sessions, "TIMEOUT", (5, 2))
    held = walk(server, CASES[case][0])
    monkeypatch.setattr(wire, "SECONDS", 0.7)
    began = time.monotonic()
    said = "sent nothing in time" if case == "silence" else SLOW
    with pytest.raises(
        ProviderUnreachable, match=f"Benchling did not respond: .* {said}"
    ) as caught:
        held.frame("odd")
    assert time.monotonic() - began < 15
    assert (caught.value.records, caught.value.cursor) == ([{"id": 1}], "t2")


def test_page_without_an_end(server: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that never ends, however fast it comes, ends the walk before memory does."""
    monkeypatch.setattr(wire, "PAGE_BYTES", 5_000_000)
    held, before = walk(server, pour(OK + b"\r\n", b" " * 65536)), peak()
    with pytest.raises(ProviderUnreachable, match="sent a response of more than 5 MB") as caught:
        held.frame("odd")
    assert (caught.value.records, caught.value.cursor) == ([{"id": 1}], "t2")
    assert peak() - before < 60


@pytest.mark.slow
@pytest.mark.once
def test_page_that_takes_its_time(server: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large page may take longer than a short one, before it begins and while it keeps coming."""

    def script() -> Iterator[bytes]:
        time.sleep(6.5)
        yield OK + b'\r\n{"rows": [{"id": 2}]'
        time.sleep(0.5)  # so that its beginning comes alone: the time counts from there
        for _ in range(8):
            yield b" " * 300_000
            time.sleep(1)
        yield b"}"

    held = walk(server, script)
    # more than a busy machine keeps the server waiting for
    monkeypatch.setattr(wire, "SECONDS", 6)
    assert list(held.frame("odd")["id"]) == [1, 2]


def test_own_request_takes_its_time(server: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of the user's own is bounded by timeout= only, also on the connection of a walk."""
    steady = [b"{", *[b" "] * 20, b"}"]
    held = walk(server, lambda: reply(b'{"rows": []}', "Connection: close"))
    assert len(held.frame("odd")) == 1
    server.script = lambda: (time.sleep(0.05) or each for each in [OK + b"\r\n", *steady])
    monkeypatch.setattr(wire, "SECONDS", 0.2)
    assert held.get("slow").json() == {}


NAME = b'{"id": "user-ada", "username": "ada"}'
ERROR, RATE = b'{"id": "user-ada", "error": "invalid_token"}', b'{"error": {"type": "RateLimit"}}'
AWAY = "a redirect to another address"
PROOFS: dict[str, tuple[Script, str]] = {
    "redirect": (lambda: reply(NAME, "Location: http://localhost:1/", status="302 Go"), AWAY),
    "loop": (lambda: reply(NAME, "Location: /system/whoami", status="307 Go"), AWAY),
    "error in 200": (lambda: reply(ERROR), "responded with 200 invalid_token"),
    "later": (lambda: reply(RATE, status="429 Later"), "429 RateLimit"),
}


@pytest.mark.parametrize("case", PROOFS)
def test_no_proof(server: Wire, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A redirect, an error in a 200 and "later" prove no token, name nobody, and lose no token."""
    monkeypatch.setattr(exchanges, "AGAIN_SECONDS", 0)
    script, said = PROOFS[case]
    after_a_token(server, script)
    with pytest.raises(ProviderError, match=said) as caught:
        login("dnanexus", tenant=server.url, token="kanari-token")
    assert isinstance(caught.value, SignInRefused) == (case != "later")
    mine = login("foundry", tenant=server.url, **CLIENT)
    assert (mine.who, mine.status) == (None, "valid")


def test_proof_later(lab: Lab) -> None:
    """A pasted token whose check is told to come later is checked again, as slowly as wanted."""
    lab.next("dnanexus", 429, times=2)
    assert login("dnanexus", tenant="sandbox").who == "ada"


def test_proxy(server: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that drips its reply to CONNECT holds up a sign-in no longer than a server does."""
    monkeypatch.setattr(wire, "SECONDS", 0.7)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    server.script = drip(OK, b"a")
    with pytest.raises(LabauthError, match=SLOW):
        login("benchling", tenant="acme", **CLIENT)


@pytest.mark.parametrize(("provider", "method"), METHODS)
def test_without_read1(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    method: str,
) -> None:
    """A sign-in needs no `HTTPResponse.read1`, which urllib3 before 2.2 lacks."""
    monkeypatch.delattr(urllib3.HTTPResponse, "read1", raising=False)
    assert login(provider, method, tenant="sandbox").status.startswith("valid")


def test_packed_response(server: Wire) -> None:
    """A token response that a gateway has packed is read."""
    server.script = lambda: reply(b"{}")
    server.scripts["/api/v2/token"] = lambda: reply(gzip.compress(TOKEN), GZIP)
    assert login("benchling", tenant=server.url, **CLIENT).status == "valid"


@pytest.mark.parametrize("bug", [AttributeError, TypeError, ValueError, UnicodeError, KeyError])
def test_bug_of_ours(lab: Lab, monkeypatch: pytest.MonkeyPatch, bug: type[Exception]) -> None:
    """A bug of ours is not blamed on the network: it names its place, and shows no secret."""

    def broken(*args: object, **parts: object) -> None:
        raise bug(f"kanari {parts}")

    monkeypatch.setattr(wire, "exchange", broken)
    with pytest.raises(RuntimeError, match=rf"{bug.__name__} at test_wire\.py:\d+") as caught:
        login("benchling", tenant="sandbox", client_secret="kanari-secret-0001")
    assert caught.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame.f_locals for frame in frames if "labauth_nb/" in frame.f_code.co_filename]
    assert "kanari" not in repr([caught.value, *ours])
