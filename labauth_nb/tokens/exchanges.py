"""One request to a token endpoint, an issuer or a provider's own address, and what came back.

An `Exchange` says who is asked and what for. Sources: RFC 6749 5.1 and 5.2 (token responses), RFC
7617 (Basic), RFC 6750 (Bearer).
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import requests

from ..clocks import TOLD_SECONDS, Clock, clock_words, seconds_in, started
from ..errors import (
    InvalidInput,
    LabauthError,
    NotSignedIn,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    UnsafeRequest,
    place_of,
)
from ..masking import Fields, Secret, scrub, shown
from ..providers import is_loopback
from ..responses import (
    Sender,
    finite,
    is_page,
    json_of,
    provider_error,
    read_error,
    unreachable,
    wait_seconds,
)
from . import wire
from .token import Token

if TYPE_CHECKING:
    from ..providers.model import Method, Provider

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, seconds to wait for a response."""


LONGEST_SECONDS = 20 * 365 * 86400.0
"""A token that claims to live longer than this has its life in another unit."""


AGAIN = (429, 503)
"""Responses that say "later": the request was not worked on, so that asking again
repeats nothing."""


BROKEN = (500, 502, 504)
"""Responses after which the request may have been worked on."""


PATIENCE_SECONDS, ATTENDED_SECONDS = 60.0, 10.0
"""How long a server is tried to be reached; less at a sign-in that a person waits for: its address
may be misspelled."""


AGAIN_TRIES, AGAIN_SECONDS = 3, 10.0
"""A token request is sent at most so often, and the provider is waited for at most so long each
time."""


SKEW_SECONDS = 60.0
"""A clock that is further off than this is worth a second try with the server's time."""


@dataclass(repr=False)
class Exchange:
    """What a grant works with: where, with which fields, at what time.

    `origin`: the API's; `auth_origin`: the authentication server's; `offset`: seconds that the
    server's clock is ahead; `metadata`, `subject`, `keys`: what OpenID Connect found and must keep
    to (`labauth_nb.tokens.openid`); `auth_method`: how the client was authenticated before, by its
    name in RFC 7591 2; `held`: gives the secrets of the login's tokens; `patience`: how many
    seconds a server that is busy or cannot be reached is tried for (None once it is signed in: then
    the session waits whose request it is); `ended`: set when nobody waits for a token any more, so
    that `ask` sends nothing more.
    """

    provider: Provider
    method: Method
    origin: str
    auth_origin: str
    fields: Fields
    clock: Clock
    offset: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    keys: Any = None
    auth_method: str = ""
    held: Callable[[], list[str]] = list
    patience: float | None = PATIENCE_SECONDS
    ended: threading.Event = field(default_factory=threading.Event)

    def secrets(self) -> list[str]:
        """Every secret of this sign-in that the server may know, and may say back."""
        encoded = Secret(quote_plus(self.fields.get("client_secret", "")))  # as Basic has it
        return [*self.fields.secrets(), *self.held(), *([encoded] if encoded else [])]

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        if self.metadata:
            return str(self.metadata["token_endpoint"])
        flow = self.method.flow
        return self.auth_origin + (self.provider.token_path if flow is None else flow.token)

    @property
    def title(self) -> str:
        """Who answers at the token endpoint, at the beginning of a sentence."""
        flow = self.method.flow
        return (
            flow.who[0].upper() + flow.who[1:]
            if flow is not None and flow.who
            else self.provider.title
        )

    @property
    def known_by(self) -> str:
        """What the user gave to find who responds, in words."""
        return "issuer" if self._discovers else self.provider.tenant.label

    @property
    def _discovers(self) -> bool:
        """Whether an issuer's discovery leads to who responds."""
        return self.method.flow is not None and bool(self.method.flow.issuer)

    @property
    def check(self) -> str:
        """What to do where somebody else seems to answer."""
        whose = "the identity provider's" if self._discovers else "the provider's"
        return f"Check the {self.known_by}: is that {whose} own address?"

    @property
    def sender(self) -> Sender:
        """Who answers at the token endpoint, for an error."""
        provider, flow = self.provider, self.method.flow
        hints = (
            provider.hints
            if flow is None
            else {**({} if flow.who else provider.hints), **flow.hints}
        )
        if self.patience or not self.held():  # not signed in yet: this attempt has ended
            hints = {**hints, "429": "Too many requests: wait {retry}, then start again."}
        return Sender(self.title, hints, provider.pacing, self.known_by)


def no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An auth that adds nothing: with it, requests does not look into .netrc."""
    return request


def send(
    exchange: Exchange, verb: str, url: str, secrets: list[str] | None = None, **parts: Any
) -> requests.Response:
    """A request to the authentication server; the response, whatever its status.

    Raises `ProviderUnreachable`.

    Redirects are not followed: credentials go to the address that the user named, or nowhere.
    """
    address = urlsplit(url)
    if address.scheme != "https" and not is_loopback(address.hostname):
        raise UnsafeRequest(f"Not sent: {url} is plain http, and credentials go over https only.")
    known = [*exchange.secrets(), *(secrets or [])]
    parts.setdefault("verify", wire.trusted() if address.scheme == "https" else True)
    error: Exception
    try:
        direct = is_loopback(address.hostname)  # no proxy between this computer and itself
        parts.setdefault("auth", no_netrc)
        return wire.exchange(verb, url, not direct, timeout=TIMEOUT, **parts)
    except wire.FAILURES as caught:
        error = unreachable(exchange.title, url, caught, known, exchange.known_by)
    except Exception as caught:  # its words and frames may hold the request
        error = RuntimeError(f"This is a bug in labauth_nb ({place_of(caught)}). Please report it.")
    except BaseException as caught:
        # Without its frames: they hold the request's body, and %xmode Verbose would print it.
        raise caught.with_traceback(None) from None
    raise error


def patience_seconds(attended: bool = False) -> float:
    """Seconds in all that a request is sent again for.

    LABAUTH_PATIENCE, or by whether a person waits.

    Raises `InvalidInput` where that variable holds no length of time.
    """
    named = os.environ.get("LABAUTH_PATIENCE")
    if not named:
        return ATTENDED_SECONDS if attended else PATIENCE_SECONDS
    try:
        return seconds_in(named)
    except ValueError as error:
        raise InvalidInput(f"LABAUTH_PATIENCE: {error}") from None


def ask(
    exchange: Exchange,
    secrets: list[str] | None = None,
    verb: str = "POST",
    url: str = "",
    once: bool = False,
    **parts: Any,
) -> requests.Response:
    """A token request (or one to `url`), again where it failed in a way that may pass.

    Raises as `send`, and `NotSignedIn` once `exchange.ended` is set.

    `once`: it holds what works once, a code or a refresh token, which a server may take for stolen
    when it comes again (RFC 9700 4.14.2): so only where it surely was not worked on.
    """
    again, left = AGAIN if once else (*AGAIN, *BROKEN), AGAIN_TRIES
    patience = wire.Patience(exchange.patience or 0, exchange.clock, exchange.ended)
    while True:
        if exchange.ended.is_set():
            raise NotSignedIn("Nothing more was sent: the sign-in was cancelled, or logged out.")
        try:
            response = send(exchange, verb, url or exchange.token_url, secrets, **parts)
        except ProviderUnreachable as error:
            error.repeats = not (once and error.sent)
            lasting = not (error.passing and error.repeats)
            if lasting or not patience.wait(f"{exchange.title} cannot be reached"):
                raise
            continue
        left, asked = left - 1, wait_seconds(response, exchange.provider.pacing)
        if response.status_code not in again or not left or finite(asked) > AGAIN_SECONDS:
            return response
        said = f"{exchange.title} responded with {response.status_code}"
        if not patience.wait(said, asked, AGAIN_TRIES * AGAIN_SECONDS):
            return response


def refused(
    exchange: Exchange,
    response: requests.Response,
    secrets: list[str] | None = None,
    what: str = "a token",
    kind: object = None,
) -> ProviderError:
    """The error for a response without `what`, or with a token of a `kind` that nobody can send.

    It is a `SignInRefused`, unless the server is only busy or down.
    """
    status, sender = response.status_code, exchange.sender
    known = [*exchange.secrets(), *(secrets or []), *_exchanged(response)]
    busy = status == 429 or status >= 500
    error = provider_error(sender, response, known, ProviderError if busy else SignInRefused)
    if odd := _odd(response, what, kind, known):
        error.hint = exchange.check
        error.args = (f"{sender.title} responded with {status} {odd}. {error.hint}",)
    offset = offset_of(response, exchange.clock.time())
    if response.status_code in (400, 401, 403) and abs(offset) > TOLD_SECONDS:
        error.args = (f"{error} Note: {clock_words(offset)}.",)
    if response.request is not None:
        response.request.body = None
    return error


def _odd(response: requests.Response, what: str, kind: object, known: list[str]) -> str:
    """What is wrong with a response that tells no error itself; "" for one that does."""
    if response.is_redirect:
        return "(a redirect to another address)"
    told = json_of(response) is not None and any(read_error(response))
    if response.status_code >= 400 or told or is_page(response):
        return ""
    if kind is None:
        return f"without {what} in it"
    named = scrub(str(kind), known)
    # Names of token types are public, and short (RFC 9449 7.1: DPoP).
    named = repr(named) if re.fullmatch("[A-Za-z_]{1,12}", named) else shown(named)
    return f"with a token of the type {named}, not Bearer (RFC 6750)"


def _exchanged(response: requests.Response) -> list[str]:
    """The secrets in the headers that were sent, and the tokens in a response that is refused."""
    sent = [response.request.headers.get(name) for name in ("Authorization", "Cookie")]
    body = json_of(response)
    names = ("access_token", "refresh_token", "id_token", "device_code")
    got = [body.get(name) for name in names] if isinstance(body, dict) else []
    return [each for each in (*sent, *got) if isinstance(each, str)]


def basic(user: str, password: str) -> Secret:
    """The header of Basic authentication (RFC 7617)."""
    return Secret("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def life_of(seconds: object) -> float | None:
    """A duration; None: unknown, as it is no number, nonsense, or longer than a token lives."""
    life = finite(seconds)
    return life if 0 < life < LONGEST_SECONDS else None


def moment_of(seconds: object, now: float) -> float | None:
    """A time in seconds since the epoch, or None where it is none, or is in another unit."""
    moment = finite(seconds)
    return moment if moment - now < LONGEST_SECONDS else None


def read(
    exchange: Exchange, response: requests.Response, began: float, secrets: list[str] | None = None
) -> Token:
    """The token in a token response (RFC 6749 5.1); `began`: when the request was sent."""
    body = json_of(response) if response.status_code == 200 else None
    access_token = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(access_token, str) or not access_token:
        raise refused(exchange, response, secrets)
    if not sendable(access_token):
        raise refused(exchange, response, secrets)
    kind = body.get("token_type")
    if kind is not None and str(kind).lower() != "bearer":
        raise refused(exchange, response, secrets, kind=kind)
    offset = offset_of(response, exchange.clock.time(), exchange.offset)
    if abs(offset - exchange.offset) > TOLD_SECONDS:
        exchange.offset = offset
    life, refresh_token = life_of(body.get("expires_in")), body.get("refresh_token")
    name = exchange.method.cookie
    cookie = next((each.value for each in response.cookies if name and each.name == name), None)
    return Token(
        access_token=Secret(access_token),
        header=Secret(f"Bearer {access_token}"),
        issued_at=began,
        expires_at=None if life is None else began + life,
        refresh_token=(
            Secret(refresh_token) if isinstance(refresh_token, str) and refresh_token else None
        ),
        cookie=Secret(cookie) if cookie else None,
        scope=body.get("scope") if isinstance(body.get("scope"), str) else None,
    )


def offset_of(response: requests.Response, now: float, unknown: float = 0.0) -> float:
    """Seconds that the server's clock is ahead of ours, by its Date header; else `unknown`."""
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp() - now
    except (KeyError, ValueError, TypeError, OverflowError):
        return unknown


def sendable(token: str) -> bool:
    """Whether `token` can stand in a header (RFC 6750 2.1): visible ASCII characters."""
    return bool(token) and all("!" <= c <= "~" for c in token)


DISCARD_SECONDS = 3.0
"""How long an interrupted sign-in waits for its token to be revoked; that goes on without it."""


def discarded(
    exchange: Exchange,
    revoke: Callable[[Exchange, Token], None],
    tokens: Callable[[], list[Token]],
) -> None:
    """Revoke `tokens`, which a sign-in got and nobody will hold.

    Raises nothing, but for a second interrupt.
    """

    def work() -> None:
        for token in tokens():
            with suppress(LabauthError):
                revoke(exchange, token)

    thread = started(work, name="labauth discard")
    if thread is not None:
        thread.join(DISCARD_SECONDS)
