"""What is typed leaves the page sealed: its own function, run by node, against the kernel's."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import Kernel
from test_panel import drive, send
from test_secrets import leaks

from labauth_nb import InvalidInput
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.masking import Secret
from labauth_nb.notebook import panel, widget
from labauth_nb.notebook.seals import Seals
from labauth_nb.sandbox import Lab

PAGE = Path(__file__).parent.parent / "labauth_nb" / "notebook" / "panel.js"
NODE = r"""
import { readFileSync } from "node:fs";
const text = readFileSync(process.argv[1], "utf8");
const page = await import(`data:text/javascript,${encodeURIComponent(text)}`);
const sealed = JSON.parse(readFileSync(0, "utf8")).map(async ([key, typed, message]) => ({
  ...message, sealed: await page.seal(key, typed, message),
}));
console.log(JSON.stringify(await Promise.all(sealed)));
"""
CANARY = "kanari/typed+secret=0001"
TYPED = {"fields": {"tenant": "acme", "client_secret": CANARY}}
SUBMIT = {"type": "submit", "method": "client", "remember": ""}
UNREADABLE, USED = "cannot decrypt what this page sent", "one-time key that the kernel does not"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def by_page(*asked: tuple[Any, Any, dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that the page sends, for (the kernel's key, what was typed, the rest)."""
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE, str(PAGE)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        (SUBMIT, TYPED),
        ({"type": "submit", "method": "password", "remember": "credentials"}, {"fields": {}}),
        ({"type": "answer"}, {"text": "http://127.0.0.1/?code=kanari&state=ü"}),
        ({"type": "answer", "name": 'ünï"\\\u2028\x7f\n€𝔘', "number": 7}, {"text": ""}),
        (SUBMIT, {"fields": {"key": "-----BEGIN KEY-----\n" + "ab+/" * 30_000, "ü": "€𝔘\u0000"}}),
    ],
    ids=["form", "nothing typed", "paste", "odd names", "long"],
)
def test_what_the_page_seals_opens(message: dict[str, Any], typed: dict[str, Any]) -> None:
    """What the page has sealed comes out as it was typed, all of it as `Secret`; what stood beside
    it unsealed is ignored."""
    seals = Seals()
    (sent,) = by_page((seals.state(), typed, message))
    found = seals.opened({**sent, "fields": {"client_secret": "unsealed"}, "tenant": "unsealed"})
    assert found == {**message, **typed}
    values = [*found.get("fields", {}).values(), *([found["text"]] if "text" in found else [])]
    assert all(isinstance(value, Secret) for value in values)


def test_without_a_seal() -> None:
    """A message that is not sealed comes back as it is."""
    assert Seals().opened({**SUBMIT, **TYPED}) == {**SUBMIT, **TYPED}


def test_what_is_sealed_says_nothing() -> None:
    """A sealed message holds no spelling of what was typed, and its length does not tell how much
    that was; the same text looks different each time."""
    seals = [Seals() for _ in range(3)]
    texts = (CANARY, CANARY, "x")
    asked = [
        (each.state(), {"fields": {"client_secret": text}}, SUBMIT)
        for each, text in zip(seals, texts, strict=True)
    ]
    sent = by_page(*asked, asked[0])
    assert leaks([CANARY], json.dumps(sent)) == []
    assert len({len(json.dumps(each)) for each in sent}) == 1
    for part in ("key", "iv", "text"):
        assert len({each["sealed"][part] for each in sent}) == 4
    assert set(sent[0]) == {*SUBMIT, "sealed"}
    assert sent[0]["sealed"]["id"] == asked[0][0]["id"]  # type: ignore[index]


def test_a_key_works_once() -> None:
    """A key stays until it is used, opens one message, and the next one has another; a message
    that comes twice, or names a key of another panel, is refused with what to do."""
    seals, other = Seals(), Seals()
    key = seals.state()
    assert key == seals.state()
    assert key is not None
    assert len(base64.b64decode(key["key"])) == 65
    (sent,) = by_page((key, TYPED, SUBMIT))
    with pytest.raises(InvalidInput, match=f"{USED}.*Type it again"):
        other.opened(sent)
    assert seals.opened(sent)["fields"] == TYPED["fields"]
    for _ in range(2):
        with pytest.raises(InvalidInput, match=f"{USED}.*Type it again"):
            seals.opened(sent)
        after = seals.state()
        assert after is not None
        assert after["id"] != key["id"]
        assert after["key"] != key["key"]
    (sent,) = by_page((after, TYPED, SUBMIT))
    assert seals.opened(sent)["fields"] == TYPED["fields"]


def flipped(text: str) -> str:
    """`text`, in base64, with its last byte's lowest bit changed."""
    raw = base64.b64decode(text)
    return base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()


def public(seals: Seals) -> str:
    """The public key that `seals` gives to its page."""
    state = seals.state()
    assert state is not None
    return state["key"]


CHANGES: dict[str, Any] = {
    **{f"its {part}": {"sealed": {part: flipped}} for part in ("key", "iv", "text")},
    "another key of the page": {"sealed": {"key": lambda _: public(Seals())}},
    "cut": {"sealed": {"text": lambda text: text[:40]}},
    **{f"its {part} empty": {"sealed": {part: lambda _: ""}} for part in ("key", "iv", "text")},
    **{f"no {part}": {"sealed": {part: lambda _: None}} for part in ("key", "iv", "text")},
    "no base64": {"sealed": {"text": lambda text: f"*{text}"}},
    "no ASCII": {"sealed": {"iv": lambda _: "ü" * 16}},
    "a short IV": {"sealed": {"iv": lambda _: "AAAAAAAAAAA="}},
    "no point": {"sealed": {"key": lambda _: base64.b64encode(b"\x04" + b"\x01" * 64).decode()}},
    "infinity": {"sealed": {"key": lambda _: "AA=="}},
    "its type": {"type": "answer"},
    "its method": {"method": "password"},
    "its remember": {"remember": "credentials"},
    "a name": {"name": "other"},
    "a number": {"number": 1},
    "half a letter": {"method": "\ud800"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_was_changed_does_not_open(change: dict[str, Any]) -> None:
    """A sealed text that was changed, or stands in another message, is refused in one message; its
    key is used up, and no frame of the error holds what was typed."""
    seals = Seals()
    key = seals.state()
    (sent,) = by_page((key, TYPED, SUBMIT))
    parts = {n: make(sent["sealed"][n]) for n, make in change.get("sealed", {}).items()}
    spoiled = {**sent, **change, "sealed": {**sent["sealed"], **parts}}
    with pytest.raises(InvalidInput, match=UNREADABLE) as caught:
        seals.opened(spoiled)
    assert caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert leaks([CANARY], "".join(shown.format())) == []
    with pytest.raises(InvalidInput, match=USED):
        seals.opened(sent)
    assert seals.state() != key


ODD = [None, 3, "x", [CANARY], {}, {"fields": [CANARY]}, {"text": {"a": CANARY}}]


def test_what_no_page_types() -> None:
    """What opens but is neither fields nor a text is refused as well; a field that is no text is
    left out."""
    seals = [Seals() for _ in ODD]
    sent = by_page(*((s.state(), typed, SUBMIT) for s, typed in zip(seals, ODD, strict=True)))
    for each, message in zip(seals, sent, strict=True):
        with pytest.raises(InvalidInput, match=UNREADABLE) as caught:
            each.opened(message)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert leaks([CANARY], "".join(shown.format())) == []
    last = Seals()
    (message,) = by_page((last.state(), {"fields": {"a": "b", "c": 3}, "more": 1}, SUBMIT))
    assert last.opened(message) == {**SUBMIT, "fields": {"a": "b"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    sealed=JSON, named=st.booleans(), parts=st.dictionaries(st.sampled_from(["key", "iv"]), JSON)
)
def test_what_is_no_seal(sealed: Any, named: bool, parts: dict[str, Any]) -> None:
    """Whatever else a message has as its seal is refused with a message, and nothing else
    happens."""
    seals = Seals()
    key = seals.state()
    if named:
        sealed = {"text": "", **parts, "id": key and key["id"]}
    if sealed is None:
        return
    with pytest.raises(InvalidInput, match=UNREADABLE if named else USED):
        seals.opened({**SUBMIT, "sealed": sealed})


def test_two_at_once() -> None:
    """Of two messages with one key that come at the same time, one is opened."""
    seals = Seals()
    (sent,) = by_page((seals.state(), TYPED, SUBMIT))
    found: list[bool] = []
    ready = threading.Barrier(8)

    def opens() -> None:
        ready.wait()
        try:
            found.append("fields" in seals.opened(sent))
        except InvalidInput:
            found.append(False)

    threads = [threading.Thread(target=opens) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 7 + [True]


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch) -> panel.LoginPanel:
    """A panel whose page is the test."""
    form = panel.LoginPanel(plan(Wish("qbench", "client", "sandbox")), True)
    monkeypatch.setattr(widget, "started", lambda work, *args, **_: work(*args) or threading)
    return form


def test_a_panel_opens_what_its_page_sealed(lab: Lab, form: panel.LoginPanel) -> None:
    """A panel has a key while it asks for something, and signs in with what was sealed; a message
    that comes again is refused in the form, with a new key. Signed in, it has none."""
    key = form.state()["seal"]
    secret = {"client_id": "sandbox-qbench-client", "client_secret": CANARY}
    wrong, other = by_page((key, {"fields": secret}, SUBMIT), (key, TYPED, SUBMIT))
    form.received(dict(wrong))
    assert str(form.error).startswith("QBench responded with 400 invalid_grant")
    for message in (wrong, other):
        form.received(dict(message))
        assert USED in form.state()["error"]
        assert form.state()["form"]
    again = form.state()["seal"]
    assert again != key
    secret["client_secret"] = "sandbox-qbench-client-secret-0001"
    (right,) = by_page((again, {"fields": secret}, SUBMIT))
    form.received(right)
    state = form.state()
    assert (state["login"] and state["login"]["name"], state["error"]) == ("qbench", "")
    assert (state["form"], state["seal"]) == (None, None)
    assert leaks([CANARY, *secret.values()], repr(right)) == []
    form.login.logout()  # type: ignore[union-attr]


def test_a_paste_is_sealed_too(lab: Lab) -> None:
    """What is pasted to a browser sign-in is opened there; a seal that does not open is said
    there, and the sign-in goes on."""
    form = panel.LoginPanel(plan(Wish("dnanexus", "browser", "sandbox")), form=True)
    form.greeted()
    while form.attempt is None:
        threading.Event().wait(0.01)
    landed = lab.visit(form.attempt.url)
    key = form.state()["seal"]
    (sent,) = by_page((key, {"text": landed}, {"type": "answer"}))
    form.heard({**sent, "type": "cancel"})
    assert UNREADABLE in form.state()["error"]
    assert form.state()["attempt"]
    (sent,) = by_page((form.state()["seal"], {"text": landed}, {"type": "answer"}))
    form.heard(sent)
    assert form._answered.wait(20)
    assert form.login is not None
    assert form.state()["error"] == ""
    form.login.logout()


def test_without_cryptography(
    lab: Lab, form: panel.LoginPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package `cryptography` the page gets no key, what it sends as it is signs in, and
    a seal is refused."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert form.state()["form"]
    assert form.state()["seal"] is None
    form.heard({**SUBMIT, "sealed": {"id": "", "key": "", "iv": "", "text": ""}})
    assert USED in form.state()["error"]
    right = {"client_id": "sandbox-qbench-client"}
    right["client_secret"] = "sandbox-qbench-client-secret-0001"
    form.heard({**SUBMIT, "fields": right})
    assert form.login is not None
    form.login.logout()


BARE = """
import logging
from labauth_nb.notebook import widget
widget._PageFilter.filter = lambda self, record: True
widget._without_what_was_typed = dict
logging.basicConfig(level=logging.DEBUG, filename='all.log', force=True)
"""
KEPT = (
    "import gc; print([o for o in gc.get_objects() if isinstance(o, dict) and"
    " o.get('msg_type') == 'comm_msg'], get_ipython().get_parent())"
)


@pytest.mark.slow
def test_a_kernel_sees_ciphertext(tmp_path: Path) -> None:
    """With nothing filtered, every logger at DEBUG and the kernel at --debug, no log, no message
    and no parent that the kernel keeps holds what was typed; it signs in."""
    env = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    kernel = Kernel(tmp_path, env, debug=tmp_path / "kernel.log")
    good = "sandbox-qbench-client-secret-0001"
    tries, states = [CANARY, good], []
    try:
        kernel.run("%load_ext labauth_nb\nfrom labauth_nb.sandbox import running\nlab_ = running()")
        kernel.run(BARE)
        origin = kernel.text("print(lab_.origin('qbench'), end='')")

        def page(comm: str, state: dict[str, Any] | None) -> bool:
            if state is None:
                send(kernel, comm, {"type": "hello"})
                return False
            states.append(state)
            if tries and state["form"] and not state["busy"]:
                typed = {"tenant": origin, "client_id": "sandbox-qbench-client"}
                typed["client_secret"] = tries.pop(0)
                (sent,) = by_page((state["seal"], {"fields": typed}, SUBMIT))
                send(kernel, comm, sent)
            return bool(state["login"] and not state["form"])

        drive(kernel, "%labauth login qbench --as sealed --no-wait", page)
        parent = kernel.text(KEPT)
        logs = [(tmp_path / name).read_text() for name in ("all.log", "kernel.log")]
    finally:
        kernel.stop()
    keys = {state["seal"]["key"] for state in states if state["seal"]}
    assert len(keys) >= 2
    assert states[-1]["seal"] is None
    # the search would find it: the messages themselves are there
    assert all("'type': 'submit'" in log and "'sealed': {'id'" in log for log in logs)
    assert "'sealed': {'id'" in parent
    assert leaks([CANARY, good], *logs, parent, *kernel.messages) == []
