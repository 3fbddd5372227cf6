"""The tests' own kernel: right on a slow machine, and after a test that failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kernels import Kernel, end_group

pytestmark = pytest.mark.slow
SLOW = """
import sys, time
if any("ipykernel" in word for word in sys.orig_argv):
    time.sleep(1)
    from jupyter_client.session import Session
    def slowly(self, stream, message, *more, _send=Session.send, **options):
        kind = message if isinstance(message, str) else message["header"]["msg_type"]
        time.sleep(1.2 if kind.endswith("_reply") else 0)
        return _send(self, stream, message, *more, **options)
    Session.send = slowly
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels start a second later, and answer a second late."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path / "slow"))


@pytest.mark.usefixtures("slow")
def test_a_slow_kernel(tmp_path: Path) -> None:
    """Of a kernel that answers late, each request gets its own reply, and a cell its own outputs
    and prompts."""
    kernel = Kernel(tmp_path)
    try:
        hasty = kernel.client.complete("imp")  # as a test that did not wait
        assert kernel.text("input('who? ')", ["ada"]) == "'ada'"
        assert [prompt["prompt"] for prompt in kernel.prompts] == ["who? "]
        kernel.client.kernel_info()
        assert "isinstance" in kernel.reply(kernel.client.complete("isinst"))["matches"]
        assert kernel.text("40 + 2") == "42"
    finally:
        kernel.stop()
    assert hasty


def test_a_cell_left_running(tmp_path: Path) -> None:
    """What a failed test leaves, a cell that runs or a prompt, is ended by the next cell; a dead
    kernel is said at once."""
    kernel = Kernel(tmp_path)
    try:
        with pytest.raises(TimeoutError):
            kernel.run("import os, time\nwhile True: time.sleep(0.1)", timeout=1)
        assert kernel.text("40 + 2") == "42"
        with pytest.raises(IndexError):  # there are no answers to give
            kernel.run("input('never answered')", [])
        assert kernel.text("input('answered')", ["yes"]) == "'yes'"
        with pytest.raises(RuntimeError, match="The kernel has died"):
            kernel.run("os._exit(1)")
    finally:
        kernel.stop()


def test_a_program_that_does_not_end() -> None:
    """What ignores a request to end is killed, with what it has started."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True);"
        " time.sleep(600)"
    )
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    for code in (deaf, f"{deaf.partition('print')[0]}{starts}"):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout
        process.stdout.readline()
        end_group(process, seconds=0.5)
        assert process.stdout.read() == b""  # nobody holds its other end any more
