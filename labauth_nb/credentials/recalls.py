"""What was remembered, found again: which entry is meant, and whether it may be used here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ..errors import InvalidInput, StoreUnavailable
from ..providers import SERVER, Provider
from . import sources, stores
from .entries import Entry
from .sources import Found
from .stores import EntryHead, EntryRef
from .trust import Source, Trust


@dataclass(frozen=True, repr=False)
class Recall:
    """An entry that was found again, and where it stands."""

    ref: EntryRef
    entry: Entry

    @property
    def source(self) -> Source:
        """Where it stands."""
        place = stores.STORES[self.ref.store]
        noun = f"your remembered login ({place})"
        return Source(self.ref.store, Trust.HOME, "", f"remembered in the {place}", noun)

    @property
    def values(self) -> Mapping[str, str]:
        """What it supplies: the fields by name, and the tenant."""
        return {"tenant": self.entry.tenant, **self.entry.fields}

    def fits(self, found: Found, secrets: bool = True) -> bool:
        """Whether `found` is what was remembered (else something newer won, which shares no token).

        Without `secrets`: whether it is of the same client or user.
        """
        given = self.entry.fields
        names = [n for n in given if secrets or n in ("client_id", "username", "issuer")]
        return all(found.fields.get(name) == given[name] for name in names)


def candidates(
    provider: Provider, name: str, method: str | None, tenant: str | None
) -> list[EntryHead]:
    """The entries called `name`, of that method and that tenant where they are given.

    Raises `InvalidInput` for a tenant that is not valid, `StoreUnavailable`.
    """
    found = [
        head
        for head in stores.heads(provider.name, name)
        if method in (None, head.method) and _usable(provider, head)
    ]
    if tenant is None or not found:
        return found
    wanted = sources.address_of(provider, provider.tenant, tenant)
    address = {head: sources.address_of(provider, provider.tenant, head.tenant) for head in found}
    return [head for head in found if address[head] == wanted]


def _usable(provider: Provider, head: EntryHead) -> bool:
    """Whether this version knows the entry's method and tenant."""
    try:
        provider.method(head.method)
        sources.address_of(provider, provider.tenant, head.tenant)
    except InvalidInput:
        return False
    return True


def recall(provider: Provider, name: str, method: str | None, tenant: str | None) -> Recall | None:
    """The entry called `name`; None where there is none that may be used.

    Raises `InvalidInput` where several tenants fit, `StoreUnavailable`.
    """
    found = candidates(provider, name, method, tenant)
    if not found:
        return None
    if len(found) > 1:
        addresses = ", ".join(head.tenant for head in found)
        said = f"{name} is remembered for several addresses: {addresses}"
        raise InvalidInput(f"{said}. Say which with --tenant.")
    ref = found[0].ref
    entry = ref.read()
    if entry is None:
        return None
    servers = [f.name for f in provider.method(entry.method).fields if f.address == SERVER]
    if any(name not in entry.fields for name in servers):
        return None  # without the address that it was remembered with it may go nowhere
    return Recall(ref, entry)


def find(provider: str, tenant: str, name: str) -> EntryRef | None:
    """Where that login is remembered, if it is."""
    with suppress(StoreUnavailable):
        found = [head.ref for head in stores.heads(provider, name) if head.tenant == tenant]
        return found[0] if found else None
    return None
