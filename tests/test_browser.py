"""The real thing: JupyterLab on loopback, in a real Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REPO = Path(__file__).parent.parent
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
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


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own: (its address with the token in it, the folder it shows)."""
    folder = tmp_path_factory.mktemp("jupyter")
    shutil.copy(REPO / "notebooks" / "quickstart.ipynb", folder)
    env = {**os.environ, "HOME": str(folder / ".home"), "JUPYTER_PLATFORM_DIRS": "0", "IPYTHONDIR": str(folder / ".ipython")}
    log = open(folder / ".log", "w")  # noqa: SIM115
    command = "-m jupyterlab --no-browser --allow-root --ip=127.0.0.1 --port=0 --LabApp.expose_app_in_browser=True"
    process = subprocess.Popen(
        [sys.executable, *command.split(), "--IdentityProvider.token=practice", f"--ServerApp.root_dir={folder}"],
        stdout=log,
        stderr=log,
        env=env,
    )
    try:
        url, end = "", time.monotonic() + 60
        while time.monotonic() < end and not url:
            lines = [w for w in (folder / ".log").read_text().split() if w.startswith("http://127.0.0.1") and "token=" in w]
            if lines:
                url = lines[0].split("/lab")[0]
            time.sleep(0.1)
        assert url, (folder / ".log").read_text()[-2000:]
        requests.get(f"{url}/api/status", params={"token": "practice"}, timeout=30).raise_for_status()
        yield url, folder
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page in a fresh Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1280, "height": 1000}
        )
        yield context.new_page()
        context.close()


def test_quickstart_run_all(jupyter: tuple[str, Path], page: Any) -> None:
    """The quickstart, opened in JupyterLab, runs whole by Run All and shows a DataFrame from each of the four providers."""
    url, _ = jupyter
    page.goto(f"{url}/lab/tree/quickstart.ipynb?token=practice&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    # Saved outputs would pass without a run, so they go first.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=60_000)
    page.click("text=Edit")
    page.click("text=Clear Outputs of All Cells")
    page.wait_for_function("document.querySelectorAll('.jp-Notebook .jp-OutputArea-output').length === 0")
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click("text=Run All Cells")
    page.wait_for_selector("text=The API token was not revoked", timeout=60_000)
    text = page.inner_text(".jp-Notebook")
    for part in (
        "SANDBOX: Signed in to Benchling (sandbox)",
        "Cell viability plate 001",
        "In Progress",
        "Orbitrap 1",
        "sample_001.fastq.gz",
        "<Response [200]>",
        "ProviderError: Foundry answered 403 ApiUsageDenied",
        "The token was revoked at Foundry",
    ):
        assert part in text
    assert "Traceback" not in text
    pictures = REPO / "test-output"
    pictures.mkdir(exist_ok=True)
    page.set_viewport_size({"width": 1280, "height": 3600})
    page.screenshot(path=pictures / "quickstart.png")
