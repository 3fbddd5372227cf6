"""What a notebook says of its logins later: in JupyterLab, in a real Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from test_browser import (
    CHROMIUM,
    COUNTED,
    GOOD,
    LOAD,
    Notebook,
    chromium,
    jupyter,
    notebook,
    press,
    see,
    serving,
)
from test_secrets import leaks

__all__ = ["chromium", "jupyter", "notebook"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
SIGNED_IN = "Signed in to Benchling. Run this cell to sign in again."
NOT_YET = "QBench: not signed in yet. Run this cell to sign in."
CARD = "%labauth login benchling --tenant sandbox"
FORM = "%labauth login qbench --tenant sandbox --ask --no-wait"
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext"


def saved(notebook: Notebook) -> list[Any]:
    """Save; the outputs with a bundle, in the order of their cells."""
    cells = nbformat.reads(notebook.save(), as_version=4).cells
    return [o for cell in cells for o in cell.get("outputs", []) if "data" in o]


def past(notebook: Notebook, *cells: int) -> None:
    """The panels under `cells` (a card, a form, a table) say what is past, and offer nothing."""
    table = re.compile(r"1 login at \d\d:\d\d(?: UTC)?\. Run this cell to see")
    sentences = (SIGNED_IN, NOT_YET, table)
    for cell, sentence in zip(cells, sentences, strict=True):
        see(notebook.panel(cell), sentence)
        assert notebook.panel(cell).locator("form, table, button, input, .time").count() == 0
    assert "Error displaying widget" not in notebook.page.inner_text(".jp-Notebook")


def test_reload_restart_and_tomorrow(notebook: Notebook) -> None:
    """A reload restores card, form and table; a restart with the same kernel id, a kernel that was
    shut down, and a notebook reopened or untrusted show what is past: no form, no clock."""
    page = notebook.open("past.ipynb", LOAD).page
    notebook.run(LOAD)
    cells = [notebook.run(each) for each in (CARD, FORM, "%labauth status")]
    card, form, table = (notebook.panel(each) for each in cells)

    def live() -> None:
        see(card.locator(".time"), re.compile(COUNTED))
        see(table.locator(".time"), re.compile(COUNTED))
        form.locator("form").wait_for()
        form.locator("input[name='client_secret']").fill("kanari-typed-0001")

    live()
    notebook.save()
    notebook.visit(notebook.name)
    live()
    before = page.evaluate(f"{KERNEL}.session.kernel.id")
    page.evaluate(f"{KERNEL}.session.kernel.restart()")
    past(notebook, *cells)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    assert page.evaluate(f"{KERNEL}.session.kernel.id") == before
    past(notebook, *cells)
    notebook.picture("past", notebook.cell(cells[0]))
    outputs = saved(notebook)
    assert [o["data"]["text/html"].partition("</p>")[0] for o in outputs] == [
        f"<p>{SIGNED_IN}",
        f"<p>{NOT_YET}",
        "<p>1 login when this cell ran.",
    ]
    assert not any("widget" in kind for o in outputs for kind in o["data"])
    assert leaks(["kanari-typed-0001", GOOD], notebook.save()) == []
    page.evaluate(f"{KERNEL}.shutdown()")
    notebook.visit(notebook.name)
    past(notebook, *cells)
    # as another person's notebook: JupyterLab trusts only what was run or signed here
    file = notebook.folder / notebook.name
    file.write_text(file.read_text().replace("%load_ext", "# from a colleague\\n%load_ext"))
    notebook.visit(notebook.name)
    assert not page.evaluate("window.jupyterapp.shell.currentWidget.model.cells.get(1).trusted")
    past(notebook, *cells)
    # as a kernel with a later version of labauth_nb would save it
    file.write_text(file.read_text().replace('"v": 1', '"v": 2'))
    notebook.visit(notebook.name)
    see(card, f"{SIGNED_IN} (To see it live, install the same version of labauth-nb")
    assert card.locator("button, .time").count() == 0


def test_log_out_in_one_of_two_views(notebook: Notebook) -> None:
    """A log out in one view of a notebook changes both, after a reload too, and is saved as a line;
    Sign in again brings the form back in place."""
    page = notebook.open("views.ipynb", LOAD).page
    notebook.run(LOAD)
    cell = notebook.run(CARD)
    notebook.save()
    notebook.visit(notebook.name)
    see(notebook.panel(cell).locator(".time"), re.compile(COUNTED))
    notebook.command("docmanager:clone")
    cards = page.locator(".labauth .card .time")
    page.wait_for_function("document.querySelectorAll('.labauth .card .time').length >= 2")
    see(cards.last, re.compile(COUNTED))
    page.locator(".labauth button:text-is('Log out')").last.click()
    lines = page.locator(".labauth .line")
    page.wait_for_function("document.querySelectorAll('.labauth .line').length >= 2")
    assert page.locator(".labauth .card").count() == 0
    for line in lines.all():
        see(line, re.compile(r"^Signed out of Benchling at \d\d:\d\d(?: UTC)?\.\s*Sign in again$"))
    line = ""
    while not line:  # the page writes it down just after it shows it; the test's time limit ends it
        (output,) = saved(notebook)
        line = output["metadata"]["labauth"]["state"]["line"]
    assert re.fullmatch(r"Signed out of Benchling at \d\d:\d\d(?: UTC)?\.", line)
    assert output["data"]["text/html"] == f"<p>{line} Run this cell to sign in again.</p>"
    notebook.visit(notebook.name)
    panel = notebook.panel(cell)
    see(panel, line)
    press(panel, "Sign in again")
    panel.locator("form button[type='submit']").click()
    see(panel.locator(".card .time"), re.compile(COUNTED))
    # a newer table makes the older one a sentence; another login of that name ends the first
    table = notebook.panel(notebook.run("%labauth status"))
    see(table.locator("tr[data-name='benchling'] .time"), re.compile(COUNTED))
    notebook.run("%labauth login foundry --tenant sandbox --as benchling")
    see(panel, "Signed out of Benchling at")
    see(table.locator("tr[data-name='benchling']"), "sandbox-service-user")
    notebook.run("%labauth status")
    see(table.locator(".line"), re.compile(r"^1 login at \d\d:\d\d(?: UTC)?\."))


def test_a_form_is_answered_while_a_cell_computes(notebook: Notebook) -> None:
    """A form that was shown first is filled in and answered while the next cell sleeps."""
    notebook.open("computes.ipynb", LOAD)
    notebook.run(LOAD)
    panel = notebook.panel(notebook.run(FORM))
    busy = notebook.start("import time; time.sleep(12)")
    panel.locator("form button[type='submit']").click()
    see(panel.locator(".time"), re.compile(COUNTED), 8)
    assert notebook.waits(busy)


def test_a_page_older_than_the_extension(notebook: Notebook) -> None:
    """A page that was opened before labauth_nb was installed shows the form by a widget, which says
    that the page is to be reloaded; then the extension draws it, and says nothing of that."""
    there = re.compile("/extensions/labauth-nb/")
    notebook.page.route(there, lambda route: route.abort())
    notebook.open("older.ipynb", LOAD)
    notebook.run(LOAD)
    cell = notebook.run(FORM)
    notebook.panel(cell).locator("form").wait_for()
    see(notebook.cell(cell), "Reload this page once")
    notebook.page.unroute(there)
    notebook.visit(notebook.name)
    notebook.run(LOAD)
    cell = notebook.run(FORM)
    notebook.panel(cell).locator("form").wait_for()
    assert "Reload" not in notebook.output(cell)


def test_without_the_extension(chromium: Any, tmp_path: Path) -> None:
    """Where our extension is disabled, the form is a widget that signs in; what is left of it, and
    what is saved, is the sentence of the past."""
    with serving(tmp_path, extension=False) as served:
        notebook = Notebook(chromium, *served)
        try:
            notebook.open("off.ipynb", LOAD)
            notebook.run(LOAD)
            cell = notebook.start("%labauth login qbench --tenant sandbox --ask")
            panel = notebook.panel(cell)
            secret = panel.locator("input[name='client_secret']")
            secret.fill("kanari-wrong-0002")
            secret.press("Enter")
            see(panel.locator(".error"), "QBench responded with 400")
            secret.fill("sandbox-qbench-client-secret-0001")
            secret.press("Enter")
            notebook.ended(cell)
            see(notebook.cell(cell), "Signed in to QBench as Sandbox API client. Run this cell")
            assert panel.count() == 0
            assert not any("widget" in kind for o in saved(notebook) for kind in o["data"])
            text = json.dumps(nbformat.reads(notebook.save(), as_version=4))
            assert leaks(["kanari-wrong-0002", "sandbox-qbench-client-secret-0001"], text) == []
            # a widget by itself draws its card, too
            card = notebook.run("import labauth_nb\nlabauth_nb.panel('qbench')")
            see(notebook.panel(card).locator(".time"), re.compile(COUNTED))
            press(notebook.panel(card), "Log out")
            see(notebook.panel(card), "Signed out of QBench at")
        finally:
            notebook.close()
