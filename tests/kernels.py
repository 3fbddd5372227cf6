"""A real ipykernel for tests: run cells, answer its prompts, keep every message it sends."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager


class Kernel:
    """`run` gives a cell's outputs; `messages` holds all that came on iopub and stdin, as JSON text."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, debug: Path | None = None) -> None:
        """`debug`: the kernel runs with --debug, and writes what it logs there."""
        how: dict[str, Any] = {} if debug is None else {"extra_arguments": ["--debug"], "stderr": debug.open("w")}
        for left in (2, 1, 0):
            self.manager = KernelManager(kernel_name="python3")
            self.manager.start_kernel(cwd=str(folder), env={**os.environ, **(env or {})}, **how)
            self.client = self.manager.client()
            self.client.start_channels()
            try:
                self.client.wait_for_ready(timeout=60)
                break
            except RuntimeError:
                # Its ports were free when they were chosen; with tests side by side another program may have been quicker.
                self.stop()
                if not left:
                    raise
        self.messages: list[str] = []
        self.prompts: list[dict[str, Any]] = []

    def run(self, code: str, answers: list[str] | None = None, timeout: float = 60) -> list[dict[str, Any]]:
        """Run `code`; prompts get `answers` in turn (None: stdin is not allowed, as in nbconvert)."""
        client, outputs, left = self.client, [], list(answers or [])
        sent = client.execute(code, allow_stdin=answers is not None, store_history=True)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if answers is not None and client.stdin_channel.msg_ready():
                prompt = client.get_stdin_msg(timeout=1)
                self.prompts.append(prompt["content"])
                client.input(left.pop(0))
            if not client.iopub_channel.msg_ready():
                time.sleep(0.005)
                continue
            message = client.get_iopub_msg(timeout=1)
            self.messages.append(json.dumps(message, default=str))
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                self.reply(sent)
                return outputs
            if message["msg_type"] in ("stream", "execute_result", "display_data", "error"):
                outputs.append({"output_type": message["msg_type"], **message["content"]})
        raise TimeoutError(f"the cell did not end in {timeout} s: {code}")

    def reply(self, sent: str) -> dict[str, Any]:
        """The content of the reply to the message `sent`; a kernel that starts slowly answers its first greetings late."""
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == sent:
                return dict(message["content"])

    def text(self, code: str, answers: list[str] | None = None) -> str:
        """What a person would read under the cell."""
        return "".join(
            o.get("text") or "\n".join(o.get("traceback", [])) or str(o.get("data", {}).get("text/plain", ""))
            for o in self.run(code, answers)
        )

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
