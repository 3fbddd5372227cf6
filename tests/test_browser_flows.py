"""Signing in with a browser, walked by a real Chromium: from the panel to the provider's page and
home again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port
from kernels import Kernel
from pages import carried
from test_browser import (
    CHROMIUM,
    CONTRASTS,
    COUNTED,
    NARROW,
    PICTURES,
    Notebook,
    chromium,
    jupyter,
    notebook,
    press,
    see,
)
from test_secrets import leaks

from labauth_nb.sandbox import Lab

__all__ = ["chromium", "jupyter", "notebook"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
LOAD = r"""
%load_ext labauth_nb
import labauth_nb.tokens.attempts, labauth_nb.tokens.listeners, secrets as _secrets
from labauth_nb.sandbox import running
from labauth_nb.logins import logins
lab_ = running()
lab_.set('idp', interval=0.2)
def _kept(kind, *values):
    with open('held.txt', 'a') as f:
        f.writelines(f'{kind} {str.__str__(value)}\n' for value in values if value)
def _token_urlsafe(n=None, _real=_secrets.token_urlsafe):
    value = _real(n)
    _kept('made', value)
    return value
_secrets.token_urlsafe = _token_urlsafe
def _url(self, _real=labauth_nb.tokens.attempts.Attempt.url.fget):
    from urllib.parse import parse_qsl, urlsplit
    url = _real(self)
    sent = dict(parse_qsl(urlsplit(url).query))
    _kept('shown', *(sent.get(name) for name in ('state', 'nonce', 'code_challenge')))
    _kept('shown', self._listener and self._listener.proof[1:])
    _kept('verifier', self._verifier)
    return url
labauth_nb.tokens.attempts.Attempt.url = property(_url)
def held():
    for site in lab_.sites.values():
        _kept('token', *site.tokens, *site.refresh_tokens)
    for each in logins._LOGINS.values():
        _kept('login', *each.secrets())
"""
FOUNDRY = "%labauth login foundry --method user --tenant sandbox"
BENCHLING = "%labauth login benchling --method oidc --tenant sandbox"
DNANEXUS = "%labauth login dnanexus --method browser --tenant sandbox"
OPEN = "Open the sign-in page"


@pytest.fixture
def flows(notebook: Notebook) -> Iterator[Notebook]:
    """A notebook whose kernel writes every secret of a sign-in down, in a file that is
    no output."""
    (notebook.folder / "held.txt").unlink(missing_ok=True)
    pages = list(notebook.page.context.pages)
    yield notebook
    for page in notebook.page.context.pages:
        if page not in pages:
            page.close()


def opened(notebook: Notebook, panel: Any, link: str = OPEN) -> Any:
    """Click a link of the panel; the page that opens."""
    with notebook.page.context.expect_page() as found:
        panel.locator(f"a:text-is('{link}')").click()
    page = found.value
    page.wait_for_load_state()
    return page


def landed(page: Any, sentence: str) -> None:
    """The page at home: the message, and no code in the address bar, the history or the
    referrer."""
    see(page.locator("p"), sentence)
    page.wait_for_function("!location.search")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", page.evaluate("location.href"))
    assert page.evaluate("document.referrer") == ""
    page.close()


def signed_in(notebook: Notebook, cell: int, title: str, who: str) -> None:
    panel = notebook.panel(cell)
    see(panel, f"Signed in to {title}")
    see(panel, who)
    notebook.ended(cell)
    assert panel.locator(".attempt, form").count() == 0


def nothing_leaked(notebook: Notebook, *pasted: str) -> None:
    """0 secrets in frames, saved notebook, history, nbconvert's output and server log, but for what
    the page must show; what was `pasted` left the page sealed."""
    notebook.run("held()\nget_ipython().history_manager.writeout_cache()")
    saved = notebook.save()
    assert "anywidget" not in saved  # a progress bar is a widget, too
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", notebook.name]
    html = subprocess.run(
        command, cwd=notebook.folder, capture_output=True, check=True, timeout=120
    ).stdout
    lines = [line.split(" ", 1) for line in (notebook.folder / "held.txt").read_text().splitlines()]
    shown = {value for kind, value in lines if kind == "shown"}
    cookies = {
        c["value"] for c in notebook.page.context.cookies() if c["name"].startswith("sandbox-")
    }
    assert cookies
    # Not what the sandbox hands out to everybody.
    known = {value.removeprefix("Bearer ") for _, value in lines if not value.startswith("sandbox")}
    secret = sorted((known | cookies) - shown)
    assert len(secret) > 3
    places = [saved, html, (notebook.folder / ".log").read_bytes()]
    files = list((notebook.folder / ".ipython").rglob("history.sqlite*"))
    assert files
    places += [file.read_bytes() for file in files]
    assert leaks([*secret, *shown], *places) == []
    received, sent = b"\n".join(notebook.received), list(notebook.sent)
    assert leaks(secret, received) == []
    for frame in notebook.received:
        if leaks([value for value in shown], frame):
            assert b"comm_msg" in frame  # the panel's own message to the page, and no output
            assert b'"attempt"' in frame
    assert sum(b'"sealed":{"id":' in frame for frame in sent) >= len(pasted)
    assert leaks([*secret, *shown, *pasted], *sent) == []
    print(
        f"{len(secret)} secrets, {len(shown)} shown to the page, {len(notebook.received)} frames,"
        f" {len(places)} places: 0"
    )


REMOTE = f"""{LOAD}
def _unreachable(self, *arguments, _real=labauth_nb.tokens.listeners.Listener.__init__):
    _real(self, *arguments)
    self.close()
labauth_nb.tokens.listeners.Listener.__init__ = _unreachable
"""
"""A kernel on another computer: nothing listens where the browser looks for it."""


def landing(page: Any, act: Callable[[], None]) -> str:
    """Do `act`; the address that the page could not open then, as its address bar shows it."""
    with page.expect_event("requestfailed") as failed:
        act()
    page.wait_for_timeout(300)
    page.close()
    return str(failed.value.url)


def pictures(notebook: Notebook, name: str, panel: Any) -> None:
    """Light, dark and narrow; every text readable, nothing cut off."""
    for theme, light in (("JupyterLab Light", True), ("JupyterLab Dark", False)):
        notebook.theme(theme, light=light)
        notebook.picture(f"flow-{name}-{'light' if light else 'dark'}", panel)
        assert not [
            each
            for each in panel.evaluate(CONTRASTS.replace("button:enabled", "a, button:enabled"))
            if each[0] < 4.5
        ]
    notebook.theme("JupyterLab Light", light=True)
    panel.evaluate(NARROW)
    assert panel.evaluate("(panel) => panel.scrollWidth <= panel.clientWidth + 1")
    notebook.picture(f"flow-{name}-narrow", panel)
    panel.evaluate("(panel) => { panel.parentElement.style.cssText = '' }")


def test_foundry_under_run_all(flows: Notebook) -> None:
    """Run All begins by itself, proves the browser is here, and goes on with data after Allow;
    nothing of it is left."""
    read = (
        "lab = %labauth session"
        " foundry\nlab.frame('ontologies/lab/objects/Sample')['instrument'].min()"
    )
    page = flows.open("foundry.ipynb", LOAD, FOUNDRY, read).page
    flows.command("notebook:run-all-cells")
    panel = flows.panel(1)
    see(panel.locator("[aria-pressed='true']"), "In this browser")
    see(panel, "this panel continues by itself")
    assert flows.waits(1)
    assert flows.waits(2)
    link = panel.locator(f"a:text-is('{OPEN}')")
    assert (link.get_attribute("rel"), link.get_attribute("referrerpolicy")) == (
        "noopener noreferrer",
        "no-referrer",
    )
    page.wait_for_timeout(2000)  # longer than the proof is waited for
    see(panel.locator("[aria-pressed='true']"), "In this browser")
    pictures(flows, "here", panel)
    consent = opened(flows, panel)
    see(consent.locator("h1"), "Allow this application to act as you?")
    consent.screenshot(path=PICTURES / "flow-consent.png")
    consent.locator("button[value='allow']").click()
    see(
        consent.locator("p"),
        "You are signed in to Foundry. Close this page and go back to the notebook.",
    )
    consent.screenshot(path=PICTURES / "flow-landing.png")
    landed(consent, "You are signed in to Foundry.")
    signed_in(flows, 1, "Foundry", "ada")
    see(panel.locator(".time"), re.compile(COUNTED))
    see(flows.cell(2).locator(".jp-Cell-outputArea"), "NovaSeq")
    pictures(flows, "done", panel)
    assert "Error" not in page.inner_text(".jp-Notebook")
    nothing_leaked(flows)


def test_deny_again_cancel(flows: Notebook) -> None:
    """Deny, then Cancel: each leaves a usable form with its message (or none); the third try signs
    in."""
    flows.open("deny.ipynb", LOAD)
    flows.run(LOAD)
    cell = flows.start(FOUNDRY)
    panel = flows.panel(cell)
    consent = opened(flows, panel)
    consent.locator("button[value='deny']").click()
    said = "Foundry responded with access_denied (The user declined)."
    landed(consent, f"{said} The sign-in was declined")
    see(panel.locator("form .error"), said)
    pictures(flows, "denied", panel)
    assert flows.waits(cell)
    panel.locator("button[type='submit']").click()
    panel.locator(f"a:text-is('{OPEN}')").wait_for()
    press(panel, "Cancel")
    panel.locator("form").wait_for()
    assert panel.locator(".error").count() == 0
    panel.locator("button[type='submit']").press("Enter")
    consent = opened(flows, panel)
    consent.locator("button[value='allow']").click()
    landed(consent, "You are signed in to Foundry.")
    signed_in(flows, cell, "Foundry", "ada")
    nothing_leaked(flows)


def test_benchling_login_page(flows: Notebook) -> None:
    """Benchling by the identity provider's page: a wrong password there, then the right one; data
    follows."""
    flows.open("oidc.ipynb", LOAD)
    flows.run(LOAD)
    cell = flows.start(BENCHLING)
    panel = flows.panel(cell)
    see(panel.locator("[aria-pressed='true']"), "In this browser")
    page = opened(flows, panel)
    page.locator("#email").fill("ada@sandbox.example")
    page.locator("#password").fill("wrong")
    page.locator("button[value='allow']").click()
    see(page.locator("[role='alert']"), "wrong")
    page.locator("#email").fill("ada@sandbox.example")
    page.locator("#password").fill("sandbox-idp-password")
    page.locator("button[value='allow']").click()
    landed(page, "You are signed in to Benchling.")
    signed_in(flows, cell, "Benchling", "ada@sandbox.example")
    out = flows.run(
        "lab = %labauth session benchling\nlab.get('plates').json()['plates'][0]['name']"
    )
    see(flows.cell(out), "Cell viability plate 001")
    nothing_leaked(flows)


def test_benchling_device_by_itself(flows: Notebook) -> None:
    """Where the listener cannot be reached the panel asks for a device code by itself; allowed on
    another page, it goes on."""
    flows.open("device.ipynb", LOAD)
    flows.run(REMOTE)
    cell = flows.start(BENCHLING)
    panel = flows.panel(cell)
    see(panel.locator("[aria-pressed='true']"), "With a code")
    see(panel.locator(".code"), re.compile(r"^[A-Z]{4}-[A-Z]{4}$"))
    code = panel.locator(".code").inner_text()
    pictures(flows, "device", panel)
    page = opened(flows, panel, "Open the page for the code")
    assert page.locator("#user_code").input_value() == code
    page.screenshot(path=PICTURES / "flow-device-page.png")
    page.locator("#email").fill("ada@sandbox.example")
    page.locator("#password").fill("sandbox-idp-password")
    page.locator("button[value='allow']").click()
    see(page.locator("h1"), "Connected")
    page.close()
    signed_in(flows, cell, "Benchling", "ada@sandbox.example")
    nothing_leaked(flows)


def test_benchling_device_refused(flows: Notebook) -> None:
    """A device code that cannot be had says so and can be asked for again; denied, the panel has
    its message and a form."""
    flows.open("refused.ipynb", LOAD)
    flows.run(REMOTE + "\nlab_.next('idp', 500, path='device_authorization')")
    cell = flows.start(BENCHLING)
    panel = flows.panel(cell)
    see(panel.locator(".error"), "The identity provider responded with 500")
    flows.picture("flow-device-failed", panel)
    press(panel, "Request a new code")
    panel.locator(".code").wait_for()
    assert panel.locator(".error").count() == 0
    page = opened(flows, panel, "Open the page for the code")
    page.locator("button[value='deny']").click()
    see(page.locator("h1"), "Not connected")
    page.close()
    see(
        panel.locator("form .error"),
        "The identity provider responded with 400 access_denied (The user declined).",
    )
    press(panel, "Continue in the browser")
    panel.locator(".code").wait_for()
    press(panel, "Cancel")
    panel.locator("form").wait_for()


def test_dnanexus_wrong_password_and_one_time_code(flows: Notebook) -> None:
    """DNAnexus' page: a wrong password first, then the right one with a one-time code."""
    flows.open("dnanexus.ipynb", LOAD)
    flows.run(LOAD + "\nlab_.set('dnanexus', otp='246810')")
    cell = flows.start(DNANEXUS)
    panel = flows.panel(cell)
    page = opened(flows, panel)
    for password in ("wrong", "sandbox-dnanexus-password"):
        page.locator("#username").fill("ada")
        page.locator("#password").fill(password)
        page.locator("#otp").fill("246810")
        page.locator("button[value='allow']").click()
        if password == "wrong":
            see(page.locator("[role='alert']"), "Incorrect username or password")
            assert flows.waits(cell)
    landed(page, "You are signed in to DNAnexus.")
    signed_in(flows, cell, "DNAnexus", "ada")
    nothing_leaked(flows)


def login_dnanexus(notebook: Notebook, panel: Any) -> Any:
    page = opened(notebook, panel)
    page.locator("#username").fill("ada")
    page.locator("#password").fill("sandbox-dnanexus-password")
    return page


def test_dnanexus_without_state(flows: Notebook) -> None:
    """A response without state: its page says to copy the address, and the panel takes it."""
    flows.open("stateless.ipynb", LOAD)
    flows.run(LOAD + "\nlab_.set('dnanexus', echo_state=False)")
    cell = flows.start(DNANEXUS)
    panel = flows.panel(cell)
    page = login_dnanexus(flows, panel)
    page.locator("button[value='allow']").click()
    see(page.locator("p"), "copy this address into the notebook")
    address = page.url
    assert "code=" in address
    page.close()
    see(panel.locator(".error"), "If you have just signed in on its page yourself")
    pictures(flows, "asks", panel)
    panel.get_by_text("Paste the address").click()
    panel.locator("input[name='answer']").fill(address)
    panel.locator("input[name='answer']").press("Enter")
    signed_in(flows, cell, "DNAnexus", "ada")
    assert "1" in flows.output(flows.run("print(lab_.token_requests('dnanexus'))"))
    nothing_leaked(flows, carried(address)["code"])


def test_foundry_pasted(flows: Notebook) -> None:
    """A remote kernel: the panel offers the field by itself. Rubbish has its message near it; the
    whole address signs in."""
    flows.open("paste.ipynb", LOAD)
    flows.run(REMOTE)
    cell = flows.start(FOUNDRY)
    panel = flows.panel(cell)
    see(panel.locator("[aria-pressed='true']"), "Paste the address")
    box = panel.locator("input[name='answer']")
    pictures(flows, "paste", panel)
    for text, said in (
        ("what is this", "There is no code in that"),
        ("", "Nothing was pasted"),
        ("?code=x&state=y", "a different sign-in"),
    ):
        box.fill(text)
        press(panel, "Continue") if text else box.press("Enter")
        row = panel.locator(".row")
        see(row.locator(".error"), said)
        assert box.input_value() == ""
        assert box.get_attribute("aria-invalid") == "true"
        assert row.locator(".error").get_attribute("id") in str(
            box.get_attribute("aria-describedby")
        )
        assert box.evaluate("(box) => box === document.activeElement"), text
    pictures(flows, "paste-wrong", panel)
    assert flows.waits(cell)
    page = opened(flows, panel)
    address = landing(page, page.locator("button[value='allow']").click)
    box.fill(address)
    box.press("Enter")
    signed_in(flows, cell, "Foundry", "ada")
    nothing_leaked(flows, carried(address)["code"])


def test_one_port_for_two_kernels(flows: Notebook, tmp_path: Path) -> None:
    """A response that lands at another kernel's listener stays in the address bar; pasted, it signs
    its own kernel in."""
    home = f"http://127.0.0.1:{free_port()}/"
    first = Kernel(tmp_path)
    try:
        first.run(
            "import labauth_nb as l; it = l.begin('foundry', 'user', tenant='sandbox',"
            f" redirect_uri='{home}')"
        )
        flows.open("port.ipynb", LOAD)
        flows.run(LOAD)
        cell = flows.start(f"{FOUNDRY} --redirect-uri {home}")
        panel = flows.panel(cell)
        see(
            panel.locator(".error"),
            "copy the address from the browser's address bar and paste it here",
        )
        pictures(flows, "port-taken", panel)
        page = opened(flows, panel)
        page.locator("button[value='allow']").click()
        see(page.locator("p"), "copy this address into the notebook")
        page.screenshot(path=PICTURES / "flow-landing-elsewhere.png")
        page.wait_for_timeout(300)
        address = str(page.evaluate("location.href"))
        assert address.startswith(f"{home}?")
        code = carried(address)["code"]
        assert leaks([code], page.content()) == []
        page.close()
        panel.locator("input[name='answer']").fill(address)
        panel.locator("input[name='answer']").press("Enter")
        signed_in(flows, cell, "Foundry", "ada")
        assert "waiting" in first.text("it")
        nothing_leaked(flows, code)
    finally:
        first.stop()


def test_dnanexus_pasted(flows: Notebook) -> None:
    """A remote kernel and DNAnexus: the field by itself; the code alone is asked about, and Yes
    signs in."""
    flows.open("dx-paste.ipynb", LOAD)
    flows.run(REMOTE)
    cell = flows.start(DNANEXUS)
    panel = flows.panel(cell)
    see(panel.locator("[aria-pressed='true']"), "Paste the address")
    page = login_dnanexus(flows, panel)
    address = landing(page, page.locator("button[value='allow']").click)
    code = carried(address)["code"]
    panel.locator("input[name='answer']").fill(code)
    press(panel, "Continue")
    signed_in(flows, cell, "DNAnexus", "ada")
    nothing_leaked(flows, code)


def test_ways_by_keyboard(flows: Notebook) -> None:
    """The user switches ways with the keyboard alone; the focus stays on the way that
    was chosen."""
    page = flows.open("keys.ipynb", LOAD).page
    flows.run(LOAD)
    cell = flows.start(BENCHLING)
    panel = flows.panel(cell)
    panel.locator("[name='way-here']").focus()
    for name, label in (("way-paste", "Paste the address"), ("way-device", "With a code")):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        see(panel.locator("[aria-pressed='true']"), label)
        assert page.evaluate("document.activeElement.getAttribute('name')") == name
    panel.locator(".code").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('name')") == "way-device"
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press(" ")
    see(panel.locator("[aria-pressed='true']"), "In this browser")
    assert panel.locator("[aria-pressed='true']").count() == 1
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == OPEN
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.keyboard.press("Enter")
    panel.locator("form").wait_for()


def test_remember_without_a_keyring(flows: Notebook) -> None:
    """Where there is no keyring, a file is offered instead, in plain words, and not chosen."""
    flows.open("remember.ipynb", LOAD)
    flows.run(LOAD)
    cell = flows.run(f"{FOUNDRY} --ask --no-wait")
    panel = flows.panel(cell)
    box = panel.get_by_label("Remember me in a file")
    box.wait_for()
    assert not box.is_checked()
    hint = flows.page.locator(f"[id='{box.get_attribute('aria-describedby')}']").inner_text()
    assert hint.startswith("No keyring can be used here.")
    assert "a file that only you can read, and that is not encrypted" in hint
    pictures(flows, "form", panel)


def test_remember_box(flows: Notebook, lab: Lab) -> None:
    """The box keeps a login in the keyring that the user chose; after a restart the same line signs
    in without a form."""
    load = (
        "import os\nhere = os.path.abspath('kept')\nos.environ |= {'XDG_DATA_HOME': here,"
        " 'KEYRING_PROPERTY_FILE_PATH': here + '/ring.cfg', 'PYTHON_KEYRING_BACKEND':"
        " 'keyrings.alt.file.PlaintextKeyring'}\n%load_ext labauth_nb"
    )
    page = flows.open("box.ipynb", load).page
    flows.run(load)
    cell = flows.start("%labauth login qbench --ask")
    panel = flows.panel(cell)
    panel.locator("form").wait_for()
    panel.locator("input[name='tenant']").fill(lab.origin("qbench"))
    for name, value in lab.credentials("qbench", "client").items():
        panel.locator(f"input[name='{name}']").fill(value)
    assert not panel.locator("select[name='what']").is_visible()
    panel.locator("input[name='remember']").check()
    panel.locator("select[name='what']").select_option("refresh-token")
    pictures(flows, "remember", panel)
    panel.locator("button[type='submit']").click()
    see(panel, "Signed in to QBench")
    see(panel, "Remembered in the keyring.")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    flows.run(load)
    again = flows.panel(flows.run("%labauth login qbench"))
    see(again, "Signed in to QBench")
    see(again, "keyring")
    assert lab.token_requests("qbench") == 1
    flows.run("%labauth logout qbench")
    assert "left: []" in flows.output(
        flows.run("import labauth_nb.credentials.stores as s; print('left:', s.heads())")
    )


def test_reload_and_restart(flows: Notebook) -> None:
    """A reload shows the same attempt, which still signs in; after a restart the past is shown, and
    no link is left."""
    page = flows.open("reload-flow.ipynb", LOAD).page
    flows.run(LOAD)
    cell = flows.run(f"{FOUNDRY} --no-wait")
    panel = flows.panel(cell)
    before = panel.locator(f"a:text-is('{OPEN}')").get_attribute("href")
    flows.save()
    flows.visit(flows.name)
    see(panel.locator("[aria-pressed='true']"), "In this browser")
    assert panel.locator(f"a:text-is('{OPEN}')").get_attribute("href") == before
    consent = opened(flows, panel)
    consent.locator("button[value='allow']").click()
    landed(consent, "You are signed in to Foundry.")
    see(panel, "Signed in to Foundry")
    nothing_leaked(flows)
    cell = flows.run(f"{FOUNDRY} --no-wait --as two")
    panel = flows.panel(cell)
    panel.locator(f"a:text-is('{OPEN}')").wait_for()
    home = carried(str(panel.locator(f"a:text-is('{OPEN}')").get_attribute("href")))["redirect_uri"]
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    see(panel, "Foundry: not signed in yet. Run this cell to sign in.")
    assert panel.locator("a, button, input").count() == 0
    import requests

    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    with pytest.raises(requests.ConnectionError):
        requests.get(home, timeout=5)
    assert json.loads(flows.save())["cells"]
