"""--remember: signed in again after a restart, one login in many kernels, kill -9, and what is
never copied."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import exchange_of, reading
from kernels import Kernel
from test_secrets import leaks

import labauth_nb
from labauth_nb import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    MissingCredentials,
    SignInRefused,
    StoreUnavailable,
    begin,
    login,
    logout,
    status,
)
from labauth_nb.clocks import WALL
from labauth_nb.credentials import files, stores
from labauth_nb.credentials.entries import CREDENTIALS, REFRESH_TOKEN, Entry
from labauth_nb.credentials.stores import FILE, KEYRING, STORES, EntryRef, heads
from labauth_nb.logins.logins import _LOGINS, Login
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.logins.sharing import SharedEntry
from labauth_nb.masking import Secret
from labauth_nb.notebook import magic
from labauth_nb.notebook.panel import LoginPanel
from labauth_nb.sandbox import Lab
from labauth_nb.tokens.exchanges import Exchange
from labauth_nb.tokens.grants import GRANTS

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keyring", "filelock", "platformdirs"))),
        reason="needs [keyring]",
    ),
    pytest.mark.skipif(
        os.name != "posix", reason="kill -9 and the variables that move the data folder are POSIX's"
    ),
]
ROUNDS = int(os.environ.get("LABAUTH_ROUNDS", "3"))
"""Rounds of the runs with kills: a few in CI, 20 by hand."""
ALT = "keyrings.alt.file.PlaintextKeyring"
KERNELS = 8
PLACES = stores.STORES
CLIENT = {
    "client_id": "sandbox-qbench-client",
    "client_secret": "sandbox-qbench-client-secret-0001",
}
PUBLIC = "sandbox-foundry-public"
WAYS = [
    ("benchling", "app", CREDENTIALS),
    ("benchling", "api-key", CREDENTIALS),
    ("benchling", "id-token", CREDENTIALS),
    ("benchling", "oidc", REFRESH_TOKEN),
    ("qbench", "client", CREDENTIALS),
    ("qbench", "client", REFRESH_TOKEN),
    ("foundry", "service-user", CREDENTIALS),
    ("foundry", "token", CREDENTIALS),
    ("foundry", "user", REFRESH_TOKEN),
    ("dnanexus", "api-token", CREDENTIALS),
    ("dnanexus", "password", CREDENTIALS),
]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder and a real keyring backend of their own, for this process and those
    it starts."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", ALT)
    monkeypatch.setenv("KEYRING_PROPERTY_FILE_PATH", str(tmp_path / "ring" / "ring.cfg"))
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    return files.data_folder()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """Each store."""
    return str(request.param)


def holders(secrets: list[str], *folders: Path) -> set[str]:
    """The folders' files that hold one of `secrets`, in any spelling, by the name of their own
    folder."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.parent.name for path in files if leaks(secrets, path.read_bytes(), str(path))}


def issued(lab: Lab) -> list[str]:
    """Every token that the sandbox has given out."""
    return [token for site in lab.sites.values() for token in (*site.tokens, *site.refresh_tokens)]


def forget_here() -> None:
    """As in a new kernel: nothing is known but what is remembered."""
    _LOGINS.clear()


def qbench(lab: Lab, remember: bool | str = True, store: str = KEYRING, **fields: str) -> Login:
    """Sign in to QBench at the sandbox's own address, as if it were a real tenant."""
    return login(
        "qbench", tenant=lab.origin("qbench"), remember=remember, store=store, **(CLIENT | fields)
    )


def foundry_user(lab: Lab, store: str = KEYRING) -> Login:
    """Sign in to Foundry as yourself, in the browser."""
    attempt = begin(
        "foundry",
        "user",
        tenant=lab.origin("foundry"),
        client_id=PUBLIC,
        remember=True,
        store=store,
    )
    signed_in: Login = attempt.answer(lab.visit(attempt.url))
    return signed_in


# After a restart


def new_kernel(folder: Path) -> Kernel:
    """A kernel that no page says hello to."""
    kernel = Kernel(folder)
    kernel.run(
        "%load_ext labauth_nb\nimport labauth_nb, labauth_nb.notebook.panel;"
        " labauth_nb.notebook.panel.HELLO_SECONDS = 0.1"
    )
    return kernel


def typed(lab: Lab, provider: str, method: str) -> list[str]:
    """What a person types at the prompts of a method, in their order."""
    found = lab.credentials(provider, method)
    way = labauth_nb.providers.PROVIDERS[provider].method(method)
    return [found[f.name] for f in way.fields if not f.optional]


def restart(lab: Lab, folder: Path, store: str) -> tuple[list[str], list[str]]:
    """Sign in by every way in one kernel, again in the next, log out, try in a third: (everything
    sent, every secret)."""
    secrets: list[str] = []
    kernels = []
    names = {way: f"mine-{n}" for n, way in enumerate(WAYS)}
    place = PLACES[store]
    for name in ("benchling", "qbench", "foundry", "idp"):
        lab.set(name, life=30)
    lab.set("qbench", life=2)  # over before the next kernel: it has to renew
    lab.set("foundry", life=2)
    kernel = new_kernel(folder)
    kernels.append(kernel)
    for (provider, method, keeps), name in names.items():
        tenant = lab.origin(provider)
        if method in ("oidc", "user"):
            more = (
                {"client_id": PUBLIC}
                if method == "user"
                else {"client_id": "sandbox-benchling-oidc"}
            )
            more |= {"issuer": lab.origin("idp")} if method == "oidc" else {}
            way = {"tenant": tenant, "name": name, "store": store, **more}
            kernel.run(
                f"attempt = labauth_nb.begin({provider!r}, {method!r}, remember=True, **{way!r})"
            )
            url = kernel.text("print(str.__str__(attempt.url), end='')")
            said = kernel.text(f"print(attempt.answer({lab.visit(url)!r}))")
        else:
            answers = typed(lab, provider, method)
            secrets += [a for a in answers if a not in ("ada", CLIENT["client_id"])]
            line = f"%labauth login {provider} --method {method} --tenant {tenant} --as {name}"
            keep = f"--remember {keeps}" if keeps == REFRESH_TOKEN else "--remember"
            said = kernel.text(f"{line} {keep} --store {store}", answers)
        assert f"Remembered in the {place}." in said, (name, said)
    kernel.stop()
    time.sleep(2)
    for name in ("qbench", "foundry"):
        lab.set(name, life=3600)
    kernel = new_kernel(folder)
    kernels.append(kernel)
    for (provider, method, _keeps), name in names.items():
        said = kernel.text(f"%labauth login {provider} --as {name}")
        assert said.startswith("Signed in to"), (name, said)
        assert f"method {method};" in said
        assert f"credentials remembered in the {place}." in said
        assert (
            kernel.text(f"labauth_nb.session({name!r}).{reading(provider)}") == "<Response [200]>"
        )
    table = kernel.text("print(labauth_nb.status())")
    assert table.count(f"  remembered in the {place}\n") == len(WAYS)
    listed = json.loads(json.dumps([vars(head) for head in heads()]))
    assert [(row["name"], row["remember"]) for row in listed] == [
        (name, way[2]) for way, name in names.items()
    ]
    for name in list(names.values())[:-1]:
        said = kernel.text(f"%labauth logout {name}", ["n"])
        assert f"It is no longer remembered (it was in the {place})." in said
    assert [head.name for head in heads()] == [list(names.values())[-1]]
    said = kernel.text("%labauth logout --all --forget", ["n"])
    assert "no longer remembered" in said
    kernel.stop()
    kernel = new_kernel(folder)
    kernels.append(kernel)
    for (provider, _method, _keeps), name in names.items():
        said = kernel.text(f"%labauth login {provider} --as {name}")
        assert said.startswith("MissingCredentials: "), said
    assert "nothing is remembered" in kernel.text("%labauth logout --all --forget")
    kernel.stop()
    return [message for each in kernels for message in each.messages], [*secrets, *issued(lab)]


def test_a_restart(lab: Lab, store: str, tmp_path: Path, data: Path) -> None:
    """Every provider, method and kind of keeping: signed in without asking after a restart, the
    status says from where, `logout` removes it; no secret is in any output, prompt, history or file
    but the chosen store."""
    sent, secrets = restart(lab, tmp_path, store)
    assert len(secrets) > 20
    assert leaks(secrets, *sent) == []
    assert holders(secrets, tmp_path) == set()  # all of it was forgotten
    assert heads() == []


def test_what_is_kept_is_only_in_the_store(
    lab: Lab, store: str, tmp_path: Path, data: Path
) -> None:
    """While it is remembered, no file but the store's own has a secret: no index, no lock, no
    history, no log."""
    kernel = new_kernel(tmp_path)
    kernel.run(
        "import logging; logging.basicConfig(level=logging.DEBUG, filename='log.txt',"
        " force=True)\n%xmode Verbose"
    )
    tenant, answers = lab.origin("qbench"), list(CLIENT.values())
    said = kernel.text(
        f"%labauth login qbench --tenant {tenant} --remember --store {store}", answers
    )
    assert "Remembered" in said
    kernel.run(
        "mine = labauth_nb.session('qbench').login\nmine, vars(mine), mine.shared,"
        " mine.shared.ref.read()"
    )
    kernel.run(
        "entry = mine.shared.ref.read()\nvars(entry), entry.token,"
        " labauth_nb.credentials.entries.dumps(entry)"
    )
    kernel.run("get_ipython().history_manager.writeout_cache()\n%labauth status")
    kernel.run(
        "labauth_nb.credentials.stores.loads = None\nlabauth_nb.logins.logins._LOGINS.clear()"
    )
    # a bug of ours, shown with every local variable
    assert "TypeError" in kernel.text("%labauth login qbench")
    secrets = [CLIENT["client_secret"], *issued(lab)]
    assert leaks(secrets, *kernel.messages) == []
    assert holders(secrets, tmp_path) == {"entries" if store == FILE else "ring"}
    kernel.stop()


# Many kernels, one login


class Kernels:
    """Processes, each as a kernel of its own: forked from one that has only imported the packages
    (so they start fast).

    Their clocks go by the sandbox's, as it stands when they start and when they go.
    """

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder, self.lab, self.turn = folder / "kernels", lab, 0
        self.pids: list[int] = []
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import"
            " test_remembering as t; t.nursery()"
        )
        self.nurse = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )

    def start(self, count: int = KERNELS, **order: Any) -> Kernels:
        """`count` kernels that sign in and wait."""
        self.turn += 1
        self.here = self.folder / str(self.turn)
        self.here.mkdir(parents=True)
        assert self.nurse.stdin is not None
        assert self.nurse.stdout is not None
        order |= {"count": count, "here": str(self.here), "ahead": ahead(self.lab)}
        self.nurse.stdin.write(json.dumps(order) + "\n")
        self.nurse.stdin.flush()
        self.pids = json.loads(self.nurse.stdout.readline())
        end = time.monotonic() + 60
        while len(list(self.here.glob("*.ready"))) < count:
            assert time.monotonic() < end, "not ready"
            time.sleep(0.005)
        return self

    def go(self) -> Kernels:
        """Let them all make their requests, together."""
        (self.here / "gate.new").write_text(str(ahead(self.lab)))
        (self.here / "gate.new").rename(self.here / "gate")
        return self

    def kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[number], signal.SIGKILL)

    def end(self) -> tuple[list[list[Any]], int]:
        """(what those that were not killed got, how many were killed)"""
        assert self.nurse.stdout is not None
        codes: list[int] = json.loads(self.nurse.stdout.readline())
        assert set(codes) <= {0, signal.SIGKILL}, codes
        alive = [n for n, code in enumerate(codes) if code == 0]
        return [json.loads((self.here / f"{n}.json").read_text()) for n in alive], len(codes) - len(
            alive
        )

    def stop(self) -> None:
        assert self.nurse.stdin is not None
        if self.turn:
            self.go()  # a test that failed leaves none behind
        self.nurse.stdin.close()
        self.nurse.wait(30)
        assert self.nurse.stdout is not None
        self.nurse.stdout.close()


def nursery() -> None:
    """In a process of its own: for each order a number of forks, their ids, and how each ended."""
    import dotenv
    import filelock
    import jwt
    import keyrings.alt.file

    assert None not in (dotenv, filelock, jwt, keyrings.alt.file)
    sys.stdin = None  # nobody can be asked
    for line in open(0):  # noqa: SIM115
        order, pids = json.loads(line), []
        for number in range(order["count"]):
            pid = os.fork()
            if not pid:
                try:
                    _work(order, number)
                    os._exit(0)
                finally:
                    os._exit(1)
            pids.append(pid)
        print(json.dumps(pids), flush=True)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        print(json.dumps(codes), flush=True)


def _work(order: dict[str, Any], number: int) -> None:
    here = Path(order["here"])
    set_clock(order["ahead"])
    got: list[Any] = []
    try:
        mine = login(order["provider"], **order["login"])
    except labauth_nb.LabauthError as error:
        got.append(f"{type(error).__name__}: {error}")
    if number < order.get("die", 0):
        _dies_between_answer_and_write()
    (here / f"{number}.ready").touch()
    end = time.monotonic() + 60
    while not (here / "gate").exists() and time.monotonic() < end:
        time.sleep(0.001)
    set_clock(float((here / "gate").read_text()))
    time.sleep(0.02 if number >= order.get("die", 0) > 0 else 0)  # whoever is to die comes first
    for _ in range(order.get("requests", 3)) if not got else ():
        try:
            got.append(mine.session().request(*order["read"]).status_code)
        except labauth_nb.LabauthError as error:
            got.append(f"{type(error).__name__}: {error}")
    written = here / f"{number}.new"
    written.write_text(json.dumps(got if got else [mine.found.source()]))
    written.rename(here / f"{number}.json")


def _dies_between_answer_and_write() -> None:
    write = EntryRef.write

    def dying(self: EntryRef, entry: Entry) -> None:
        if not entry.pending:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, entry)

    EntryRef.write = dying  # type: ignore[method-assign]


@pytest.fixture
def clock(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """This kernel's clock is the sandbox's, also at its own address: nobody waits for a token to
    expire."""
    monkeypatch.setattr(WALL, "time", lab.clock.time)


@pytest.fixture
def kernels(tmp_path: Path, data: Path, lab: Lab, clock: None) -> Iterator[Kernels]:
    it = Kernels(tmp_path, lab)
    yield it
    it.stop()


def order(lab: Lab, provider: str = "qbench", **more: Any) -> dict[str, Any]:
    path = {"qbench": "orders", "foundry": "ontologies"}[provider]
    return {
        "provider": provider,
        "login": {"tenant": lab.origin(provider)},
        "read": ["GET", path],
        **more,
    }


def ahead(lab: Lab) -> float:
    """How many seconds the sandbox's clock is ahead."""
    return lab.clock.time() - time.time()


def set_clock(seconds: float) -> None:
    """Set this process's clock ahead."""
    WALL.time = lambda: time.time() + seconds  # type: ignore[method-assign]


def fresh(lab: Lab, provider: str, sign_in: Callable[[], Login]) -> tuple[Login, int]:
    """Sign in to a new sandbox: (the login, token requests so far)."""
    lab.reset()
    forget_here()
    return sign_in(), lab.token_requests(provider)


def expire(lab: Lab, mine: Login) -> None:
    """Go to when its token has expired."""
    assert mine.seconds_left
    lab.clock.advance(mine.seconds_left + 1)


def accepted(lab: Lab, ref: EntryRef, provider: str = "qbench") -> bool:
    """Whether the entry is whole, not in doubt, and its token is good at the provider."""
    entry = ref.read()
    assert entry is not None
    assert entry.token is not None
    url = (
        lab.origin(provider)
        + {"qbench": "/qbench/api/v2/orders", "foundry": "/api/v2/ontologies"}[provider]
    )
    good = (
        requests.get(
            url, headers={"Authorization": str(entry.token.header)}, timeout=30
        ).status_code
        == 200
    )
    return good and not entry.pending


@pytest.mark.parametrize("keeps", [CREDENTIALS, REFRESH_TOKEN])
def test_eight_kernels_cross_expiry_together(
    lab: Lab, kernels: Kernels, store: str, keeps: str
) -> None:
    """8 processes, 3 requests each: 1 token request, 0 failures, and the newest token is the one
    that is kept."""
    mine, before = fresh(lab, "qbench", lambda: qbench(lab, keeps, store))
    kernels.start(**order(lab))
    expire(lab, mine)
    got, _ = kernels.go().end()
    assert got == [[200] * 3] * KERNELS
    assert lab.token_requests("qbench") - before == 1
    assert mine.shared is not None
    assert accepted(lab, mine.shared.ref)
    assert mine.session().get("orders").status_code == 200  # this one, too, goes on with that token
    assert lab.token_requests("qbench") - before == 1


def test_eight_kernels_share_a_rotating_refresh_token(
    lab: Lab, kernels: Kernels, store: str
) -> None:
    """Foundry as yourself: no secret, each refresh token works once; 3 crossings of 8 processes
    cost 3 token requests."""
    mine, _before = fresh(lab, "foundry", lambda: foundry_user(lab, store))
    assert mine.shared is not None
    ref = mine.shared.ref
    for _ in range(2):
        kernels.start(**order(lab, "foundry"))
        before = lab.token_requests("foundry")
        expire(lab, mine)
        got, _ = kernels.go().end()
        assert got == [[200] * 3] * KERNELS
        assert lab.token_requests("foundry") - before == 1
        mine.session().get("ontologies")  # this kernel takes what the others got
        assert accepted(lab, ref, "foundry")


def test_kill_minus_nine(
    lab: Lab, kernels: Kernels, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 8 processes that cross expiry, 1 or 2 die between the server's answer and the write, and 2
    at random moments: the others have 0 failures, there is at most 1 token request more per kill,
    and the next kernel is signed in."""
    rows = []
    for turn in range(ROUNDS):
        mine, before = fresh(lab, "qbench", lambda: qbench(lab, CREDENTIALS, store))
        kernels.start(**order(lab, die=1 + turn % 2))
        expire(lab, mine)
        kernels.go()
        # At any moment with our files only: this keyring's backend is a file too, and rewrites it
        # in place.
        for number in random.sample(range(2, KERNELS), 2) if store == FILE else ():
            time.sleep(random.uniform(0, 0.04))
            kernels.kill(number)
        got, kills = kernels.end()
        asked = lab.token_requests("qbench") - before
        failures = sum(status != 200 for each in got for status in each)
        rows.append((len(got), kills, asked, failures))
        assert failures == 0, got
        assert got
        assert asked <= 1 + kills
        assert mine.shared is not None
        (next_kernel,), _ = kernels.start(1, **order(lab)).go().end()
        assert next_kernel == [200] * 3
        assert lab.token_requests("qbench") - before <= 1 + kills
        assert accepted(lab, mine.shared.ref)
        assert mine.session().get("orders").status_code == 200
    with capsys.disabled():
        total = [sum(row[n] for row in rows) for n in range(4)]
        said = "survivors {}, killed {}, token requests {}, failures {}".format(*total)
        print(f"\n{PLACES[store]}, {ROUNDS} rounds of {KERNELS} processes: {said};")
        print(
            f"token requests per round {[row[2] for row in rows]}, kills {[row[1] for row in rows]}"
        )


@pytest.mark.parametrize("provider", ["foundry", "qbench"])
def test_kill_minus_nine_without_a_secret(
    lab: Lab, kernels: Kernels, provider: str, store: str
) -> None:
    """With a refresh token only, a kill between answer and write costs a new sign-in: everybody is
    told so in a message, nobody goes on with a wrong state, and the new sign-in is shared again."""

    def sign_in() -> Login:
        return (
            foundry_user(lab, store) if provider == "foundry" else qbench(lab, REFRESH_TOKEN, store)
        )

    mine, before = fresh(lab, provider, sign_in)
    assert mine.shared is not None
    ref = mine.shared.ref
    kernels.start(**order(lab, provider, die=1))
    expire(lab, mine)
    kernels.go()
    got, kills = kernels.end()
    if kills:
        said = {answer for each in got for answer in each}
        title = {"foundry": "Foundry", "qbench": "QBench"}[provider]
        (sentence,) = said - {200}
        assert sentence.startswith(
            f"LoginExpired: {title} no longer accepts the refresh token of this sign-in."
        )
        assert f"type %labauth login {provider}" in sentence
    else:  # another was first; the one that was to die had nothing to write
        assert got == [[200] * 3] * KERNELS
    forget_here()
    again = sign_in()
    assert again.kept == f"Remembered in the {PLACES[store]}."
    before = lab.token_requests(provider)
    assert kernels.start(**order(lab, provider)).go().end() == ([[200] * 3] * KERNELS, 0)
    assert lab.token_requests(provider) == before
    assert accepted(lab, ref, provider)


def test_killed_at_random_with_a_refresh_token_only(lab: Lab, kernels: Kernels) -> None:
    """Kill -9 at random moments of Foundry's refresh: all survivors go on, or all are told to sign
    in again."""
    for _ in range(ROUNDS):
        mine, _before = fresh(lab, "foundry", lambda: foundry_user(lab, FILE))
        kernels.start(**order(lab, "foundry"))
        expire(lab, mine)
        kernels.go()
        for number in random.sample(range(KERNELS), 3):
            time.sleep(random.uniform(0, 0.03))
            kernels.kill(number)
        got, _ = kernels.end()
        good = [each for each in got if each == [200] * 3]
        told = [
            each
            for each in got
            if all(str(a).startswith("LoginExpired: Foundry no longer accepts") for a in each)
        ]
        assert len(good) + len(told) == len(got)
        assert not good or not told
        (next_kernel,), _ = kernels.start(1, **order(lab, "foundry")).go().end()
        assert (
            (next_kernel == [200] * 3)
            if good
            else next_kernel[0].startswith("MissingCredentials: Foundry user needs a person")
        )


def test_an_entry_that_is_damaged(lab: Lab, store: str) -> None:
    """A backend that lost it: with the secret the kernel goes on, without it a message; nobody
    writes it again unasked."""
    for keeps, good in ((CREDENTIALS, True), (REFRESH_TOKEN, False)):
        qbench(lab, keeps, store)
        forget_here()
        mine = login("qbench")
        assert mine.shared is not None
        ref = mine.shared.ref
        stores.BACKENDS[store].put(ref.key, Secret("{"))
        if good:
            mine.refresh()
            assert mine.session().get("orders").status_code == 200
        else:
            with pytest.raises(
                StoreUnavailable,
                match="What is remembered of qbench is damaged or deleted: sign in again",
            ):
                mine.refresh()
        assert ref.read() is None
        assert "no longer remembered" in logout("qbench", forget=True)[-1]
        assert heads() == []


def test_log_out_in_one_kernel(lab: Lab, kernels: Kernels, store: str) -> None:
    """The 7 others are told, with what to type, and none of them writes the entry again."""
    _mine, before = fresh(lab, "qbench", lambda: qbench(lab, True, store))
    kernels.start(7, **order(lab))
    assert "no longer remembered" in logout("qbench")[0]
    lab.expire("qbench")
    got, _ = kernels.go().end()
    tenant = lab.origin("qbench")
    sentence = (
        "LoginExpired: qbench was logged out in another kernel. To sign in again, type %labauth"
        " login qbench"
    )
    assert got == [[f"{sentence} --tenant {tenant}"] * 3] * 7
    assert heads() == []
    assert lab.token_requests("qbench") == before


def test_sign_in_anew_in_one_kernel(lab: Lab, kernels: Kernels, store: str) -> None:
    """With other credentials under the same name: the others are told, and neither write over it
    nor forget it."""
    mine = qbench(lab, True, store)
    kernels.start(3, **order(lab))
    lab.set("qbench", client_secret="another-client-secret-000000000002")
    forget_here()
    newer = qbench(lab, True, store, client_secret="another-client-secret-000000000002")
    assert newer.shared is not None
    written = newer.shared.ref.read()
    lab.expire("qbench")
    got, _ = kernels.go().end()
    assert all(
        "qbench was signed in again in another kernel. To sign in again" in said
        for each in got
        for said in each
    )
    assert "remembered" not in mine.logout()
    assert newer.shared.ref.read() == written


def test_the_same_remembered_by_several_kernels_at_once(
    lab: Lab, kernels: Kernels, store: str
) -> None:
    """They share one entry: crossing expiry together costs 1 token request."""
    typed = {"tenant": lab.origin("qbench"), "remember": True, "store": store, **CLIENT}
    kernels.start(**order(lab, login=typed))
    before = lab.token_requests("qbench")
    lab.clock.advance(3601)
    assert kernels.go().end() == ([[200] * 3] * KERNELS, 0)
    assert lab.token_requests("qbench") - before == 1
    assert len(heads()) == 1


def test_a_revoked_token_costs_one_renewal_for_all(lab: Lab, kernels: Kernels) -> None:
    """Where the provider revokes what several kernels hold, each goes on, also with one that has an
    older token."""
    mine = qbench(lab)
    kernels.start(4, **order(lab))
    mine.refresh()  # the others hold the older one
    before = lab.token_requests("qbench")
    lab.revoke("qbench", refresh=True)
    assert kernels.go().end() == ([[200] * 3] * 4, 0)
    assert lab.token_requests("qbench") - before == 1
    assert mine.session().get("orders").status_code == 200


FORKS = """
import multiprocessing, time, labauth_nb, sys
sys.path.insert(0, {here!r})
from test_remembering import set_clock
mine = labauth_nb.login("qbench", tenant={tenant!r})
held = mine.session()
def work(number):
    return held.get("orders").status_code, session_.get("orders").status_code
session_ = labauth_nb.session("qbench")
set_clock(mine.seconds_left + 1)
with multiprocessing.get_context("fork").Pool(4) as pool:
    good = pool.map(work, range(20), chunksize=1) == [(200, 200)] * 20
    print(good, held.get("orders").status_code)
"""


def test_a_pool_of_forks(lab: Lab, store: str) -> None:
    """A fork pool that uses a remembered login's session across expiry: 1 token request, 0
    failures."""
    _mine, before = fresh(lab, "qbench", lambda: qbench(lab, REFRESH_TOKEN, store))
    code = FORKS.format(here=str(Path(__file__).parent), tenant=lab.origin("qbench"))
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.split() == ["True", "200"], ended.stderr
    assert lab.token_requests("qbench") - before == 1


# What is already on the machine


def nothing_of(canary: list[str], tmp_path: Path) -> None:
    """None of it is in the data folder or the keyring."""
    assert (
        holders(canary, *(f for f in (tmp_path / "data", tmp_path / "ring") if f.exists())) == set()
    )


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_variables_are_not_copied(
    lab: Lab, where: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment or .env supplies supplies itself again: the token is shared, the secret
    is not kept."""
    values = {"QBENCH_URL": lab.origin("qbench"), "QBENCH_CLIENT_ID": CLIENT["client_id"]}
    values |= {"QBENCH_CLIENT_SECRET": CLIENT["client_secret"]}
    if where == "environment":
        for name, value in values.items():
            monkeypatch.setenv(name, value)
    else:
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    mine = login("qbench", remember=True, store=store)
    words = {"environment": "from the environment", ".env": "from your .env in this folder"}[where]
    words += " (QBENCH_CLIENT_ID, QBENCH_CLIENT_SECRET)"
    assert mine.found.source() == words
    nothing_of([CLIENT["client_secret"]], tmp_path)
    before = lab.token_requests("qbench")
    forget_here()
    again = login("qbench")
    assert words in again.found.source()
    assert lab.token_requests("qbench") == before  # the token was shared
    logout("qbench")
    assert heads() == []


def test_a_variable_that_is_gone_is_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered token does not stand for a client ID or a secret that the environment no longer
    has; its issuer is kept."""
    monkeypatch.setenv("FOUNDRY_CLIENT_ID", "sandbox-foundry-client")
    tenant = lab.origin("foundry")
    login(
        "foundry",
        "service-user",
        tenant=tenant,
        client_secret="sandbox-foundry-client-secret",
        remember=True,
    )
    monkeypatch.delenv("FOUNDRY_CLIENT_ID")
    forget_here()
    with pytest.raises(
        MissingCredentials, match=r"^Foundry Client ID is missing.*FOUNDRY_CLIENT_ID"
    ):
        login("foundry", "service-user", tenant=tenant)
    monkeypatch.setenv("LABAUTH_BENCHLING_ISSUER", lab.origin("idp"))
    benchling = {"tenant": lab.origin("benchling"), "client_id": "sandbox-benchling-oidc"}
    attempt = begin("benchling", "oidc", remember=True, **benchling)
    attempt.answer(lab.visit(attempt.url))
    forget_here()
    assert login("benchling", "oidc").found.source() == (
        "from the environment (LABAUTH_BENCHLING_ISSUER), remembered in the keyring"
    )
    monkeypatch.delenv("LABAUTH_BENCHLING_ISSUER")
    forget_here()
    assert login("benchling", "oidc").found.source() == "remembered in the keyring"


def test_another_client_in_the_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins; a client ID of another client is never sent with the
    remembered secret."""
    mine = qbench(lab)
    forget_here()
    monkeypatch.setenv("QBENCH_CLIENT_ID", "another-client")
    with pytest.raises(MissingCredentials, match="Client secret is missing"):
        login("qbench", tenant=mine.tenant)
    monkeypatch.setenv("QBENCH_CLIENT_ID", CLIENT["client_id"])
    assert login("qbench", tenant=mine.tenant).found.sources["client_secret"] == "keyring"
    forget_here()
    monkeypatch.setenv("QBENCH_CLIENT_SECRET", "wrong-secret-000000000000000000001")
    with pytest.raises(
        SignInRefused,
        match=r"Client secret is the one from the environment \(QBENCH_CLIENT_SECRET\)",
    ):
        login("qbench", tenant=mine.tenant)


def test_dx_login_s_files(lab: Lab, tmp_path: Path, store: str) -> None:
    """Found, named as the source, never copied, and neither changed nor destroyed by a log out."""
    token = lab.credentials("dnanexus", "api-token")["token"]
    file = Path.home() / ".dnanexus_config" / "environment.json"
    file.parent.mkdir()
    origin = lab.origin("dnanexus").removeprefix("http://")
    host, _, port = origin.partition(":")
    written = {
        "DX_APISERVER_HOST": host,
        "DX_APISERVER_PORT": port,
        "DX_APISERVER_PROTOCOL": "http",
    }
    context = json.dumps({"auth_token_type": "Bearer", "auth_token": token})
    file.write_text(json.dumps(written | {"DX_SECURITY_CONTEXT": context}))
    before = file.read_bytes()
    mine = login("dnanexus", remember=True, store=store)
    assert mine.kept == "Not remembered: none of it was typed in; its source supplies it next time."
    assert [row["credentials"] for row in status()] == ["from dx login"]
    nothing_of([token], tmp_path)
    assert "was not revoked, as it was not made here" in logout("dnanexus")[0]
    assert file.read_bytes() == before
    assert login("dnanexus").session().post("system/whoami", json={}).status_code == 200


def test_a_job(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job signs in by itself, refuses to be remembered, and its token survives a log out, even
    with --revoke."""
    token = lab.credentials("dnanexus", "job")["token"]
    host, _, port = lab.origin("dnanexus").removeprefix("http://").partition(":")
    for name, value in {
        "DX_JOB_ID": "job-1",
        "DX_SECURITY_CONTEXT": json.dumps({"auth_token": token}),
        "DX_APISERVER_HOST": host,
        "DX_APISERVER_PORT": port,
        "DX_APISERVER_PROTOCOL": "http",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match="A job's token is not remembered: the job supplies it"):
        login("dnanexus", remember=True)
    mine = login("dnanexus")
    assert mine.method.name == "job"
    assert mine.found.source() == "from the environment (DX_SECURITY_CONTEXT)"
    assert "never destroyed" in logout("dnanexus", revoke=True)[0]
    nothing_of([token], tmp_path)
    assert login("dnanexus").session().post("system/whoami", json={}).status_code == 200


def test_foundry_dev_tools(lab: Lab, tmp_path: Path, store: str) -> None:
    """Its config is found and named; with --remember the secret stays there only, and a log out
    leaves the file alone."""
    file = Path.home() / ".foundry-dev-tools" / "config.toml"
    file.parent.mkdir()
    secret = "sandbox-foundry-client-secret"
    file.write_text(
        f"[credentials]\ndomain = '{lab.origin('foundry')}'\n[credentials.oauth]\ngrant_type ="
        f" 'client_credentials'\nclient_id = 'sandbox-foundry-client'\nclient_secret = '{secret}'\n"
    )
    before = file.read_bytes()
    mine = login("foundry", remember=True, store=store)
    assert mine.found.source() == "from foundry-dev-tools"
    nothing_of([secret], tmp_path)
    forget_here()
    again = login("foundry")
    assert again.found.source() == f"from foundry-dev-tools, remembered in the {PLACES[store]}"
    logout("foundry")
    assert file.read_bytes() == before
    assert login("foundry").session().get("ontologies").status_code == 200


def test_foundry_code_workspaces(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FOUNDRY_TOKEN is probed before it is trusted, never copied, and lives on after a log out."""
    monkeypatch.setenv("FOUNDRY_HOSTNAME", lab.origin("foundry"))
    monkeypatch.setenv("FOUNDRY_TOKEN", "not-a-token-of-this-foundry-0001")
    with pytest.raises(
        SignInRefused, match=r"The Token is the one from the environment \(FOUNDRY_TOKEN\)"
    ):
        login("foundry", remember=True)
    assert status().rows == []
    token = lab.credentials("foundry", "token")["token"]
    monkeypatch.setenv("FOUNDRY_TOKEN", token)
    before = lab.count("foundry", "GET /multipass/api/me")
    mine = login("foundry", remember=True)
    assert lab.count("foundry", "GET /multipass/api/me") == before + 1
    assert mine.found.source() == "from the environment (FOUNDRY_TOKEN)"
    assert mine.kept.startswith("Not remembered: none of it was typed in")
    logout("foundry")
    nothing_of([token], tmp_path)
    assert heads() == []
    assert lab.count("foundry", "revoke") == 0
    assert login("foundry").session().get("ontologies").status_code == 200


# A store that cannot be used


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The keyring fails from now on, with a text that holds what it was given."""

    def fails(self: object, service: str, user: str, password: str = "") -> None:
        raise OSError(f"locked {password!s}")

    for name in names or ("set_password", "get_password", "delete_password"):
        monkeypatch.setattr(f"{ALT}.{name}", fails)


@pytest.mark.parametrize("way", ["Python", "browser", "%labauth", "panel"])
@pytest.mark.parametrize(
    ("store", "why"),
    [
        (FILE, "Nothing can be remembered: .*"),
        (KEYRING, "This computer has no keyring .* --store file"),
    ],
)
def test_no_store(
    lab: Lab,
    data: Path,
    store: str,
    why: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where nothing can be remembered, each way to sign in does, and says so; the file store is
    taken by name only, or by a form that says in words what it is."""
    if store == FILE:
        data.parent.mkdir(parents=True, exist_ok=True)
        data.write_text("a file where the folder should be")
    else:
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    tenant = lab.origin("qbench")
    if way == "Python":
        qbench(lab, store=store)
        assert re.search(f"Not remembered: {why}", capsys.readouterr().err)
    elif way == "browser":
        foundry_user(lab, store)
    elif way == "%labauth":
        monkeypatch.setenv("QBENCH_URL", tenant)
        monkeypatch.setenv("QBENCH_CLIENT_ID", CLIENT["client_id"])
        monkeypatch.setenv("QBENCH_CLIENT_SECRET", CLIENT["client_secret"])
        magic.LabauthMagics().labauth(f"login qbench --remember --store {store}")
        assert re.search(f"Not remembered: {why}", capsys.readouterr().out)
    else:
        panel = LoginPanel(plan(Wish("qbench", tenant=tenant, remember=CREDENTIALS, store=store)))
        # the form says what it offers, and keeps to that: a file, where there is no keyring
        said = panel.form()["store_words"]
        panel.heard({"type": "submit", "fields": CLIENT, "remember": "credentials"})
        kept = panel.state()["login"]["kept"]
        if store == KEYRING:
            assert said.startswith("No keyring can be used here. Kept in a file that only you can")
            assert kept == "Remembered in the file store."
            return
        assert said == ""
        assert re.match(f"Not remembered: {why}", kept)
    (mine,) = _LOGINS.values()
    assert re.match(f"Not remembered: {why}", mine.kept)
    assert mine.kept in repr(mine)
    assert mine.status == "valid"
    assert not (data / "entries").exists()


def test_a_full_store(lab: Lab, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign-in stands, and says that it is not remembered and why; nothing is listed."""
    if store == KEYRING:
        refuse(monkeypatch, "set_password")
    else:
        monkeypatch.setattr(
            stores.os,
            "fsync",
            lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
    mine = qbench(lab, store=store)
    assert mine.kept.startswith("Not remembered: ")
    assert "No space left" in mine.kept or "did not keep it: OSError" in mine.kept
    assert CLIENT["client_secret"] not in repr(mine)
    assert mine.session().get("orders").status_code == 200
    assert heads() == []


@pytest.mark.parametrize("keeps", [CREDENTIALS, REFRESH_TOKEN])
def test_a_store_that_fills_up_later(
    lab: Lab, clock: None, keeps: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that came and could not be written is used all the same, for 1 token request; the
    next renewal starts from it.

    Where the refresh token is all there is, it is taken out of the store: no other kernel may use
    the old one again.
    """
    mine, before = fresh(lab, "qbench", lambda: qbench(lab, keeps, store))
    forget_here()
    again = login("qbench")
    place, put = stores.BACKENDS[store], stores.BACKENDS[store].put
    expire(lab, mine)
    with monkeypatch.context() as full:

        def only_doubts(key: Any, text: Any) -> None:
            if '"pending":true' not in text:
                raise StoreUnavailable("full")
            put(key, text)

        full.setattr(place, "put", only_doubts)
        assert again.session().get("orders").status_code == 200
    assert lab.token_requests("qbench") - before == 1
    again.refresh()
    assert again.session().get("orders").status_code == 200
    assert lab.token_requests("qbench") - before == 2
    if keeps == "refresh-token":
        assert again.kept == "No longer remembered: it could not be written any more."
        assert heads() == []
    else:
        assert again.shared is not None
        assert accepted(lab, again.shared.ref)


def test_a_locked_keyring(lab: Lab, clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cannot unlock it is not kept from signing in: it is named among the reasons, and
    renewals go on."""
    mine, _ = fresh(lab, "qbench", lambda: qbench(lab))
    tenant = lab.origin("qbench")
    refuse(monkeypatch)
    expire(lab, mine)
    assert mine.session().get("orders").status_code == 200  # from the secret
    forget_here()
    with pytest.raises(
        MissingCredentials,
        match=r"Client secret are missing.*The keyring .* did not read it: OSError\. Unlock it",
    ):
        login("qbench", tenant=tenant)
    with pytest.raises(MissingCredentials, match="did not read it: OSError"):
        login("qbench")
    given = login("qbench", tenant=tenant, **CLIENT)
    assert given.session().get("orders").status_code == 200
    assert "did not read it" in given.found.story()
    assert "locked" not in given.found.story()
    assert logout("qbench")[0].startswith("Signed out of QBench")
    with pytest.raises(StoreUnavailable, match="did not delete it"):
        logout("qbench")
    assert len(heads()) == 1


def test_a_locked_keyring_without_a_secret(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the refresh token only, it is not used while it cannot be written: others would be
    burnt. Later it is."""
    qbench(lab, REFRESH_TOKEN)
    forget_here()
    mine = login("qbench")
    before = lab.token_requests("qbench")
    with monkeypatch.context() as locked:
        refuse(locked)
        with pytest.raises(
            StoreUnavailable, match=r"did not read it: OSError\. Unlock it and try again"
        ):
            mine.refresh()
        assert mine.session().get("orders").status_code == 200
        said = logout("qbench")[0]
        assert "It is still remembered: The keyring" in said
    assert lab.token_requests("qbench") == before
    forget_here()
    login("qbench").refresh()


# Words and names


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel for magic lines, with a data folder of its own."""
    folder = tmp_path_factory.mktemp("shell")
    env = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "PYTHON_KEYRING_BACKEND": ALT,
    }
    env |= {
        "IPYTHONDIR": str(folder / "ipython"),
        "KEYRING_PROPERTY_FILE_PATH": str(folder / "ring" / "ring.cfg"),
    }
    it = Kernel(folder, env)
    it.run(
        "%load_ext labauth_nb\nimport labauth_nb, labauth_nb.notebook.panel;"
        " labauth_nb.notebook.panel.HELLO_SECONDS = 0.1"
    )
    it.run("from labauth_nb.credentials.stores import heads")
    yield it
    it.stop()


@pytest.mark.parametrize(
    ("line", "keeps", "store"),
    [
        ("--remember qbench --tenant {tenant}", CREDENTIALS, KEYRING),
        ("qbench --tenant {tenant} --remember", CREDENTIALS, KEYRING),
        ("qbench --remember --tenant {tenant}", CREDENTIALS, KEYRING),
        ("qbench --tenant {tenant} --remember credentials", CREDENTIALS, KEYRING),
        ("qbench --tenant {tenant} --remember refresh-token", REFRESH_TOKEN, KEYRING),
        ("qbench --remember=refresh-token --tenant {tenant}", REFRESH_TOKEN, KEYRING),
        ("--remember refresh-token qbench --tenant {tenant} --store file", REFRESH_TOKEN, FILE),
        ("qbench --tenant {tenant} --store file", CREDENTIALS, FILE),
        ("qbench --remember= --tenant {tenant}", CREDENTIALS, KEYRING),
        ("qbench --tenant {tenant} --store=keyring", CREDENTIALS, KEYRING),
    ],
)
def test_the_words(lab: Lab, shell: Kernel, line: str, keeps: str, store: str) -> None:
    """--remember takes the next word only where that says what is kept; --store says where, and
    asks for it by itself."""
    said = shell.text(
        f"%labauth login {line.format(tenant=lab.origin('qbench'))}", list(CLIENT.values())
    )
    assert f"Remembered in the {PLACES[store]}." in said, said
    assert shell.text("print([(h.remember, h.store) for h in heads()])") == f"[{(keeps, store)}]\n"
    assert "no longer remembered" in shell.text("%labauth logout qbench")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "qbench --remember=everything",
            "InvalidInput: What is to be remembered? Choose one of: credentials, refresh-token.",
        ),
        (
            "qbench --remember --store cloud",
            "InvalidInput: There is no store 'cloud'. Choose one of: keyring, file",
        ),
        ("qbench --remember everything", "InvalidInput: Unknown option or argument"),
        ("--remember", "InvalidInput: Which provider? Type %labauth login benchling"),
        ("--remember credentials", "InvalidInput: Which provider? Type %labauth login benchling"),
        (
            "benchling --method app --remember refresh-token",
            "InvalidInput: Benchling app has no refresh token: write --remember",
        ),
        (
            "dnanexus --method browser --remember",
            "InvalidInput: DNAnexus browser gives nothing that could be remembered",
        ),
        (
            "dnanexus --method job --remember",
            "InvalidInput: A job's token is not remembered: the job supplies it.",
        ),
    ],
)
def test_bad_words(shell: Kernel, line: str, said: str) -> None:
    """A word that is none, or a method that has nothing to keep: one message, before anything is
    asked for."""
    shell.prompts.clear()
    (output,) = shell.run(f"%labauth login {line} --tenant http://127.0.0.1:9")
    assert "\n".join(output["traceback"]).startswith(said)
    assert not shell.prompts


def test_the_sandbox_remembers_what_was_typed_only(lab: Lab, store: str) -> None:
    """The sandbox supplies its own credentials: those are not kept; a secret that was typed is, and
    its token is not."""
    mine = login("qbench", tenant="sandbox", remember=True, store=store)
    assert mine.kept == "Not remembered: the sandbox supplies it."
    assert heads() == []
    login(
        "qbench",
        tenant="sandbox",
        remember=True,
        store=store,
        client_secret=CLIENT["client_secret"],
    )
    entry = EntryRef(store, "qbench", "sandbox", "qbench").read()
    assert entry is not None
    assert entry.token is None
    forget_here()
    again = login("qbench")
    assert again.sandbox
    assert PLACES[store] in again.found.source()
    again.refresh()
    entry = EntryRef(store, "qbench", "sandbox", "qbench").read()
    assert entry is not None
    assert entry.token is None
    assert "no longer remembered" in logout("qbench")[0]
    assert heads() == []


@pytest.mark.parametrize(
    ("provider", "method"), [("benchling", "api-key"), ("foundry", "token"), ("qbench", "client")]
)
def test_log_out_in_the_same_kernel(lab: Lab, provider: str, method: str, store: str) -> None:
    """What this kernel has remembered itself is forgotten by its log out, also where it has no
    token to share."""
    fields = lab.credentials(provider, method)
    login(provider, method, tenant=lab.origin(provider), remember=True, store=store, **fields)
    assert len(heads()) == 1
    assert "It is no longer remembered" in logout(provider, revoke=False)[0]
    assert heads() == []


def test_several_tenants_under_one_name(lab: Lab) -> None:
    """Which one is meant is asked, never guessed; --tenant says it, in any spelling."""
    one, two = lab.origin("qbench"), lab.origin("qbench").replace("127.0.0.1", "localhost")
    qbench(lab)
    forget_here()
    login("qbench", tenant=two, remember=True, **CLIENT)
    assert [head.tenant for head in heads()] == [one, two]
    forget_here()
    with pytest.raises(
        InvalidInput,
        match=f"^qbench is remembered for several addresses: {one}, {two}. Say which with --tenant",
    ):
        login("qbench")
    assert login("qbench", tenant=f"{two}/orders?x=1").tenant == two
    forget_here()
    said = logout("qbench", forget=True)
    assert said == [
        f"qbench ({tenant}) is no longer remembered (it was in the keyring)."
        for tenant in (one, two)
    ]


@pytest.mark.parametrize(
    "name", ["qbench-prod", "Ünï☃", "a/b\\..", "x" * 200, "quote'\"", "${HOME}", "--"]
)
def test_names(lab: Lab, name: str, store: str, data: Path) -> None:
    """Any word may name a login; it is never a path."""
    if name == "--":
        with pytest.raises(InvalidInput, match="cannot name a login"):
            login("qbench", tenant=lab.origin("qbench"), name=name, remember=True, **CLIENT)
        return
    login("qbench", tenant=lab.origin("qbench"), name=name, remember=True, store=store, **CLIENT)
    forget_here()
    assert login("qbench", name=name).found.source() == f"remembered in the {PLACES[store]}"
    assert {path.parent.name for path in data.rglob("*") if path.is_file()} <= {
        "heads",
        "entries",
        "locks",
    }
    assert "no longer remembered" in logout(name)[0]


def test_the_wrong_secret_is_not_remembered(lab: Lab) -> None:
    """Only what has signed in is kept; a remembered secret that has become wrong is said to be
    remembered, and how to go on."""
    with pytest.raises(SignInRefused):
        qbench(lab, client_secret="wrong-secret-000000000000000000001")
    assert heads() == []
    qbench(lab)
    forget_here()
    lab.set("qbench", client_secret="another-client-secret-000000000002")
    lab.revoke("qbench", refresh=True)
    with pytest.raises(
        SignInRefused,
        match=r"It was remembered in the keyring: sign in again with --ask, or forget it with",
    ):
        login("qbench")
    forget_here()
    newer = qbench(lab, client_secret="another-client-secret-000000000002")
    assert newer.kept == "Remembered in the keyring."


def test_no_refresh_token_came(lab: Lab) -> None:
    """Without offline_access there is nothing to keep, and the message says how to get it."""
    attempt = begin(
        "foundry",
        "user",
        tenant=lab.origin("foundry"),
        client_id=PUBLIC,
        scopes="api:ontologies-read",
        remember=True,
    )
    mine: Login = attempt.answer(lab.visit(attempt.url))
    assert (
        mine.kept
        == "Not remembered: Foundry gave no refresh token (ask for the scope offline_access)."
    )
    assert heads() == []


def test_no_refresh_token_although_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has asked for offline_access is told that the identity provider did not grant it."""
    app = lab.sites["idp"].app
    real = app.view_functions["token"]

    def without() -> Any:
        response = real()
        response.data = json.dumps({**response.get_json(), "refresh_token": None})
        return response

    monkeypatch.setitem(app.view_functions, "token", without)
    way = {"tenant": lab.origin("benchling"), "issuer": lab.origin("idp")}
    attempt = begin("benchling", "oidc", client_id="sandbox-benchling-oidc", remember=True, **way)
    mine: Login = attempt.answer(lab.visit(attempt.url))
    assert (
        mine.kept
        == "Not remembered: The identity provider gave no refresh token, although offline_access "
        "was asked for (ask its admin to allow it for this client)."
    )


def test_the_other_store_asked_for_later(lab: Lab) -> None:
    """Asked for in the other store, it moves there: one place only."""
    qbench(lab)
    forget_here()
    assert login("qbench", remember=True, store=FILE).kept == "Remembered in the file store."
    assert [head.store for head in heads()] == [FILE]
    forget_here()
    again = login("qbench")
    assert again.found.source() == "remembered in the file store"
    again.refresh()
    assert again.session().get("orders").status_code == 200


UNASKED = """
import sys, labauth_nb
from labauth_nb.credentials import files, stores
labauth_nb.login("qbench", tenant=sys.argv[1], client_id=sys.argv[2], client_secret=sys.argv[3])
labauth_nb.session("qbench").get("orders")
labauth_nb.logout("qbench")
ref = stores.EntryRef(stores.KEYRING, "qbench", sys.argv[1], "qbench")
assert ref.read() is None and ref.forget() is False
assert stores.heads() == labauth_nb.logout(all=True, forget=True) == []
print("keyring" in sys.modules, files.data_folder().exists())
"""


def test_nothing_is_remembered_unasked(lab: Lab, tmp_path: Path) -> None:
    """Who never says --remember has no data folder, and keyring is not even imported: not to sign
    in, nor to look."""
    script = [sys.executable, "-c", UNASKED, lab.origin("qbench"), *CLIENT.values()]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.split() == ["False", "False"], ended.stderr
    assert not (tmp_path / "ring").exists()


def test_the_expired_refresh_token(lab: Lab, clock: None) -> None:
    """Over for good: where nobody can be asked, one message says what happened and what to type."""
    lab.set("foundry", refresh_life=1, life=1)
    foundry_user(lab)
    forget_here()
    lab.clock.advance(2)
    said = r"The remembered login has expired: keyring: Foundry no longer accepts the refresh"
    with pytest.raises(MissingCredentials, match=said):
        login("foundry", "user", tenant=lab.origin("foundry"))
    with pytest.raises(LoginExpired):
        _renew_expired(lab)


def _renew_expired(lab: Lab) -> None:
    (head,) = heads()
    entry = head.ref.read()
    assert entry is not None
    provider = labauth_nb.providers.PROVIDERS["foundry"]
    origin = lab.origin("foundry")
    exchange = Exchange(provider, provider.method("user"), origin, origin, entry.fields, WALL)
    SharedEntry(head.ref, entry.id).renewed(exchange, None, None, GRANTS["authorization_code"])


def test_issuers_keys_are_down_at_a_renewal(lab: Lab) -> None:
    """A short failure of the identity provider's keys costs no sign-in: the refresh token is kept,
    whether sent or not."""
    attempt = begin(
        "benchling",
        "oidc",
        tenant=lab.origin("benchling"),
        remember=True,
        store="file",
        **lab.credentials("benchling", "oidc"),
    )
    attempt.answer(lab.visit(attempt.url))
    forget_here()
    mine = login("benchling")
    exchange_of(mine).keys = None  # as in a new kernel
    lab.next("idp", 500, times=3, path="/jwks")
    with pytest.raises(LabauthError):
        mine.refresh()
    mine.refresh()
    assert mine.session().get("plates").status_code == 200
    forget_here()
    assert login("benchling").session().get("plates").status_code == 200


def test_logout_forgets_what_an_earlier_kernel_remembered(lab: Lab) -> None:
    """Signing in again without --remember and logging out leaves nothing behind under that name."""
    fields = lab.credentials("foundry", "user")
    for keep in (True, False):
        attempt = begin(
            "foundry", "user", tenant=lab.origin("foundry"), remember=keep, store="file", **fields
        )
        attempt.answer(lab.visit(attempt.url))
        if keep:
            forget_here()
    assert "no longer remembered" in logout("foundry")[0]
    assert heads() == []


def test_logout_all_ends_what_is_under_way(lab: Lab) -> None:
    """`logout --all` cancels a browser sign-in that is under way, and a head that cannot be read
    keeps nobody signed in."""
    attempt = begin("foundry", "user", tenant="sandbox")
    login("benchling", tenant="sandbox")
    said = logout(all=True)
    assert said[0] == "A sign-in to Foundry in progress was cancelled."
    assert attempt.state == "over"
    login("benchling", tenant="sandbox")
    (files.data_folder() / "heads" / "unreadable.json").mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="Signed out of Benchling"):
        logout(all=True, forget=True)
    assert not len(status())
