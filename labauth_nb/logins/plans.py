"""`Wish`: what was typed, whole, from the magic line to the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..credentials.stores import KEYRING
from ..masking import Fields


@dataclass(frozen=True, repr=False)
class Wish:
    """What a person asked for, as it was typed.

    `provider`: its name; `method`, `tenant`, `name` (of the login): None where nothing was typed;
    `fields`: the method's fields by name, secret ones among them; `remember`: what to keep for the
    next kernel (`remembering.AUTO`, `stores.CREDENTIALS`, `stores.REFRESH_TOKEN`, "" for nothing),
    in `store`; `line`: whether it stands on a ``%labauth`` line, which is saved with the notebook.
    """

    provider: str
    method: str | None = None
    tenant: str | None = None
    name: str | None = None
    fields: Mapping[str, str | None] = field(default_factory=Fields)
    remember: str = ""
    store: str = KEYRING
    line: bool = False

    def __repr__(self) -> str:
        words = (self.provider, self.method, self.tenant, self.name, *self.fields)
        return f"<Wish: {' '.join(str(word) for word in words if word)}>"
