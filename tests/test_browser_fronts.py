"""The panels on other pages than JupyterLab's: Notebook 7 and Voila, in a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests
from test_browser import CHROMIUM, COUNTED, PICTURES, chromium, press, see, serving, written

__all__ = ["chromium"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
SECRET = "sandbox-qbench-client-secret-0001"
KEY = {"token": "practice"}


def signed_in(panel: Any) -> None:
    """Fill the form in, with Enter; the panel becomes a card that counts down."""
    secret = panel.locator("input[name='client_secret']")
    secret.fill(SECRET)
    secret.press("Enter")
    see(panel, "Sandbox API client")
    see(panel.locator(".card .time"), re.compile(COUNTED))


def test_notebook_7(chromium: Any, tmp_path: Path) -> None:
    """In Notebook 7 the extension draws form, card and table; a cell waits for its form; what was
    saved comes back on a reload, and is past once the kernel has ended."""
    pytest.importorskip("notebook", "7")
    with serving(tmp_path, app="notebook") as (url, folder):
        cells = (
            "%load_ext labauth_nb",
            "%labauth login qbench --tenant sandbox --ask",
            "%labauth login benchling --tenant sandbox",
            "%labauth status",
        )
        written(folder, "seven.ipynb", *cells)
        page = chromium.new_page()
        panels = page.locator(".labauth")
        try:
            page.goto(f"{url}/notebooks/seven.ipynb?token=practice")
            page.wait_for_selector(".jp-Notebook .jp-CodeCell")
            page.wait_for_function(
                "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
                " === 'idle'"
            )
            page.evaluate(
                "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells') }"
            )
            panels.locator("form").wait_for()
            assert panels.count() == 1
            signed_in(panels.first)
            see(panels.nth(1).locator(".card .time"), re.compile(COUNTED))
            page.wait_for_function("document.querySelectorAll('.labauth tbody tr').length === 2")
            PICTURES.mkdir(exist_ok=True)
            page.screenshot(path=PICTURES / "notebook-7.png")
            press(panels.nth(1), "Log out")
            see(panels.nth(1), "Signed out of Benchling at")
            page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
            page.reload()
            see(panels.first.locator(".card .time"), re.compile(COUNTED))
            see(panels.nth(1), "Signed out of Benchling at")
            for each in requests.get(f"{url}/api/sessions", params=KEY, timeout=30).json():
                requests.delete(f"{url}/api/sessions/{each['id']}", params=KEY, timeout=30)
            page.reload()
            see(panels.first, "Signed in to QBench as Sandbox API client. Run this cell to sign in")
            see(panels.nth(1), "Signed out of Benchling at")
            assert page.locator(".labauth :is(form, table, button, .time)").count() == 0
            assert "Error displaying widget" not in page.inner_text(".jp-Notebook")
        finally:
            page.close()


def test_voila(chromium: Any, tmp_path: Path) -> None:
    """A page of Voila shows the form where nothing was found, although no cell can wait there; it
    signs in, and its widget then draws the card; a panel stands in a box of the page's own."""
    pytest.importorskip("voila")
    with serving(tmp_path, app="voila") as (url, folder):
        cells = (
            "import labauth_nb, ipywidgets\n%load_ext labauth_nb",
            "%labauth login qbench --tenant sandbox --ask",
            "panel = labauth_nb.panel('benchling', tenant='sandbox')\n"
            "ipywidgets.VBox([ipywidgets.Label('Our lab'), panel])",
        )
        written(folder, "dashboard.ipynb", *cells)
        page = chromium.new_page()
        try:
            page.goto(f"{url}/voila/render/dashboard.ipynb")
            panels = page.locator(".labauth")
            panels.locator("form").wait_for(timeout=60_000)
            signed_in(panels.first)
            see(panels.nth(1).locator(".card .time"), re.compile(COUNTED))
            assert "Our lab" in page.inner_text("body")
            PICTURES.mkdir(exist_ok=True)
            page.screenshot(path=PICTURES / "voila.png")
            press(panels.first, "Log out")
            see(panels.first, "Signed out of QBench at")
        finally:
            page.close()
