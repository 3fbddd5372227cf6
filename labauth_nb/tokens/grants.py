"""One function per grant: each takes an `Exchange` and the previous token, and gives a `Token`.

Sources: RFC 6749 4.1 (authorization code), 4.4 (client credentials), 6 (refresh); RFC 7523 2.1 (JWT
bearer); RFC 7617 (Basic); RFC 7009 (revocation); the providers' own documents for what is theirs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import requests

from ..clocks import TOLD_SECONDS, clock_words
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    SignInRefused,
    miscopied,
)
from ..masking import Secret
from ..responses import json_of
from . import openid
from .codes import AuthorizationCode, authorization_code, over, revoke_at
from .exchanges import (
    SKEW_SECONDS,
    Exchange,
    ask,
    basic,
    discarded,
    life_of,
    moment_of,
    offset_of,
    read,
    refused,
    send,
    sendable,
)
from .token import Token


def client_credentials(exchange: Exchange, previous: Token | None) -> Token:
    """RFC 6749 4.4.

    The client's own token, by Basic client authentication or in the body, as the provider has it.
    """
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
    """RFC 7523 2.1 as QBench has it (HS256, signed again on every attempt).

    Renewed by the refresh token where there is one.

    A refused refresh falls back to a fresh assertion. A refused assertion is signed once more with
    the server's time when the response's Date header shows that our clock is more than
    `SKEW_SECONDS` off; the offset is kept.
    """
    young = (
        previous is not None
        and exchange.clock.time() < previous.issued_at + exchange.method.refresh_seconds
    )
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
    claims = {
        "sub": exchange.fields["client_id"],
        "iat": now,
        "exp": now + exchange.method.assertion_seconds,
    }
    with warnings.catch_warnings():
        # PyJWT warns of keys under 32 bytes. The key's length is QBench's choice, not the user's.
        warnings.simplefilter("ignore")
        assertion = Secret(jwt.encode(claims, exchange.fields["client_secret"], algorithm="HS256"))
    secrets.append(assertion)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    return ask(exchange, secrets, data=form)


def _refresh(exchange: Exchange, previous: Token) -> Token:
    """As QBench has it: the form field refresh_token_id and a cookie.

    Each refresh token works once.
    """
    assert previous.refresh_token is not None
    began = exchange.clock.time()
    # Sent as a header: requests would not send a Secure cookie back over http, and keeps a jar of
    # its own.
    headers = {"Cookie": f"{exchange.method.cookie}={previous.cookie}"} if previous.cookie else {}
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

    Its expiry comes from its claim exp (unverified: the provider verifies it), else from the
    provider's time-to-live endpoint, else it is unknown. Raises `LoginExpired` when it has
    already expired.
    """
    token = _pasted(exchange)
    claims, now = claims_of(token), exchange.clock.time()
    wanted, title = exchange.method.claim, exchange.provider.title
    if wanted and not claims:
        raise InvalidInput(
            "That is not an ID token: it is not a JWT with three parts. Copy the whole"
            f" {exchange.method.secret.label} from your lab's identity provider (not the access"
            " token)."
        )
    if wanted and not isinstance(claims.get(wanted), str):
        raise InvalidInput(
            f"The ID token has no claim {wanted!r}, by which {title} finds the user. Ask the admin"
            f" of your identity provider to include {wanted} in the ID tokens of this application"
            f" (scope openid {wanted})."
        )
    result = Token(access_token=token, header=Secret(f"Bearer {token}"), issued_at=now)
    exp, iat = moment_of(claims.get("exp"), now), moment_of(claims.get("iat"), now)
    expires_at = _time_to_live(exchange, result) if exp is None else exp
    if iat is not None and iat - now > TOLD_SECONDS:  # issued in what is the future here
        exchange.offset = iat - now
    if expires_at is not None and expires_at <= now:
        said = f"That {exchange.method.secret.label} has already expired"
        clock = "If it is new, this computer's clock may be ahead."
        clock = f"Note: {clock_words(exchange.offset)}." if exchange.offset else clock
        raise LoginExpired(f"{said}. Get a new one: {_where(exchange)}. {clock}")
    issued_at = iat if iat is not None and expires_at and iat < now else now
    return Token(
        access_token=token, header=result.header, issued_at=issued_at, expires_at=expires_at
    )


def _time_to_live(exchange: Exchange, token: Token) -> float | None:
    path = exchange.provider.paths.get("ttl")
    if path is None:
        return None
    try:
        answer = send(
            exchange,
            "GET",
            exchange.origin + path,
            token.secrets(),
            headers={"Authorization": token.header},
        )
        seconds = json_of(answer) if answer.status_code == 200 else None
    except LabauthError:
        return None  # only an extra: the sign-in itself tells whether the provider can be reached
    life = life_of(seconds)
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
    if not sendable(value) or value.lower() == "bearer":
        raise miscopied(field.label, field.name, field.hint)
    return value


def password(exchange: Exchange, previous: Token | None) -> Token:
    """A user name and password, in JSON, as DNAnexus has it (newAuthToken, what `dx login` does).

    The token expires when we ask it to. An error says which field it is about.
    """
    fields, method, began = exchange.fields, exchange.method, exchange.clock.time()
    expires_at, once = began + method.asked_seconds, method.once
    code = fields.pop(once.name, None) if once else None
    body: dict[str, Any] = {f.name: fields[f.name] for f in method.fields if f is not once}
    body |= {"expires": int(expires_at * 1000)} | ({once.name: code} if once else {})
    secrets = [code] if code else []
    response = ask(exchange, secrets, once=code is not None, json=body)
    try:
        token = read(exchange, response, began, secrets)
    except SignInRefused as error:
        error.field = method.errors_about.get(error.code, error.field)
        raise
    return Token(token.access_token, token.header, began, expires_at)


def revoke_oauth2(exchange: Exchange, token: Token) -> None:
    """RFC 7009 as Foundry has it.

    Client_id, client_secret and the token in the form; the refresh token too.
    """
    url = exchange.auth_origin + exchange.provider.paths["revoke"]
    revoke_at(exchange, url, token, (token.refresh_token, token.access_token))


def revoke_digest(exchange: Exchange, token: Token) -> None:
    """As DNAnexus has it (destroyAuthToken): the SHA-256 of the token, sent with that token."""
    body = {exchange.method.digest_key: hashlib.sha256(token.access_token.encode()).hexdigest()}
    url = exchange.auth_origin + exchange.provider.paths["destroy"]
    response = send(
        exchange, "POST", url, token.secrets(), json=body, headers={"Authorization": token.header}
    )
    if response.status_code // 100 != 2:
        raise refused(exchange, response, token.secrets())


Grant = Callable[[Exchange, Token | None], Token]


GRANTS: dict[str, Grant] = {
    "authorization_code": authorization_code,
    "basic_api_key": basic_api_key,
    "bearer": bearer,
    "client_credentials": client_credentials,
    "jwt_bearer": jwt_bearer,
    "openid": openid.renewed,
    "password": password,
}
"""How a token is had, or renewed, by `Method.grant`."""
REVOCATIONS: dict[str, Callable[[Exchange, Token], None]] = {
    "digest": revoke_digest,
    "oauth2": revoke_oauth2,
    "openid": openid.revoke,
}
"""How one is revoked, by `Method.revoke`."""
PAGES: dict[str, AuthorizationCode] = {
    "authorization_code": AuthorizationCode(),
    "openid": openid.OpenID(),
}
"""How a person signs in in a browser, by `Method.grant`."""


def discard(exchange: Exchange, tokens: Callable[[], list[Token]]) -> None:
    """Revoke `tokens`, which a sign-in got and nobody will hold, where the provider offers it."""
    if revoke := REVOCATIONS.get(exchange.method.revoke):
        discarded(exchange, revoke, tokens)
