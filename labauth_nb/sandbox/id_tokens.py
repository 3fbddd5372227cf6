"""The identity provider's keys, and the ways to spoil an ID token."""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

FAULTS = ("", "none", "hs256", "nonce", "aud", "iss", "expired", "no_email", "signature")
"""What can be wrong with an ID token ("": nothing)."""
FOREIGN = {"aud": "another-client", "iss": "https://another-idp.example"}
FOREIGN |= {"nonce": "of-another-sign-in"}

_lock = threading.Lock()
_made: list[rsa.RSAPrivateKey] = []


def _key(number: int) -> rsa.RSAPrivateKey:
    """The key of this number: made when first asked for, kept for the process."""
    with _lock:
        while len(_made) <= number:
            _made.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return _made[number]


class Keys:
    """The one key that signs now, under a kid that is new after each reset of the sandbox.

    So tokens from before the reset are refused.
    """

    def __init__(self) -> None:
        self._kid, self._number = secrets.token_hex(8), 0

    @property
    def current(self) -> tuple[str, rsa.RSAPrivateKey]:
        """(kid, private key)."""
        return self._kid, _key(self._number)

    def rotate(self, keep_kid: bool) -> None:
        """A new key in place of the old one; `keep_kid`: under the old name."""
        self._kid = self._kid if keep_kid else secrets.token_hex(8)
        self._number += 1

    def published(self) -> list[dict[str, Any]]:
        """The public keys, as JWK (RFC 7517 5)."""
        kid, key = self.current
        use = {"kid": kid, "use": "sig", "alg": "RS256"}
        return [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | use]

    def claims(self, token: str, client_id: str, issuer: str) -> dict[str, Any]:
        """The claims of an ID token for `client_id`, if one of these keys signed it.

        Its times are not looked at. Errors: `jwt.PyJWTError`, and what odd JSON raises.
        """
        kid, key = self.current
        if jwt.get_unverified_header(token)["kid"] != kid:
            raise jwt.InvalidKeyError("unknown kid")
        unread = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf"), False)
        options: Any = unread | {"require": ["exp", "email"]}
        public = key.public_key()
        return jwt.decode(token, public, ["RS256"], options, audience=client_id, issuer=issuer)

    def sign(self, claims: dict[str, Any], fault: str) -> str:
        """An ID token with these claims, spoiled as `fault` (one of `FAULTS`) says."""
        kid, key = self.current
        claims = claims | {name: value for name, value in FOREIGN.items() if name == fault}
        if fault == "expired":
            claims |= {"iat": claims["iat"] - 7200, "exp": claims["iat"] - 3600}
        if fault == "no_email":
            claims = {name: value for name, value in claims.items() if not name.startswith("email")}
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
        return signed


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
