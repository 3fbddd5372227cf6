"""OpenID Connect: discovery, ID tokens and what proves them, and the device authorization grant.

Sources: OpenID Connect Discovery 1.0; OpenID Connect Core 1.0, 3.1.3.7 (ID token validation) and 12
(refresh); RFC 8628 (device authorization grant). Only what is signed by a key of the issuer is
believed.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests

from ..errors import InvalidInput, LabauthError, SignInRefused
from ..masking import Secret
from ..providers import is_loopback, parsed, spelled, whole_address
from ..responses import finite, json_of, one_line
from .codes import (
    AuthorizationCode,
    Code,
    Device,
    as_client,
    auth_methods,
    over,
    refresh,
    revoke_at,
)
from .exchanges import (
    LONGEST_SECONDS,
    SKEW_SECONDS,
    Exchange,
    ask,
    discarded,
    offset_of,
    read,
    refused,
)
from .token import Token

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Signatures by a private key that only the issuer has. Not "none", and not HS256, whose key others
have too."""
LEEWAY_SECONDS = 60.0
"""Clocks may differ by this much (OpenID Connect Core 3.1.3.7, 9)."""
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_SECONDS = 5.0
"""Seconds between two polls, unless the server says otherwise; and what "slow_down" adds (RFC 8628
3.5)."""
INTERVAL_MOST = 60.0
"""Longer the person is not kept waiting by a server's interval, nor by polls that got
no response."""
DEVICE_SECONDS = 600.0
"""Life of a device code, where the server does not say."""


def discover(exchange: Exchange) -> None:
    """Find the endpoints of the issuer, once, and keep them in `exchange.metadata`.

    Raises `InvalidInput` for an issuer that is no address, or scopes without openid;
    `SignInRefused` for a response that is none; `ProviderUnreachable`.
    """
    if exchange.metadata:
        return
    if "openid" not in exchange.fields.get("scopes", "openid").split():
        raise InvalidInput(_NO_OPENID, field="scopes")
    if find_spec("cryptography") is None:
        raise InvalidInput(
            "Checking an ID token needs one more package. Install it with: pip install"
            " 'labauth-nb[oidc]'"
        )
    typed = _issuer(exchange)
    metadata = _configuration(exchange, typed)
    _check_endpoints(metadata, typed)
    exchange.metadata = metadata
    _ask_for_less(exchange)
    if exchange.fields.get("client_secret"):
        auth_methods(exchange)  # else a person signs in first, in vain


def _issuer(exchange: Exchange) -> str:
    """The issuer's address as it was given. Raises `InvalidInput` for what is none."""
    typed = whole_address(exchange.fields["issuer"])
    if "@" in typed:
        raise InvalidInput(
            "That is not a valid issuer URL: it contains a user name or password. Leave them out.",
            field="issuer",
        )
    if parsed(typed) is None or "?" in typed:
        said = f"{typed.partition('?')[0][:80]!r} is not a valid issuer URL"
        raise InvalidInput(
            f"{said}: give the https address of your lab's identity provider.", field="issuer"
        )
    return typed


def _check_endpoints(metadata: dict[str, Any], typed: str) -> None:
    """Raise `InvalidInput` where the configuration of the issuer `typed` cannot be used."""
    if spelled(str(metadata.get("issuer"))) != typed:
        said = f"The server at {typed} identifies itself as a different issuer"
        raise InvalidInput(f"{said}. Check the issuer's address.", field="issuer")
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    offered = [
        *needed,
        *(n for n in ("device_authorization_endpoint", "revocation_endpoint") if metadata.get(n)),
    ]
    for name in offered:
        address = metadata.get(name)
        good = isinstance(address, str) and parsed(address, local=_local(typed)) is not None
        if not good or "#" in str(address):  # RFC 6749 3.1
            said = f"The identity provider's {name} is missing or is not an https address"
            raise InvalidInput(f"{said}: tell its admin.", field="issuer")


def _configuration(exchange: Exchange, typed: str) -> dict[str, Any]:
    """The issuer's metadata (OpenID Connect Discovery 4.2), unchecked. Raises as `discover`."""
    where = f"{typed}/.well-known/openid-configuration"
    response = ask(exchange, verb="GET", url=where)
    metadata = json_of(response) if response.status_code == 200 else None
    if not isinstance(metadata, dict) or _error_in(metadata):
        error = refused(exchange, response, what="a configuration")
        if not isinstance(error, SignInRefused):  # busy or down: no address is wrong
            error.field = "issuer"
            raise error
        raise InvalidInput(
            str(error) if error.hint else f"{error} {exchange.check}", field="issuer"
        )
    return metadata


def _ask_for_less(exchange: Exchange) -> None:
    """Take offline_access out of scopes that nobody typed, where the issuer does not have it."""
    fields, supported = exchange.fields, exchange.metadata.get("scopes_supported")
    default = next(f.default for f in exchange.method.fields if f.name == "scopes")
    lacks = isinstance(supported, list) and "offline_access" not in supported
    if lacks and fields.get("scopes") == default:
        fields["scopes"] = " ".join(each for each in default.split() if each != "offline_access")


def _error_in(body: dict[str, Any]) -> bool:
    """Whether a response with the status 200 tells an error all the same."""
    return bool(body.get("error"))


def _local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname)


_NO_OPENID = (
    "The scopes must contain openid, else the identity provider sends no ID token. "
    "Give them with spaces between, such as: openid email offline_access"
)


class _Keys(jwt.PyJWKClient):
    """PyJWT's client of the issuer's keys (RFC 7517), by our own request.

    Its time-outs, its errors, no proxy to loopback.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(str(exchange.metadata["jwks_uri"]), cache_jwk_set=True)
        self._exchange = exchange

    def fetch_data(self) -> Any:
        response = ask(self._exchange, verb="GET", url=self.uri)
        found = json_of(response) if response.status_code == 200 else None
        if not isinstance(found, dict) or _error_in(found):
            raise refused(self._exchange, response, what="keys")
        keys = found.get("keys")
        for key in keys if isinstance(keys, list) else ():
            if isinstance(key, dict) and key.get("alg") == "Ed25519":
                key["alg"] = "EdDSA"  # its older name (RFC 9864), the one that PyJWT knows
        if self.jwk_set_cache is not None:
            self.jwk_set_cache.put(found)
        return found


def _keys(exchange: Exchange) -> _Keys:
    """The issuer's keys, fetched or not older than a few minutes.

    Raises `SignInRefused`, `ProviderUnreachable`.
    """
    exchange.keys = exchange.keys or _Keys(exchange)
    try:
        exchange.keys.get_jwk_set()
    except LabauthError:
        raise
    except Exception:  # PyJWT, over what may be anything
        raise SignInRefused(
            "The identity provider's keys cannot be used, and nothing was sent. Tell its admin."
        ) from None
    keys: _Keys = exchange.keys
    return keys


def _key(keys: _Keys, kid: object, alg: str) -> jwt.PyJWK:
    """The key of a token.

    By its name, or the only one for `alg` where it names none (OpenID Connect Core 10.1).
    """
    if kid is not None:
        return keys.get_signing_key(str(kid))
    kind = {"R": "RSA", "P": "RSA", "E": "OKP" if alg.startswith("Ed") else "EC"}[alg[0]]
    fitting = [
        key
        for key in keys.get_jwk_set().keys
        if key.key_type == kind and key.public_key_use in ("sig", None)
    ]
    if len(fitting) != 1:
        raise jwt.PyJWKClientError("the token names no key, and the issuer has several or none")
    return fitting[0]


def verified(
    exchange: Exchange,
    id_token: str,
    nonce: str | None = None,
    ahead: Callable[[dict[str, Any]], float] = lambda claims: 0.0,
) -> dict[str, Any]:
    """The claims of an ID token whose signature, iss, aud, exp, iat and nonce are right.

    `ahead`: how many seconds the issuer's clock is ahead of ours, by the claims. Raises
    `SignInRefused` with what is wrong. Keys that have rotated are fetched once more.
    """
    claims = _signed(exchange, Secret(id_token))
    now, exp = exchange.clock.time(), _moment(claims["exp"])
    if not math.isfinite(exp) or exp + LEEWAY_SECONDS <= now + ahead(claims):
        raise _distrusted("it has already expired; check this computer's clock")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != exchange.fields["client_id"]:
        raise _distrusted(
            "its claim azp is missing or names a different client: check the client ID"
        )
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise _distrusted("its claim sub is missing or not valid")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _distrusted("it belongs to a different sign-in attempt (nonce mismatch)")
    wanted = exchange.method.claim
    if wanted and (not isinstance(claims.get(wanted), str) or not claims[wanted]):
        raise _distrusted(
            f"it has no claim {wanted!r}, by which {exchange.provider.title} finds the user. Ask"
            f" the admin of your identity provider to include it (scope openid {wanted})"
        )
    return claims


def _algorithm(id_token: Secret) -> tuple[str, object]:
    """(alg, kid) of an ID token's header.

    Raises `SignInRefused` where no issuer's key can have signed it.
    """
    try:
        header = jwt.get_unverified_header(id_token)
    except Exception:  # PyJWT, over what may be anything
        raise _distrusted("it is not a JWT") from None
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in ALGORITHMS:
        known = alg if alg in ("none", "HS256", "HS384", "HS512") else "unknown"
        raise _distrusted(f"it is not signed by a key of the issuer (alg {known})")
    if alg == "Ed25519":
        from jwt.algorithms import OKPAlgorithm  # not there without cryptography

        with suppress(ValueError):  # a PyJWT that knows it
            jwt.register_algorithm(alg, OKPAlgorithm())
    return alg, kid


_OPTIONS: Any = {
    "require": ["iss", "aud", "exp", "iat", "sub"],
    "verify_exp": False,  # by the exchange's clock, which the sandbox moves
    "verify_iat": False,
    "verify_nbf": False,
}


def _signed(exchange: Exchange, id_token: Secret) -> dict[str, Any]:
    """The claims of an ID token that the issuer signed for this client. Raises `SignInRefused`."""
    alg, kid = _algorithm(id_token)
    issuer, audience = str(exchange.metadata["issuer"]), exchange.fields["client_id"]
    for last in (False, True):
        try:
            key = _key(_keys(exchange), kid, alg)
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key.key,
                algorithms=[alg],
                audience=audience,
                issuer=issuer,
                options=_OPTIONS,
            )
            # a lone surrogate cannot be encoded in UTF-8
            json.dumps(claims, ensure_ascii=False).encode()
            return claims
        except LabauthError:
            raise
        except (
            jwt.InvalidIssuerError,
            jwt.InvalidAudienceError,
            jwt.MissingRequiredClaimError,
        ) as error:
            raise _distrusted(_wrong_claim(error)) from None
        except jwt.PyJWKClientError:
            raise _distrusted("its key is not among the issuer's") from None
        except Exception as error:  # PyJWT: a key of another kind than alg says, and much else
            if last or not isinstance(error, jwt.InvalidSignatureError):
                raise _distrusted("its signature is wrong") from None
            exchange.keys = None  # the issuer may have a new key under the old name
    raise AssertionError("the second attempt returns or raises")


def _wrong_claim(error: jwt.InvalidTokenError) -> str:
    what = {jwt.InvalidIssuerError: "iss", jwt.InvalidAudienceError: "aud"}.get(type(error), "")
    claim = what or getattr(error, "claim", "a claim")
    wrong = {
        "iss": "names a different issuer: check the issuer",
        "aud": "names a different client: check the client ID",
    }
    return f"its claim {claim} is missing or {wrong.get(claim, 'not valid')}"


def _moment(seconds: object) -> float:
    """A claim that is a time (RFC 7519 2, NumericDate); NaN where it is none."""
    return (
        finite(seconds)
        if isinstance(seconds, int | float) and not isinstance(seconds, bool)
        else math.nan
    )


def _distrusted(why: str) -> SignInRefused:
    return SignInRefused(
        f"The ID token was rejected, and nothing was sent to the provider: {why}. Sign in again."
    )


def _bearer(
    exchange: Exchange, token: Token, response: requests.Response, nonce: str | None
) -> Token:
    """The ID token in a token response, verified, as what is sent to the provider."""
    id_token = _id_token(response)
    if id_token is None:
        raise _distrusted("there was none in the response (is openid among the scopes?)")
    ahead_by = partial(_ahead, exchange, response, token.issued_at)
    claims = verified(exchange, id_token, nonce, ahead_by)
    if exchange.subject and claims["sub"] != exchange.subject:
        raise _distrusted("it is for a different user (sub)")
    exchange.subject, ahead = claims["sub"], ahead_by(claims)
    exchange.offset = ahead if abs(ahead) > SKEW_SECONDS else 0.0
    exp = _moment(claims["exp"]) - ahead
    expires_at = exp if exp - exchange.clock.time() < LONGEST_SECONDS else None
    return replace(
        token, access_token=id_token, header=Secret(f"Bearer {id_token}"), expires_at=expires_at
    )


def _first(
    exchange: Exchange, token: Token, response: requests.Response, nonce: str | None
) -> Token:
    """As `_bearer`; a token whose ID token is bad is revoked, as nobody will hold it."""
    try:
        return _bearer(exchange, token, response, nonce)
    except BaseException:
        discarded(exchange, revoke, lambda: [token])
        raise


def _ahead(
    exchange: Exchange,
    response: requests.Response,
    began: float,
    claims: dict[str, Any],
) -> float:
    """Seconds that the issuer's clock is ahead of ours.

    It issued the token between `began` and now.
    """
    now, iat = exchange.clock.time(), _moment(claims["iat"])
    if "nbf" in claims:
        # Microsoft Entra dates iat and nbf five minutes back, for clocks that are behind: Date says
        # the time.
        iat = now + offset_of(response, now)
    # a clock behind, or a token issued earlier, such as the one before: Date tells
    elif iat < began - 1:
        iat = now + offset_of(response, now, iat - now)
    if not now - 86400 < iat < _moment(claims["exp"]):
        return 0.0  # no time of issue
    if began - 1 <= iat <= now:  # in whole seconds
        return 0.0
    return iat - (now if iat > now else began)


def _id_token(response: requests.Response) -> Secret | None:
    body = json_of(response)
    id_token = body.get("id_token") if isinstance(body, dict) else None
    return Secret(id_token) if isinstance(id_token, str) and id_token else None


def redeem(exchange: Exchange, code: Code) -> Token:
    """The verified ID token for an authorization code (OpenID Connect Core 3.1.3)."""
    form = {
        "grant_type": "authorization_code",
        "code": code.code,
        "redirect_uri": code.redirect_uri,
    }
    form["code_verifier"] = code.code_verifier or ""
    try:
        _keys(exchange)  # a code works once, and is not spent on what could not be verified
        began = exchange.clock.time()
        response = as_client(exchange, form, code.secrets())
        token = read(exchange, response, began, code.secrets())
        return _first(exchange, token, response, code.nonce)
    except LabauthError:
        raise
    except BaseException as error:
        raise error.with_traceback(None) from None  # PyJWT's frames hold the ID token


def renewed(exchange: Exchange, previous: Token | None) -> Token:
    """A new ID token by the refresh token (OpenID Connect Core 12).

    Raises `LoginExpired` where there is none, or it has expired.

    The keys come first: a refresh token may work once, and is not spent on what could not be
    verified. An error after that has the new refresh token in its `spent`: the previous token,
    otherwise as it was.
    """
    if previous is None or previous.refresh_token is None:
        raise over()
    spent = None
    try:
        discover(exchange)
        _keys(exchange)
        token, response = refresh(exchange, previous)
        token = replace(token, refresh_token=token.refresh_token or previous.refresh_token)
        spent = replace(previous, refresh_token=token.refresh_token)
        if _id_token(response) is None:
            raise over("The identity provider gives no new ID token for a refresh token.")
        return _bearer(exchange, token, response, None)
    except LabauthError as error:
        error.spent = spent
        raise
    except BaseException as error:
        raise error.with_traceback(None) from None  # PyJWT's frames hold the ID token


def revoke(exchange: Exchange, token: Token) -> None:
    """RFC 7009 for the refresh token; an ID token cannot be revoked.

    Raises `InvalidInput` where that is not offered.
    """
    discover(exchange)
    url = exchange.metadata.get("revocation_endpoint")
    if not url:
        raise InvalidInput("the identity provider offers no way to do that from here.")
    revoke_at(exchange, str(url), token, (token.refresh_token,))


def parameters(exchange: Exchange) -> dict[str, str]:
    """What is asked for, in a browser or by a device.

    The scopes, and the claim that the method needs.

    Its scope alone brings that claim into the ID token only where no access token comes with it
    (OpenID Connect Core 5.4); the claims parameter (5.5) does always, where it is supported.
    """
    form, claim = (
        {"scope": " ".join(exchange.fields.get("scopes", "openid").split())},
        exchange.method.claim,
    )
    if claim and exchange.metadata.get("claims_parameter_supported") is True:
        form["claims"] = json.dumps({"id_token": {claim: {"essential": True}}})
    return form


def offers_device(exchange: Exchange) -> bool:
    """Whether the device grant is offered."""
    return bool(exchange.metadata.get("device_authorization_endpoint"))


def device(exchange: Exchange) -> Device:
    """Ask for a device code and a user code. Raises `SignInRefused`, `ProviderUnreachable`."""
    form = parameters(exchange)
    url = str(exchange.metadata["device_authorization_endpoint"])
    response = as_client(exchange, form, url=url, again=False)
    body = json_of(response) if response.status_code == 200 else None
    if not isinstance(body, dict) or _error_in(body):
        raise refused(exchange, response, what="a device code")
    local = _local(str(exchange.metadata["issuer"]))
    life, interval = (
        default if body.get(name) is None else finite(body[name])
        for name, default in (("expires_in", DEVICE_SECONDS), ("interval", INTERVAL_SECONDS))
    )
    code, user_code, address = (
        body.get(name) for name in ("device_code", "user_code", "verification_uri")
    )
    complete = body.get("verification_uri_complete") or address
    good = all(isinstance(each, str) and each for each in (code, user_code, address, complete))
    good = (
        good
        and one_line(str(user_code), 64) == user_code
        and math.isfinite(life)
        and math.isfinite(interval)
    )
    known = [*exchange.secrets(), str(code)]
    shown = (one_line(str(each), 2000, known) == each for each in (user_code, address, complete))
    if not good or not all(shown):
        raise SignInRefused(_UNUSABLE)
    if None in (parsed(str(address), local=local), parsed(str(complete), local=local)):
        said = "The identity provider's page for typing the code is not an https address"
        raise SignInRefused(f"{said}. Tell its admin.")
    interval = min(max(interval, 0.1 if local else 1.0), INTERVAL_MOST)
    expires_at = exchange.clock.time() + min(life, LONGEST_SECONDS)
    return Device(Secret(code), str(user_code), str(address), str(complete), expires_at, interval)


_UNUSABLE = "The identity provider sent a device code that cannot be used. Tell its admin."
_RAN_OUT = "The code expired before it was entered. Sign in again to get a new one."


def poll(exchange: Exchange, asked: Device, ended: threading.Event) -> Token | None:
    """Wait until the person has typed the code (RFC 8628 3.4), in real time.

    None when `ended` was set meanwhile.

    Raises `SignInRefused` when it was declined or ran out; a poll that gets no response is tried
    again.
    """
    interval, form = asked.interval, {"grant_type": DEVICE_CODE, "device_code": asked.device_code}
    while not ended.wait(interval):
        began = exchange.clock.time()
        if began >= asked.expires_at:
            raise SignInRefused(_RAN_OUT)
        try:
            _keys(exchange)
            response = as_client(exchange, form, [asked.device_code], again=False)
            token = read(exchange, response, began, [asked.device_code])
            return _first(exchange, token, response, None)
        except SignInRefused as error:
            if error.code == "slow_down":
                interval += INTERVAL_SECONDS
            elif error.code == "expired_token":
                raise SignInRefused(_RAN_OUT) from None
            elif error.code != "authorization_pending" and error.status < 500:
                raise
        except LabauthError:
            # RFC 8628 3.5: after a time-out, more slowly
            interval = max(interval, min(interval * 2, INTERVAL_MOST))
    return None


class OpenID(AuthorizationCode):
    """The same by OpenID Connect.

    Endpoints by discovery, an ID token bound by a nonce, a device code.
    """

    def find(self, exchange: Exchange) -> None:
        """As `AuthorizationCode.find`: by the issuer's metadata."""
        discover(exchange)

    def page(self, exchange: Exchange) -> str:
        """As there: the authorization endpoint that the metadata name."""
        return str(exchange.metadata["authorization_endpoint"])

    def parameters(self, exchange: Exchange, nonce: str | None) -> dict[str, str]:
        """As there, with scopes, claims and the nonce (OpenID Connect Core 3.1.2.1)."""
        asked = parameters(exchange)
        if "offline_access" in asked["scope"].split():
            asked["prompt"] = "consent"  # else it is to be ignored (OpenID Connect Core 11)
        return {**asked, "nonce": nonce} if nonce else asked

    def not_from(self, exchange: Exchange, issuer: str | None) -> str:
        """As there: by `iss` (RFC 9207)."""
        metadata = exchange.metadata
        if issuer is not None and issuer != metadata["issuer"]:
            return "is from a different identity provider (iss)"
        promised = metadata.get("authorization_response_iss_parameter_supported") is True
        return "does not name its identity provider (iss)" if promised and issuer is None else ""

    def redeem(self, exchange: Exchange, code: Code) -> Token:
        """As there; the ID token is checked too."""
        return redeem(exchange, code)

    def offers_device(self, exchange: Exchange) -> bool:
        """As there: by the metadata (RFC 8628 4)."""
        return offers_device(exchange)

    def device(self, exchange: Exchange) -> Device:
        """As there, at the endpoint that the metadata name."""
        return device(exchange) if offers_device(exchange) else super().device(exchange)

    def poll(self, exchange: Exchange, asked: Device, ended: threading.Event) -> Token | None:
        """As there; the ID token is checked too."""
        return poll(exchange, asked, ended)
