"""Secrets that do not show themselves: `Secret`, `Fields` and `scrub`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "***"


class Secret(str):
    """A string whose repr is a mask, so that a traceback, a dict or a debugger that shows it shows nothing.

    It is a `str` all the same: requests and PyJWT take it as it is, and `str.__str__(secret)` is the value.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled: sign in again in the other process.")


class Fields(dict[str, str]):
    """What the user gave, field by field; the secret values are `Secret`."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled: sign in again in the other process.")

    def secrets(self) -> list[str]:
        """The secret values among these."""
        return [value for value in self.values() if isinstance(value, Secret)]


def spellings(secrets: Iterable[str]) -> set[str]:
    """Each of `secrets` as it is, URL-encoded, and in base64 (alone and as the user name of Basic authentication)."""
    found: set[str] = set()
    for secret in secrets:
        raw = secret.encode(errors="surrogatepass")
        if len(secret) >= 4:
            found |= {secret, quote(raw, safe=""), quote_plus(raw)}
            found |= {base64.b64encode(raw).decode(), base64.b64encode(raw + b":").decode()}
    return found


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of `secrets`: as they are, URL-encoded or in base64 (servers echo what they were sent)."""
    for spelling in sorted(spellings(secrets), key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


WORDS = ("access_token", "api_key", "key", "pass", "passwd", "pwd", "secret", "token")
"""What people call a secret, beside the fields' own names."""
_LOOKS = (r"\bsk_[A-Za-z0-9_-]{8,}", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,2}")


def looks_secret(word: str) -> bool:
    """Whether `word` could be a secret: an API key, a JWT, or a long mix of letters and digits."""
    mixed = len(word) >= 20 and any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    return mixed or any(re.search(pattern, word) for pattern in _LOOKS)


def scrub_code(code: str, names: Iterable[str] = ()) -> str:
    """Source code without API keys and JWTs, and without what is given to `names` (``--client-secret x``, ``secret="x"``)."""
    for pattern in _LOOKS:
        code = re.sub(pattern, MASK, code)
    known = sorted({*names, *WORDS} if names else (), key=len, reverse=True)
    if not known:
        return code
    named = "|".join(re.escape(name).replace("_", "[-_]?") for name in known)
    quoted = r"""(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    option = rf"""((?<![\w-])--?(?:{named})(?:\s*=\s*|\s+))("[^"\n]*"|'[^'\n]*'|[^\s"']\S*)"""
    code = re.sub(option, rf"\1{MASK}", code, flags=re.I)
    given = rf"""((?:{named})["']?\s*(?::\s*\w+\s*)?[=:]\s*\(?\s*[rbu]?){quoted}"""
    return re.sub(given, rf"\1'{MASK}'", code, flags=re.I | re.S)
