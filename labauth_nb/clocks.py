"""Time, in seconds since 1970-01-01 UTC, from one place, so that the sandbox can move it.

And the threads that wait.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any


class Clock:
    """The wall clock.

    A laptop that slept has aged its tokens (time.monotonic would not say so on Linux).
    """

    def time(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait `seconds`, or until `event` is set."""
        event.wait(seconds)


class SandboxClock(Clock):
    """The wall clock plus what it was advanced by. Waiting on it moves it instead of taking time.

    `moved`: called (with nothing) whenever it was moved.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self.moved: list[Callable[[], None]] = []

    def time(self) -> float:
        """Seconds since the epoch, UTC, as far ahead as it was moved."""
        return time.time() + self._ahead

    def sleep(self, seconds: float) -> None:
        """Move to `seconds` from now; several who wait at once move it once."""
        until = self.time() + seconds
        with self._lock:
            self._ahead = max(self._ahead, until - time.time())
        self._tell()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """As `sleep`: it takes no time."""
        self.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Move this clock forward by `seconds` (0 or more)."""
        if not seconds >= 0 or seconds == float("inf"):
            raise ValueError("A clock moves forward only: give a number of seconds, 0 or more.")
        with self._lock:
            self._ahead += seconds
        self._tell()

    def reset(self) -> None:
        """Back to the wall clock."""
        with self._lock:
            self._ahead = 0.0
        self._tell()

    def _tell(self) -> None:
        for callback in list(self.moved):
            callback()


WALL = Clock()
TOLD_SECONDS = 300.0
"""A clock that is further off than this is told: servers' own tolerance is 5 minutes."""
LONGEST_SECONDS = 100 * 365 * 86400.0


def seconds_in(amount: str) -> float:
    """The seconds in "90", "90s", "15m", "2h" or "1d".

    Raises `ValueError` with a message; it does not repeat `amount`, which may be a secret in the
    wrong place.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", amount.strip().lower())
    if not match:
        raise ValueError("That is not a length of time: write 90s, 15m, 2h or 1d.")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"That is too long: at most {LONGEST_SECONDS / 86400:.0f}d.")
    return seconds


def hour() -> str:
    """The time of day here, such as "14:20"; "14:20 UTC" where this computer keeps UTC.

    So a reader elsewhere does not take a server's time for their own.
    """
    now = time.localtime()
    return time.strftime("%H:%M UTC" if now.tm_zone == "UTC" else "%H:%M", now)


def in_words(seconds: float, exact: bool = False) -> str:
    """A duration rounded up: "15 min", "18 h", "30 d"; "under 1 min".

    `exact`: rounded up to a second, in two units, as a countdown shows it: "14 min 05 s". Its twin
    in the page is inWords of panel.js; tests/panel.json holds what both say.
    """
    if exact:
        return _in_two_units(max(math.ceil(seconds), 0))
    if seconds < 60:
        return "under 1 min"
    for unit, size, most in (("min", 60, 120), ("h", 3600, 48)):
        if math.ceil(seconds / size) <= most:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86400)} d"


def _in_two_units(seconds: int) -> str:
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"


def clock_words(offset: float) -> str:
    """What is wrong with this computer's clock, where a server's is `offset` seconds ahead."""
    off = in_words(round(abs(offset) / 60) * 60)
    return f"this computer's clock is {off} {'behind' if offset > 0 else 'ahead'}"


def started(
    work: Callable[..., Any], *args: Any, name: str, daemon: bool = True
) -> threading.Thread | None:
    """A thread that does ``work(*args)``; None where none can be started (Pyodide, a limit)."""
    thread = threading.Thread(target=work, args=args, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
