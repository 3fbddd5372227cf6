"""Files that supply credentials, a hostile one among them: what is read, how often, and what is
said of the others."""

from __future__ import annotations

import grp
import os
import pwd
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labauth_nb import MissingCredentials, login
from labauth_nb.credentials import vendor_files
from labauth_nb.credentials.sources import collect
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import panel
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

BENCHLING, FOUNDRY = PROVIDERS["benchling"], PROVIDERS["foundry"]
KEY = "BENCHLING_API_KEY=sk_kanari_of_a_file_0001\n"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    path.write_text(KEY + "# padding\n" * 2_000_000)


def another_users(path: Path) -> None:
    path.write_text(KEY)
    os.chown(path, 12345, -1)


def everybody_writes(path: Path) -> None:
    path.write_text(KEY)
    path.chmod(0o666)


def a_group_writes(path: Path) -> None:
    path.write_text(KEY)
    os.chown(path, -1, 12345)
    path.chmod(0o664)


def anothers_link(path: Path) -> None:
    mine = path.with_name("mine")
    mine.write_text(KEY)
    path.symlink_to(mine)
    os.lchown(path, 12345, -1)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (fifo, "it is not a regular file"),
    (device, "it is not a regular file"),
    (huge, "it is larger than 64 kB"),
    (another_users, "it belongs to another user; copy it to make it yours"),
    (anothers_link, "it belongs to another user; copy it to make it yours"),
    (everybody_writes, "other users can write to it; run chmod go-w on it"),
    (a_group_writes, "other users can write to it; run chmod go-w on it"),
]


@pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("LABAUTH_NO_SKIP"),
    reason="only root can give a file away",
)
@pytest.mark.parametrize(("make", "why"), BAD, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("name", [".env", ".foundry_dev_tools.toml"])
def test_unsafe_files(make: Callable[[Path], None], why: str, name: str) -> None:
    """What somebody else may have written, what never ends or is huge is ignored at once, and the
    message says why."""
    Path(".git").mkdir()
    path, began = Path(name).absolute(), time.monotonic()
    make(path)
    provider, method = (BENCHLING, "api-key") if name == ".env" else (FOUNDRY, "token")
    found = collect(provider, provider.method(method), "acme", {})
    assert time.monotonic() - began < 2
    assert set(found.fields) == {"tenant"}
    assert any(f"{path} was ignored ({why})" in reason for reason in found.reasons), found.reasons
    with pytest.raises(MissingCredentials) as caught:
        login(provider.name, method, tenant="acme")
    assert why in str(caught.value)


def test_a_folder_called_dotenv() -> None:
    """A virtual environment called .env hides no .env above it."""
    Path(".env").write_text(KEY)
    folder = Path("below/.env")
    folder.mkdir(parents=True)
    os.chdir("below")
    assert "api_key" in collect(BENCHLING, BENCHLING.method("api-key"), "acme", {}).fields


@pytest.mark.usefixtures("refusable")
@pytest.mark.parametrize("name", [".env", ".foundry_dev_tools.toml"])
def test_a_file_that_may_not_be_read(name: str) -> None:
    """A file that this user may not read is ignored, and the message says so."""
    Path(".git").mkdir()
    Path(name).write_text(KEY)
    Path(name).chmod(0)
    provider, method = (BENCHLING, "api-key") if name == ".env" else (FOUNDRY, "token")
    with pytest.raises(
        MissingCredentials, match=f"{re.escape(name)} was ignored .it could not be read"
    ):
        login(provider.name, method, tenant="acme")


@pytest.mark.usefixtures("refusable")
@pytest.mark.parametrize(
    ("provider", "method"),
    [("benchling", "api-key"), ("foundry", "token"), ("dnanexus", "api-token")],
)
def test_folders_that_may_not_be_searched(provider: str, method: str) -> None:
    """Where this user may search neither the folders above nor those at home, nothing is found
    there, and nothing breaks."""
    below = Path("closed/below")
    below.mkdir(parents=True)
    closed = [Path("closed").absolute(), Path.home() / ".config", Path.home() / ".dnanexus_config"]
    os.chdir(below)
    for folder in closed:
        folder.mkdir(exist_ok=True)
        folder.chmod(0)
    try:
        with pytest.raises(MissingCredentials):
            login(provider, method, tenant="acme" if provider != "dnanexus" else None)
    finally:
        for folder in closed:
            folder.chmod(0o700)


def test_own_group() -> None:
    """Where umask is 002 files belong to the user's own group: it may write them where nobody else
    is in it."""
    Path(".env").write_text(KEY)
    Path(".env").chmod(0o664)
    group = grp.getgrgid(Path(".env").stat().st_gid)
    alone = group.gr_name == pwd.getpwuid(os.geteuid()).pw_name and not group.gr_mem
    assert (
        "api_key" in collect(BENCHLING, BENCHLING.method("api-key"), "acme", {}).fields
    ) == alone


@pytest.mark.parametrize("provider", PROVIDERS)
def test_read_once(lab: Lab, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in reads each file once: the form with all its methods, its updates and the submit
    after it together."""
    read: list[str] = []
    real = vendor_files.small_text
    for room in (vendor_files, panel.credentials):
        monkeypatch.setattr(
            room, "small_text", lambda path, **how: (read.append(str(path)), real(path, **how))[1]
        )
    Path(".env").write_text("UNRELATED=1\n")
    Path(".git").mkdir()
    login(provider, tenant="sandbox")
    assert read.count(str(Path(".env").absolute())) == 1
    read.clear()
    form = panel.LoginPanel(plan(Wish(provider)), True)
    for _ in range(3):
        form.state()
    form.heard({"type": "submit", "fields": {"tenant": "sandbox"}})
    assert form.login is not None
    assert read.count(str(Path(".env").absolute())) == 1
    assert len(read) == len(set(read))
