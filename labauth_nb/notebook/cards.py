"""What a page shows of a plan, a sign-in under way and a login.

The states that are sent to it, as typed dicts.

None holds a secret: of a field that is one, only who supplies it.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from ..credentials import entries, stores
from ..credentials import sources as credentials
from ..credentials.sources import Place
from ..credentials.trust import ASKED, DEFAULT, GIVEN
from ..errors import StoreUnavailable
from ..logins.logins import Login
from ..logins.plans import Plan
from ..logins.statuses import VALID
from ..providers import Field, Method
from ..tokens.attempts import BUSY, DONE, OVER, Attempt


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
    """What of it can be remembered: `entries.CREDENTIALS`, `entries.REFRESH_TOKEN`."""
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
    """What the page of a `LoginPanel` shows.

    The attempt if there is one, else the form, else the login.
    """

    view: Literal["login"]
    title: str
    login: LoginState | None
    form: FormState | None
    attempt: AttemptState | None
    line: str
    """What is left of a login that was logged out or replaced, or ""."""
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
    snapshot: str
    """The sentence that stands for it once there is a newer table, or ""."""


class ResolvedState(TypedDict):
    """The address that a typed tenant stands for, or why it stands for none."""

    number: int
    """That of the page's question."""
    address: str
    error: str


typed_before: dict[tuple[str, str], dict[str, str]] = {}
"""What was typed at the last sign-in by provider and login name, and is no secret: the next form
starts with it."""


def login_state(login: Login) -> LoginState:
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


def still(state: PanelState) -> PanelState | None:
    """What is saved of it to draw until the kernel answers: a card or a line, without times.

    None for a form, which nobody could submit then. No path of this computer is saved.
    """
    login = state["login"]
    if state["form"] or state["attempt"] or not (login or state["line"]):
        return None
    if login is not None:
        login = {
            **login,
            "left": None,
            "life": None,
            "margin": None,
            "status": VALID,
            "words": "",
            "source": "",
            "story": "",
            "note": "",
            "error": "",
            "code": "",
            "kept": "",
        }
    return {**state, "login": login, "busy": False, "error": "", "field": "", "note": ""}


def attempt_state(attempt: Attempt, plan: Plan) -> AttemptState | None:
    """What a page shows of the browser sign-in by `plan` while it is under way.

    Its address holds the state: it goes to the page, and is stored nowhere.
    """
    if attempt.state in (DONE, OVER):
        return None
    code = attempt.device()[1] if attempt.device_link else ""
    return {
        "where": places(plan),
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


def form_state(plan: Plan, ask: bool) -> FormState:
    """What a page shows of a plan that somebody has to fill in.

    `ask`: what was found may be typed over.

    Looks up what is remembered of this login, and whether the store can be used: keep it as long as
    the plan.
    """
    wish, why = plan.wish, stores.unavailable(plan.wish.store)
    kept: list[stores.EntryHead] = []
    try:
        kept = stores.heads(plan.provider.name, plan.name)
    except StoreUnavailable as error:
        why = str(error)
    return {
        "methods": [
            _method_state(plan.by(method), ask) for method in credentials.allowed(plan.provider)
        ],
        "method": plan.method.name,
        "sandbox": plan.sandboxed,
        "remember": wish.remember or (kept[0].remember if kept else ""),
        "store": stores.STORES[wish.store],
        "unavailable": why,
        "refused": plan.look.sources.refused,
    }


def _method_state(plan: Plan, ask: bool) -> MethodState:
    """What a form shows of the plan for one method."""
    method = plan.method
    return {
        "name": method.name,
        "label": method.label,
        "hint": method.hint,
        "note": method.flow.note if method.flow else "",
        "browser": method.flow is not None,
        "keeps": _can_keep(method),
        "fields": [
            _field_state(field, plan, ask) for field in (plan.provider.tenant, *method.fields)
        ],
        "where": places(plan),
        "doubts": [
            {"address": doubt.address, "field": doubt.field, "why": str(doubt)}
            for doubt in plan.doubts
        ],
    }


def _can_keep(method: Method) -> list[str]:
    """What of a login by `method` can be remembered."""
    if method.job_variable or (method.flow and not method.refreshes):
        return []
    keeps = [] if method.flow else [entries.CREDENTIALS]
    return [*keeps, entries.REFRESH_TOKEN] if method.refreshes else keeps


def _field_state(field: Field, plan: Plan, ask: bool) -> FieldState:
    found, before = plan.found, typed_before.get((plan.provider.name, plan.name), {})
    source = found.sources.get(field.name)
    typed = source is None or source in (GIVEN, DEFAULT, ASKED)
    supplied = "" if source is None or typed else source.named(found.variables.get(field.name, ""))
    return {
        "name": field.name,
        "label": field.label,
        "hint": field.hint,
        "secret": field.secret,
        "optional": field.optional,
        "value": "" if field.secret else found.fields.get(field.name) or before.get(field.name, ""),
        "supplied": supplied,
        "locked": bool(supplied) and not ask,
    }


def places(plan: Plan) -> list[PlaceState]:
    """Where a sign-in goes, as far as it is known, and which file of the working tree says so.

    A tenant of the last sign-in stands in the form, too.
    """
    where, field = plan.places, plan.provider.tenant
    last = typed_before.get((plan.provider.name, plan.name), {}).get("tenant")
    if last and "tenant" not in plan.found.fields:
        where = [Place("tenant", credentials.address_of(plan.provider, field, last)), *where]
    return [{"field": field, "address": address, "by": by} for field, address, by in where]
