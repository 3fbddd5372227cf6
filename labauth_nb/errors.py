"""What can go wrong, one sentence each.

    LabauthError
    ├── InvalidInput          a word that is not known, a tenant that is not one, a secret where none may be
    ├── MissingCredentials    nobody gave them, and nobody can be asked
    ├── NotSignedIn           there is no such login (any more)
    ├── LoginExpired          it has expired and cannot be renewed without you
    ├── UnsafeRequest         refused before sending: a token over plain http
    │   └── UntrustedOrigin   a secret to an address that only a less trusted source names, or a page to sign in at there
    ├── StoreUnavailable      the place where logins are remembered cannot be used
    ├── ProviderUnreachable   no answer (also a requests.ConnectionError and requests.Timeout)
    └── ProviderError         the provider answered with an error (also a requests.HTTPError)
        └── SignInRefused     its token endpoint did, or it did not accept what was pasted

In a notebook each shows as one line, is a real error output (it stops Run All) and can be caught.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import re
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from io import BytesIO
from pathlib import Path
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from .masking import looks_secret, noticed, scrub, shown


class LabauthError(Exception):
    """The root of all errors of labauth_nb. `str(error)` is the sentence that the user reads."""

    field: str | None = None
    """The credential field that the error is about, where known."""
    spent: object = None
    """The token with its next refresh token, where a renewal failed after the old refresh token was used up."""
    repeats: bool = True
    """Whether what failed may be sent again: not a code or refresh token that works once and may have arrived."""
    records: list[dict[str, Any]] | None = None
    """What `pages` or `frame` had read before this error ended the walk; None outside of one."""
    cursor: Any = None
    """The page to go on at: `pages(..., cursor=error.cursor)`; None: the first."""

    def __init__(self, *args: object, field: str | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        if field is not None:
            self.field = field

    def _render_traceback_(self) -> list[str]:
        """IPython asks the exception itself before it formats a traceback: one line, no frames, no locals."""
        return [f"{type(self).__name__}: {self}"]

    def again(self) -> LabauthError:
        """The same error for another thread (one exception object must not be raised in two)."""
        return copy.copy(self)


class InvalidInput(LabauthError, ValueError):
    """A word, a tenant or an option that cannot be used."""


class MissingCredentials(LabauthError):
    """A field has no value, and nobody can be asked for it."""


class NotSignedIn(LabauthError, LookupError):
    """A session, a refresh or a log out was asked for without a login of that name."""


class LoginExpired(LabauthError):
    """The login has expired and cannot be renewed without the user."""


class UnsafeRequest(LabauthError, ValueError):
    """A request that would carry a token over plain http to another computer. It was not sent."""


class UntrustedOrigin(UnsafeRequest):
    """A secret was about to go to an address that only a less trusted source names. It was not sent.

    The order of sources: `labauth_nb.credentials.trust`.
    """


class StoreUnavailable(LabauthError):
    """The place where logins are remembered cannot be used."""


class ProviderUnreachable(LabauthError, requests.ConnectionError, requests.Timeout):
    """No answer came: the network, the name, the certificate, or time ran out.

    `sent`: whether the request may have arrived; `passing`: whether waiting may help.
    """

    sent: bool = True
    passing: bool = False


class Unfinished(requests.ConnectionError):
    """A response that `labauth_nb.tokens.wire` gave up, and why: the end of a sentence about the host."""


class ProviderError(LabauthError, requests.HTTPError):
    """The provider answered with an error.

    `status`: the HTTP status; `code`: the provider's own error code ("" where it gave none);
    `hint`: what to do about it; `response`: the answer itself (its request carries no token).
    """

    status: int = 0
    code: str = ""
    hint: str = ""
    retry_after: float | None = None

    def __init__(self, *args: object, status: int = 0, code: str = "", hint: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.status, self.code, self.hint = status, code, hint


class SignInRefused(ProviderError):
    """The provider refused the sign-in."""


def refuse_secret(
    word: str,
    what: str,
    field: str | None = None,
    looks: Callable[[str], bool] = looks_secret,
) -> None:
    """Raise `InvalidInput`, without `word` in it, where that looks like a secret.

    `what`: what it was given as, with an article; `field`: as `LabauthError.field`; `looks`: which
    words do.
    """
    if looks(word):
        noticed([word])
        raise InvalidInput(
            f"{what} looks like a secret, so it was refused and nothing was sent. If it is one, delete it from this "
            "cell, and replace it if the notebook was saved or shared.",
            field=field,
        )


def miscopied(label: str, name: str, hint: str) -> InvalidInput:
    """The error for a value of the field `name` that cannot be sent; `hint`: where to find it."""
    return InvalidInput(
        f"The {label} holds a space, a line break or a quote mark that does not belong to it: "
        f"copy it once more, whole. Where to find it: {hint}.",
        field=name,
    )


def nearest(word: str, choices: Iterable[str], what: str) -> InvalidInput:
    """The error for an unknown `word`: it lists the choices and names the nearest."""
    refuse_secret(str(word), f"That {what}")
    known = list(choices)
    close = difflib.get_close_matches(str(word).lower(), known, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    listed = ", ".join(known) if known else "none"
    said = repr(str(word)) if close and len(str(word)) <= len(close[0]) + 3 else shown(str(word))
    return InvalidInput(f"There is no {what} {said}.{guess} Choose one of: {listed}.")


def place_of(error: BaseException) -> str:
    """Which error it was, and where; not its words, which may hold anything."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(error).__name__}{where}"


def one_line(text: str, most: int = 240, secrets: Collection[str] = ()) -> str:
    """`text` on one line of up to `most` characters, without control characters and `secrets`.

    Terminals obey control characters; a secret may stand there with them or between them.
    """
    text = re.sub(r"\s+", " ", scrub(text, secrets))
    text = scrub("".join(c for c in text if c.isprintable()).strip(), secrets)
    return text if len(text) <= most else text[: most - 1] + "…"


def json_of(response: requests.Response) -> Any:
    """The JSON of an answer; None where there is none, or where it is nested or spelt so that it cannot be worked with."""
    try:
        body = response.json()
        json.dumps(body, ensure_ascii=False).encode()  # no lone surrogates, no numbers of thousands of digits
    except (ValueError, RecursionError, LookupError):
        return None
    return body


def finite(value: object) -> float:
    """`value` as a number; NaN, which no comparison holds for, where it is none, or none that is finite."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_error(response: requests.Response) -> tuple[str, str]:
    """(error code, message) of an error answer, in any of the providers' shapes; ("", "") where it has none.

    Shapes: RFC 6749 section 5.2 ``{"error": "..", "error_description": ".."}``; Benchling and DNAnexus
    ``{"error": {"type", "message"}}``; Foundry ``{"errorCode", "errorName", "parameters"}``;
    QBench ``{"error_type", "error_description"}`` and ``{"error": "a whole sentence"}``; gateways
    ``{"errors": ["a whole sentence" or {"code", "message"}]}``.
    """
    if is_page(response):
        return "", "a web page instead of data: is the tenant right, and is the provider up?"
    body = json_of(response)
    if not isinstance(body, dict):
        return "", "an answer that is not JSON" if body is None else ""
    error = body.get("error")
    if isinstance(error, dict):
        return _text(error.get("type")), _text(error.get("message") or error.get("userMessage"))
    if "errorName" in body or "errorCode" in body:
        parameters = body.get("parameters")
        missing = parameters.get("missingScope") if isinstance(parameters, dict) else None
        said = f"missing scope {missing}" if missing else _text(body.get("errorDescription"))
        return _text(body.get("errorName") or body.get("errorCode")), said
    short = isinstance(error, str) and re.fullmatch(r"[A-Za-z_]{3,40}", error)
    code: object = error if short else body.get("error_type")
    message: object = body.get("error_description") or (error if error != code else None) or body.get("message")
    if not _text(code) and not _text(message) and isinstance(body.get("errors"), list):
        return next(filter(any, map(_listed, body["errors"])), ("", ""))
    return _text(code), _text(message)


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


def wait_seconds(response: requests.Response, names: Iterable[str] = ("retry-after",)) -> float | None:
    """How many seconds the answer asks to wait (None: it does not say). Source: the headers `names`, RFC 9110 10.2.3."""
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
        each._content = _masked(each.content, secrets)
        each.url, each.reason = _masked(each.url, secrets), _masked(each.reason, secrets)
        each.encoding = _masked(each.encoding, secrets)
        each.headers = _headers(each.headers, secrets)
        each.raw = HTTPResponse(BytesIO(), each.headers, each.status_code, reason=each.reason)
        each.cookies, each._next = RequestsCookieJar(), None  # type: ignore[attr-defined]
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
    title: str,
    response: requests.Response,
    hints: Mapping[str, str],
    secrets: Collection[str] = (),
    kind: type[ProviderError] = ProviderError,
    pacing: Iterable[str] = ("retry-after",),
) -> ProviderError:
    """The error for `response`: first who said what, then what to do (`hints`, by "status code", code or status)."""
    status = response.status_code
    code, message = read_error(response)
    code, message = one_line(code, 80, secrets), one_line(message, secrets=secrets)
    said = f"{title} answered {status}{' ' + code if code else ''}"
    if message:
        said += f" ({message.rstrip('.')})"
    names = (f"{status} {code}", code, str(status), f"{status // 100}xx")
    hint = next((hints[name] for name in names if name in hints), "")
    if is_page(response) and status < 500 and status != 429:
        hint = _NOT_THE_API
    wait = wait_seconds(response, pacing)
    hint = hint.replace("{retry}", "a little" if wait is None else f"{wait:.0f} s")
    if missing := re.fullmatch(r"missing scope (\S+)", message):
        hint = f"Ask for the scope {missing[1]} too when you sign in (--scopes), and allow it to the application. {hint}"
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
_CAUSES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (
        requests.ConnectTimeout,
        "did not take the connection in time. Check the network and the proxy, then try again.",
    ),
    ((requests.Timeout, ReadTimeoutError), "did not answer in time. Try again."),
    (
        requests.exceptions.ProxyError,
        "could not be reached through the proxy. Check HTTPS_PROXY and NO_PROXY.",
    ),
    (_CUT, "broke off the connection. Try again."),
    (
        requests.exceptions.SSLError,
        "could not prove who it is (TLS). Check the address; behind a company proxy, or with your "
        "own certificate authority, set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its certificate file.",
    ),
    (gaierror, "is not a known host. Check the tenant and the network."),
    (
        ConnectionRefusedError,
        "refused the connection. Check the address, and whether the server runs.",
    ),
    (NewConnectionError, "could not be reached. Check the address and the network."),
    (
        (ConnectionError, IncompleteRead, requests.exceptions.ChunkedEncodingError),
        "broke off the connection. Try again.",
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
) -> ProviderUnreachable:
    """The error for a request that got no answer."""
    host, causes = urlsplit(url).netloc, _behind(error)
    own = [str(each) for each in causes if isinstance(each, Unfinished)]
    known = [said for kinds, said in _CAUSES if any(isinstance(each, kinds) for each in causes)]
    why = [*own, *known, "sent a response that cannot be read. Try again."][0]
    if re.search("certificate (has expired|is not yet valid)", str(error)):
        why = "has a certificate that is out of date by this computer's clock: check the clock first."
    result = ProviderUnreachable(scrub(f"{title} gave no answer: {host} {why}", secrets))
    result.sent = not any(isinstance(each, _UNSENT) for each in causes)
    result.passing = is_passing(error)
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
