"""What every test has: a clean environment, and the sandbox by `lab` (labauth_nb's own pytest
fixture, by another name)."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labauth_nb.credentials import stores
from labauth_nb.logins import logins
from labauth_nb.logins.logins import Login
from labauth_nb.notebook import cards, views
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.lab import SITES
from labauth_nb.tokens.attempts import Attempt
from labauth_nb.tokens.exchanges import Exchange

Crowd = Callable[[str, int, Callable[[], Any]], AbstractContextManager[list[Future[Any]]]]
# A shell ignores Ctrl-C for what it starts in the background, and its children inherit that; the
# tests send some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
FIELDS = [f for p in PROVIDERS.values() for m in p.methods for f in (p.tenant, *m.fields)]
OURS = ("LABAUTH_", *sorted({f"{v.partition('_')[0]}_" for f in FIELDS for v in f.variables}))
READ: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "benchling": ("GET", "plates", None),
    "qbench": ("GET", "orders", None),
    "foundry": ("GET", "ontologies", None),
    "dnanexus": ("POST", "system/whoami", {}),
}
"""A request that every method of a provider may make on the sandbox: verb, path, JSON."""


def reading(provider: str) -> str:
    """The same as code, behind a session and a dot."""
    verb, path, json = READ[provider]
    return f"request({verb!r}, {path!r}, json={json!r})"


def exchange_of(one: Login | Attempt) -> Exchange:
    """What a login or an attempt asks its provider with, to change it as a fault would, and to see
    that nothing is kept in it."""
    return one._exchange


def free_port() -> int:
    """A port of this computer that nothing listens on."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return int(it.getsockname()[1])


def forget_logins() -> None:
    """No login any more, as in a kernel that has just started; nothing is revoked."""
    logins._LOGINS.clear()


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No credentials of this computer, an empty home and working folder, no login left over."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    yield
    forget_logins()
    # of panels: each would be drawn again at every change in the tests that follow
    logins.watchers.clear()
    views._panels.clear()
    stores._agreed.clear()
    cards.typed_before.clear()


@pytest.fixture
def refusable() -> Iterator[None]:
    """A file's mode forbids root, too, what it forbids: this thread gives up to write, read and
    search everywhere.

    (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, capabilities(7); another user has neither.)
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    libc, header = ctypes.CDLL(None), struct.pack("Ii", 0x20080522, 0)
    held = ctypes.create_string_buffer(24)
    assert libc.capget(header, held) == 0
    effective, *rest = struct.unpack("6I", held.raw)
    assert libc.capset(header, struct.pack("6I", effective & ~0b110, *rest)) == 0
    yield
    assert libc.capset(header, held.raw) == 0


@pytest.fixture
def lab(labauth_sandbox: Lab) -> Iterator[Lab]:
    """The sandbox in its first state; a bug of the sandbox itself fails the test."""
    yield labauth_sandbox
    assert not labauth_sandbox.crashes


def check_headers(response: Any) -> None:
    """A 401, and nothing else, says how to authenticate, a 405 what is allowed (RFC 9110 15.5.2,
    15.5.6)."""
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
    assert ("Allow" in response.headers) == (response.status_code == 405)


@pytest.fixture
def crowd(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """`with crowd(provider, many, ask) as responses:` holds `many` requests open in the sandbox
    until the block ends."""

    @contextmanager
    def hold(provider: str, many: int, ask: Callable[[], Any]) -> Iterator[list[Future[Any]]]:
        gate, end = threading.Event(), time.monotonic() + 30
        monkeypatch.setattr(
            "labauth_nb.sandbox.sites.time", SimpleNamespace(sleep=lambda _: gate.wait(30))
        )
        lab.next(provider, "slow", times=many)
        with ThreadPoolExecutor(many) as pool:
            try:
                responses = [pool.submit(ask) for _ in range(many)]
                while lab.sites[provider].faults and time.monotonic() < end:
                    time.sleep(0.01)
                assert not lab.sites[provider].faults, "not all of the requests came to be held"
                yield responses
            finally:
                gate.set()

    return hold


@pytest.fixture(autouse=True)
def impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a server that cannot be reached, but by the sandbox's clock, which moves by
    itself."""
    if "lab" not in request.fixturenames and not request.node.get_closest_marker("executed"):
        monkeypatch.setenv("LABAUTH_PATIENCE", "0s")


TABLES = {
    f"test_{room}.py"
    for room in (
        "attempts",
        "contract",
        "echoes",
        "hostile",
        "openid",
        "remembering",
        "sandbox",
        "secrets",
        "stores",
        "wire",
    )
}
TABLES |= {f"test_{site.__module__.rpartition('.')[2]}.py" for site in SITES.values()}
"""Long tables of cases, and the sandbox's sites: what the fast lane leaves out whole."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow are too: long tables, notebooks, what runs in a kernel that tests share, and what CI
    runs once or elsewhere."""
    for item in items:
        shared = {"kernel", "shell", "recorded"} & set(getattr(item, "fixturenames", ()))
        if (
            item.path.suffix == ".ipynb"
            or item.path.name in TABLES
            or shared
            or any(map(item.get_closest_marker, ("executed", "once", "witness")))
        ):
            item.add_marker("slow")


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LABAUTH_NO_SKIP=1 (CI) a test that was skipped, a witness or a browser's,
    fails the run."""
    if os.environ.get("LABAUTH_NO_SKIP") and _skipped:
        print(f"\nskipped, where nothing may be: {', '.join(_skipped)}")
        session.exitstatus = 1
