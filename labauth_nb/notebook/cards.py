"""What a page shows of a plan, a sign-in under way and a login.

The states that are sent to it, as typed dicts.

None holds a secret: of a field that is one, only who supplies it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, TypedDict

from ..credentials import entries, stores
from ..credentials import sources as credentials
from ..credentials.sources import Place
from ..credentials.trust import ASKED, DEFAULT, GIVEN
from ..errors import LoginExpired, SignInRefused, StoreUnavailable
from ..logins import logins
from ..logins.logins import Login
from ..logins.plans import Plan
from ..logins.statuses import EXPIRED, EXPIRING, UNKNOWN, Status
from ..providers import Field, Method
from ..tokens.attempts import BUSY, DONE, OVER, Attempt

CardState = Literal["valid", "expiring", "asleep", "needs", "renewing", "unreachable"]
"""How a login stands. asleep: expired, and renews itself when it is used; needs: only a person can
sign in again."""


STANDS: dict[CardState, str] = {
    "valid": "valid",
    "expiring": "expires soon",
    "asleep": "expired, renews itself when used",
    "needs": "needs you",
    "renewing": "being renewed",
    "unreachable": "provider unreachable",
}
"""The same in a sentence."""


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
    page: str
    """Where its secret is made, "" where that is not known yet, or is in doubt."""
    page_words: str
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
    """Those that can be chosen here, the one that leaves the least to type first."""
    method: str
    """The one to begin with."""
    sandbox: bool
    remember: str
    """What is remembered already, or was asked for: one of `keeps`, or ""."""
    store: str
    """Where that is: one of `stores.STORES`, or "" where nothing can be remembered."""
    store_words: str
    """What that means, in a sentence or two."""
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
    state: CardState
    left: float | None
    """Below 0 once it has expired."""
    life: float | None
    margin: float | None
    """It is expiring while `left` is at most this."""
    words: str
    """The time left in words, for where `left` is None."""
    renewable: bool
    """Whether it renews itself when it is used."""
    source: str
    story: str
    note: str
    error: str
    code: str
    """The line that takes a session of it."""
    kept: str


class SealState(TypedDict):
    """A public key of the kernel, for one message."""

    id: str
    key: str
    """An uncompressed point of P-256 in base64."""


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
    wait: float | None
    """Seconds that the cell still waits for this panel; None: it does not wait."""
    seal: SealState | None
    """What the page encrypts with what is typed next; None: nothing is asked for, or it cannot
    be."""


class StatusState(TypedDict):
    """What the page of a `StatusPanel` shows."""

    view: Literal["status"]
    title: str
    """What it shows: all logins, or one."""
    rows: list[LoginState]
    """Those that need a person first."""
    note: str
    empty: str
    """The text where there is no login."""
    snapshot: str
    """The sentence that stands for the table once a newer one was made; "" while this is the
    newest."""


class LinkState(TypedDict):
    """The page where the secret of a method is made."""

    method: str
    page: str
    page_words: str


class ResolvedState(TypedDict):
    """The address that a typed tenant stands for, or why it stands for none."""

    number: int
    """That of the page's question."""
    address: str
    error: str
    links: list[LinkState]


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
        "state": card_state(login),
        "left": _seconds(login),
        "life": login.life,
        "margin": login.margin,
        "words": "no known expiry" if login.status == UNKNOWN else login.time_left,
        "renewable": login.renewable and not _is_refused(login),
        "source": login.found.source(),
        "story": "" if login.sandbox else login.found.story(),
        "note": login.clock_note,
        "error": login.last_error,
        "code": f"lab = %labauth session {login.name}",
        "kept": login.kept,
    }


def card_state(login: Login) -> CardState:
    """How a login stands now, and whether that needs somebody."""
    if login.source().renewing:
        return "renewing"
    if login.status == EXPIRED:
        if not login.renewable or _is_refused(login):
            return "needs"
        return "unreachable" if login.last_error else "asleep"
    return "expiring" if login.status == EXPIRING else "valid"


def _is_refused(login: Login) -> bool:
    """Whether the last renewal was refused, so that the next one would be refused as well."""
    error = login.source().last_error
    passing = isinstance(error, SignInRefused) and (error.status == 429 or error.status >= 500)
    return isinstance(error, LoginExpired | SignInRefused) and not passing


def _seconds(login: Login) -> float | None:
    """The seconds that a login has left, less than 0 once it has expired."""
    token = login.source().current
    if token is None or token.expires_at is None:
        return None
    return token.expires_at - login.clock.time()


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
            "state": "valid",
            "left": None,
            "life": None,
            "margin": None,
            "words": "",
            "source": "",
            "story": "",
            "note": "",
            "error": "",
            "code": "",
            "kept": "",
        }
    quiet: PanelState = {**state, "login": login, "busy": False, "error": "", "field": ""}
    return {**quiet, "note": "", "wait": None}


def status_state(name: str | None, note: str = "", snapshot: str = "") -> StatusState:
    """What a page shows of all logins (None), or of the one called `name`."""
    rows = [login_state(each) for each in logins.known() if name in (None, each.name)]
    return {
        "view": "status",
        "title": "Logins in this kernel" if name is None else f"Login {name}",
        "rows": sorted(rows, key=lambda row: row["state"] != "needs"),
        "note": note,
        "empty": repr(Status([], [])),
        "snapshot": snapshot,
    }


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
    kept: list[stores.EntryHead] = []
    with suppress(StoreUnavailable):
        kept = stores.heads(plan.provider.name, plan.name)
    shown = sorted(_choices(plan), key=_effort)
    chosen = plan if _is_chosen(plan) else shown[0]
    store, words = _store(plan.wish.store)
    return {
        "methods": [_method_state(each, ask) for each in shown],
        "method": chosen.method.name,
        "sandbox": plan.sandboxed,
        "remember": (plan.wish.remember or (kept[0].remember if kept else "")) if store else "",
        "store": store,
        "store_words": words,
        "refused": plan.look.sources.refused,
    }


def _choices(plan: Plan) -> list[Plan]:
    """The plans by each method that can be chosen here: a job's own only inside a job."""
    plans = [plan.by(method) for method in credentials.allowed(plan.provider)]
    return [each for each in plans if each.method is plan.method or not _is_elsewhere(each)]


def _is_elsewhere(plan: Plan) -> bool:
    return bool(plan.method.job_variable) and bool(plan.found.missing(plan.method))


def _effort(plan: Plan) -> tuple[bool, int, bool]:
    """What a method asks of a person, the least first.

    An arrangement with the provider that must be there (`Flow.note`), unless somebody preset it;
    then the fields to fill in; of equals a browser first, where nothing is copied.
    """
    flow, found = plan.method.flow, plan.found
    preset = any(source != DEFAULT for name, source in found.sources.items() if name != "tenant")
    arranged = flow is not None and bool(flow.note) and not preset
    return arranged, len(found.missing(plan.method)), flow is None


def _is_chosen(plan: Plan) -> bool:
    """Whether the form begins with the plan's own method.

    The person named it, or nothing is missing for it, or the admin put the methods in order.
    """
    ordered = credentials.allowed(plan.provider) != plan.provider.methods
    return plan.wish.method is not None or not plan.found.missing(plan.method) or ordered


KEPT_IN = {
    stores.KEYRING: "Kept in this computer's keyring",
    stores.FILE: "Kept in a file that only you can read, and that is not encrypted",
}
"""What remembering means in each store, to a person who decides on it."""


def _store(wanted: str) -> tuple[str, str]:
    """The store that can be used here, and what that means: the one asked for, else a file."""
    for store in dict.fromkeys((wanted, stores.FILE)):
        if not stores.unavailable(store):
            why = "" if store == wanted else "No keyring can be used here. "
            then = "the next kernel signs in without asking, until you log out."
            return store, f"{why}{KEPT_IN[store]}: {then}"
    return "", ""


def _method_state(plan: Plan, ask: bool) -> MethodState:
    """What a form shows of the plan for one method."""
    method, tenant = plan.method, _tenant(plan)
    address = credentials.address_of(plan.provider, plan.provider.tenant, tenant) if tenant else ""
    page, page_words = link(plan, method, "" if plan.doubts else address)
    return {
        "name": method.name,
        "label": method.label,
        "hint": method.hint,
        "note": method.flow.note if method.flow else "",
        "page": page,
        "page_words": page_words,
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


def link(plan: Plan, method: Method, address: str) -> tuple[str, str]:
    """The page where a method's secret is made at `address`, and the link's words; or ("", "")."""
    return plan.provider.link(method, address) if "://" in address else ("", "")


def resolved_state(plan: Plan, number: int, address: str, error: str) -> ResolvedState:
    """What a page is told of the address that was typed; `number`: that of its question."""
    links: list[LinkState] = []
    for method in credentials.allowed(plan.provider):
        page, words = link(plan, method, address)
        links += [{"method": method.name, "page": page, "page_words": words}]
    return {"number": number, "address": address, "error": error, "links": links}


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
    where, field, tenant = plan.places, plan.provider.tenant, _tenant(plan)
    if tenant and "tenant" not in plan.found.fields:
        where = [Place("tenant", credentials.address_of(plan.provider, field, tenant)), *where]
    return [{"field": field, "address": address, "by": by} for field, address, by in where]


def _tenant(plan: Plan) -> str:
    """The tenant as the form begins: what was found, else that of the last sign-in, else ""."""
    before = typed_before.get((plan.provider.name, plan.name), {})
    return plan.found.fields.get("tenant") or before.get("tenant") or ""
