"""Remembering: one contract over both stores, with real keyring backends, real processes and kill
-9."""

from __future__ import annotations

import base64
import configparser
import importlib.util
import json
import os
import pickle
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.ultratb import VerboseTB

from labauth_nb.credentials import files, keyrings, stores
from labauth_nb.credentials.entries import CREDENTIALS, REFRESH_TOKEN, Entry, dumps, loads
from labauth_nb.credentials.stores import (
    FILE,
    KEYRING,
    STORES,
    EntryHead,
    EntryRef,
    forget_all,
    heads,
    unavailable,
)
from labauth_nb.errors import InvalidInput, StoreUnavailable
from labauth_nb.masking import Fields, Secret
from labauth_nb.tokens.token import Token

pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keyring", "filelock", "platformdirs"))),
        reason="needs [keyring]",
    ),
    pytest.mark.skipif(
        os.name == "nt",
        reason="no variable moves Windows' data folder, and the user's own is not touched",
    ),
]
POSIX = pytest.mark.skipif(os.name != "posix", reason="permission bits and kill -9 are POSIX's")
ALT = "keyrings.alt.file.PlaintextKeyring"
CANARY = "canary-4f1b"
KEY = ("qbench", "acme", "qbench")


def entry(
    mark: str = CANARY, name: str = "qbench", remember: str = CREDENTIALS, **more: object
) -> Entry:
    """An entry with every part, each of its secrets beginning with `mark`."""
    access, refresh = Secret(f"{mark}-access"), Secret(f"{mark}-refresh")
    made = Entry(
        *("qbench", "acme", name, "token", remember),
        fields=Fields(client_id="lab-1", client_secret=Secret(f"{mark}-secret")),
        token=Token(
            access, Secret(f"Bearer {access}"), 1.5, 3601.5, refresh, Secret(f"{mark}-jid"), "read"
        ),
        sub="someone",
    )
    for field, value in more.items():
        setattr(made, field, value)
    return made


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder and a configuration folder of their own, and keyring as in a new process."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in (
        "PYTHON_KEYRING_BACKEND",
        "DBUS_SESSION_BUS_ADDRESS",
        "KEYRING_PROPERTY_FILE_PATH",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    return files.data_folder()


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real keyring backend that the user chose, outside of the data folder; for this process and
    those it starts."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", ALT)
    monkeypatch.setenv("KEYRING_PROPERTY_FILE_PATH", str(tmp_path / "ring" / "ring.cfg"))
    return tmp_path / "ring" / "ring.cfg"


def kept_in(plain: Path) -> str:
    """What that backend's file holds, out of its base64."""
    ring = configparser.RawConfigParser()
    ring.read(plain)
    texts = [text for name in ring.sections() for text in ring[name].values()]
    return "".join(base64.b64decode(text).decode(errors="replace") for text in texts)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, plain: Path) -> str:
    """Each store."""
    return str(request.param)


HEAD = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_stores import *
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another kernel that runs `code`."""
    script = [sys.executable, "-c", HEAD + textwrap.dedent(code), *arguments]
    return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(child: subprocess.Popen[str]) -> str:
    """What it printed, once it has ended well."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


def texts(folder: Path) -> str:
    """Everything in every file below `folder`, and the files' names."""
    return "".join(
        f"{path}\n{path.read_text('utf-8', 'replace')}\n"
        for path in folder.rglob("*")
        if path.is_file()
    )


# The contract


@pytest.mark.slow
def test_what_was_remembered_comes_back_in_another_process(store: str) -> None:
    """The next kernel reads exactly what this one wrote, and the secrets are masked again."""
    written = entry(pending=True)
    EntryRef(store, *KEY).write(written)
    found = EntryRef(store, *KEY).read()
    assert found == written
    assert found is not written
    for secret in (
        found.fields["client_secret"],
        found.token.refresh_token,
        found.token.cookie,
        found.token.access_token,
        found.token.header,
    ):
        assert isinstance(secret, Secret)
    assert type(found.fields["client_id"]) is type(found.sub) is type(found.id) is str
    code = (
        "found = EntryRef(sys.argv[1], *KEY).read(); print(found == entry(id=found.id,"
        " pending=True), found.id)"
    )
    assert done(start(code, store)).split() == ["True", written.id]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(), st.tuples(st.text(), st.booleans())),
    st.none() | st.text(),
    st.none() | st.text(),
    st.tuples(
        st.text(),
        st.text(),
        st.none() | st.floats(0, 1e11),
        st.none() | st.text(),
        st.none() | st.text(),
    ),
)
def test_any_entry_survives_the_way_through_json(
    given_: dict[str, tuple[str, bool]],
    refresh: str | None,
    sub: str | None,
    parts: tuple[str, str, float | None, str, str],
) -> None:
    """Whatever is in the fields and tokens, also empty, None, the same twice or outside of ASCII,
    comes back."""
    access, scheme, expires, other, jid = parts
    veil = lambda text: None if text is None else Secret(text)  # noqa: E731
    for header in (scheme + access, access + scheme):
        for inner in (refresh, other):
            written = entry(sub=sub)
            written.fields = Fields(
                {n: Secret(v) if hidden else v for n, (v, hidden) in given_.items()}
            )
            written.token = Token(
                Secret(access), Secret(header), 1.0, expires, veil(inner), veil(jid), sub
            )
            found = loads(dumps(written))
            assert found == written
            assert found.fields.secrets() == written.fields.secrets()


def test_what_was_forgotten_is_gone(store: str, data: Path, plain: Path) -> None:
    """Forgetting removes the entry and its row, says whether there was one, and may be
    done twice."""
    ref = EntryRef(store, *KEY)
    assert ref.forget() is False
    ref.write(entry())
    assert (CANARY in kept_in(plain)) is (store == KEYRING)
    assert ref.forget() is True
    assert ref.read() is None
    assert heads() == []
    assert ref.forget() is False
    assert CANARY not in texts(data.parent)
    assert CANARY not in kept_in(plain)


def test_what_a_killed_writer_left_is_forgotten_too(data: Path) -> None:
    """The half-written file beside the entry's own has secrets as well."""
    ref = EntryRef(FILE, *KEY)
    ref.write(entry())
    (path,) = (data / "entries").iterdir()
    path.with_name(f"{path.name}.tmp").write_text(CANARY)
    ref.forget()
    assert CANARY not in texts(data)


def test_an_entry_deleted_by_hand_is_forgotten_without_complaint(store: str, data: Path) -> None:
    """Whoever removed it in the keyring's own window, or its file, can still log out."""
    ref = EntryRef(store, *KEY)
    ref.write(entry())
    stores.BACKENDS[store].delete(ref.key)
    assert ref.read() is None
    assert ref.forget() is True
    assert heads() == []


def test_the_index_tells_what_is_remembered(store: str) -> None:
    """Provider, tenant, name, method, what is kept and where, in the order of remembering; found by
    provider and name."""
    EntryRef(store, *KEY).write(entry())
    EntryRef(store, "qbench", "acme", "other").write(entry(name="other", remember=REFRESH_TOKEN))
    EntryRef(store, *KEY).write(entry("again"))
    first, second = heads()
    assert first == EntryHead(*KEY, method="token", remember=CREDENTIALS, store=store)
    assert (second.name, second.remember) == ("other", REFRESH_TOKEN)
    assert heads("qbench", "other") == heads(name="other") == [second]
    assert heads("benchling") == []
    assert first.ref.read().token.refresh_token == "again-refresh"


def test_a_login_is_remembered_in_one_place_only(store: str) -> None:
    """Remembering it in the other store forgets it in the first: two copies of one refresh token
    would burn it."""
    here, there = EntryRef(store, *KEY), EntryRef(FILE if store == KEYRING else KEYRING, *KEY)
    here.write(entry("old"))
    there.write(entry("new"))
    assert here.read() is None
    assert here.forget() is False
    assert stores.BACKENDS[store].get(here.key) is None
    assert there.read().token.refresh_token == "new-refresh"
    assert [head.store for head in heads()] == [there.store]
    assert not heads()[0].also


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '"x"',
        "\x00\xff",
        "[" * 100_000,
        '{"version":1}',
        dumps(entry())[:-40],
        dumps(entry()).replace('"version":1', '"version":2'),
        dumps(entry()).replace('"credentials"', '"everything"'),
        dumps(entry()).replace('"issued_at":1.5', '"issued_at":"soon"'),
        dumps(entry()).replace('"lab-1"', "17"),
        dumps(entry()).replace('"acme"', '"elsewhere"'),
    ],
    ids=map(str, range(15)),  # a text holds a random id: two workers must agree on the names
)
def test_an_entry_that_cannot_be_read_is_absent(store: str, text: str) -> None:
    """Torn, foreign, from another version or of another login: as if nothing were there, and
    nothing else is touched."""
    ref, other = EntryRef(store, *KEY), EntryRef(store, "qbench", "acme", "other")
    other.write(entry(name="other"))
    ref.write(entry())
    stores.BACKENDS[store].put(ref.key, Secret(text))
    assert ref.read() is None
    assert other.read() is not None
    ref.write(entry("new"))
    assert ref.read().token.refresh_token == "new-refresh"


def test_forget_all_leaves_nothing(store: str, data: Path, plain: Path) -> None:
    """`--all --forget`: every login in every store, and leftovers of killed writers; at most empty
    lock files stay."""
    for name, place in (("one", store), ("two", FILE), ("three", KEYRING)):
        EntryRef(place, "qbench", "acme", name).write(entry(name=name))
    (data / "entries" / "leftover.json.tmp").write_text(CANARY)
    (data / "heads" / "leftover.json.tmp").write_text("{")
    assert [head.name for head in forget_all()] == ["one", "two", "three"]
    assert {path.parent.name for path in data.rglob("*") if path.is_file()} <= {"locks"}
    assert not any(path.read_bytes() for path in data.rglob("*.lock"))
    assert CANARY not in kept_in(plain)
    assert forget_all() == []


def test_forget_all_goes_on_past_a_store_that_fails(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be forgotten is; the rest is named, and still listed for the next attempt."""
    EntryRef(KEYRING, "qbench", "acme", "one").write(entry(name="one"))
    EntryRef(FILE, "qbench", "acme", "two").write(entry(name="two"))
    monkeypatch.setattr("keyrings.alt.file.PlaintextKeyring.delete_password", lambda *_: 1 / 0)
    with pytest.raises(
        StoreUnavailable,
        match=r"^Forgotten: 1\. Still remembered: one\. The keyring .*ZeroDivisionError",
    ):
        forget_all()
    assert [head.name for head in heads()] == ["one"]
    monkeypatch.undo()


def test_a_failed_write_changes_nothing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was remembered before is still there, and what never was is not listed."""
    EntryRef(store, *KEY).write(entry("old"))

    def fails(*_: object) -> None:
        raise StoreUnavailable("no")

    with monkeypatch.context() as broken:
        broken.setattr(stores.BACKENDS[store], "put", fails)
        with pytest.raises(StoreUnavailable):
            EntryRef(store, *KEY).write(entry("new", remember=REFRESH_TOKEN))
        with pytest.raises(StoreUnavailable):
            EntryRef(store, "qbench", "acme", "other").write(entry(name="other"))
    assert EntryRef(store, *KEY).read().token.refresh_token == "old-refresh"
    assert [(head.name, head.remember) for head in heads()] == [("qbench", CREDENTIALS)]


# Whoever never remembered anything


@pytest.mark.parametrize("package", ["keyring", "filelock", "platformdirs"])
def test_without_the_extra_the_command_to_install_it_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package is one message with the pip command; asking what is remembered goes on as
    before."""
    monkeypatch.setitem(sys.modules, package, None)
    assert unavailable(KEYRING) == files.MISSING
    with pytest.raises(StoreUnavailable, match=r"pip install 'labauth-nb\[keyring\]'$"):
        EntryRef(KEYRING, *KEY).write(entry())
    assert heads() == []
    assert EntryRef(KEYRING, *KEY).forget() is False


# Which keyring


@pytest.mark.parametrize(
    "backend", ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring"]
)
def test_without_a_keyring_nothing_weaker_is_offered_silently(
    backend: str, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """No backend: a message that names the file store as a choice; nothing is written anywhere."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    assert unavailable(KEYRING) == keyrings.NO_KEYRING
    assert unavailable(FILE) == ""
    with pytest.raises(StoreUnavailable, match=r"no backend was found.*--store file"):
        EntryRef(KEYRING, *KEY).write(entry())
    assert heads() == []
    assert CANARY not in texts(data)


def test_a_plain_text_keyring_that_nobody_chose_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """keyrings.alt is installed with many packages: found by itself, it is not a place
    for secrets."""
    import keyring
    from keyring.backend import get_all_keyring
    from keyrings.alt.file import PlaintextKeyring

    found = next(ring for ring in get_all_keyring() if type(ring) is PlaintextKeyring)
    monkeypatch.setattr(keyring.core, "_keyring_backend", found)
    assert re.search(r"does not protect what it keeps.*--store file$", unavailable(KEYRING))
    with pytest.raises(StoreUnavailable, match="does not protect"):
        EntryRef(KEYRING, *KEY).write(entry())
    assert heads() == []


@pytest.mark.slow
def test_a_plain_text_keyring_that_the_user_chose_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen by PYTHON_KEYRING_BACKEND, by keyring's own configuration file or in the notebook."""
    code = "print(unavailable(KEYRING) or 'yes')"
    config = tmp_path / "config" / "python_keyring" / "keyringrc.cfg"
    in_the_notebook = (
        f"import keyring.core; keyring.set_keyring(keyring.core.load_keyring({ALT!r}))\n"
    )
    assert done(start(in_the_notebook + code)).strip() == "yes"
    config.parent.mkdir(parents=True)
    config.write_text(f"[backend]\ndefault-keyring={ALT}\n")
    assert done(start(code)).strip() == "yes"
    config.unlink()
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", ALT)
    assert done(start(code)).strip() == "yes"


def test_of_a_chain_only_a_recommended_member_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keyring's chainer falls back to whatever comes next; here nothing falls back to
    plain text."""
    import keyring
    from keyring.backend import KeyringBackend
    from keyring.backends.chainer import ChainerBackend
    from keyrings.alt.file import PlaintextKeyring

    class Strong(PlaintextKeyring):
        priority = 5

    chain: list[KeyringBackend] = [PlaintextKeyring()]
    monkeypatch.setattr(ChainerBackend, "backends", chain)
    keyring.set_keyring(ChainerBackend())
    assert unavailable(KEYRING) == keyrings.NO_KEYRING
    chain.insert(0, Strong())
    assert unavailable(KEYRING) == ""
    assert keyrings.chosen_keyring() is chain[0]
    Strong.viable = False  # keyring's registry outlives this test


@pytest.mark.parametrize("backend", ["nowhere.Keyring", "json.Keyring", "nonsense", ""])
def test_a_keyring_that_is_set_up_wrongly_is_a_sentence(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that cannot be loaded is never a traceback."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    assert "PYTHON_KEYRING_BACKEND" in unavailable(KEYRING)


def test_an_unknown_store_is_no_store() -> None:
    """A word that is neither store lists the two."""
    with pytest.raises(
        InvalidInput, match=r"There is no store 'cloud'\. Choose one of: keyring, file"
    ):
        unavailable("cloud")


@POSIX
def test_a_data_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, store: str) -> None:
    """Where a file stands in the way, both stores say so."""
    (tmp_path / "data").write_text("in the way")
    assert "cannot be written to" in unavailable(store)
    with pytest.raises(StoreUnavailable, match="Nothing can be locked"):
        EntryRef(store, *KEY).write(entry())
    assert heads() == []


# No secret shows


class Chatty(Exception):
    """A backend's error that repeats what it was given."""


@pytest.mark.parametrize("action", ["write", "read", "forget"])
def test_an_error_of_the_keyring_is_one_sentence_without_secrets(
    action: str, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the message, not in a traceback with all locals, not in a pickle, whatever the backend
    says."""
    ref = EntryRef(KEYRING, *KEY)
    ref.write(entry())

    def fails(self: object, service: str, user: str, password: str = CANARY) -> None:
        raise Chatty(f"cannot do {password!s} {CANARY}")

    for name in ("set_password", "get_password", "delete_password"):
        monkeypatch.setattr(f"{ALT}.{name}", fails)
    with pytest.raises(StoreUnavailable) as raised:
        ref.write(entry()) if action == "write" else getattr(ref, action)()
    shown = "".join(traceback.format_exception(raised.value))
    verbose = VerboseTB(include_vars=True)
    shown += "\n".join(verbose.structured_traceback(raised.type, raised.value, raised.tb))
    assert "Chatty" in str(raised.value)
    assert CANARY not in shown
    assert CANARY.encode() not in pickle.dumps(raised.value)


def test_too_long_for_windows_is_said(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' keyring keeps 1280 characters: a write that fails tells how many there were."""
    monkeypatch.setattr(f"{ALT}.set_password", lambda *_: 1 / 0)
    monkeypatch.setattr(keyrings, "_WINDOWS", True)
    with pytest.raises(StoreUnavailable, match=r"It has 19\d\d characters; Windows keeps 1280"):
        EntryRef(KEYRING, *KEY).write(entry(sub="j" * 1500))


def test_secrets_are_only_where_they_belong(store: str, data: Path, plain: Path) -> None:
    """With the keyring no file of ours has any; with the file store only the entry's own has. No
    repr, no pickle."""
    EntryRef(store, *KEY).write(entry())
    found = EntryRef(store, *KEY).read()
    assert found is not None
    for thing in (
        found,
        found.fields,
        found.token,
        heads(),
        EntryRef(store, *KEY),
        dumps(found),
        vars(found),
    ):
        assert CANARY not in repr(thing)
    for thing in (found, dumps(found)):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
    holders = {
        path.parent.name
        for path in data.rglob("*")
        if path.is_file() and CANARY in path.read_text()
    }
    assert holders == ({"entries"} if store == FILE else set())
    assert CANARY not in texts(data / "heads")
    assert set(found.secrets()) >= {
        f"{CANARY}-{part}" for part in ("secret", "access", "refresh", "jid")
    }


@POSIX
def test_files_are_for_their_owner_only(store: str, data: Path) -> None:
    """Folders 0700 and files 0600, whatever the umask and whatever they were before."""
    data.mkdir(parents=True, mode=0o755)
    before = os.umask(0)
    try:
        EntryRef(store, *KEY).write(entry())
    finally:
        os.umask(before)
    for path in [data, *data.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@POSIX
def test_a_file_is_never_readable_by_others_for_a_moment(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is created 0600, under another name, and only then filled and moved into its place."""
    modes: list[tuple[int, int]] = []
    fdopen = os.fdopen

    def watched(number: int, *args: object) -> object:
        modes.append((stat.S_IMODE(os.fstat(number).st_mode), os.fstat(number).st_size))
        return fdopen(number, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "fdopen", watched)
    before = os.umask(0)
    try:
        EntryRef(FILE, *KEY).write(entry())
    finally:
        os.umask(before)
    assert modes
    assert set(modes) == {(0o600, 0)}


@POSIX
def test_a_file_that_others_can_read_is_refused(data: Path) -> None:
    """As ssh does with a key; it can still be forgotten, or written again."""
    ref = EntryRef(FILE, *KEY)
    ref.write(entry())
    (path,) = (data / "entries").iterdir()
    path.chmod(0o644)
    with pytest.raises(StoreUnavailable, match="Others on this computer can read"):
        ref.read()
    ref.write(entry("new"))
    assert ref.read().token.refresh_token == "new-refresh"
    path.chmod(0o604)
    assert ref.forget() is True


# Many kernels

HOLD = """
with EntryRef(sys.argv[1], *KEY).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(store: str) -> Iterator[subprocess.Popen[str]]:
    """Another kernel that holds the lock."""
    child = start(HOLD, store)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_waiting_for_another_kernel_is_bounded(
    store: str, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After LOCK_SECONDS: one message that says who is waited for and what to do. Reading needs no
    lock."""
    busy = (
        "Another kernel has been renewing qbench of qbench (acme) for 0.3 s. Try again, and look"
        " whether the keyring waits for your password; if it stays so, restart that kernel."
    )
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=f"^{re.escape(busy)}$"):
        EntryRef(store, *KEY).write(entry())
    assert 0.3 <= time.monotonic() - began < 3
    assert EntryRef(store, *KEY).read() is None
    with EntryRef(store, "qbench", "acme", "other").locked():
        pass  # another login is not held up


@POSIX
def test_a_killed_kernel_lets_go(
    store: str, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 of the one who holds the lock frees it at once."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    monkeypatch.setattr(stores, "LOCK_SECONDS", 1.0)
    EntryRef(store, *KEY).write(entry())


def test_threads_of_one_kernel_exclude_each_other(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same thread may enter its own lock again, another thread may not, and
    afterwards it may."""
    ref, said = EntryRef(store, *KEY), []
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.2)

    def other() -> None:
        try:
            with EntryRef(store, *KEY).locked():
                said.append("in")
        except StoreUnavailable:
            said.append("out")

    for inside in (True, False):
        with ref.locked() if inside else threading.Lock():
            if inside:
                with ref.locked():
                    ref.write(entry())
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
    assert said == ["out", "in"]


def test_the_lock_is_freed_by_an_error(store: str) -> None:
    """What goes wrong under the lock does not keep it."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), EntryRef(store, *KEY).locked():
            1 / 0  # noqa: B018
    assert done(start("EntryRef(sys.argv[1], *KEY).write(entry())", store)) == ""


@pytest.mark.slow
def test_eight_kernels_lose_no_update(store: str) -> None:
    """8 processes that read, count and write under the lock 10 times each count to 80."""
    EntryRef(store, *KEY).write(entry(sub="0"))
    code = """
    ref = EntryRef(sys.argv[1], *KEY)
    for _ in range(10):
        with ref.locked():
            found = ref.read()
            found.sub = str(int(found.sub) + 1)
            ref.write(found)
    """
    for child in [start(code, store) for _ in range(8)]:
        done(child)
    assert EntryRef(store, *KEY).read().sub == "80"


@pytest.mark.slow
def test_kernels_with_different_logins_lose_neither(store: str) -> None:
    """4 processes remember and forget 6 logins each at once: the index and the store have exactly
    what stayed."""
    code = """
    store, mark = sys.argv[1:]
    for n in range(6):
        EntryRef(store, "qbench", "acme", mark + str(n)).write(entry(name=mark + str(n)))
    for n in range(0, 6, 2):
        assert EntryRef(store, "qbench", "acme", mark + str(n)).forget()
    """
    for child in [start(code, store, mark) for mark in "abcd"]:
        done(child)
    stayed = {f"{mark}{n}" for mark in "abcd" for n in (1, 3, 5)}
    assert {head.name for head in heads()} == stayed
    assert {head.name for head in heads() if head.ref.read()} == stayed


@pytest.mark.slow
def test_kernels_do_not_undo_each_others_keyring_items(plain: Path) -> None:
    """A backend that rewrites all items to write one (files, Windows): 4 processes with a login
    each never lose a write."""
    code = """
    ref = EntryRef(KEYRING, "qbench", "acme", sys.argv[1])
    for n in range(40):
        ref.write(entry(name=ref.name, sub=str(n)))
        assert ref.read().sub == str(n), n
    """
    for child in [start(code, mark) for mark in "abcd"]:
        done(child)
    assert [head.ref.read().sub for head in heads()] == ["39"] * 4


KILLS = """
import random
ref, kills = EntryRef(sys.argv[1], *KEY), int(sys.argv[2])

def numbered(n):
    made = entry(str(n), sub=str(n), id="one")
    made.fields["client_secret"] = Secret(f"{n}-secret" + "x" * int(sys.argv[3]))
    return made

ref.write(numbered(0))
last, most = 0, 0
for turn in range(kills):
    back, forth = os.pipe()
    child = os.fork()
    if not child:
        n = last
        while True:
            with ref.locked():
                n += 1
                ref.write(numbered(n))
            os.write(forth, f"{n}\\n".encode())
    os.close(forth)
    os.read(back, 1)  # it writes
    time.sleep(random.uniform(0, float(sys.argv[4])))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = b"0" + b"".join(iter(lambda: os.read(back, 65536), b""))
    os.close(back)
    with ref.locked():
        found = ref.read()
    assert found == numbered(int(found.sub))
    confirmed = [int(line) for line in told.split(b"\\n")[1:] if line]
    assert int(found.sub) >= max(confirmed, default=last + 1), (found.sub, confirmed)
    last = int(found.sub)
ref.write(numbered(last + 1))
assert [head.name for head in heads()] == ["qbench"]
print("whole", last)
"""


@pytest.mark.slow
@POSIX
def test_a_writer_killed_at_any_moment_leaves_a_whole_entry(data: Path) -> None:
    """Kill -9 at 30 random moments of writing: what is read is whole, never older than the last
    write that returned."""
    assert done(start(KILLS, FILE, "30", "60000", "0.02")).startswith("whole")
    EntryRef(FILE, *KEY).forget()
    assert list((data / "entries").iterdir()) == []


STEPS = """
import itertools
ref, there = EntryRef(sys.argv[1], *KEY), EntryRef(KEYRING if sys.argv[1] == FILE else FILE, *KEY)
other, data = EntryRef(sys.argv[1], "qbench", "acme", "other"), files.data_folder()
old, new = entry("old", id="one"), entry("new", id="two", remember=REFRESH_TOKEN)
ACTIONS = {
    "first": (lambda: None, lambda: ref.write(new)),
    "again": (lambda: ref.write(old), lambda: ref.write(new)),
    "move": (lambda: there.write(old), lambda: ref.write(new)),
    "forget": (lambda: ref.write(old), lambda: ref.forget()),
}
before, action = ACTIONS[sys.argv[2]]

def kept():
    return [where for where, backend in stores.BACKENDS.items() if backend.get(ref.key) is not None]

def dies(step):
    def each(of, name):
        real = getattr(of, name)
        def call(*arguments, **more):
            if next(steps) == step: os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **more)
            if next(steps) == step: os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(of, name, call)
    steps = itertools.count(1)
    for name in ("open", "fsync", "replace", "unlink"):
        each(os, name)
    for backend in stores.BACKENDS.values():
        each(backend, "put"), each(backend, "delete")

other.write(entry(name="other"))
for step in itertools.count(1):
    ref.forget() or there.forget()
    before()
    child = os.fork()
    if not child:
        dies(step)
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    listed = [head for head in heads() if head.name == "qbench"]
    found = listed[0].ref.read() if listed else None
    assert other.read() == entry(name="other", id=other.read().id), step
    assert found in ([old, new] if sys.argv[2] in ("again", "move") else [old, new, None]), step
    assert listed or not kept(), step  # no secret that is not listed
    if not status:
        break
    assert status == signal.SIGKILL, status
    action()  # as the next kernel does
    wanted = (None, []) if sys.argv[2] == "forget" else (new, [ref.store])
    assert (ref.read(), kept()) == wanted, step
    assert [head.also for head in heads() if head.name == "qbench"] in ([""], []), step
    ref.forget()
    left = texts(data / "entries") + texts(data / "heads")
    assert not kept() and "old-" not in left and "new-" not in left, step
print("steps", step)
"""


@POSIX
@pytest.mark.parametrize("action", ["first", "again", "move", "forget"])
def test_killed_at_every_step(store: str, action: str) -> None:
    """Kill -9 before and after each system call of writing, moving and forgetting: no login is
    lost, no secret is unlisted, and whoever comes next finds nothing to mend."""
    word, steps = done(start(STEPS, store, action)).split()
    assert word == "steps"
    assert int(steps) > 8


# Torn and foreign heads


@pytest.mark.parametrize("text", ["", "{}", "7", "[" * 100_000, "\x00\xff{", '{"store": "cloud"}'])
def test_a_head_that_cannot_be_read_hides_no_other(text: str, data: Path) -> None:
    """Torn, foreign, of a newer version or another login's: that one is not remembered, and may be
    again."""
    EntryRef(FILE, *KEY).write(entry())
    EntryRef(FILE, "qbench", "acme", "other").write(entry(name="other"))
    torn = data / "heads" / f"{EntryRef(FILE, *KEY).key.digest}.json"
    foreign = torn.with_stem("foreign")
    foreign.write_text(torn.read_text())
    torn.write_text(text)
    assert [head.name for head in heads()] == ["other"]
    assert EntryRef(FILE, *KEY).read() is None
    assert EntryRef(FILE, *KEY).forget() is False
    EntryRef(FILE, *KEY).write(entry("new"))
    assert [head.name for head in heads()] == ["other", "qbench"]
    assert len(forget_all()) == 2
    assert foreign.exists()


def test_the_index_of_an_earlier_version_is_read_once_more(store: str, data: Path) -> None:
    """What an earlier labauth-nb listed in one file gets its heads, in that order, and forgetting
    finds it."""
    refs = [EntryRef(store, "qbench", "acme", name) for name in ("two", "one")]
    for ref in refs:
        ref.write(entry(name=ref.name))
    rows = [
        {f: getattr(head, f) for f in ("provider", "tenant", "name", "method", "store")}
        for head in heads()
    ]
    (data / stores.INDEX).write_text(
        json.dumps([7, *({**row, "keeps": CREDENTIALS} for row in rows)])
    )
    shutil.rmtree(data / "heads")
    assert refs[0].read() is not None
    assert [head.ref for head in heads()] == refs
    assert not (data / stores.INDEX).exists()
    assert forget_all()
    assert heads() == []


# A real Secret Service

SESSION = (
    "printf '\\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; exec \"$@\""
)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("dbus-run-session") and shutil.which("gnome-keyring-daemon")),
    reason="needs dbus-run-session and gnome-keyring-daemon",
)
def test_the_operating_systems_own_keyring(data: Path) -> None:
    """GNOME's keyring, unlocked: read by another process, 8 kernels, 10 kills, forgotten; no file
    of ours has a secret."""
    code = """
    import keyring
    assert unavailable(KEYRING) == "", unavailable(KEYRING)
    assert keyrings.chosen_keyring().name == "SecretService Keyring"
    data = files.data_folder()
    test_what_was_remembered_comes_back_in_another_process(KEYRING)
    assert CANARY not in texts(data.parent)
    test_eight_kernels_lose_no_update(KEYRING)
    assert done(start(KILLS, KEYRING, "10", "0", "0.1")).startswith("whole")
    keyring.delete_password(keyrings.SERVICE, " ".join(KEY))
    assert EntryRef(KEYRING, *KEY).read() is None
    EntryRef(KEYRING, *KEY).write(entry())
    assert len(forget_all()) == 1 and not list((data / "entries").glob("*"))
    assert keyring.get_password(keyrings.SERVICE, " ".join(KEY)) is None
    print("kept")
    """
    script = [
        "dbus-run-session",
        "--",
        "sh",
        "-c",
        SESSION,
        "sh",
        sys.executable,
        "-c",
        HEAD + textwrap.dedent(code),
    ]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=180, check=False)
    assert ended.stdout == "kept\n", ended.stderr


def test_keyring_without_threads(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the keyring, which may wait for ever, is not asked."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StoreUnavailable, match=r"was not asked: no thread can be .* --store file"):
        EntryRef("keyring", *KEY).write(entry())
    assert not plain.exists()


@POSIX
@pytest.mark.usefixtures("refusable")
def test_a_folder_that_may_not_be_written(data: Path) -> None:
    """Where this user may not write nothing is remembered; what is there and may not be read is
    said as well."""
    ref = EntryRef(FILE, *KEY)
    ref.write(entry())
    (path,) = (data / "entries").iterdir()
    path.chmod(0)
    with pytest.raises(StoreUnavailable, match="What is remembered cannot be read"):
        ref.read()
    path.chmod(0o600)
    locks = data / "locks"
    for folder, said in (
        (path.parent, "(remembered|removed)"),
        (data / "heads", "remembered"),
        (locks, "(locked|remembered)"),
    ):
        for each in locks.iterdir():
            each.unlink()
        folder.chmod(0o500)
        with pytest.raises(StoreUnavailable, match=said):
            EntryRef(FILE, *KEY[:2], "other").write(entry(name="other"))
        folder.chmod(0o700)
    data.chmod(0)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        heads()
    data.chmod(0o700)
    assert ref.read() is not None
