"""Secrets that do not show themselves: `Secret`, `Fields` and `scrub`."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import NoReturn
from urllib.parse import quote_plus

MASK = "***"


class Secret(str):
    """A string whose repr is a mask, so that a traceback or a debugger shows nothing of it.

    It is a `str` all the same: requests and PyJWT take it as it is, and `str.__str__(secret)` is
    the value.
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


@lru_cache(maxsize=4096)
def _letter(c: str) -> str:
    """A pattern for `c`: as it is, or as a URL, JSON or HTML spells it, once or more."""
    if c.isascii() and c.isalnum():
        return c
    raw, units = c.encode(errors="surrogatepass"), c.encode("utf-16-be", "surrogatepass").hex()
    short = json.dumps(c)[1:-1].lstrip("\\")
    found = ["".join(f"%(?:25){{0,2}}{byte:02x}" for byte in raw), f"&#(?:{ord(c)}|x{ord(c):x});"]
    found += ["".join(rf"\\{{1,4}}u{units[at : at + 4]}" for at in range(0, len(units), 4))]
    found += ["[ +]", "%(?:25){0,2}2b"] if c in " +" else []
    read = {html.escape(c), raw.decode("latin-1")} - {c}  # headers are read as Latin-1
    found += [*map(re.escape, read), rf"\\{{1,4}}{re.escape(short)}", rf"\\{{0,4}}{re.escape(c)}"]
    return f"(?i:{'|'.join(found)})"  # the shortest last: "%" is the beginning of "%25"


def _base64(raw: bytes, shift: int) -> str:
    """A pattern for `raw` in base64 of either alphabet, `shift` bytes (mod 3) into the text.

    It begins with the first character that only `raw` decides (where `shift` is not 0, the one
    before has bits of `raw` too) and ends with the last one that has bits of it.
    """
    coded = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
    core = coded[-(-8 * shift // 6) : 8 * (shift + len(raw)) // 6]
    folded = {"+": f"(?:{_letter('+')}|-)", "/": f"(?:{_letter('/')}|_)"}
    return "".join(folded.get(c, c) for c in core) + (r"[\w+/-]?" if (shift + len(raw)) % 3 else "")


@lru_cache(maxsize=64)
def _pattern(secret: Secret) -> re.Pattern[str]:
    """Whatever shows `secret`. Group 1: base64 where the character before has some of its bits."""
    forms = {secret, quote_plus(secret.encode(errors="surrogatepass")), json.dumps(secret)[1:-1]}
    raws = [form.encode(errors="surrogatepass") for form in sorted(forms)]
    found = ["".join(map(_letter, secret)), *(f"(?i:{raw.hex()})" for raw in raws)]
    found += [_base64(raw, 0) for raw in raws]
    shifted = [_base64(raw, shift) for raw in raws for shift in (1, 2)]
    return re.compile(Secret(f"{'|'.join(found)}|({'|'.join(shifted)})"))


def scrub(text: str, secrets: Collection[str]) -> str:
    """`text` without `secrets` of 4 characters or more: servers say back what they were sent.

    A secret is found as it is, as URLs, JSON and HTML escape it, in hex, and in base64 at each
    alignment; an Authorization header with its scheme and without (RFC 7617, RFC 6750).
    """
    bare = (s.partition(" ")[2] for s in secrets if s.startswith(("Basic ", "Bearer ")))
    spans: list[tuple[int, int]] = []
    for secret in {s for s in (*secrets, *bare) if len(s) >= 4}:
        pattern, start = _pattern(Secret(secret)), 0
        while match := pattern.search(text, start):
            spans.append((max(match.start() - (match.lastindex or 0), 0), match.end()))
            start = match.start() + 1  # they may overlap
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


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
"""Characters: so long a word is a secret, unless each of its pieces (so short, or as below) can be
read out."""
_READABLE = re.compile(r"\d{1,10}|\d{8}T\d{4,6}|[A-Za-z]*\d{1,4}[A-Za-z]*|[A-Za-z]+")
"""A number, a time, a word with a year or the like in it, a word."""

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
    return repr(word) if plain else "'…' (not shown, in case it is a secret)"


def scrub_word(word: str) -> str:
    """`word` masked where it looks like a secret; else the parts of an address that do so."""
    if looks_secret(word):
        return MASK
    return re.sub(r"[^/?#&=]+", lambda part: MASK if looks_secret(part[0]) else part[0], word)


def _unreadable(word: str) -> bool:
    return len(word) >= MIXED_LEAST and not all(map(_readable, re.split(r"[-_.]", word)))


def _readable(piece: str) -> bool:
    short = len(piece) <= READABLE_MOST and len(re.findall(r"\d+", piece)) <= 2
    return short or (
        bool(_READABLE.fullmatch(piece)) and len(re.findall("[a-z][A-Z]", piece)) <= READABLE_MOST
    )


def scrub_code(code: str, names: Iterable[str] = ()) -> str:
    """Source code without API keys, JWTs, and what is given to `names` (``--client-secret x``)."""
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
