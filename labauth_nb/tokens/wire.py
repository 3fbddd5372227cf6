"""One HTTP exchange that ends: a whole, short response, or an error, within a time and a size.

http.client reads header lines, interim responses (RFC 9110 15.2), chunk sizes and trailers
(RFC 9112 7.1) in loops of its own, and each byte starts a new time-out. So the bound is beneath
it, at the reads of the socket; and no method of urllib3 is needed that only some versions have.
"""

from __future__ import annotations

import http.client
import io
import os
import ssl
import time
import zlib
from functools import cache, partial
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..errors import LabauthError, Unfinished, one_line

SECONDS, BYTES = 60.0, 2_000_000
"""For an exchange from its start to its last byte; of a response, headers included and unpacked."""
FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
"""What the network and a malformed response raise, by way of requests or not; the rest is a bug."""
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Who names the certificates to trust, the first first: as requests looks, then as OpenSSL does."""
UNREADABLE = "sent a response that cannot be read. Try again."


def _slow() -> Unfinished:
    said = f"it did not send a whole response within {SECONDS:g} s"
    return Unfinished(f"was too slow: {said}. Try again.")


def _long() -> Unfinished:
    return Unfinished(f"sent a response of more than {BYTES / 1e6:g} MB. Check the address.")


class _Metered(io.RawIOBase):
    """What a socket sends, until the adapter's time or bytes are used up."""

    def __init__(self, adapter: _Adapter, sock: Any, file: Any) -> None:
        self._adapter, self._sock, self._file = adapter, sock, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._adapter.end - time.monotonic()
        if left <= 0:
            raise _slow()
        self._sock.settimeout(min(left, self._sock.gettimeout() or left))
        try:
            count: int = self._file.readinto1(buffer)
        except TimeoutError:
            raise _slow() from None
        self._adapter.bytes -= count
        if self._adapter.bytes < 0:
            raise _long()
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, adapter: _Adapter, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Metered(adapter, sock, self.fp))


class _Adapter(HTTPAdapter):
    """An adapter for one exchange, also through a proxy."""

    def __init__(self) -> None:
        self.end, self.bytes = time.monotonic() + SECONDS, BYTES
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._meter(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return self._meter(super().proxy_manager_for(*args, **options))

    def _meter(self, manager: Any) -> Any:
        """`manager`, whose connections read by `_Response` from now on."""
        ours, pools = {"response_class": staticmethod(partial(_Response, self))}, {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = type("Connection", (pool.ConnectionCls,), ours)
            pools[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools
        return manager


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
    """Raise OSError where `path` (last `changed` then, ns) is neither a folder nor a file of certificates."""
    if not os.path.isdir(path):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)


def exchange(verb: str, url: str, trust_env: bool, **parts: Any) -> requests.Response:
    """The response to a request, read whole within `SECONDS` and `BYTES`.

    Redirects are not followed. `trust_env`: whether proxies come from the environment; `parts`:
    as `requests.request` has them. Raises `FAILURES`.
    """
    with requests.Session() as session:
        session.trust_env = trust_env
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter())
        # A redirect's next request would hold the body; and its address may be none.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        parts["headers"] = {"Accept-Encoding": "gzip", **parts.get("headers", {})}
        try:
            response = session.request(verb, url, allow_redirects=False, stream=True, **parts)
        except requests.ReadTimeout:  # while TLS was agreed on
            raise _slow() from None
        try:
            body = _unpacked(_read(response.raw), response.headers.get("Content-Encoding", ""))
        finally:
            response.close()
        response._content, response._content_consumed = body, True  # type: ignore[attr-defined]
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
        raise _long()
    if coding not in ("gzip", "x-gzip", "deflate") or not unpacker.eof:
        raise Unfinished(UNREADABLE)
    return body
