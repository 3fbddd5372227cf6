"""The listener on loopback that a sign-in page sends the browser back to (RFC 8252 7.3).

It knows a `Receiver`, which is told what came and says which page to show. It reads one GET a
connection, keeps nothing and logs nothing: the address holds the code.
"""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
import socket
import threading
import time
import weakref
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from ..clocks import started
from ..providers import is_loopback

TAKEN_SECONDS = 1.0
"""How long a registered port is tried again: an earlier attempt may be just letting go of it."""
CONNECTIONS, CONNECTION_SECONDS = 16, 10.0
"""The listener reads so many requests at once, and each for so long in all."""
CROWDED_SECONDS = 1.0
"""Where all are taken, the oldest makes room once it has had this long: a browser needs
far less."""
NOTHING = "There is nothing here. Go back to the notebook."
OK, BAD, FORBIDDEN, NOT_FOUND, BROKEN = 200, 400, 403, 404, 500


class Page(NamedTuple):
    """What the browser is shown; `erase`: whether the response is erased from its address."""

    status: int
    message: str
    erase: bool = False


class Receiver(Protocol):
    """Whoever waits for a response at a listener. It is held weakly."""

    def heard(self, status: int, query: str) -> Page:
        """The browser came with `query`.

        OK at the redirect address, FORBIDDEN by a foreign Host header, NOT_FOUND at another path.
        Never raises.
        """

    def proven(self) -> None:
        """This computer's browser fetched the proof."""

    def yields(self, newer: Any) -> str:
        """Another receiver wants the port.

        Make room for it ("" is the response), or say who has it.
        """


class _Home(NamedTuple):
    """Where a redirect address leads: a port (0.

    Any), a path, and Host headers beside the port's own.
    """

    port: int
    path: str
    hosts: frozenset[str] = frozenset()


_PROXIED = re.compile(r"/proxy/(?:absolute/)?(\d{1,5})(/.*)?$")
"""The path of an address that jupyter-server-proxy passes on to a port of the kernel's computer."""


def _home(redirect_uri: str) -> _Home | None:
    """Where the listener for `redirect_uri` would be; None where it leads to another program."""
    parts = urlsplit(redirect_uri)
    proxied = _PROXIED.search(parts.path)
    if proxied and 0 < int(proxied[1]) < 65536:
        absolute = "/proxy/absolute/" in parts.path
        path = parts.path if absolute else proxied[2] or "/"
        return _Home(int(proxied[1]), path, _spellings(parts))
    if parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"):
        return _Home(parts.port or 0, parts.path or "/")
    return None


def _spellings(parts: SplitResult) -> frozenset[str]:
    """How a browser may spell the host of an address.

    It leaves the scheme's own port out (RFC 9110 7.2).
    """
    netloc, usual = parts.netloc.lower(), ":443" if parts.scheme == "https" else ":80"
    spelled = {netloc, netloc.removesuffix(usual)}
    return frozenset(spelled | ({netloc + usual} if parts.port is None else set()))


def with_port(redirect_uri: str, listener: Listener | None) -> str:
    """`redirect_uri` with the listener's port where it has none (RFC 8252 7.3: any is good)."""
    parts = urlsplit(redirect_uri)
    open_port = is_loopback(parts.hostname) and parts.port in (None, 0)
    if listener is None or not open_port or _PROXIED.search(parts.path):
        return redirect_uri
    netloc = f"{parts.hostname}:{listener.server_port}"
    return parts._replace(netloc=netloc, path=parts.path or "/").geturl()


_holding: weakref.WeakValueDictionary[int, Listener] = weakref.WeakValueDictionary()
"""Who listens at a registered port."""


def listen(redirect_uri: str, receiver: Receiver) -> tuple[Listener | None, str]:
    """The listener that the redirect address leads to, or None and why ("": elsewhere)."""
    home = _home(redirect_uri)
    if home is None:
        return None, ""
    earlier = _holding.get(home.port)
    holder = earlier.receiver() if earlier is not None and not earlier.ended.is_set() else None
    if holder is not None and (why := holder.yields(receiver)):
        return None, f"Port {home.port} is taken by {why}"
    end = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            listener = Listener(home, receiver)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None, f"Port {home.port} of this computer cannot be used ({error.strerror})"
            if time.monotonic() >= end:
                return None, f"Port {home.port} is taken by another program on this computer"
            time.sleep(0.05)
    if home.port:
        _holding[home.port] = listener
    return listener, ""


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _after_fork() -> None:
    """The child of a fork serves no sign-in.

    With its copies of the sockets the ports would stay taken.
    """
    for listener in list(_listeners):
        for each in (listener.socket, *listener.reading):
            each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Listener(ThreadingHTTPServer):
    """An HTTP server for one receiver at 127.0.0.1; serves from the start, in its thread."""

    daemon_threads = True
    request_queue_size = 128  # the real response waits here while others hold every connection
    # else a registered port is "taken" for a minute after each response
    allow_reuse_address = os.name == "posix"

    def __init__(self, home: _Home, receiver: Receiver) -> None:
        self.path, self.receiver = home.path, weakref.ref(receiver)
        self.proof = f"/{secrets.token_urlsafe(16)}"
        self.ended, self.timeout = threading.Event(), 0.1
        # the connections whose request is read, and since when
        self.reading: dict[socket.socket, float] = {}
        super().__init__(("127.0.0.1", home.port), _Exchange)
        self.hosts = {f"{h}:{self.server_port}" for h in ("127.0.0.1", "localhost")} | home.hosts
        _listeners.add(self)
        started(self._serve, name="labauth listener")

    @property
    def proof_url(self) -> str:
        """An address that only this computer can fetch."""
        return f"http://127.0.0.1:{self.server_port}{self.proof}"

    def _serve(self) -> None:
        with suppress(OSError, ValueError):  # the socket was closed meanwhile
            while not self.ended.is_set():
                if self._hang_up() < CONNECTIONS:
                    self.handle_request()
                else:
                    time.sleep(0.02)
        while self._hang_up():
            time.sleep(0.1)

    def _hang_up(self) -> int:
        """Shut the connections that take too long; gives how many there are."""
        now, opened = time.monotonic(), list(self.reading.items())
        for number, (connection, since) in enumerate(opened):
            oldest = number == 0 and len(opened) >= CONNECTIONS
            brief = oldest or self.ended.is_set()
            if now - since > (CROWDED_SECONDS if brief else CONNECTION_SECONDS):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
        return len(opened)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, and note since when."""
        self.reading[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        self.reading.pop(request, None)
        super().shutdown_request(request)

    def close(self) -> None:
        """Give the port back at once; the threads that write a page finish it."""
        self.ended.set()
        with suppress(OSError):
            # else the thread that waits for a connection keeps the port
            self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is nobody's business."""


class _Exchange(BaseHTTPRequestHandler):
    """GET of the redirect address brings a response.

    Everything else gets a page, and nothing is done.
    """

    server: Listener
    server_version, sys_version = "labauth", ""
    timeout = 10

    def do_GET(self) -> None:
        receiver, (path, _, query) = self.server.receiver(), self.path.partition("?")
        foreign = self.headers.get("Host", "").lower() not in self.server.hosts
        if receiver is None:
            self._page(Page(FORBIDDEN, NOTHING))
        elif foreign:
            self._page(receiver.heard(FORBIDDEN, query))
        elif hmac.compare_digest(path.encode(), self.server.proof.encode()):
            receiver.proven()
            self._page(Page(204, ""))
        elif path != self.server.path or not query:
            self._page(receiver.heard(NOT_FOUND, query))
        else:
            self.server.reading.pop(self.connection, None)  # read; to redeem its code takes longer
            self._page(receiver.heard(OK, query))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Another verb, or no HTTP: the same page and headers, and nothing of what was sent."""
        self._page(Page(code, NOTHING))

    def _page(self, page: Page) -> None:
        nonce, script = secrets.token_urlsafe(12), _ERASE if page.erase else ""
        body = _PAGE.format(message=escape(page.message), nonce=nonce, script=script)
        empty = page.status == 204 or self.command == "HEAD"
        content = b"" if empty else body.encode()
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        self.send_response(page.status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", f"{policy}frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: the address holds the code."""


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>labauth</title>
<style nonce="{nonce}">
:root {{ color-scheme: light dark }}
body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 34em; margin: 15vh auto; padding: 0 1em }}
</style>
<p>{message}</p>
<script nonce="{nonce}">{script}</script></html>
"""
_ERASE = 'history.replaceState(null, "", location.pathname)'
"""Takes a response off its page's address; one that is to be pasted elsewhere stays."""
