"""Reading an HTTP response: its JSON, what its error says, how long to wait, why none came.

What comes out is a value or an error that holds no secret. Nothing is sent here.
"""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Collection, Iterable, Mapping
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from io import BytesIO
from socket import gaierror
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from .errors import ProviderError, ProviderUnreachable, Unfinished
from .masking import scrub


class Sender(NamedTuple):
    """Who sent a response, for what an error says of it.

    `title`: at the beginning of a sentence; `hints`: what to do, by "status code", code, status or
    "4xx"; `pacing`: headers that tell how many seconds to wait; `known_by`: what the user gave to
    find it, in words.
    """

    title: str
    hints: Mapping[str, str] = {}
    pacing: tuple[str, ...] = ("retry-after",)
    known_by: str = "address"


def one_line(text: str, most: int = 240, secrets: Collection[str] = ()) -> str:
    """`text` on one line of up to `most` characters, without control characters and `secrets`.

    Terminals obey control characters; a secret may stand there with them or between them.
    """
    text = re.sub(r"\s+", " ", scrub(text, secrets))
    text = scrub("".join(c for c in text if c.isprintable()).strip(), secrets)
    return text if len(text) <= most else text[: most - 1] + "…"


def json_of(response: requests.Response) -> Any:
    """The JSON of a response.

    None where there is none, or where it is nested or spelt so that it cannot be worked with.
    """
    try:
        body = response.json()
        # no lone surrogates, no numbers of thousands of digits
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError, LookupError):
        return None
    return body


def finite(value: object) -> float:
    """`value` as a number.

    NaN, which no comparison holds for, where it is none, or none that is finite.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_error(response: requests.Response, known_by: str = "address") -> tuple[str, str]:
    """(error code, message) of an error response, in any of the providers' shapes.

    ("", "") where it has none.

    Shapes: RFC 6749 section 5.2 ``{"error": "..", "error_description": ".."}``; Benchling and
    DNAnexus ``{"error": {"type" or "code", "message"}}``; Foundry ``{"errorCode", "errorName",
    "parameters"}``; QBench ``{"error_type", "error_description"}`` and ``{"error": "a whole
    sentence"}``; gateways ``{"errors": ["a whole sentence" or {"code", "message"}]}``.
    """
    if is_page(response):
        return "", f"a web page instead of JSON: check the {known_by}, or the service may be down"
    body = json_of(response)
    if not isinstance(body, dict):
        return "", "a response that is not JSON" if body is None else ""
    error = body.get("error")
    if isinstance(error, dict):
        message = error.get("message") or error.get("userMessage")
        return _text(error.get("type") or error.get("code")), _text(message)
    if "errorName" in body or "errorCode" in body:
        missing = missing_scope(body)
        said = f"missing scope {missing}" if missing else _text(body.get("errorDescription"))
        return _text(body.get("errorName") or body.get("errorCode")), said
    short = isinstance(error, str) and re.fullmatch(r"[A-Za-z_]{3,40}", error)
    code: object = error if short else body.get("error_type")
    message = (
        body.get("error_description") or (error if error != code else None) or body.get("message")
    )
    if not _text(code) and not _text(message) and isinstance(body.get("errors"), list):
        return next(filter(any, map(_listed, body["errors"])), ("", ""))
    return _text(code), _text(message)


def missing_scope(body: object) -> str:
    """The scope that is missing, as Foundry says it (parameters, missingScope); else ""."""
    parameters = body.get("parameters") if isinstance(body, dict) else None
    scope = _text(parameters.get("missingScope")) if isinstance(parameters, dict) else ""
    return scope if re.fullmatch(r"\S+", scope) else ""


def _listed(error: object) -> tuple[str, str]:
    """(code, message) of one of the errors in a list."""
    if not isinstance(error, dict):
        return "", _text(error)
    messages = (_text(error.get(name)) for name in ("message", "detail", "title"))
    return _text(error.get("code")), next(filter(None, messages), "")


def is_page(response: requests.Response) -> bool:
    """Whether `response` is a web page: by its type, or by how it begins."""
    if "html" in response.headers.get("content-type", "").lower():
        return True
    begins = response.content.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower()
    return begins.startswith((b"<!doctype", b"<html"))


_NOT_THE_API = (
    "An API sends data, so that page may come from a proxy or firewall on the way, or from a "
    "network that wants you to sign in first (open any page in the browser): ask whoever runs "
    "your network, or try from another one."
)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def wait_seconds(
    response: requests.Response, names: Iterable[str] = ("retry-after",)
) -> float | None:
    """How many seconds the response asks to wait (None: it does not say).

    Source: the headers `names`, RFC 9110 10.2.3.
    """
    for name in names:
        value = response.headers.get(name, "").strip()
        try:
            seconds = float(value)
        except ValueError:
            try:
                until = parsedate_to_datetime(value)
                since = parsedate_to_datetime(response.headers["date"])
                seconds = (until - since).total_seconds()
            except (ValueError, TypeError, KeyError):
                continue
        if 0 <= seconds < 1_000_000:  # more is no wait but a date
            return seconds
    return None


def clean(response: requests.Response, secrets: Collection[str]) -> None:
    """Take `secrets` out of whatever `response`, its redirects, or a pickle of them could show.

    Its error holds it. Cookies go as a whole: they are the server's own secrets.
    """
    for each in (response, *response.history):
        each._content = _masked(each.content, secrets)  # noqa: SLF001 - requests has no public name for it
        each.url, each.reason = _masked(each.url, secrets), _masked(each.reason, secrets)
        each.encoding = _masked(each.encoding, secrets)
        each.headers = _headers(each.headers, secrets)
        each.raw = HTTPResponse(BytesIO(), each.headers, each.status_code, reason=each.reason)
        each.cookies, each._next = RequestsCookieJar(), None  # type: ignore[attr-defined]  # noqa: SLF001 - requests has no public name for it
        each.request = each.request and cleaned(each.request, secrets)


def cleaned(
    request: requests.PreparedRequest,
    secrets: Collection[str],
) -> requests.PreparedRequest:
    """`request` for an error to hold: without `secrets`, cookies, authorization, or a stream."""
    bare = requests.PreparedRequest()
    bare.method, bare.url = request.method, _masked(request.url, secrets)
    bare.headers, bare.hooks = _headers(request.headers, secrets), {"response": []}
    bare.body = _masked(request.body, secrets) if isinstance(request.body, str | bytes) else None
    return bare


_PRIVATE = ("authorization", "cookie", "set-cookie")


def _headers(headers: Mapping[str, Any], secrets: Collection[str]) -> CaseInsensitiveDict[Any]:
    kept = [(name, value) for name, value in headers.items() if name.lower() not in _PRIVATE]
    return CaseInsensitiveDict((_masked(n, secrets), _masked(v, secrets)) for n, v in kept)


def _masked(value: Any, secrets: Collection[str]) -> Any:
    """`value`, if it is text or bytes, without `secrets`."""
    if isinstance(value, bytes):
        text = value.decode("latin-1")  # keeps every byte; UTF-16 has zeros between the letters
        narrow = text.replace("\0", "")
        text = text if narrow == text or narrow == scrub(narrow, secrets) else narrow
        return scrub(text, secrets).encode("latin-1")
    return scrub(value, secrets) if isinstance(value, str) else value


def provider_error(
    sender: Sender,
    response: requests.Response,
    secrets: Collection[str] = (),
    kind: type[ProviderError] = ProviderError,
) -> ProviderError:
    """The error for `response`: first who said what, then what to do."""
    status, hints = response.status_code, sender.hints
    code, message = read_error(response, sender.known_by)
    code, message = one_line(code, 80, secrets), one_line(message, secrets=secrets)
    said = f"{sender.title} responded with {status}{' ' + code if code else ''}"
    if message:
        said += f" ({message.rstrip('.')})"
    names = (f"{status} {code}", code, str(status), f"{status // 100}xx")
    hint = next((hints[name] for name in names if name in hints), "")
    if is_page(response) and status < 500 and status != 429:
        hint = _NOT_THE_API
    wait = wait_seconds(response, sender.pacing)
    hint = hint.replace("{retry}", "a little" if wait is None else f"{wait:.0f} s")
    if missing := one_line(missing_scope(json_of(response)), 80, secrets):
        hint = (
            f"Ask for the scope {missing} too when you sign in (--scopes), and allow it to the"
            f" application. {hint}"
        )
    clean(response, secrets)
    words = f"{said}. {hint}".strip()
    error = kind(words, status=status, code=code, hint=hint, response=response)
    error.retry_after = wait
    return error


def _behind(error: BaseException) -> list[BaseException]:
    """`error`, and those that requests and urllib3 have wrapped in it."""
    found = [error]
    for each in found:
        inner = (*each.args, getattr(each, "reason", None), each.__context__)
        found += [one for one in inner if isinstance(one, BaseException) and one not in found]
    return found


_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS that ended, and says nothing against the certificate or the protocol."""


_SLOW = "sent nothing in time. Try again."
_CAUSES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (
        requests.ConnectTimeout,
        "did not accept the connection in time. Check the network and the proxy, then try again.",
    ),
    ((requests.Timeout, ReadTimeoutError), _SLOW),
    (
        requests.exceptions.ProxyError,
        "could not be reached through the proxy. Check HTTPS_PROXY and NO_PROXY.",
    ),
    (_CUT, "closed the connection. Try again."),
    (
        requests.exceptions.SSLError,
        (
            "could not prove its identity (TLS). Check the address; behind a company proxy, or with"
            " your own certificate authority, set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its"
            " certificate file."
        ),
    ),
    (gaierror, "could not be found. Check the {known_by} and the network."),
    (
        ConnectionRefusedError,
        "refused the connection. Check the address, and whether the server runs.",
    ),
    (NewConnectionError, "could not be reached. Check the address and the network."),
    (
        (ConnectionError, IncompleteRead, requests.exceptions.ChunkedEncodingError),
        "closed the connection. Try again.",
    ),
)
"""Why no response came: the first of these that requests, urllib3 or a socket raised."""


_UNSENT = (requests.ConnectTimeout, NewConnectionError, gaierror, ConnectionRefusedError)


_LASTING = (requests.ReadTimeout, ReadTimeoutError, Unfinished)


_PASSING = (*_UNSENT, requests.ConnectionError, ConnectionError, IncompleteRead, ProtocolError)


def unreachable(
    title: str,
    url: str,
    error: Exception,
    secrets: Collection[str] = (),
    known_by: str = "address",
) -> ProviderUnreachable:
    """The error for a request that got no response; `known_by`: as `Sender.known_by`."""
    host, causes = urlsplit(url).netloc, _behind(error)
    own = [str(each) for each in causes if isinstance(each, Unfinished)]
    known = [said for kinds, said in _CAUSES if any(isinstance(each, kinds) for each in causes)]
    why = [*own, *known, "sent a response that cannot be read. Try again."][0]
    if re.search("certificate (has expired|is not yet valid)", str(error)):
        why = (
            "has a certificate that is out of date by this computer's clock: check the clock first."
        )
    why = why.format(known_by=known_by)
    result = ProviderUnreachable(scrub(f"{title} did not respond: {host} {why}", secrets))
    result.sent = not any(isinstance(each, _UNSENT) for each in causes)
    result.passing = is_passing(error)
    result.slow = not own and known[:1] == [_SLOW]
    return result


def is_passing(error: BaseException) -> bool:
    """Whether waiting may help after `error`, which ended a request without a response.

    Neither a certificate nor what a proxy forbids gets better by waiting.
    """
    causes = _behind(error)
    cut = any(isinstance(each, _CUT) for each in causes)
    tls = any(isinstance(each, requests.exceptions.SSLError) for each in causes) and not cut
    lasting = tls or any(isinstance(each, _LASTING) for each in causes) or "Tunnel" in str(error)
    return not lasting and any(isinstance(each, _PASSING) for each in causes)
