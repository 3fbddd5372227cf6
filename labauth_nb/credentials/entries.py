"""An entry: what is remembered of one login, and how it stands in a store as JSON."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, NoReturn

from ..masking import Fields, Secret
from ..tokens.token import Token

CREDENTIALS, REFRESH_TOKEN = "credentials", "refresh-token"
KINDS = (CREDENTIALS, REFRESH_TOKEN)
"""What may be remembered of a login."""
VERSION = 1


class Key(NamedTuple):
    """What an entry is found by, in whichever store."""

    provider: str
    tenant: str
    name: str

    @property
    def digest(self) -> str:
        """The name of its files."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()


@dataclass(repr=False)
class Entry:
    """What the next kernel needs of one login.

    `id`: of the act of remembering (another id: somebody else signed in under the same name);
    `remember`: what the user chose; `fields`: what the user gave, the secrets as `Secret`; `sub`:
    what the next ID token is checked by; `pending`: a refresh was begun and its response never
    written, so the refresh token may be used up.
    """

    provider: str
    tenant: str
    name: str
    method: str
    remember: str
    fields: Fields = field(default_factory=Fields)
    token: Token | None = None
    sub: str | None = None
    pending: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __repr__(self) -> str:
        return f"<Entry {self.name!r} of {self.provider} ({self.tenant}): {self.remember}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("What is remembered is not pickled: read it again in the other process.")

    def secrets(self) -> list[str]:
        """Every secret in it."""
        return [*self.fields.secrets(), *(self.token.secrets() if self.token else [])]


def dumps(entry: Entry) -> Secret:
    """`entry` as JSON, as short as it goes (`WINDOWS_MOST`).

    What repeats and what is None is left out.
    """
    row: dict[str, object] = {f.name: getattr(entry, f.name) for f in fields(entry)}
    row |= {
        "version": VERSION,
        "secrets": [name for name, value in entry.fields.items() if isinstance(value, Secret)],
    }
    if token := entry.token:
        held: dict[str, object] = {f.name: getattr(token, f.name) for f in fields(token)}
        if token.header.endswith(token.access_token):
            held |= {"header": None, "scheme": token.header.removesuffix(token.access_token)}
        row["token"] = {name: value for name, value in held.items() if value is not None}
    return Secret(
        json.dumps(
            {name: value for name, value in row.items() if value is not None}, separators=(",", ":")
        )
    )


def loads(text: str) -> Entry | None:
    """The entry in `text`; None where it is torn, foreign or from another version."""
    try:
        row: Any = _veiled(json.loads(text))
        kind = row.get("remember") or row["keeps"]
        if row["version"] != VERSION or kind not in KINDS:
            return None
        hidden = [str(name) for name in row["secrets"]]
        given = Fields(
            {
                name: _secret(v) if name in hidden else str(_secret(v))
                for name, v in row["fields"].items()
            }
        )
        entry = Entry(
            provider=str(_secret(row["provider"])),
            tenant=str(_secret(row["tenant"])),
            name=str(_secret(row["name"])),
            method=str(_secret(row["method"])),
            remember=str(kind),
            fields=given,
            sub=_plain(row, "sub"),
            pending=row["pending"] is True,
            id=str(_secret(row["id"])),
        )
        if held := row.get("token"):
            entry.token = _token(held)
        return entry
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _token(held: dict[str, Any]) -> Token:
    access = _secret(held["access_token"])
    whole = "header" in held
    return Token(
        access_token=access,
        header=_secret(held["header"]) if whole else Secret(_secret(held["scheme"]) + access),
        issued_at=float(held["issued_at"]),
        expires_at=None if held.get("expires_at") is None else float(held["expires_at"]),
        refresh_token=_optional(held, "refresh_token"),
        cookie=_optional(held, "cookie"),
        scope=_plain(held, "scope"),
    )


def _veiled(value: Any) -> Any:
    """`value` with every string in it a `Secret`, so that no traceback with locals shows one."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {str(name): _veiled(item) for name, item in value.items()}
    return [_veiled(item) for item in value] if isinstance(value, list) else value


def _secret(value: object) -> Secret:
    if not isinstance(value, Secret):
        raise TypeError("not a string")
    return value


def _optional(row: Any, name: str) -> Secret | None:
    return None if row.get(name) is None else _secret(row[name])


def _plain(row: Any, name: str) -> str | None:
    return None if row.get(name) is None else str(_secret(row[name]))
