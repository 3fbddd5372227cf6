"""OpenID Connect: discovery, ID tokens and what proves them, and the device authorization grant.

Sources: OpenID Connect Discovery 1.0; OpenID Connect Core 1.0, 3.1.3.7 (ID token validation) and 12 (refresh);
RFC 8628 (device authorization grant). Only what is signed by a key of the issuer is believed.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests

from .errors import InvalidInput, LabauthError, SignInRefused
from .grants import Code, Exchange, ask, client, over, read, refresh, refused, revoke_at, send
from .masking import Secret
from .providers import is_loopback
from .tokens import Token

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key that only the issuer has. Not "none", and not HS256, whose key others have too."""
LEEWAY_SECONDS = 60.0
"""Clocks may differ by this much (OpenID Connect Core 3.1.3.7, 9)."""
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_SECONDS = 5.0
"""Seconds between two polls, unless the server says otherwise; and what "slow_down" adds (RFC 8628 3.5)."""


def discover(exchange: Exchange) -> None:
    """Find the endpoints of the issuer, once, and keep them in `exchange.metadata`.

    Raises `InvalidInput` for an issuer that is no address, `SignInRefused` for an answer that is none,
    `ProviderUnreachable`.
    """
    if exchange.metadata:
        return
    if find_spec("cryptography") is None:
        raise InvalidInput("Checking an ID token needs one more package. Install it with: pip install 'labauth-nb[oidc]'")
    typed = exchange.fields["issuer"].strip()
    typed = typed if "://" in typed else f"https://{typed}"
    typed = typed.rstrip("/").removesuffix("/.well-known/openid-configuration").rstrip("/")
    if not _safe(typed):
        raise _about_issuer(f"{typed[:80]!r} is no issuer: give the https address of your lab's identity provider.")
    response = send(exchange, "GET", f"{typed}/.well-known/openid-configuration")
    try:
        metadata = response.json() if response.status_code == 200 else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        said = str(refused(exchange, response)).partition(" Check the tenant")[0]
        said = said.replace(" without a token in it", " with no configuration")
        raise _about_issuer(said if "issuer" in said else f"{said} Check the issuer's address.")
    if str(metadata.get("issuer")).rstrip("/") != typed:
        raise _about_issuer(f"The server at {typed} says that it is another issuer. Check the issuer's address.")
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    offered = [*needed, *(n for n in ("device_authorization_endpoint", "revocation_endpoint") if metadata.get(n))]
    for name in offered:
        if not _safe(str(metadata.get(name))):
            raise _about_issuer(f"The identity provider's {name} is missing or no https address: tell its admin.")
    exchange.metadata = metadata


def _safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)))
    except ValueError:
        return False


def _about_issuer(sentence: str) -> InvalidInput:
    error = InvalidInput(sentence)
    error.field = "issuer"
    return error


class _Keys(jwt.PyJWKClient):
    """PyJWT's client of the issuer's keys (RFC 7517), by our own request: its time-outs, its errors, no proxy to loopback."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(str(exchange.metadata["jwks_uri"]), cache_jwk_set=True)
        self._exchange = exchange

    def fetch_data(self) -> Any:
        response = send(self._exchange, "GET", self.uri)
        try:
            found = response.json() if response.status_code == 200 else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise refused(self._exchange, response)
        if self.jwk_set_cache is not None:
            self.jwk_set_cache.put(found)
        return found


def verified(exchange: Exchange, id_token: str, nonce: str | None = None) -> dict[str, Any]:
    """The claims of an ID token whose signature, iss, aud, exp, iat and (where one was sent) nonce are as they must be.

    Raises `SignInRefused` with what is wrong. Keys that have rotated are fetched once more.
    """
    try:
        alg = jwt.get_unverified_header(id_token).get("alg")
    except jwt.PyJWTError:
        raise _distrusted("it is not a JWT") from None
    if alg not in ALGORITHMS:
        known = alg if alg in ("none", "HS256", "HS384", "HS512") else "unknown"
        raise _distrusted(f"it is not signed by a key of the issuer (alg {known})")
    options: Any = {
        "require": ["iss", "aud", "exp", "iat", "sub"],
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
    }
    exchange.keys = exchange.keys or _Keys(exchange)
    for last in (False, True):
        try:
            key = exchange.keys.get_signing_key_from_jwt(id_token)
            issuer, audience = str(exchange.metadata["issuer"]), exchange.fields["client_id"]
            claims: dict[str, Any] = jwt.decode(
                id_token, key.key, algorithms=[alg], audience=audience, issuer=issuer, options=options
            )
            break
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError, jwt.MissingRequiredClaimError) as error:
            what = {jwt.InvalidIssuerError: "iss", jwt.InvalidAudienceError: "aud"}.get(type(error), "")
            claim = what or getattr(error, "claim", "a claim")
            raise _distrusted(f"its claim {claim} is missing or another's") from None
        except (jwt.PyJWTError, TypeError, ValueError) as error:  # PyJWT: a key of another kind than alg says
            if last or not isinstance(error, jwt.InvalidSignatureError):
                unknown = isinstance(error, jwt.PyJWKClientError)
                raise _distrusted("its key is not among the issuer's" if unknown else "its signature is wrong") from None
            exchange.keys = _Keys(exchange)  # the issuer may have a new key under the old name
    now, exp = exchange.clock.time(), claims["exp"]
    if not isinstance(exp, int | float) or not math.isfinite(exp) or exp + LEEWAY_SECONDS <= now:
        raise _distrusted("it has expired already; check this computer's clock")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != exchange.fields["client_id"]:
        raise _distrusted("its claim azp is missing or another's")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _distrusted("it belongs to another sign-in (its nonce is another one)")
    wanted = exchange.method.claim
    if wanted and not claims.get(wanted):
        raise _distrusted(
            f"it has no claim {wanted!r}, by which {exchange.provider.title} finds the user. Ask the admin of your "
            f"identity provider to include it (scope openid {wanted})"
        )
    return claims


def _distrusted(why: str) -> SignInRefused:
    return SignInRefused(f"The ID token that came was refused, and nothing was sent to the provider: {why}. Sign in again.")


def _bearer(exchange: Exchange, token: Token, response: requests.Response, nonce: str | None) -> Token:
    """The ID token in a token response, verified, as what is sent to the provider."""
    id_token = response.json().get("id_token")
    if not isinstance(id_token, str) or not id_token:
        raise _distrusted("there was none in the answer (is openid among the scopes?)")
    claims = verified(exchange, id_token, nonce)
    if exchange.subject and claims["sub"] != exchange.subject:
        raise _distrusted("it is another person's (sub)")
    exchange.subject = str(claims["sub"])
    return replace(token, access_token=Secret(id_token), header=Secret(f"Bearer {id_token}"), expires_at=float(claims["exp"]))


def redeem(exchange: Exchange, code: Code) -> Token:
    """The verified ID token for an authorization code (OpenID Connect Core 3.1.3)."""
    form = {"grant_type": "authorization_code", "code": code.code, "redirect_uri": code.redirect_uri, **client(exchange)}
    form["code_verifier"] = code.code_verifier or ""
    began = exchange.clock.time()
    response = ask(exchange, code.secrets(), data=form)
    return _bearer(exchange, read(exchange, response, began, code.secrets()), response, code.nonce)


def renewed(exchange: Exchange, previous: Token | None) -> Token:
    """A new ID token by the refresh token (OpenID Connect Core 12). Raises `LoginExpired` where there is none or it is over."""
    if previous is None or previous.refresh_token is None:
        raise over()
    discover(exchange)
    token, response = refresh(exchange, previous)
    token = replace(token, refresh_token=token.refresh_token or previous.refresh_token)
    if not response.json().get("id_token"):
        raise over("The identity provider gives no new ID token for a refresh token.")
    return _bearer(exchange, token, response, None)


def revoke(exchange: Exchange, token: Token) -> None:
    """RFC 7009 for the refresh token; an ID token cannot be revoked. Raises `InvalidInput` where that is not offered."""
    discover(exchange)
    url = exchange.metadata.get("revocation_endpoint")
    if not url:
        raise InvalidInput("the identity provider offers no way to do it from here.")
    revoke_at(exchange, str(url), token, (token.refresh_token,))


@dataclass(frozen=True, repr=False)
class Device:
    """A device authorization (RFC 8628 3.2): what the person opens and types; times in seconds."""

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_at: float
    interval: float


def offers_device(exchange: Exchange) -> bool:
    """Whether the device grant is offered."""
    return bool(exchange.metadata.get("device_authorization_endpoint"))


def device(exchange: Exchange) -> Device:
    """Ask for a device code and a user code. Raises `SignInRefused`, `ProviderUnreachable`."""
    form = {"scope": exchange.fields.get("scopes") or "openid", **client(exchange)}
    response = send(exchange, "POST", str(exchange.metadata["device_authorization_endpoint"]), data=form)
    try:
        body = response.json() if response.status_code == 200 else {}
        wanted = {name: str(body[name]) for name in ("device_code", "user_code", "verification_uri")}
        expires_at = exchange.clock.time() + float(body["expires_in"])
        interval = max(float(body.get("interval", INTERVAL_SECONDS)), 0.1)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise refused(exchange, response) from None
    complete = str(body.get("verification_uri_complete") or "")
    if not _safe(wanted["verification_uri"]) or (complete and not _safe(complete)):
        raise _distrusted("its page to type the code is no https address")
    code, address = Secret(wanted["device_code"]), wanted["verification_uri"]
    return Device(code, wanted["user_code"], address, complete or address, expires_at, interval)


_RAN_OUT = "The code ran out before anybody typed it. Sign in again to get a new one."


def poll(exchange: Exchange, asked: Device, ended: threading.Event) -> Token | None:
    """Wait until the person has typed the code (RFC 8628 3.4), in real time; None when `ended` was set meanwhile.

    Raises `SignInRefused` when it was declined or ran out; a poll that gets no answer is tried again.
    """
    interval, form = asked.interval, {"grant_type": DEVICE_CODE, "device_code": asked.device_code, **client(exchange)}
    while not ended.wait(interval):
        began = exchange.clock.time()
        if began >= asked.expires_at:
            raise SignInRefused(_RAN_OUT)
        try:
            response = send(exchange, "POST", exchange.token_url, [asked.device_code], data=form)
            return _bearer(exchange, read(exchange, response, began, [asked.device_code]), response, None)
        except SignInRefused as error:
            if error.code == "slow_down":
                interval += INTERVAL_SECONDS
            elif error.code == "expired_token":
                raise SignInRefused(_RAN_OUT) from None
            elif error.code != "authorization_pending" and error.status < 500:
                raise
        except LabauthError:
            interval *= 2  # RFC 8628 3.5: after a time-out, more slowly
    return None
