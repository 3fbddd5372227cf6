"""Signing in with a browser from a terminal: Python and IPython under a real pty, with a browser,
by paste, and not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from labauth_nb.sandbox import Lab

pexpect = pytest.importorskip("pexpect")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="a pty is POSIX's")]
PUBLIC = "sandbox-foundry-public"
QUESTION = (
    "Then press Enter here; if the browser could not come back, paste the address that it landed"
    " on: "
)


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which the "browser" writes the address that it was opened with."""
    opened, script = tmp_path / "opened.txt", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new\nmv {opened}.new {opened}\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TERM", "dumb")
    return opened


def call(lab: Lab) -> str:
    return (
        f"labauth_nb.login('foundry', 'user', tenant={lab.origin('foundry')!r},"
        f" client_id={PUBLIC!r})"
    )


def python(lab: Lab) -> Any:
    """A plain Python process at a terminal, which signs in and reads."""
    code = (
        f"import labauth_nb\nmine = {call(lab)}\nprint('RESULT',"
        " mine)\nprint(mine.session().get('ontologies').status_code)"
    )
    return pexpect.spawn(
        sys.executable, ["-c", code], encoding="utf-8", timeout=30, dimensions=(50, 400)
    )


def ipython(lab: Lab) -> Any:
    """Terminal IPython, with the magic."""
    options = [
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "--colors=NoColor",
        "--ext=labauth_nb",
    ]
    child = pexpect.spawn(
        sys.executable, options, encoding="utf-8", timeout=30, dimensions=(50, 400)
    )
    child.expect(r"In \[1\]: ")
    child.sendline(
        f"%labauth login foundry --method user --tenant {lab.origin('foundry')} --client-id"
        f" {PUBLIC}"
    )
    return child


PLACES = pytest.mark.parametrize("place", [python, ipython])
Place = Callable[[Lab], Any]


def page(child: Any, opened: Path) -> str:
    """The sign-in page's address: what was printed, and what the browser was opened with."""
    child.expect(r"Sign in on the page that has opened:\r?\n(http://\S+)\r?\n")
    printed = str(child.match.group(1))
    end = time.monotonic() + 10
    while not opened.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert opened.read_text() == printed
    child.expect_exact(QUESTION)
    return printed


def ended(child: Any, place: Place) -> str:
    """What came until the end of the process, or IPython's next prompt."""
    if place is python:
        child.expect(pexpect.EOF)
    else:
        child.expect(r"In \[2\]: ")
    return str(child.before)


def close(child: Any) -> None:
    child.close(force=True)


@PLACES
def test_the_browser_comes_back(lab: Lab, browser: Path, place: Place) -> None:
    """The page is opened; once the browser has come back, Enter ends the question, and one is
    signed in."""
    child = place(lab)
    answer = requests.get(lab.visit(page(child, browser)), timeout=30)
    assert "You are signed in to Foundry" in answer.text
    child.sendline("")
    said = ended(child, place)
    assert "Signed in to Foundry" in said
    assert "as ada, method user" in said
    if place is python:
        assert said.rstrip().endswith("200")
    close(child)


@PLACES
def test_paste(lab: Lab, browser: Path, place: Place) -> None:
    """Where the browser cannot come back: the address that it landed on is pasted, and
    not shown."""
    child = place(lab)
    landed = lab.visit(page(child, browser))
    child.sendline("")
    child.expect_exact(QUESTION)  # nobody has come back yet
    child.sendline("http://127.0.0.1:1/?code=of-another-one&state=another-state")
    child.expect("belongs to a different sign-in")
    child.expect_exact(QUESTION)
    child.sendline(landed)
    said = ended(child, place)
    assert "Signed in to Foundry" in said
    code = re.search(r"code=([^&]+)", landed)
    assert code is not None
    assert code[1] not in said
    close(child)


@PLACES
@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_given_up(lab: Lab, browser: Path, place: Place, key: str) -> None:
    """Ctrl-C and Ctrl-D end the attempt in a message, and what the browser brings afterwards is not
    used."""
    child = place(lab)
    landed = lab.visit(page(child, browser))
    child.send(key)
    said = ended(child, place)
    assert "NotSignedIn: The sign-in was cancelled." in said
    if place is ipython:
        assert "Traceback" not in said
    time.sleep(0.5)
    with pytest.raises(requests.ConnectionError):
        requests.get(landed, timeout=5)
    assert lab.token_requests("foundry") == 0
    close(child)


def test_declined(lab: Lab, browser: Path) -> None:
    """Who declines on the page is told so at the terminal."""
    child = ipython(lab)
    requests.get(lab.visit(page(child, browser), choice="deny"), timeout=30)
    child.sendline("")
    assert "SignInRefused: Foundry responded with access_denied" in ended(child, ipython)
    close(child)


def test_no_browser(lab: Lab, browser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be opened, the address is there to be opened elsewhere."""
    monkeypatch.setenv("BROWSER", "/bin/false")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DISPLAY", raising=False)
    child = python(lab)
    child.expect(r"Open this address and sign in:\r?\n(http://\S+)\r?\n")
    landed = lab.visit(child.match.group(1))
    child.expect_exact(QUESTION)
    child.sendline(landed)
    assert ended(child, python).rstrip().endswith("200")
    close(child)


@pytest.mark.parametrize(
    "shell", [["-c"], ["-m", "IPython", "--no-banner", "--colors=NoColor", "-c"]]
)
def test_nobody_there(lab: Lab, browser: Path, shell: list[str]) -> None:
    """Without a terminal (a script, cron, CI): one message at once, and no page is opened."""
    code = f"import labauth_nb; {call(lab)}"
    run: Any = subprocess.run(
        [sys.executable, *shell, code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = run.stdout + run.stderr
    (sentence,) = [line for line in said.splitlines() if "MissingCredentials: " in line]
    assert (
        "Foundry user needs a person with a browser, and this run is not interactive. Run %labauth"
        " login foundry" in sentence
    )
    assert "once with --remember; or use --method service-user or --method token." in sentence
    assert not browser.exists()
    assert lab.token_requests("foundry") == 0
