"""Remembered logins: found again by the next kernel, and shared by many without burning each other's refresh token.

What is kept is what the user typed (or the refresh token only, as the user chose) and the newest token. What came from
the environment or a file is not copied: it supplies itself again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from ..credentials import sources, stores
from ..credentials.sources import Found
from ..credentials.stores import CREDENTIALS, FILE, KEYRING, REFRESH_TOKEN, Entry, Head, Memory
from ..credentials.trust import ASKED, GIVEN, Source, Trust
from ..errors import InvalidInput, LabauthError, LoginExpired, SignInRefused, StoreUnavailable, nearest
from ..masking import Fields
from ..providers import SERVER, Method, Provider
from ..tokens.exchanges import Exchange
from ..tokens.token import Token

AUTO = "auto"
PLACES = {KEYRING: "keyring", FILE: "file store"}
"""What the status calls the stores."""


ANOTHERS, OURS, ALONE = "another's", "ours", "alone"
"""Whose token a renewal gave: another kernel's newer one; a new one; a new one that could not be kept for the others."""


@dataclass(frozen=True, repr=False)
class Recall:
    """What was remembered of one login: the entry, and its place."""

    memory: Memory
    entry: Entry

    @property
    def source(self) -> Source:
        """Where it is kept, in the status' words."""
        word = PLACES[self.memory.store]
        return Source(word, Trust.HOME, phrase=f"your remembered login ({word})")


def chosen(provider: Provider, method: Method, remember: str | None, store: str) -> str:
    """What is to be kept ("" for nothing), checked before anything is asked for.

    Raises `InvalidInput` for a word that is not known.
    """
    if not remember:
        return ""
    if store not in PLACES:
        raise nearest(store, PLACES, "store")
    words = {AUTO: REFRESH_TOKEN if method.flow and method.refreshes else CREDENTIALS, "refresh_token": REFRESH_TOKEN}
    keeps = words.get(remember, remember)
    if keeps not in (CREDENTIALS, REFRESH_TOKEN):
        raise InvalidInput(f"What is to be remembered? Choose one of: {CREDENTIALS}, {REFRESH_TOKEN}.")
    if keeps == REFRESH_TOKEN and not method.refreshes:
        raise InvalidInput(
            f"{provider.title} {method.name} has no refresh token: write --remember {CREDENTIALS}, or leave it out."
        )
    if method.job_variable:
        raise InvalidInput("A job's token is not remembered: the job supplies it.")
    if method.flow and not method.refreshes:
        raise InvalidInput(
            f"{provider.title} {method.name} gives nothing that could be remembered: its token cannot be renewed without you."
        )
    return keeps


def _usable(provider: Provider, method: str, tenant: str) -> bool:
    """Whether this version knows that method and that tenant."""
    try:
        provider.method(method)
        sources.address_of(provider, provider.tenant, tenant)
    except InvalidInput:
        return False
    return True


def heads(provider: Provider, name: str, method: str | None, tenant: str | None) -> list[Head]:
    """What is remembered under `name`, for that method and that tenant where they are given."""
    found = [
        head
        for head in stores.remembered(provider.name, name)
        if method in (None, head.method) and _usable(provider, head.method, head.tenant)
    ]
    if tenant is None or not found:
        return found
    tenants = provider.tenant
    wanted = sources.address_of(provider, tenants, tenant)
    return [head for head in found if sources.address_of(provider, tenants, head.tenant) == wanted]


def recall(provider: Provider, name: str, method: str | None, tenant: str | None) -> Recall | None:
    """The remembered login `name`; None where there is none. Raises `InvalidInput` where several tenants fit."""
    found = heads(provider, name, method, tenant)
    if not found:
        return None
    if len(found) > 1:
        tenants = ", ".join(head.tenant for head in found)
        raise InvalidInput(f"{name} is remembered for several tenants: {tenants}. Say which with --tenant.")
    memory = found[0].memory()
    entry = memory.read()
    if entry is None or any(f.address == SERVER and f.name not in entry.fields for f in provider.method(entry.method).fields):
        return None  # without the address that it was kept with it may go nowhere
    return Recall(memory, entry)


def fits(found: Found, entry: Entry, secrets: bool = True) -> bool:
    """Whether what was found is what is remembered (else the environment has something newer, and shares no token).

    Without `secrets`: whether it is of the same client or user.
    """
    names = [name for name in entry.fields if secrets or name in ("client_id", "username", "issuer")]
    return all(found.fields.get(name) == entry.fields[name] for name in names)


def keep(exchange: Exchange, found: Found, keeps: str, memory: Memory, token: Token) -> Entry | None:
    """Remember a login that has just signed in; gives what was kept (None: nothing to keep).

    Raises `StoreUnavailable` where it cannot be kept.
    """
    if why := stores.unavailable(memory.store):
        raise StoreUnavailable(why)
    typed = (GIVEN, ASKED, *PLACES.values())
    kept = Fields()
    for field in exchange.method.fields:
        mine = found.sources.get(field.name) in typed and field.name in found.fields and not field.once
        where = field.address == SERVER and field.name in found.fields  # it goes nowhere else, whoever named it
        if where or (mine and (keeps == CREDENTIALS or not field.secret or exchange.method.flow)):
            kept[field.name] = found.fields[field.name]
    share = exchange.method.issued_here and memory.tenant != "sandbox"  # each kernel has a sandbox of its own
    if keeps == REFRESH_TOKEN and (token.refresh_token is None or not share):
        return None
    if not share and not kept.secrets():
        return None
    entry = Entry(
        provider=memory.provider,
        tenant=memory.tenant,
        name=memory.name,
        method=exchange.method.name,
        keeps=keeps,
        fields=kept,
        token=token if share else None,
        sub=exchange.subject or None,
    )
    with memory.locked():
        there = memory.read()
        same = there is not None and (there.method, there.keeps, there.fields) == (entry.method, keeps, kept)
        if there is not None and same and not exchange.method.flow:
            entry = replace(entry, id=there.id)  # another kernel did the same: they share it
        memory.write(entry)
    return entry


def renewed(
    exchange: Exchange,
    memory: Memory,
    mine: str,
    held: Token | None,
    previous: Token | None,
    grant: Callable[[Exchange, Token | None], Token],
) -> tuple[Token, str]:
    """The next token of a login that many kernels share, and whose it is: `ANOTHERS`, `OURS`, or `ALONE` from now on.

    `mine`: the id of the entry that this login belongs to; `held`: the token that this kernel has; `previous`: the same,
    or None where the provider refused it. All under the lock. Raises what `grant` raises, `LoginExpired` where another
    kernel logged out, and `StoreUnavailable` where the store fails and there is no secret to go on with.
    """
    wanting = [f for f in exchange.method.fields if not f.optional and f.name not in exchange.fields]
    alone = exchange.method.flow is None and not wanting
    token = None
    try:
        with memory.locked():
            entry = memory.read()
            if entry is None and memory.listed():
                said = f"What is remembered of {memory.name} is damaged or deleted"
                raise StoreUnavailable(f"{said}: sign in anew with --remember.")
            if entry is None or entry.id != mine:
                what = "signed in anew" if entry else "logged out"
                raise LoginExpired(f"{memory.name} was {what} in another kernel.")
            stored = entry.token
            other = stored is not None and (held is None or stored.access_token != held.access_token)
            newer = stored is not None and (held is None or stored.issued_at >= held.issued_at)
            if stored is not None and other and newer and exchange.clock.time() < stored.renew_at:
                return stored, ANOTHERS
            # Where the provider refused a token, its family may be dead too: afresh from the secret, if there is one.
            newest = held if stored is None or (held is not None and held.issued_at > stored.issued_at) else stored
            base = None if alone and (entry.pending or (previous is None and held is not None)) else newest
            if base is not None and base.refresh_token is not None:
                memory.write(replace(entry, pending=True))
            try:
                token = grant(exchange, base)
            except LabauthError as error:
                if isinstance(error.spent, Token):
                    memory.write(replace(entry, token=error.spent, pending=False))
                raise
            memory.write(replace(entry, token=token, pending=False, sub=exchange.subject or None))
            return token, OURS
    except StoreUnavailable:
        if token is not None:
            # It came and could not be written. This kernel goes on with it; no other may use the old refresh token again,
            # and to delete it needs no space.
            if alone:
                return token, OURS
            with suppress(StoreUnavailable):
                memory.forget()
            return token, ALONE
        if not alone:
            raise
        return grant(exchange, None), OURS  # from the secret: that burns nobody's refresh token
    except SignInRefused as error:
        if alone or error.code != "invalid_grant":
            raise
        raise LoginExpired(f"{exchange.title} no longer takes the refresh token of this sign-in.") from None


def place(provider: str, tenant: str, name: str) -> Memory | None:
    """Where that login is remembered, if it is."""
    with suppress(StoreUnavailable):
        found = [head for head in stores.remembered(provider, name) if head.tenant == tenant]
        return found[0].memory() if found else None
    return None


def forget(memory: Memory, mine: str) -> tuple[str, Token | None]:
    """Remove what is remembered, if it is still this login's ("": whosever): a sentence, and the newest token that was kept."""
    try:
        with memory.locked():
            entry = memory.read()
            if mine and (entry is None or entry.id != mine):
                return "", None
            memory.forget()
            return f"It is no longer remembered (it was in the {PLACES[memory.store]}).", entry.token if entry else None
    except LabauthError as error:
        return f"It is still remembered: {error}", None


def forget_heads(found: list[Head]) -> list[str]:
    """Forget what is remembered of these; a sentence for each."""
    said = []
    for head in found:
        head.memory().forget()
        said.append(farewell(head))
    return said


def farewell(head: Head) -> str:
    """The sentence about one that was forgotten."""
    return f"{head.name} ({head.tenant}) is no longer remembered (it was in the {PLACES[head.store]})."


def values(recalled: Recall) -> tuple[Source, Mapping[str, str]]:
    """What was remembered as a source of fields (`credentials.collect`)."""
    return recalled.source, {"tenant": recalled.entry.tenant, **recalled.entry.fields}
