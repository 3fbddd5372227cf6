"""The operating system's keyring as a store: which one may be used, and how it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..clocks import started
from ..errors import StoreUnavailable
from ..masking import Secret
from .entries import Key
from .files import LOCK_SECONDS, MISSING, lock

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")
SERVICE = "labauth-nb"
WINDOWS_MOST = 1280
"""Windows' keyring holds 2560 bytes of UTF-16."""
_WINDOWS = os.name == "nt"
OR_A_FILE = "or, if a file that only you can read is enough, ask for it by name: --store file"
NO_KEYRING = (
    "This computer has no keyring that can be used (no backend was found). "
    f"Install one (on Linux: GNOME Keyring or KWallet), {OR_A_FILE}"
)


class InKeyring:
    """One item of the operating system's keyring per login.

    One at a time among our kernels: some backends (Windows, files) rewrite the items of others when
    they write one.
    """

    def get(self, key: Key) -> Secret | None:
        """The text of `key`; None where there is none. Raises `StoreUnavailable`."""
        text = _asked(lambda ring: ring.get_password(SERVICE, " ".join(key)), "read it")
        return None if text is None else Secret(text)

    def put(self, key: Key, text: Secret) -> None:
        """Keep `text`. Raises `StoreUnavailable`."""
        long = (
            f" It has {len(text)} characters; Windows keeps {WINDOWS_MOST}."
            if _WINDOWS and len(text) > WINDOWS_MOST
            else ""
        )
        _asked(lambda ring: ring.set_password(SERVICE, " ".join(key), text), "keep it", long)

    def delete(self, key: Key) -> None:
        """Delete `key`, if it is there. Raises `StoreUnavailable`."""

        def gone(ring: KeyringBackend) -> None:
            if ring.get_password(SERVICE, " ".join(key)) is not None:  # else: deleted by hand
                ring.delete_password(SERVICE, " ".join(key))

        _asked(gone, "delete it")


def _asked(what: Callable[[KeyringBackend], T], verb: str, note: str = "") -> T:
    ring = chosen_keyring()
    with lock(
        "keyring",
        LOCK_SECONDS,
        "Another kernel is waiting for the keyring. Unlock it, then try again.",
    ):
        # In a thread: a keyring may wait for a password in a window that nobody sees.
        answers: list[T] = []
        trouble = ["it is waiting for a response"]

        def work() -> None:
            try:
                answers.append(what(ring))
            # a backend may raise anything, and its text may hold what it was given
            except Exception as error:
                trouble[0] = type(error).__name__

        thread = started(work, name="labauth keyring")
        if thread is None:
            raise StoreUnavailable(
                f"The keyring ({ring.name}) was not asked: no thread can be started here to stop "
                f"waiting for it. Restart the kernel, {OR_A_FILE}"
            )
        thread.join(LOCK_SECONDS)
        if answers:
            return answers[0]
        said = f"The keyring ({ring.name}) did not {verb}: {trouble[0]}.{note}"
        raise StoreUnavailable(f"{said} Unlock it and try again, {OR_A_FILE}")


def chosen_keyring() -> KeyringBackend:
    """The keyring to use.

    Raises `StoreUnavailable` where there is none, or a weak one that nobody chose.

    keyring calls a backend of priority 1 and more recommended. One with less (it keeps plain text,
    say) counts as chosen when it is not among those that keyring found by itself: it then comes
    from PYTHON_KEYRING_BACKEND, keyring's configuration file or `keyring.set_keyring`. Of a chain,
    the first recommended member is used.
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
        check = "Check PYTHON_KEYRING_BACKEND and the output of: keyring diagnose"
        raise StoreUnavailable(f"{said} {check}, {OR_A_FILE}") from None
    if weak:
        said = f"The only keyring found here ({ring.name}) does not protect what it keeps."
        raise StoreUnavailable(
            f"{said} Install another (on Linux: GNOME Keyring or KWallet), {OR_A_FILE}"
        )
    return ring
