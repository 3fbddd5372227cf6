"""Threads, where they can be started: Pyodide has none, and a busy computer may allow no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def started(work: Callable[..., Any], *args: Any, name: str, daemon: bool = True) -> threading.Thread | None:
    """A thread that has begun to do ``work(*args)``; None where none can be started."""
    thread = threading.Thread(target=work, args=args, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
