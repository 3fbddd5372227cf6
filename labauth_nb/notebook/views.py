"""Which page looks at which panel: the comm target of the JupyterLab extension.

A page that draws a saved panel opens a comm with the panel's id. Where this kernel knows no such
panel, the comm is closed, and the page shows what is past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from IPython import get_ipython

TARGET = "labauth"
PANELS_MOST = 50
"""So many panels, the newest, can be looked at; of the others the past is shown."""
VIEWS_MOST = 8
"""So many pages look at a panel: one that was reloaded closes nothing."""


class View(Protocol):
    """A page that shows a panel: the extension's comm, or a widget."""

    def send(self, message: dict[str, Any]) -> None:
        """Send it a message; raises `LookupError` in a thread, on ipykernel 7.0."""

    def close(self) -> None:
        """It is told nothing any more, and shows what is past."""


class Watched(Protocol):
    """What pages look at."""

    id: str
    views: list[View]

    def received(self, message: Any) -> None:
        """Do what a page says."""

    def taken_over(self) -> None:
        """A page of the extension shows it."""


class CommView:
    """A page of the extension, whose messages look as those of a widget."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm

    def send(self, message: Mapping[str, Any]) -> None:
        """Send it a message."""
        self._comm.send({"method": "custom", "content": message})

    def close(self) -> None:
        """Have the page show what is past."""
        with suppress(Exception):  # that page may have gone long ago
            self._comm.close()


_panels: dict[str, Watched] = {}


def keep(panel: Watched) -> None:
    """Pages can look at `panel` from now on, for as long as it is one of the newest."""
    if (ip := get_ipython()) is not None and getattr(ip, "kernel", None) is not None:
        listening(ip)  # where nobody has loaded the extension of IPython
    _panels[panel.id] = panel
    for old in list(_panels)[:-PANELS_MOST]:
        for view in _panels.pop(old).views:
            view.close()


def panels() -> list[Watched]:
    """The panels that pages can look at, the oldest first."""
    return list(_panels.values())


def look(panel: Watched, view: View) -> None:
    """`view` shows `panel` from now on."""
    panel.views.append(view)
    for old in panel.views[:-VIEWS_MOST]:
        panel.views.remove(old)
        old.close()


def _opened(comm: Any, message: Any) -> None:
    """A page opens a comm: it is its hello."""
    panel = _panels.get(str(message["content"]["data"].get("panel")))
    if panel is None:
        comm.close()
        return
    view, name = CommView(comm), panel.id

    def heard(message: Any) -> None:
        mine = _panels.get(name)
        if mine is not None:
            mine.received(message["content"]["data"].get("content"))

    def closed(_: Any) -> None:
        mine = _panels.get(name)
        if mine is not None and view in mine.views:
            mine.views.remove(view)

    comm.on_msg(heard)
    comm.on_close(closed)
    look(panel, view)
    panel.taken_over()
    panel.received({"type": "hello"})


def listening(ip: Any) -> Callable[[], None]:
    """Have pages find their panels; gives a function that undoes it."""
    manager = getattr(ip.kernel, "comm_manager", None)
    if manager is None:  # no ipykernel
        return lambda: None
    manager.register_target(TARGET, _opened)

    def undo() -> None:
        if manager.targets.get(TARGET) is _opened:
            manager.unregister_target(TARGET, _opened)

    return undo
