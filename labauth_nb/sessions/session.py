"""`LabSession`: a `requests.Session` that signs for one origin, renews, waits and pages.

lab.get("plates")  ->  joined to the provider's API base, timeout set  ->  TokenAuth asks its link
->  _Attempts sends it: again at "slow down", once more, renewed, at "this token is dead"
->  the header is taken off the response's request  ->  a plain Response
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, rewind_body, select_proxy

from ..clocks import seconds_in
from ..errors import (
    InvalidInput,
    LabauthError,
    ProviderError,
    ProviderUnreachable,
    Unfinished,
    UnsafeRequest,
)
from ..masking import Secret, scrub
from ..providers import Provider, is_loopback
from ..responses import (
    Sender,
    clean,
    cleaned,
    is_passing,
    provider_error,
    read_error,
    unreachable,
    wait_seconds,
)
from ..tokens.exchanges import TIMEOUT, no_netrc, patience_seconds
from ..tokens.token import Token
from ..tokens.wire import UNREADABLE, BoundedAdapter, Patience, paged, trusted
from .link import Link, refusal
from .pages import Page, Params, Walk, framed

if TYPE_CHECKING:
    import pandas

RETRY_STATUSES = (429, 502, 503, 504)
TRIES = 5
"""Attempts in all that the provider responds to (benchling-sdk: 5)."""
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
"""A connection that was not made, or that broke."""


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of `url` (RFC 6454), as parsed values."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or {"http": 80, "https": 443}.get(parts.scheme),
    )


def _own(link: Link, url: str | None) -> bool:
    """Whether `url` is at the login's own origin, the only one where its token may go."""
    return origin_of(url or "") == origin_of(link.origin)


class TokenAuth(AuthBase):
    """Sets the Authorization header on requests to the login's own origin, and on no other.

    Also good for `requests.get(url, auth=lab.auth)`: it takes the token off the requests that the
    responses keep, and adds this computer to NO_PROXY where its token would go to a proxy.
    An Authorization header that you set yourself is left alone.
    """

    def __init__(self, link: Link) -> None:
        self.link = link

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign `request`, after waiting for a token; its response forgets the header."""
        patience = Patience(patience_seconds(), self.link.clock, setting="LABAUTH_PATIENCE")
        if self.patiently(request, patience) is not None:
            request.register_hook("response", _unsigned)  # type: ignore[no-untyped-call]
            _go_direct(str(request.url))
        return request

    def sign(
        self, request: requests.PreparedRequest, rejected: Token | None = None
    ) -> Token | None:
        """Sign `request` where it may be signed; the token it now carries.

        Raises `UnsafeRequest` before sending.
        """
        mine = isinstance(request.headers.get("Authorization"), Secret)
        if "Authorization" in request.headers and not mine:
            return None
        there, own = origin_of(request.url or ""), origin_of(self.link.origin)
        scheme, host, _ = there
        if there != own:
            request.headers.pop("Authorization", None)
            if scheme == "http" and host == own[1] and not is_loopback(host):
                raise self._plain(request, " Write https:// instead.")
            return None
        if scheme != "https" and not is_loopback(host):
            raise self._plain(request)
        token = self.link.token(rejected)
        request.headers["Authorization"] = token.header
        return token

    def patiently(
        self,
        request: requests.PreparedRequest,
        patience: Patience,
        rejected: Token | None = None,
    ) -> Token | None:
        """As `sign`, again while the token endpoint is busy or out of reach: nothing was sent."""
        while True:
            try:
                return self.sign(request, rejected)
            except (ProviderError, ProviderUnreachable) as error:
                how, asked, passing = "cannot be reached", None, getattr(error, "passing", False)
                if isinstance(error, ProviderError):
                    how, asked = f"responded with {error.status}", error.retry_after
                    passing = error.status in (*RETRY_STATUSES, 500)
                said = f"The token endpoint for {self.link.provider.title} {how}"
                if not (passing and error.repeats and patience.wait(said, asked)):
                    raise

    def _plain(self, request: requests.PreparedRequest, advice: str = "") -> UnsafeRequest:
        url = scrub(request.url or "", self.link.secrets())
        said = f"Not sent: {url} is plain http, and a token goes over https only.{advice}"
        return UnsafeRequest(said)

    def __repr__(self) -> str:
        return f"<TokenAuth of {self.link.name}>"


def _unsigned(response: requests.Response, *args: object, **options: object) -> None:
    """A response hook: `response` keeps a request without our header and this hook.

    The original goes on as it is, for redirects.
    """
    response.request = bare = response.request.copy()
    bare.hooks = {"response": [hook for hook in bare.hooks["response"] if hook is not _unsigned]}
    if isinstance(bare.headers.get("Authorization"), Secret):
        del bare.headers["Authorization"]


def _go_direct(url: str) -> None:
    """Let requests use no proxy for a `url` on this computer; for others nothing changes.

    An auth has no other way: a request knows no proxies, and NO_PROXY is read after auth.
    """
    host = urlsplit(url).hostname or ""
    if is_loopback(host) and select_proxy(url, get_environ_proxies(url, None)):
        name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"  # as requests looks
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))


class _Attempts:
    """An adapter around the session's own.

    Sends a request as often as it takes, signed again each time.
    """

    def __init__(self, adapter: BaseAdapter, session: LabSession) -> None:
        self._adapter, self._session = adapter, session

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        error: BaseException
        if is_loopback(urlsplit(request.url or "").hostname):
            options["proxies"] = {}  # no proxy between this computer and itself
        try:
            return self._patiently(request, options)
        except LabauthError:
            raise
        except (*BROKEN, requests.Timeout, requests.exceptions.ContentDecodingError) as caught:
            error = _unreachable(self._session, request, caught)
        except BaseException as caught:
            # Without its frames: they hold the header, and %xmode Verbose would print it.
            error = caught.with_traceback(None)
        finally:
            if isinstance(request.headers.get("Authorization"), Secret):
                del request.headers["Authorization"]
        raise error

    def _patiently(
        self,
        request: requests.PreparedRequest,
        options: dict[str, Any],
    ) -> requests.Response:
        """The response to `request`, sent again for as long as the session's patience lasts."""
        session, left = self._session, self._session.tries
        seconds = session.patience  # first, as a bad LABAUTH_PATIENCE is told before sending
        link = session.link
        patience = Patience(seconds if left > 1 else 0, link.clock, setting="lab.patience")
        while True:
            try:
                response = self._alive(request, options, patience)
            except LabauthError:
                raise
            except BROKEN as error:
                who = scrub(_title(session, request), link.secrets())
                again = is_passing(error) and _reads(link, request) and _rewound(request)
                if not (again and patience.wait(f"{who} cannot be reached")):
                    raise
                continue
            left -= 1
            if left < 1 or not (_later(link, request, response) and _rewound(request)):
                return response
            # A window's reset paces 429 only; for the others it says nothing.
            pacing = link.provider.pacing if response.status_code == 429 else ("retry-after",)
            if not patience.wait(asked=wait_seconds(response, pacing)):
                return response
            response.close()

    def _alive(
        self,
        request: requests.PreparedRequest,
        options: dict[str, Any],
        patience: Patience,
    ) -> requests.Response:
        """The response to `request`, sent again with a new token where this one is called dead."""
        session, link, dead = self._session, self._session.link, None
        place = (str(request.method), urlsplit(request.url or "").path)
        own = getattr(request, "own_auth", False)
        while True:
            token = None if own else session.auth.patiently(request, patience, dead)
            response = self._once(request, options)
            if token is None:
                return response
            if not is_dead(link.provider, response):
                link.source().accepted(token, place)
                return response
            if not link.source().may_renew(token, place, again=dead is not None):
                return response
            self._wind_back(request, response, token)
            dead = token

    def _once(
        self,
        request: requests.PreparedRequest,
        options: dict[str, Any],
    ) -> requests.Response:
        """The response to one attempt, read whole unless it is to be streamed."""
        try:
            response = self._adapter.send(request, **options)
        except requests.exceptions.InvalidHeader:  # in the response: urllib3, of a Content-Length
            raise Unfinished(UNREADABLE) from None
        if response.status_code >= 400:  # raise_for_status() shows it
            response.reason = scrub(response.reason or "", self._session.link.secrets())
        if not options.get("stream") or response.is_redirect:  # requests reads a redirect's
            _read_whole(response)  # here, as a body that breaks off is asked for again
        return response

    def _wind_back(
        self,
        request: requests.PreparedRequest,
        response: requests.Response,
        dead: Token,
    ) -> None:
        """Ready `request` for a new token. Raises where its body cannot be sent twice."""
        link = self._session.link
        if _rewound(request):
            response.close()
            return
        link.token(dead)
        code = read_error(response)[0]
        said = (
            f"{link.provider.title} rejected the token while a body was sent that cannot be sent "
            "twice (a stream or a generator). The token has been renewed: run the request again."
        )
        error = refusal(link, said, response)
        error.status, error.code = response.status_code, scrub(code, link.secrets())
        raise error


def _read_whole(response: requests.Response) -> None:
    """Read the body of `response`. Raises what breaks a connection, `Unfinished` for nonsense."""
    try:
        _ = response.content
    except requests.exceptions.ContentDecodingError:
        if not response.is_redirect:  # that one's body is of no use
            raise
        response.close()
    except ValueError:  # http.client, of a negative chunk size
        response.close()
        raise Unfinished(UNREADABLE) from None


def _reads(link: Link, request: requests.PreparedRequest) -> bool:
    """Whether `request` changes nothing (RFC 9110 9.2.1; for a POST: by the provider's data)."""
    if request.method in ("GET", "HEAD") or getattr(request, "in_walk", False):
        return True
    if request.method != "POST" or not _own(link, request.url):
        return False
    path = urlsplit(request.url or "").path
    return any(fnmatchcase(path, pattern) for pattern in link.provider.reads)


def _later(link: Link, request: requests.PreparedRequest, response: requests.Response) -> bool:
    """Whether `response` says "later" to a `request` that may be sent again."""
    unworked = response.status_code == 429 and link.provider.limits_first
    if unworked and _own(link, request.url):
        return True
    return response.status_code in RETRY_STATUSES and _reads(link, request)


def _rewound(request: requests.PreparedRequest) -> bool:
    """Whether the body of `request` can be sent again; a file is wound back."""
    if request.body is None or isinstance(request.body, (bytes, str)):
        return True
    if not isinstance(getattr(request, "_body_position", None), int):
        return False
    try:
        rewind_body(request)
    except requests.exceptions.UnrewindableBodyError:
        return False
    return True


def _unreachable(
    session: LabSession,
    request: requests.PreparedRequest,
    caught: Exception,
) -> ProviderUnreachable:
    """The error for a request that got no response, without secrets in its words and request."""
    secrets = session.link.secrets()
    error = unreachable(_title(session, request), request.url or "", caught, secrets)
    error.request = cleaned(request, secrets)
    if error.slow and not getattr(request, "in_walk", False):  # a walk takes no timeout
        error.args = (f"{error} Or give a longer timeout=.",)
    return error


def _title(session: LabSession, request: requests.PreparedRequest) -> str:
    mine = _own(session.link, request.url)
    return (
        session.link.provider.title
        if mine
        else (urlsplit(request.url or "").hostname or "The server")
    )


def is_dead(provider: Provider, response: requests.Response) -> bool:
    """Whether `response` says "this token is dead" (not "no permission"), by provider data."""
    for rule in provider.dead_token:
        if rule.status == response.status_code:
            if not rule.codes and not rule.words:
                return True
            code, message = read_error(response)
            said = f"{code} {message}".lower()
            if code in rule.codes and (not rule.words or any(word in said for word in rule.words)):
                return True
    return False


class LabSession(requests.Session):
    """A `requests.Session` for one login.

    A path is joined to the provider's API base (``plates``), a path from the root to its origin
    (``/api/v2/plates``), a whole URL is taken as it is. The token goes to the provider's origin
    only. Default timeouts: 10 s to connect, 60 s to read. GET, HEAD and POSTs that only read are
    sent again on 429, 502, 503 and 504, and after a connection that was not made or broke; other
    requests on 429, where the provider documents that it did no work.
    """

    auth: TokenAuth
    login: Any = None
    """The login that it was taken from, put here by that wing for whoever holds the session."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.auth = TokenAuth(link)
        self.tries = TRIES
        self._patience: float | None = None
        for scheme in ("https://", "http://"):
            self.mount(scheme, BoundedAdapter(pool_maxsize=32))

    @property
    def patience(self) -> float:
        """Seconds in all that a request is sent again for.

        Set a number, "90s", "15m", "2h" or "1d".

        Until it is set it is what LABAUTH_PATIENCE says at the first request, or 60 s.

        Raises `InvalidInput` for what is not a length of time, in that variable too.
        """
        if self._patience is None:
            return patience_seconds()
        return self._patience

    @patience.setter
    def patience(self, amount: float | str) -> None:
        try:
            self._patience = seconds_in(str(amount))
        except ValueError as error:
            raise InvalidInput(f"The patience: {error}") from None

    def url(self, path: str) -> str:
        """The whole URL for `path`."""
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
            return path
        origin = self.link.origin
        return (
            origin + path
            if path.startswith("/")
            else f"{origin}{self.link.provider.api_base}/{path}"
        )

    def request(
        self, method: str | bytes, url: str | bytes, *args: Any, **options: Any
    ) -> requests.Response:
        """As `requests.Session.request`, with a path for a URL and timeouts by default.

        Raises what `Link.token` raises, `UnsafeRequest` and `ProviderUnreachable`; error statuses
        are responses.
        """
        if len(args) < 7:
            options.setdefault("timeout", TIMEOUT)
        return super().request(method, url, *args, **options)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As `requests.Session.prepare_request`, with a path for a URL."""
        request = copy.copy(request)
        request.url = self.url(
            request.url.decode() if isinstance(request.url, bytes) else str(request.url)
        )
        own, request.auth = request.auth is not None, request.auth or no_netrc
        prepared = super().prepare_request(request)
        vars(prepared)["own_auth"] = own  # else `_Attempts` signs it
        return prepared

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """As in `requests.Session`, but `verify` of the session comes before the environment.

        There SSL_CERT_FILE counts too. Raises `LabauthError` as `wire.trusted`.
        """
        verify = self.verify if verify is None else verify
        if str(url).startswith("https:") and (self.trust_env or verify is not True):
            verify = trusted(verify)
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def get_adapter(self, url: str | bytes) -> BaseAdapter:
        """The adapter of requests, in one that signs, retries and renews."""
        return _Attempts(super().get_adapter(url), self)  # type: ignore[arg-type, return-value]

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As `requests.Session.send`, with timeouts by default."""
        options.setdefault("timeout", TIMEOUT)
        try:
            return super().send(request, **options)
        except LabauthError:
            raise
        except BROKEN as caught:  # while the body of a redirect was read
            error: Exception = _unreachable(self, request, caught)
        except requests.RequestException as caught:  # too many redirects, or one to another scheme
            error = self._silenced(caught)
        raise error

    def _silenced(self, error: requests.RequestException) -> requests.RequestException:
        """`error` without secrets in its words, request, response and frames."""
        secrets = self.link.secrets()
        if error.response is not None:
            clean(error.response, secrets)
        if isinstance(error.request, requests.PreparedRequest):
            error.request = cleaned(error.request, secrets)
        error.args = tuple(scrub(str(each), secrets) for each in error.args)
        return error.with_traceback(None)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """As `requests.Session.get_redirect_target`.

        Raises `ProviderUnreachable` for a redirect to what cannot be an address, `UnsafeRequest`
        for one with a token in it, which would go to logs and to other servers.
        """
        try:
            target = super().get_redirect_target(resp)
            urlsplit(target or "")
        except ValueError as caught:
            raise _unreachable(self, resp.request, caught) from None
        if target and scrub(target, tokens := self.link.source().secrets()) != target:
            who = scrub(_title(self, resp.request), tokens)
            raise UnsafeRequest(f"Not followed: {who} redirects to an address with a token in it.")
        return str(target) if target else None

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """On a redirect.

        Your own Authorization header stays with its host, .netrc is not asked; ours is set on
        sending.
        """
        headers, old = prepared_request.headers, response.request.url or ""
        if "Authorization" in headers and self.should_strip_auth(old, prepared_request.url or ""):  # type: ignore[no-untyped-call]
            del headers["Authorization"]

    def check(self, response: requests.Response, *args: Any, **kwargs: Any) -> requests.Response:
        """`response` if it is good; else raises `ProviderError` with status, code and hint.

        Also good as a hook: ``lab.hooks["response"].append(lab.check)``.
        """
        if response.ok:
            return response
        provider, secrets = self.link.provider, self.link.secrets()
        if not _own(self.link, response.url):
            clean(response, secrets)
            response.raise_for_status()
        sender = Sender(provider.title, provider.hints, provider.pacing)
        raise provider_error(sender, response, secrets)

    def pages(
        self,
        path: str,
        params: Params = None,
        json: Mapping[str, Any] | None = None,
        *,
        cursor: Any = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list, one after another, each a list of records.

        The next is asked for when it is wanted.

        `params` go into the query, `json` into the body (DNAnexus); `cursor`: the page to begin at.
        Raises `ProviderError` for an error and for what is not a list. Whatever ends the walk early
        carries what was read (`error.records`) and where to go on (`error.cursor`).
        """
        return (records for records, _, _ in self._walk(path, params, json, cursor))

    def _walk(
        self,
        path: str,
        params: Params,
        json: Mapping[str, Any] | None,
        cursor: Any,
    ) -> Iterator[Page]:
        walk = Walk(self.link, partial(self._page, path))
        return walk.pages(*walk.begin(params, json, cursor))

    def _page(
        self,
        path: str,
        query: dict[str, Any],
        body: dict[str, Any] | None,
    ) -> requests.Response:
        """The good response to a request for a page: whatever its path, it only reads."""
        verb = self.link.provider.paging.verb
        prepared = self.prepare_request(requests.Request(verb, path, params=query, json=body))
        vars(prepared)["in_walk"] = True
        settings = self.merge_environment_settings(prepared.url, {}, None, None, None)
        with paged():
            return self.check(self.send(prepared, **settings))

    def frame(
        self,
        path: str,
        params: Params = None,
        json: Mapping[str, Any] | None = None,
        limit: int | None = None,
        *,
        cursor: Any = None,
    ) -> pandas.DataFrame:
        """All records of a list (at most `limit`) as a DataFrame, nested fields as ``a.b``.

        A progress bar appears when it takes longer than 2 s. `cursor` and what is raised: as in
        `pages`.
        """
        return framed(path, self._walk(path, params, json, cursor), limit, cursor)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle says which login it was, and holds no secret: see `Link.pickled`.

        What the user set goes along: patience, tries, and a plain `verify`; headers may hold a
        secret.
        """
        kept: dict[str, Any] = {"_patience": self._patience, "tries": self.tries}
        if isinstance(self.verify, str | bool):
            kept["verify"] = self.verify
        return *self.link.pickled(), kept

    def __repr__(self) -> str:
        return f"<LabSession of {self.link.name}: {self.link.provider.title} {self.link.tenant}>"
