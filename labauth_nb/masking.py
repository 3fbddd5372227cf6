"""Secrets that do not show themselves: `Secret`, `Fields` and `scrub`."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Iterable
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


listeners: list[Callable[[list[str]], None]] = []
"""Called, by whichever thread, with what turned out to be secret: earlier cells may hold it."""


def noticed(secrets: Iterable[str]) -> None:
    """Tell the listeners that these are secrets. What goes wrong is only logged."""
    known = [str.__str__(secret) for secret in secrets if secret]
    for listener in list(listeners) if known else ():
        try:
            listener(known)
        except Exception as error:
            said = "A secret may still be in the history (%s)."
            logging.getLogger(__name__).warning(said, type(error).__name__)


WORDS = ("access_token", "api_key", "key", "pass", "passwd", "pwd", "secret", "token")
"""What people call a secret, beside the fields' own names."""
_LOOKS = (r"\bsk_[A-Za-z0-9_-]{8,}", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,2}")


_USERINFO = r"(?:(?<=//)|(?<!\S))[^\s/?#@:]*:[^\s/@]+@"
"""A user name and password in an address (RFC 3986 3.2.1)."""
MIXED_LEAST, READABLE_MOST = 20, 6
"""Characters: so long a mix of letters and digits is a secret, unless its pieces are readable."""

PLAIN_MOST = 20
"""No word that is longer is repeated, unless it is close to a known one."""


def holds_key(word: str) -> bool:
    """Whether an API key, a JWT, or an address with a password stands in `word`."""
    return any(re.search(pattern, word) for pattern in (*_LOOKS, _USERINFO))


def looks_secret(word: str) -> bool:
    """Whether `word` holds a key, or is a long mix of letters and digits that nobody can read out.

    An address is judged by the labels of its host: the path may be any page's.
    """
    scheme, host = re.findall(r"^(\w+://)?([^/?#]*)", word)[0]
    address = scheme or re.search(r"\.[A-Za-z]{2,}(:\d+)?$", host)
    parts = host.split(".") if address else [word]
    return holds_key(word) or any(_unreadable(part) for part in parts)


def shown(word: str) -> str:
    """`word` as a message may repeat it: in quotes if short and plain, as typos are; else not."""
    plain = len(word) <= PLAIN_MOST and re.fullmatch(r"[A-Za-z]?[a-z]*(?:[ _-][a-z]+)*", word)
    return repr(word) if plain else "'…' (not repeated here, in case it is a secret)"


def scrub_word(word: str) -> str:
    """`word` masked where it looks like a secret; else the parts of an address that do so."""
    if looks_secret(word):
        return MASK
    return re.sub(r"[^/?#&=]+", lambda part: MASK if looks_secret(part[0]) else part[0], word)


def _unreadable(word: str) -> bool:
    if len(word) < MIXED_LEAST or not re.search(r"\d", word) or not re.search(r"[^\W\d_]", word):
        return False
    parts = re.split(r"[-_.]", word)
    return not all(len(part) <= READABLE_MOST or part.isalpha() for part in parts)


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
