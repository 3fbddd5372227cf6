"""Secrets that do not show themselves: `Secret`, `Fields` and `scrub`."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NoReturn
from urllib.parse import quote_plus

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
