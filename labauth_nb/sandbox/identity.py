"""The identity provider as the sandbox plays it: OpenID Connect with PKCE, and the device grant.

Sources: OpenID Connect Core and Discovery, RFC 6749, 7009, 7636, 8628, 9207.
"""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass, replace
from html import escape
from typing import Any
from urllib.parse import unquote_plus

import jwt
from flask import Response, request

from .id_tokens import FAULTS, Keys
from .levers import Lever
from .oauth import RefreshingSite
from .pages import Form, page, send_to
from .sites import Grant, Issued, Refusal, Shared, get, post, refuse, refused, repeated, respond

CLIENT_ID = "sandbox-benchling-oidc"
CLIENT_SECRET = "sandbox-idp-client-secret"
NONE, BASIC, POST = "none", "client_secret_basic", "client_secret_post"
PRIVATE_KEY = "private_key_jwt"
"""How a client authenticates (RFC 7591 2); by a private key the sandbox's never does."""
SUBJECT, EMAIL, PASSWORD = "ada", "ada@sandbox.example", "sandbox-idp-password"
SCOPES = frozenset({"openid", "email", "profile", "offline_access"})
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = ("authorization_code", "refresh_token", DEVICE)
DEVICE_SECONDS, SLOWER = 600.0, 5.0
"""A device_code's life, and what each slow_down adds to its interval (RFC 8628 3.5)."""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nonce", "email", "email_verified")


@dataclass
class Device:
    """A device that waits to be allowed; `end`: "", "allowed", "denied" or "used".

    Seconds: `expires_at` and `polled_at` since the epoch, `interval` between two polls.
    """

    user_code: str
    client_id: str
    scopes: frozenset[str]
    expires_at: float
    interval: float
    polled_at: float = 0.0
    end: str = ""


class IdentityProvider(RefreshingSite):
    """One person and one client, which is Benchling's. `devices`: device_code -> who waits."""

    name = "idp"
    clients = {CLIENT_ID: True}  # noqa: RUF012 (the base declares it)
    known_scopes = SCOPES
    says_issuer = True
    life = Lever(3600, "seconds", "how long an ID token and its access token live")
    password = Lever(PASSWORD, "text", "the person's password")
    device = Lever(True, "True or False", "the device grant is offered")
    interval = Lever[float](5, "seconds", "between two polls for a device code")
    fault = Lever("", "text", "what is wrong with new ID tokens", FAULTS)
    client_auth = Lever(
        NONE,
        "text",
        'how the client has to authenticate; "": the metadata do not say, so Basic',
        (NONE, BASIC, POST, PRIVATE_KEY, ""),
    )
    client_secret = Lever(CLIENT_SECRET, "text", "the secret that the client has then")

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.keys = Keys()
        self.devices: dict[str, Device] = {}

    def credentials(self, method: str) -> dict[str, str]:
        """What the person types, whatever the method."""
        return self.person()

    def person(self) -> dict[str, str]:
        """E-mail address and password."""
        return {"email": EMAIL, "password": self.password}

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """RFC 6749's shape."""
        usual = "invalid_request" if status < 500 else "server_error"
        return refused(status, code or usual, message)

    def not_found(self) -> Response:
        """404 in the same shape."""
        return self.error(404, "not_found", "There is nothing at this path")

    # Metadata

    @get("/.well-known/openid-configuration")
    def configuration(self) -> Response:
        """The metadata (Discovery 3), as the levers `device` and `client_auth` have it."""
        issuer = self.lab.origin("idp")
        offered: dict[str, Any] = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "revocation_endpoint": f"{issuer}/revoke",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": [g for g in GRANTS if self.device or g != DEVICE],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": sorted(SCOPES),
            "claims_supported": CLAIMS,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        if self.client_auth:
            for endpoint in ("token", "revocation"):
                name = f"{endpoint}_endpoint_auth_methods_supported"
                offered[name] = [self.client_auth]
        if self.device:
            offered["device_authorization_endpoint"] = f"{issuer}/device_authorization"
        return respond(offered)

    @get("/jwks")
    def jwks(self) -> Response:
        """``{"keys": [...]}`` (RFC 7517 5)."""
        return respond({"keys": self.keys.published()})

    # ID tokens

    def rotate_keys(self, keep_kid: bool) -> None:
        """See `Lab.rotate_keys`."""
        with self.lab.lock:
            self.keys.rotate(keep_kid)

    def id_token(self, grant: Grant | None = None, nonce: str | None = None) -> str:
        """A new ID token for Benchling (by default for all scopes), as the lever `fault` says."""
        grant = grant or Grant(SUBJECT, SCOPES, client_id=CLIENT_ID)
        claims: dict[str, Any] = {"iss": self.lab.origin("idp"), "sub": SUBJECT, "aud": CLIENT_ID}
        claims |= {"jti": str(uuid.uuid4())}
        claims |= {"iat": int(self.now), "exp": int(self.now + self.life)}
        if "email" in grant.scopes:
            claims |= {"email": EMAIL, "email_verified": True}
        if nonce is not None:
            claims["nonce"] = nonce
        signed = self.keys.sign(claims, self.fault)
        if self.fault not in ("none", "signature", "hs256"):
            # In Benchling's book as well, so that the levers of either site end it.
            with self.lab.lock:
                issued = Issued(grant, self.now + self.life)
                self.tokens[signed] = self.lab.sites["benchling"].tokens[signed] = issued
        return signed

    def email_in(self, token: str) -> str | None:
        """The e-mail address in a good ID token for Benchling (Core 3.1.3.7), else None."""
        try:
            claims = self.keys.claims(token, CLIENT_ID, self.lab.origin("idp"))
            good = self.now < float(claims["exp"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None
        return str(claims["email"]) if good else None

    # Signing in

    def _wrong(self) -> str:
        """What is wrong with the e-mail address and password typed: a message, or nothing."""
        typed = request.form.get("email", "").strip().lower(), request.form.get("password")
        good = typed == (EMAIL, self.password)
        return "" if good else "The e-mail address or the password is wrong."

    @get("/authorize")
    @post("/authorize")
    def authorize(self) -> Response:
        """The sign-in page (Core 3.1.2); errors go to redirect_uri (3.1.2.6)."""
        asked, problem = self.asked(), ""
        if "openid" not in asked.scopes:
            message = "The scope openid is missing"
            return asked.back(error="invalid_scope", error_description=message)
        if "none" in self.sent().get("prompt", "").split():  # nobody stays signed in here
            return asked.back(error="login_required", error_description="The user must sign in")
        if choice := self.submitted():
            if choice == "deny":
                return asked.denied("The user declined")
            problem = self._wrong()
            if not problem and self.suspended:
                return asked.denied("The user is suspended")
            if not problem:
                return self.allowed(asked, SUBJECT)
            if self.wrong_again():
                return asked.denied("Too many wrong sign-ins")
        rows = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in sorted(asked.scopes))
        text = f"<p>The application <b>{asked.client_id}</b> asks for:</p><ul>{rows}</ul>"
        fields, buttons = ("email", "password"), ("Sign in and allow", "Deny")
        return self.form(Form("Sign in to your lab", text, fields, buttons, problem))

    # The token endpoint

    def _authenticate(self) -> None:
        """Refuse a client that does not authenticate as the metadata say (RFC 6749 2.3.1).

        A public client may also be the user name of Basic, as some clients send it.
        """
        sent, basic = request.form, self.basic()
        if repeated(sent):
            refuse(400, "invalid_request", "A parameter is given twice")
        if basic is None:
            name, secret, method = sent.get("client_id"), sent.get("client_secret", ""), POST
        else:
            (name, secret), method = map(unquote_plus, basic), BASIC
            if sent.get("client_secret") or sent.get("client_id", name) != name:
                message = "The client authenticates twice, or as two clients"
                refuse(400, "invalid_request", message)
        method, wanted = method if secret else NONE, self.client_auth or BASIC
        if (basic is None and "Authorization" in request.headers) or method != wanted:
            refuse(401, "invalid_client", f"The client must authenticate by {wanted}")
        if name != CLIENT_ID or (secret and secret != self.client_secret):
            refuse(401, "invalid_client", "The client is unknown, or its secret is wrong")

    @post("/token")
    def token(self) -> Response:
        """Tokens for a code, a refresh token or a device code (Core 3.1.3, 12; RFC 8628 3.4)."""
        grant = request.form.get("grant_type")
        if not grant:
            refuse(400, "invalid_request", "grant_type is missing")
        if grant not in GRANTS or (grant == DEVICE and not self.device):
            refuse(400, "unsupported_grant_type", f"Unsupported grant type {grant[:60]}")
        self._authenticate()
        with self.lab.lock:
            if self.suspended:
                refuse(400, "invalid_grant", "The user is suspended")
            if grant == DEVICE:
                return self._for_device()
            if grant == "authorization_code":
                code = self.redeem(CLIENT_ID)
                return self._granted(code.grant(CLIENT_ID), nonce=code.asked.nonce)
            found, scopes = self.refreshed(CLIENT_ID)
            return self._granted(replace(found, scopes=scopes), found, again=self.rotate)

    def _granted(
        self,
        grant: Grant,
        family: Grant | None = None,
        nonce: str | None = None,
        again: bool = True,
    ) -> Response:
        """A token response (Core 3.1.3.3).

        With a refresh token, for `family` (the scopes granted at first), where offline_access was
        asked for and `again` says so.
        """
        family = family or grant
        body: dict[str, Any] = {"access_token": self.issue(grant, self.life)}
        body |= {"token_type": "Bearer", "expires_in": self.life}
        body |= {"scope": " ".join(sorted(grant.scopes)), "id_token": self.id_token(grant, nonce)}
        if again and "offline_access" in family.scopes:
            body["refresh_token"] = self.new_refresh_token(family)
        return respond(body)

    def _for_device(self) -> Response:
        """Tokens, or authorization_pending, slow_down, expired_token, access_denied (8628 3.5)."""
        device = self.devices.get(request.form.get("device_code", ""))
        if device is None or device.end == "used":
            refuse(400, "invalid_grant", "The device_code is unknown, or was used before")
        if self.now >= device.expires_at:
            refuse(400, "expired_token", "The device_code has expired")
        # A hundredth for rounding.
        too_fast = 0 <= self.now - device.polled_at < device.interval - 0.01
        device.polled_at = self.now
        if too_fast:
            device.interval += SLOWER
            message = "Poll less often: 5 seconds more between two requests"
            refuse(400, "slow_down", message)
        if device.end == "denied":
            refuse(400, "access_denied", "The user declined")
        if device.end != "allowed":
            refuse(400, "authorization_pending", "The user has not decided yet")
        device.end = "used"
        return self._granted(Grant(SUBJECT, device.scopes, str(uuid.uuid4()), CLIENT_ID))

    @post("/revoke")
    def revoke(self) -> Response:
        """RFC 7009: ``{}``, for an unknown token as well."""
        self._authenticate()
        self.revoke_named(CLIENT_ID)
        return respond({})

    # Devices

    @post("/device_authorization")
    def device_authorization(self) -> Response:
        """A device_code and the user_code that belongs to it (RFC 8628 3.2)."""
        if not self.device:
            return self.not_found()
        self._authenticate()
        scopes = frozenset(request.form.get("scope", "").split())
        if "openid" not in scopes or scopes - SCOPES:
            message = "The scope openid is missing, or another is unknown"
            refuse(400, "invalid_scope", message)
        letters = "".join(secrets.choice(LETTERS) for _ in range(8))
        device_code, user_code = secrets.token_urlsafe(32), f"{letters[:4]}-{letters[4:]}"
        until = self.now + DEVICE_SECONDS
        with self.lab.lock:
            device = Device(user_code, CLIENT_ID, scopes, until, self.interval)
            self.devices[device_code] = device
        uri = f"{self.lab.origin('idp')}/device"
        body = {"device_code": device_code, "user_code": user_code, "verification_uri": uri}
        body["verification_uri_complete"] = f"{uri}?user_code={user_code}"
        return respond(body | {"expires_in": int(DEVICE_SECONDS), "interval": self.interval})

    def _waiting(self, typed: str) -> Device | None:
        """The device that waits under this user code, however that is spelled."""
        letters = re.sub(r"[^A-Z]", "", typed.upper())
        found = (d for d in list(self.devices.values()) if d.user_code.replace("-", "") == letters)
        return next((d for d in found if not d.end and self.now < d.expires_at), None)

    @get("/device")
    @post("/device")
    def device_page(self) -> Response:
        """Where the person types the user_code and allows the device (RFC 8628 3.3)."""
        typed = request.form.get("user_code") or request.args.get("user_code", "")
        problem = ""
        if request.method == "POST":
            choice = self.choice()
            with self.lab.lock:
                problem = self._decide(self._waiting(typed), choice)
        who = f"as the application <b>{CLIENT_ID}</b>"
        text = f"<p>A device wants to act for you, {who}. Is this the code that it shows?</p>"
        fields, filled = ("user_code", "email", "password"), {"user_code": typed}
        buttons = ("Allow", "Deny")
        return self.form(Form("Connect a device", text, fields, buttons, problem, filled))

    def _decide(self, device: Device | None, choice: str) -> str:
        """End the wait of `device`, and go to a page that says how; else what is wrong."""
        if device is None:
            return "No device waits with this code: it is wrong, too old, or was used."
        end = "denied"
        if choice == "allow":
            end, problem = "allowed", self._wrong()
            if problem and not self.wrong_again():
                return problem
            if problem or self.suspended:
                end = "denied"
        device.end = end
        raise Refusal(send_to(f"{self.lab.origin('idp')}/device/{end}"))

    @get("/device/<any(allowed,denied):end>")
    def device_end(self, end: str) -> Response:
        """How it ended, for the person."""
        title = "Connected" if end == "allowed" else "Not connected"
        said = "allowed" if end == "allowed" else "refused"
        return page(title, f"<p>The device was {said}. You can close this page.</p>")

    # The person

    @get("/userinfo")
    @post("/userinfo")
    def userinfo(self) -> Response:
        """``{"sub", "email", "email_verified"}`` (Core 5.3), the last two for the scope email."""
        token = self.bearer() or request.form.get("access_token")  # Core 5.3.1, RFC 6750 2.2
        # An ID token is not an access token.
        issued = None if token is None or "." in token else self.good(token)
        if issued is None or self.suspended:
            refuse(401, "invalid_token", "The token is missing, expired or revoked")
        email = {"email": EMAIL, "email_verified": True} if "email" in issued.grant.scopes else {}
        return respond({"sub": SUBJECT} | email)
