"""`Login`, the logins of this process by name, and the verbs: login, session, status, refresh, logout."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, NoReturn

from . import credentials
from .clocks import WALL, Clock
from .credentials import Found
from .errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    NotSignedIn,
    ProviderUnreachable,
    SignInRefused,
    nearest,
    one_line,
    read_error,
)
from .grants import GRANTS, REVOCATIONS, Exchange, claims_of, refused
from .masking import Fields, Secret, scrub
from .providers import PLAIN_FIELDS, PROVIDERS, Method, Probe, Provider, find
from .sessions import LabSession, is_dead, origin_of
from .tokens import Token, TokenSource

if TYPE_CHECKING:
    import pandas

    from .sandbox import Lab

SIGNED_OUT, VALID, EXPIRING, EXPIRED, UNKNOWN = (
    "signed out",
    "valid",
    "expiring",
    "expired",
    "valid with unknown expiry",
)


class Login:
    """One provider + tenant + method + token source, under a name.

    `who`: who the provider says you are (None where it does not tell); `source`: where the credentials came from.
    """

    def __init__(self, name: str, exchange: Exchange, found: Found, sandbox: bool) -> None:
        self.name, self.found, self.sandbox = name, found, sandbox
        self.who: str | None = None
        self.denied: set[tuple[str, str]] = set()
        """Verbs and paths to which the provider says "dead" and means "no access"."""
        self._adopt(exchange)

    def _adopt(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.parsed_origin = origin_of(exchange.origin)
        self.signed_in = True
        grant = GRANTS[exchange.method.grant]
        advice = f"To sign in again, type {self.command}"
        if exchange.method.minted:
            self._tokens = TokenSource(lambda previous: grant(exchange, previous), exchange.clock, None, advice, changed)
        else:
            self._tokens = TokenSource(None, exchange.clock, grant(exchange, None), advice, changed)

    @property
    def provider(self) -> Provider:
        return self._exchange.provider

    @property
    def method(self) -> Method:
        return self._exchange.method

    @property
    def origin(self) -> str:
        """Where its token may go, and nowhere else."""
        return self._exchange.origin

    @property
    def clock(self) -> Clock:
        return self._exchange.clock

    @property
    def tenant(self) -> str:
        """The tenant, as a name or a host; "sandbox" on the sandbox."""
        if self.sandbox or self.origin.startswith("http:"):
            return "sandbox" if self.sandbox else self.origin
        host = self.origin.split("://", 1)[1]
        return host.removesuffix(self.provider.suffix) if self.provider.suffix else host

    @property
    def command(self) -> str:
        """What to type to sign in to it again."""
        tenant = "" if self.tenant == self.provider.tenant.default else f" --tenant {self.tenant}"
        method = "" if self.method is self.provider.methods[0] else f" --method {self.method.name}"
        name = "" if self.name == self.provider.name else f" --as {self.name}"
        return f"%labauth login {self.provider.name}{tenant}{method}{name}"

    def token(self, rejected: Token | None = None) -> Token:
        """A good token (`TokenSource.token`). Raises `NotSignedIn` after a log out, `LoginExpired` and what grants raise."""
        if not self.signed_in:
            raise NotSignedIn(f"{self.name} is signed out. To sign in again, type {self.command}")
        return self._tokens.token(rejected)

    def accepted(self, token: Token) -> None:
        """See `TokenSource.accepted`."""
        self._tokens.accepted(token)

    def may_renew(self, token: Token) -> bool:
        """See `TokenSource.may_renew`."""
        return self._tokens.may_renew(token)

    def refresh(self) -> None:
        """Renew the token now. Raises `LoginExpired` where it was pasted, and what grants raise."""
        if not self.signed_in:
            raise NotSignedIn(f"{self.name} is signed out. To sign in again, type {self.command}")
        if not self._tokens.renewable:
            label = self.method.secret.label
            raise LoginExpired(f"A pasted {label} cannot be renewed. Get a new one, then type {self.command}")
        self._tokens.renew()

    def secrets(self) -> list[str]:
        """Every secret that it holds, for masking."""
        token = self._tokens.current
        return [*self._exchange.fields.secrets(), *(token.secrets() if token else [])]

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the token expires, 0 when it has; None: unknown, or it never does."""
        token = self._tokens.current
        if token is None or token.expires_at is None:
            return None
        return max(token.expires_at - self.clock.time(), 0.0)

    @property
    def status(self) -> str:
        """One of: signed out, valid, expiring, expired, valid with unknown expiry."""
        token = self._tokens.current
        if not self.signed_in:
            return SIGNED_OUT
        refused = token is self._tokens.refused and not self.method.lasting
        if token is None or refused or self.seconds_left == 0:
            return EXPIRED
        if token.expires_at is None:
            return VALID if self.method.lasting else UNKNOWN
        return EXPIRING if self.clock.time() >= token.renew_at else VALID

    @property
    def time_left(self) -> str:
        """The time left in words, rounded up to whole minutes, hours or days."""
        left = self.seconds_left
        if not self.signed_in:
            return "-"
        if self.status == EXPIRED:
            return "0 min, renews at the next request" if self._tokens.renewable else "0 min"
        if left is None:
            return "does not expire" if self.method.lasting else "unknown"
        return in_words(left)

    @property
    def clock_note(self) -> str:
        """What is wrong with this computer's clock, where the provider's answers show it; else ""."""
        offset = self._exchange.offset
        if abs(offset) < 1:
            return ""
        return f"this computer's clock is {in_words(round(abs(offset) / 60) * 60)} {'behind' if offset > 0 else 'ahead'}"

    @property
    def last_error(self) -> str:
        """The sentence of the last renewal that failed; "" after one that did not."""
        return str(self._tokens.last_error or "")

    def session(self) -> LabSession:
        """A new `LabSession` on this login."""
        return LabSession(self)

    def logout(self, revoke: bool | None = None) -> str:
        """Forget, and revoke what we asked for where the provider offers it; a sentence that says what was done.

        `revoke`: True revokes a token that was not made here too, False nothing; None asks about a pasted one. What
        came from the environment, a file or the sandbox is left alone unless you say so.
        """
        title, method = self.provider.title, self.method
        self.signed_in = False
        live = self._tokens.close()
        said = f"Signed out of {title} ({self.tenant})."
        if method.keep_word:
            kept = method.keep_word
        elif not live:
            kept = "There was no live token to revoke."
        elif not method.revoke:
            kept = f"Not revoked: {title} offers no way to revoke {'a token' if method.minted else 'it'} from here."
        else:
            minted = method.minted
            pasted = self.found.sources.get(method.secret.name) in (credentials.GIVEN, credentials.ASKED)
            if revoke is None and not minted and pasted and credentials.can_ask():
                revoke = credentials.confirm(f"Destroy the pasted {method.secret.label} at {title} for good?")
            if revoke or (revoke is None and minted):
                try:
                    for token in live:
                        REVOCATIONS[method.revoke](self._exchange, token)
                    kept = f"The token was revoked at {title}."
                except LabauthError as error:
                    kept = f"The token was not revoked: {error}"
            elif minted:
                kept = "The token was not revoked, as you asked."
            else:
                kept = (
                    f"The {method.secret.label} was not revoked, as it was not made here: to destroy it at {title} too, "
                    "sign in and log out with --revoke."
                )
        # A renewal that is still under way keeps the old ones until it ends; then nobody does.
        self._exchange, self._tokens = replace(self._exchange, fields=Fields()), TokenSource(None, self.clock)
        self.found.fields = Fields()
        changed()
        return f"{said} {kept}"

    def __repr__(self) -> str:
        mark = "SANDBOX: " if self.sandbox else ""
        if not self.signed_in:
            return f"{mark}Signed out of {self.provider.title} ({self.tenant})."
        who = f" as {self.who}" if self.who else ""
        note = f" Note: {self.clock_note}." if self.clock_note else ""
        return (
            f"{mark}Signed in to {self.provider.title} ({self.tenant}){who}, method {self.method.name}; "
            f"time left: {self.time_left}; credentials from: {self.found.source()}.{note}"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("A login is not pickled: it holds secrets. Pickle its session, or sign in in the other process.")


def in_words(seconds: float) -> str:
    """A duration rounded up: "15 min", "18 h", "30 d"; "under 1 min"."""
    if seconds < 60:
        return "under 1 min"
    for unit, size, most in (("min", 60, 120), ("h", 3600, 48)):
        if math.ceil(seconds / size) <= most:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86400)} d"


class Status:
    """All logins as rows; shows as a text table, or an HTML one in a notebook. `frame()` gives a DataFrame."""

    COLUMNS = ("login", "provider", "tenant", "method", "who am I", "status", "time left", "credentials from", "note")

    def __init__(self, logins: list[Login]) -> None:
        self.rows = [
            (
                login.name,
                login.provider.title,
                "SANDBOX" if login.sandbox else login.tenant,
                login.method.name,
                login.who or "not told",
                login.status,
                login.time_left,
                login.found.source(),
                "; ".join(filter(None, (login.clock_note, login.last_error))),
            )
            for login in logins
        ]
        self.stories = [f"{each.name}: {each.found.story()}" for each in logins if not each.sandbox]
        noted = any(row[-1] for row in self.rows)
        self._columns = self.COLUMNS if noted else self.COLUMNS[:-1]

    def __iter__(self) -> Iterator[dict[str, str]]:
        return (dict(zip(self.COLUMNS, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self) -> pandas.DataFrame:
        """The rows as a DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows, columns=list(self.COLUMNS))

    def __repr__(self) -> str:
        if not self.rows:
            return "Not signed in anywhere. To sign in, type %labauth login " + " | ".join(PROVIDERS)
        table = [self._columns, *(row[: len(self._columns)] for row in self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(self._columns))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([*lines, *self.stories])

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{escape(repr(self))}</p>"
        head = "".join(f"<th>{escape(c)}</th>" for c in self._columns)
        rows = (row[: len(self._columns)] for row in self.rows)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        stories = "".join(f"<p>{escape(story)}</p>" for story in self.stories)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{stories}"


_LOGINS: dict[str, Login] = {}
_LOCK = threading.RLock()
watchers: list[Callable[[], None]] = []
"""Called, by whichever thread, after any login came, went, was renewed, or failed to be; and when the sandbox's clock moved."""


def changed() -> None:
    """Tell the watchers."""
    for watcher in list(watchers):
        watcher()


def login(
    provider: str, method: str | None = None, *, tenant: str | None = None, name: str | None = None, **fields: str
) -> Login:
    """Sign in, and keep the login under `name` (the provider's name by default); one of that name is replaced.

    `provider`, `method`: see `labauth_nb.providers.PROVIDERS`; `tenant`: in any spelling, or "sandbox"; `fields`: the
    method's fields, such as ``client_secret=os.environ["X"]``; what is not given is looked up, then asked for.

    Raises `InvalidInput`, `MissingCredentials`, `SignInRefused`, `ProviderUnreachable`, `LoginExpired`.
    """
    # Masked from the first line on, as a traceback with locals shows what stands here.
    fields = {field: value if field in PLAIN_FIELDS else _masked(value) for field, value in fields.items()}
    return sign_in(provider, method, tenant, name, fields, prompt=True)


def _masked(value: str) -> str:
    return Secret(value) if isinstance(value, str) else value


def sign_in(
    provider: str, method: str | None, tenant: str | None, name: str | None, fields: Mapping[str, str | None], prompt: bool
) -> Login:
    """What `login` does; without `prompt` nobody is asked, and what is missing raises `MissingCredentials`."""
    chosen = find(provider)
    given = {field: value for field, value in fields.items() if value is not None}
    way = _choose_method(chosen, method, tenant, given)
    known = [f.name for f in way.fields]
    for field, value in given.items():
        if field not in known:
            raise nearest(field, known, f"field of {chosen.title} {way.name}")
        if not isinstance(value, str):
            raise InvalidInput(f"{field} must be text, not {type(value).__name__}.")
    name = _checked_name(name or chosen.name)
    found = credentials.collect(chosen, way, tenant, given)
    if _is_sandbox(found.fields.get("tenant")):
        exchange, found = _on_sandbox(chosen, way, given, practice_lab())
        return _acquire(name, exchange, found, True, prompt)
    _complete(chosen, way, found, name, prompt)
    origin = chosen.origin(found.fields["tenant"])
    exchange = Exchange(chosen, way, origin, chosen.auth_origin(origin), found.fields, WALL)
    return _acquire(name, exchange, found, False, prompt)


def _is_sandbox(tenant: str | None) -> bool:
    return (tenant or "").strip().lower() == "sandbox"


def _choose_method(provider: Provider, name: str | None, tenant: str | None, given: dict[str, str]) -> Method:
    """The method asked for; else the one whose fields were given; else one that the environment supplies; else the default."""
    if name is not None:
        return provider.method(name)
    if given:
        fitting = [m for m in provider.methods if set(given) <= {f.name for f in m.fields}]
        return fitting[0] if fitting else provider.methods[0]
    if _is_sandbox(tenant):
        return provider.methods[0]
    for method in provider.methods:
        if method.marker and os.environ.get(method.marker):
            return method
    for method in provider.methods:
        if not method.marker and not credentials.collect(provider, method, tenant, {}).missing(method):
            return method
    return provider.methods[0]


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or any(c.isspace() for c in name) or name.startswith("-"):
        raise InvalidInput(f"{name!r} cannot name a login: use one word, such as benchling-prod.")
    return name


def _complete(provider: Provider, method: Method, found: Found, name: str, prompt: bool) -> None:
    """Ask for what is missing, or raise where nobody can be asked."""
    missing = found.missing(method)
    if "tenant" not in found.fields:
        missing.insert(0, provider.tenant)
    if not missing:
        return
    if method.marker:
        why = f" ({'; '.join(found.reasons)})" if found.reasons else ""
        names = ", ".join(variable for f in missing for variable in f.env)
        raise MissingCredentials(
            f"This does not look like a {provider.title} job: {names} is not set{why}. "
            f"Outside a job, type %labauth login {provider.name}"
        )
    if not prompt or not credentials.can_ask():
        raise credentials.missing_error(provider, method, found, missing, name)
    for field in missing:
        found.take(field, credentials.ask(provider, field), credentials.ASKED)


def _on_sandbox(provider: Provider, method: Method, given: dict[str, str], lab: Lab) -> tuple[Exchange, Found]:
    """The sandbox's own credentials, and what was given instead of them (to practise a wrong one)."""
    found = Found()
    for field in method.fields:
        if field.name in given:
            found.take(field, given[field.name].strip(), credentials.GIVEN)
        elif value := lab.credentials(provider.name, method.name).get(field.name):
            found.take(field, value, credentials.SANDBOX)
    origin = lab.origin(provider.name)
    return Exchange(provider, method, origin, origin, found.fields, lab.clock), found


def _acquire(name: str, exchange: Exchange, found: Found, sandboxed: bool, prompt: bool) -> Login:
    """The first token, and the login kept under its name."""
    while True:
        try:
            result = Login(name, exchange, found, sandboxed)
            result.token()
            break
        except (SignInRefused, LoginExpired, InvalidInput) as error:
            # Two-factor sign-in: the provider says only now that it wants the code.
            asking = getattr(error, "code", "") == "OTPRequiredError" and "otp" not in found.sources
            if not asking or not prompt or not credentials.can_ask():
                raise _from_where(error, exchange.method, found) from None
            wanted = next(f for f in exchange.method.fields if f.name == "otp")
            found.take(wanted, credentials.ask(exchange.provider, wanted), credentials.ASKED)
    try:
        result.who = _who(result)
    except SignInRefused as error:
        raise _from_where(error, exchange.method, found) from None
    with _LOCK:
        old = _LOGINS.get(name)
        if old is not None and old.origin == result.origin:
            # Sessions that cells hold go on with the new token.
            old.__dict__.update(result.__dict__)
            result = old
        elif old is not None:
            old.signed_in = False
        _LOGINS[name] = result
    changed()
    return result


def _from_where(error: LabauthError, method: Method, found: Found) -> LabauthError:
    """`error`, with where the secret came from, if not from the user just now: else a stale variable wins again and again."""
    name = method.secret.name
    source, variable = found.sources.get(name, ""), found.variables.get(name, "")
    if source not in ("", credentials.GIVEN, credentials.ASKED, credentials.SANDBOX):
        error.args = (f"{error} (The {method.secret.label} came from: {source}{' ' + variable if variable else ''}.)",)
    return error


def _who(login: Login) -> str | None:
    """Who the provider says you are. For what was pasted this is the proof that it is good: raises `SignInRefused`."""
    who: str | None = None
    with login.session() as session:
        session.tries = 1
        for probe in login.provider.probes:
            if login.method.minted and not probe.keys:
                continue  # it would prove a token that the provider has just made
            follows = "{answer}" in probe.path
            if follows != bool(who):
                break  # it needs a name and there is none, or there is a name and it would add nothing
            who = _probe(login, session, probe, who) or who
    claim = login.method.claim
    return who or (claims_of(login.token().access_token).get(claim) if claim else None)


def _probe(login: Login, session: LabSession, probe: Probe, previous: str | None) -> str | None:
    """The name that `probe` tells, if any."""
    provider, pasted = login.provider, not login.method.minted
    url = login.origin + probe.path.replace("{answer}", previous or "")
    try:
        response = session.request(probe.verb, url, json={} if probe.verb == "POST" else None)
        body = response.json() if response.ok else None
    except ProviderUnreachable:
        if pasted:
            raise
        return None  # the token came, so the sign-in is good; the name is only an extra
    except ValueError:
        body = None
    # "No permission", said by the provider itself, proves a pasted credential as well as data does; a web page does not.
    proven = isinstance(body, dict) or (response.status_code in (401, 403, 404, 429) and read_error(response)[0] != "")
    if pasted and previous is None and (is_dead(provider, response) or not proven):
        raise refused(login._exchange, response, login.secrets())
    body = body.get("data", body) if isinstance(body, dict) else {}
    named = (body.get(key) for key in probe.keys if isinstance(body, dict))
    found = next((value for value in named if isinstance(value, str) and value), None)
    return None if found is None else scrub(one_line(found, 80), login.secrets())


def get(name: str | None = None) -> Login:
    """The login called `name`, signed in or not (None: the only one). Raises `NotSignedIn`, naming the command to type."""
    with _LOCK:
        known = dict(_LOGINS)
    if name is None:
        if len(known) == 1:
            return next(iter(known.values()))
        names = f" Give one of: {', '.join(known)}." if known else " Type %labauth login " + " | ".join(PROVIDERS)
        raise NotSignedIn(f"There are {len(known) or 'no'} logins.{names}")
    if name in known:
        return known[name]
    if name in PROVIDERS:
        others = f" (there is {', '.join(known)})" if known else ""
        raise NotSignedIn(f"You are not signed in to {PROVIDERS[name].title}{others}. Type %labauth login {name}")
    raise NotSignedIn(str(nearest(name, known or PROVIDERS, "login" if known else "provider")))


def session(name: str | None = None) -> LabSession:
    """An authenticated session on the login called `name` (None: the only one). Raises `NotSignedIn`, `LoginExpired`."""
    result = get(name)
    if not result.signed_in:
        raise NotSignedIn(f"{result.name} is signed out. To sign in again, type {result.command}")
    if result.status == EXPIRED and not result._tokens.renewable and result.seconds_left == 0:
        raise LoginExpired(f"{result.name} has expired. To sign in again, type {result.command}")
    return result.session()


def status(name: str | None = None) -> Status:
    """The state of all logins, or of the one called `name`."""
    if name is not None:
        return Status([get(name)])
    with _LOCK:
        return Status(list(_LOGINS.values()))


def refresh(name: str | None = None) -> Login:
    """Renew the token of `name` now. Raises `NotSignedIn`, `LoginExpired` (a pasted token) and what grants raise."""
    result = get(name)
    result.refresh()
    return result


def logout(name: str | None = None, *, all: bool = False, revoke: bool | None = None) -> list[str]:
    """Log out of `name` (None: the only one) or of `all`: forget, and revoke where the provider offers it.

    `revoke`: True revokes a pasted token too, False nothing; None asks about a pasted one. Gives a sentence for each login.
    """
    if all and name is not None:
        raise InvalidInput("Log out of one login or of all of them, not both: leave out the name or --all.")
    with _LOCK:
        chosen = list(_LOGINS.values()) if all else [get(name)]
        for each in chosen:
            _LOGINS.pop(each.name, None)
    return [each.logout(revoke) if each.signed_in else f"{each.name} was signed out already." for each in chosen]


def practice_lab() -> Lab:
    """The embedded sandbox, started if need be. Raises `InvalidInput` without the extra `[sandbox]`."""
    try:
        from .sandbox import running
    except ImportError:
        raise InvalidInput("The sandbox needs one more package. Install it with: pip install 'labauth-nb[sandbox]'") from None
    lab = running()
    if changed not in lab.clock.moved:
        lab.clock.moved.append(changed)
    return lab


def forget_sandbox() -> None:
    """Forget every login on the sandbox (it was stopped or reset)."""
    with _LOCK:
        for each in [each for each in _LOGINS.values() if each.sandbox]:
            each.signed_in = False
            del _LOGINS[each.name]
    changed()
