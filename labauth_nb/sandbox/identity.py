"""The lab's identity provider as the sandbox plays it: OpenID Connect with PKCE, the device grant, keys that rotate."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import threading
import uuid
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Response, request
from jwt.algorithms import RSAAlgorithm

from .authorization import REFRESH_SECONDS, AuthorizationServer
from .lab import Lab, OldSite
from .pages import page, send_to
from .sites import Grant, Issued, refused, repeated
from .sites import respond as answer

CLIENT_ID = "sandbox-benchling-oidc"
CLIENT_SECRET = "sandbox-idp-client-secret"
NONE, BASIC, POST = "none", "client_secret_basic", "client_secret_post"
PRIVATE_KEY = "private_key_jwt"
"""How a client authenticates (RFC 7591 2); by a private key the sandbox's never does."""
SUBJECT, EMAIL, PASSWORD = "ada", "ada@sandbox.example", "sandbox-idp-password"
SCOPES = frozenset({"openid", "email", "profile", "offline_access"})
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_SECONDS, SLOWER = 600.0, 5.0
"""A device_code's life, and what each slow_down adds to its interval (RFC 8628 3.5)."""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
FAULTS = ("", "none", "hs256", "nonce", "aud", "iss", "expired", "no_email", "signature")

_lock = threading.Lock()
_made: list[rsa.RSAPrivateKey] = []


def _key(number: int) -> rsa.RSAPrivateKey:
    """The key of this number: made when first asked for, kept for the process."""
    with _lock:
        while len(_made) <= number:
            _made.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return _made[number]


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signing_key(idp: OldSite) -> tuple[str, rsa.RSAPrivateKey]:
    """(kid, key) that sign now. The kid is new after each `reset()`, so that tokens from before it are refused."""
    with idp.lab.lock:
        if not idp.keys:
            idp.keys[secrets.token_hex(8)] = _key(0)
        return next(iter(idp.keys.items()))


def rotate(idp: OldSite, keep_kid: bool) -> None:
    """See `Lab.rotate_keys`."""
    with idp.lab.lock:
        kid, key = signing_key(idp)
        idp.keys = {kid if keep_kid else secrets.token_hex(8): _key(_made.index(key) + 1)}


def id_token(idp: OldSite, scopes: frozenset[str] = SCOPES, nonce: str | None = None, family: str = "") -> str:
    """A new ID token for Benchling, spoiled as the flag `fault` says."""
    kid, key = signing_key(idp)
    fault, life, now = idp.flags["fault"], idp.flags["life"], int(idp.now)
    claims: dict[str, Any] = {"iss": idp.lab.origin("idp"), "sub": SUBJECT, "aud": CLIENT_ID, "jti": str(uuid.uuid4())}
    claims |= {"iat": now, "exp": int(idp.now + life)}
    if "email" in scopes and fault != "no_email":
        claims |= {"email": EMAIL, "email_verified": True}
    if nonce is not None:
        claims["nonce"] = nonce
    spoiled = {"nonce": "of-another-sign-in", "aud": "another-client", "iss": "https://another-idp.example"}
    claims |= {name: value for name, value in spoiled.items() if name == fault}
    if fault == "expired":
        claims |= {"iat": now - 7200, "exp": now - 3600}
    if fault == "none":
        return jwt.encode(claims, "", algorithm="none", headers={"kid": kid})
    signed = jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})
    body = signed.rpartition(".")[0]
    if fault == "signature":
        return f"{body}.{_base64url(secrets.token_bytes(256))}"
    if fault == "hs256":  # signed by anybody: the "secret" is the public key
        head = _base64url(f'{{"alg":"HS256","kid":"{kid}","typ":"JWT"}}'.encode())
        body = f"{head}.{body.partition('.')[2]}"
        secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return f"{body}.{_base64url(hmac.digest(secret, body.encode(), 'sha256'))}"
    with idp.lab.lock:  # in Benchling's book as well, so that the levers of either site end it
        issued = Issued(Grant(SUBJECT, scopes, family, CLIENT_ID), idp.now + life)
        idp.tokens[signed] = idp.lab.sites["benchling"].tokens[signed] = issued
    return signed


def email_in(idp: OldSite, token: str) -> str | None:
    """The e-mail address in `token`, if that is a good ID token of this provider for Benchling (OIDC Core 3.1.3.7)."""
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "email"]}
    try:
        key = idp.keys[jwt.get_unverified_header(token)["kid"]].public_key()
        claims = jwt.decode(token, key, ["RS256"], options, audience=CLIENT_ID, issuer=idp.lab.origin("idp"))
        good = idp.now < float(claims["exp"])
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return str(claims["email"]) if good else None


@dataclass
class Device:
    """A device that waits to be allowed; `end`: "", "allowed", "denied" or "used"."""

    user_code: str
    client_id: str
    scopes: frozenset[str]
    expires_at: float
    interval: float
    polled_at: float = 0.0
    end: str = ""


def site(lab: Lab) -> OldSite:
    """The site, in its first state."""

    def error(status: int, code: str, message: str) -> Response:
        return refused(status, code or ("invalid_request" if status < 500 else "server_error"), message)

    here = OldSite("idp", lab, error, lambda: error(404, "not_found", "There is nothing at this path"))
    flags, app = here.flags, here.app
    flags |= {"suspended": False, "life": 3600, "password": PASSWORD, "interval": 5, "device": True, "fault": ""}
    flags |= {"rotate": True, "refresh_life": REFRESH_SECONDS}
    flags |= {"client_auth": NONE, "client_secret": CLIENT_SECRET}
    flags["credentials"] = here.person = lambda *method: {"email": EMAIL, "password": flags["password"]}
    here.choices |= {"fault": FAULTS, "client_auth": (NONE, BASIC, POST, PRIVATE_KEY, "")}
    server = AuthorizationServer(here, {CLIENT_ID: True}, SCOPES, says_issuer=True)
    devices: dict[str, Device] = {}

    @app.get("/.well-known/openid-configuration")
    def configuration() -> Response:
        issuer = lab.origin("idp")
        offered = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "revocation_endpoint": f"{issuer}/revoke",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", *([DEVICE] if flags["device"] else [])],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": sorted(SCOPES),
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nonce", "email", "email_verified"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        if flags["client_auth"]:
            names = ("token_endpoint_auth_methods_supported", "revocation_endpoint_auth_methods_supported")
            offered |= {name: [flags["client_auth"]] for name in names}
        return answer(
            offered | ({"device_authorization_endpoint": f"{issuer}/device_authorization"} if flags["device"] else {})
        )

    @app.get("/jwks")
    def jwks() -> Response:
        kid, key = signing_key(here)
        return answer(
            {"keys": [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig", "alg": "RS256"}]}
        )

    def wrong() -> str:
        """What is wrong with the e-mail address and password typed: a sentence, or nothing."""
        typed = request.form.get("email", "").strip().lower(), request.form.get("password")
        return "" if typed == (EMAIL, flags["password"]) else "The e-mail address or the password is wrong."

    @app.route("/authorize", methods=["GET", "POST"])
    def authorize() -> Response:
        asked = server.asked()
        if isinstance(asked, Response):
            return asked
        if "openid" not in asked.scopes:
            return asked.back(error="invalid_scope", error_description="The scope openid is missing")
        if "none" in server.sent().get("prompt", "").split():  # OIDC Core 3.1.2.6: nobody stays signed in here
            return asked.back(error="login_required", error_description="The user must sign in")
        problem = ""
        if server.submitted():
            if (no := server.forged()) is not None:
                return no
            if request.form["choice"] == "deny":
                return asked.denied("The user declined")
            problem = wrong()
            if not problem:
                return asked.denied("The user is suspended") if flags["suspended"] else server.allowed(asked, SUBJECT)
            if server.wrong_again():
                return asked.denied("Too many wrong sign-ins")
        rows = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in sorted(asked.scopes))
        text = f"<p>The application <b>{asked.client_id}</b> asks for:</p><ul>{rows}</ul>"
        return server.form("Sign in to your lab", text, ("email", "password"), ("Sign in and allow", "Deny"), problem)

    def granted(scopes: frozenset[str], family: str, refresh_token: str = "", nonce: str | None = None) -> Response:
        body = {"access_token": here.issue(SUBJECT, flags["life"], scopes, family, client_id=CLIENT_ID)}
        body |= {"token_type": "Bearer", "expires_in": flags["life"], "scope": " ".join(sorted(scopes))}
        body["id_token"] = id_token(here, scopes, nonce, family)
        return answer(body | ({"refresh_token": refresh_token} if refresh_token else {}))

    def renewable(scopes: frozenset[str], family: str) -> str:
        """A refresh token, where it was asked for."""
        return server.new_refresh_token(CLIENT_ID, SUBJECT, scopes, family) if "offline_access" in scopes else ""

    def stranger() -> Response | None:
        """The refusal of a client that does not authenticate as the metadata say (RFC 6749 2.3.1).

        A public client may also be the user name of Basic, as some clients send it.
        """
        sent, basic = request.form, here.basic()
        if repeated(sent):
            return refused(400, "invalid_request", "A parameter is given twice")
        if basic is None:
            name, secret, method = sent.get("client_id"), sent.get("client_secret", ""), POST
        else:
            (name, secret), method = map(unquote_plus, basic), BASIC
            if sent.get("client_secret") or sent.get("client_id", name) != name:
                return refused(400, "invalid_request", "The client authenticates twice, or as two clients")
        method, wanted = method if secret else NONE, flags["client_auth"] or BASIC
        if (basic is None and "Authorization" in request.headers) or method != wanted:
            return refused(401, "invalid_client", f"The client must authenticate by {wanted}")
        if name != CLIENT_ID or (secret and secret != flags["client_secret"]):
            return refused(401, "invalid_client", "The client is unknown, or its secret is wrong")
        return None

    @app.post("/token")
    def token() -> Response:
        grant = request.form.get("grant_type")
        if not grant:
            return refused(400, "invalid_request", "grant_type is missing")
        if grant not in ("authorization_code", "refresh_token", DEVICE) or (grant == DEVICE and not flags["device"]):
            return refused(400, "unsupported_grant_type", f"Unsupported grant type {grant[:60]}")
        if (no := stranger()) is not None:
            return no
        with lab.lock:
            if flags["suspended"]:
                return refused(400, "invalid_grant", "The user is suspended")
            if grant == DEVICE:
                return for_device()
            return for_code() if grant == "authorization_code" else for_refresh_token()

    def for_code() -> Response:
        code = server.redeem(CLIENT_ID)
        if isinstance(code, Response):
            return code
        return granted(code.asked.scopes, code.family, renewable(code.asked.scopes, code.family), code.asked.nonce)

    def for_refresh_token() -> Response:
        found = server.refresh(CLIENT_ID)
        if isinstance(found, Response):
            return found
        issued, scopes = found
        return granted(
            scopes, issued.grant.family, renewable(issued.grant.scopes, issued.grant.family) if flags["rotate"] else ""
        )

    def for_device() -> Response:
        device = devices.get(request.form.get("device_code", ""))
        if device is None or device.end == "used":
            return refused(400, "invalid_grant", "The device_code is unknown, or was used before")
        if here.now >= device.expires_at:
            return refused(400, "expired_token", "The device_code has expired")
        too_fast = 0 <= here.now - device.polled_at < device.interval - 0.01  # a hundredth for rounding
        device.polled_at = here.now
        if too_fast:
            device.interval += SLOWER
            return refused(400, "slow_down", "Poll less often: 5 seconds more between two requests")
        if device.end == "denied":
            return refused(400, "access_denied", "The user declined")
        if device.end != "allowed":
            return refused(400, "authorization_pending", "The user has not decided yet")
        device.end, family = "used", str(uuid.uuid4())
        return granted(device.scopes, family, renewable(device.scopes, family))

    @app.post("/device_authorization")
    def device_authorization() -> Response:
        if not flags["device"]:
            return here.not_found()
        if (no := stranger()) is not None:
            return no
        scopes = frozenset(request.form.get("scope", "").split())
        if "openid" not in scopes or scopes - SCOPES:
            return refused(400, "invalid_scope", "The scope openid is missing, or another is unknown")
        letters = "".join(secrets.choice(LETTERS) for _ in range(8))
        device_code, user_code = secrets.token_urlsafe(32), f"{letters[:4]}-{letters[4:]}"
        with lab.lock:
            devices[device_code] = Device(user_code, CLIENT_ID, scopes, here.now + DEVICE_SECONDS, flags["interval"])
        uri = f"{lab.origin('idp')}/device"
        body = {"device_code": device_code, "user_code": user_code, "verification_uri": uri}
        body["verification_uri_complete"] = f"{uri}?user_code={user_code}"
        return answer(body | {"expires_in": int(DEVICE_SECONDS), "interval": flags["interval"]})

    def waiting(typed: str) -> Device | None:
        """The device that waits under this user code, however that is spelt."""
        letters = re.sub(r"[^A-Z]", "", typed.upper())
        found = (d for d in list(devices.values()) if d.user_code.replace("-", "") == letters)
        return next((d for d in found if not d.end and here.now < d.expires_at), None)

    @app.route("/device", methods=["GET", "POST"])
    def device_page() -> Response:
        typed, problem = request.form.get("user_code") or request.args.get("user_code", ""), ""
        if request.method == "POST":
            if (no := server.forged()) is not None:
                return no
            with lab.lock:
                device, end = waiting(typed), "denied"
                if device is None:
                    problem = "No device waits with this code: it is wrong, too old, or was used."
                elif request.form["choice"] == "allow":
                    end, problem = "allowed", wrong()
                    if server.wrong_again() if problem else flags["suspended"]:
                        end, problem = "denied", ""
                if device is not None and not problem:
                    device.end = end
                    return send_to(f"{lab.origin('idp')}/device/{end}")
        text = f"<p>A device wants to act for you, as the application <b>{CLIENT_ID}</b>. Is this the code that it shows?</p>"
        fields = ("user_code", "email", "password")
        return server.form("Connect a device", text, fields, ("Allow", "Deny"), problem, user_code=typed)

    @app.get("/device/<any(allowed,denied):end>")
    def device_end(end: str) -> Response:
        if end == "denied":
            return page("Not connected", "<p>The device was refused. You can close this page.</p>")
        return page("Connected", "<p>The device was allowed. You can close this page.</p>")

    @app.post("/revoke")
    def revoke() -> Response:
        no = stranger() or server.revoked(CLIENT_ID)
        return answer({}) if no is None else no

    @app.route("/userinfo", methods=["GET", "POST"])
    def userinfo() -> Response:
        token = here.bearer() or request.form.get("access_token")  # OIDC Core 5.3.1, RFC 6750 2.2
        issued = None if token is None or "." in token else here.good(token)  # an ID token is no access token
        if issued is None or flags["suspended"]:
            return refused(401, "invalid_token", "The token is missing, expired or revoked")
        return answer({"sub": SUBJECT} | ({"email": EMAIL, "email_verified": True} if "email" in issued.grant.scopes else {}))

    return here
