"""What both panels are, and the widget that shows one where the JupyterLab extension is missing.

Messages between the pages and this kernel, and what no log may show of them.

Of the widget only the provider's name is a synced trait, and what draws the panels travels once per
page (loader.js). All else travels as custom messages, after a `hello` from the page; a secret
travels once, from the page to here, and is never sent back.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import re
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets
from IPython import get_ipython

from ..clocks import started
from ..errors import LabauthError, ProviderError, ProviderUnreachable, place_of
from ..logins import logins
from ..masking import MASK, Secret
from . import views
from .cards import PanelState, StatusState
from .seals import CLEAR
from .views import View

HERE = Path(__file__).parent
RELOAD = (
    "JupyterLab was opened before labauth_nb was installed. Reload this page once, so that what"
    " you see here is still there tomorrow."
)
CODE = {name: (HERE / f"panel.{name}").read_text("utf-8") for name in ("js", "css")}
"""What draws the panels: a page asks for it once."""
VERSION = hashlib.sha256("".join(CODE.values()).encode()).hexdigest()[:12]
Bundle = tuple[dict[str, Any], dict[str, Any]]
"""(data, metadata) of a display."""
MIME = "application/vnd.labauth+json"
"""What the JupyterLab extension draws."""
FORMAT = 1
"""Of what stands in it and travels by the comm; of another one the extension shows the past."""
VIEW = "application/vnd.jupyter.widget-view+json"
"""What a widget is drawn by."""


class Panel:
    """What both panels share: the page's messages go to `heard`, each in a thread.

    `tell` sends the state to every view. `id`: what a page asks for it by.
    """

    views: list[View]
    note = ""

    def __init__(self) -> None:
        _hide_in_logs()
        self.id, self.views = uuid4().hex, []
        self._context = contextvars.copy_context()
        self._kept: Bundle | None = None
        views.keep(self)
        if _changed not in logins.watchers:
            logins.watchers.append(_changed)

    def state(self) -> PanelState | StatusState:
        """What the page shows. No secret."""
        raise NotImplementedError

    def past(self) -> Past:
        """What stays in the notebook of it."""
        raise NotImplementedError

    def concerns(self, name: str | None) -> bool:
        """Whether it shows something of the login `name` (None: of any)."""
        raise NotImplementedError

    def tell(self) -> None:
        """Send the state to the pages, and what they save; from any thread."""
        if not self.views:
            return
        self.post({"type": "state", **self.state()})
        bundle = self.bundle()
        if bundle != self._kept:
            self._kept = bundle
            self.post({"type": "keep", "data": bundle[0], "metadata": bundle[1]})

    def post(self, message: dict[str, Any]) -> None:
        """Send one message to every view, from any thread."""
        for view in list(self.views):
            self.in_its_cell(partial(view.send, message))

    def in_its_cell(self, call: Callable[[], Any]) -> None:
        """Call what sends to a page, from any thread, as the cell that made this panel would."""
        try:
            call()
        except LookupError:
            # ipykernel 7.0 looks the running cell up in a context variable, which a thread of its
            # own does not have.
            self._context.copy().run(call)

    def bundle(self) -> Bundle:
        """What is displayed and saved: (data, metadata).

        What varies stands in the metadata, which nbval does not compare.
        """
        past = self.past()
        data = {
            MIME: {"v": FORMAT, "text": past.text},
            "text/html": past.html or f"<p>{escape(past.sentence)}</p>",
            "text/plain": past.text,
        }
        saved = {"id": self.id, "kernel": _kernel_id(), "past": past.sentence, "state": past.state}
        return data, {"labauth": saved}

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return self.bundle()

    def taken_over(self) -> None:
        """A page of the extension shows it."""

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

    def received(self, message: Any) -> None:
        """A message of a page. In a thread where there can be one, as a sign-in may take long."""
        if not isinstance(message, dict):
            return
        if message.get("type") == "hello":
            self._kept = None
            self.greeted()
            self.tell()
        else:
            typed = _typed(message)
            # the kernel keeps the message: it is "the parent"
            message.update(_without_what_was_typed(message))
            if started(_work, self, typed, name="labauth panel") is None:
                _work(self, typed)


@dataclass(frozen=True)
class Past:
    """What stays of a panel in the notebook.

    `sentence`: true tomorrow, without a kernel; `text`: never varies (for nbval); `state`: what a
    page draws until the kernel answers, without times; `html`: "" for the sentence alone.
    """

    sentence: str
    text: str
    state: PanelState | None = None
    html: str = ""


class Widget(anywidget.AnyWidget):
    """A panel as a widget of ipywidgets, for pages without the extension; it draws all itself."""

    _esm = (HERE / "loader.js").read_text("utf-8").replace("VERSION", VERSION)
    _ipython_display_ = None  # that of ipywidgets 7 would cut our text short
    provider = traitlets.Unicode("").tag(sync=True)

    def __init__(self, panel: Panel, provider: str) -> None:
        super().__init__(provider=provider)
        self._panel = panel
        self.on_msg(_listener(weakref.ref(self)))
        views.look(panel, self)

    def received(self, message: Any) -> None:
        """A message of the page."""
        if isinstance(message, dict) and message.get("type") == "code":
            self.send({"type": "code", **CODE, "reload": RELOAD if _extension_is_here() else ""})
        else:
            self._panel.received(message)

    def close(self) -> None:
        """Nothing of it stays in the page, or in the state that JupyterLab may save."""
        if self.layout is not None:
            self.layout.close()
        super().close()

    def view(self) -> dict[str, Any]:
        """What displays it, within a bundle."""
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def __repr__(self) -> str:
        return repr(self._panel)

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        shown, metadata = self._panel.bundle()
        return {**shown, VIEW: self.view()}, metadata


def _extension_is_here() -> bool:
    """Whether the JupyterLab extension is installed where this kernel runs."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return False
    return any(Path(each, "labauth-nb").is_dir() for each in jupyter_path("labextensions"))


def _listener(widget: weakref.ref[Widget]) -> Any:
    """The widget's message callback."""

    def listen(_: object, message: Any, buffers: object) -> None:
        mine = widget()
        if mine is not None:
            mine.received(message)

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


def _without_what_was_typed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in CLEAR else MASK for key, value in message.items()}


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


def _changed(name: str | None = None) -> None:
    """The login `name` has changed (None: any): tell the panels that show it."""
    for panel in views.panels():
        if isinstance(panel, Panel) and panel.concerns(name):
            panel.tell()


def _kernel_id() -> str:
    """The id by which a page knows this kernel; "" where that is not known."""
    try:
        from ipykernel.connect import get_connection_file

        found = re.search(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", get_connection_file())
    except Exception:  # not ipykernel, or not in a kernel
        return ""
    return found[1] if found else ""
