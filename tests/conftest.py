"""What every test has: a clean environment, and the sandbox by `lab` (labauth_nb's own pytest fixture, by another name)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from labauth_nb import logins, stores
from labauth_nb.sandbox import Lab

OURS = ("LABAUTH_", "BENCHLING_", "QBENCH_", "FOUNDRY_", "FDT_", "DX_")


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
    logins._LOGINS.clear()
    stores._agreed.clear()


@pytest.fixture
def lab(labauth_sandbox: Lab) -> Iterator[Lab]:
    """The sandbox in its first state; a bug of the sandbox itself fails the test."""
    yield labauth_sandbox
    assert not labauth_sandbox.crashes


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LABAUTH_NO_SKIP=1 (CI) a test that was skipped, a witness or a browser's, fails the run."""
    if os.environ.get("LABAUTH_NO_SKIP") and _skipped:
        print(f"\nskipped, where nothing may be: {', '.join(_skipped)}")
        session.exitstatus = 1
