"""Which page looks at which panel, and what a notebook keeps: without a browser."""

from __future__ import annotations

import gc
import json
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

import labauth_nb
from labauth_nb import login, logout, refresh
from labauth_nb.clocks import SandboxClock
from labauth_nb.logins import logins
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import panel, views, widget
from labauth_nb.sandbox import Lab


class Page:
    """A page of the extension: its comm, played."""

    def __init__(self, panel_id: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self.closed = False
        views._opened(self, {"content": {"data": {"panel": panel_id}}})

    def send(self, data: dict[str, Any]) -> None:
        """The kernel sends; what cannot be JSON fails here, as it would on the wire."""
        self.heard.append(json.loads(json.dumps(data["content"])))

    def on_msg(self, call: Any) -> None:
        self.says = lambda content: call({"content": {"data": {"content": content}}})

    def on_close(self, call: Any) -> None:
        self.leaves = lambda: call({})

    def close(self) -> None:
        self.closed = True

    def count(self, kind: str) -> int:
        """How many messages of that type have come."""
        return sum(each["type"] == kind for each in self.heard)

    @property
    def state(self) -> Any:
        return [each for each in self.heard if each["type"] == "state"][-1]

    @property
    def kept(self) -> Any:
        return [each for each in self.heard if each["type"] == "keep"][-1]


def card(provider: str, **more: Any) -> panel.LoginPanel:
    """The panel of a login on the sandbox, as the magic makes it."""
    login(provider, tenant="sandbox", **more)
    return panel.LoginPanel(plan(Wish(provider, None, "sandbox", more.get("name"))))


def test_a_page_of_an_unknown_panel(lab: Lab) -> None:
    """A page that draws a panel of another kernel, or of one that was restarted, has its comm
    closed."""
    assert Page("00").closed
    page = Page(card("benchling").id)
    assert not page.closed
    assert page.state["login"]["name"] == "benchling"


def test_a_change_reaches_its_own_views(lab: Lab) -> None:
    """A renewal of one login is told to each view of it, and to the table; nobody else hears of
    it."""
    one, other = card("benchling"), card("qbench")
    table = panel.StatusPanel(logins.status(), None)
    pages = [Page(one.id), Page(one.id), Page(table.id), Page(other.id)]
    before = [page.count("state") for page in pages]
    labauth_nb.refresh("benchling")
    assert [p.count("state") - n for p, n in zip(pages, before, strict=True)] == [1, 1, 1, 0]
    lab.advance(60)  # the clock is everybody's
    assert pages[3].count("state") == before[3] + 1
    # what is saved does not change with a renewal: the notebook stays as it is
    assert pages[0].count("keep") == 2  # at the hello of each view
    pages[1].leaves()
    labauth_nb.refresh("benchling")
    assert pages[1].count("state") == before[1] + 2


def test_the_oldest_panels_are_let_go(lab: Lab) -> None:
    """So many panels are kept as a page may ask for; the page of an older one is told, and it is
    collected."""
    old = card("benchling")
    page, reference = Page(old.id), weakref.ref(old)
    del old
    for _ in range(views.PANELS_MOST):
        panel.LoginPanel(plan(Wish("benchling", None, "sandbox")))
    assert page.closed
    gc.collect()
    assert reference() is None


def test_reloaded_pages_are_let_go(lab: Lab) -> None:
    """A page that is reloaded closes nothing: of many views the newest are told."""
    shown = card("benchling")
    pages = [Page(shown.id) for _ in range(views.VIEWS_MOST + 2)]
    assert [page.closed for page in pages] == [True] * 2 + [False] * views.VIEWS_MOST


def test_a_log_out_leaves_a_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a log out a panel says since when, now and in the notebook; it stays so while another
    cell signs in, and Sign in again brings the form back."""
    monkeypatch.setattr(panel, "hour", lambda: "14:20")
    shown = card("benchling")
    page = Page(shown.id)
    past = "Signed in to Benchling. Run this cell to sign in again."
    assert page.kept["data"]["text/html"] == f"<p>{past}</p>"
    logout("benchling")
    line = "Signed out of Benchling at 14:20."
    assert (page.state["line"], page.state["form"], page.state["login"]) == (line, None, None)
    assert page.kept["data"]["text/html"] == f"<p>{line} Run this cell to sign in again.</p>"
    assert page.kept["data"]["text/plain"] == line
    assert page.kept["metadata"]["labauth"]["state"]["line"] == line
    monkeypatch.setattr(panel, "hour", lambda: "15:00")
    login("benchling", tenant="sandbox")
    assert page.state["line"] == line
    shown.heard({"type": "again"})
    assert page.state["line"] == ""
    assert page.state["form"]["methods"]


def test_a_login_that_was_replaced(lab: Lab) -> None:
    """Another login of the same name ends the panel of the first; the same one again does not."""
    page = Page(card("benchling").id)
    login("benchling", tenant="sandbox")
    assert page.state["line"] == ""
    assert page.state["login"]["title"] == "Benchling"
    login("benchling", "api-key", tenant="sandbox")
    assert page.state["line"].startswith("Signed out of Benchling at ")


def test_what_is_saved_of_a_card(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What varies stands in the metadata, which nbval does not compare; nothing that is saved tells
    a time left, a secret, or where a file is."""
    shown = card("benchling")
    shown_again = panel.LoginPanel(plan(Wish("benchling", None, "sandbox")))
    (data, metadata), (again, others) = shown.bundle(), shown_again.bundle()
    assert data == again
    assert metadata["labauth"]["id"] != others["labauth"]["id"]
    assert list(data) == [widget.MIME, "text/html", "text/plain"]
    saved = metadata["labauth"]["state"]["login"]
    assert {saved[key] for key in ("left", "life", "margin")} == {None}
    assert {saved[key] for key in ("source", "story", "kept", "error", "code")} == {""}
    now = lab.clock.time()
    monkeypatch.setattr(SandboxClock, "time", lambda self: now + 300)
    assert shown.bundle() == (data, metadata)


def test_what_is_saved_of_a_form(lab: Lab) -> None:
    """Of a form only its sentence is saved: nobody can submit it tomorrow."""
    data, metadata = panel.LoginPanel(plan(Wish("qbench")), True).bundle()
    sentence = "QBench: not signed in yet. Run this cell to sign in."
    assert data["text/html"] == f"<p>{sentence}</p>"
    assert metadata["labauth"]["state"] is None
    assert metadata["labauth"]["past"] == sentence


def test_a_newer_table(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A table is a dated sentence once a newer one shows the same logins, and it says what needed
    somebody when its cell ran; one of a single login leaves the table of all alone."""
    monkeypatch.setattr(panel, "hour", lambda: "14:05")
    monkeypatch.setattr(panel, "display", lambda *_, **__: None)
    login("benchling", tenant="sandbox")
    login("foundry", "token", tenant="sandbox", name="pasted")
    lab.advance(90 * 86400)
    panel.show_status(None)
    (table,) = [each for each in views.panels() if isinstance(each, panel.StatusPanel)]
    page = Page(table.id)
    sentence = "2 logins at 14:05, one needs you: pasted. Run this cell to see them now."
    assert page.kept["metadata"]["labauth"]["past"] == sentence
    html = page.kept["data"]["text/html"]
    assert html.startswith("<p>2 logins when this cell ran, one needs you: pasted.</p><table>")
    panel.show_status("benchling")
    assert page.state["snapshot"] == ""
    single = Page(views.panels()[-1].id)
    refresh("benchling")
    panel.show_status("benchling")
    now = "Run this cell to see it now."
    one = f"Login benchling at 14:05: expired, renews itself when used. {now}"
    assert single.state["snapshot"] == one
    panel.show_status(None)
    assert page.state["snapshot"] == sentence
    logout("pasted", revoke=False)
    assert page.state["snapshot"] == sentence
    assert page.kept["metadata"]["labauth"]["past"] == sentence


def test_a_widget_of_a_panel(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """`labauth_nb.panel()` signs in with what is found, and is a widget that gives the page what
    draws it; where something is missing, it is a form."""
    shown = labauth_nb.panel("benchling", tenant="sandbox")
    assert "Signed in to Benchling" in repr(shown)
    sent: list[Any] = []
    monkeypatch.setattr(shown, "send", sent.append)
    shown.received({"type": "code"})
    assert sent[0]["js"].startswith("// @ts-check")
    assert ".labauth" in sent[0]["css"]
    shown.received({"type": "hello"})
    assert sent[1]["type"] == "state"
    assert sent[1]["login"]["title"] == "Benchling"
    assert "not signed in yet" in repr(labauth_nb.panel("qbench")).lower()
    login("qbench", tenant="sandbox")
    assert "Signed in to QBench" in repr(labauth_nb.panel("qbench"))


def test_an_extension_that_is_slow(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page of the extension says hello late, the widget that stood in is taken away, from
    what is displayed too."""
    shown: list[Any] = []
    monkeypatch.setattr(panel, "display", lambda data, **_: shown.append(data))
    form = panel.LoginPanel(plan(Wish("qbench")), True)
    form.fall_back()
    (stand_in,) = form.views
    assert widget.VIEW in shown[-1]
    page = Page(form.id)
    assert widget.VIEW not in shown[-1]
    assert page.state["form"]
    assert stand_in not in form.views
    form.fall_back()
    assert len(form.views) == 1


def test_the_target_goes_with_the_extension() -> None:
    """Unloading takes the comm target away, and leaves one that somebody else has put there."""
    targets: dict[str, Any] = {}
    manager = SimpleNamespace(
        targets=targets,
        register_target=targets.__setitem__,
        unregister_target=lambda name, _: targets.pop(name),
    )
    ip = SimpleNamespace(kernel=SimpleNamespace(comm_manager=manager))
    undo = views.listening(ip)
    assert list(targets) == ["labauth"]
    undo()
    undo()
    assert targets == {}
    undo = views.listening(ip)
    targets["labauth"] = print
    undo()
    assert targets == {"labauth": print}
    views.listening(SimpleNamespace(kernel=SimpleNamespace()))()
