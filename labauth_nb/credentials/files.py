"""The data folder.

Files that only this user can read, replaced as a whole, and locks among kernels.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StoreUnavailable
from ..masking import Secret
from .entries import Key

LOCK_SECONDS = 90.0
"""How long one kernel waits for another: longer than a token request with its retries."""
MISSING = "Remembering needs one more package. Install it with: pip install 'labauth-nb[keyring]'"


def data_folder() -> Path:
    """The user's data folder for this package."""
    try:
        import platformdirs
    except ImportError:
        raise StoreUnavailable(MISSING) from None
    try:
        return platformdirs.user_data_path("labauth-nb", appauthor=False)
    except RuntimeError:
        raise StoreUnavailable(
            "Nothing can be remembered: this user has no home folder. Set HOME."
        ) from None


def make_folder(path: Path) -> None:
    """Make `path`, for its owner only."""
    for folder in (data_folder(), path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def half_written(path: Path) -> Path:
    """Where the new text of `path` stands until it is whole."""
    return path.with_name(f"{path.name}.tmp")


def write(path: Path, text: str) -> None:
    """Replace `path` as a whole; the caller holds its lock. Raises `StoreUnavailable`.

    A killed writer leaves the old file, and perhaps `half_written` beside it.
    """
    new = half_written(path)
    try:
        make_folder(path.parent)
        new.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise StoreUnavailable(
                    f"The file system of {path.parent} cannot keep a file to you alone."
                )
            file.write(text.encode(errors="replace"))
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(new, path)
    except OSError as error:
        raise StoreUnavailable(
            f"Nothing can be remembered in {path.parent} ({error.strerror})."
        ) from None
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _put_in_place(new: Path, path: Path) -> None:
    """Make `new` the file at `path`, on disk when this returns."""
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


_held = threading.local()
"""The locks that this thread holds, so that it can enter them again."""


@contextmanager
def lock(name: str, seconds: float, busy: str) -> Iterator[None]:
    """Hold the lock `name`; after `seconds` of waiting raises `StoreUnavailable` (`busy`)."""
    try:
        import filelock
    except ImportError:
        raise StoreUnavailable(MISSING) from None
    path = data_folder() / "locks" / f"{name}.lock"
    held: set[Path] = _held.__dict__.setdefault("paths", set())
    if path in held:
        yield
        return
    try:
        make_folder(path.parent)
        lock = filelock.FileLock(path, mode=0o600)
        lock.acquire(timeout=seconds, poll_interval=0.02)
    except filelock.Timeout:
        raise StoreUnavailable(busy) from None
    except (OSError, NotImplementedError) as error:
        raise StoreUnavailable(
            f"Nothing can be locked in {path.parent} ({type(error).__name__})."
        ) from None
    held.add(path)
    try:
        yield
    finally:
        held.discard(path)
        lock.release()


class InFiles:
    """A file per login, 0600 from its first moment on, in a folder 0700.

    One that others can read is refused, as ssh refuses such a key: what is in it may be known to
    them.
    """

    def get(self, key: Key) -> Secret | None:
        """The text of `key`; None where there is none.

        Raises `StoreUnavailable` for a file that others may read.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    advice = (
                        "If nobody has, type: chmod 600 on it; else sign in again, and change the"
                        " secret at the provider."
                    )
                    raise StoreUnavailable(f"Others on this computer can read {path}. {advice}")
                return Secret(file.read().decode(errors="replace"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(
                f"What is remembered cannot be read: {path} ({error.strerror})."
            ) from None

    def put(self, key: Key, text: Secret) -> None:
        """Keep `text`, whole or not at all. Raises `StoreUnavailable`."""
        write(self._path(key), text)

    def delete(self, key: Key) -> None:
        """Delete `key`, if it is there. Raises `StoreUnavailable`."""
        path = self._path(key)
        try:
            half_written(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be removed ({error.strerror}).") from None

    def _path(self, key: Key) -> Path:
        return data_folder() / "entries" / f"{key.digest}.json"
