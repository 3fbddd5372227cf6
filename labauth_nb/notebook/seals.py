"""What a person types, sealed on its way from the page to this kernel.

The page encrypts it with a public key that the kernel made for one message. So whatever lies
between them holds ciphertext only: the websocket's logs, a proxy's, ipykernel's --debug log, and
the message that the kernel keeps as its parent. ECDH on P-256, HKDF-SHA-256 (RFC 5869) and
AES-256-GCM (NIST SP 800-38D) are what every browser offers; the page's side is "Sealing." in
panel.js.

It is no defense against somebody who can change what the page receives: they could give it a key of
their own. That is what https is for.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from ..masking import Secret
from .cards import SealState

CLEAR = ("type", "method", "name", "remember", "number")
"""What a page's message says that is no secret. It stands beside the sealed text, which is bound
to it: in another message it does not open."""
LABEL = b"labauth-nb seal 1"
"""What the derived key is for (RFC 5869 section 3.2)."""
IV_BYTES = 12
"""NIST SP 800-38D section 8.2.2; the key works once, so no IV comes twice."""

_USED = (
    "Nothing was submitted: this page used a one-time key that the kernel does not accept any more."
    " Type it again and submit; the page has a new key."
)
_UNREADABLE = (
    "Nothing was submitted: the kernel cannot decrypt what this page sent. It was changed on its"
    " way, or the page runs another version of labauth_nb. Reload the page and type it again."
)


class Seals:
    """The keys of one panel: one at a time, each good for one message."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._id, self._key = "", None

    _key: Any
    """The private key; None: there is none yet, or it was used."""

    def state(self) -> SealState | None:
        """The key for the page's next message: a raw point (SEC 1 section 2.3.3) in base64.

        None where the package `cryptography` is missing.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            return None
        with self._lock:
            if self._key is None:
                self._id = secrets.token_hex(8)
                self._key = ec.generate_private_key(ec.SECP256R1())
            return {"id": self._id, "key": base64.b64encode(_point(self._key)).decode()}

    def opened(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """`message` with what was typed, as `Secret`, in the place of its sealed text.

        `sealed` is {id, key, iv, text}: which of our keys, the page's own, both in base64 as are
        the IV and the text with its tag. A message without it comes back as it is. A key is used
        up by the first message that names it, also by one that does not open.

        Raises `InvalidInput` for a key that is not ours or was used, and for what does not open.
        """
        sealed = message.get("sealed")
        if sealed is None:
            return dict(message)
        named = sealed.get("id") if isinstance(sealed, dict) else None
        with self._lock:
            known = self._key is not None and named == self._id
            key, self._key = (self._key, None) if known else (None, self._key)
        if key is None:
            raise InvalidInput(_USED)
        typed = _typed(key, sealed, about(message))
        if typed is None:  # raised here, where no frame holds what was typed
            raise InvalidInput(_UNREADABLE)
        return {name: message[name] for name in CLEAR if name in message} | typed


def about(message: Mapping[str, Any]) -> bytes:
    """What a sealed text is bound to: the clear part of its message.

    The additional data of NIST SP 800-38D section 7. The page writes the same: `about` in panel.js.
    """
    clear = ["" if message.get(name) is None else str(message[name]) for name in CLEAR]
    text = json.dumps(clear, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")


def _typed(key: Any, sealed: Mapping[str, Any], bound: bytes) -> dict[str, Any] | None:
    """What was typed: its fields, its text, or both. None for what does not open."""
    from cryptography.exceptions import InvalidTag

    try:
        page, iv, text = (base64.b64decode(sealed[n], validate=True) for n in ("key", "iv", "text"))
        plain = json.loads(_decrypted(key, page, iv, text, bound))
    except (InvalidTag, KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(plain, dict):
        return None
    fields, answer = plain.get("fields"), plain.get("text")
    found: dict[str, Any] = {"text": Secret(answer)} if isinstance(answer, str) else {}
    if isinstance(fields, dict):
        found["fields"] = {k: Secret(v) for k, v in fields.items() if isinstance(v, str)}
    return found or None


def _decrypted(key: Any, page: bytes, iv: bytes, text: bytes, bound: bytes) -> bytes:
    """The plain text. Raises `ValueError` for what is no point or IV, `InvalidTag`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if len(iv) != IV_BYTES:
        raise ValueError
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), page)
    # Both public keys are in it, so that it is a key of this pair alone.
    derive = HKDF(hashes.SHA256(), length=32, salt=None, info=LABEL + _point(key) + page)
    return AESGCM(derive.derive(key.exchange(ec.ECDH(), theirs))).decrypt(iv, text, bound)


def _point(key: Any) -> bytes:
    """The public half of `key`, uncompressed: 65 bytes."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: bytes = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return public
