"""Carrying out a plan: the first token, who you are, what is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..clocks import WALL
from ..credentials import sources as credentials
from ..credentials import stores
from ..credentials.entries import CREDENTIALS
from ..credentials.sources import Found
from ..credentials.stores import EntryRef
from ..credentials.trust import ASKED, GIVEN, SANDBOX
from ..errors import InvalidInput, LabauthError, LoginExpired, SignInRefused
from ..masking import Fields, noticed
from ..providers import Probe
from ..responses import json_of, one_line, read_error
from ..sessions.session import is_dead
from ..tokens.attempts import Attempt
from ..tokens.exchanges import Exchange, ask, patience_seconds, refused, send
from ..tokens.grants import claims_of
from ..tokens.token import Token
from . import elsewhere, logins, plans, sharing
from .logins import Login, attempts, changed, sandbox_lab
from .plans import Plan, Wish

if TYPE_CHECKING:
    from requests import Response


NOT_REMEMBERED = "Not remembered: "


def resumed(plan: Plan, attended: bool = False) -> Login | Plan:
    """The login that is remembered; where there is none, or it has expired, the plan without it.

    `attended`: whether a person waits, so that an outage is waited out longer. Raises as
    `carry_out`.
    """
    if plan.recall is None or not plan.ready:
        return plan
    found = _own(plan.found)
    try:
        return _signed_in(plan, _exchange(plan, found, attended), found, plan.recall.entry.token)
    except LoginExpired as error:
        return plan.without_token(f"{plan.recall.source}: {error}")


def carry_out(plan: Plan, attended: bool = False) -> Login:
    """Sign in without a browser, and keep the login under its name.

    Raises `plan.error()` where something is missing, `SignInRefused`, `InvalidInput`,
    `ProviderUnreachable`, `LoginExpired`.
    """
    if not plan.ready or plan.method.flow is not None:
        raise plan.error()
    found = _own(plan.found)
    return _signed_in(plan, _exchange(plan, found, attended), found)


def attempt(
    plan: Plan, watch: Callable[[], None] = lambda: None, attended: bool = False
) -> Attempt:
    """Begin to sign in with a browser; `watch` is called when the attempt changes.

    Raises as `carry_out`.
    """
    if plan.method.flow is None:
        raise InvalidInput(
            f"{plan.provider.title} {plan.method.name} needs no browser: use login for it."
        )
    if not plan.ready:
        raise plan.error()
    plan = replace(plan, recall=None)
    found = _own(plan.found)
    exchange = _exchange(plan, found, attended)
    mine = Attempt(exchange, lambda token: _signed_in(plan, exchange, found, token), watch).start()
    attempts.add(mine)
    return mine


def agreed(plan: Plan, seen: set[str]) -> Plan:
    """The plan after a person has seen the addresses `seen` and gone on; that yes is remembered."""
    for doubt in plan.doubts:
        if doubt.address in seen:
            stores.agree(doubt.key, doubt.address)
    return plan.filled({}, seen)


def signed_in_here(provider: str, method: str, tenant: str, name: str) -> Login:
    """The login of a session from another process, by what this one has; asks nobody."""
    result = resumed(plans.plan(Wish(provider, method, tenant, name)))
    return result if isinstance(result, Login) else carry_out(result)


elsewhere.sign_in = signed_in_here  # for the pickles of sessions


def _own(found: Found) -> Found:
    """What a login keeps of what was found: a copy, which its log out empties."""
    sources = dict(found.sources)
    if plans.is_sandbox(found.fields.get("tenant")):
        sources.pop("tenant", None)  # the sandbox supplies all: who named it is of no interest
    return replace(found, fields=Fields(found.fields), sources=sources, reasons=list(found.reasons))


def _exchange(plan: Plan, found: Found, attended: bool) -> Exchange:
    """Where the first token comes from."""
    provider, recall = plan.provider, plan.recall
    if plan.sandboxed:
        lab = sandbox_lab()
        origin = lab.origin(provider.name)
        exchange = Exchange(provider, plan.method, origin, origin, found.fields, lab.clock)
    else:
        origin = provider.origin(found.fields["tenant"])
        exchange = Exchange(
            provider, plan.method, origin, provider.auth_origin(origin), found.fields, WALL
        )
        if recall is not None:
            exchange.subject = recall.entry.sub or ""
            if recall.entry.token is not None:
                found.sources.setdefault("token", recall.source)
    exchange.patience = patience_seconds(attended)
    return exchange


def _signed_in(plan: Plan, exchange: Exchange, found: Found, first: Token | None = None) -> Login:
    """The login, proved good, kept and remembered; `first`: a token that is there already."""
    try:
        login = Login(plan.name, exchange, found, first, plan.recall)
        with _revoked_if_lost(login, plan):
            login.token()
            noticed(login.secrets())
            login.who = _who(login, exchange)
            exchange.patience = None  # from now on a session's counts
            login = logins.keep(login)
    except (SignInRefused, InvalidInput, LoginExpired) as error:
        if plan.recall is not None and isinstance(error, LoginExpired):
            raise
        raise _from_where(error, plan) from None
    if plan.keeps:
        _remember(login, exchange, plan)  # afterwards: a keyring may ask for a password first
    changed(login.name)
    return login


@contextmanager
def _revoked_if_lost(login: Login, plan: Plan) -> Iterator[None]:
    """Whatever breaks off a sign-in, an interrupt too: no token of its own stays alive unheld."""
    try:
        yield
    except BaseException as error:
        # what is remembered is other kernels' too
        asked = login.method.issued_here and plan.recall is None
        if asked and (login.acquired or not isinstance(error, LabauthError)):
            login.abandon()
        raise


def _remember(login: Login, exchange: Exchange, plan: Plan) -> None:
    """Keep what the next kernel needs, and say so in `login.kept`.

    The sign-in stands, whatever becomes of that.
    """
    ref = EntryRef(plan.wish.store, login.provider.name, login.tenant, login.name)
    place = stores.STORES[plan.wish.store]
    same = login.shared is not None and login.shared.ref == ref
    if same and plan.recall is not None and plan.recall.entry.remember == plan.keeps:
        login.kept = f"Remembered in the {place}."
        return
    try:
        shared = sharing.remember(exchange, login.found, plan.keeps, ref, login.token())
    except LabauthError as error:
        login.kept = f"{NOT_REMEMBERED}{error}"
        return
    if shared is None:
        login.kept = f"{NOT_REMEMBERED}{_nothing_kept(exchange, plan)}."
        return
    login.kept = f"Remembered in the {place}."
    login.share(shared)


def _nothing_kept(exchange: Exchange, plan: Plan) -> str:
    if plan.sandboxed:
        return "the sandbox supplies it"
    if plan.keeps == CREDENTIALS:
        return "none of it was typed in; its source supplies it next time"
    said = f"{exchange.title} gave no refresh token"
    if plan.method.flow is None:
        return said
    if "offline_access" not in exchange.fields.get("scopes", "").split():
        return f"{said} (ask for the scope offline_access)"
    said = f"{said}, although offline_access was asked for"
    return f"{said} (ask its admin to allow it for this client)"


def _from_where(error: LabauthError, plan: Plan) -> LabauthError:
    """`error`, with where the secret came from, if not from the user just now.

    Else a stale variable wins again and again.
    """
    method, found = plan.method, plan.found
    name = method.secret.name
    if plan.recall is not None:
        error.args = (
            (
                f"{error} (It was remembered in the {plan.recall.source}: sign in again with --ask,"
                f" or forget it with %labauth logout {plan.name} --forget.)"
            ),
        )
        return error
    if method.flow is not None:
        return error
    more = credentials.afterthought(method.secret, found.fields.get(name, ""))
    if more and isinstance(error, SignInRefused):
        error.args = (f"{error} {more}",)
    source = found.sources.get(name)
    if source is not None and source not in (GIVEN, ASKED, SANDBOX):
        error.args = (
            (
                f"{error} (The {method.secret.label} is the one"
                f" {source.named(found.variables.get(name, ''))}.)"
            ),
        )
    return error


def _who(login: Login, exchange: Exchange) -> str | None:
    """Who the provider says you are.

    For what was pasted this is the proof that it is good: raises `SignInRefused`.
    """
    who: str | None = None
    for probe in login.provider.probes:
        if login.method.issued_here and not probe.keys:
            continue  # it would prove a token that the provider has just made
        follows = "{previous}" in probe.path
        if follows != bool(who):
            break  # it needs a name and there is none, or there is a name and it would add nothing
        who = _probe(login, exchange, probe, who) or who
    claim = login.method.claim
    told = claims_of(login.token().access_token).get(claim) if claim else None
    return who or (one_line(told, 80, login.secrets()) if isinstance(told, str) else None)


def _probe(login: Login, exchange: Exchange, probe: Probe, previous: str | None) -> str | None:
    """The name that `probe` tells, if any.

    Raises what says that a pasted credential is not proven.
    """
    proves = not login.method.issued_here and previous is None
    url = login.origin + probe.path.replace("{previous}", previous or "")

    def answered() -> Response | None:
        return _answered(exchange, probe, url, login.token().header, proves)

    token, response = login.token(), answered()
    dead = response is not None and is_dead(login.provider, response)
    if dead and login.inherited(token) and login.source().renewable:
        login.token(token)  # it was revoked meanwhile
        response = answered()
    if response is None:
        return None  # the token came, so the sign-in is good; the name is only an extra
    body = json_of(response) if response.status_code == 200 else None
    code, message = read_error(response)
    good = isinstance(body, dict) and not code and not message and not body.get("error")
    if good and proves and isinstance(body, dict):
        within = body["data"] if isinstance(body.get("data"), dict) else body
        good = (
            isinstance(body.get(probe.items), list)
            if probe.items
            else any(key in within for key in probe.keys)
        )
    # Any firewall can say "forbidden"; in these words only the provider does.
    good = good or f"{response.status_code} {code}" in probe.forbidden
    if is_dead(login.provider, response) or not good:
        if proves:
            raise _unproven(exchange, response)
        return None
    body = body.get("data", body) if isinstance(body, dict) else {}
    named = (body.get(key) for key in probe.keys if isinstance(body, dict))
    found = next((value for value in named if isinstance(value, str) and value), None)
    return None if found is None else one_line(found, 80, login.secrets())


def _unproven(exchange: Exchange, response: Response) -> LabauthError:
    """The error for a `response` that does not prove a pasted credential."""
    error = refused(exchange, response, what="data")
    if response.status_code == 403:
        label = exchange.method.secret.label
        why = "a proxy or firewall on the way may have sent that"
        error.args = (f"{error} The {label} could not be verified: {why}.",)
    return error


def _answered(
    exchange: Exchange, probe: Probe, url: str, header: str, proves: bool
) -> Response | None:
    """The response to a probe; None where there is none, and none is needed as proof."""
    request: Callable[..., Response] = ask if proves else send
    parts: dict[str, Any] = {"json": {}} if probe.verb == "POST" else {}
    try:
        return request(
            exchange, verb=probe.verb, url=url, headers={"Authorization": header}, **parts
        )
    except LabauthError:
        if proves:
            raise
        return None
