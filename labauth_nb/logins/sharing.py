"""One remembered login, many kernels: what is written for the next one, and which of them renews.

What the user typed is remembered (or the refresh token only, as the user chose), and the newest
token. What came from the environment or a file is not copied: it supplies itself again. A refresh
token may work once only: whoever renews holds the entry's lock, and the others take its token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from ..credentials import stores
from ..credentials.entries import CREDENTIALS, KINDS, REFRESH_TOKEN, Entry
from ..credentials.sources import Found
from ..credentials.stores import STORES, EntryHead, EntryRef
from ..credentials.trust import ASKED, GIVEN
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    SignInRefused,
    StoreUnavailable,
    nearest,
)
from ..masking import Fields
from ..providers import SERVER, Method, Provider
from ..tokens.exchanges import Exchange
from ..tokens.token import Token

AUTO = "auto"
"""`--remember` without a word: what suits the method."""
Grant = Callable[[Exchange, Token | None], Token]


class Renewal(Enum):
    """Whose token a renewal gave."""

    ADOPTED = "another kernel's, which was quicker"
    SHARED = "a new one, which the other kernels find in the entry"
    UNSHARED = "a new one that could not be written: this kernel goes on alone"


def what_to_remember(provider: Provider, method: Method, remember: str, store: str) -> str:
    """CREDENTIALS, REFRESH_TOKEN or "" (nothing), checked before anything is asked for.

    Raises `InvalidInput` for an unknown word, and where the method has nothing to remember.
    """
    if not remember:
        return ""
    if store not in STORES:
        raise nearest(store, STORES, "store")
    suits = REFRESH_TOKEN if method.flow and method.refreshes else CREDENTIALS
    kind = {AUTO: suits, "refresh_token": REFRESH_TOKEN}.get(remember, remember)
    if kind not in KINDS:
        raise InvalidInput(f"What is to be remembered? Choose one of: {', '.join(KINDS)}.")
    title = f"{provider.title} {method.name}"
    if kind == REFRESH_TOKEN and not method.refreshes:
        said = f"{title} has no refresh token"
        raise InvalidInput(f"{said}: write --remember {CREDENTIALS}, or leave it out.")
    if method.job_variable:
        raise InvalidInput("A job's token is not remembered: the job supplies it.")
    if method.flow and not method.refreshes:
        said = f"{title} gives nothing that could be remembered"
        raise InvalidInput(f"{said}: its token cannot be renewed without you.")
    return kind


@dataclass(frozen=True)
class SharedEntry:
    """An entry as one of the kernels that share it knows it.

    `entry_id`: the `Entry.id` that this kernel wrote or read; "": whosever entry stands there.
    """

    ref: EntryRef
    entry_id: str

    def renewed(
        self, exchange: Exchange, held: Token | None, previous: Token | None, grant: Grant
    ) -> tuple[Token, Renewal]:
        """The next token of this login, and whose it is.

        `held`: the token that this kernel has; `previous`: the same, or None where the provider
        refused it. Raises what `grant` raises, `LoginExpired` where another kernel logged out, and
        `StoreUnavailable` where the store fails and there is no secret to go on with.
        """
        token = None
        try:
            with self.ref.locked():
                entry = self._read()
                newer = _newer(entry, held, exchange)
                if newer is not None:
                    return newer, Renewal.ADOPTED
                base = _base(exchange, entry, held, previous)
                token = self._granted(exchange, entry, base, grant)
                sub = exchange.subject or None
                self.ref.write(replace(entry, token=token, pending=False, sub=sub))
                return token, Renewal.SHARED
        except StoreUnavailable:
            if token is not None:
                return token, self._unwritten(exchange)
            if not _has_secret(exchange):
                raise
            # From the secret: that burns nobody's refresh token.
            return grant(exchange, None), Renewal.SHARED
        except SignInRefused as error:
            if _has_secret(exchange) or error.code != "invalid_grant":
                raise
            said = f"{exchange.title} no longer accepts the refresh token of this sign-in."
            raise LoginExpired(said) from None

    def _read(self) -> Entry:
        """The entry, under its lock. Raises `LoginExpired` where another kernel has changed it."""
        entry, name = self.ref.read(), self.ref.name
        if entry is None and self.ref.listed():
            said = f"What is remembered of {name} is damaged or deleted"
            raise StoreUnavailable(f"{said}: sign in again with --remember.")
        if entry is None:
            raise LoginExpired(f"{name} was logged out in another kernel.")
        if entry.id != self.entry_id:
            raise LoginExpired(f"{name} was signed in again in another kernel.")
        return entry

    def _granted(self, exchange: Exchange, entry: Entry, base: Token | None, grant: Grant) -> Token:
        """What `grant` gives from `base`; the entry says `pending` while a refresh is under way."""
        if base is not None and base.refresh_token is not None:
            self.ref.write(replace(entry, pending=True))
        try:
            return grant(exchange, base)
        except LabauthError as error:
            if isinstance(error.spent, Token):
                self.ref.write(replace(entry, token=error.spent, pending=False))
            raise

    def _unwritten(self, exchange: Exchange) -> Renewal:
        """What becomes of the entry where a new token came and could not be written.

        This kernel goes on with it; no other may use the old refresh token again, and to delete
        that needs no space.
        """
        if _has_secret(exchange):
            return Renewal.SHARED
        with suppress(StoreUnavailable):
            self.ref.forget()
        return Renewal.UNSHARED

    def forget(self) -> tuple[str, Token | None]:
        """Remove the entry if it is still this login's: a message, and the newest token in it."""
        try:
            with self.ref.locked():
                entry = self.ref.read()
                if self.entry_id and (entry is None or entry.id != self.entry_id):
                    return "", None
                self.ref.forget()
                said = f"It is no longer remembered (it was in the {STORES[self.ref.store]})."
                return said, entry.token if entry else None
        except LabauthError as error:
            return f"It is still remembered: {error}", None


def _has_secret(exchange: Exchange) -> bool:
    """Whether a token can be had without the refresh token."""
    fields = exchange.method.fields
    wanting = [f for f in fields if not f.optional and f.name not in exchange.fields]
    return exchange.method.flow is None and not wanting


def _newer(entry: Entry, held: Token | None, exchange: Exchange) -> Token | None:
    """The entry's token, where another kernel was quicker and it is still good."""
    stored = entry.token
    if stored is None or exchange.clock.time() >= stored.renew_at:
        return None
    if held is None:
        return stored
    other = stored.access_token != held.access_token
    return stored if other and stored.issued_at >= held.issued_at else None


def _base(
    exchange: Exchange, entry: Entry, held: Token | None, previous: Token | None
) -> Token | None:
    """The token whose refresh token is used for the next one; None: begin with the secret."""
    # Where the provider refused a token, its family may be dead too; where a refresh was begun
    # and never ended, its refresh token may be used up.
    if _has_secret(exchange) and (entry.pending or (previous is None and held is not None)):
        return None
    known = [token for token in (entry.token, held) if token is not None]
    return max(known, key=lambda token: token.issued_at, default=None)


def remember(
    exchange: Exchange, found: Found, kind: str, ref: EntryRef, token: Token
) -> SharedEntry | None:
    """Remember a login that has just signed in; None where there is nothing to remember.

    `kind`: as `what_to_remember` gives it. Raises `StoreUnavailable` where it cannot be written.
    """
    if why := stores.unavailable(ref.store):
        raise StoreUnavailable(why)
    fields = _typed(exchange.method, found, kind)
    # Each kernel has a sandbox of its own.
    shares = exchange.method.issued_here and ref.tenant != "sandbox"
    if kind == REFRESH_TOKEN and (token.refresh_token is None or not shares):
        return None
    if not shares and not fields.secrets():
        return None
    entry = Entry(
        *ref.key,
        method=exchange.method.name,
        remember=kind,
        fields=fields,
        token=token if shares else None,
        sub=exchange.subject or None,
    )
    with ref.locked():
        there = ref.read()
        if there is not None and exchange.method.flow is None and _alike(there, entry):
            entry = replace(entry, id=there.id)  # another kernel did the same: they share it
        ref.write(entry)
    return SharedEntry(ref, entry.id)


def _typed(method: Method, found: Found, kind: str) -> Fields:
    """The fields to remember: what was typed, as far as `kind` wants it."""
    typed = (GIVEN, ASKED, *STORES)
    fields = Fields()
    for field in method.fields:
        if field.name not in found.fields:
            continue
        mine = found.sources.get(field.name) in typed and not field.once
        wanted = kind == CREDENTIALS or not field.secret or method.flow
        # What was remembered goes nowhere but to this address, whoever named it.
        if field.address == SERVER or (mine and wanted):
            fields[field.name] = found.fields[field.name]
    return fields


def _alike(one: Entry, other: Entry) -> bool:
    return (one.method, one.remember, one.fields) == (other.method, other.remember, other.fields)


def forgotten(head: EntryHead) -> str:
    """The message about an entry that was removed."""
    said = f"{head.name} ({head.tenant}) is no longer remembered"
    return f"{said} (it was in the {STORES[head.store]})."


def forget_each(heads: list[EntryHead]) -> list[str]:
    """Remove these entries; a message for each. Raises `StoreUnavailable`."""
    said = []
    for head in heads:
        head.ref.forget()
        said.append(forgotten(head))
    return said
