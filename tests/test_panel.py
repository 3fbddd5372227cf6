"""The panels' contract without a browser: a real ipykernel, and a page that is played
by the test."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_type_hints

import anywidget
import pytest
from kernels import Kernel
from test_secrets import leaks

from labauth_nb import NotSignedIn, login
from labauth_nb.clocks import SandboxClock, in_words
from labauth_nb.credentials import stores
from labauth_nb.logins import logins, signins
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import cards, panel
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

REPO = Path(__file__).parent.parent
VIEW = "application/vnd.jupyter.widget-view+json"
MIME = "application/vnd.labauth+json"
TYPED = ["labauth_nb/notebook/panel.js", "labauth_nb/notebook/extension/remoteEntry.js"]
SHARED = json.loads((REPO / "tests" / "panel.json").read_text("utf-8"))
"""What the page says or shows as the kernel does: panel.test.mjs tests the page on it."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("panel")
    it = Kernel(folder, {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")})
    it.run("%load_ext labauth_nb\nfrom labauth_nb.sandbox import running\nlab_ = running()")
    yield it
    it.stop()


def send(kernel: Kernel, comm: str, content: dict[str, Any]) -> None:
    """What a page of the extension sends: its hello opens a comm, here of the panel's own id."""
    kind, body = "comm_msg", {"data": {"method": "custom", "content": content}}
    if content["type"] == "hello":
        kind, body = "comm_open", {"target_name": "labauth", "data": {"panel": comm}}
    message = kernel.client.session.msg(kind, {"comm_id": comm, **body})
    kernel.client.shell_channel.send(message)


def drive(
    kernel: Kernel,
    code: str,
    page: Callable[[str, dict[str, Any] | None], bool | None],
    answers: tuple[str, ...] = (),
) -> tuple[list[dict[str, Any]], float | None]:
    """Run `code` with a page that plays: `page(comm, None)` when a panel opens, `page(comm, state)`
    at each state sent.

    Gives the outputs and when the first prompt came, in seconds. It ends when the cell has ended,
    and `page` (where it says False) is content.
    """
    began, asked, outputs = time.monotonic(), len(kernel.prompts), []
    prompted, ended, content, mine = None, False, True, ""
    for message in kernel.watch(code, list(answers), timeout=30):
        if prompted is None and len(kernel.prompts) > asked:
            prompted = time.monotonic() - began
        kind, body = message["msg_type"], message["content"]
        if kind == "display_data" and MIME in body["data"]:
            mine = body["metadata"]["labauth"]["id"]
            content = page(mine, None) is not False
        elif (
            kind == "comm_msg"
            and body["comm_id"] == mine
            and body["data"].get("content", {}).get("type") == "state"
        ):
            content = page(mine, body["data"]["content"]) is not False
        elif kernel.ended(message):
            ended = True
        if kernel.mine(message) and kind in ("stream", "display_data", "error"):
            outputs.append({"output_type": kind, **body})
        if ended and content:
            break
    return outputs, prompted


def opened(kernel: Kernel, since: int = 0) -> list[dict[str, Any]]:
    """The states with which panels were opened."""
    messages = [json.loads(text) for text in kernel.messages[since:]]
    states = [m["content"]["data"]["state"] for m in messages if m["msg_type"] == "comm_open"]
    return [state for state in states if "provider" in state]


@pytest.mark.old
def test_credentials_found(kernel: Kernel) -> None:
    """What is found is not asked for: the panel appears signed in, and its text is the message, at
    each run."""
    for _ in range(2):
        (output,) = kernel.run("%labauth login benchling --tenant sandbox", [])
        text = (
            "SANDBOX: Signed in to Benchling (sandbox), method app; time left: 15 min;"
            " credentials from the sandbox."
        )
        assert output["data"] == {
            MIME: {"v": 1, "text": text},
            "text/html": "<p>Signed in to Benchling. Run this cell to sign in again.</p>",
            "text/plain": text,
        }


@pytest.mark.old
def test_only_the_provider_is_a_trait(kernel: Kernel) -> None:
    """A panel's synced state is the provider's name and the widget library's own: no tenant, no
    secret, no time; and what draws it, once per page, is not in it."""
    since = len(kernel.messages)
    (output,) = kernel.run("import labauth_nb\nlabauth_nb.panel('qbench', tenant='sandbox')", [])
    assert output["data"][VIEW]["model_id"]
    assert output["data"]["text/html"].startswith("<p>Signed in to QBench")
    (state,) = opened(kernel, since)
    assert state["provider"] == "qbench"
    own = {"_anywidget_id", "_css", "_esm"}
    assert set(state) - set(anywidget.AnyWidget().get_state()) - own == {"provider"}
    text = json.dumps({name: value for name, value in state.items() if name not in own})
    assert "sandbox" not in text
    assert "secret" not in text
    assert len(state["_esm"]) < 1300
    kernel.run("%labauth logout qbench")


def test_on_a_page_of_voila(kernel: Kernel) -> None:
    """Voila shows widgets, and answers once all cells have run: the panel is a widget there, and no
    cell waits for it."""
    kernel.run("import os; os.environ['SERVER_SOFTWARE'] = 'voila/0.5.13'")
    (form,) = kernel.run("%labauth login qbench --as page")
    assert form["data"][VIEW]["model_id"]
    assert "not signed in yet" in form["data"]["text/html"]
    (card,) = kernel.run("%labauth login qbench --tenant sandbox --as page")
    assert card["data"][VIEW]["model_id"]
    assert "Signed in to QBench" in card["data"]["text/html"]
    kernel.run("del os.environ['SERVER_SOFTWARE']\n%labauth logout page")


def test_nobody_can_answer(kernel: Kernel) -> None:
    """Where nobody can answer a login raises without waiting, and shows no panel."""
    since, began = len(kernel.messages), time.monotonic()
    (output,) = kernel.run("%labauth login dnanexus --tenant http://127.0.0.1:9 --ask --wait 60s")
    assert time.monotonic() - began < 20
    assert output["ename"] == "MissingCredentials"
    assert not opened(kernel, since)
    assert MIME not in "".join(kernel.messages[since:])


@pytest.mark.old
def test_no_page_says_hello(kernel: Kernel) -> None:
    """Where no page can show the panel, a widget is tried after 1 s; then the cell asks at a
    prompt, by itself, and the widget is gone from what is saved."""
    since = len(kernel.messages)
    origin = kernel.text("print(lab_.origin('qbench'), end='')")
    fields = ("sandbox-qbench-client", "sandbox-qbench-client-secret-0001")
    outputs, prompted = drive(
        kernel, f"%labauth login qbench --as old --tenant {origin}", lambda *_: None, fields
    )
    assert prompted is not None
    assert 3.5 < prompted < 20
    assert "Signed in to QBench" in outputs[-1]["text"]
    sent = [json.loads(text) for text in kernel.messages[since:]]
    updates = [m["content"]["data"] for m in sent if m["msg_type"] == "update_display_data"]
    assert VIEW in updates[0]
    assert VIEW not in updates[-1]
    assert "Signed in to QBench" in updates[-1]["text/html"]
    kernel.run("%labauth logout old")


@pytest.mark.parametrize(
    ("wait", "seconds", "said"),
    [(None, 300, "in 5 min"), (90.0, 90, "in 1 min 30 s"), (2.0, 2, "in 2 s")],
)
def test_how_long_a_cell_waits(
    monkeypatch: pytest.MonkeyPatch,
    wait: float | None,
    seconds: float,
    said: str,
) -> None:
    """A cell waits 5 minutes for its panel, or as long as --wait says."""
    waited: list[float] = []
    form = panel.LoginPanel(plan(Wish("qbench")), True)

    async def within(left: Callable[[], float], event: threading.Event) -> None:
        if event is not form._seen:
            waited.append(left())
            raise TimeoutError

    monkeypatch.setattr(panel, "_within", within)
    monkeypatch.setattr(panel.terminal, "can_ask", lambda: True)
    monkeypatch.setattr(panel, "display", lambda *_, **__: None)
    monkeypatch.setattr(panel, "LoginPanel", lambda *_, **__: form)
    waiting = panel.run_login(
        Wish("qbench"), True, panel.WAIT_SECONDS if wait is None else wait, True
    )
    with pytest.raises(NotSignedIn, match=f"Nobody answered the QBench panel {said}"):
        asyncio.run(waiting)  # type: ignore[arg-type]
    assert waited == [pytest.approx(seconds, abs=1)]


def test_the_wait_is_the_persons() -> None:
    """A page is told how long the cell still waits; the person can prolong that, and give the cell
    back at once, which says that nobody signed in."""
    form = panel.LoginPanel(plan(Wish("qbench")), True)
    form._seen.set()
    assert form.state()["wait"] is None

    async def scenario() -> None:
        waiting = asyncio.create_task(form.wait(60))
        await asyncio.sleep(0.01)
        assert 50 < (form.state()["wait"] or 0) <= 60
        form.heard({"type": "longer"})
        assert 350 < (form.state()["wait"] or 0) <= 360
        form.heard({"type": "leave"})
        await waiting

    with pytest.raises(NotSignedIn, match=r"^Stopped waiting for the QBench panel\. Sign in there"):
        asyncio.run(scenario())
    assert form.state()["wait"] is None
    assert form.state()["form"] is not None


def test_found_secrets_stay_here(kernel: Kernel) -> None:
    """A secret found in the environment is named to the page, and is not sent to it."""
    secret = "kanari-found-0001"
    given = {f"LABAUTH_BENCHLING_{name}": secret for name in ("CLIENT_SECRET", "API_KEY")}
    kernel.run(f"import os; os.environ.update({given!r})")
    since, seen = len(kernel.messages), []

    def page(comm: str, state: dict[str, Any] | None) -> bool:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        else:
            seen.append(state)
        return bool(seen)

    drive(kernel, "%labauth login benchling --as found --ask --no-wait", page)
    kernel.run(f"for name in {list(given)}: del os.environ[name]")
    assert "from the environment (LABAUTH_BENCHLING_CLIENT_SECRET)" in json.dumps(seen)
    sent = [m for m in kernel.messages[since:] if '"execute_input"' not in m]
    assert leaks([secret], *sent) == []


def test_submit_signs_in_and_leaks_nothing(kernel: Kernel) -> None:
    """Wrong, then right: the error names its field, the cell ends signed in, and no message holds a
    secret."""
    since, wrong, right = (
        len(kernel.messages),
        "kanari/panel+wrong=01",
        "sandbox-qbench-client-secret-0001",
    )
    origin = kernel.text("print(lab_.origin('qbench'), end='')")
    typed = {"tenant": origin, "client_id": "sandbox-qbench-client"}
    tries = [
        {**typed, "client_secret": ""},
        {**typed, "client_secret": wrong},
        {**typed, "client_secret": right},
    ]
    seen: list[dict[str, Any]] = []

    def page(comm: str, state: dict[str, Any] | None) -> None:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif not state["busy"] and state["form"] and (not seen or state["error"]):
            seen.append(state)
            send(kernel, comm, {"type": "submit", "method": "client", "fields": tries.pop(0)})

    outputs, prompted = drive(kernel, "%labauth login qbench --as panel", page)
    assert prompted is None
    assert [o["output_type"] for o in outputs] == ["display_data"]
    assert [state["field"] for state in seen] == ["", "client_secret", "client_secret"]
    assert seen[1]["error"].startswith("Client secret is missing: fill it in (")
    assert seen[2]["error"].startswith("QBench responded with 400 invalid_grant")
    values = {field["name"]: field["value"] for field in seen[2]["form"]["methods"][0]["fields"]}
    assert values == {**typed, "client_secret": ""}
    assert "Signed in to QBench" in kernel.text("%labauth refresh panel")
    kernel.run(
        "open('held.txt',"
        " 'w').write('\\n'.join(__import__('labauth_nb').logins.logins.get('panel').secrets()))"
    )
    folder = kernel.text("import os; print(os.getcwd(), end='')")
    secrets = [wrong, right, *(Path(folder) / "held.txt").read_text().split("\n")]
    assert leaks(secrets, *kernel.messages[since:]) == []


@pytest.mark.old
def test_log_out_from_a_panel_asks_nobody(kernel: Kernel) -> None:
    """A panel's Log out never waits at a prompt; a pasted token is left alone at the provider, and
    that is said."""
    origin = kernel.text(
        "token = lab_.credentials('dnanexus', 'api-token')\nprint(lab_.origin('dnanexus'), end='')"
    )
    notes: list[str] = []
    acts = [
        {
            "type": "submit",
            "method": "api-token",
            "fields": {"tenant": origin, "token": "sandboxDNAnexusApiToken0001"},
        },
        {"type": "logout", "name": "pasted"},
    ]

    def page(comm: str, state: dict[str, Any] | None) -> bool:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif (state["form"] and len(acts) == 2) or (
            state["login"] and not state["form"] and len(acts) == 1
        ):
            send(kernel, comm, acts.pop(0))
        elif state["note"]:
            notes.append(state["note"])
        return bool(notes)

    _, prompted = drive(kernel, "%labauth login dnanexus --as pasted --no-wait", page)
    assert prompted is None
    assert "Signed out of DNAnexus" in notes[0]
    assert "was not revoked" in notes[0]


@pytest.mark.slow
def test_nbconvert_saves_no_secret(tmp_path: Path) -> None:
    """What nbconvert --execute saves, with the widgets' state in it, holds no secret."""
    from nbformat import v4

    cells = [
        "%load_ext labauth_nb",
        "%labauth login benchling --tenant sandbox\n%labauth login qbench --tenant sandbox --ask",
        "import labauth_nb\nlabauth_nb.panel('qbench', tenant='sandbox', name='widget')",
    ]
    held = (
        "from labauth_nb.logins import logins\nheld = [s for x in logins._LOGINS.values() for s in"
        " x.secrets()]\n"
    )
    held += "n = open('held.txt', 'w').write('\\n'.join(held))"
    cells += ["%labauth status", held]
    (tmp_path / "in.ipynb").write_text(
        json.dumps(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]))
    )
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--execute",
        "in.ipynb",
        "--to",
        "notebook",
        "--output",
        "out.ipynb",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=90)
    saved = (tmp_path / "out.ipynb").read_text()
    assert "Signed in to QBench" in saved
    assert "widget-state" in saved
    secrets = (tmp_path / "held.txt").read_text().split("\n")
    assert len(secrets) >= 4
    assert leaks(secrets, saved) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_pure_parts_of_the_page() -> None:
    """What the page decides by itself (time in words, phases, what is announced) passes `node
    --test`."""
    done = subprocess.run(
        ["node", "--test", "tests/panel.test.mjs"],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(420)  # npx fetches TypeScript
@pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed")
def test_types_of_the_page() -> None:
    """panel.js and the extension pass TypeScript's strict check."""
    command = (
        "npx -y -p typescript@5 tsc --noEmit --allowJs --checkJs --strict --target es2022 --module"
        " esnext"
    )
    arguments = [*command.split(), "--lib", "es2022,dom", *TYPED]
    done = subprocess.run(arguments, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed")
def test_format_of_the_page() -> None:
    """The page's modules and their tests are as prettier writes them, 100 characters wide."""
    files = [*TYPED, "labauth_nb/notebook/loader.js", "tests/panel.test.mjs"]
    command = ["npx", "-y", "prettier@3", "--no-config", "--print-width", "100", "--check", *files]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (
        f"{done.stderr}To format: {' '.join(command).replace('--check', '--write')}"
    )


def test_functions_of_the_page() -> None:
    """No function of panel.js has more than 60 lines."""
    text = (REPO / "labauth_nb" / "notebook" / "panel.js").read_text("utf-8")
    found = re.finditer(r"^(?:export )?function (\w+).*?^}", text, re.M | re.S)
    lengths = {each[1]: each[0].count("\n") + 1 for each in found}
    assert "attach" in lengths
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


@pytest.mark.parametrize(("seconds", "rounded", "exact"), SHARED["times"])
def test_times_in_words(seconds: float, rounded: str, exact: str) -> None:
    """A duration is rounded up, to one unit, or as the page counts it down: to a second, in two."""
    assert in_words(seconds) == rounded
    assert in_words(seconds, exact=True) == exact


@pytest.mark.parametrize("case", [case for case in SHARED["phases"] if case["renewable"]], ids=str)
def test_phases(case: dict[str, Any], lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login is expiring, for the kernel and for its page, in the last minute or tenth of its
    life."""
    now = time.time()
    monkeypatch.setattr(SandboxClock, "time", lambda self: now)
    lab.set("benchling", life=case["life"])
    mine = login("benchling", tenant="sandbox")
    now += case["life"] - case["left"]
    shown = cards.login_state(mine)
    times = {name: round(shown[name], 3) for name in ("life", "left", "margin")}  # type: ignore[literal-required]
    rest = {"renewable": shown["renewable"], "state": shown["state"]}
    assert {**times, **rest} == case


def test_a_login_without_an_end(lab: Lab) -> None:
    """A login that never expires has no time left and no margin for its page."""
    shown = cards.login_state(login("benchling", "api-key", tenant="sandbox"))
    assert (shown["life"], shown["left"], shown["margin"], shown["words"]) == (
        None,
        None,
        None,
        "does not expire",
    )


def test_again_from_the_table(lab: Lab) -> None:
    """ "Sign in again" in the table opens the form in the cell of that login; where no page shows
    one, it says what to run."""
    mine = login("foundry", "token", tenant="sandbox", name="pasted")
    table = panel.StatusPanel(logins.status(None), None)
    table.heard({"type": "again", "name": "pasted"})
    assert table.note == f"To sign in again, run {mine.command}"
    cell = panel.LoginPanel(plan(Wish("foundry", "token", "sandbox", "pasted")))
    cell.views.append(SimpleNamespace(send=lambda message: None))  # type: ignore[arg-type]
    assert cell.state()["form"] is None
    table.heard({"type": "again", "name": "pasted"})
    assert cell.state()["form"] is not None
    assert "the form is open there" in table.state()["note"]


@pytest.mark.parametrize("case", SHARED["tenants"], ids=str)
def test_the_page_is_told_the_address(
    case: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a tenant is typed the page is told the address that a submit of it goes to, or what to
    give instead."""
    told: list[dict[str, Any]] = []
    provider = PROVIDERS[case["provider"]]
    form = panel.LoginPanel(plan(Wish(provider.name)), True)
    monkeypatch.setattr(form, "post", told.append)
    monkeypatch.setattr(stores, "agree", lambda *_: None)
    form.heard({"type": "resolve", "tenant": case["typed"], "number": 7})
    error = "" if case["address"] else f"Give {provider.tenant.hint}."
    (said,) = told
    links = {each["method"]: each["page"] for each in said.pop("links")}
    assert said == {"type": "resolved", "number": 7, "address": case["address"], "error": error}
    for name, page in links.items():
        made = provider.link(provider.method(name), case["address"])[0] if case["address"] else ""
        assert page == made
    secret = provider.methods[0].secret.name
    form.heard({"type": "submit", "fields": {"tenant": case["typed"], secret: ""}})
    if case["address"]:
        assert form.state()["form"]["methods"][0]["where"][0]["address"] == case["address"]
    else:
        assert form.state()["field"] == "tenant"


TYPES = {str: "string", bool: "boolean", int: "number", float: "number"}


def in_javascript(kind: Any, names: set[str]) -> str:
    """The JavaScript type that a Python one arrives as."""
    if kind is type(None):
        return "null"
    parts = [
        in_javascript(each, names)
        for each in getattr(kind, "__args__", ())
        if not isinstance(each, str)
    ]
    if getattr(kind, "__origin__", None) is list:
        return f"{parts[0]}[]"
    if getattr(kind, "__origin__", None) is Literal:
        return " | ".join(map(json.dumps, kind.__args__))
    if parts:
        return " | ".join(parts)
    return kind.__name__ if kind.__name__ in names else TYPES[kind]


def test_the_page_knows_what_it_is_sent() -> None:
    """The shapes of what the kernel sends are those that panel.js is checked with: no key missing,
    none extra, same types."""
    states = {
        name: kind
        for name, kind in vars(cards).items()
        if name.endswith("State") and hasattr(kind, "__annotations__")
    }
    text = (REPO / "labauth_nb" / "notebook" / "panel.js").read_text("utf-8").replace("\n *", " ")
    found = re.findall(r"@typedef \{\{(.*?)\}\} (\w+State)\b", text)
    javascript = {
        name: dict(re.findall(r"(\w+\??): ([^,]+?) ?(?:,|$)", body.strip())) for body, name in found
    }
    python = {
        name: {key: in_javascript(hint, set(states)) for key, hint in get_type_hints(kind).items()}
        for name, kind in states.items()
    }
    assert len(python) == 12
    assert python == javascript


def test_another_method_of_a_login_that_is_there(kernel: Kernel) -> None:
    """Where a login of that name is there already, the form is shown all the same, and its answer
    replaces the login."""
    kernel.run("%labauth login benchling --tenant sandbox --as twice", [])
    origin = kernel.text("print(lab_.origin('benchling'), end='')")
    fields = {"tenant": origin, "api_key": "sk_sandboxBenchlingApiKey01"}

    def page(comm: str, state: dict[str, Any] | None) -> None:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif state["form"] and not state["busy"]:
            send(kernel, comm, {"type": "submit", "method": "api-key", "fields": fields})

    _, prompted = drive(
        kernel, f"%labauth login benchling --as twice --method api-key --tenant {origin}", page
    )
    assert prompted is None
    assert "api-key" in kernel.text("%labauth status twice")
    kernel.run("%labauth logout twice")


def test_a_pasted_page_stays_out_of_the_panel(kernel: Kernel) -> None:
    """Of a pasted page's address the panel, and what is said under it, have the host only."""

    def page(comm: str, state: dict[str, Any] | None) -> None:
        if state is None:
            send(kernel, comm, {"type": "hello"})

    since = len(kernel.messages)
    line = "%labauth login qbench --as page --wait 1s --tenant https://acme.qbench.net/x?kanari"
    outputs, _ = drive(kernel, line, page)
    assert "--tenant https://acme.qbench.net --as page" in outputs[-1]["evalue"]
    sent = [m for m in kernel.messages[since:] if '"execute_input"' not in m]
    assert "kanari" not in "".join(sent)


def test_a_secret_in_a_field_that_is_shown(kernel: Kernel) -> None:
    """A secret typed as the tenant or client ID is refused, and comes back in no state."""
    since, seen = len(kernel.messages), []
    right = {"tenant": "https://acme.qbench.net", "client_id": "mine"}
    tries = [
        {**right, "tenant": "kanari1f8Q2z7Lp0Xw9Vt3"},
        {**right, "tenant": "https://ada:kanari@acme.qbench.net"},
        {**right, "client_id": "sk_kanari0001abc"},
        {**right, "tenant": f"{right['tenant']}/page?key=kanari"},
    ]

    def page(comm: str, state: dict[str, Any] | None) -> bool:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif not state["busy"] and (not seen or state["error"]):
            seen.append(state)
            if tries:
                send(kernel, comm, {"type": "submit", "method": "client", "fields": tries.pop(0)})
        return len(seen) == 5

    drive(kernel, "%labauth login qbench --as wrong --no-wait", page)
    fields = ["", "tenant", "tenant", "client_id", "client_secret"]
    assert [state["field"] for state in seen] == fields
    assert all("looks like a secret, so it was refused" in state["error"] for state in seen[1:4])
    values = {field["name"]: field["value"] for field in seen[4]["form"]["methods"][0]["fields"]}
    assert values == {**right, "client_secret": ""}
    assert "kanari" not in "".join(kernel.messages[since:])


def test_what_was_typed_is_remembered(kernel: Kernel) -> None:
    """The next form of a login starts with what was typed at the last sign-in and is no secret."""
    origin = kernel.text("print(lab_.origin('qbench'), end='')")
    typed = {"tenant": origin, "client_id": "sandbox-qbench-client"}
    seen: list[dict[str, str]] = []

    def page(comm: str, state: dict[str, Any] | None) -> None:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif state["form"] and not state["busy"]:
            seen.append(
                {field["name"]: field["value"] for field in state["form"]["methods"][0]["fields"]}
            )
            fields = {**typed, "client_secret": "sandbox-qbench-client-secret-0001"}
            send(kernel, comm, {"type": "submit", "method": "client", "fields": fields})

    for _ in range(2):
        drive(kernel, "%labauth login qbench --as again", page)
        kernel.run("%labauth logout again")
    assert seen[0] == {"tenant": "", "client_id": "", "client_secret": ""}
    assert seen[-1] == {**typed, "client_secret": ""}


@pytest.mark.slow
def test_debug_logs_hold_nothing_typed(tmp_path: Path) -> None:
    """With --debug and every logger at DEBUG, what is typed into a panel is in no log, nor in what
    a later cell sees."""
    env = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    kernel = Kernel(tmp_path, env, debug=tmp_path / "kernel.log")
    wrong, landed = (
        "kanari/panel+wrong=01",
        "http://127.0.0.1/?code=kanari-code-0001&state=kanari-state-0001",
    )
    try:
        kernel.run(
            "import logging; logging.basicConfig(level=logging.DEBUG, filename='all.log',"
            " force=True)"
        )
        kernel.run("%load_ext labauth_nb\nfrom labauth_nb.sandbox import running\nlab_ = running()")
        origin = kernel.text("print(lab_.origin('qbench'), end='')")
        acts = [
            {
                "type": "submit",
                "method": "client",
                "fields": {"tenant": origin, "client_id": "i", "client_secret": wrong},
            },
            {"type": "resolve", "tenant": wrong},
            {"type": "answer", "text": landed},
        ]

        def page(comm: str, state: dict[str, Any] | None) -> bool:
            if state is None:
                send(kernel, comm, {"type": "hello"})
            elif acts and not state["busy"]:
                send(kernel, comm, acts.pop(0))
                if len(acts) == 1:
                    send(kernel, comm, acts.pop(0))
            return not acts and bool(state and state["note"])

        drive(kernel, "%labauth login qbench --as panel --no-wait", page)
        kept = (
            "[o for o in gc.get_objects() if isinstance(o, dict) and o.get('msg_type') =="
            " 'comm_msg']"
        )
        parent = kernel.text(f"import gc; print({kept}, get_ipython().get_parent())")
        logs = [(tmp_path / name).read_text() for name in ("all.log", "kernel.log")]
    finally:
        kernel.stop()
    assert all("'type': 'submit'" in log and "'fields': '***'" in log for log in logs)
    assert "comm_msg" in parent
    assert (
        leaks([wrong, "kanari-code-0001", "kanari-state-0001"], *logs, parent, *kernel.messages)
        == []
    )


def test_an_unforeseen_error_has_no_frames(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A bug in a panel's thread is one message with its place; nothing is printed that holds what
    was typed."""
    caught: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", caught.append)
    form = panel.LoginPanel(plan(Wish("qbench", "client", "sandbox")), True)

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("kanari-secret-typed-0001")

    for room, name in ((signins, "carry_out"), (panel.LoginPanel, "_submitted"), (logins, "get")):
        with monkeypatch.context() as patch:
            patch.setattr(room, name, broken)
            before = set(threading.enumerate())
            kind = "renew" if name == "get" else "submit"
            message = {"type": kind, "fields": {"client_secret": "kanari-secret-typed-0001"}}
            form.received(message)
            # the kernel keeps it: it is the parent of what follows
            assert "kanari" not in repr(message)
            for thread in set(threading.enumerate()) - before:
                thread.join(10)
        said = str(form.error or form.note)
        assert re.fullmatch(
            r"That failed unexpectedly \(KeyError at test_panel\.py:\d+\)\. Please try again; if it"
            r" recurs, report it\.",
            said,
        )
        form.error, form.note = None, ""
    assert caught == []
    assert "kanari" not in "".join(capsys.readouterr())


REFUSE = """
import threading
def refuse(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
"""


@pytest.mark.slow
def test_without_threads(lab: Lab, tmp_path: Path) -> None:
    """Where no thread can be started, all but a browser and the sandbox works; these
    say why not."""
    kernel = Kernel(tmp_path, {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")})
    origin, secret = lab.origin("qbench"), "sandbox-qbench-client-secret-0001"
    fields = {"tenant": origin, "client_id": "sandbox-qbench-client", "client_secret": secret}
    said: list[str] = []

    def page(comm: str, state: dict[str, Any] | None) -> bool:
        if state is None:
            send(kernel, comm, {"type": "hello"})
        elif state["form"] and not state["busy"] and not state["error"]:
            send(kernel, comm, {"type": "submit", "method": "client", "fields": fields})
        elif state["error"]:
            said.append(state["error"])
        return bool(state and (state["error"] or (state["login"] and not state["form"])))

    try:
        kernel.run("%load_ext labauth_nb")
        kernel.run(f"import labauth_nb.notebook.panel\n{REFUSE}")
        drive(kernel, "%labauth login qbench --as typed --no-wait", page)
        assert "Signed in to QBench" in kernel.text("%labauth refresh typed")
        assert (
            kernel.text("mine = %labauth session typed\nmine.get('customers').status_code") == "200"
        )
        assert "Signed out of QBench" in kernel.text("%labauth logout typed")
        way = f"foundry --method user --tenant {lab.origin('foundry')} --client-id mine"
        drive(kernel, f"%labauth login {way} --no-wait", page)
        sandbox = kernel.text("%labauth login qbench --tenant sandbox")
        direct = kernel.text("import labauth_nb.sandbox\nlabauth_nb.sandbox.running()")
    finally:
        kernel.stop()
    assert said
    assert set(said) == {
        "Foundry user waits for a browser in a thread, and none can be started here (Pyodide, or "
        "a limit of this computer). Use --method service-user or --method token."
    }
    assert sandbox.startswith("InvalidInput: The sandbox needs threads, and none can be started")
    assert "The sandbox needs threads, and none can be started here (Pyodide" in direct
    assert leaks([secret], *kernel.messages) == []
