"""`Login`, the logins of this process by name, and the verbs on them.

Session, status, refresh, logout.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ..clocks import WALL, Clock, clock_words, in_words
from ..credentials import recalls
from ..credentials.recalls import Recall
from ..credentials.sources import Found
from ..credentials.trust import ASKED, GIVEN
from ..errors import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    NotSignedIn,
    SignInRefused,
    StoreUnavailable,
    nearest,
)
from ..masking import Fields
from ..providers import PROVIDERS, Method, Provider
from ..sessions.link import Link
from ..sessions.session import LabSession
from ..tokens.attempts import DONE, OVER, Attempt
from ..tokens.exchanges import Exchange, patience_seconds
from ..tokens.grants import GRANTS, REVOCATIONS, claims_of, discard
from ..tokens.renewal import TokenSource
from ..tokens.token import Token
from . import sharing
from .sharing import Renewal, SharedEntry
from .statuses import EXPIRED, EXPIRING, SIGNED_OUT, UNKNOWN, VALID, Status

if TYPE_CHECKING:
    from ..sandbox import Lab


Identity = tuple[str, tuple[str, str], str]
"""Of `Login.identity`: it holds no secret."""


Revoke = Callable[["Login"], bool] | bool | None
"""Whether a log out revokes: see `Login.logout`."""


class Login:
    """One provider + tenant + method + token source, under a name.

    `who`: who the provider says you are (None where it does not tell); `found`: where the
    credentials came from; `kept`: a message about what is remembered of it ("": nothing was asked
    to be).
    """

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        found: Found,
        first: Token | None = None,
        recall: Recall | None = None,
    ) -> None:
        self.name, self.found = name, found
        self.sandbox = exchange.clock is not WALL
        self.who: str | None = None
        self.kept = ""
        self.shared = SharedEntry(recall.ref, recall.entry.id) if recall else None
        """What is remembered of it, and shared with other kernels."""
        self._recalled = first if recall else None
        self._exchange = exchange
        self.signed_in = True
        method, self._advice = exchange.method, f"To sign in again, type {self.command}"
        token = first if method.issued_here else GRANTS[method.grant](exchange, None)
        renews = method.issued_here and (
            method.flow is None or (first is not None and first.refresh_token is not None)
        )
        what = "The token has expired, and what was pasted cannot be renewed."
        if method.flow is not None:
            what = "The sign-in has expired, and cannot be renewed without you."
        said = f"{what} {self._advice}"
        self._tokens = TokenSource(
            self._obtain if renews else None, exchange.clock, token, partial(changed, name), said
        )
        exchange.held = self._tokens.secrets

    def adopt(self, new: Login) -> None:
        """Go on with the sign-in of `new`, which is the same person's.

        Sessions that cells hold stay alive.

        `new` is not to be used any more. The newest of the earlier tokens are masked from now on,
        too.
        """
        new._tokens.former = self._tokens.secrets()[-FORMER_MOST:]
        if new._tokens.renewable:
            new._tokens.renew_by(self._obtain)
        vars(self).update(vars(new))

    def _obtain(self, previous: Token | None) -> Token:
        """The next token: the provider's, or that of another kernel of this login, if quicker."""
        exchange, grant, held = self._exchange, GRANTS[self.method.grant], self._tokens.current
        try:
            if self.shared is not None and not self.sandbox:
                token, whose = self.shared.renewed(exchange, held, previous, grant)
                self._tokens.adopted = token if whose is Renewal.ADOPTED else None
                if whose is Renewal.UNSHARED:
                    self.shared, self.kept = (
                        None,
                        "No longer remembered: it could not be written any more.",
                    )
                return token
            # A browser's refresh token is all there is, also when the provider refused the access
            # token.
            return grant(exchange, held if self.method.flow else previous)
        except LoginExpired as error:
            raise LoginExpired(f"{error} {self._advice}") from None
        except SignInRefused as error:
            once = self.method.once
            if once is not None and error.field == once.name and held is not None:
                error.args = (f"{error} {self._advice}",)
            raise

    @property
    def provider(self) -> Provider:
        """Whom it signs in to."""
        return self._exchange.provider

    @property
    def method(self) -> Method:
        """By which way."""
        return self._exchange.method

    @property
    def origin(self) -> str:
        """Where its token may go, and nowhere else."""
        return self._exchange.origin

    @property
    def clock(self) -> Clock:
        """The wall clock, or the sandbox's."""
        return self._exchange.clock

    @property
    def tenant(self) -> str:
        """The tenant, as a name or a host; "sandbox" on the sandbox."""
        if self.sandbox or self.origin.startswith("http:"):
            return "sandbox" if self.sandbox else self.origin
        host = self.origin.split("://", 1)[1]
        return host.removesuffix(self.provider.suffix) if self.provider.suffix else host

    @property
    def address(self) -> str:
        """Where its token goes, as a message shows it.

        "sandbox" on the sandbox, whose port changes.
        """
        return "sandbox" if self.sandbox else self.origin

    @property
    def command(self) -> str:
        """What to type to sign in to it again."""
        tenant = "" if self.tenant == self.provider.tenant.default else f" --tenant {self.tenant}"
        method = "" if self.method is self.provider.methods[0] else f" --method {self.method.name}"
        name = "" if self.name == self.provider.name else f" --as {self.name}"
        return f"%labauth login {self.provider.name}{tenant}{method}{name}"

    def token(self, rejected: Token | None = None) -> Token:
        """A good token (`TokenSource.token`).

        Raises `NotSignedIn` after a log out, `LoginExpired` and what grants raise.
        """
        self._require()
        return self._tokens.token(rejected)

    def _require(self) -> None:
        """Raise `NotSignedIn` unless it is signed in; say who has its name now."""
        new = _LOGINS.get(self.name)
        if self.signed_in:
            return
        if new is None or new is self:
            raise NotSignedIn(f"{self.name} is signed out. To sign in again, type {self.command}")
        old, now = (
            named(each.identity) + (f" at {each.address}" if self.origin != new.origin else "")
            for each in (self, new)
        )
        raise NotSignedIn(
            f"{self.name} is signed out for this session, which was taken from the login of {old}: "
            f"it is now the login of {now}{', by another sign-in' if now == old else ''}. "
            f"Nothing was sent. Take a new session: lab = %labauth session {self.name}"
        )

    @property
    def identity(self) -> Identity:
        """Whom it acts for: (client, (issuer, subject of its token), name); "": unknown."""
        method, fields, token = self.method, self._exchange.fields, self._tokens.current
        alone = method.issued_here and method.flow is None
        claims = claims_of(token.access_token) if token is not None else {}
        subject = (str(claims.get("iss") or ""), str(claims.get("sub") or ""))
        return (
            (alone and fields.get("client_id")) or "",
            subject,
            self.who or fields.get("username", ""),
        )

    def acts_for(self, identity: Identity) -> bool | None:
        """Whether it acts for the same person or client; None where the provider names nobody."""
        (client, (issuer, subject), who), (old, (old_issuer, old_subject), old_who) = (
            self.identity,
            identity,
        )
        if client or old:
            return client == old
        if subject and old_subject and issuer == old_issuer:
            return subject == old_subject
        return who == old_who if who or old_who else None

    def follows(self, old: Login) -> bool:
        """Whether the sessions of `old`, which has the same name, may go on with this login."""
        secret = None if self.method.issued_here else self.method.secret.name
        mine, theirs = (each._exchange.fields.get(secret or "") for each in (self, old))  # noqa: SLF001 - its own class
        same = self.method is old.method and mine is not None and mine == theirs
        return self.origin == old.origin and (same or self.acts_for(old.identity) is True)

    def source(self) -> TokenSource:
        """Where its tokens come from: another one after `adopt`, and after a log out."""
        return self._tokens

    def inherited(self, token: Token) -> bool:
        """Whether `token` came from another kernel, one before this or one beside it."""
        return token is self._recalled or token is self._tokens.adopted

    def refresh(self, attended: bool = False) -> None:
        """Renew the token now.

        `attended`: a person waits for it, so that an outage is waited out longer.

        Raises `LoginExpired` where it was pasted, and what grants raise.
        """
        self._require()
        if not self._tokens.renewable:
            if self.method.flow is not None:
                raise LoginExpired(f"This sign-in cannot be renewed without you. {self._advice}")
            label = self.method.secret.label
            raise LoginExpired(
                f"A pasted {label} cannot be renewed. Get a new one, then type {self.command}"
            )
        self._exchange.patience = patience_seconds(attended)
        try:
            self._tokens.renew()
        finally:
            self._exchange.patience = None

    @property
    def renewable(self) -> bool:
        """Whether a token that has expired is replaced without a person."""
        return self._tokens.renewable

    @property
    def acquired(self) -> bool:
        """Whether it has had a token."""
        return self._tokens.current is not None

    def share(self, entry: SharedEntry) -> None:
        """Other kernels have it too, by `entry`, from now on."""
        self.shared = entry

    def secrets(self) -> list[str]:
        """Every secret that it holds, for masking."""
        return self._exchange.secrets()

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the token expires, 0 when it has; None: unknown, or it never does."""
        token = self._tokens.current
        if token is None or token.expires_at is None:
            return None
        return max(token.expires_at - self.clock.time(), 0.0)

    @property
    def life(self) -> float | None:
        """Seconds for which the token is good in all; None: unknown, or it never expires."""
        return self._tokens.current.life if self._tokens.current is not None else None

    @property
    def margin(self) -> float | None:
        """It is expiring while it has so many seconds left; None: unknown, or it never expires."""
        token = self._tokens.current
        return (
            None if token is None or token.expires_at is None else token.expires_at - token.renew_at
        )

    @property
    def status(self) -> str:
        """One of: signed out, valid, expiring, expired, valid with unknown expiry."""
        token = self._tokens.current
        if not self.signed_in:
            return SIGNED_OUT
        refused = token is self._tokens.refused and not self.method.never_expires
        if token is None or refused or self.seconds_left == 0:
            return EXPIRED
        if token.expires_at is None:
            return VALID if self.method.never_expires else UNKNOWN
        return EXPIRING if self.clock.time() >= token.renew_at else VALID

    def row(self) -> tuple[str, ...]:
        """Its row in the table of all logins: the cells of `Status.COLUMNS`."""
        return (
            self.name,
            self.provider.title,
            "SANDBOX" if self.sandbox else self.tenant,
            self.method.name,
            self.who or "unknown",
            self.status,
            self.time_left,
            self.found.source() or "-",
            "; ".join(filter(None, (self.clock_note, self.last_error))),
        )

    @property
    def time_left(self) -> str:
        """The time left in words, rounded up to whole minutes, hours or days."""
        left = self.seconds_left
        if not self.signed_in:
            return "-"
        if self.status == EXPIRED:
            return "0 min; renews on next request" if self._tokens.renewable else "0 min"
        if left is None:
            return "does not expire" if self.method.never_expires else "unknown"
        return in_words(left)

    @property
    def clock_note(self) -> str:
        """What is wrong with this computer's clock, by the provider's responses; else ""."""
        offset = self._exchange.offset  # to the second at best: a Date header has no fractions
        return "" if abs(offset) < 30 else clock_words(offset)

    @property
    def last_error(self) -> str:
        """The message of the last renewal that failed; "" after one that did not."""
        return str(self._tokens.last_error or "")

    def session(self) -> LabSession:
        """A new `LabSession` on this login."""
        facts = (self.name, self.provider, self.tenant, self.origin, self.clock)
        link = Link(*facts, self.token, self.source, self.secrets, lambda: pickled(self))
        result = LabSession(link)
        result.login = self
        return result

    def logout(self, revoke: Revoke = None) -> str:
        """Forget, and revoke what we asked for where the provider offers it.

        A message that says what was done.

        `revoke`: True revokes a token that was not made here too, False nothing, None what was made
        here; a function is asked about a pasted one. What came from the environment, a file or the
        sandbox is left alone unless you say so.
        """
        self.signed_in, revoking = False, self._ended()
        live = self._tokens.close() if revoke is False else self._tokens.close(_late(revoking))
        named = "" if self.name == self.provider.name else f", {self.name}"
        forgotten, newest = self._forget()
        if newest is not None and newest.access_token not in {token.access_token for token in live}:
            live.append(newest)
        kept = self._revoked(live, revoking, revoke)
        # A renewal that is still under way keeps the old ones until it ends; then nobody does.
        self._exchange = replace(self._exchange, fields=Fields(), held=list)
        self._tokens = TokenSource(None, self.clock)
        self.found.fields = Fields()
        changed(self.name)
        said = f"Signed out of {self.provider.title} ({self.tenant}{named})."
        return " ".join(filter(None, (said, forgotten, kept)))

    def _forget(self) -> tuple[str, Token | None]:
        """Forget what is remembered of it.

        A message ("": nothing is), and the newest token that was kept.
        """
        shared = self.shared
        if shared is None:  # signed in again, over one that was remembered
            ref = recalls.find(self.provider.name, self.tenant, self.name)
            shared = SharedEntry(ref, "") if ref else None
        return ("", None) if shared is None else shared.forget()

    def _revoked(self, live: list[Token], exchange: Exchange, revoke: Revoke) -> str:
        """Revoke what may be `live`, as `revoke` says (see `logout`); what became of it."""
        title, method = self.provider.title, self.method
        if method.why_not_revoked:
            return method.why_not_revoked
        if not live:
            return "There was no live token to revoke."
        if not method.revoke:
            return (
                f"Not revoked: {title} offers no way to revoke"
                f" {'a token' if method.issued_here else 'it'} from here."
            )
        if callable(revoke):
            pasted = not method.issued_here and self.found.sources.get(method.secret.name) in (
                GIVEN,
                ASKED,
            )
            revoke = revoke(self) if pasted else None
        if revoke or (revoke is None and method.issued_here):
            try:
                for token in reversed(live):  # the one in use first
                    REVOCATIONS[method.revoke](exchange, token)
            except LabauthError as error:
                return f"The token was not revoked: {error}"
            return f"The token was revoked at {(method.flow and method.flow.who) or title}."
        if method.issued_here:
            return "The token was not revoked, as you asked."
        label = method.secret.label
        how = f"to destroy it at {title} too, sign in and log out with --revoke"
        return f"The {label} was not revoked, as it was not made here: {how}."

    def abandon(self) -> None:
        """End a login that its sign-in does not keep; revoke its token, or the one under way."""
        self.signed_in, revoking = False, self._ended()
        discard(revoking, lambda: self._tokens.close(_late(revoking)))

    def _ended(self) -> Exchange:
        """Ask for no more tokens; gives an exchange that can still revoke those there are."""
        self._exchange.ended.set()
        return replace(self._exchange, ended=threading.Event())

    def __repr__(self) -> str:
        mark = "SANDBOX: " if self.sandbox else ""
        if not self.signed_in:
            return f"{mark}Signed out of {self.provider.title} ({self.tenant})."
        who = f" as {self.who}" if self.who else ""
        note = f" Note: {self.clock_note}." if self.clock_note else ""
        source = self.found.source()
        return (
            f"{mark}Signed in to {self.provider.title} ({self.address}){who}, method"
            f" {self.method.name}; time left: {self.time_left}"
            f"{f'; credentials {source}' if source else ''}.{note}"
            f"{f' {self.kept}' if self.kept else ''}"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A login is not pickled: it holds secrets. Pickle its session, or sign in in the other"
            " process."
        )


def _late(exchange: Exchange) -> Callable[[Token], None]:
    """What becomes of a token that comes when nobody waits for it any more."""
    return lambda token: discard(exchange, lambda: [token])


def named(identity: Identity) -> str:
    """An identity, within a sentence."""
    client, _, who = identity
    return who or (f"the client {client}" if client else "a user that the provider does not name")


pickled: Any = None
"""`elsewhere.pickled`, put here by that room: it is above this one."""
_LOGINS: dict[str, Login] = {}
_LOCK = threading.RLock()
"""The registry of this process, written in this room only."""
FORMER_MOST = 40
"""How many secrets of earlier tokens are masked after signing in again."""
attempts: weakref.WeakSet[Attempt] = weakref.WeakSet()
"""The browser sign-ins under way."""
watchers: list[Callable[[str | None], None]] = []
"""Called, by whichever thread, with the name of a login that came, went, was renewed, or failed to
be; with None when that may be any: the sandbox's clock moved, or it was stopped."""


def changed(name: str | None = None) -> None:
    """Tell the watchers."""
    for watcher in list(watchers):
        with suppress(Exception):  # a page that cannot be told must not fail a sign-in
            watcher(name)


def known() -> list[Login]:
    """All logins, signed in or not, as they are now."""
    with _LOCK:
        return list(_LOGINS.values())


def find(name: str) -> Login | None:
    """The login called `name`, signed in or not, if there is one."""
    return _LOGINS.get(name)


def keep(login: Login) -> Login:
    """The login of that name from now on.

    `login`, or the one before it, where it is the same person's.

    Where it is somebody else's, the one before it is signed out: its sessions raise `NotSignedIn`.
    """
    with _LOCK:
        old = _LOGINS.get(login.name)
        if old is not None and login.follows(old):
            old.adopt(login)
            login = old
        elif old is not None:
            old.signed_in = False
        _LOGINS[login.name] = login
    return login


def get(name: str | None = None) -> Login:
    """The login called `name`, signed in or not (None: the only one).

    Raises `NotSignedIn`, naming the command to type.
    """
    there = {login.name: login for login in known()}
    if name is None:
        if len(there) == 1:
            return next(iter(there.values()))
        names = (
            f" Give one of: {', '.join(there)}."
            if there
            else " Type %labauth login " + " | ".join(PROVIDERS)
        )
        raise NotSignedIn(f"There are {len(there) or 'no'} logins.{names}")
    if name in there:
        return there[name]
    if name in PROVIDERS:
        others = f" (there is {', '.join(there)})" if there else ""
        raise NotSignedIn(
            f"You are not signed in to {PROVIDERS[name].title}{others}. Type %labauth login {name}"
        )
    raise NotSignedIn(str(nearest(name, there or PROVIDERS, "login")))


def session(name: str | None = None) -> LabSession:
    """An authenticated session on the login called `name` (None: the only one).

    Raises `NotSignedIn`, `LoginExpired`.
    """
    result = get(name)
    if not result.signed_in:
        raise NotSignedIn(f"{result.name} is signed out. To sign in again, type {result.command}")
    if result.status == EXPIRED and not result.renewable and result.seconds_left == 0:
        raise LoginExpired(f"{result.name} has expired. To sign in again, type {result.command}")
    return result.session()


def status(name: str | None = None) -> Status:
    """The state of all logins, or of the one called `name`."""
    shown = known() if name is None else [get(name)]
    stories = [f"{login.name}: {login.found.story()}" for login in shown if not login.sandbox]
    return Status([login.row() for login in shown], stories)


def logout(
    name: str | None = None, *, all: bool = False, revoke: Revoke = None, forget: bool = False
) -> list[str]:
    """Log out of `name` (None: the only one) or of `all`, as `Login.logout`; a message for each.

    A login that is remembered is forgotten there too; `forget`: also one that this kernel has not
    signed in to, with `all` everything that is remembered.
    """
    from ..credentials import stores

    with _LOCK:
        there = all or name in _LOGINS or (name is None and len(_LOGINS) == 1)
        only = not there and name is not None and bool(stores.heads(None, name))
        chosen = list(_LOGINS.values()) if all else [] if only else [get(name)]
        for each in chosen:
            _LOGINS.pop(each.name, None)
    said = []
    for attempt in list(attempts) if all else []:
        if attempt.state not in (DONE, OVER):
            attempt.cancel()
            said.append(f"A sign-in to {attempt.provider.title} in progress was cancelled.")
    said += [
        each.logout(revoke) if each.signed_in else f"{each.name} was already signed out."
        for each in chosen
    ]
    if all and forget:
        try:
            return [*said, *(sharing.forgotten(head) for head in stores.forget_all())]
        except StoreUnavailable as error:
            raise StoreUnavailable(" ".join([*said, str(error)])) from None
    left = stores.heads(None, name or chosen[0].name) if forget or only else []
    return [*said, *sharing.forget_each(left)]


def sandbox_lab() -> Lab:
    """The embedded sandbox, started if need be.

    Raises `InvalidInput` without the extra `[sandbox]`, or threads.
    """
    try:
        from ..sandbox import running
    except ImportError:
        raise InvalidInput(
            "The sandbox needs one more package. Install it with: pip install 'labauth-nb[sandbox]'"
        ) from None
    try:
        lab = running()
    except RuntimeError as error:
        raise InvalidInput(str(error)) from None
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
