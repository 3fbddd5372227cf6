"""The token source: when it renews, who waits, who shares a failure."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import traceback

import pytest

from labauth_nb.clocks import SandboxClock
from labauth_nb.errors import LabauthError, LoginExpired, NotSignedIn
from labauth_nb.masking import Secret
from labauth_nb.tokens.renewal import TokenSource
from labauth_nb.tokens.token import Token


class Server:
    """Counts what it is asked; fails while `error` is set."""

    def __init__(self, life: float | None = 900.0) -> None:
        self.clock, self.life = SandboxClock(), life
        self.asked = 0
        self.error: BaseException | None = None
        self.source = TokenSource(self.acquire, self.clock)

    def acquire(self, previous: Token | None) -> Token:
        self.asked += 1
        if self.error is not None:
            raise self.error
        now = self.clock.time()
        value = Secret(f"token-{self.asked}")
        return Token(
            value, Secret(f"Bearer {value}"), now, None if self.life is None else now + self.life
        )


@pytest.mark.parametrize(
    ("life", "margin"), [(900, 60), (3600, 60), (100, 10), (3, 0.3), (0.5, 0.05)]
)
def test_margin(life: float, margin: float) -> None:
    """A token is renewed min(60 s, 10 % of its life) before it expires."""
    server = Server(life)
    token = server.source.token()
    assert token.expires_at is not None
    assert token.renew_at == pytest.approx(token.expires_at - margin, abs=0.001)
    assert token.soft_at == pytest.approx(token.issued_at + 0.75 * life, abs=0.001)


def test_unknown_expiry() -> None:
    """A token of unknown expiry is used until it is refused."""
    server = Server(life=None)
    first = server.source.token()
    server.clock.advance(10**8)
    assert server.source.token() is first
    assert server.source.token(rejected=first) is not first
    assert server.asked == 2


def kept_by(server: Server) -> list[str]:
    """The tokens that the source still knows, without their headers."""
    return [secret for secret in server.source.secrets() if " " not in secret]


def test_replaced_tokens() -> None:
    """A replaced token of unknown expiry may be live: the newest 20 are kept to be revoked."""
    server = Server(life=None)
    for _ in range(25):
        server.source.renew()
    kept = [f"token-{n}" for n in range(5, 26)]
    assert kept_by(server) == kept
    assert [token.access_token for token in server.source.close()] == kept


def test_replaced_tokens_expire() -> None:
    """A replaced token whose expiry is known is kept until then."""
    server = Server()
    server.source.renew()
    server.source.renew()
    assert kept_by(server) == ["token-1", "token-2"]
    server.clock.advance(901)
    server.source.renew()
    assert kept_by(server) == ["token-3"]


def test_rejected_twice() -> None:
    """Two callers who were refused with the same token get the same new one: it is
    asked for once."""
    server = Server()
    old = server.source.token()
    new = server.source.token(rejected=old)
    assert server.source.token(rejected=old) is new
    assert server.asked == 2


def test_no_endless_renewal() -> None:
    """A new token that is called dead as well is not renewed again, until it was accepted
    somewhere."""
    source = Server().source
    first = source.token()
    assert source.may_renew(first, ("GET", "/a"))
    second = source.token(rejected=first)
    assert not source.may_renew(second, ("GET", "/b"))
    source.accepted(second, ("GET", "/c"))
    assert source.may_renew(second, ("GET", "/b"))


def test_denied_place() -> None:
    """Where a new token is called dead too, no token is renewed any more, until one is accepted
    there."""
    source, place = Server().source, ("GET", "/a")
    second = source.token(rejected=source.token())
    source.accepted(second, ("GET", "/b"))
    assert not source.may_renew(second, place, again=True)
    assert not source.may_renew(second, place)
    assert source.may_renew(second, ("POST", "/a"))
    source.accepted(second, place)
    assert source.may_renew(second, place)


def test_adopted_token_proves_nothing() -> None:
    """A dead token that another kernel had got is renewed here, and its place is not denied."""
    source, place = Server().source, ("GET", "/a")
    source.adopted = source.token()
    assert source.may_renew(source.adopted, place, again=True)
    assert source.may_renew(source.adopted, place)


def test_failure_is_not_kept() -> None:
    """After a failure the next call tries again, and succeeds when the cause is gone."""
    server = Server()
    server.error = LabauthError("no")
    for n in (1, 2):
        with pytest.raises(LabauthError, match="no"):
            server.source.token()
        assert server.asked == n
    server.error = None
    assert server.source.token().access_token == "token-3"
    assert server.source.last_error is None


def test_late_callers_share_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who comes just after the refusal, with those who crossed expiry together, shares it:
    one token request."""
    server = Server()
    server.error = LabauthError("no")
    lingering, go = threading.Event(), threading.Event()

    def linger(seconds: float) -> None:
        assert 0.1 <= seconds <= 2
        lingering.set()
        assert go.wait(10)

    monkeypatch.setattr("labauth_nb.tokens.renewal.time.sleep", linger)
    errors: list[LabauthError] = []

    def call() -> None:
        try:
            server.source.token()
        except LabauthError as error:
            errors.append(error)

    threads = [threading.Thread(target=call)]
    threads[0].start()
    assert lingering.wait(10)
    threads += [threading.Thread(target=call) for _ in range(5)]
    for late in threads[1:]:
        late.start()
    flight = server.source._flight
    assert flight is not None
    while len(flight.done._cond._waiters) < 5:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    go.set()
    for each in threads:
        each.join(10)
    assert (server.asked, len(errors), len({id(error) for error in errors})) == (1, 6, 6)


def test_soft_failure_is_hidden() -> None:
    """A renewal that fails while the old token is good costs the caller nothing, and is not tried
    at every call."""
    server = Server()
    old = server.source.token()
    server.error = LabauthError("down for a moment")
    server.clock.advance(700)
    assert [server.source.token() for _ in range(50)] == [old] * 50
    assert server.asked == 2
    assert str(server.source.last_error) == "down for a moment"
    server.clock.advance(120)
    server.error = None
    assert server.source.token() is not old


def test_soft_window_stalls_one() -> None:
    """In the soft window one caller waits for the renewal; the others go on with the old token at
    once."""
    server = Server()
    old = server.source.token()
    server.clock.advance(700)
    inside, go = threading.Event(), threading.Event()
    acquire = server.acquire

    def slow(previous: Token | None) -> Token:
        inside.set()
        assert go.wait(10)
        return acquire(previous)

    server.source._acquire = slow
    renewing: list[Token] = []
    thread = threading.Thread(target=lambda: renewing.append(server.source.token()))
    thread.start()
    assert inside.wait(10)
    assert [server.source.token() for _ in range(20)] == [old] * 20
    go.set()
    thread.join(10)
    assert renewing[0] is not old
    assert server.source.token() is renewing[0]
    assert server.asked == 2


def test_interrupted_leader() -> None:
    """When the one who renews is interrupted, those who wait renew themselves, and nobody hangs.

    Nobody else is interrupted, and the interrupt has no frame that holds what was sent.
    """
    server = Server()
    inside, go = threading.Event(), threading.Event()
    acquire, first = server.acquire, [True]

    def once_interrupted(previous: Token | None) -> Token:
        if first:
            first.clear()
            inside.set()
            assert go.wait(10)
            raise KeyboardInterrupt
        return acquire(previous)

    server.source._acquire = once_interrupted
    interrupted: list[BaseException] = []

    def leader() -> None:
        try:
            server.source.token()
        except KeyboardInterrupt as error:
            interrupted.append(error)

    lead = threading.Thread(target=leader)
    lead.start()
    assert inside.wait(10)
    got: list[Token] = []
    waiters = [threading.Thread(target=lambda: got.append(server.source.token())) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    go.set()
    for thread in (lead, *waiters):
        thread.join(10)
    assert len(interrupted) == 1
    shown = traceback.walk_tb(interrupted[0].__traceback__)
    frames = [frame.f_code.co_name for frame, _ in shown]
    assert "once_interrupted" not in frames
    assert {t.access_token for t in got} == {"token-1"}


def test_pasted_token_expires() -> None:
    """A pasted token is used to its last second, then raises, with the command to type."""
    clock = SandboxClock()
    now = clock.time()
    token = Token(Secret("pasted"), Secret("Bearer pasted"), now, now + 100)
    source = TokenSource(
        None, clock, token, expired="To sign in again, type %labauth login foundry"
    )
    clock.advance(99)
    assert source.token() is token
    clock.advance(1)
    with pytest.raises(LoginExpired, match="%labauth login foundry"):
        source.token()


def test_closed() -> None:
    """After a log out no token is asked for, even by who was refused with one before."""
    server = Server()
    token = server.source.token()
    assert server.source.close() == [token]
    for call in (server.source.renew, lambda: server.source.token(rejected=token)):
        with pytest.raises(NotSignedIn, match="logged out meanwhile"):
            call()
    assert server.asked == 1


def test_token_is_not_pickled() -> None:
    """A token refuses to be pickled, and its repr holds nothing of it."""
    token = Server().source.token()
    assert "token-1" not in repr(token)
    with pytest.raises(TypeError, match="sign in again"):
        pickle.dumps(token)


def test_interrupt_does_not_lose_a_renewal() -> None:
    """Ctrl-C while a token is renewed ends the waiting only: the refresh token that was sent is not
    lost, nor sent again."""
    code = """
import signal, threading, time, os
from labauth_nb.clocks import Clock
from labauth_nb.masking import Secret
from labauth_nb.tokens.renewal import TokenSource
from labauth_nb.tokens.token import Token
asked = []
def acquire(previous):
    asked.append(previous)
    time.sleep(0.2)  # until the main thread waits
    os.kill(os.getpid(), signal.SIGINT)
    told.wait(30)
    return Token(Secret('new'), Secret('Bearer new'), time.time(), time.time() + 3600)
source = TokenSource(acquire, Clock(), Token(Secret('old'), Secret('Bearer old'), 0.0, 1.0))
told = threading.Event()
try:
    source.token()
    print('not interrupted')
except KeyboardInterrupt:
    print('interrupted')
    told.set()
print(source.token().access_token == 'new', len(asked))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split() == ["interrupted", "True", "1"]
