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
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ..clocks import started
from ..errors import StoreUnavailable, nearest
from ..masking import Fields, Secret
from ..tokens.token import Token

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")
KEYRING, FILE = "keyring", "file"
STORES = {KEYRING: "keyring", FILE: "file store"}
"""What the status calls each store."""
CREDENTIALS, REFRESH_TOKEN = "credentials", "refresh-token"
KINDS = (CREDENTIALS, REFRESH_TOKEN)
LOCK_SECONDS = 90.0
"""How long one kernel waits for another: longer than a token request with its retries."""
VERSION = 1
INDEX = "remembered.json"
"""Where the heads stood before 0.1.0: read once more, and not in 0.2."""
SERVICE = "labauth-nb"
WINDOWS_MOST = 1280
"""Windows' keyring holds 2560 bytes of UTF-16."""
_WINDOWS = os.name == "nt"

MISSING = "Remembering needs one more package. Install it with: pip install 'labauth-nb[keyring]'"
_WEAKER = "or, if a file that only you can read is enough, ask for it by name: --store file"
NO_KEYRING = (
    "This computer has no keyring that can be used (no backend was found). "
    f"Install one (on Linux: GNOME Keyring or KWallet), {_WEAKER}"
)


def unavailable(store: str) -> str:
    """Why `store` cannot be used here and what to do; "" where it can. Asks for nothing and creates nothing."""
    if store not in STORES:
        raise nearest(store, STORES, "store")
    try:
        import filelock  # noqa: F401

        there = next(folder for folder in (_data(), *_data().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            return f"Nothing can be remembered: {there} cannot be written to."
        if store == KEYRING:
            _keyring()
    except ImportError:
        return MISSING
    except OSError as error:
        return f"Nothing can be remembered: {error.filename} cannot be used ({error.strerror})."
    except StoreUnavailable as error:
        return str(error)
    return ""


@dataclass(repr=False)
class Entry:
    """What the next kernel needs of one login.

    `id`: of the act of remembering (another id: somebody else signed in under the same name); `remember`: what the user
    chose; `fields`: what the user gave, the secrets as `Secret`; `sub`: what the next ID token is checked by;
    `pending`: a refresh was begun and its answer never written, so the refresh token may be used up.
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
    """`entry` as JSON, as short as it goes (`WINDOWS_MOST`): what repeats and what is None is left out."""
    row: dict[str, object] = {f.name: getattr(entry, f.name) for f in fields(entry)}
    row |= {"version": VERSION, "secrets": [name for name, value in entry.fields.items() if isinstance(value, Secret)]}
    if token := entry.token:
        held: dict[str, object] = {f.name: getattr(token, f.name) for f in fields(token)}
        if token.header.endswith(token.access_token):
            held |= {"header": None, "scheme": token.header.removesuffix(token.access_token)}
        row["token"] = {name: value for name, value in held.items() if value is not None}
    return Secret(json.dumps({name: value for name, value in row.items() if value is not None}, separators=(",", ":")))


def loads(text: str) -> Entry | None:
    """The entry in `text`; None where it is torn, foreign or from another version."""
    try:
        row: Any = _veiled(json.loads(text))
        kind = row.get("remember") or row["keeps"]
        if row["version"] != VERSION or kind not in KINDS:
            return None
        hidden = [str(name) for name in row["secrets"]]
        given = Fields({name: _secret(v) if name in hidden else str(_secret(v)) for name, v in row["fields"].items()})
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
            access = _secret(held["access_token"])
            entry.token = Token(
                access_token=access,
                header=_secret(held["header"]) if "header" in held else Secret(_secret(held["scheme"]) + access),
                issued_at=float(held["issued_at"]),
                expires_at=None if held.get("expires_at") is None else float(held["expires_at"]),
                refresh_token=_optional(held, "refresh_token"),
                cookie=_optional(held, "cookie"),
                scope=_plain(held, "scope"),
            )
        return entry
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


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


@dataclass(frozen=True)
class EntryRef:
    """The place of one login in one store."""

    store: str
    provider: str
    tenant: str
    name: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is remembered by, in whichever store."""
        return self.provider, self.tenant, self.name

    @property
    def digest(self) -> str:
        """The name of its files."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with this login, among all threads and kernels of this user; the same thread may enter it again.

        A kernel that is killed lets go. Raises `StoreUnavailable` after `LOCK_SECONDS` of waiting.
        """
        wait = f"{LOCK_SECONDS:g} s"
        busy = (
            f"Another kernel has been renewing {self.name} of {self.provider} ({self.tenant}) for {wait}. Try again, and look "
            "whether the keyring waits for your password; if it stays so, restart that kernel."
        )
        with _lock(self.digest, LOCK_SECONDS, busy):
            yield

    @property
    def _head_path(self) -> Path:
        return _data() / "heads" / f"{self.digest}.json"

    def _head(self) -> EntryHead | None:
        """The head of this login, whichever store its entry is in. Raises `StoreUnavailable`."""
        _split_index()
        return _head_in(self._head_path)

    def _write_head(self, head: EntryHead | None) -> None:
        """Replace the head; None removes it. The caller holds the lock."""
        if head is not None:
            _put(self._head_path, json.dumps(asdict(head)))
            return
        try:
            self._head_path.unlink(missing_ok=True)
        except OSError as error:
            said = f"{self._head_path} cannot be removed ({error.strerror})."
            raise StoreUnavailable(said) from None

    def listed(self) -> bool:
        """Whether a head says that it is here, be the entry readable or not."""
        try:
            _data()
        except StoreUnavailable:
            return False  # without the extra packages nothing was ever remembered
        head = self._head()
        return head is not None and head.store == self.store

    def read(self) -> Entry | None:
        """What is remembered here; None: nothing, or nothing that can be read. Raises `StoreUnavailable`."""
        if not self.listed():
            return None
        text = _BACKENDS[self.store].get(self)
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
                _BACKENDS[self.store].put(self, dumps(entry))
            except StoreUnavailable:
                if before != first:
                    with suppress(StoreUnavailable):
                        self._write_head(before)
                raise
            if stale:
                _BACKENDS[stale].delete(self)
                self._write_head(head)

    def _move(self, entry: Entry, before: EntryHead, head: EntryHead) -> None:
        """Write `entry` here and remove it from the store that `before` names.

        At each moment one store has it whole, and the head names both.
        """
        here, there = _BACKENDS[self.store], _BACKENDS[before.store]
        self._write_head(replace(before, also=self.store))
        try:
            here.put(self, dumps(entry))
            self._write_head(replace(head, also=before.store))
            there.delete(self)
        except StoreUnavailable:
            with suppress(StoreUnavailable):
                self._write_head(replace(before, also=self.store))
                here.delete(self)
                self._write_head(before)
            raise
        self._write_head(head)

    def forget(self) -> bool:
        """Remove it; whether there was anything. Raises `StoreUnavailable`: it is then still listed."""
        if not self.listed():
            return False
        with self.locked():
            head = self._head()
            if head is None or head.store != self.store:
                return False
            for store in filter(None, (head.also, head.store)):
                _BACKENDS[store].delete(self)
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
        folder = _data() / "heads"
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
    return head if head and head.ref.digest == path.stem else None


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
    index = _data() / INDEX
    if not os.path.exists(index):  # Path.exists raises where the folder may not be opened
        return
    with _lock("index", LOCK_SECONDS, f"Another kernel is reading {index}. Try again."):
        try:
            rows = json.loads(index.read_text("utf-8", errors="replace"))
        except (FileNotFoundError, ValueError, RecursionError):
            rows = []
        except OSError as error:
            raise _unreadable(index, error) from None
        for n, row in enumerate(rows if isinstance(rows, list) else []):
            old = {"remember": row.get("keeps"), "also": "", **row} if isinstance(row, dict) else {}
            head = _head_of({**old, "since": float(n)})
            if head and not (_data() / "heads" / f"{head.ref.digest}.json").exists():
                _put(_data() / "heads" / f"{head.ref.digest}.json", json.dumps(asdict(head)))
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
        _sweep(_data())
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
        with suppress(StoreUnavailable, OSError), _lock(digest, 1.0, "It is in use."):
            if path.suffix == ".tmp" or not (data / "heads" / f"{digest}.json").exists():
                path.unlink()  # nobody writes it meanwhile: this is the lock of its login


# The addresses that the person has agreed to

_agreed: set[tuple[str, str]] = set()
"""Those of this process: where nothing can be written, a yes holds until the kernel ends."""


def _agreement(named_by: str, address: str) -> Path:
    return _data() / "agreed" / hashlib.sha256(json.dumps([named_by, address]).encode()).hexdigest()


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
        _put(_agreement(named_by, address), json.dumps({"named_by": named_by, "address": address}))


# The two stores


class _Backend(Protocol):
    def get(self, ref: EntryRef) -> Secret | None: ...
    def put(self, ref: EntryRef, text: Secret) -> None: ...
    def delete(self, ref: EntryRef) -> None: ...


class _InKeyring:
    """One item of the operating system's keyring per login.

    One at a time among our kernels: some backends (Windows, files) rewrite the items of others when they write one.
    """

    def get(self, ref: EntryRef) -> Secret | None:
        text = _ask(lambda ring: ring.get_password(SERVICE, " ".join(ref.key)), "read it")
        return None if text is None else Secret(text)

    def put(self, ref: EntryRef, text: Secret) -> None:
        long = f" It has {len(text)} characters; Windows keeps {WINDOWS_MOST}." if _WINDOWS and len(text) > WINDOWS_MOST else ""
        _ask(lambda ring: ring.set_password(SERVICE, " ".join(ref.key), text), "keep it", long)

    def delete(self, ref: EntryRef) -> None:
        def gone(ring: KeyringBackend) -> None:
            if ring.get_password(SERVICE, " ".join(ref.key)) is not None:  # else: deleted by hand
                ring.delete_password(SERVICE, " ".join(ref.key))

        _ask(gone, "delete it")


def _ask(what: Callable[[KeyringBackend], T], verb: str, note: str = "") -> T:
    ring = _keyring()
    with _lock("keyring", LOCK_SECONDS, "Another kernel waits for the keyring. Unlock it, then try again."):
        # In a thread: a keyring may wait for a password in a window that nobody sees.
        answers: list[T] = []
        trouble = ["it waits for an answer"]

        def work() -> None:
            try:
                answers.append(what(ring))
            except Exception as error:  # a backend may raise anything, and its text may hold what it was given
                trouble[0] = type(error).__name__

        thread = started(work, name="labauth keyring")
        if thread is None:
            raise StoreUnavailable(
                f"The keyring ({ring.name}) was not asked: no thread can be started here to stop "
                f"waiting for it. Restart the kernel, {_WEAKER}"
            )
        thread.join(LOCK_SECONDS)
        if answers:
            return answers[0]
        said = f"The keyring ({ring.name}) did not {verb}: {trouble[0]}.{note}"
        raise StoreUnavailable(f"{said} Unlock it and try again, {_WEAKER}")


def _keyring() -> KeyringBackend:
    """The keyring to use. Raises `StoreUnavailable` where there is none, or a weak one that nobody chose.

    keyring calls a backend of priority 1 and more recommended. One with less (it keeps plain text, say) counts as
    chosen when it is not among those that keyring found by itself: it then comes from PYTHON_KEYRING_BACKEND,
    keyring's configuration file or `keyring.set_keyring`. Of a chain, the first recommended member is used.
    """
    try:
        import keyring
        from keyring import backend
        from keyring.backends import chainer, fail, null
    except ImportError:
        raise StoreUnavailable(MISSING) from None
    try:
        ring: KeyringBackend | None = keyring.get_keyring()
        if isinstance(ring, chainer.ChainerBackend):
            ring = next((member for member in ring.backends if member.priority >= 1), None)
        if ring is None or isinstance(ring, (fail.Keyring, null.Keyring)):
            raise StoreUnavailable(NO_KEYRING)
        weak = ring.priority < 1 and any(ring is found for found in backend.get_all_keyring())
    except StoreUnavailable:
        raise
    except Exception as error:  # a backend may raise anything
        said = f"This computer's keyring cannot be used ({type(error).__name__})."
        raise StoreUnavailable(f"{said} Check PYTHON_KEYRING_BACKEND and the output of: keyring diagnose, {_WEAKER}") from None
    if weak:
        said = f"The only keyring found here ({ring.name}) does not protect what it keeps."
        raise StoreUnavailable(f"{said} Install another (on Linux: GNOME Keyring or KWallet), {_WEAKER}")
    return ring


class _InFiles:
    """A file per login, 0600 from its first moment on, in a folder 0700.

    One that others can read is refused, as ssh refuses such a key: what is in it may be known to them.
    """

    def get(self, ref: EntryRef) -> Secret | None:
        path = self._path(ref)
        try:
            with path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    advice = "If nobody has, type: chmod 600 on it; else sign in again, and change the secret at the provider."
                    raise StoreUnavailable(f"Others on this computer can read {path}. {advice}")
                return Secret(file.read().decode(errors="replace"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"What is remembered cannot be read: {path} ({error.strerror}).") from None

    def put(self, ref: EntryRef, text: Secret) -> None:
        _put(self._path(ref), text)

    def delete(self, ref: EntryRef) -> None:
        path = self._path(ref)
        try:
            _beside(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be removed ({error.strerror}).") from None

    def _path(self, ref: EntryRef) -> Path:
        return _data() / "entries" / f"{ref.digest}.json"


_BACKENDS: dict[str, _Backend] = {KEYRING: _InKeyring(), FILE: _InFiles()}


# Files and locks


def _data() -> Path:
    """The user's data folder for this package."""
    try:
        import platformdirs
    except ImportError:
        raise StoreUnavailable(MISSING) from None
    try:
        return platformdirs.user_data_path("labauth-nb", appauthor=False)
    except RuntimeError:
        raise StoreUnavailable("Nothing can be remembered: this user has no home folder. Set HOME.") from None


def _folder(path: Path) -> None:
    """Make `path`, for its owner only."""
    for folder in (_data(), path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def _put(path: Path, text: str) -> None:
    """Replace `path` as a whole; the caller holds its lock. A killed writer leaves the old one, and `_beside` at the most."""
    new = _beside(path)
    try:
        _folder(path.parent)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise StoreUnavailable(f"The file system of {path.parent} cannot keep a file to you alone.")
            file.write(text.encode(errors="replace"))
            file.flush()
            os.fsync(file.fileno())
        for pause in (0.01, 0.1, 0.5, None):
            try:
                os.replace(new, path)
                break
            except PermissionError:  # on Windows: somebody reads it just now
                if pause is None:
                    raise
                time.sleep(pause)
        if os.name == "posix":  # the name too is on disk before the token request goes out
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise StoreUnavailable(f"Nothing can be remembered in {path.parent} ({error.strerror}).") from None
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


_held = threading.local()
"""The locks that this thread holds, so that it can enter them again."""


@contextmanager
def _lock(name: str, seconds: float, busy: str) -> Iterator[None]:
    """Hold the lock `name`; after `seconds` of waiting raises `StoreUnavailable` with the sentence `busy`."""
    try:
        import filelock
    except ImportError:
        raise StoreUnavailable(MISSING) from None
    path = _data() / "locks" / f"{name}.lock"
    held: set[Path] = _held.__dict__.setdefault("paths", set())
    if path in held:
        yield
        return
    try:
        _folder(path.parent)
        lock = filelock.FileLock(path, mode=0o600)
        lock.acquire(timeout=seconds, poll_interval=0.02)
    except filelock.Timeout:
        raise StoreUnavailable(busy) from None
    except (OSError, NotImplementedError) as error:
        raise StoreUnavailable(f"Nothing can be locked in {path.parent} ({type(error).__name__}).") from None
    held.add(path)
    try:
        yield
    finally:
        held.discard(path)
        lock.release()
