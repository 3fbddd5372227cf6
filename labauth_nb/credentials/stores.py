"""Where a login is remembered for the next kernel: the operating system's keyring, or a file.

Many kernels share one entry, and its refresh token may be used once only: whoever renews holds the
entry's lock, reads again under it, writes `pending` before the request, and writes the response
before it lets go.

No keyring can list what is in it. So each entry has a head, a file without secrets, in a folder
that is the index: a head is written before its entry and removed after it, so that no secret is
ever kept that is not listed, and kill -9 leaves nothing to mend. Whoever never remembered anything
has no such folder, and never sees their keyring touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import StoreUnavailable, nearest
from ..masking import Secret
from .entries import KINDS, Entry, Key, dumps, loads
from .files import LOCK_SECONDS, MISSING, InFiles, data_folder, lock, write
from .keyrings import InKeyring, chosen_keyring

KEYRING, FILE = "keyring", "file"
STORES = {KEYRING: "keyring", FILE: "file store"}
"""What people call each store."""
INDEX = "remembered.json"
"""Where the heads stood before 0.1.0: read once more, and not in 0.2."""


class _Backend(Protocol):
    """A place for entries; each of these raises `StoreUnavailable`."""

    def get(self, key: Key) -> Secret | None: ...
    def put(self, key: Key, text: Secret) -> None: ...
    def delete(self, key: Key) -> None: ...


BACKENDS: dict[str, _Backend] = {KEYRING: InKeyring(), FILE: InFiles()}


def unavailable(store: str) -> str:
    """Why `store` cannot be used here and what to do; "" where it can.

    Asks for nothing and creates nothing.
    """
    if store not in STORES:
        raise nearest(store, STORES, "store")
    try:
        import filelock  # noqa: F401

        there = next(
            folder for folder in (data_folder(), *data_folder().parents) if folder.exists()
        )
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            return f"Nothing can be remembered: {there} cannot be written to."
        if store == KEYRING:
            chosen_keyring()
    except ImportError:
        return MISSING
    except OSError as error:
        return f"Nothing can be remembered: {error.filename} cannot be used ({error.strerror})."
    except StoreUnavailable as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class EntryRef:
    """The place of one login in one store."""

    store: str
    provider: str
    tenant: str
    name: str

    @property
    def key(self) -> Key:
        """What it is found by, in whichever store."""
        return Key(self.provider, self.tenant, self.name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with this login, among all threads and kernels of this user.

        The same thread may enter it again.

        A kernel that is killed lets go. Raises `StoreUnavailable` after `LOCK_SECONDS` of waiting.
        """
        wait = f"{LOCK_SECONDS:g} s"
        busy = (
            f"Another kernel has been renewing {self.name} of {self.provider} ({self.tenant}) for"
            f" {wait}. Try again, and look whether the keyring waits for your password; if it stays"
            " so, restart that kernel."
        )
        with lock(self.key.digest, LOCK_SECONDS, busy):
            yield

    @property
    def _head_path(self) -> Path:
        return data_folder() / "heads" / f"{self.key.digest}.json"

    def _head(self) -> EntryHead | None:
        """The head of this login, whichever store its entry is in. Raises `StoreUnavailable`."""
        _split_index()
        return _head_in(self._head_path)

    def _write_head(self, head: EntryHead | None) -> None:
        """Replace the head; None removes it. The caller holds the lock."""
        if head is not None:
            write(self._head_path, json.dumps(asdict(head)))
            return
        try:
            self._head_path.unlink(missing_ok=True)
        except OSError as error:
            said = f"{self._head_path} cannot be removed ({error.strerror})."
            raise StoreUnavailable(said) from None

    def listed(self) -> bool:
        """Whether a head says that it is here, be the entry readable or not."""
        try:
            data_folder()
        except StoreUnavailable:
            return False  # without the extra packages nothing was ever remembered
        head = self._head()
        return head is not None and head.store == self.store

    def read(self) -> Entry | None:
        """What is remembered here; None: nothing, or nothing that can be read.

        Raises `StoreUnavailable`.
        """
        if not self.listed():
            return None
        text = BACKENDS[self.store].get(self.key)
        entry = None if text is None else loads(text)
        return entry if entry and (entry.provider, entry.tenant, entry.name) == self.key else None

    def write(self, entry: Entry) -> None:
        """Remember `entry` here, and nowhere else: two copies of one refresh token would burn it.

        Raises `StoreUnavailable`; what was here before is then still here.
        """
        if (entry.provider, entry.tenant, entry.name) != self.key:
            raise ValueError("This entry belongs elsewhere.")
        head = EntryHead(*self.key, entry.method, entry.remember, self.store, since=time.time())
        with self.locked():
            before = self._head()
            if before is not None and before.store != self.store:
                self._move(entry, before, head)
                return
            stale = before.also if before else ""
            first = replace(head, also=stale)
            if before != first:
                self._write_head(first)  # first: no secret is ever kept that is not listed
            try:
                BACKENDS[self.store].put(self.key, dumps(entry))
            except StoreUnavailable:
                if before != first:
                    with suppress(StoreUnavailable):
                        self._write_head(before)
                raise
            if stale:
                BACKENDS[stale].delete(self.key)
                self._write_head(head)

    def _move(self, entry: Entry, before: EntryHead, head: EntryHead) -> None:
        """Write `entry` here and remove it from the store that `before` names.

        At each moment one store has it whole, and the head names both.
        """
        here, there = BACKENDS[self.store], BACKENDS[before.store]
        self._write_head(replace(before, also=self.store))
        try:
            here.put(self.key, dumps(entry))
            self._write_head(replace(head, also=before.store))
            there.delete(self.key)
        except StoreUnavailable:
            with suppress(StoreUnavailable):
                self._write_head(replace(before, also=self.store))
                here.delete(self.key)
                self._write_head(before)
            raise
        self._write_head(head)

    def forget(self) -> bool:
        """Remove it; whether there was anything.

        Raises `StoreUnavailable`: it is then still listed.
        """
        if not self.listed():
            return False
        with self.locked():
            head = self._head()
            if head is None or head.store != self.store:
                return False
            for store in filter(None, (head.also, head.store)):
                BACKENDS[store].delete(self.key)
            self._write_head(None)
            return True


@dataclass(frozen=True)
class EntryHead:
    """What may be known of an entry without opening its store: no secret."""

    provider: str
    tenant: str
    name: str
    method: str
    remember: str
    store: str
    also: str = ""
    """The other store, where it may still have a copy: a move to or from it was broken off."""
    since: float = field(default=0.0, compare=False)
    """When it was remembered, in seconds since the epoch: heads are listed in this order."""

    @property
    def ref(self) -> EntryRef:
        """Where its entry is."""
        return EntryRef(self.store, self.provider, self.tenant, self.name)


def heads(provider: str | None = None, name: str | None = None) -> list[EntryHead]:
    """What is remembered, in the order of remembering; touches no keyring.

    Without the extra packages: nothing. Raises `StoreUnavailable` for what cannot be opened.
    """
    try:
        folder = data_folder() / "heads"
    except StoreUnavailable:
        return []
    _split_index()
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from None
    found = [head for each in names if each.endswith(".json") and (head := _head_in(folder / each))]
    found.sort(key=lambda head: (head.since, head.ref.key))
    return [h for h in found if provider in (None, h.provider) and name in (None, h.name)]


def _head_in(path: Path) -> EntryHead | None:
    """The head in `path`; None where there is none, or none of this version.

    Raises `StoreUnavailable` where it cannot be opened.
    """
    try:
        head = _head_of(json.loads(path.read_text("utf-8", errors="replace")))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from None
    return head if head and head.ref.key.digest == path.stem else None


def _head_of(row: Any) -> EntryHead | None:
    names = [f.name for f in fields(EntryHead) if f.name != "since"]
    if not isinstance(row, dict) or any(not isinstance(row.get(name), str) for name in names):
        return None
    since = row.get("since")
    head = EntryHead(**{name: row[name] for name in names})
    head = replace(head, since=since) if isinstance(since, float) else head
    known = head.store in STORES and head.remember in KINDS and head.also in ("", *STORES)
    return head if known else None


def _unreadable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"What is remembered cannot be read: {path} ({error.strerror}).")


def _split_index() -> None:
    """Give each login in the index of an earlier version a head of its own."""
    index = data_folder() / INDEX
    if not os.path.exists(index):  # Path.exists raises where the folder may not be opened
        return
    with lock("index", LOCK_SECONDS, f"Another kernel is reading {index}. Try again."):
        try:
            rows = json.loads(index.read_text("utf-8", errors="replace"))
        except (FileNotFoundError, ValueError, RecursionError):
            rows = []
        except OSError as error:
            raise _unreadable(index, error) from None
        for n, row in enumerate(rows if isinstance(rows, list) else []):
            old = {"remember": row.get("keeps"), "also": "", **row} if isinstance(row, dict) else {}
            head = _head_of({**old, "since": float(n)})
            if head and not (data_folder() / "heads" / f"{head.ref.key.digest}.json").exists():
                write(
                    data_folder() / "heads" / f"{head.ref.key.digest}.json",
                    json.dumps(asdict(head)),
                )
        index.unlink(missing_ok=True)


def forget_all() -> list[EntryHead]:
    """Forget every login in every store, and each yes to an address; gives the logins forgotten.

    Goes on past one that cannot be forgotten, and raises `StoreUnavailable` at the end.
    """
    forgotten: list[EntryHead] = []
    trouble: dict[str, str] = {}
    _agreed.clear()
    for head in heads():
        try:
            forgotten += [head] if head.ref.forget() else []
        except StoreUnavailable as error:
            trouble[head.name] = str(error)
    with suppress(StoreUnavailable):
        _sweep(data_folder())
    if trouble:
        said = f"Forgotten: {len(forgotten)}. Still remembered: {', '.join(trouble)}."
        raise StoreUnavailable(f"{said} {next(iter(trouble.values()))}")
    return forgotten


def _sweep(data: Path) -> None:
    """Remove each yes to an address, and what killed writers left."""
    for path in [*data.glob("agreed/*"), *data.glob(f"{INDEX}.*")]:
        with suppress(OSError):
            path.unlink()
    for path in [*data.glob("entries/*"), *data.glob("heads/*.tmp")]:
        digest = path.name.partition(".")[0]
        with suppress(StoreUnavailable, OSError), lock(digest, 1.0, "It is in use."):
            if path.suffix == ".tmp" or not (data / "heads" / f"{digest}.json").exists():
                path.unlink()  # nobody writes it meanwhile: this is the lock of its login


# The addresses that the person has agreed to

_agreed: set[tuple[str, str]] = set()
"""Those of this process: where nothing can be written, a yes holds until the kernel ends."""


def _agreement(named_by: str, address: str) -> Path:
    return (
        data_folder()
        / "agreed"
        / hashlib.sha256(json.dumps([named_by, address]).encode()).hexdigest()
    )


def agreed(named_by: str, address: str) -> bool:
    """Whether the person has said yes to `address` as this file (or other source) names it."""
    with suppress(StoreUnavailable, OSError):
        if _agreement(named_by, address).exists():
            return True
    return (named_by, address) in _agreed


def agree(named_by: str, address: str) -> None:
    """Remember that yes, for the next kernel too where that can be written."""
    _agreed.add((named_by, address))
    with suppress(StoreUnavailable, OSError):
        write(_agreement(named_by, address), json.dumps({"named_by": named_by, "address": address}))
