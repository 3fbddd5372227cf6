"""Secrets that do not show themselves: `Secret`, `Fields` and `scrub`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

MASK = "***"


class Secret(str):
    """A string whose repr is a mask, so that a traceback, a dict or a debugger that shows it shows nothing.

    It is a `str` all the same: requests and PyJWT take it as it is, and `str.__str__(secret)` is the value.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled: sign in again in the other process.")


class Fields(dict[str, str]):
    """What the user gave, field by field; the secret values are `Secret`."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled: sign in again in the other process.")

    def secrets(self) -> list[str]:
        """The secret values among these."""
        return [value for value in self.values() if isinstance(value, Secret)]


def _spellings(secret: str) -> set[str]:
    raw = secret.encode()
    plain = {secret, quote(secret, safe=""), quote_plus(secret)}
    return plain | {base64.b64encode(raw).decode(), base64.b64encode(raw + b":").decode()}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of `secrets`: as they are, URL-encoded or in base64 (servers echo what they were sent)."""
    spellings = {s for secret in secrets if len(secret) >= 4 for s in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


def scrub_code(code: str, names: Iterable[str]) -> str:
    """Source code without the values given to `names` (``--client-secret x``, ``client_secret="x"``), API keys or JWTs."""
    dashed = "|".join(re.escape(name).replace("_", "[-_]") for name in sorted(names, key=len, reverse=True))
    patterns: tuple[tuple[str, Any], ...] = (
        (rf"""(--(?:{dashed})(?:\s*=\s*|\s+))("[^"\n]*"|'[^'\n]*'|[^\s"']\S*)""", rf"\1{MASK}"),
        (rf"""(\b(?:{dashed})["']?\s*[=:]\s*[rbuRBU]?)("[^"\n]*"|'[^'\n]*')""", rf"\1'{MASK}'"),
        (r"\bsk_[A-Za-z0-9_-]{8,}", MASK),
        (r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,2}", MASK),
    )
    for pattern, replacement in patterns:
        code = re.sub(pattern, replacement, code)
    return code
