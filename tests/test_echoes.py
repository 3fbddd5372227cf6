"""A server that says back what it was sent: no error, name or response shows a secret of it."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labauth_nb.masking import MASK, scrub

TEXT = st.text(min_size=4, alphabet=st.characters(exclude_characters="*", codec="utf-8"))
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quote": quote,
    "quote all": lambda s: quote(s, safe=""),
    "quote lower": lambda s: "".join(c if c.isalnum() else quote(c).lower() for c in s),
    "quote plus": quote_plus,
    "quote twice": lambda s: quote(quote_plus(s), safe=""),
    "json": lambda s: json.dumps(s)[1:-1],
    "json text": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json slash": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json in json": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "html": html.escape,
    "latin-1": lambda s: s.encode().decode("latin-1"),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "base64 in a URL": lambda s: quote(base64.b64encode(s.encode()).decode().rstrip("="), safe=""),
    "form in base64": lambda s: base64.b64encode(quote_plus(s).encode()).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=TEXT)
def test_spellings(spelling: str, secret: str) -> None:
    """Whatever a secret is and however a server spells it: the whole of that spelling is masked."""
    spelt = SPELLINGS[spelling](secret)
    assert scrub(f"<{spelt}>", [secret]).replace("=", "") == f"<{MASK}>"


@given(st.binary(), TEXT, st.binary(), st.booleans())
def test_base64(before: bytes, secret: str, after: bytes, urlsafe: bool) -> None:
    """Whatever stands around a secret in base64: each character with a bit of it is masked."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    raw = secret.encode()
    coded = encode(before + raw + after).decode()
    first, last = 8 * len(before) // 6, -(-8 * (len(before) + len(raw)) // 6)
    pieces = scrub(coded, [secret]).split(MASK)
    assert len(pieces) >= 2
    assume(len(pieces) == 2)  # else the secret stands there twice
    assert coded.startswith(pieces[0])
    assert coded.endswith(pieces[1])
    assert len(pieces[0]) <= first
    assert len(pieces[1]) <= len(coded) - last


def test_masked_as_a_whole() -> None:
    """Secrets that overlap leave nothing of either, one that repeats itself no remainder."""
    assert scrub("-abcdefgh-", ["abcd", "bcdefgh"]) == f"-{MASK}-"
    assert scrub("-ababababab-", ["abababab"]) == f"-{MASK}-"
    assert scrub("-abc-", ["abc"]) == "-abc-"


@pytest.mark.parametrize("text", ["\\" * 200_000, "%25" * 70_000, "a" * 200_000, "QUFB" * 50_000])
def test_long_texts(text: str) -> None:
    """A long text made to slow the search down, without a secret, stays as it is, in seconds."""
    began = time.monotonic()
    assert scrub(text, ["/+secret" * 10, "a" * 30 + "b"]) == text
    assert time.monotonic() - began < 10
