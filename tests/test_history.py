"""IPython's history in a real ipykernel: no cell in it keeps what turns out to be a credential."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel
from test_panel import drive, send
from test_secrets import leaks

from labauth_nb.notebook.lines import _cleaner

BEFORE = "kanari-before-the-extension-0001"
ODD = "kan'ari\"odd\\0002é/+="
LOGIN = "labauth_nb.login('qbench', 'client', tenant=origin, client_id='mine'"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("history")
    it = Kernel(folder, {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")})
    it.run(f"early = '{BEFORE}'")
    it.run("%load_ext labauth_nb\nimport os, labauth_nb, labauth_nb.notebook.panel")
    it.run("labauth_nb.notebook.panel.HELLO_SECONDS = 0.1  # no page says hello to this kernel")
    it.run(
        "lab_ = labauth_nb.sandbox.running(); os.environ['QBENCH_URL'] = origin ="
        " lab_.origin('qbench')"
    )
    it.run("def sign(secret): return " + LOGIN + ", client_secret=secret)")
    yield it
    it.stop()


def folder(kernel: Kernel) -> Path:
    return Path(kernel.text("print(os.environ['IPYTHONDIR'], end='')"))


def kept(kernel: Kernel) -> list[str | bytes]:
    """What keeps cells: the lists, the variables, %history, and the bytes of IPython's files."""
    names = "repr((In, _ih, [v for n, v in globals().items() if n.startswith('_i')]))"
    texts: list[str | bytes] = [kernel.text(each) for each in (names, "%history -g", "%history")]
    kernel.run("get_ipython().history_manager.writeout_cache()")
    return texts + [path.read_bytes() for path in folder(kernel).rglob("*") if path.is_file()]


CELLS: dict[str, list[str]] = {
    "environ": ["os.environ['QBENCH_CLIENT_SECRET'] = {0!r}", "{line}"],
    "environ, in JSON's spelling": ["os.environ['QBENCH_CLIENT_SECRET'] = {json}", "{line}"],
    "%env": ["%env QBENCH_CLIENT_SECRET={0}", "{line}"],
    "%set_env": ["%set_env QBENCH_CLIENT_SECRET={0}", "{line}"],
    "%%time": ["%%time\nos.environ['QBENCH_CLIENT_SECRET'] = {0!r}", "{line}"],
    ".env": ["%%writefile .env\nQBENCH_CLIENT_SECRET='{dotenv}'", "{line}"],
    "a variable": ["given = {0!r}", "sign(given)"],
    "another name": ["given = {0!r}; fields = dict(client_secret=given)", LOGIN + ", **fields)"],
    "positional": ["sign({0!r})"],
    "a dict": [LOGIN + ", **dict([('client_secret', {0!r})]))"],
    "a prompt": ["given = {0!r}", "{line}"],
    "a wrong field": [LOGIN + ", **dict([('secret_of_client', {0!r})]))"],
    "a wrong tenant": ["x = {0!r}", LOGIN.replace("origin", "'a b'") + ", client_secret=x)"],
}


@pytest.mark.parametrize("secret", ["kanari-history-{}", ODD + "-{}"], ids=["plain", "odd"])
@pytest.mark.parametrize("way", CELLS)
def test_a_credential_in_a_cell(kernel: Kernel, way: str, secret: str) -> None:
    """However a cell spells a credential, even one that the provider refuses, nothing keeps it."""
    secret = secret.format(list(CELLS).index(way) + 1000)
    said = ""
    filled = {
        "json": json.dumps(secret),
        "dotenv": secret.replace("\\", "\\\\").replace("'", "\\'"),
        "line": "%labauth login qbench --client-id mine",
    }
    for cell in CELLS[way]:
        said = kernel.text(cell.format(secret, **filled), [secret] if way == "a prompt" else None)
    kernel.run("os.environ.pop('QBENCH_CLIENT_SECRET', None)\nopen('.env', 'w').close()")
    assert "InvalidInput" in said if "wrong" in way else "QBench responded with 400" in said
    spelled = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], repr(repr(secret))[2:-2]}
    assert leaks(list(spelled), *kept(kernel)) == []


def test_a_cell_before_the_extension(kernel: Kernel) -> None:
    """A cell that was run before %load_ext is masked as well, and the rest of it stays."""
    kernel.run("sign(early)")
    assert leaks([BEFORE], *kept(kernel)) == []
    assert kernel.text("In[1], _i1") == "(\"early = '***'\", \"early = '***'\")"


def test_a_later_cell(kernel: Kernel) -> None:
    """A cell that holds a live login's credential or token is stored without it."""
    kernel.run("mine = labauth_nb.login('qbench', tenant='sandbox', name='later')")
    kernel.run("n = open('held.txt', 'w').write('\\n'.join(mine.secrets()))")
    held = (folder(kernel).parent / "held.txt").read_text().split("\n")
    assert len(held) >= 3
    for secret in held:
        kernel.run(f"x = {secret!r}  # later")
    kernel.run("%labauth logout later")
    assert leaks(held, *kept(kernel)) == []


def test_after_a_log_out(kernel: Kernel) -> None:
    """What was a credential of this kernel stays masked after the log out, and after a sign-in that
    failed."""
    kernel.run("labauth_nb.login('qbench', tenant='sandbox', name='gone')")
    kernel.run(
        "open('gone.txt', 'w').write(labauth_nb.logins.logins.get('gone').secrets()[0]) and None"
    )
    secret = (folder(kernel).parent / "gone.txt").read_text()
    kernel.run("%labauth logout gone")
    kernel.run("sign('kanari-refused-before-0007')")
    for each in (secret, "kanari-refused-before-0007"):
        kernel.run(f"again = {each!r}")
        kernel.run(f"%env AGAIN={each}")
    assert leaks([secret, "kanari-refused-before-0007"], *kept(kernel)) == []


def test_one_time_codes(kernel: Kernel) -> None:
    """A one-time code, and the address that a sign-in ended at, are masked once they are given."""
    kernel.run("lab_.set('dnanexus', otp='246810')\ncode, other = '246810', 1246810")
    text = kernel.text("%labauth login dnanexus --method password --tenant sandbox", ["246810"])
    assert "Signed in to DNAnexus" in text
    kernel.run("%labauth logout dnanexus\nlab_.set('dnanexus', otp='')")
    assert "246810'" not in kernel.text("repr(_ih)")
    assert "1246810" in kernel.text("repr(_ih)")
    kernel.run("attempt = labauth_nb.begin('foundry', 'user', tenant='sandbox')")
    kernel.run("attempt.answer('https://x.example/?code=kanariCode0003&state=kanariState0003')")
    assert leaks(["kanariCode0003", "kanariState0003"], *kept(kernel)) == []


@pytest.mark.parametrize("where", ["tenant", "name", "method"])
def test_a_refused_secret(kernel: Kernel, where: str) -> None:
    """A secret that a call is refused for, as it stands in the wrong place, is not kept either."""
    secret = f"kanari1f8Q2z7Lp0Xw9Vt3{where}"
    said = kernel.text(f"labauth_nb.login(**{{'provider': 'qbench', {where!r}: {secret!r}}})")
    assert "looks like a secret" in said
    assert leaks([secret], *kept(kernel)) == []


def test_the_panel(kernel: Kernel) -> None:
    """A secret that is typed into a form is masked in the cell that held it before."""
    secret, done = "kanari-panel-0004", []
    kernel.run(f"held = '{secret}'")
    origin = kernel.text("print(origin, end='')")
    fields = {"tenant": origin, "client_id": "mine", "client_secret": secret}

    def page(comm: str, state: dict[str, Any] | None) -> bool:
        if state is None:
            send(kernel, comm, {"type": "hello"})
            send(kernel, comm, {"type": "submit", "method": "client", "fields": fields})
        elif state["error"]:
            done.append(state["error"])
        return bool(done)

    drive(kernel, "%labauth login qbench --no-wait --ask", page)
    assert "QBench responded with 400" in done[0]
    assert leaks([secret], *kept(kernel)) == []


def test_a_locked_database(kernel: Kernel) -> None:
    """Where another program locks the database, a sign-in goes on; the file is clean soon after."""
    secret = "kanari-locked-0005"
    kernel.run(
        "import labauth_nb.notebook.history; labauth_nb.notebook.history.BUSY_SECONDS = 60.0"
    )
    kernel.run(f"held = '{secret}'")
    kernel.run("get_ipython().history_manager.writeout_cache()")
    (file,) = folder(kernel).rglob("history.sqlite")
    assert leaks([secret], file.read_bytes())
    other = sqlite3.connect(file)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    said = kernel.text("sign(held)")
    other.rollback()
    other.close()
    assert "QBench responded with 400" in said
    assert time.monotonic() - began < 30
    while leaks([secret], file.read_bytes()):
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    assert leaks([secret], *kept(kernel)) == []


def test_a_database_that_is_gone(kernel: Kernel) -> None:
    """Where the database cannot be opened, a sign-in goes on, and what was not cleaned is said."""
    kernel.run("held = 'kanari-gone-0006'")
    kernel.run("manager = get_ipython().history_manager; file = manager.hist_file")
    said = kernel.text("manager.hist_file = '/nonexistent/history.sqlite'\nsign(held)")
    kernel.run("manager.hist_file = file")
    assert "QBench responded with 400" in said
    assert "IPython's history database could not be cleaned (OperationalError)" in said
    assert "kanari-gone" not in kernel.text("repr(_ih)")
    kernel.run("sign(held)")
    assert leaks(["kanari-gone-0006"], *kept(kernel)) == []


def test_unloaded(kernel: Kernel) -> None:
    """After %unload_ext the history is IPython's own again, and %load_ext takes it back."""
    for load, expected in (("%unload_ext", "True"), ("%load_ext", "False")):
        kernel.run(f"{load} labauth_nb")
        kernel.run("sign('kanari-' 'unloaded-0007' + 'kanari-unloaded-0007'[:0])")
        assert kernel.text("'kanari-unloaded' '-0007' in repr(_ih[-2])") == expected


@pytest.mark.slow
def test_a_history_in_memory(tmp_path: Path) -> None:
    """A history that IPython keeps in memory only is cleaned too, with a database or without."""
    for option in ("hist_file=':memory:'", "enabled=False"):
        kernel = Kernel(tmp_path, {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")})
        try:
            made = f"type(ip.history_manager)(shell=ip, parent=ip, {option})"
            kernel.run(f"ip = get_ipython(); ip.history_manager = {made}\nimport labauth_nb")
            kernel.run("%load_ext labauth_nb")
            kernel.run("held = 'kanari-memory-0008'")
            kernel.run("labauth_nb.login('qbench', tenant='sandbox', client_secret=held)")
            assert "kanari" not in kernel.text("repr(ip.history_manager.input_hist_raw)")
            assert "kanari" not in kernel.text("%history -g")
        finally:
            kernel.stop()


@pytest.mark.parametrize("short", ["data", "246810", "p@ss1"])
def test_short_secrets(short: str) -> None:
    """A short secret is masked where it stands alone; as a part of longer words it is no secret."""
    clean = _cleaner([short])
    assert clean(f"login('{short}')") == "login('***')"
    assert clean(f"run('x\\n{short}\\n')") == "run('x\\n***\\n')"
    assert clean("dataset = 1246810") == "dataset = 1246810"
