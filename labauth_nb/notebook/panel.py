"""The panels: a form to sign in by, what a login's state is, and the table of all logins.

A cell waits for its form.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from html import escape
from typing import Any

from IPython.display import display

from ..clocks import hour, in_words, started
from ..credentials import sources as credentials
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    NotSignedIn,
    ProviderUnreachable,
    SignInRefused,
    UntrustedOrigin,
)
from ..logins import logins, plans, signins
from ..logins.logins import Login
from ..logins.plans import Plan, Wish
from ..logins.statuses import EXPIRED, Status
from ..masking import Secret
from ..providers import without_page
from ..tokens.attempts import DONE, OVER, Attempt
from . import terminal, views
from .cards import (
    STANDS,
    FormState,
    PanelState,
    ResolvedState,
    StatusState,
    attempt_state,
    card_state,
    form_state,
    login_state,
    resolved_state,
    status_state,
    still,
    typed_before,
)
from .seals import Seals
from .widget import VIEW, Bundle, Panel, Past, Widget, failed

EXTENSION_SECONDS = 1.0
"""A page with the JupyterLab extension says hello within this time; else a widget is shown."""
HELLO_SECONDS = 3.0
"""A page that can show the widget says hello within this time; else the question is asked at a
prompt."""
WAIT_SECONDS = 300.0
"""How long a cell waits for its panel, unless --wait says otherwise."""
LONGER_SECONDS = 300.0
"""How much longer it waits when the person asks for that."""


class LoginPanel(Panel):
    """One login.

    The form while it is signed out or has expired for good, else who you are and how long it lasts.

    `plan`: what the form shows; `attempt`: the browser sign-in under way; `error`: what went wrong
    last.
    """

    def __init__(self, plan: Plan, ask: bool = False, form: bool | None = None) -> None:
        """`ask`: what was found may be typed over.

        `form`: show it although there is a login (None: by `ask`).
        """
        self._provider, self._name = plan.provider, plan.name
        self.plan, self.attempt = plan, None
        self.error: LabauthError | None = None
        self._ask, self._form_open, self._busy = ask, ask if form is None else form, False
        self._seen, self._answered = threading.Event(), threading.Event()
        self._seals = Seals()
        self._login: Login | None = None
        self._ended = self._said = self._text = ""
        self._left = False
        self._since: float | None = None
        self._patience = 0.0
        self._widget: Widget | None = None
        self._shown: Bundle | None = None
        super().__init__()

    @property
    def plan(self) -> Plan:
        """What is known of the sign-in, without the secrets that were typed.

        After one it is made again, when it is needed.
        """
        if self._plan is None:
            self.plan = plans.plan(self._wish, recalling=False)
        assert self._plan is not None
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._plan: Plan | None = plan
        self._wish = plan.wish
        self._form: FormState | None = None

    def forget(self) -> None:
        """Keep nothing of what was found, or remembered: the sign-in is done."""
        self._wish = replace(self.plan.wish, method=self.plan.method.name, remember="")
        self._plan = self._form = None

    attempt: Attempt | None

    @property
    def login(self) -> Login | None:
        """The login that this panel shows, for as long as it is signed in under its name.

        Another one of that name is another cell's.
        """
        now = logins.find(self._name)
        if now is None or not now.signed_in or now.provider is not self._provider:
            return None
        if self._login is None:
            self._login = now
        return now if now is self._login else None

    def line(self) -> str:
        """What is left of a login that was logged out or replaced; "" where nothing was."""
        if self._login is None or self.login is not None or self._form_open:
            return ""
        self._ended = self._ended or hour()
        return f"Signed out of {self._provider.title} at {self._ended}."

    @property
    def asking(self) -> bool:
        """Whether it shows a form that somebody has to fill in."""
        return self._form_open

    def concerns(self, name: str | None) -> bool:
        """Whether it is of that name."""
        return name in (None, self._name)

    def state(self) -> PanelState:
        """What the page shows."""
        login, line = self.login, self.line()
        form = self.form() if not (login or line) or self._form_open else None
        return {
            "view": "login",
            "title": self._provider.title,
            "login": None if login is None else login_state(login),
            "line": line,
            "form": form,
            "busy": self._busy,
            "error": str(self.error or ""),
            "field": (self.error and self.error.field) or "",
            "note": self.note,
            "attempt": attempt_state(self.attempt, self.plan) if self.attempt is not None else None,
            "wait": None if self._since is None else self._seconds_left(),
            "seal": self._seals.state() if form or self.attempt is not None else None,
        }

    def past(self) -> Past:
        """Who signed in, or that nobody did yet; the text is the same until that changes."""
        login, title, line = self.login, self._provider.title, self.line()
        said = f"{title}: not signed in yet. Run this cell to sign in."
        if login is not None:
            who = f" as {login.who}" if login.who else ""
            said = f"Signed in to {title}{who}. Run this cell to sign in again."
        elif line:
            said = f"{line} Run this cell to sign in again."
        if said != self._said:
            self._said, self._text = said, repr(self)
        return Past(said, self._text, still(self.state()))

    def tell(self) -> None:
        """Send the state to the pages; where a widget stands in, display what it became."""
        self.line()  # that a login has ended is noticed now, also where no page is told
        super().tell()
        shown = self._with_widget()
        if self._widget is not None and shown != self._shown:
            self._shown = shown
            self._published(update=True)

    def show(self) -> None:
        """Display it."""
        self._published()

    def _published(self, update: bool = False) -> None:
        data, metadata = self._with_widget()
        more = {"raw": True, "metadata": metadata, "display_id": self.id, "update": update}
        self.in_its_cell(lambda: display(data, **more))  # type: ignore[no-untyped-call]

    def _with_widget(self) -> Bundle:
        """What is displayed: with the widget's view while it is one that can be filled in."""
        data, metadata = self.bundle()
        if self._widget is not None and self._form_open and not self._left:
            data = {**data, VIEW: self._widget.view()}
        return data, metadata

    def fall_back(self) -> None:
        """Show a widget, where no page of the extension has said hello."""
        if self._widget is None and not self._seen.is_set():
            self._widget = Widget(self, self._provider.name)
            self.tell()

    def taken_over(self) -> None:
        """Take the widget away again: a page of the extension was only slow."""
        stand_in, self._widget = self._widget, None
        if stand_in is not None:
            self.views = [each for each in self.views if each is not stand_in]
            stand_in.close()
            self._published(update=True)

    def fall_back_later(self) -> None:
        """As `fall_back`, after the time that the extension has."""
        started(self._late, name="labauth panel")

    def _late(self) -> None:
        self._seen.wait(EXTENSION_SECONDS)
        self.fall_back()

    def form(self) -> FormState:
        """What the page shows of the plan.

        Made once for each plan, so that a message looks nothing up.
        """
        if self._form is None:
            self._form = form_state(self.plan, self._ask)
        return self._form

    def greeted(self) -> None:
        """A page said hello.

        To the first, a browser sign-in begins by itself where nothing has to be filled in.
        """
        first = not self._seen.is_set()
        self._seen.set()
        if not first or self._ask or not self._form_open:
            return
        if (
            self.plan.method.flow is not None
            and self.plan.ready
            and started(self._begin, name="labauth panel") is None
        ):
            self._begin()

    def heard(self, message: Mapping[str, Any]) -> None:
        """Act on what the page sends; what goes wrong is shown there."""
        try:
            message = self._seals.opened(message)
        except InvalidInput as error:
            self._unread(error)
            return
        match message.get("type"):
            case "submit":
                self._submitted(message)
            case "answer" | "device" | "cancel":
                self._answer(message)
            case "resolve":
                resolved = self._resolved(
                    str(message.get("tenant") or ""), int(message.get("number") or 0)
                )
                self.post({"type": "resolved", **resolved})
            case "decline":
                self.error = UntrustedOrigin(
                    f"Nothing was sent. To use a different address, run {self._command()} --tenant"
                    " NAME"
                )
                self._answered.set()
            case "longer" | "leave" as kind:
                self._waits(kind == "longer")
            case "again":
                with self._at_work():
                    self._form_open, self.plan = True, plans.plan(self.plan.wish, recalling=False)
            case _:
                self.error = None
                super().heard(message)

    def _unread(self, error: InvalidInput) -> None:
        """What was typed does not open: the page says so, and has a new key for it."""
        self.error, self.note = error.again(), ""
        self.tell()

    def _resolved(self, tenant: str, number: int) -> ResolvedState:
        """Which address a typed tenant stands for when it is submitted, or what to give.

        What was typed is not repeated.
        """
        address, provider = "", self.plan.provider
        with suppress(InvalidInput):
            typed = credentials.healed(provider, provider.tenant, tenant)
            address = credentials.address_of(provider, provider.tenant, typed)
        error = "" if address or not tenant else f"Give {provider.tenant.hint}."
        return resolved_state(self.plan, number, address, error)

    def _waits(self, longer: bool) -> None:
        """Let the cell wait longer for this panel, or not any more."""
        self._patience = self._patience + LONGER_SECONDS if longer else 0.0
        self.tell()

    def _seconds_left(self) -> float:
        """How long the cell that waits for this panel still does."""
        return max((self._since or 0.0) + self._patience - time.monotonic(), 0.0)

    def _submitted(self, message: Mapping[str, Any]) -> None:
        """Sign in with what the form holds: a person has sent it, and has seen where it goes."""
        with self._at_work():
            method = self.plan.provider.method(
                str(message.get("method") or self.plan.provider.methods[0].name)
            )
            self.plan = self.plan.by(method)
            self._carry_out(self._filled(message))

    def _begin(self) -> None:
        """Begin the browser sign-in that nothing is missing for."""
        with self._at_work():
            self._carry_out(self.plan)

    def _carry_out(self, plan: Plan) -> None:
        if self.attempt is not None:
            self.attempt.cancel()
        self.attempt = None
        result = signins.resumed(plan, attended=True)
        if isinstance(result, Plan) and result.method.flow is not None:
            self.attempt = signins.attempt(result, self._moved, attended=True)
            return
        if isinstance(result, Plan):
            signins.carry_out(result, attended=True)
        self._signed_in()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """The page shows that something is under way; what goes wrong is its error."""
        self._busy, self.error, self.note = True, None, ""
        self.tell()
        try:
            yield
        except LabauthError as error:
            self.error = self.explained(error).again()  # without frames, which hold what was typed
        except BaseException as error:
            self.error = LabauthError(failed(error))
        finally:
            self._busy = False
            self.tell()

    def _filled(self, message: Mapping[str, Any]) -> Plan:
        """The plan with what the form holds. Without its secrets it is the panel's from now on.

        Raises `InvalidInput` for what cannot be sent; what is kept here comes back, so a secret in
        it is refused.
        """
        remember = str(message.get("remember") or "")
        shown = self._kept_here() if remember else self.plan
        provider, given = shown.provider, message.get("fields")
        fields = (provider.tenant, *shown.method.fields)
        typed = (
            {str(k): Secret(v) for k, v in given.items() if isinstance(v, str)}
            if isinstance(given, dict)
            else {}
        )
        typed = {
            f.name: Secret(credentials.healed(provider, f, typed[f.name]))
            for f in fields
            if f.name in typed
        }
        credentials.refuse_secrets(fields, typed)
        plain = {f.name: str(typed.pop(f.name)) for f in fields if not f.secret and f.name in typed}
        if "tenant" in plain:
            plain["tenant"] = without_page(plain["tenant"])
        seen = {place.address for place in shown.places} | {doubt.address for doubt in shown.doubts}
        try:
            self.plan = shown.filled(plain, remember=remember)
        except InvalidInput:
            with suppress(InvalidInput):  # what the form shows for no tenant at all
                self.plan = shown.filled({**plain, "tenant": ""}, remember=remember)
            raise
        seen |= {
            credentials.address_of(provider, f, plain[f.name])
            for f in fields
            if f.address and plain.get(f.name)
        }
        self.plan = signins.agreed(self.plan, seen)
        return self.plan.filled({name: value for name, value in typed.items() if value}, seen)

    def _kept_here(self) -> Plan:
        """The plan, with the store that its form has named to the person."""
        store = self.form()["store"] or self.plan.wish.store
        return replace(self.plan, wish=replace(self.plan.wish, store=store))

    def _signed_in(self) -> None:
        self._form_open, self._login, self._ended = False, None, ""
        wish = self.plan.wish
        typed_before[self._provider.name, self._name] = {**wish.given, "tenant": wish.tenant or ""}
        self.forget()
        self._answered.set()

    def _moved(self) -> None:
        """The browser sign-in under way has moved on."""
        attempt = self.attempt
        if attempt is None:
            return
        if attempt.state == DONE:
            self.attempt = self.error = None
            self._signed_in()
        elif attempt.state == OVER:
            self.attempt, self.error = None, attempt.error
        self.tell()

    def _answer(self, message: Mapping[str, Any]) -> None:
        """What the page says to the browser sign-in under way.

        What goes wrong is kept by the attempt, and told.
        """
        attempt = self.attempt
        if attempt is None:
            self.note = "This sign-in attempt has ended. Start again from the notebook."
            return self.tell()
        self.note, self.error = "", None
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

    def explained(self, error: LabauthError) -> LabauthError:
        """`error` with the field that it concerns, where its kind tells.

        The person who can fill a field in is here.
        """
        method, tenant = self.plan.method, self.plan.provider.tenant
        fields = {f.name: f for f in (tenant, *method.fields)}
        if isinstance(error, UntrustedOrigin):
            return UntrustedOrigin(
                "Nothing was sent yet: look at the address first, then send the form again."
            )
        if (
            isinstance(error, MissingCredentials)
            and error.field in fields
            and not method.job_variable
        ):
            wanted = fields[error.field]
            error = MissingCredentials(f"{wanted.label} is missing: fill it in ({wanted.hint}).")
            error.field = wanted.name
        if not error.field:
            if isinstance(error, LoginExpired) or (
                isinstance(error, SignInRefused) and error.status in (400, 401)
            ):
                error.field = method.secret.name if method.flow is None else None
            elif isinstance(error, InvalidInput | ProviderUnreachable):
                error.field = "issuer" if "issuer" in fields and method.flow else tenant.name
        return error

    async def wait(self, seconds: float) -> None:
        """Wait until the panel is answered.

        Where no page says hello in 4 s, ask at a prompt instead.

        Raises `NotSignedIn` when it was interrupted, the person gave the cell back, or `seconds`
        (and what the person added to them) have passed; the panel stays usable.
        """
        name, command = self.plan.provider.title, self._command()
        self._patience = seconds
        try:
            if not await self._greeted():
                return self._ask_at_a_prompt(name, command)
            self._since = time.monotonic()
            self.tell()
            await _within(self._seconds_left, self._answered)
            if isinstance(self.error, UntrustedOrigin):
                raise self.error
        except (TimeoutError, asyncio.CancelledError, KeyboardInterrupt) as stopped:
            said = f"Stopped waiting for the {name} panel."
            if isinstance(stopped, TimeoutError) and self._patience > 0:
                waited = in_words(self._patience, exact=self._patience % 60 > 0)
                said = f"Nobody answered the {name} panel in {waited}."
            then = "Sign in there, then run the next cell; or run"
            if self._widget is not None:  # which is taken away, as it is dead tomorrow
                then = "To sign in, run"
            raise NotSignedIn(f"{said} {then} {command} again.{self._standing()}") from None
        finally:
            self._left, self._since = True, None
            self.tell()

    async def _greeted(self) -> bool:
        """Whether a page said hello: one of the extension, or one that shows the widget."""
        with suppress(TimeoutError):
            await _within(_for(EXTENSION_SECONDS), self._seen)
            return True
        self.fall_back()
        with suppress(TimeoutError):
            await _within(_for(HELLO_SECONDS), self._seen)
        return self._seen.is_set()

    def _ask_at_a_prompt(self, name: str, command: str) -> None:
        """Sign in at a prompt, as no page shows the panel."""
        if self.plan.method.flow is not None:
            raise NotSignedIn(
                f"The {name} panel cannot be answered while this cell runs (or no page shows it)."
                f" Sign in there, then run the next cell; in a terminal, {command} works as"
                f" well.{self._standing()}"
            ) from None
        with _interruptible():
            print(terminal.sign_in(self.plan))
        self._form_open, self._login, self._ended = False, None, ""
        self.forget()
        self.tell()

    def _standing(self) -> str:
        """What is still there, whatever became of the panel.

        The panel's own text has just said "Signed in to ...".
        """
        login = self.login
        return (
            ""
            if login is None or login.status == EXPIRED
            else " The earlier login is still active."
        )

    def _command(self) -> str:
        """What to type to get this panel again."""
        plan = self.plan
        method = plan.method.name if plan.wish.method or plan.method.flow else None
        options = (("tenant", plan.wish.tenant), ("method", method), ("as", plan.name))
        given = [
            f" --{option} {value}"
            for option, value in options
            if value and value != plan.provider.name
        ]
        return f"%labauth login {plan.provider.name}{''.join(given)}"

    def __repr__(self) -> str:
        login = self.login
        if login is not None:
            return repr(login)
        return self.line() or f"{self._provider.title}: a panel to sign in by. Not signed in yet."


class StatusPanel(Panel):
    """The table of all logins, counting down; a sentence once there is a newer one."""

    def __init__(self, status: Status, name: str | None) -> None:
        self._status, self._name, self._snapshot = status, name, ""
        self._said, self._at = "", ""
        self._ran = self._sentence(f" at {hour()}")
        self._html = f"<p>{escape(self._sentence(' when this cell ran'))}</p>"
        super().__init__()

    def _rows(self) -> list[Login]:
        return [each for each in logins.known() if self._name in (None, each.name)]

    def _sentence(self, when: str) -> str:
        """How many logins there were `when`, and which of them needed somebody; how one stood."""
        rows = self._rows()
        if self._name is not None and len(rows) == 1:
            return f"Login {self._name}{when}: {STANDS[card_state(rows[0])]}."
        needed = [each.name for each in rows if card_state(each) == "needs"]
        many = f"{len(rows) or 'No'} login{'' if len(rows) == 1 else 's'}{when}"
        one = "one needs" if len(needed) == 1 else f"{len(needed)} need"
        return f"{many}, {one} you: {', '.join(needed)}." if needed else f"{many}."

    def _now(self) -> str:
        return f" Run this cell to see {'it' if len(self._rows()) == 1 else 'them'} now."

    def concerns(self, name: str | None) -> bool:
        """Whether its table shows the login."""
        return not self._snapshot and (name is None or self._name in (None, name))

    def covers(self, older: StatusPanel) -> bool:
        """Whether `older` shows nothing that this does not."""
        return older is not self and self._name in (None, older._name)

    def end(self) -> None:
        """There is a newer table: from now on this is a sentence, of when the cell ran."""
        self._snapshot = self._ran + self._now()
        self.tell()

    def state(self) -> StatusState:
        """The table that the page shows."""
        return status_state(self._name, self.note, self._snapshot)

    def heard(self, message: Mapping[str, Any]) -> None:
        """As any panel. "again" opens the form in the cell of that login, or says what to run."""
        login = logins.find(str(message.get("name")))
        if message.get("type") != "again" or login is None:
            super().heard(message)
            return
        mine = (each for each in views.panels() if isinstance(each, LoginPanel) and each.views)
        forms = [each for each in mine if each.login is login]
        for each in forms:
            each.heard({"type": "again"})
        self.note = f"To sign in again, run {login.command}"
        if forms:
            self.note = f"Sign in to {login.name} in the cell of its login: the form is open there."
        self.tell()

    def past(self) -> Past:
        """How many logins there were when that last changed; the table is that of the run."""
        if not self._snapshot and (said := self._sentence("")) != self._said:
            self._said, self._at = said, hour()
        sentence = self._snapshot or self._sentence(f" at {self._at}") + self._now()
        return Past(sentence, repr(self), html=self._html + self._status._repr_html_())

    def __repr__(self) -> str:
        return repr(self._status)


async def _within(left: Callable[[], float], event: threading.Event) -> None:
    """Let the kernel work until `event`; raises `TimeoutError` when `left` is 0 (in seconds).

    It wakes often: ipykernel sees an interrupt only then.

    The event is a thread's, as on ipykernel 7.0 to 7.3 messages come on a subshell's thread.
    """
    while not event.is_set():
        if left() <= 0:
            raise TimeoutError
        await asyncio.sleep(0.1)


def _for(seconds: float) -> Callable[[], float]:
    """What is left of `seconds` that begin now."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


@contextmanager
def _interruptible() -> Iterator[None]:
    """In an async cell ipykernel turns SIGINT into a cancellation, which a prompt never sees.

    Put Python's own way back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_login(wish: Wish, ask: bool, wait: float | None, awaited: bool) -> Awaitable[None] | None:
    """What ``%labauth login`` does in a kernel.

    Signs in with what is there, else shows the panel and waits for it.

    `ask`: show it even where nothing is missing; `wait`: for so many seconds (None: not at all);
    `awaited`: the cell awaits what this gives. Raises what `login` raises where nobody can answer.
    """
    if _in_voila():
        display(Widget(_made(wish, ask, True), wish.provider))  # type: ignore[no-untyped-call]
        return _nothing() if awaited else None
    panel = _made(wish, ask, terminal.can_ask())
    panel.show()
    if not panel.asking:
        return _nothing() if awaited else None
    if wait is None or not awaited:
        panel.fall_back_later()
    if wait is None:
        return _nothing() if awaited else None
    if not awaited:
        raise NotSignedIn(
            "This cell cannot wait for the panel (inside if, def, with, %%time, %%capture or a"
            " thread). Sign in there and run the next cell; or put %labauth login"
            f" {panel.plan.provider.name} at the left margin of a cell of its own."
        )
    return panel.wait(wait)


def panel(
    provider: str, method: str | None = None, *, tenant: str | None = None, name: str | None = None
) -> Widget:
    """The panel as a widget of ipywidgets, to stand in a VBox, on a Voila page or in marimo.

    It shows the login that is there, or signs in with what is found, as ``%labauth login`` does,
    else it shows the form; nothing waits for it. The arguments are those of `login`, and so is what
    is raised.
    """
    wish = Wish(provider, method, tenant, name)
    if method is None and tenant is None:
        shown = LoginPanel(plans.plan(wish))
        if shown.login is not None and shown.login.status != EXPIRED:
            shown.forget()
            return Widget(shown, provider)
    return Widget(_made(wish, False, True), provider)


def _in_voila() -> bool:
    """Whether a page of Voila is made.

    It shows widgets, is answered once all cells have run, and drops what a display becomes.
    """
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")


def _made(wish: Wish, ask: bool, attended: bool) -> LoginPanel:
    """The panel of a login: signed in where nobody is needed for that, else a form.

    `ask`: a form even so; `attended`: somebody can answer it.
    """
    form = ask and attended
    plan = plans.plan(wish, recalling=not form)
    error: LabauthError | None = None
    if not form:
        with _stoppable(plan.provider.title):
            result, error = _carried_out(plan, attended)
        if isinstance(result, Login):
            done = LoginPanel(plan)
            done.forget()
            return done
        plan = result
    # also where an older login of that name is still there
    asking = LoginPanel(plan, ask, form=True)
    asking.error = error
    return asking


def _carried_out(plan: Plan, attended: bool) -> tuple[Login | Plan, LabauthError | None]:
    """The login, where no person is needed for it.

    Else the plan to show, with what the provider wants to know now.

    Raises what stands in the way where no form could help: nobody is there, or only a job supplies
    what is missing.
    """
    result = signins.resumed(plan, attended)
    if isinstance(result, Login):
        return result, None
    waits = not result.ready or result.method.flow is not None
    if waits and attended and not (result.method.job_variable and result.wish.method):
        return result, None
    try:
        return signins.carry_out(result, attended), None
    except SignInRefused as error:
        if not attended or result.wanted(error) is None:
            raise
        return result, error.again()


@contextmanager
def _stoppable(title: str) -> Iterator[None]:
    """Ctrl-C ends the sign-in in a message."""
    try:
        with _interruptible():
            yield
    except KeyboardInterrupt:
        raise NotSignedIn(f"Stopped signing in to {title}.") from None


async def _nothing() -> None:
    return None


def show_status(name: str | None) -> None:
    """Show the status panel; its text form is the same table. Older ones become sentences."""
    new = StatusPanel(logins.status(name), name)
    for older in views.panels():
        if isinstance(older, StatusPanel) and new.covers(older):
            older.end()
    display(new)  # type: ignore[no-untyped-call]
