"""The embedded sandbox: four providers and an identity provider on loopback.

They enforce what the real ones enforce. `running()` gives the sandbox of this process, started on
demand. It never imports the client side.
"""

from __future__ import annotations

import threading

from .lab import Lab

__all__ = ["Lab", "running"]

NO_THREADS = (
    "The sandbox needs threads, and none can be started here (Pyodide, or a limit of this computer)"
    ". Restart the kernel, or sign in to your own address."
)
_lock = threading.Lock()
_lab: Lab | None = None


def running() -> Lab:
    """The sandbox of this process, started if it does not run.

    Raises `RuntimeError` where no thread can be started.
    """
    global _lab
    with _lock:
        if _lab is None or _lab.stopped:
            try:
                _lab = Lab()
            except RuntimeError:
                raise RuntimeError(NO_THREADS) from None
        return _lab
