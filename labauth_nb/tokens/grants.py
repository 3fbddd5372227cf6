"""One function per grant: each takes an `Exchange` and the previous token, and gives a `Token`.

Sources: RFC 6749 4.1 (authorization code), 4.4 (client credentials), 6 (refresh); RFC 7523 2.1 (JWT bearer);
RFC 7617 (Basic); RFC 7009 (revocation); the providers' own documents for what is theirs.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import requests

from ..clocks import TOLD_SECONDS, Clock, clock_words, seconds_in
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    NotSignedIn,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    UnsafeRequest,
    miscopied,
    place_of,
)
from ..masking import Fields, Secret, scrub, shown
from ..responses import finite, is_page, json_of, one_line, provider_error, read_error, unreachable, wait_seconds
from . import wire
from .token import Token

if TYPE_CHECKING:
    from ..providers.model import Method, Provider

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, seconds to wait for an answer."""
ASSERTION_SECONDS = 300
"""Life of a QBench assertion: the shortest that the guide allows (5 to 60 minutes)."""
LONGEST_SECONDS = 20 * 365 * 86400.0
"""A token that claims to live longer than this has its life in another unit."""
REFRESH_SECONDS = 7 * 86400
"""Life of a QBench refresh token, by the guide."""
AGAIN = (429, 503)
"""Answers that say "later": the request was not worked on, so that asking again repeats nothing."""
BROKEN = (500, 502, 504)
"""Responses after which the request may have been worked on."""
PATIENCE_SECONDS, ATTENDED_SECONDS = 60.0, 10.0
"""How long a server is tried to be reached; less at a sign-in that a person waits for: its address may be misspelled."""
AGAIN_TRIES, AGAIN_SECONDS = 3, 10.0
"""A token request is sent so often at the most, and the provider is waited for so long at the most each time."""
SKEW_SECONDS = 60.0
"""A clock that is further off than this is worth a second try with the server's time."""
DISCARD_SECONDS = 3.0
"""How long an interrupted sign-in waits for its token to be revoked; that goes on without it."""
DNANEXUS_SECONDS = 18 * 3600
"""Life that is asked for at newAuthToken: what `dx login` asks for (dxpy 0.414 and later)."""


@dataclass(repr=False)
class Exchange:
    """What a grant works with: where, with which fields, at what time.

    `origin`: the API's; `auth_origin`: the authentication server's; `offset`: seconds that the server's clock is ahead;
    `metadata`, `subject`, `keys`: what OpenID Connect found and must keep to (`labauth_nb.tokens.openid`);
    `auth_method`: how the client was authenticated before, by its name in RFC 7591 2;
    `held`: gives the secrets of the login's tokens; `patience`: how many seconds a server that is busy or
    cannot be reached is tried for (None once it is signed in: then the session waits whose request it is);
    `ended`: set when nobody waits for a token any more, so that `ask` sends nothing more.
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
        flow = self.method.flow
        if flow is None:
            return self.auth_origin + self.provider.token_path
        return str(self.metadata["token_endpoint"]) if not flow.token else self.auth_origin + flow.token

    @property
    def title(self) -> str:
        """Who answers at the token endpoint, at the beginning of a sentence."""
        flow = self.method.flow
        return flow.who[0].upper() + flow.who[1:] if flow is not None and flow.who else self.provider.title


def bare(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An auth that adds nothing: with it, requests does not look into .netrc."""
    return request


def send(exchange: Exchange, verb: str, url: str, secrets: list[str] | None = None, **parts: Any) -> requests.Response:
    """A request to the authentication server; the answer, whatever its status. Raises `ProviderUnreachable`.

    Redirects are not followed: credentials go to the address that the user named, or nowhere.
    """
    from ..providers.model import is_loopback

    address = urlsplit(url)
    if address.scheme != "https" and not is_loopback(address.hostname):
        raise UnsafeRequest(f"Not sent: {url} is plain http, and credentials go over https only.")
    known = [*exchange.secrets(), *(secrets or [])]
    parts.setdefault("verify", wire.trusted() if address.scheme == "https" else True)
    error: Exception
    try:
        direct = is_loopback(address.hostname)  # no proxy between this computer and itself
        parts.setdefault("auth", bare)
        return wire.exchange(verb, url, not direct, timeout=TIMEOUT, **parts)
    except wire.FAILURES as caught:
        error = unreachable(exchange.title, url, caught, known)
    except Exception as caught:  # its words and frames may hold the request
        error = RuntimeError(f"This is a bug in labauth_nb ({place_of(caught)}). Please report it.")
    except BaseException as caught:
        # Without its frames: they hold the request's body, and %xmode Verbose would print it.
        raise caught.with_traceback(None) from None
    raise error


def patience_seconds(attended: bool = False) -> float:
    """Seconds in all that a request is sent again for: LABAUTH_PATIENCE, or by whether a person waits.

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
    """A token request (or one to `url`), again where it failed in a way that may pass. Raises as
    `send`, and `NotSignedIn` once `exchange.ended` is set.

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
        said = f"{exchange.title} answered {response.status_code}"
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
    provider, flow, title = exchange.provider, exchange.method.flow, exchange.title
    known = [*exchange.secrets(), *(secrets or []), *_exchanged(response)]
    hints = provider.hints if flow is None else {**({} if flow.who else provider.hints), **flow.hints}
    if exchange.patience is not None:  # not signed in yet: this attempt has ended
        hints = {**hints, "429": "Too many requests: wait {retry}, then start again."}
    busy = response.status_code == 429 or response.status_code >= 500
    error_class = ProviderError if busy else SignInRefused
    error = provider_error(title, response, hints, known, error_class, provider.pacing)
    if response.is_redirect:
        error.args = (f"{title} answered {response.status_code} (a redirect to another address). {_TENANT}",)
    elif response.status_code < 400 and not is_page(response) and not any(_own_words(response)):
        had = f"without {what} in it"
        if kind is not None:
            named = scrub(str(kind), known)
            # Names of token types are public, and short (RFC 9449 7.1: DPoP).
            named = repr(named) if re.fullmatch("[A-Za-z_]{1,12}", named) else shown(named)
            had = f"with a token of the type {named}, not Bearer (RFC 6750)"
        error.args = (f"{title} answered {response.status_code} {had}. {_TENANT}",)
    offset = offset_of(response, exchange.clock.time())
    if response.status_code in (400, 401, 403) and abs(offset) > TOLD_SECONDS:
        error.args = (f"{error} Note: {clock_words(offset)}.",)
    if response.request is not None:
        response.request.body = None
    return error


def _own_words(response: requests.Response) -> tuple[str, str]:
    """As `read_error`, but ("", "") where there is no JSON to hold an error."""
    return read_error(response) if json_of(response) is not None else ("", "")


def _exchanged(response: requests.Response) -> list[str]:
    """The secrets in the headers that were sent, and the tokens in a response that is refused."""
    sent = [response.request.headers.get(name) for name in ("Authorization", "Cookie")]
    body = json_of(response)
    names = ("access_token", "refresh_token", "id_token", "device_code")
    got = [body.get(name) for name in names] if isinstance(body, dict) else []
    return [each for each in (*sent, *got) if isinstance(each, str)]


_TENANT = "Check the tenant: is that the provider's own address?"


def basic(user: str, password: str) -> Secret:
    """The header of Basic authentication (RFC 7617)."""
    return Secret("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def _life(seconds: object) -> float | None:
    """A duration or None: unknown, where it is no number, nonsense, or longer than a token lives."""
    life = finite(seconds)
    return life if 0 < life < LONGEST_SECONDS else None


def _moment(seconds: object, now: float) -> float | None:
    """A time in seconds since the epoch, or None where it is none, or is in another unit."""
    moment = finite(seconds)
    return moment if moment - now < LONGEST_SECONDS else None


def read(exchange: Exchange, response: requests.Response, began: float, secrets: list[str] | None = None) -> Token:
    """The token in a token response (RFC 6749 5.1); `began`: when the request was sent."""
    body = json_of(response) if response.status_code == 200 else None
    access_token = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(access_token, str) or not access_token:
        raise refused(exchange, response, secrets)
    if not _sendable(access_token):
        raise refused(exchange, response, secrets)
    kind = body.get("token_type")
    if kind is not None and str(kind).lower() != "bearer":
        raise refused(exchange, response, secrets, kind=kind)
    offset = offset_of(response, exchange.clock.time(), exchange.offset)
    if abs(offset - exchange.offset) > TOLD_SECONDS:
        exchange.offset = offset
    life, refresh_token = _life(body.get("expires_in")), body.get("refresh_token")
    jid = next((cookie.value for cookie in response.cookies if cookie.name == "jid"), None)
    return Token(
        access_token=Secret(access_token),
        header=Secret(f"Bearer {access_token}"),
        issued_at=began,
        expires_at=None if life is None else began + life,
        refresh_token=Secret(refresh_token) if isinstance(refresh_token, str) and refresh_token else None,
        jid=Secret(jid) if jid else None,
        scope=body.get("scope") if isinstance(body.get("scope"), str) else None,
    )


def client_credentials(exchange: Exchange, previous: Token | None) -> Token:
    """RFC 6749 4.4: the client's own token, by Basic client authentication or in the body, as the provider has it."""
    fields, form = exchange.fields, {"grant_type": "client_credentials"}
    parts: dict[str, Any] = {"data": form}
    if exchange.provider.client_authentication == "basic":
        parts["headers"] = {"Authorization": basic(fields["client_id"], fields["client_secret"])}
    else:
        form |= {"client_id": fields["client_id"], "client_secret": fields["client_secret"]}
    if fields.get("scopes"):
        form["scope"] = fields["scopes"]
    began = exchange.clock.time()
    return read(exchange, ask(exchange, **parts), began)


def jwt_bearer(exchange: Exchange, previous: Token | None) -> Token:
    """RFC 7523 2.1 as QBench has it (HS256, signed anew on every attempt); renewed by the refresh token where there is one.

    A refused refresh falls back to a fresh assertion. A refused assertion is signed once more with the server's time
    when the answer's Date header shows that our clock is more than `SKEW_SECONDS` off; the offset is kept.
    """
    young = previous is not None and exchange.clock.time() < previous.issued_at + REFRESH_SECONDS
    if previous is not None and previous.refresh_token is not None and young:
        try:
            return _refresh(exchange, previous)
        except LabauthError:
            if "client_secret" not in exchange.fields:
                raise
            # Whatever became of that refresh token, the client secret still opens a new family.
    if "client_secret" not in exchange.fields:
        raise over()
    secrets: list[str] = []
    began = exchange.clock.time()
    response = _assert(exchange, secrets)
    if response.status_code in (400, 401):
        offset = offset_of(response, exchange.clock.time())
        if abs(offset - exchange.offset) > SKEW_SECONDS:
            before, exchange.offset = exchange.offset, offset
            began = exchange.clock.time()
            response = _assert(exchange, secrets)
            if response.status_code != 200:
                exchange.offset = before
    return read(exchange, response, began, secrets)


def _assert(exchange: Exchange, secrets: list[str]) -> requests.Response:
    import jwt

    now = int(exchange.clock.time() + exchange.offset)
    claims = {"sub": exchange.fields["client_id"], "iat": now, "exp": now + ASSERTION_SECONDS}
    with warnings.catch_warnings():
        # PyJWT warns of keys under 32 bytes. The key's length is QBench's choice, not the user's.
        warnings.simplefilter("ignore")
        assertion = Secret(jwt.encode(claims, exchange.fields["client_secret"], algorithm="HS256"))
    secrets.append(assertion)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    return ask(exchange, secrets, data=form)


def offset_of(response: requests.Response, now: float, unknown: float = 0.0) -> float:
    """Seconds that the server's clock is ahead of ours, by its Date header; `unknown`: without one."""
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp() - now
    except (KeyError, ValueError, TypeError, OverflowError):
        return unknown


def _refresh(exchange: Exchange, previous: Token) -> Token:
    """QBench: the form field refresh_token_id and the cookie jid; each refresh token works once."""
    assert previous.refresh_token is not None
    began = exchange.clock.time()
    # Sent as a header: requests would not send a Secure cookie back over http, and keeps a jar of its own.
    headers = {"Cookie": f"jid={previous.jid}"} if previous.jid else {}
    url = exchange.auth_origin + exchange.provider.paths["refresh"]
    form = {"refresh_token_id": previous.refresh_token}
    response = ask(exchange, previous.secrets(), url=url, once=True, data=form, headers=headers)
    return read(exchange, response, began, previous.secrets())


def basic_api_key(exchange: Exchange, previous: Token | None) -> Token:
    """RFC 7617 with the API key as the user name and an empty password. It does not expire."""
    key = _pasted(exchange)
    return Token(access_token=key, header=basic(key, ""), issued_at=exchange.clock.time())


def bearer(exchange: Exchange, previous: Token | None) -> Token:
    """A token that was pasted, or put there by a job: sent as it is (RFC 6750 2.1).

    Its expiry comes from its claim exp (unverified: the provider verifies it), else from the provider's
    time-to-live endpoint, else it is unknown. Raises `LoginExpired` when it is over already.
    """
    token = _pasted(exchange)
    claims, now = claims_of(token), exchange.clock.time()
    wanted, title = exchange.method.claim, exchange.provider.title
    if wanted and not claims:
        raise InvalidInput(
            f"That is not an ID token: it is not a JWT with three parts. Copy the whole {exchange.method.secret.label} "
            "from your lab's identity provider (not the access token)."
        )
    if wanted and not isinstance(claims.get(wanted), str):
        raise InvalidInput(
            f"The ID token has no claim {wanted!r}, by which {title} finds the user. Ask the admin of your identity "
            f"provider to include {wanted} in the ID tokens of this application (scope openid {wanted})."
        )
    result = Token(access_token=token, header=Secret(f"Bearer {token}"), issued_at=now)
    exp, iat = _moment(claims.get("exp"), now), _moment(claims.get("iat"), now)
    expires_at = _time_to_live(exchange, result) if exp is None else exp
    if iat is not None and iat - now > TOLD_SECONDS:  # issued in what is the future here
        exchange.offset = iat - now
    if expires_at is not None and expires_at <= now:
        said = f"That {exchange.method.secret.label} has expired already"
        clock = "If it is new, this computer's clock may be ahead."
        clock = f"Note: {clock_words(exchange.offset)}." if exchange.offset else clock
        raise LoginExpired(f"{said}. Get a new one: {_where(exchange)}. {clock}")
    issued_at = iat if iat is not None and expires_at and iat < now else now
    return Token(access_token=token, header=result.header, issued_at=issued_at, expires_at=expires_at)


def _time_to_live(exchange: Exchange, token: Token) -> float | None:
    path = exchange.provider.paths.get("ttl")
    if path is None:
        return None
    try:
        answer = send(exchange, "GET", exchange.origin + path, token.secrets(), headers={"Authorization": token.header})
        seconds = json_of(answer) if answer.status_code == 200 else None
    except LabauthError:
        return None  # only an extra: the sign-in itself tells whether the provider can be reached
    life = _life(seconds)
    return None if life is None else exchange.clock.time() + life


def claims_of(token: str) -> Mapping[str, Any]:
    """The claims of a JWT, unverified; {} where it is none."""
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _where(exchange: Exchange) -> str:
    return exchange.method.secret.hint


def _pasted(exchange: Exchange) -> Secret:
    field = exchange.method.secret
    value = Secret(exchange.fields[field.name].strip().strip("'\"").removesuffix(":"))
    if value.lower().startswith("bearer "):
        value = Secret(value[7:].strip())
    if not _sendable(value) or value.lower() == "bearer":
        raise miscopied(field.label, field.name, field.hint)
    return value


def _sendable(token: str) -> bool:
    """Whether `token` can stand in a header (RFC 6750 2.1): visible ASCII characters."""
    return bool(token) and all("!" <= c <= "~" for c in token)


def dnanexus_password(exchange: Exchange, previous: Token | None) -> Token:
    """DNAnexus newAuthToken, what `dx login` does: the token expires when we ask it to, in 18 hours."""
    fields, began = exchange.fields, exchange.clock.time()
    expires_at = began + DNANEXUS_SECONDS
    otp = fields.pop("otp", None)  # it works once
    names = {name: fields[name] for name in ("username", "password")}
    secrets = [otp] if otp else []
    body = {"expires": int(expires_at * 1000), **names, "otp": otp}
    response = ask(exchange, secrets, once=otp is not None, json=body)
    try:
        token = read(exchange, response, began, secrets)
    except SignInRefused as error:
        if error.code in ("OTPRequiredError", "OTPMismatchError"):
            error.field = "otp"
        elif error.code == "UsernameOrPasswordError":
            error.field = "password"
        raise
    return Token(token.access_token, token.header, began, expires_at)


@dataclass(frozen=True, repr=False)
class Code:
    """An authorization code and what it is bound to (RFC 6749 4.1.3, RFC 7636 4.5)."""

    code: Secret
    redirect_uri: str
    code_verifier: Secret | None = None
    nonce: Secret | None = None

    def secrets(self) -> list[str]:
        """Every secret in it."""
        return [s for s in (self.code, self.code_verifier, self.nonce) if s]


BASIC, POST = "client_secret_basic", "client_secret_post"
"""How a client sends its secret (RFC 6749 2.3.1), by the names of RFC 7591 2."""


def auth_methods(exchange: Exchange, url: str = "") -> list[str]:
    """How the client may send its secret to the token endpoint, or to `url`; the first is tried first.

    As the issuer's metadata say (RFC 8414 2; client_secret_basic where they are silent), else the
    provider's document. Raises `InvalidInput` where the issuer takes no secret.
    """
    metadata, provider = exchange.metadata, exchange.provider
    if not metadata:
        return [{"basic": BASIC, "body": POST}[provider.client_authentication]]
    said, where = [BASIC], ""
    for at in ("token", "revocation") if url == metadata.get("revocation_endpoint") else ("token",):
        listed = metadata.get(f"{at}_endpoint_auth_methods_supported")
        if listed and isinstance(listed, list):
            said, where = listed, f"{at}_endpoint_auth_methods_supported"
    found = [name for name in (BASIC, POST) if name in said]
    if not found:
        public = "Leave the client secret empty, if the client is a public one."
        cure = f"Ask its admin to allow {BASIC} for this client."
        raise InvalidInput(
            f"{exchange.title} takes no client secret ({where}: "
            f"{one_line(', '.join(map(str, said)), 120)}). {public if 'none' in said else cure}",
            field="client_secret",
        )
    return sorted(found, key=lambda name: name != exchange.auth_method)


NOT_THIS_WAY = ("invalid_client", "unauthorized_client", "invalid_request")
"""What servers say of a client that authenticated in a way that they do not take from it."""


def as_client(
    exchange: Exchange,
    form: dict[str, str],
    secrets: list[str] | None = None,
    url: str = "",
    again: bool = True,
) -> requests.Response:
    """The response to `form`, sent to the token endpoint (or to `url`) by the client.

    A public client is named in the form (RFC 6749 3.2.1). Many issuers offer both ways to send a
    secret, but take one from each client: the other is used where the first is refused, which
    spends neither code nor refresh token. `again`: by `ask`, as a form that works once; else by
    `send`. Both raise.
    """
    name, secret = exchange.fields["client_id"], exchange.fields.get("client_secret")
    request: Callable[..., requests.Response] = partial(ask, once=True) if again else send
    url = url or exchange.token_url
    for method in auth_methods(exchange, url) if secret else ["none"]:
        data, headers = {**form, "client_id": name}, {}
        if secret and method == POST:
            data["client_secret"] = secret
        elif secret:
            data = form
            headers["Authorization"] = basic(quote_plus(name), Secret(quote_plus(secret)))
        response = request(exchange, verb="POST", url=url, secrets=secrets, data=data, headers=headers)
        if response.status_code != 401 and read_error(response)[0] not in NOT_THIS_WAY:
            exchange.auth_method = method
            break
    return response


def redeem(exchange: Exchange, code: Code) -> Token:
    """The token for an authorization code. Raises `SignInRefused`, `ProviderUnreachable`."""
    form = {"grant_type": "authorization_code", "code": code.code, "redirect_uri": code.redirect_uri}
    if code.code_verifier:
        form["code_verifier"] = code.code_verifier
    began = exchange.clock.time()
    response = as_client(exchange, form, code.secrets())
    return read(exchange, response, began, code.secrets())


def authorization_code(exchange: Exchange, previous: Token | None) -> Token:
    """Renew by the refresh token (RFC 6749 6). Where the answer brings no new one, the old one stays (rotation or not)."""
    if previous is None or previous.refresh_token is None:
        raise over()
    return replace(fresh := refresh(exchange, previous)[0], refresh_token=fresh.refresh_token or previous.refresh_token)


def refresh(exchange: Exchange, previous: Token) -> tuple[Token, requests.Response]:
    """The token response to the refresh token, and the answer itself. Raises `LoginExpired` when that token is over."""
    form = {"grant_type": "refresh_token", "refresh_token": previous.refresh_token or ""}
    began, secrets = exchange.clock.time(), previous.secrets()
    response = as_client(exchange, form, secrets)
    try:
        return read(exchange, response, began, secrets), response
    except SignInRefused as error:
        if error.code == "invalid_grant":
            raise over(f"{exchange.title} no longer takes the refresh token of this sign-in.") from None
        raise
    except ProviderError as error:
        error.repeats = error.status not in BROKEN
        raise


def over(why: str = "The token has expired, and nothing is kept that would renew it.") -> LoginExpired:
    """The error for a login that only the person can renew; `Login` adds what to type."""
    return LoginExpired(why)


def revoke_oauth2(exchange: Exchange, token: Token) -> None:
    """RFC 7009 as Foundry has it: client_id, client_secret and the token in the form; the refresh token too."""
    url = exchange.auth_origin + exchange.provider.paths["revoke"]
    revoke_at(exchange, url, token, (token.refresh_token, token.access_token))


def revoke_at(exchange: Exchange, url: str, token: Token, tokens: tuple[Secret | None, ...]) -> None:
    """RFC 7009 2.1 for each of `tokens` that there is. Raises `SignInRefused`, `ProviderUnreachable`."""
    for one in filter(None, tokens):
        response = as_client(exchange, {"token": one}, token.secrets(), url, again=False)
        if response.status_code // 100 != 2:  # a redirect is not followed, so it revoked nothing
            raise refused(exchange, response, token.secrets())


def revoke_dnanexus(exchange: Exchange, token: Token) -> None:
    """DNAnexus destroyAuthToken: the SHA-256 of the token, sent with that token."""
    body = {"tokenSignature": hashlib.sha256(token.access_token.encode()).hexdigest()}
    url = exchange.auth_origin + exchange.provider.paths["destroy"]
    response = send(exchange, "POST", url, token.secrets(), json=body, headers={"Authorization": token.header})
    if response.status_code // 100 != 2:
        raise refused(exchange, response, token.secrets())


Grant = Callable[[Exchange, Token | None], Token]


def openid(exchange: Exchange, previous: Token | None) -> Token:
    """`labauth_nb.tokens.openid.renewed`, imported when it is needed."""
    from .openid import renewed

    return renewed(exchange, previous)


def revoke_openid(exchange: Exchange, token: Token) -> None:
    """`labauth_nb.tokens.openid.revoke`, imported when it is needed."""
    from .openid import revoke

    revoke(exchange, token)


GRANTS: dict[str, Grant] = {
    "authorization_code": authorization_code,
    "basic_api_key": basic_api_key,
    "bearer": bearer,
    "client_credentials": client_credentials,
    "dnanexus_password": dnanexus_password,
    "jwt_bearer": jwt_bearer,
    "openid": openid,
}
REVOCATIONS: dict[str, Callable[[Exchange, Token], None]] = {
    "dnanexus": revoke_dnanexus,
    "oauth2": revoke_oauth2,
    "openid": revoke_openid,
}


def discard(exchange: Exchange, tokens: Callable[[], list[Token]]) -> None:
    """Revoke `tokens`, which a sign-in got and nobody will hold, where the provider offers it.

    Raises nothing, but for a second interrupt.
    """
    revoke = REVOCATIONS.get(exchange.method.revoke or "")
    if revoke is None:
        return

    def work() -> None:
        for token in tokens():
            with suppress(LabauthError):
                revoke(exchange, token)

    thread = threading.Thread(target=work, name="labauth discard", daemon=True)
    with suppress(RuntimeError):  # no thread can be started here
        thread.start()
        thread.join(DISCARD_SECONDS)
