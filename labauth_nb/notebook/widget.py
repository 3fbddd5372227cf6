"""The widget that both panels are.

Messages between the page and this kernel, and what no log may show of them.

Only the provider's name is a synced trait ("" for the status panel), and what draws the panels
travels once per page (loader.js). All else travels as custom messages, after a `hello` from the
page; a secret travels once, from the page to here, and is never sent back.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython import get_ipython

from ..clocks import started
from ..errors import LabauthError, ProviderError, ProviderUnreachable, place_of
from ..logins import logins
from ..masking import MASK, Secret
from .cards import PanelState, StatusState

HERE = Path(__file__).parent
CODE = {name: (HERE / f"panel.{name}").read_text("utf-8") for name in ("js", "css")}
"""What draws the panels: a page asks for it once."""
VERSION = hashlib.sha256("".join(CODE.values()).encode()).hexdigest()[:12]
PANELS_MOST = 50
"""So many panels, the newest, are told of changes."""


class Panel(anywidget.AnyWidget):
    """What both panels share: the page's messages go to `_heard`, each in a thread.

    `tell` sends the state to every view.
    """

    _esm = (HERE / "loader.js").read_text("utf-8").replace("VERSION", VERSION)
    _ipython_display_ = None  # that of ipywidgets 7 would cut our text short
    provider = traitlets.Unicode("").tag(sync=True)

    def __init__(self, provider: str) -> None:
        _hide_in_logs()
        super().__init__(provider=provider)
        self._context = contextvars.copy_context()
        self.on_msg(_listener(weakref.ref(self)))
        _watch(self)

    def state(self) -> PanelState | StatusState:
        """What the page shows. No secret."""
        raise NotImplementedError

    def tell(self) -> None:
        """Send the state to the page; from any thread, also when nobody listens."""
        if self.comm is not None:
            self.post({"type": "state", **self.state()})

    def post(self, message: dict[str, Any]) -> None:
        """Send one message to every view, from any thread."""
        try:
            self.send(message)
        except LookupError:
            # ipykernel 7.0 looks the running cell up in a context variable, which a thread of its
            # own does not have.
            self._context.copy().run(self.send, message)

    def greeted(self) -> None:
        """A page said hello."""

    def heard(self, message: Mapping[str, Any]) -> None:
        """Do what the page asks for: renew or log out of a login, by its name."""
        self.note = ""
        try:
            login = logins.get(str(message.get("name")))
            if message.get("type") == "renew":
                login.refresh(attended=True)
            elif message.get("type") == "logout":
                # Nobody can be asked at a prompt here: what was pasted is left alone at the
                # provider.
                self.note = " ".join(
                    logins.logout(login.name, revoke=None if login.method.issued_here else False)
                )
        except LabauthError as error:
            self.note = "" if isinstance(error, ProviderError | ProviderUnreachable) else str(error)
        self.tell()

    note = ""


def _listener(panel: weakref.ref[Panel]) -> Any:
    """The widget's message callback.

    It starts a thread where it can, as a sign-in may take long.
    """

    def listen(_: object, message: Any, buffers: object) -> None:
        mine = panel()
        if mine is None or not isinstance(message, dict):
            return
        if message.get("type") == "code":
            mine.post({"type": "code", **CODE})
        elif message.get("type") == "hello":
            mine.greeted()
            mine.tell()
        else:
            typed = _typed(message)
            # the kernel keeps the message: it is "the parent"
            message.update(_without_what_was_typed(message))
            if started(_work, mine, typed, name="labauth panel") is None:
                _work(mine, typed)

    return listen


def _work(panel: Panel, message: Mapping[str, Any]) -> None:
    """Do what the page asks for.

    Nothing is raised: a thread's traceback would print frames that hold what was typed.
    """
    try:
        panel.heard(message)
    except BaseException as error:
        panel.note = failed(error)
        with suppress(Exception):
            panel.tell()


def failed(error: BaseException) -> str:
    """The message for an error that nobody foresaw.

    Where it was raised, and nothing of what it says.
    """
    return (
        f"That failed unexpectedly ({place_of(error)}). Please try again; if it recurs, report it."
    )


_KEPT = ("type", "method", "name", "remember", "number")
"""What a page's message says that is no secret; what was typed stands beside it."""


def _without_what_was_typed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in _KEPT else MASK for key, value in message.items()}


def _typed(message: Mapping[str, Any]) -> dict[str, Any]:
    """`message` with all that was typed as `Secret`, so that no frame that holds it shows it."""
    fields = message.get("fields")
    typed = {str(k): Secret(v) for k, v in fields.items()} if isinstance(fields, dict) else {}
    text = {
        key: Secret(message[key]) for key in ("text", "tenant") if isinstance(message.get(key), str)
    }
    return {**message, **text, "fields": typed}


class _PageFilter(logging.Filter):
    """Takes what was typed out of the messages that the comm package and ipykernel log at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        record.args = (
            _clean(arguments)
            if isinstance(arguments, Mapping)
            else tuple(map(_clean, arguments or ()))
        )
        return True


def _clean(value: Any) -> Any:
    """`value` with each custom comm message in it without what was typed.

    Anything else is left as it is.
    """
    if not isinstance(value, dict):
        return value
    if value.get("method") == "custom" and isinstance(value.get("content"), dict):
        return {**value, "content": _without_what_was_typed(value["content"])}
    return {key: _clean(each) for key, each in value.items()}


_FILTER = _PageFilter()


def _hide_in_logs() -> None:
    """Put the filter on the loggers that a page's messages pass (twice is once)."""
    kernel_log = getattr(getattr(get_ipython(), "kernel", None), "log", None)
    for logger in (logging.getLogger("Comm"), getattr(kernel_log, "logger", kernel_log)):
        if logger is not None:
            logger.addFilter(_FILTER)


def _watch(panel: Panel) -> None:
    """Tell the panel of every change, for as long as it lives."""
    reference = weakref.ref(panel)

    def changed() -> None:
        mine = reference()
        if mine is None or mine.comm is None:
            if changed in logins.watchers:
                logins.watchers.remove(changed)
        else:
            mine.tell()

    logins.watchers.append(changed)
    # ipywidgets keeps every panel of a kernel, also those of cells that were run again
    del logins.watchers[:-PANELS_MOST]


def with_text(bundle: Any, text: str, html: str | None = None) -> Any:
    """The widget's mime bundle with a text that never varies (for nbval), and a static table."""
    content, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return {**content, "text/plain": text, **({"text/html": html} if html else {})}, metadata
