"""The authorization code grant and its refresh tokens, and how a client authenticates.

Sources: RFC 6749 2.3 (client authentication), 4.1 (authorization code), 6 (refresh); RFC 7636
(PKCE); RFC 7009 (revocation); RFC 8414 2 (what a server's metadata say).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from urllib.parse import quote_plus

import requests

from ..errors import InvalidInput, LoginExpired, ProviderError, SignInRefused
from ..masking import Secret
from ..responses import one_line, read_error
from .exchanges import BROKEN, Exchange, ask, basic, read, refused, send
from .token import Token


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
    """How the client may send its secret to the token endpoint or to `url`, best first.

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
        remedy = f"Ask its admin to allow {BASIC} for this client."
        raise InvalidInput(
            f"{exchange.title} accepts no client secret ({where}: "
            f"{one_line(', '.join(map(str, said)), 120)}). {public if 'none' in said else remedy}",
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
        response = request(
            exchange, verb="POST", url=url, secrets=secrets, data=data, headers=headers
        )
        if response.status_code != 401 and read_error(response)[0] not in NOT_THIS_WAY:
            exchange.auth_method = method
            break
    return response


def authorization_code(exchange: Exchange, previous: Token | None) -> Token:
    """Renew by the refresh token (RFC 6749 6).

    Where the response brings no new one, the old one stays (rotation or not).
    """
    if previous is None or previous.refresh_token is None:
        raise over()
    return replace(
        fresh := refresh(exchange, previous)[0],
        refresh_token=fresh.refresh_token or previous.refresh_token,
    )


def refresh(exchange: Exchange, previous: Token) -> tuple[Token, requests.Response]:
    """The token response to the refresh token, and the response itself.

    Raises `LoginExpired` when that token has expired or was revoked.
    """
    form = {"grant_type": "refresh_token", "refresh_token": previous.refresh_token or ""}
    began, secrets = exchange.clock.time(), previous.secrets()
    response = as_client(exchange, form, secrets)
    try:
        return read(exchange, response, began, secrets), response
    except SignInRefused as error:
        if error.code == "invalid_grant":
            raise over(
                f"{exchange.title} no longer accepts the refresh token of this sign-in."
            ) from None
        raise
    except ProviderError as error:
        error.repeats = error.status not in BROKEN
        raise


def over(
    why: str = "The token has expired, and nothing is kept that would renew it.",
) -> LoginExpired:
    """The error for a login that only the person can renew; `Login` adds what to type."""
    return LoginExpired(why)


def revoke_at(
    exchange: Exchange, url: str, token: Token, tokens: tuple[Secret | None, ...]
) -> None:
    """RFC 7009 2.1 for each of `tokens` that there is.

    Raises `SignInRefused`, `ProviderUnreachable`.
    """
    for one in filter(None, tokens):
        response = as_client(exchange, {"token": one}, token.secrets(), url, again=False)
        if response.status_code // 100 != 2:  # a redirect is not followed, so it revoked nothing
            raise refused(exchange, response, token.secrets())


@dataclass(frozen=True, repr=False)
class Device:
    """A device authorization (RFC 8628 3.2): what the person opens and types; times in seconds."""

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_at: float
    interval: float


class AuthorizationCode:
    """What a sign-in in a browser does by the authorization code grant (RFC 6749 4.1)."""

    def find(self, exchange: Exchange) -> None:
        """Find the endpoints, where they are not known. Raises what discovery does."""

    def page(self, exchange: Exchange) -> str:
        """The address of the authorization endpoint."""
        assert exchange.method.flow is not None
        return exchange.auth_origin + exchange.method.flow.authorize

    def parameters(self, exchange: Exchange, nonce: str | None) -> dict[str, str]:
        """What is asked for there, beside what every code is bound to."""
        scopes = exchange.fields.get("scopes", "")
        return {"scope": scopes} if scopes else {}

    def not_from(self, exchange: Exchange, issuer: str | None) -> str:
        """Why a response with this `iss` is somebody else's (RFC 9207 2.4); "": it is not."""
        return ""

    def redeem(self, exchange: Exchange, code: Code) -> Token:
        """The token for an authorization code. Raises `SignInRefused`, `ProviderUnreachable`."""
        form = {
            "grant_type": "authorization_code",
            "code": code.code,
            "redirect_uri": code.redirect_uri,
        }
        if code.code_verifier:
            form["code_verifier"] = code.code_verifier
        began = exchange.clock.time()
        response = as_client(exchange, form, code.secrets())
        return read(exchange, response, began, code.secrets())

    def offers_device(self, exchange: Exchange) -> bool:
        """Whether a device code can be had (RFC 8628)."""
        return False

    def device(self, exchange: Exchange) -> Device:
        """A device code and a user code.

        Raises `InvalidInput` where there are none, `SignInRefused`, `ProviderUnreachable`.
        """
        raise InvalidInput(
            f"{exchange.title} offers no device code: open the sign-in page in a browser instead."
        )

    def poll(self, exchange: Exchange, asked: Device, ended: Event) -> Token | None:
        """The token, once the person has typed the code; None when `ended` was set meanwhile."""
        return None
