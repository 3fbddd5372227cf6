"""`TokenSource`: where each login's token comes from (single flight, renewed ahead of time)."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from ..clocks import Clock, started
from ..errors import LabauthError, LoginExpired, NotSignedIn
from .token import Token

FAILURE_LINGER = 0.1
"""A failed flight stays open this many seconds, so that callers who crossed expiry together share
its failure."""
FAILURE_LINGER_MOST = 2.0
"""... doubled with each failure in a row, up to this: a storm of callers cannot become a storm of
token requests."""
RETIRED_MOST = 20
"""How many replaced tokens of unknown expiry are kept, as they may be live: the newest."""
CLOSE_SECONDS = 10.0
"""How long a log out waits for a renewal under way, so that its token can be revoked too."""


Place = tuple[str, str]
"""A verb and a path."""


class _Flight:
    """One renewal under way; whoever comes meanwhile waits for its result."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.token: Token | None = None
        self.error: LabauthError | None = None
        self.crash: BaseException | None = None


class TokenSource:
    """The token of one login, for any number of threads.

    `acquire(previous)` asks the provider for a token (None: this login cannot, its token was
    pasted); it raises a `LabauthError` when it fails. `clock` tells the time; `expired` is the
    message for a token that has; `changed` is called after each renewal, good or bad, by whichever
    thread did it.
    """

    def __init__(
        self,
        acquire: Callable[[Token | None], Token] | None,
        clock: Clock,
        token: Token | None = None,
        changed: Callable[[], None] = lambda: None,
        expired: str = "The token has expired, and cannot be renewed. Sign in again.",
    ) -> None:
        self._expired, self._changed = expired, changed
        self._acquire = acquire
        self._clock = clock
        self._token = token
        self._retired: list[Token] = []  # replaced, and not known to have expired
        # secrets of the tokens of the login before this one, which the provider may say back
        self.former: list[str] = []
        self._closed = False
        self._late: Callable[[Token], object] | None = None  # set once `close` waits no more
        self._failures = 0
        self._soft_not_before = float("-inf")
        self._unproven: Token | None = None  # issued as another was called dead; not accepted yet
        self._denied: set[Place] = set()  # they say "dead" and mean "no access"
        self.adopted: Token | None = None  # from another kernel, which shares this login
        # a token that the provider says is dead, and that cannot be renewed
        self.refused: Token | None = None
        self.last_error: LabauthError | None = None
        self._land()
        _sources.add(self)

    def _land(self) -> None:
        """No flight is under way (in the child of a fork.

        Whatever there was, its thread is not here).
        """
        self._lock = threading.Lock()
        self._flight: _Flight | None = None

    def close(self, late: Callable[[Token], object] = lambda token: None) -> list[Token]:
        """Renew no more.

        Waits for a renewal under way, and gives every token that may still be good at the provider.

        `late`: called with the token of a renewal that takes longer than that.
        """
        with self._lock:
            self._closed, flight = True, self._flight
        if flight is not None:
            flight.done.wait(CLOSE_SECONDS)
        now = self._clock.time()
        with self._lock:
            self._late = late
            tokens = [*self._retired, *([self._token] if self._token else [])]
        # An expired token may still have a live refresh token.
        return [
            t
            for t in tokens
            if t.expires_at is None or now < t.expires_at or (t is self._token and t.refresh_token)
        ]

    def secrets(self) -> list[str]:
        """Every secret of the token, and of those before it that may be live."""
        tokens = [*self._retired, *([self._token] if self._token else [])]
        return [*self.former, *(secret for token in tokens for secret in token.secrets())]

    @property
    def current(self) -> Token | None:
        """The token as it is, good or not; None before the first."""
        return self._token

    @property
    def renewable(self) -> bool:
        """Whether it can ask for a new token by itself."""
        return self._acquire is not None

    @property
    def renewing(self) -> bool:
        """Whether a renewal is under way."""
        return self._flight is not None

    def token(self, rejected: Token | None = None) -> Token:
        """A good token. `rejected`: the one that the provider just called dead.

        Good and not in its soft window: at once, without a lock. Else one caller renews; the others
        go on with the old one while it is good, and otherwise wait for that same result, a failure
        included. Raises `LoginExpired` when it cannot be renewed, and what the grant raises.
        """
        token, now = self._token, self._clock.time()
        if token is not None and token is not rejected:
            if now < token.soft_at:
                return token
            if self._acquire is None and (token.expires_at is None or now < token.expires_at):
                return token
            if now < token.renew_at and self._acquire is not None:
                return self._renew_softly(token, now)
        return self._renew(rejected)

    def renew_by(self, acquire: Callable[[Token | None], Token]) -> None:
        """From now on `acquire` gets the next token."""
        self._acquire = acquire

    def renew(self) -> Token:
        """A new token, whatever the old one's state (one request for all who ask at once)."""
        return self._renew(self._token, force=True)

    def accepted(self, token: Token, place: Place) -> None:
        """The provider took `token` at `place`."""
        if self._unproven is token:
            self._unproven = None
        if self.refused is token:
            self.refused = None
        self._denied.discard(place)

    def may_renew(self, dead: Token, place: Place, again: bool = False) -> bool:
        """Whether it is worth a renewal that the provider called `dead` dead at `place`.

        Some say "dead" and mean "no access": then no new token helps. So not at a place that did
        not take a new one either (`again`: `dead` is that one), nor for any new one that was not
        accepted anywhere yet. What another kernel got may be dead as well, and proves neither.
        """
        if self._acquire is None:
            if self._token is dead:
                self.refused = dead
                self._changed()
            return False
        if again and dead is not self.adopted:
            self._denied.add(place)
        return place not in self._denied and dead is not self._unproven

    def _renew_softly(self, token: Token, now: float) -> Token:
        if now < self._soft_not_before:
            return token
        with self._lock:
            if self._flight is not None or self._token is not token:
                return self._token or token
            flight = self._flight = _Flight()
        try:
            return self._fly(flight, token, rejected=None, linger=False)
        except LabauthError as error:
            # The old token is still good: go on with it, and do not try again at every call; nor,
            # before it ends, with a refresh token that may be used up: its family may be revoked.
            later = now + max((token.renew_at - now) / 4, 0.01)
            self._soft_not_before = later if error.repeats else token.renew_at
            return token

    def _renew(self, rejected: Token | None, force: bool = False) -> Token:
        while True:
            with self._lock:
                token = self._token
                if (
                    token is not None
                    and token is not rejected
                    and self._clock.time() < token.renew_at
                ):
                    return token
                if self._closed:
                    raise NotSignedIn("The login was logged out meanwhile.")
                if self._acquire is None:
                    raise LoginExpired(self._expired)
                flight, leading = self._flight, self._flight is None
                if flight is None:
                    flight = self._flight = _Flight()
            if leading:
                return self._fly(flight, token, rejected=None if force else rejected, linger=True)
            flight.done.wait()
            if flight.error is not None:
                raise flight.error.again()
            if flight.token is not None:
                return flight.token
            # The one who renewed was interrupted: somebody else has to.

    def _fly(
        self, flight: _Flight, previous: Token | None, rejected: Token | None, linger: bool
    ) -> Token:
        work, main = (flight, previous, rejected, linger), threading.main_thread()
        # In a thread that no interrupt reaches: it stops the waiting only, and a refresh token that
        # was sent is not lost.
        if threading.current_thread() is main and started(self._carry, *work, name="labauth token"):
            flight.done.wait()
        else:
            self._carry(*work)
        if flight.crash is not None:
            raise flight.crash
        if flight.error is not None:
            raise flight.error.again() from None
        if self._closed or flight.token is None:
            raise NotSignedIn("The login was logged out meanwhile.")
        return flight.token

    def _keep(self, token: Token, rejected: Token | None) -> None:
        """Make `token` the current one; under the lock."""
        now = self._clock.time()
        old = [*self._retired, *([self._token] if self._token else [])]
        endless = [t for t in old if t.expires_at is None][-RETIRED_MOST:]
        self._retired = [*endless, *(t for t in old if t.expires_at and now < t.expires_at)]
        self._token, self._failures, self.last_error = token, 0, None
        new = rejected is not None and token is not self.adopted
        self._unproven = token if new else None

    def _carry(
        self, flight: _Flight, previous: Token | None, rejected: Token | None, linger: bool
    ) -> None:
        """Do the renewal, and leave what came of it in `flight`."""
        assert self._acquire is not None
        try:
            # A refused token's family may be dead as well: start afresh rather than by its refresh
            # token.
            token = self._acquire(None if rejected is not None else previous)
            with self._lock:
                late = self._late
                if late is None:
                    flight.token = token
                    self._keep(token, rejected)
            if late is not None:
                late(token)
        except LabauthError as error:
            spent, error.spent = error.spent, None  # it would keep the error from being pickled
            self.last_error = flight.error = error
            self._failures += 1
            if isinstance(spent, Token) and not self._closed:
                # as good or as bad as before, but with the refresh token that works next
                self._token = spent
            if linger:
                time.sleep(
                    min(FAILURE_LINGER * 2 ** min(self._failures - 1, 10), FAILURE_LINGER_MOST)
                )
        except BaseException as crash:
            flight.crash = crash.with_traceback(None)  # without its frames: they hold what was sent
        finally:
            with self._lock:
                self._flight = None
            flight.done.set()
            self._changed()


_sources: weakref.WeakSet[TokenSource] = weakref.WeakSet()


def _after_fork() -> None:
    for source in _sources:
        source._land()  # noqa: SLF001 - its own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
