"""The verbs login and begin: what is looked up, asked for or remembered, the first token, who you are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..clocks import WALL
from ..credentials import sources as credentials
from ..credentials import stores
from ..credentials.sources import Found, Sources
from ..credentials.stores import CREDENTIALS, REFRESH_TOKEN, Memory
from ..credentials.trust import ASKED, DEFAULT, DOTENV, ENVIRONMENT, GIVEN, SANDBOX, Doubt
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    NotSignedIn,
    SignInRefused,
    StoreUnavailable,
    UntrustedOrigin,
    nearest,
    refuse_secret,
)
from ..masking import Secret, noticed, shown
from ..providers import PLAIN_FIELDS, Method, Probe, Provider, find
from ..responses import json_of, one_line, read_error
from ..sessions import session
from ..sessions.session import is_dead
from ..tokens.attempts import Attempt
from ..tokens.grants import Exchange, ask, claims_of, patience_seconds, refused, send
from ..tokens.token import Token
from . import logins, remembering
from .logins import Login, attempts, changed, practice_lab
from .plans import Wish
from .remembering import Recall

if TYPE_CHECKING:
    from requests import Response

    from ..sandbox import Lab


NOT_REMEMBERED = "Not remembered: "


def login(
    provider: str,
    method: str | None = None,
    *,
    tenant: str | None = None,
    name: str | None = None,
    remember: bool | str = False,
    store: str = "keyring",
    **fields: str,
) -> Login:
    """Sign in, and keep the login under `name` (the provider's name by default); one of that name is replaced.

    `provider`, `method`: see `labauth_nb.providers.PROVIDERS`; `tenant`: in any spelling, or "sandbox"; `fields`: the
    method's fields, such as ``client_secret=os.environ["X"]``; what is not given is looked up, then asked for.
    `remember`: True, "credentials" or "refresh-token" keeps that for the next kernel in `store`, the operating system's
    "keyring", or a "file" that only you can read. Where it cannot be kept, you are signed in all
    the same, and a line on stderr says why.

    Raises `InvalidInput`, `MissingCredentials`, `SignInRefused`, `ProviderUnreachable`, `LoginExpired`.
    """
    wish = Wish(provider, method, tenant, name, _veiled(fields), _word(remember), store)
    del fields
    mine = sign_in(wish, True)
    if mine.kept.startswith(NOT_REMEMBERED):  # a script shows no repr
        print(mine.kept, file=sys.stderr)
    return mine


def begin(
    provider: str,
    method: str | None = None,
    *,
    tenant: str | None = None,
    name: str | None = None,
    remember: bool | str = False,
    store: str = "keyring",
    **fields: str,
) -> Attempt:
    """Begin to sign in with a browser, and give the `Attempt`: open its `url`, then `wait` for the login, or hand `answer` the
    address that the browser landed on. The arguments, and what is raised, are those of `login`.
    """
    if method is None:
        method = next((m.name for m in credentials.allowed(find(provider)) if m.flow), None)
    wish = Wish(provider, method, tenant, name, _veiled(fields), _word(remember), store)
    del fields
    return start(wish)


def _word(remember: bool | str) -> str:
    return remembering.AUTO if remember is True else remember or ""


def _veiled(fields: Mapping[str, str]) -> dict[str, str]:
    """Masked from the first line on, as a traceback with locals shows what stands there."""
    secrets = {name: _masked(value) for name, value in fields.items() if name not in PLAIN_FIELDS}
    noticed(value for value in secrets.values() if isinstance(value, str))
    return {**fields, **secrets}


def _masked(value: str) -> str:
    return Secret(value) if isinstance(value, str) else value


@dataclass(repr=False)
class _Plan:
    """A sign-in as far as it is known before the first request. `prompt`: whether somebody may be asked at a prompt."""

    name: str
    exchange: Exchange
    found: Found
    sandboxed: bool
    prompt: bool
    keeps: str
    store: str
    recall: Recall | None


def sign_in(wish: Wish, prompt: bool, sources: Sources | None = None) -> Login:
    """What `login` does; without `prompt` nobody is asked, and what is missing raises `MissingCredentials`."""
    over, sources = "", sources or Sources(line=wish.line)
    plan = _planned(wish, prompt, sources, recalling=True)
    if plan.recall is not None:
        try:
            return _acquire(plan, plan.recall.entry.token)
        except LoginExpired as error:
            over = f"{plan.recall.source}: {error}"
            plan = _planned(wish, prompt, sources, False, plan.recall, over)
    if plan.exchange.method.flow is None:
        return _acquire(plan)
    if not prompt or not credentials.in_terminal():
        raise _needs_person(plan, over)
    return _in_terminal(_attempt(plan))


def start(wish: Wish, watch: Callable[[], None] = lambda: None, sources: Sources | None = None) -> Attempt:
    """What `begin` does; `watch` is called when the attempt changes."""
    plan = _planned(wish, False, sources or Sources(line=wish.line), recalling=False)
    if plan.exchange.method.flow is None:
        raise InvalidInput(f"{plan.exchange.provider.title} {plan.exchange.method.name} needs no browser: use login for it.")
    return _attempt(plan, watch)


def _attempt(plan: _Plan, watch: Callable[[], None] = lambda: None) -> Attempt:
    attempt = Attempt(plan.exchange, lambda token: _acquire(plan, token), watch).start()
    attempts.add(attempt)
    return attempt


def _needs_person(plan: _Plan, over: str) -> MissingCredentials:
    """The error where a browser method is asked for, and nobody with a browser can be reached."""
    provider, method = plan.exchange.provider, plan.exchange.method
    others = " or ".join(f"--method {m.name}" for m in credentials.allowed(provider) if not m.flow and not m.job_variable)
    stored = f" (What was remembered is over: {over})" if over else ""
    remember = ", once with --remember" if method.refreshes else ""
    if credentials.can_ask():
        tenant = "sandbox" if plan.sandboxed else plan.found.fields["tenant"]
        named = "" if plan.name == provider.name else f" --as {plan.name}"
        return MissingCredentials(
            f"{provider.title} {method.name} signs in with a browser. In a notebook type %labauth login {provider.name} "
            f"--tenant {tenant} --method {method.name}{named}, which shows a link.{stored}"
        )
    return MissingCredentials(
        f"{provider.title} {method.name} needs a person with a browser, and nobody can be asked here.{stored} "
        f"Run %labauth login {provider.name} --method {method.name} where you can answer{remember}; or use {others}."
    )


def _in_terminal(attempt: Attempt) -> Login:
    """Sign in with a browser from a terminal: the page is opened, and its answer waited for, or pasted."""
    import getpass
    import webbrowser

    address = str.__str__(attempt.url)
    opened = webbrowser.open(address)
    what = "Sign in on the page that has opened" if opened else "Open this address and sign in"
    print(f"{what}:\n{address}", *([attempt.error] if attempt.error else []), sep="\n", file=sys.stderr)
    try:
        question = "Then press Enter here; if the browser could not come back, paste the address that it landed on: "
        while attempt.state not in ("done", "over"):
            pasted = getpass.getpass(question)
            if attempt.state in ("done", "over"):
                break
            if not pasted.strip():
                said = attempt.error or "No response has come from the browser yet."
                print(said, file=sys.stderr)
                continue
            try:
                attempt.answer(pasted)
            except InvalidInput as error:
                print(error, file=sys.stderr)
        login: Login = attempt.wait(1)
        return login
    except (KeyboardInterrupt, EOFError):
        attempt.cancel()
        raise NotSignedIn("The sign-in was cancelled.") from None


def _planned(
    wish: Wish, prompt: bool, sources: Sources, recalling: bool, past: Recall | None = None, trouble: str = ""
) -> _Plan:
    """Everything that is known, looked up or asked for before the first request.

    `past`: what was remembered and is over: its fields are still good; `trouble`: why, for the reasons.
    """
    for what, word in (("method", wish.method), ("tenant", wish.tenant), ("name", wish.name)):
        if word is not None and not isinstance(word, str):
            raise InvalidInput(f"{what} must be text, not {type(word).__name__}.")
    chosen = find(wish.provider)
    given = {field: value for field, value in wish.fields.items() if value is not None}
    tenant = wish.tenant and credentials.healed(chosen, chosen.tenant, wish.tenant)
    name = _checked_name(wish.name or chosen.name)
    asked = None if wish.method is None else _allowed(chosen, wish.method).name
    recall = None
    if recalling and not _in_job(chosen):
        try:
            recall = _recalled(chosen, name, asked, tenant, sources)
        except StoreUnavailable as error:
            trouble = str(error)  # what cannot be remembered can still be asked for
    known = recall or past
    way = chosen.method(known.entry.method) if known and not given else _choose_method(chosen, asked, tenant, given, sources)
    if known is not None and known.entry.method != way.name:
        recall = known = None
    keeps = remembering.chosen(chosen, way, wish.remember, wish.store)
    _check_fields(chosen, way, given)
    with_known = sources.with_recalled(*remembering.values(known)) if known else sources
    found = credentials.collect(chosen, way, tenant, given, with_known)
    if known is not None and not remembering.fits(found, known.entry):
        if not remembering.fits(found, known.entry, secrets=False):
            # A client's secret goes with no other client.
            found = credentials.collect(chosen, way, tenant, given, sources)
            found.reasons.append(f"{known.source}: ignored, it is of another client or address")
        recall = None  # the environment has other credentials by now: they win, and share no token
    found.reasons += [trouble] if trouble else []
    noticed(found.fields.secrets())
    patience = patience_seconds(sources.form or credentials.can_ask())
    if _is_sandbox(found.fields.get("tenant")):
        exchange, found = _on_sandbox(chosen, way, given, practice_lab(), found)
        exchange.patience = patience
        return _Plan(name, exchange, found, True, prompt, keeps, wish.store, recall)
    _complete(chosen, way, found, name, prompt, recall, sources)
    _agree(chosen, way, found, name, prompt, sources)
    origin = chosen.origin(found.fields["tenant"])
    exchange = Exchange(chosen, way, origin, chosen.auth_origin(origin), found.fields, WALL)
    exchange.patience = patience
    if recall is not None:
        exchange.subject = recall.entry.sub or ""
        if recall.entry.token is not None:
            found.sources.setdefault("token", recall.source)
    return _Plan(name, exchange, found, False, prompt, keeps, wish.store, recall)


def _check_fields(provider: Provider, method: Method, given: Mapping[str, str]) -> None:
    """Raise `InvalidInput` where one of `given` is not a field of the method, or not text."""
    names = [f.name for f in method.fields]
    for field, value in given.items():
        if field not in names:
            raise nearest(field, names, f"field of {provider.title} {method.name}")
        if not isinstance(value, str):
            raise InvalidInput(f"{field} must be text, not {type(value).__name__}.")


def _recalled(provider: Provider, name: str, method: str | None, tenant: str | None, sources: Sources) -> Recall | None:
    """What is remembered of that name, unless the environment says another tenant, or the admin another method.

    Where several tenants are remembered, what comes after memory in the order of sources may say which.
    """
    heads = remembering.heads(provider, name, method, tenant)
    if not heads:
        return None
    if tenant is None:
        found = credentials.collect(provider, provider.method(method or heads[0].method), None, {}, sources)
        source = found.sources.get("tenant")
        if source in (ENVIRONMENT, DOTENV) or (len(heads) > 1 and source != DEFAULT):
            tenant = found.fields.get("tenant")
    recall = remembering.recall(provider, name, method, tenant)
    return recall if recall is None or provider.method(recall.entry.method) in credentials.allowed(provider) else None


def _in_job(provider: Provider) -> bool:
    """Whether this is a place that signs in by itself (inside a job)."""
    return any(m.job_variable and os.environ.get(m.job_variable) for m in provider.methods)


def _allowed(provider: Provider, name: str) -> Method:
    """The method called `name`. Raises `InvalidInput` where there is none, or the admin does not allow it."""
    method, methods = provider.method(name), credentials.allowed(provider)
    if method not in methods:
        names = ", ".join(m.name for m in methods)
        raise InvalidInput(
            f"{provider.title} {method.name} is not allowed here by your admin (LabAuth.methods). Choose: {names}."
        )
    return method


def _is_sandbox(tenant: str | None) -> bool:
    return (tenant or "").strip().lower() == "sandbox"


def _choose_method(
    provider: Provider, name: str | None, tenant: str | None, given: Mapping[str, str | None], sources: Sources
) -> Method:
    """The method asked for; else the one whose fields were given; else one that the environment supplies; else the default.

    A browser method is chosen by itself only where it is the default, or where something of it was preset.
    """
    if name is not None:
        return _allowed(provider, name)
    methods = credentials.allowed(provider)
    if given:
        fitting = [m for m in methods if set(given) <= {f.name for f in m.fields}]
        return fitting[0] if fitting else methods[0]
    if _is_sandbox(tenant):
        return methods[0]
    for method in methods:
        if method.job_variable and os.environ.get(method.job_variable):
            return method
    for method in methods:
        if not method.job_variable:
            found = credentials.collect(provider, method, tenant, {}, sources)
            preset = {source for field, source in found.sources.items() if field != "tenant"} - {DEFAULT}
            if not found.missing(method) and (preset or not method.flow):
                return method
    return methods[0]


def _checked_name(name: str) -> str:
    name = name.strip()
    refuse_secret(name, "The name")
    if not name or any(c.isspace() or not c.isprintable() for c in name) or name.startswith("-"):
        said = f"{shown(name)} cannot name a login"
        raise InvalidInput(f"{said}: use one word, such as benchling-prod.")
    return name


def _complete(
    provider: Provider, method: Method, found: Found, name: str, prompt: bool, recall: Recall | None, sources: Sources
) -> None:
    """Ask for what is missing, or raise where nobody can be asked."""
    missing = found.missing(method)
    if recall is not None and recall.entry.keeps == REFRESH_TOKEN:
        missing = [f for f in missing if method.flow and not f.secret]  # the refresh token stands for the secret
    if "tenant" not in found.fields:
        missing.insert(0, provider.tenant)
    if not missing:
        return
    if method.job_variable:
        why = f" ({'; '.join(found.reasons)})" if found.reasons else ""
        names = ", ".join(variable for f in missing for variable in f.variables)
        raise MissingCredentials(
            f"This does not look like a {provider.title} job: {names} is not set{why}. "
            f"Outside a job, type %labauth login {provider.name}"
        )
    if not prompt or not credentials.can_ask():
        raise credentials.missing_error(provider, method, found, missing, name)
    for field in missing:
        where = credentials.places(provider, method, found)
        found.take(field, credentials.ask(provider, field, where), ASKED)
        sources.agreed |= {place.address for place in where} if field.secret else set()


def _agree(provider: Provider, method: Method, found: Found, name: str, prompt: bool, sources: Sources) -> None:
    """Have the person say yes to each address in doubt; a yes is remembered. Raises `UntrustedOrigin`."""
    left = [
        doubt
        for doubt in credentials.doubts(provider, method, found)
        if doubt.address not in sources.agreed and not stores.agreed(doubt.key, doubt.address)
    ]
    if not left:
        return
    said = " ".join(map(str, left))
    if not prompt or not credentials.can_ask():
        raise UntrustedOrigin(f"Nothing was sent. {said} If you trust it, {_remedy(provider, method, left, name, sources)}")
    large = "".join(f"    {doubt.address}\n" for doubt in left)
    if not credentials.confirm(f"{said}\n\n{large}\nGo on?"):
        raise UntrustedOrigin(f"Nothing was sent, because you did not answer yes. {said}")
    for doubt in left:
        stores.agree(doubt.key, doubt.address)


def _remedy(provider: Provider, method: Method, left: list[Doubt], name: str, sources: Sources) -> str:
    """What to type where an address in doubt is right: it is then named by somebody who is trusted enough."""
    if not sources.line:
        return f"pass {', '.join(f'{doubt.field}={doubt.address!r}' for doubt in left)}."
    fields = {f.name: f for f in (provider.tenant, *method.fields)}
    if all(sources.giver(provider, fields[doubt.field], doubt.address) is GIVEN or not doubt.secrets for doubt in left):
        options = "".join(f" --{doubt.field.replace('_', '-')} {doubt.address}" for doubt in left)
        way = f" --method {method.name}" if method is not provider.methods[0] else ""
        return f"type %labauth login {provider.name}{options}{way}{f' --as {name}' if name != provider.name else ''}"
    set_them = ", ".join(f"{credentials.variables(provider, fields[d.field])[0]}={d.address}" for d in left)
    return f"run this cell once in a notebook or terminal, where you can be asked, or set {set_them} in the environment."


def _on_sandbox(
    provider: Provider, method: Method, given: Mapping[str, str], lab: Lab, before: Found | None = None
) -> tuple[Exchange, Found]:
    """The sandbox's own credentials, and what was given instead of them (to practise a wrong one), or remembered."""
    found, own = Found(), lab.credentials(provider.name, method.name)
    for field in method.fields:
        source = before.sources.get(field.name) if before else None
        if field.name in given:
            found.take(field, before.fields.get(field.name, "") if before else "", GIVEN)
        elif before is not None and source is not None and source in remembering.PLACES.values():
            found.take(field, before.fields[field.name], source)
        elif value := own.get(field.name):
            found.take(field, value, SANDBOX)
        elif field.default:
            found.take(field, field.default, DEFAULT)
    origin = lab.origin(provider.name)
    return Exchange(provider, method, origin, origin, found.fields, lab.clock), found


def _acquire(plan: _Plan, first: Token | None = None) -> Login:
    """The first token (`first`: one that is there already), and the login kept under its name."""
    name, exchange, found = plan.name, plan.exchange, plan.found
    while True:
        try:
            result = Login(name, exchange, found, first, plan.recall)
            with _revoked_if_lost(result, plan):
                result.token()
            break
        except (SignInRefused, InvalidInput, LoginExpired) as error:
            if plan.recall is not None and isinstance(error, LoginExpired):
                raise
            # Two-factor sign-in: the provider says only now that it wants the code.
            asking = getattr(error, "code", "") == "OTPRequiredError" and "otp" not in found.sources
            if not asking or not plan.prompt or not credentials.can_ask():
                raise _from_where(error, plan) from None
            wanted = next(f for f in exchange.method.fields if f.name == "otp")
            where = credentials.places(exchange.provider, exchange.method, found)
            found.take(wanted, credentials.ask(exchange.provider, wanted, where), ASKED)
    try:
        with _revoked_if_lost(result, plan):
            noticed(result.secrets())
            result.who = _who(result, exchange)
            exchange.patience = None  # from now on a session's counts
            result = logins.keep(result)
    except SignInRefused as error:
        raise _from_where(error, plan) from None
    if plan.keeps:
        _remember(result, plan)  # afterwards: a keyring may ask for a password first
    changed()
    return result


@contextmanager
def _revoked_if_lost(login: Login, plan: _Plan) -> Iterator[None]:
    """Whatever breaks off a sign-in, an interrupt too: no token of its own stays alive unheld."""
    try:
        yield
    except BaseException as error:
        asked = login.method.issued_here and plan.recall is None  # what is remembered is other kernels' too
        if asked and (login.acquired or not isinstance(error, LabauthError)):
            login.abandon()
        raise


def _remember(login: Login, plan: _Plan) -> None:
    """Keep what the next kernel needs, and say so in `login.kept`. The sign-in stands, whatever becomes of that."""
    memory = Memory(plan.store, login.provider.name, login.tenant, login.name)
    place = remembering.PLACES[plan.store]
    if login.is_remembered_in(memory) and plan.recall is not None and plan.recall.entry.keeps == plan.keeps:
        login.kept = f"Remembered in the {place}."
        return
    try:
        entry = remembering.keep(plan.exchange, login.found, plan.keeps, memory, login.token())
    except LabauthError as error:
        login.kept = f"{NOT_REMEMBERED}{error}"
        return
    if entry is None:
        login.kept = f"{NOT_REMEMBERED}{_nothing_kept(login, plan)}."
        return
    login.kept = f"Remembered in the {place}."
    login.remembered_in(memory, entry.id)


def _nothing_kept(login: Login, plan: _Plan) -> str:
    if plan.sandboxed:
        return "the sandbox supplies it"
    if plan.keeps == CREDENTIALS:
        return "nothing of it was typed: its source supplies it again"
    said = f"{plan.exchange.title} gave no refresh token"
    if login.method.flow is None:
        return said
    if "offline_access" not in plan.exchange.fields.get("scopes", "").split():
        return f"{said} (ask for the scope offline_access)"
    said = f"{said}, although offline_access was asked for"
    return f"{said} (ask its admin to allow it for this client)"


def _from_where(error: LabauthError, plan: _Plan) -> LabauthError:
    """`error`, with where the secret came from, if not from the user just now: else a stale variable wins again and again."""
    method, found = plan.exchange.method, plan.found
    name = method.secret.name
    if plan.recall is not None:
        error.args = (
            f"{error} (It was remembered in the {plan.recall.source}: sign in anew with --ask, or forget it with "
            f"%labauth logout {plan.name} --forget.)",
        )
        return error
    if method.flow is not None:
        return error
    more = credentials.afterthought(method.secret, found.fields.get(name, ""))
    if more and isinstance(error, SignInRefused):
        error.args = (f"{error} {more}",)
    source, variable = found.sources.get(name, ""), found.variables.get(name, "")
    if source not in ("", GIVEN, ASKED, SANDBOX):
        error.args = (f"{error} (The {method.secret.label} came from: {source}{' ' + variable if variable else ''}.)",)
    return error


def _who(login: Login, exchange: Exchange) -> str | None:
    """Who the provider says you are. For what was pasted this is the proof that it is good: raises `SignInRefused`."""
    who: str | None = None
    for probe in login.provider.probes:
        if login.method.issued_here and not probe.keys:
            continue  # it would prove a token that the provider has just made
        follows = "{answer}" in probe.path
        if follows != bool(who):
            break  # it needs a name and there is none, or there is a name and it would add nothing
        who = _probe(login, exchange, probe, who) or who
    claim = login.method.claim
    told = claims_of(login.token().access_token).get(claim) if claim else None
    return who or (one_line(told, 80, login.secrets()) if isinstance(told, str) else None)


def _probe(login: Login, exchange: Exchange, probe: Probe, previous: str | None) -> str | None:
    """The name that `probe` tells, if any. Raises what says that a pasted credential is not proven."""
    proves = not login.method.issued_here and previous is None
    url = login.origin + probe.path.replace("{answer}", previous or "")

    def answered() -> Response | None:
        return _answered(exchange, probe, url, login.token().header, proves)

    token, response = login.token(), answered()
    dead = response is not None and is_dead(login.provider, response)
    if dead and login.inherited(token) and login.may_renew(token):
        login.token(token)  # it was revoked meanwhile
        response = answered()
    if response is None:
        return None  # the token came, so the sign-in is good; the name is only an extra
    body = json_of(response) if response.status_code == 200 else None
    code, message = read_error(response)
    good = isinstance(body, dict) and not code and not message and not body.get("error")
    if good and proves and isinstance(body, dict):
        within = body["data"] if isinstance(body.get("data"), dict) else body
        good = isinstance(body.get(probe.items), list) if probe.items else any(key in within for key in probe.keys)
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


def _answered(exchange: Exchange, probe: Probe, url: str, header: str, proves: bool) -> Response | None:
    """The response to a probe; None where there is none, and none is needed as proof."""
    request: Callable[..., Response] = ask if proves else send
    parts: dict[str, Any] = {"json": {}} if probe.verb == "POST" else {}
    try:
        return request(exchange, verb=probe.verb, url=url, headers={"Authorization": header}, **parts)
    except LabauthError:
        if proves:
            raise
        return None


def sign_in_here(provider: str, method: str, tenant: str, name: str) -> Login:
    """The login of a session that came from another process, from what this one has; nobody is asked."""
    return sign_in(Wish(provider, method, tenant, name), prompt=False)


session.sign_in = sign_in_here  # for the pickles of sessions
