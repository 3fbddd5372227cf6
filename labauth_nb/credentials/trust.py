"""Where a secret may go: only to an address that a source at least as trusted as its own has named.

Trust falls in this order: typed or given; an admin's preset; the process environment; remembered,
or a file in the user's home; a file of the working tree, which came with whatever was cloned or
unpacked there. A file in the home or the working tree trusts no other of its kind: what it holds
goes where it says itself, or where something more trusted says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Trust(IntEnum):
    """How far a source is trusted to say where a secret goes, the least first."""

    TREE = 1
    HOME = 2
    ENVIRONMENT = 3
    PRESET = 4
    TYPED = 5
    BUILT_IN = 6


class Source(str):
    """Where a value came from.

    A word that code knows it by, how far it is trusted, the path of the file ("" for none); and for
    people `words` (credentials "from the environment") and `noun` ("the environment").
    """

    def __new__(
        cls, word: str, trust: Trust = Trust.TREE, file: str = "", words: str = "", noun: str = ""
    ) -> Source:
        """`word`: what code compares; the others are the attributes below."""
        new = super().__new__(cls, word)
        new.trust, new.file = trust, file
        new.noun = noun or word
        new.words = words or f"from {new.noun}"
        return new

    trust: Trust
    file: str
    words: str
    noun: str

    def but(self, trust: Trust) -> Source:
        """The same, trusted so far."""
        return Source(self, trust, self.file, self.words, self.noun)

    def named(self, *variables: str) -> str:
        """How a person says where a value came from, with the variables that it stands in."""
        names = ", ".join(filter(None, variables))
        return f"{self.words} ({names})" if names else self.words

    def place(self, variable: str = "", whole: bool = False) -> str:
        """Who names an address: the variable in the source, `whole`: with the path of the file."""
        where = f"{self.noun} ({_plain(self.file)})" if whole and self.file else self.noun
        return f"{variable} in {where}" if variable else where


def _plain(path: str) -> str:
    """`path` without what a terminal or a page obeys: whoever made the folder chose its name."""
    return "".join(c if c.isprintable() else "?" for c in path)


GIVEN = Source("you", Trust.TYPED, words="given in Python")
TYPED = Source("you", Trust.TYPED, words="typed here")
ASKED = Source("you, asked", Trust.TYPED, words="typed here")
CONFIG = Source("config", Trust.PRESET, words="preset by your admin", noun="your admin's preset")
ENVIRONMENT = Source("environment", Trust.ENVIRONMENT, noun="the environment")
DOTENV = Source(".env", Trust.TREE)
SANDBOX = Source("sandbox", Trust.BUILT_IN, noun="the sandbox")
DEFAULT = Source("default", Trust.BUILT_IN, words="by default")
LINE = Source("you", Trust.TREE, words="typed here", noun="the %labauth line of this cell")
"""A line of a notebook that names a host which is not the provider's own: notebooks are cloned,
too."""


def may_go(secret: Source, address: Source) -> bool:
    """Whether a secret from one source may go, unasked, to an address from the other."""
    if (secret, secret.trust, secret.file) == (address, address.trust, address.file):
        return True
    if secret.trust == address.trust:
        return secret.trust >= Trust.ENVIRONMENT
    return secret.trust < address.trust


@dataclass(frozen=True)
class Doubt:
    """A secret or a person is about to go to an address that nobody trusted as much has named.

    `address`: as it was resolved, with its scheme; `field`: what names it (tenant, issuer,
    redirect_uri), `comes_back`: whether it gets the code after the sign-in; `named_by`: who does,
    and `key`: what a yes is remembered by; `secrets`: what would go there, each with where it came
    from.
    """

    address: str
    field: str
    named_by: str
    key: str
    secrets: tuple[str, ...] = ()
    comes_back: bool = False

    def __str__(self) -> str:
        plain = (
            ", unencrypted (http), to whatever program listens there"
            if self.address.startswith("http:")
            else ""
        )
        what = f"Your {' and '.join(self.secrets)} would be sent to {self.address}{plain}."
        if self.comes_back:
            what = f"After the sign-in your browser would take its code to {self.address}."
        elif not self.secrets:
            what = f"You would sign in at {self.address}."
        return f"{what} Only {self.named_by} names that address."
