"""A real ipykernel for tests: run cells, answer its prompts, keep every message it sends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.manager import KernelManager

Message = dict[str, Any]


def end_group(process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """End a process that leads a group: kindly, so that it ends its kernels, then by force with all
    that it started."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(seconds)


class Kernel:
    """`run` gives a cell's outputs; `messages` holds all that came on iopub, as JSON text, and
    `prompts` what was asked.

    However slow the kernel is, nothing is taken for what it is not: a message counts for a cell by
    its id. A cell that a failed test left running is interrupted before the next one is sent, so
    one failure costs one wait.
    """

    def __init__(
        self, folder: Path, env: dict[str, str] | None = None, debug: Path | None = None
    ) -> None:
        """`debug`: the kernel runs with --debug, and writes what it logs there."""
        how: dict[str, Any] = (
            {} if debug is None else {"extra_arguments": ["--debug"], "stderr": debug.open("w")}
        )
        for left in (2, 1, 0):
            self.manager = KernelManager(kernel_name="python3")
            self.manager.start_kernel(cwd=str(folder), env={**os.environ, **(env or {})}, **how)
            self.client = self.manager.client()
            self.client.start_channels()
            try:
                # With an end: the heartbeat of a kernel that is not ours beats, too.
                self.client.wait_for_ready(timeout=50)
                break
            except BaseException as error:
                self.stop()
                # Its ports were free when they were chosen; with tests side by side another program
                # may have been quicker.
                if not left or not isinstance(error, RuntimeError):
                    raise
        self.messages: list[str] = []
        self.prompts: list[dict[str, Any]] = []
        self.sent, self.running = "", False

    def run(
        self, code: str, answers: list[str] | None = None, timeout: float = 60
    ) -> list[dict[str, Any]]:
        """Run `code`; prompts get `answers` in turn (None: stdin is not allowed, as in
        nbconvert)."""
        outputs = []
        for message in self.watch(code, answers, timeout):
            if self.ended(message):
                return outputs
            if self.mine(message) and message["msg_type"] in (
                "stream",
                "execute_result",
                "display_data",
                "error",
            ):
                outputs.append({"output_type": message["msg_type"], **message["content"]})
        raise AssertionError("watch() ends by an error only")

    def watch(
        self, code: str, answers: list[str] | None = None, timeout: float = 60
    ) -> Iterator[Message]:
        """Send `code`; gives each message on iopub as it comes, until the caller has seen enough.
        Prompts as in `run`."""
        self.settle()
        self.sent, self.running = self.client.execute(code, allow_stdin=answers is not None), True
        yield from self._arriving(timeout, answers)

    def mine(self, message: Message) -> bool:
        """Whether `message` is of the cell that was sent last."""
        return bool(message["parent_header"].get("msg_id") == self.sent)

    def ended(self, message: Message) -> bool:
        """Whether `message` says that the cell that was sent last has ended; its reply is taken
        then."""
        idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        if not idle or not self.mine(message):
            return False
        self.reply(self.sent)
        self.running = False
        return True

    def settle(self) -> None:
        """Interrupt the cell that is still running, if any; a kernel that cannot be interrupted is
        killed."""
        if self.running:
            self.manager.interrupt_kernel()
            try:
                any(self.ended(message) for message in self._arriving(10))
            except TimeoutError:
                self.manager.shutdown_kernel(now=True)
                raise
        while self.client.stdin_channel.msg_ready():
            self.client.get_stdin_msg(timeout=1)  # a prompt that nobody waits for any more

    def _arriving(self, timeout: float, answers: list[str] | None = None) -> Iterator[Message]:
        """The messages on iopub, as they come."""
        client, left, end = self.client, list(answers or []), time.monotonic() + timeout
        poller = zmq.Poller()
        poller.register(client.iopub_channel.socket, zmq.POLLIN)
        if answers is not None:
            poller.register(client.stdin_channel.socket, zmq.POLLIN)
        while time.monotonic() < end:
            ready = dict(poller.poll(500))
            if not ready and not self.manager.is_alive():
                raise RuntimeError("The kernel has died.")
            if client.stdin_channel.socket in ready:
                prompt = client.get_stdin_msg(timeout=1)
                self.prompts.append(prompt["content"])
                client.input(left.pop(0))
            if client.iopub_channel.socket in ready:
                message = client.get_iopub_msg(timeout=1)
                self.messages.append(json.dumps(message, default=str))
                yield message
        raise TimeoutError(f"the cell did not end in {timeout} s")

    def reply(self, sent: str) -> dict[str, Any]:
        """The content of the reply to the message `sent`; a kernel that starts slowly answers its
        first greetings late."""
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == sent:
                return dict(message["content"])

    def text(self, code: str, answers: list[str] | None = None) -> str:
        """What a person would read under the cell."""
        return "".join(
            o.get("text")
            or "\n".join(o.get("traceback", []))
            or str(o.get("data", {}).get("text/plain", ""))
            for o in self.run(code, answers)
        )

    def stop(self) -> None:
        """End it as JupyterLab does: by a request first, so that it can write down what was
        covered."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
