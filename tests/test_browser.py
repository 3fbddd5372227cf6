"""The real thing: JupyterLab on loopback, in a real Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests
from conftest import OURS, free_port
from kernels import end_group
from test_notebooks import NOTEBOOKS
from test_secrets import leaks, spellings

from labauth_nb.notebook.widget import MIME
from labauth_nb.providers import PROVIDERS

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
REPO = Path(__file__).parent.parent
PICTURES = REPO / "test-output"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    # the page holds all cells, seen or not
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}
LOAD = "%load_ext labauth_nb\nfrom labauth_nb.sandbox import running\nlab_ = running()"
READ = {
    "benchling": ("get('plates').json()['plates'][0]['name']", "Cell viability plate 001"),
    "qbench": ("frame('orders')['state'][0]", "Received"),
    "foundry": ("frame('ontologies/lab/objects/Sample')['instrument'].min()", "NovaSeq"),
    "dnanexus": ("post('system/whoami', json={}).json()['id']", "user-ada"),
}
GOOD = "sandbox-benchling-client-secret"
NARROW = "(panel) => { panel.parentElement.style.cssText = 'width: 320px; flex: none' }"
COUNTED = r"^(\d+ h )?(\d+ min )?\d+ (s|min|h)$"


Served = tuple[str, Path]
JUPYTER = (
    "--no-browser --allow-root --ip=127.0.0.1 --port=0 --IdentityProvider.token=practice"
    " --ServerApp.root_dir={folder}"
)
SERVERS = {
    "jupyterlab": f"{JUPYTER} --LabApp.expose_app_in_browser=True",
    "notebook": f"{JUPYTER} --JupyterNotebookApp.expose_app_in_browser=True",
    "voila": "--no-browser --Voila.ip=127.0.0.1 --port={port} {folder}",
}


def extension_in(folder: Path) -> Path:
    """`folder` with the JupyterLab extension as the wheel would install it."""
    build = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    for source, target in build["targets"]["wheel"]["shared-data"].items():
        file = folder / Path(target).relative_to("share/jupyter")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / source, file)
    return folder


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own: (its address, the folder it shows)."""
    with serving(tmp_path_factory.mktemp("jupyter")) as served:
        yield served


@contextmanager
def serving(folder: Path, extension: bool = True, app: str = "jupyterlab") -> Iterator[Served]:
    """JupyterLab, or another `app` of Jupyter, that shows `folder` with the tutorials, our
    extension enabled or disabled: (its address, the folder)."""
    config = folder / ".config" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"disabledExtensions": {"labauth-nb": not extension}}))
    for each in (REPO / "notebooks").iterdir():
        shutil.copy(each, folder)
    for name, settings in SETTINGS.items():
        file = folder / ".settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    env |= {
        "HOME": str(folder / ".home"),
        "JUPYTER_PLATFORM_DIRS": "0",
        "IPYTHONDIR": str(folder / ".ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_PATH": str(extension_in(folder / ".jupyter-data")),
    }
    log = open(folder / ".log", "w")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", app, *SERVERS[app].format(folder=folder, port=free_port()).split()],
        stdout=log,
        stderr=log,
        env=env,
        start_new_session=True,
    )
    try:
        url = ""
        while process.poll() is None and not url:  # the test's own time limit ends it
            found = re.search(
                r"http://(127\.0\.0\.1|localhost):\d+/", (folder / ".log").read_text()
            )
            url = found[0].rstrip("/") if found else ""
            time.sleep(0.1)
        assert url, (folder / ".log").read_text()[-2000:]
        requests.get(url, timeout=30)
        yield url, folder
    finally:
        end_group(process)
        log.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One fresh Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 1000},
        )
        context.set_default_timeout(20_000)
        yield context
        context.close()


def written(folder: Path, name: str, *cells: str) -> None:
    """A notebook of `cells`, without outputs."""
    from nbformat import v4

    nodes = [v4.new_code_cell(cell) for cell in cells]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / name).write_text(json.dumps(v4.new_notebook(cells=nodes, metadata=spec)))


class Notebook:
    """A notebook open in JupyterLab: `run` cells, look at their outputs, and at every frame on its
    websockets."""

    def __init__(self, chromium: Any, url: str, folder: Path) -> None:
        self.url, self.folder, self.name = url, folder, "quickstart.ipynb"
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.page = chromium.new_page()
        self.page.on("websocket", self._record)
        self.page.on(
            "request",
            lambda r: (
                self.sent.append(r.post_data_buffer or b"") if r.method in ("PUT", "POST") else None
            ),
        )

    def _record(self, socket: Any) -> None:
        def keep(frames: list[bytes]) -> Any:
            return lambda frame: frames.append(
                frame if isinstance(frame, bytes) else frame.encode()
            )

        socket.on("framereceived", keep(self.received))
        socket.on("framesent", keep(self.sent))

    def open(self, name: str, *cells: str) -> Notebook:
        """Write a notebook of `cells`, open it and wait for its kernel."""
        written(self.folder, name, *cells)
        return self.visit(name)

    def visit(self, name: str) -> Notebook:
        self.name = name
        self.page.goto(f"{self.url}/lab/tree/{name}?token=practice&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        self.page.wait_for_function(
            "(({isReady, session}) => isReady && session?.kernel?.connectionStatus === 'connected'"
            " && session.kernel.status ==="
            " 'idle')(window.jupyterapp.shell.currentWidget.sessionContext)",
            timeout=60_000,
        )
        return self

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Start a command of JupyterLab, without waiting for its end (that of Run All is the end of
        the last cell)."""
        self.page.evaluate(
            "([n, a]) => { void window.jupyterapp.commands.execute(n, a) }", [name, arguments or {}]
        )

    def start(self, code: str) -> int:
        """Append a cell and run it; gives its index."""
        return int(
            self.page.evaluate(
                """(source) => {
                    const notebook = window.jupyterapp.shell.currentWidget.content;
                    const at = notebook.model.cells.length;
                    notebook.model.sharedModel.insertCell(at, {cell_type: 'code', source});
                    notebook.activeCellIndex = at;
                    void window.jupyterapp.commands.execute('notebook:run-cell');
                    return at;
                }""",
                code,
            )
        )

    def run(self, code: str, seconds: float = 20) -> int:
        """Append a cell, run it and wait for its end."""
        cell = self.start(code)
        self.ended(cell, seconds)
        return cell

    def ended(self, cell: int, seconds: float = 20) -> None:
        """Wait until `cell` has run."""
        self.page.wait_for_function(
            "(at) => /\\d/.test(document.querySelectorAll('.jp-Notebook .jp-Cell')[at]"
            "?.querySelector('.jp-InputPrompt')?.textContent)",
            arg=cell,
            timeout=seconds * 1000,
        )

    def waits(self, cell: int) -> bool:
        """Whether `cell` is running."""
        return "*" in self.cell(cell).locator(".jp-InputPrompt").inner_text()

    def cell(self, at: int) -> Any:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(at)

    def panel(self, at: int) -> Any:
        """The panel under the cell `at`."""
        return self.cell(at).locator(".labauth")

    def output(self, at: int) -> str:
        return str(self.cell(at).locator(".jp-Cell-outputArea").inner_text())

    def save(self) -> str:
        """Save; the file's text."""
        file = self.folder / self.name
        before = file.stat().st_mtime_ns
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        end = time.monotonic() + 10
        while file.stat().st_mtime_ns == before and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        return file.read_text()

    def picture(self, name: str, locator: Any) -> None:
        PICTURES.mkdir(exist_ok=True)
        locator.scroll_into_view_if_needed()
        locator.screenshot(path=PICTURES / f"{name}.png")

    def theme(self, name: str, light: bool) -> None:
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name
        )
        self.page.wait_for_selector(
            f"body[data-jp-theme-light='{str(light).lower()}']", state="attached"
        )
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def close(self) -> None:
        """Close the page, and end its kernel whatever becomes of the page."""
        key = {"token": "practice"}
        try:
            self.page.close()
        finally:
            for session in requests.get(f"{self.url}/api/sessions", params=key, timeout=30).json():
                requests.delete(f"{self.url}/api/sessions/{session['id']}", params=key, timeout=30)


@pytest.fixture
def notebook(jupyter: tuple[str, Path], chromium: Any) -> Iterator[Notebook]:
    """A page of its own; its kernel ends with it."""
    it = Notebook(chromium, *jupyter)
    yield it
    it.close()


def see(locator: Any, text: str | re.Pattern[str], seconds: float = 60) -> None:
    """Wait until `locator` contains `text`."""
    from playwright.sync_api import expect

    expect(locator).to_contain_text(text, timeout=seconds * 1000)


def press(panel: Any, name: str) -> None:
    """Click the panel's button called `name`."""
    panel.locator(f"button:text-is('{name}')").click()


def failures(path: Path) -> list[str]:
    """The cells of an executed notebook that were not run, or failed without the tag that allows
    it."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        failed = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        allowed = "raises-exception" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and (cell.execution_count is None or bool(failed) != allowed):
            found.append(cell.source)
    return found


def run_all(notebook: Notebook, name: str) -> Notebook:
    """Run All of the tutorial `name`: each code cell shows its number then, and only those fail
    that are to fail."""
    page = notebook.visit(f"{name}.ipynb").page
    # Saved outputs and numbers would pass without a run, so they go first.
    notebook.command("editmenu:clear-all")
    page.wait_for_function(
        "document.querySelectorAll('.jp-Notebook .jp-OutputArea-output').length === 0"
    )
    notebook.command("notebook:run-all-cells")
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
    see(prompts.last, re.compile(r"\d"), 300)
    assert prompts.all_inner_texts() == [f"[{number}]:" for number in range(1, prompts.count() + 1)]
    notebook.save()
    assert failures(notebook.folder / notebook.name) == []
    shown = page.locator(".jp-Notebook .labauth")
    cells = nbformat.read(notebook.folder / notebook.name, as_version=4).cells
    kinds = [kind for cell in cells for o in cell.get("outputs", []) for kind in o.get("data", {})]
    assert shown.count() == kinds.count(MIME)
    for panel in shown.all():
        panel.locator(".card, .line, table").first.wait_for()
    assert shown.locator("form, .attempt").count() == 0
    return notebook


def tomorrow(notebook: Notebook) -> None:
    """The kernel has ended, and the notebook is opened again: each panel says what is past, and
    offers nothing that needs that kernel."""
    page = notebook.page
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.visit(notebook.name)
    for panel in page.locator(".jp-Notebook .labauth").all():
        see(panel.locator(".line"), re.compile(r"\. Run this cell to .*\.$"))
    assert page.locator(".labauth :is(form, table, button, input, .time)").count() == 0
    assert "Error displaying widget" not in page.inner_text(".jp-Notebook")


def test_quickstart_run_all(notebook: Notebook) -> None:
    """The quickstart, opened in JupyterLab, runs whole by Run All and shows a DataFrame from each
    of the four providers."""
    page = run_all(notebook, "quickstart").page
    page.wait_for_function(
        "document.querySelectorAll('.jp-Notebook .labauth .card, .labauth .line').length >= 4"
    )
    text = page.inner_text(".jp-Notebook")
    for part in (
        "Cell viability plate 001",
        "In Progress",
        "Orbitrap 1",
        "sample_001.fastq.gz",
        "<Response [200]>",
        "ProviderError: Foundry responded with 403 ApiUsageDenied",
        "The token was revoked at Foundry",
        "SANDBOX",
    ):
        assert part in text
    assert "Traceback" not in text
    PICTURES.mkdir(exist_ok=True)
    page.set_viewport_size({"width": 1280, "height": 3600})
    page.screenshot(path=PICTURES / "quickstart.png")
    tomorrow(notebook)


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS if path.stem != "quickstart"])
def test_tutorial_run_all(notebook: Notebook, name: str) -> None:
    """Run All of each other tutorial leaves no cell at [ ] or [*], no form, and only the cells that
    are to fail do; opened tomorrow, its panels say what is past."""
    tomorrow(run_all(notebook, name))


def test_run_all_waits_for_each_panel(notebook: Notebook) -> None:
    """Run All stops at each provider's panel until it is answered, then goes on with a session:
    data from all four."""
    cells = [LOAD]
    for name, (read, _) in READ.items():
        cells += [
            f"%labauth login {name} --tenant sandbox --ask",
            f"lab = %labauth session {name}\nlab.{read}",
        ]
    page = notebook.open("four.ipynb", *cells).page
    notebook.command("notebook:run-all-cells")
    for at, (name, (_, shown)) in enumerate(READ.items()):
        cell = 1 + 2 * at
        panel = notebook.panel(cell)
        panel.locator("form").wait_for()
        assert notebook.waits(cell), name
        assert notebook.waits(cell + 1), name
        assert panel.locator("input[name='tenant']").input_value() == "sandbox"
        # Each by another way to press it: the keyboard alone must do.
        (
            panel.locator("input[name='tenant']").press("Enter")
            if at % 2
            else panel.locator("button[type='submit']").click()
        )
        see(panel, "Signed in to")
        see(panel.locator(".mark"), "SANDBOX")
        see(notebook.cell(cell + 1).locator(".jp-Cell-outputArea"), shown)
    assert "Error" not in page.inner_text(".jp-Notebook")


def test_each_method(notebook: Notebook) -> None:
    """A panel of each provider and method: its own way is chosen, and Enter in the address signs
    in, or shows the sign-in page's link."""
    notebook.open("methods.ipynb", LOAD)
    notebook.run(LOAD)
    for provider, method in [(p, m) for p in PROVIDERS.values() for m in p.methods]:
        if method.job_variable:
            continue  # a job's own: not offered outside one
        line = f"%labauth login {provider.name} --method {method.name} --tenant sandbox"
        panel = notebook.panel(notebook.run(f"{line} --ask --no-wait --as {method.name}"))
        panel.locator("form").wait_for()
        if panel.locator("input[name='method']").count():
            chosen = panel.locator("input[name='method']:checked")
            assert chosen.get_attribute("value") == method.name
        panel.locator("input[name='tenant']").press("Enter")
        done = ".attempt a.button" if method.flow else ".card"
        panel.locator(done).first.wait_for()
        if not method.flow:
            see(panel.locator(".card .who"), provider.title)


def test_wrong_then_right(notebook: Notebook) -> None:
    """A wrong secret: its message near its field, which is empty and has the focus, the rest kept;
    then the right one."""
    page = notebook.open("wrong.ipynb", LOAD).page
    notebook.run(LOAD)
    cell = notebook.start("%labauth login benchling --tenant sandbox --ask")
    panel = notebook.panel(cell)
    panel.locator("form").wait_for()
    for box in panel.locator("input").all():
        assert panel.locator(f"label[for='{box.get_attribute('id')}']").count() == 1
        for described in str(box.get_attribute("aria-describedby")).split():
            assert panel.locator(f"[id='{described}']").text_content()
    see(panel.locator("fieldset legend"), "How")
    notebook.picture("form-light", panel)
    identifier, secret = (
        panel.locator("input[name='client_id']"),
        panel.locator("input[name='client_secret']"),
    )
    assert secret.get_attribute("type") == "password"
    identifier.fill("sandbox-benchling-app")
    secret.click()
    # "dd", "a", "0 0" and the like are JupyterLab's own keys: delete the cell, insert one, restart
    # the kernel.
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    page.keyboard.type("ddabmx00 wrong-0001")
    assert secret.input_value() == "ddabmx00 wrong-0001"
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    page.keyboard.press("Enter")
    row = panel.locator(".row", has=page.locator("input[name='client_secret']"))
    see(row.locator(".error"), "Benchling responded with 401")
    assert secret.input_value() == ""
    assert secret.get_attribute("aria-invalid") == "true"
    assert secret.evaluate("(box) => box === document.activeElement")
    assert row.locator(".error").get_attribute("id") in str(
        secret.get_attribute("aria-describedby")
    )
    assert identifier.input_value() == "sandbox-benchling-app"
    assert notebook.waits(cell)
    notebook.picture("failure", panel)
    identifier.fill("")
    secret.fill(GOOD)
    identifier.fill("sandbox-benchling-app")
    assert secret.input_value() == GOOD
    panel.locator("input[name='tenant']").fill("no tenant")
    secret.press("Enter")
    alone = panel.locator(".row", has=page.locator("input[name='tenant']"))
    see(alone.locator(".error"), "tenant")
    # The kernel says which address it is, not the page.
    for typed, address in (
        ("acme:8443", "acme.benchling.com:8443"),
        ("acme.", "acme.benchling.com"),
        ("[::1]:9", "[::1]:9"),
    ):
        panel.locator("input[name='tenant']").fill(typed)
        see(panel.locator(".where"), re.compile(rf"^You sign in to https://{re.escape(address)}$"))
    panel.locator("input[name='tenant']").fill("acme.example.com")
    see(alone.locator(".address"), "Give the name before .benchling.com")
    panel.locator("input[name='tenant']").fill("sandbox")
    see(panel.locator(".where"), "sandbox")
    assert alone.locator(".address").inner_text() == ""
    secret.fill(GOOD)
    secret.press("Enter")
    see(panel.locator("[aria-live]"), "Signed in to Benchling.")
    notebook.ended(cell)
    assert panel.locator("form").count() == 0
    notebook.picture("signed-in-light", panel)


def test_a_folder_that_names_a_host(notebook: Notebook) -> None:
    """A .env names the host for the environment's secret: it stands in large with its file, and No
    sends nothing; a password form shows it, too. Light, dark and narrow."""
    folder = notebook.folder / "cloned"
    folder.mkdir()
    notebook.open("cloned/steals.ipynb", LOAD)
    notebook.run(LOAD)
    notebook.run(
        "import os\nos.environ |= {f'BENCHLING_{k.upper()}': v for k, v in"
        " lab_.credentials('benchling', 'app').items()}\n"
        "with open('.env', 'w') as file:\n"
        "    n = file.write(f'BENCHLING_URL={lab_.origin(\"benchling\")}\\n'"
        " f'DX_APISERVER_HOST={lab_.origin(\"dnanexus\")}\\n')"
    )
    cell = notebook.start("%labauth login benchling")
    panel = notebook.panel(cell)
    see(panel.locator(".doubt .large"), "http://127.0.0.1:")
    see(panel.locator(".doubt"), f"{folder}/.env")
    see(panel.locator(".doubt"), "Client secret (BENCHLING_CLIENT_SECRET in the environment)")
    see(panel, "sandbox-benchling-app")  # what is no secret is shown
    assert GOOD not in panel.inner_text()
    notebook.picture("doubt-light", panel)
    press(panel, "No")
    notebook.ended(cell)
    see(
        notebook.cell(cell).locator(".jp-Cell-outputArea"),
        "UntrustedOrigin: Nothing was sent. To use a different address",
    )
    assert notebook.output(notebook.run("print(lab_.count('benchling'))")).strip() == "0"
    panel = notebook.panel(cell := notebook.start("%labauth login benchling"))
    panel.locator(".doubt").wait_for()
    notebook.theme("JupyterLab Dark", light=False)
    try:
        notebook.picture("doubt-dark", panel)
        assert not [each for each in panel.evaluate(CONTRASTS) if each[0] < 4.5]
    finally:
        notebook.theme("JupyterLab Light", light=True)
    panel.evaluate(NARROW)
    assert panel.evaluate("(panel) => panel.scrollWidth <= panel.clientWidth + 1")
    notebook.picture("doubt-narrow", panel)
    press(panel, "Yes, sign in there")
    see(panel, "Signed in to Benchling")
    see(panel.locator(".host"), "http://127.0.0.1:")
    notebook.picture("signed-in-address", panel)
    # asked once
    see(
        notebook.panel(notebook.run("%labauth logout\n%labauth login benchling")),
        "Signed in to Benchling",
    )
    panel = notebook.panel(notebook.start("%labauth login dnanexus --method password"))
    see(
        panel.locator(".doubt"),
        f"Only DX_APISERVER_HOST in .env ({folder}/.env) names this address.",
    )
    notebook.picture("where-light", panel)


def test_expiry_and_renewal(notebook: Notebook) -> None:
    """By the sandbox's clock: expiring looks different, expired is said, Renew renews; a renewal by
    a thread shows at once."""
    notebook.open("expiry.ipynb", LOAD)
    notebook.run(LOAD)
    panel = notebook.panel(notebook.run("%labauth login benchling --tenant sandbox"))
    see(panel.locator(".time"), re.compile(r"^1[45] min"))
    notebook.run("%labauth sandbox advance 850s")
    panel.locator(".card[data-state='expiring']").wait_for()
    see(panel.locator("[aria-live]"), "expires soon")
    notebook.picture("expiring", panel)
    notebook.run("%labauth sandbox advance 60s")
    see(panel.locator(".time"), "renews itself when used")
    see(panel.locator("[aria-live]"), "has expired")
    notebook.picture("expired", panel)
    press(panel, "Renew")
    see(panel.locator(".time"), re.compile(r"^1[45] min"))
    see(panel.locator("[aria-live]"), "Renewed.")
    notebook.run("%labauth sandbox advance 16m")
    see(panel.locator(".time"), "renews itself when used")
    notebook.run(
        "import threading, labauth_nb\nget = labauth_nb.session('benchling').get\n"
        "thread = threading.Thread(target=get, args=('plates',))\n"
        "thread.start(); thread.join()"
    )
    see(panel.locator(".time"), re.compile(r"^1[45] min"), 2)
    # What was pasted cannot be renewed: the card is red and offers the form, in place, where what
    # is no secret is still there.
    pasted = notebook.panel(notebook.run("%labauth login foundry --tenant sandbox --method token"))
    see(pasted, "Signed in to Foundry")
    notebook.run("%labauth sandbox advance 90d")
    see(pasted.locator(".card[data-state='needs'] .time"), "ran out")
    notebook.picture("needs-you", pasted)
    press(pasted, "Sign in again")
    assert pasted.locator("input[name='tenant']").input_value() == "sandbox"
    pasted.locator("button[type='submit']").click()
    see(pasted, "Signed in to Foundry")


def test_busy_and_idle(notebook: Notebook) -> None:
    """The countdown ticks while the kernel computes for 20 s; idle, a panel sends and gets no
    message at all, and nothing moves that the page would draw again and again."""
    page = notebook.open("busy.ipynb", LOAD).page
    notebook.run(LOAD)
    panel = notebook.panel(notebook.run("%labauth login benchling --tenant sandbox"))
    see(panel.locator(".time"), re.compile(COUNTED))
    busy = notebook.start(
        "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    )
    texts, end = [panel.locator(".time").inner_text()], time.monotonic() + 15
    while len(texts) < 6 and time.monotonic() < end:
        page.wait_for_function(
            "([box, text]) => box.textContent !== text",
            arg=[panel.locator(".time").element_handle(), texts[-1]],
            timeout=60_000,
        )
        texts.append(panel.locator(".time").inner_text())
    assert len(texts) == 6
    assert notebook.waits(busy)
    notebook.ended(busy, 40)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.wait_for_timeout(1000)
    before = len(notebook.received), len(notebook.sent)
    page.wait_for_timeout(20_000)  # a rate is measured over a time
    idle = [*notebook.received[before[0] :], *notebook.sent[before[1] :]]
    print("frames in 20 s idle:", len(idle))
    moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
    assert page.evaluate(moving) == 0
    assert not [frame for frame in idle if b"comm_msg" in frame]


def test_dark_narrow_and_two_at_once(notebook: Notebook) -> None:
    """Two panels and the table live side by side, readable in the dark and at 320 px; Renew and Log
    out do what they say."""
    page = notebook.open("two.ipynb", LOAD).page
    notebook.run(LOAD)
    first = notebook.panel(notebook.run("%labauth login benchling --tenant sandbox"))
    form = notebook.panel(notebook.run("%labauth login qbench --tenant sandbox --ask --no-wait"))
    table = notebook.panel(notebook.run("%labauth status"))
    form.locator("form").wait_for()
    see(table.locator("tr[data-name='benchling']"), "SANDBOX")
    form.locator("input[name='client_secret']").fill("half typed")
    notebook.run("%labauth refresh benchling")
    assert form.locator("input[name='client_secret']").input_value() == "half typed"
    form.locator("input[name='client_secret']").fill("")
    form.locator("button[type='submit']").click()
    see(form, "Signed in to QBench")
    see(table.locator("tr[data-name='qbench'] .time"), re.compile(COUNTED))
    notebook.run("%labauth sandbox advance 16m")
    see(table.locator("tr[data-name='benchling'] .time"), "renews itself when used")
    see(first.locator(".time"), "renews itself when used")
    notebook.picture("status-light", table)
    table.locator("button[aria-label='Renew benchling']").click()
    see(table.locator("tr[data-name='benchling'] .time"), re.compile(r"^1[45] min"))
    see(first.locator(".time"), re.compile(r"^1[45] min"))
    notebook.theme("JupyterLab Dark", light=False)
    try:
        for name, panel in (("signed-in-dark", first), ("status-dark", table)):
            notebook.picture(name, panel)
        table.locator("button[aria-label='Log out qbench']").click()
        see(table, "Signed out of QBench")
        assert table.locator("tr[data-name='qbench']").count() == 0
        see(form.locator(".line"), "Signed out of QBench at")
        press(form, "Sign in again")
        form.locator("form").wait_for()
        form.locator("input[name='client_secret']").fill("wrong")
        form.locator("button[type='submit']").click()
        see(form.locator(".error"), "QBench responded with 400 invalid_grant")
        notebook.picture("failure-dark", form)
        for panel in (form, first, table):
            contrasts = panel.evaluate(CONTRASTS)
            assert not [each for each in contrasts if each[0] < 4.5], contrasts
    finally:
        notebook.theme("JupyterLab Light", light=True)
    for panel in (form, first, table):
        contrasts = panel.evaluate(CONTRASTS)
        assert not [each for each in contrasts if each[0] < 4.5], contrasts
    for panel in (form, first, table):
        panel.evaluate(NARROW)
        assert panel.evaluate("(panel) => panel.getBoundingClientRect().width") <= 320
        assert panel.evaluate("(panel) => panel.scrollWidth <= panel.clientWidth + 1")
    for name, panel in (
        ("narrow-form", form),
        ("narrow-signed-in", first),
        ("narrow-status", table),
    ):
        notebook.picture(name, panel)
    page.evaluate("document.activeElement.blur()")


def test_a_page_that_cannot_encrypt(notebook: Notebook) -> None:
    """Where the page is no secure context, its small print says so, and it signs in all the same;
    where encrypting fails, nothing is sent, and that is said."""
    page = notebook.open("bare.ipynb", LOAD).page
    notebook.run(LOAD)
    page.evaluate("Object.defineProperty(window, 'isSecureContext', {value: false})")
    panel = notebook.panel(
        notebook.start("%labauth login benchling --method app --tenant sandbox --ask")
    )
    see(panel, "What you type is not encrypted beyond the connection itself. To change that, open")
    notebook.picture("seal-none", panel)
    panel.locator("input[name='client_secret']").fill("kanari-typed-0001")
    panel.locator("button[type='submit']").click()
    see(panel.locator(".error"), "Benchling responded with 401")
    spelled = [s for frame in notebook.sent for s in spellings("kanari-typed-0001") if s in frame]
    assert len(spelled) == 1
    page.evaluate("Object.defineProperty(window, 'isSecureContext', {value: true})")
    page.evaluate("() => { crypto.subtle.encrypt = () => Promise.reject(new Error()) }")
    panel.locator("input[name='client_secret']").fill("kanari-typed-0002")
    panel.locator("button[type='submit']").click()
    see(panel.locator(".error"), "Nothing was submitted: this page could not encrypt")
    see(panel, "What you type is encrypted on its way to this kernel.")
    assert panel.locator("input[name='client_secret']").input_value() == ""
    assert leaks(["kanari-typed-0002"], *notebook.sent) == []
    notebook.picture("seal-failed", panel)
    page.evaluate("delete crypto.subtle.encrypt")
    panel.locator("input[name='client_secret']").fill(GOOD)
    panel.locator("button[type='submit']").click()
    see(panel, "Signed in to Benchling")
    assert leaks([GOOD], *notebook.sent) == []


CONTRASTS = """(panel) => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const read = (colour) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => {
        const c = rgb[i] / 255;
        return sum + part * (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
    const out = [];
    const texts = 'h3, p, b, small, label, span, dt, dd, th, td, button:enabled, input, select';
    for (const it of panel.querySelectorAll(texts)) {
        if (!it.textContent.trim() && !('value' in it)) continue;
        let back = it;
        while (back && read(getComputedStyle(back).backgroundColor)[3] < 255)
            back = back.parentElement;
        const behind = getComputedStyle(back ?? document.body).backgroundColor;
        const shown = [getComputedStyle(it).color, behind];
        const [a, b] = shown.map((colour) => light(read(colour)));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) out.push([ratio, it.tagName, it.className, it.textContent.slice(0, 40)]);
    }
    return out;
}"""


def test_ways_to_wait(notebook: Notebook) -> None:
    """Stopped, timed out, told not to wait, or unable to: each is one message, and the panel still
    signs in."""
    page = notebook.open("wait.ipynb", LOAD).page
    notebook.run(LOAD)
    cell = notebook.start("%labauth login benchling --tenant sandbox --ask")
    panel = notebook.panel(cell)
    panel.locator("form").wait_for()
    assert notebook.waits(cell)
    notebook.command("notebook:interrupt-kernel")
    notebook.ended(cell)
    errors = notebook.cell(cell).locator(
        "[data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea-output.jp-RenderedText"
    )
    see(errors, "NotSignedIn: Stopped waiting for the Benchling panel.")
    assert errors.inner_text().strip().count("\n") == 0
    panel.locator("button[type='submit']").click()
    see(panel, "Signed in to Benchling")
    cell = notebook.run("%labauth login qbench --tenant sandbox --ask --wait 2s")
    assert "NotSignedIn: Nobody answered the QBench panel in" in notebook.output(cell)
    panel = notebook.panel(cell)
    panel.locator("button[type='submit']").click()
    see(panel, "Signed in to QBench")
    cell = notebook.run("%labauth login foundry --tenant sandbox --ask --no-wait", 5)
    notebook.panel(cell).locator("form").wait_for()
    assert "Error" not in notebook.output(cell)
    line = "%labauth login dnanexus --tenant sandbox --ask"
    for code in (
        f"if True:\n    {line}",
        f"%%time\n{line}",
        f"%%capture\n{line}",
        f"def sign_in():\n    {line}\nsign_in()",
    ):
        said = notebook.output(notebook.run(code))
        assert "NotSignedIn: This cell cannot wait for the panel" in said, code
        assert "put %labauth login dnanexus at the left margin of a cell of its own" in said, code
        assert "Traceback" not in said, code
    page.evaluate("document.activeElement.blur()")


def test_no_secret_gets_out(notebook: Notebook) -> None:
    """A typed secret leaves the page once, sealed, in the message that submits it; nothing that
    comes back or is saved holds one, and no frame on a websocket."""
    notebook.open("leaks.ipynb", LOAD)
    notebook.run(LOAD)
    held = (
        "with open('held.txt', 'a') as f:\n    [f.write(s + '\\n') for x in logins._LOGINS.values()"
        " for s in x.secrets()]"
    )
    cell = notebook.start("%labauth login benchling --tenant sandbox --ask")
    panel = notebook.panel(cell)
    secret = panel.locator("input[name='client_secret']")
    wrong, half = "kanari/wrong+secret=0001", "kanari-half+typed/0002"
    secret.fill(wrong)
    secret.press("Enter")
    see(panel.locator(".error"), "Benchling responded with 401")
    before = len(notebook.received), len(notebook.sent)
    secret.fill(GOOD)
    secret.press("Enter")
    see(panel, "Signed in to Benchling")
    notebook.ended(cell)
    print(
        "a sign-in:",
        *(
            sum(b"comm_msg" in f for f in fs[at:])
            for fs, at in zip((notebook.received, notebook.sent), before, strict=True)
        ),
    )
    abandoned = notebook.run("%labauth login qbench --tenant sandbox --ask --no-wait")
    notebook.panel(abandoned).locator("input[name='client_secret']").fill(half)
    for name in ("foundry", "dnanexus"):
        notebook.run(f"%labauth login {name} --tenant sandbox")
    notebook.run("from labauth_nb.logins import logins\n" + held)
    notebook.run("%labauth status\n%labauth sandbox advance 16m")
    press(panel, "Renew")
    see(panel.locator(".time"), re.compile(r"^1[45] min"))
    notebook.run(held)
    notebook.run(
        "import json, ipywidgets, labauth_nb\n"
        "labauth_nb.panel('benchling', tenant='sandbox')\n"
        "from ipywidgets.embed import embed_snippet\n"
        "views = [labauth_nb.panel(x, tenant='sandbox') for x in ('benchling', 'qbench')]\n"
        "open('embed.html', 'w').write(embed_snippet(views=views))\n"
        "open('state.json', 'w').write(json.dumps(ipywidgets.Widget.get_manager_state()))"
    )
    saved = [notebook.save()]
    press(panel, "Log out")
    see(panel, "Signed out of Benchling")
    saved.append(notebook.save())
    assert "widget-view" not in "".join(saved)
    notebook.visit(notebook.name)
    notebook.panel(abandoned).locator("form").wait_for()
    assert notebook.panel(abandoned).locator("input[name='client_secret']").input_value() == ""
    files = [(notebook.folder / name).read_text() for name in ("embed.html", "state.json")]
    secrets = sorted(
        {wrong, half, GOOD, *(notebook.folder / "held.txt").read_text().split("\n")} - {""}
    )
    assert len(secrets) > 8
    frames = b"\n".join(notebook.received)
    assert frames.count(b"comm_msg") > 10
    assert leaks(secrets, frames, *saved, *files) == []
    assert sum(b'"sealed":{"id":' in frame for frame in notebook.sent) == 2
    assert leaks(secrets, *notebook.sent) == []
    print(
        f"{len(secrets)} secrets in {len(notebook.received)} frames ({len(frames)} bytes),"
        f" {len(saved + files)} files: 0"
    )
