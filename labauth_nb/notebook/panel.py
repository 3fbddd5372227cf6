"""The panels: a form to sign in by, what a login's state is, and the table of all logins.

Only the provider's name is a synced trait ("" for the status panel). All else travels as custom messages, after a `hello`
from the page; a secret travels once, from the page to here, and is never sent back.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
import time
import weakref
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import anywidget
import traitlets
from IPython import get_ipython
from IPython.display import display

from ..clocks import in_words, started
from ..credentials import sources as credentials
from ..credentials import stores
from ..credentials.sources import Found, Place, Sources
from ..credentials.trust import ASKED, DEFAULT, GIVEN, SANDBOX
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    NotSignedIn,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    StoreUnavailable,
    UntrustedOrigin,
    place_of,
)
from ..logins import logins, remembering, signins
from ..logins.logins import Login
from ..logins.plans import Wish
from ..logins.statuses import EXPIRED, Status
from ..masking import MASK, Secret
from ..providers import Field, Method, Provider, find, without_page
from ..tokens.attempts import BUSY, DONE, OVER, Attempt

HERE = Path(__file__).parent
HELLO_SECONDS = 3.0
"""A page that can show the panel says hello within this time; else the question is asked at a prompt."""
PANELS_MOST = 50
"""So many panels, the newest, are told of changes."""
WAIT_SECONDS = 300.0
"""How long a cell waits for its panel, unless --wait says otherwise."""


class FieldState(TypedDict):
    """A field of the form."""

    name: str
    label: str
    hint: str
    """Where to find its value."""
    secret: bool
    optional: bool
    value: str
    """What the box begins with; "" for a secret."""
    supplied: str
    """Who supplies it, where somebody does: a variable in the environment, a file, the keyring."""
    locked: bool
    """Whether it is shown as supplied, and not asked for."""


class PlaceState(TypedDict):
    """An address that a sign-in goes to, as the kernel resolved it: see `credentials.Place`."""

    field: str
    address: str
    by: str


class DoubtState(TypedDict):
    """An address that the person must say yes to."""

    field: str
    address: str
    why: str


class MethodState(TypedDict):
    """A method of the form."""

    name: str
    label: str
    hint: str
    note: str
    browser: bool
    """Whether it signs in on the provider's own page."""
    keeps: list[str]
    """What of it can be remembered: `stores.CREDENTIALS`, `stores.REFRESH_TOKEN`."""
    fields: list[FieldState]
    where: list[PlaceState]
    doubts: list[DoubtState]


class FormState(TypedDict):
    """The form: all methods, so that the page changes between them without a message."""

    methods: list[MethodState]
    method: str
    """The one to begin with."""
    sandbox: bool
    remember: str
    """What is remembered already, or was asked for: one of `keeps`, or ""."""
    store: str
    """Where that is, in words."""
    unavailable: str
    """Why nothing can be remembered, or ""."""
    refused: list[str]
    """What was found and ignored, and why."""


class AttemptState(TypedDict):
    """The browser sign-in under way."""

    where: list[PlaceState]
    url: str
    """The page to sign in on."""
    note: str
    here: bool
    """Whether this browser has proved that it reaches the kernel."""
    proof: str
    """The address that proves it, or ""."""
    offers: bool
    """Whether there is a device code."""
    link: str
    """The page to enter it on, or "" before it was asked for."""
    code: str
    busy: bool
    """Whether a response has come and is being checked."""
    error: str


class LoginState(TypedDict):
    """A login. Times are in seconds; None: unknown, or it never expires."""

    name: str
    title: str
    tenant: str
    address: str
    sandbox: bool
    who: str
    method: str
    status: str
    """One of the five values of `statuses`."""
    left: float | None
    life: float | None
    margin: float | None
    """It is expiring while `left` is at most this."""
    words: str
    """The time left in words, for where `left` is None."""
    renewable: bool
    source: str
    story: str
    note: str
    error: str
    code: str
    """The line that takes a session of it."""
    kept: str


class PanelState(TypedDict):
    """What the page of a `LoginPanel` shows: the attempt if there is one, else the form, else the login."""

    view: Literal["login"]
    title: str
    login: LoginState | None
    form: FormState | None
    attempt: AttemptState | None
    busy: bool
    error: str
    field: str
    """The field that the error concerns, or ""."""
    note: str


class StatusState(TypedDict):
    """What the page of a `StatusPanel` shows."""

    view: Literal["status"]
    rows: list[LoginState]
    note: str
    empty: str
    """The text where there is no login."""


class ResolvedState(TypedDict):
    """The address that a typed tenant stands for, or why it stands for none."""

    number: int
    """That of the page's question."""
    address: str
    error: str


class Panel(anywidget.AnyWidget):
    """What both panels share: the page's messages go to `_heard`, each in a thread; `tell` sends the state to every view."""

    _esm = HERE / "panel.js"
    _css = HERE / "panel.css"
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
            # ipykernel 7.0 looks the running cell up in a context variable, which a thread of its own does not have.
            self._context.copy().run(self.send, message)

    def greeted(self) -> None:
        """A page said hello."""

    def heard(self, message: Mapping[str, Any]) -> None:
        """Do what the page asks for: renew or log out of a login, by its name."""
        self.note = ""
        try:
            login = logins.get(str(message.get("name")))
            if message.get("type") == "renew":
                login.refresh()
            elif message.get("type") == "logout":
                # Nobody can be asked at a prompt here: what was pasted is left alone at the provider.
                self.note = " ".join(logins.logout(login.name, revoke=None if login.method.issued_here else False))
        except LabauthError as error:
            self.note = "" if isinstance(error, ProviderError | ProviderUnreachable) else str(error)
        self.tell()

    note = ""


def _listener(panel: weakref.ref[Panel]) -> Any:
    """The widget's message callback. It starts a thread where it can, as a sign-in may take long."""

    def listen(_: object, message: Any, buffers: object) -> None:
        mine = panel()
        if mine is None or not isinstance(message, dict):
            return
        if message.get("type") == "hello":
            mine.greeted()
            mine.tell()
        else:
            typed = _typed(message)
            message.update(_without_what_was_typed(message))  # the kernel keeps the message: it is "the parent"
            if started(_work, mine, typed, name="labauth panel") is None:
                _work(mine, typed)

    return listen


def _work(panel: Panel, message: Mapping[str, Any]) -> None:
    """Do what the page asks for. Nothing is raised: a thread's traceback would print frames that hold what was typed."""
    try:
        panel.heard(message)
    except BaseException as error:
        panel.note = _failed(error)
        with suppress(Exception):
            panel.tell()


def _failed(error: BaseException) -> str:
    return f"That failed unexpectedly ({place_of(error)}). Please try again; if it recurs, report it."


_KEPT = ("type", "method", "name", "remember", "number")
"""What a page's message says that is no secret; what was typed stands beside it."""


def _without_what_was_typed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in _KEPT else MASK for key, value in message.items()}


def _typed(message: Mapping[str, Any]) -> dict[str, Any]:
    """`message` with all that was typed as `Secret`, so that no frame that holds it shows it."""
    fields = message.get("fields")
    typed = {str(k): Secret(v) for k, v in fields.items()} if isinstance(fields, dict) else {}
    text = {key: Secret(message[key]) for key in ("text", "tenant") if isinstance(message.get(key), str)}
    return {**message, **text, "fields": typed}


class _PageFilter(logging.Filter):
    """Takes what was typed out of the messages that the comm package and ipykernel log at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        record.args = _clean(arguments) if isinstance(arguments, Mapping) else tuple(map(_clean, arguments or ()))
        return True


def _clean(value: Any) -> Any:
    """`value` with each custom comm message in it without what was typed; anything else is left as it is."""
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
    del logins.watchers[:-PANELS_MOST]  # ipywidgets keeps every panel of a kernel, also those of cells that were run again


def _row(login: Login) -> LoginState:
    """What a page shows of a login."""
    return {
        "name": login.name,
        "title": login.provider.title,
        "tenant": login.tenant,
        "address": login.address,
        "sandbox": login.sandbox,
        "who": login.who or "",
        "method": login.method.label,
        "status": login.status,
        "left": login.seconds_left,
        "life": login.life,
        "margin": login.margin,
        "words": login.time_left,
        "renewable": login.renewable,
        "source": login.found.source(),
        "story": "" if login.sandbox else login.found.story(),
        "note": login.clock_note,
        "error": login.last_error,
        "code": f"lab = %labauth session {login.name}",
        "kept": login.kept,
    }


_remembered: dict[tuple[str, str], dict[str, str]] = {}
"""What was typed at the last sign-in by provider and login name, and is no secret: the next form starts with it."""


class LoginPanel(Panel):
    """One login: the form while it is signed out or has expired for good, else who you are and how long it lasts."""

    def __init__(self, wish: Wish, ask: bool, sources: Sources | None = None) -> None:
        """`ask`: what is found may be typed over; `sources`: as read for this wish."""
        self._sources = sources or Sources(line=wish.line)
        self._sources.form = True
        self._wish, self._ask, self._provider = wish, ask, find(wish.provider)
        self._name = wish.name or self._provider.name
        self._attempt: Attempt | None = None
        self._where: list[PlaceState] = []
        """Where the browser sign-in under way goes to."""
        self._shown: dict[str, set[str]] = {}
        """The addresses that the form shows, by method."""
        self._declined = False
        self._begins = False
        """Whether the browser sign-in begins as soon as a page is there: nothing has to be filled in."""
        self._error: LabauthError | None = None
        self._busy = False
        self._asking = ask
        self._seen, self._answered = threading.Event(), threading.Event()
        super().__init__(self._provider.name)

    @property
    def login(self) -> Login | None:
        """The login of this panel's name, where it is this provider's and signed in."""
        login = logins.find(self._name)
        return login if login is not None and login.signed_in and login.provider is self._provider else None

    def state(self) -> PanelState:
        login = self.login
        over = login is not None and login.status == EXPIRED and not login.renewable
        form = login is None or over or self._asking
        return {
            "view": "login",
            "title": self._provider.title,
            "login": None if login is None else _row(login),
            "form": self._form() if form else None,
            "busy": self._busy,
            "error": str(self._error or ("The login has expired: sign in again." if over else "")),
            "field": getattr(self._error, "field", None) or "",
            "note": self.note,
            "attempt": self._under_way(),
        }

    def _under_way(self) -> AttemptState | None:
        """The browser sign-in under way, if any. Its address holds the state: it goes to the page, and is stored nowhere."""
        attempt = self._attempt
        if attempt is None or attempt.state in (DONE, OVER):
            return None
        code = attempt.device()[1] if attempt.device_link else ""
        return {
            "where": self._where,
            "url": str(attempt.url),
            "note": attempt.note,
            "here": attempt.here,
            "proof": attempt.proof,
            "offers": attempt.offers_device,
            "link": attempt.device_link,
            "code": code,
            "busy": attempt.state == BUSY,
            "error": str(attempt.error or ""),
        }

    def _form(self) -> FormState:
        methods: list[MethodState] = []
        why = stores.unavailable(self._wish.store)
        for method in credentials.allowed(self._provider):
            found = self._found(method)
            fields = [self._field(field, found) for field in (self._provider.tenant, *method.fields)]
            flow = method.flow
            able = not method.job_variable and (flow is None or method.refreshes)
            where, doubts = self._sends_to(method, found), self._doubts(method, found)
            self._shown[method.name] = {each["address"] for each in (*where, *doubts)}
            keeps = [stores.REFRESH_TOKEN] if flow else [stores.CREDENTIALS, *([stores.REFRESH_TOKEN] * method.refreshes)]
            methods.append(
                {
                    "name": method.name,
                    "label": method.label,
                    "hint": method.hint,
                    "note": flow.note if flow else "",
                    "browser": flow is not None,
                    "keeps": keeps if able else [],
                    "fields": fields,
                    "where": where,
                    "doubts": doubts,
                }
            )
        try:
            kept = stores.remembered(self._provider.name, self._name)
        except StoreUnavailable as error:
            kept, why = [], str(error)
        remember = self._wish.remember or (kept[0].keeps if kept else "")
        chosen = signins._choose_method(self._provider, self._wish.method, self._wish.tenant, {}, self._sources).name
        return {
            "methods": methods,
            "method": chosen,
            "sandbox": signins._is_sandbox(self._wish.tenant),
            "remember": remember,
            "store": remembering.PLACES[self._wish.store],
            "unavailable": why,
            "refused": self._sources.refused,
        }

    def _sends_to(self, method: Method, found: Found) -> list[PlaceState]:
        """Where a sign-in by `method` goes, as far as it is known, and who says so where that is a file of the working tree.

        A tenant of the last sign-in stands in the form, too.
        """
        where = credentials.places(self._provider, method, found)
        last = _remembered.get((self._provider.name, self._name), {}).get("tenant")
        if last and "tenant" not in found.fields:
            where = [Place("tenant", credentials.address_of(self._provider, self._provider.tenant, last)), *where]
        return [{"field": field, "address": address, "by": by} for field, address, by in where]

    def _doubts(self, method: Method, found: Found) -> list[DoubtState]:
        """The addresses that the person must say yes to, and why; a submit of the form that shows them is that yes."""
        known = [d for d in credentials.doubts(self._provider, method, found) if not stores.agreed(d.key, d.address)]
        return [{"address": doubt.address, "field": doubt.field, "why": str(doubt)} for doubt in known]

    def _agree(self, method: Method, seen: set[str]) -> None:
        """The person has seen the addresses `seen`, or typed them, and went on; any other stays in doubt."""
        self._sources.agreed |= seen
        for doubt in credentials.doubts(self._provider, method, self._found(method)):
            if doubt.address in seen:
                stores.agree(doubt.key, doubt.address)

    def _typed_addresses(self, method: Method) -> set[str]:
        """The addresses that were typed into the form. Raises `InvalidInput` for a tenant that is none."""
        given = {"tenant": self._wish.tenant, **self._wish.fields}
        fields = (self._provider.tenant, *method.fields)
        typed = [(f, value) for f in fields if f.address and (value := given.get(f.name))]
        return {credentials.address_of(self._provider, f, value) for f, value in typed}

    def _found(self, method: Method) -> Found:
        """What is there already for `method`: typed before, in the environment, or the sandbox's."""
        known = {f.name: value for f in method.fields if (value := self._wish.fields.get(f.name))}
        try:
            found = credentials.collect(self._provider, method, self._wish.tenant, known, self._sources)
        except InvalidInput:
            found = credentials.collect(self._provider, method, None, known, self._sources)
        if signins._is_sandbox(found.fields.get("tenant")):
            lab, mine = logins.practice_lab(), Found()
            mine.take(self._provider.tenant, "sandbox", found.sources["tenant"])
            for field in method.fields:
                if field.name in known:
                    mine.take(field, known[field.name], GIVEN)
                elif value := lab.credentials(self._provider.name, method.name).get(field.name):
                    mine.take(field, value, SANDBOX)
                elif field.default:
                    mine.take(field, field.default, DEFAULT)
            return mine
        return found

    def _field(self, field: Field, found: Found) -> FieldState:
        source, remembered = found.sources.get(field.name), _remembered.get((self._provider.name, self._name), {})
        typed = source is None or source in (GIVEN, DEFAULT, ASKED)
        supplied = "" if source is None or typed else source.named(found.variables.get(field.name, ""))
        return {
            "name": field.name,
            "label": field.label,
            "hint": field.hint,
            "secret": field.secret,
            "optional": field.optional,
            "value": "" if field.secret else found.fields.get(field.name) or remembered.get(field.name, ""),
            "supplied": supplied,
            "locked": bool(supplied) and not self._ask,
        }

    def greeted(self) -> None:
        """A page said hello."""
        self._seen.set()
        if self._begins:
            self._begins = False
            message: dict[str, Any] = {"method": self._wish.method, "fields": {}, "remember": self._wish.remember}
            if started(self._submit, message, False, name="labauth panel") is None:
                self._submit(message, False)

    def heard(self, message: Mapping[str, Any]) -> None:
        if message.get("type") == "submit":
            self._submit(message)
        elif message.get("type") in ("answer", "device", "cancel"):
            self._answer(message)
        elif message.get("type") == "resolve":
            resolved = self._resolved(str(message.get("tenant") or ""), int(message.get("number") or 0))
            self.post({"type": "resolved", **resolved})
        elif message.get("type") == "decline":
            self._declined = True
            self._answered.set()
        elif message.get("type") == "again":
            self._asking, self._sources = True, Sources(self._sources.line, form=True)
            self.tell()
        else:
            self._error = None
            super().heard(message)

    def _resolved(self, tenant: str, number: int) -> ResolvedState:
        """Which address a typed tenant stands for when it is submitted, or what to give; what was typed is not repeated."""
        address, field = "", self._provider.tenant
        with suppress(InvalidInput):
            address = credentials.address_of(self._provider, field, credentials.healed(self._provider, field, tenant))
        return {"number": number, "address": address, "error": "" if address or not tenant else f"Give {field.hint}."}

    def _submit(self, message: Mapping[str, Any], seen: bool = True) -> None:
        """Sign in with what the form holds; `seen`: a person has sent it, and has seen where it goes."""
        given = message.get("fields")
        given = given if isinstance(given, dict) else {}
        typed = {str(k): Secret(v) for k, v in given.items() if isinstance(v, str)}
        self._busy, self._error, self.note = True, None, ""
        self.tell()
        chosen = self._provider.methods[0]
        try:
            chosen = self._provider.method(str(message.get("method") or chosen.name))
            shown = self._shown.get(chosen.name, set())
            typed = {
                f.name: Secret(credentials.healed(self._provider, f, typed[f.name]))
                for f in (self._provider.tenant, *chosen.fields)
                if f.name in typed
            }
            # What is kept here comes back.
            credentials.refuse_secrets((self._provider.tenant, *chosen.fields), typed)
            tenant = without_page(str(typed.pop("tenant", self._wish.tenant or ""))) or None
            plain = {f.name: str(typed[f.name]) for f in chosen.fields if not f.secret and f.name in typed}
            self._wish = replace(
                self._wish,
                method=chosen.name,
                tenant=tenant,
                fields={**self._wish.fields, **plain},
                remember=str(message.get("remember") or ""),
            )
            values = {f.name: typed.get(f.name) or self._wish.fields.get(f.name) for f in chosen.fields}
            wish = replace(self._wish, fields={name: Secret(value) for name, value in values.items() if value})
            if seen:
                self._agree(chosen, shown | self._typed_addresses(chosen))
            if self._attempt is not None:
                self._attempt.cancel()
            if chosen.flow is not None:
                self._attempt, self._where = None, self._sends_to(chosen, self._found(chosen))
                self._attempt = signins.start(wish, self._moved, self._sources)
            else:
                signins.sign_in(wish, False, self._sources)
                self._signed_in()
        except LabauthError as error:
            self._error = self._explained(error, chosen)
        except BaseException as error:
            self._error = LabauthError(_failed(error))
        finally:
            self._busy = False
            typed.clear()
            self.tell()

    def _signed_in(self) -> None:
        self._asking = False
        plain = {name: value for name, value in self._wish.fields.items() if value}
        _remembered[self._provider.name, self._name] = {"tenant": self._wish.tenant or "", **plain}
        self._answered.set()

    def _moved(self) -> None:
        """The browser sign-in under way has moved on."""
        attempt = self._attempt
        if attempt is None:
            return
        if attempt.state == DONE:
            self._attempt = None
            self._signed_in()
        elif attempt.state == OVER:
            self._attempt, self._error = None, attempt.error
        self.tell()

    def _answer(self, message: Mapping[str, Any]) -> None:
        """What the page says to the browser sign-in under way. What goes wrong is kept by the attempt, and told."""
        attempt = self._attempt
        if attempt is None:
            self.note = "This sign-in attempt has ended. Start again from the notebook."
            return self.tell()
        self.note = ""
        try:
            match message.get("type"):
                case "answer":
                    attempt.answer(str(message.get("text") or ""))
                case "device":
                    attempt.device()
                case "cancel":
                    attempt.cancel()
        except LabauthError:
            self.tell()

    def _explained(self, error: LabauthError, method: Method) -> LabauthError:
        """`error` with the field that it concerns, where its kind tells; the person who can fill a field in is here."""
        fields = {f.name: f for f in (self._provider.tenant, *method.fields)}
        if isinstance(error, UntrustedOrigin):
            return UntrustedOrigin("Nothing was sent yet: look at the address first, then send the form again.")
        if isinstance(error, MissingCredentials) and error.field in fields and not method.job_variable:
            wanted = fields[error.field]
            error = MissingCredentials(f"{wanted.label} is missing: fill it in ({wanted.hint}).")
            error.field = wanted.name
        if error.field is None:
            if isinstance(error, LoginExpired) or (isinstance(error, SignInRefused) and error.status in (400, 401)):
                error.field = method.secret.name if method.flow is None else None
            elif isinstance(error, InvalidInput | ProviderUnreachable):
                error.field = "issuer" if "issuer" in fields and method.flow else self._provider.tenant.name
        return error

    async def wait(self, seconds: float) -> None:
        """Wait until the panel is answered. Where no page says hello in 3 s, ask at a prompt instead.

        Raises `NotSignedIn` when it was interrupted or `seconds` are over; the panel stays usable.
        """
        name, command = self._provider.title, self._command()
        try:
            try:
                await _within(HELLO_SECONDS, self._seen)
            except TimeoutError:
                if self._provider.method(self._wish.method).flow is not None:
                    raise NotSignedIn(
                        f"The {name} panel cannot be answered while this cell runs (or no page shows it). Sign in there, then "
                        f"run the next cell; in a terminal, {command} works as well.{self._standing()}"
                    ) from None
                with _interruptible():
                    print(signins.sign_in(self._wish, True, self._sources))
                self._asking = False
                self.tell()
                return
            await _within(seconds, self._answered)
            if self._declined:
                raise UntrustedOrigin(f"Nothing was sent. To use a different address, run {command} --tenant NAME")
        except TimeoutError:
            waited = in_words(seconds, exact=seconds % 60 > 0)
            raise NotSignedIn(
                f"Nobody answered the {name} panel in {waited}. Sign in there, then run the next cell; "
                f"or run {command} again.{self._standing()}"
            ) from None
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise NotSignedIn(
                f"Stopped waiting for the {name} panel. Sign in there, then run the next cell; or run {command} again."
                f"{self._standing()}"
            ) from None

    def _standing(self) -> str:
        """What is still there, whatever became of the panel: the panel's own text has just said "Signed in to ..."."""
        login = self.login
        return "" if login is None or login.status == EXPIRED else " The earlier login still stands."

    def _command(self) -> str:
        options = (("tenant", self._wish.tenant), ("method", self._wish.method), ("as", self._name))
        given = [f" --{option} {value}" for option, value in options if value and value != self._provider.name]
        return f"%labauth login {self._provider.name}{''.join(given)}"

    def __repr__(self) -> str:
        login = self.login
        return repr(login) if login is not None else f"{self._provider.title}: a panel to sign in by. Not signed in yet."

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return _with_text(super()._repr_mimebundle_(**options), repr(self))


class StatusPanel(Panel):
    """The table of all logins, counting down."""

    def __init__(self, status: Status, name: str | None) -> None:
        self._status, self._name = status, name
        super().__init__("")

    def state(self) -> StatusState:
        rows = [_row(each) for each in logins.known() if self._name in (None, each.name)]
        return {"view": "status", "rows": rows, "note": self.note, "empty": repr(Status([]))}

    def __repr__(self) -> str:
        return repr(self._status)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return _with_text(super()._repr_mimebundle_(**options), repr(self), self._status._repr_html_())


def _with_text(bundle: Any, text: str, html: str | None = None) -> Any:
    """The widget's mime bundle with a text that stays the same from run to run (nbval compares it), and a static table."""
    content, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return {**content, "text/plain": text, **({"text/html": html} if html else {})}, metadata


async def _within(seconds: float, event: threading.Event) -> None:
    """Let the kernel work until `event`; raises `TimeoutError`. It wakes often: ipykernel sees an interrupt only then.

    The event is a thread's, as on ipykernel 7.0 to 7.3 messages come on a subshell's thread.
    """
    end = time.monotonic() + seconds
    while not event.is_set():
        if time.monotonic() >= end:
            raise TimeoutError
        await asyncio.sleep(0.1)


@contextmanager
def _interruptible() -> Iterator[None]:
    """In an async cell ipykernel turns SIGINT into a cancellation, which a prompt never sees: put Python's own way back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_login(wish: Wish, ask: bool, wait: float | None, awaited: bool) -> Awaitable[None] | None:
    """What ``%labauth login`` does in a kernel: signs in with what is there, else shows the panel and waits for it.

    `ask`: show it even where nothing is missing; `wait`: for so many seconds (None: not at all); `awaited`: the cell
    awaits what this gives. Raises what `login` raises where nobody can answer.
    """
    chosen, sources = find(wish.provider), Sources(line=wish.line)
    error: LabauthError | None = None
    answered = credentials.can_ask()
    if not ask or not answered:
        try:
            with _interruptible():
                mine = signins.sign_in(wish, False, sources)
        except KeyboardInterrupt:
            raise NotSignedIn(f"Stopped signing in to {chosen.title}.") from None
        except LabauthError as caught:
            one_time = isinstance(caught, SignInRefused) and caught.field == "otp"
            form = one_time or isinstance(caught, MissingCredentials | UntrustedOrigin)
            if not answered or not form or _is_job(chosen, wish.method):
                raise
            error = caught if one_time else None
        else:
            signed = Wish(chosen.name, mine.method.name, wish.tenant, mine.name, line=wish.line)
            display(LoginPanel(signed, False, sources))  # type: ignore[no-untyped-call]
            return _nothing() if awaited else None
    if wish.tenant is not None and not signins._is_sandbox(wish.tenant):
        chosen.origin(wish.tenant)
    way = signins._choose_method(chosen, wish.method, wish.tenant, wish.fields, sources)
    wish = replace(wish, method=way.name if wish.method or way.flow else None)
    wish = replace(wish, name=signins._checked_name(wish.name or chosen.name))
    panel = LoginPanel(wish, ask, sources)
    panel._error, panel._asking = error, True  # also where an older login of that name is still there
    found = panel._found(way)
    complete = "tenant" in found.fields and not found.missing(way)
    panel._begins = way.flow is not None and not ask and complete and not panel._doubts(way, found)
    display(panel)  # type: ignore[no-untyped-call]
    if wait is None:
        return _nothing() if awaited else None
    if not awaited:
        raise NotSignedIn(
            "This cell cannot wait for the panel (inside if, def, with, %%time, %%capture or a thread). Sign in there and run "
            f"the next cell; or put %labauth login {chosen.name} at the left margin of a cell of its own."
        )
    return panel.wait(wait)


def _is_job(provider: Provider, method: str | None) -> bool:
    return method is not None and bool(provider.method(method).job_variable)


async def _nothing() -> None:
    return None


def show_status(name: str | None) -> None:
    """Show the status panel; its text form is the same table."""
    display(StatusPanel(logins.status(name), name))  # type: ignore[no-untyped-call]
