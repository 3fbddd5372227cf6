"""HTTP exchanges that end: a whole response, or an error, within a time and a size.

http.client reads header lines, interim responses (RFC 9110 15.2), chunk sizes and trailers
(RFC 9112 7.1) in loops of its own, and each byte starts a new time-out. So the bound is beneath
it, at the reads of the socket; and no method of urllib3 is needed that only some versions have.
"""

from __future__ import annotations

import http.client
import io
import math
import os
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..clocks import Clock
from ..errors import LabauthError, Unfinished
from ..responses import one_line

SECONDS, BYTES = 60.0, 2_000_000
"""For an exchange from its start to its last byte; of a response, headers included and unpacked."""
PACE, PAGE_SECONDS, PAGE_BYTES = 1000.0, 3600.0, 500_000_000
"""For a page of a list: the slowest that it may come, bytes per second; in all; its
size as sent."""
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Waits where the server names none (benchling-sdk: 1, 2, 4, 8), then the last again."""
TOLD_AFTER_SECONDS = 5.0
"""A request that waits longer than this in all says so."""
FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
"""What the network and a malformed response raise, by way of requests or not; the rest is a bug."""
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Who names the certificates to trust, the first first: as requests looks, then as OpenSSL does."""
UNREADABLE = "sent a response that cannot be read. Try again."


def _slow(seconds: float) -> Unfinished:
    said = f"it did not send a whole response within {seconds:g} s"
    return Unfinished(f"was too slow: {said}. Try again.")


def _long(most: float) -> Unfinished:
    return Unfinished(f"sent a response of more than {most / 1e6:g} MB. Check the address.")


class _Short:
    """The bounds of an exchange for a token and the like: `SECONDS` and `BYTES` for all of it."""

    def __init__(self) -> None:
        self.most, self.bytes = BYTES, 0
        self._end = time.monotonic() + SECONDS

    def left(self) -> float:
        """Seconds until it is too slow."""
        return self._end - time.monotonic()

    def slow(self) -> Unfinished:
        """The error for one that is."""
        return _slow(SECONDS)


class _Page:
    """The bounds of a page of a list: it may be large, if it keeps coming once it has begun.

    `SECONDS` from its first byte, and a second more for each `PACE` bytes: what trickles ends soon,
    what comes over a slow line does not. How long the first byte takes is the time-out's business.
    """

    def __init__(self) -> None:
        self.most, self.bytes, self._began = PAGE_BYTES, 0, 0.0

    def left(self) -> float:
        """Seconds until it is too slow."""
        if not self.bytes:
            return math.inf
        self._began = self._began or time.monotonic()
        return self._began + min(SECONDS + self.bytes / PACE, PAGE_SECONDS) - time.monotonic()

    def slow(self) -> Unfinished:
        """The error for one that is."""
        return _slow(round(time.monotonic() - self._began))


_bounds: ContextVar[Callable[[], _Short | _Page] | None] = ContextVar("bounds", default=None)
"""Gives the bounds of the next response; None: it has none."""


@contextmanager
def _within(bounds: Callable[[], _Short | _Page]) -> Iterator[None]:
    before = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(before)


def paged() -> AbstractContextManager[None]:
    """While it is open, each response that this thread gets by a `BoundedAdapter` is a page."""
    return _within(_Page)


class _Metered(io.RawIOBase):
    """What a socket sends, within `bounds`."""

    def __init__(self, bounds: _Short | _Page, sock: Any, file: Any) -> None:
        self._bounds, self._sock, self._file = bounds, sock, file
        timeout = sock.gettimeout()
        self._timeout = math.inf if timeout is None else timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        bounds = self._bounds
        if (left := bounds.left()) <= 0:
            raise bounds.slow()
        seconds = min(left, self._timeout)
        self._sock.settimeout(None if seconds == math.inf else seconds)
        try:
            count: int = self._file.readinto1(buffer)
        except TimeoutError:
            if left > self._timeout:
                raise
            raise bounds.slow() from None
        bounds.bytes += count
        if bounds.bytes > bounds.most:
            raise _long(bounds.most)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if (bounds := _bounds.get()) is not None:
            self.fp = io.BufferedReader(_Metered(bounds(), sock, self.fp))


class BoundedAdapter(HTTPAdapter):
    """An adapter, also through a proxy, whose responses keep to the bounds that are set."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As in requests, with connections that keep to the bounds."""
        super().init_poolmanager(*args, **options)
        self._meter(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """As in requests, with connections that keep to the bounds."""
        return self._meter(super().proxy_manager_for(*args, **options))

    def _meter(self, manager: Any) -> Any:
        """`manager`, whose connections read by `_Response` from now on."""
        ours, pools = {"response_class": _Response}, {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = type("Connection", (pool.ConnectionCls,), ours)
            pools[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools
        return manager


class Patience:
    """How long one request is tried for: the waits between its attempts, and one line about them.

    `seconds`: in all, what the attempts take included; `clock`: what is waited by; `ended`: ends a
    wait once it is set; `setting`: what sets the seconds, for the line.
    """

    def __init__(
        self,
        seconds: float,
        clock: Clock,
        ended: threading.Event | None = None,
        setting: str = "",
    ) -> None:
        self._seconds, self._clock, self._ended = seconds, clock, ended or threading.Event()
        self._setting = setting and f" ({setting})"
        self._waits, self._spent, self._since, self._told = 0, 0.0, 0.0, False

    def wait(self, said: str = "", asked: float | None = None, most: float = math.inf) -> bool:
        """Wait as `asked` (seconds), else longer each time; False, at once, if that is too long.

        `said`: what is printed, once, where it takes longer than a few seconds ("": nothing);
        `most`: how long whoever calls goes on at most (seconds).
        """
        if self._waits:  # by the clock that stands still while a laptop sleeps
            self._spent += time.monotonic() - self._since
        step, left = min(self._waits, len(BACKOFF_SECONDS) - 1), self._seconds - self._spent
        pause = min(BACKOFF_SECONDS[step], left) if asked is None else max(asked, 0.2 * 2**step)
        self._waits += 1
        if left <= 0 or pause > left:
            return False
        self._spent += pause
        if said and self._spent > TOLD_AFTER_SECONDS and not self._told:
            self._told, most = True, min(self._seconds, most)
            print(f"{said}. Trying again for up to {most:.0f} s{self._setting}.", file=sys.stderr)
        self._clock.wait(self._ended, pause)
        self._since = time.monotonic()
        return True


def trusted(verify: Any = True) -> Any:
    """What TLS trusts: `verify` as requests has it, and for True what the environment names.

    Raises `LabauthError` for a file that holds no certificates: no server is to blame for it.
    """
    name = "verify="
    if verify is True:
        name = next((each for each in CA_VARIABLES if os.environ.get(each)), "")
        verify = os.environ[name] if name else True
    if isinstance(verify, str | os.PathLike):
        try:
            _load(os.fspath(verify), os.stat(verify).st_mtime_ns)
        except OSError as error:
            bad = isinstance(error, ssl.SSLError)
            why = "holds no certificates (PEM)" if bad else f"cannot be read ({error.strerror})"
            raise LabauthError(
                f"Nothing was sent: {name} names {one_line(str(verify))}, which {why}. "
                "Name your organization's certificate file there, or unset it."
            ) from None
    return verify


@cache
def _load(path: str, changed: int) -> None:
    """Raise OSError where `path` (`changed` then, ns) is no folder or file of certificates."""
    if not os.path.isdir(path):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)


def exchange(verb: str, url: str, trust_env: bool, **parts: Any) -> requests.Response:
    """The response to a request, read whole within `SECONDS` and `BYTES`.

    Redirects are not followed. `trust_env`: whether proxies come from the environment; `parts`:
    as `requests.request` has them. Raises `FAILURES`.
    """
    short = _Short()
    with requests.Session() as session, _within(lambda: short):
        session.trust_env = trust_env
        for scheme in ("https://", "http://"):
            session.mount(scheme, BoundedAdapter())
        # A redirect's next request would hold the body; and its address may be none.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        parts["headers"] = {"Accept-Encoding": "gzip", **parts.get("headers", {})}
        try:
            response = session.request(verb, url, allow_redirects=False, stream=True, **parts)
        except requests.ReadTimeout:  # while TLS was agreed on
            raise short.slow() from None
        try:
            body = _unpacked(_read(response.raw), response.headers.get("Content-Encoding", ""))
        finally:
            response.close()
        response._content, response._content_consumed = body, True  # type: ignore[attr-defined]  # noqa: SLF001 - requests has no public name for them
        return response


def _read(raw: Any) -> bytes:
    """The body as it was sent; in pieces, as any Content-Length would be allocated at once."""
    raw.enforce_content_length, body = True, bytearray()  # off by default before urllib3 2
    try:
        while piece := raw.read(65536, decode_content=False):
            body += piece
    except ValueError:  # http.client, of a negative chunk size
        raise Unfinished(UNREADABLE) from None
    return bytes(body)


def _unpacked(body: bytes, coding: str) -> bytes:
    """`body` without its content coding (RFC 9110 8.4); urllib3 would unpack a bomb unmeasured."""
    coding = coding.strip().lower()
    if not body or coding in ("", "identity"):
        return body
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        body = unpacker.decompress(body, BYTES + 1)
    except zlib.error:
        raise Unfinished(UNREADABLE) from None
    if len(body) > BYTES:
        raise _long(BYTES)
    if coding not in ("gzip", "x-gzip", "deflate") or not unpacker.eof:
        raise Unfinished(UNREADABLE)
    return body
