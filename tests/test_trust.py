"""A secret goes only to an address that a source at least as trusted as its own has named; else a
person is asked."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import exchange_of, forget_logins
from kernels import Kernel
from test_hostile import Server, token_answer

from labauth_nb import MissingCredentials, ProviderError, UntrustedOrigin, begin, login, logout
from labauth_nb.credentials import presets, stores
from labauth_nb.credentials import sources as credentials
from labauth_nb.credentials.trust import (
    ASKED,
    CONFIG,
    DEFAULT,
    ENVIRONMENT,
    GIVEN,
    LINE,
    Source,
    Trust,
    may_go,
)
from labauth_nb.logins import logins
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.notebook import panel, terminal
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

SECRET = "kanari-secret-of-mine-0001"
HOME, OTHER_HOME = (Source("dx login", Trust.HOME, f"/home/{n}") for n in "ab")
TREE, OTHER_TREE = (Source(".env", Trust.TREE, f"/repo/{n}/.env") for n in "ab")
ORDER = [GIVEN, CONFIG, ENVIRONMENT, HOME, TREE]


@pytest.fixture
def evil() -> Iterator[Server]:
    """Whoever listens where a hostile file points to; takes whatever it gets."""
    it = Server()
    it.answer = lambda verb, path, *_: (
        token_answer() if "token" in path.lower() else (200, {}, b"{}")
    )
    threading.Thread(target=it.serve_forever, daemon=True).start()
    yield it
    it.shutdown()
    it.server_close()


@pytest.mark.parametrize("address", ORDER, ids=str)
@pytest.mark.parametrize("secret", ORDER, ids=str)
def test_the_order(secret: Source, address: Source) -> None:
    """The whole table: a secret may go to what its own source or one that is trusted more has
    named, and nowhere else."""
    assert may_go(secret, address) == (ORDER.index(address) <= ORDER.index(secret))


def test_files_trust_no_other_file() -> None:
    """Two files of the working tree, or of the home, are no two witnesses; what is typed and what
    is built in are."""
    assert not may_go(TREE, OTHER_TREE)
    assert not may_go(HOME, OTHER_HOME)
    assert not may_go(TREE, LINE)
    assert may_go(ASKED, GIVEN)
    assert all(may_go(source, DEFAULT) for source in ORDER)


def dotenv(**values: str) -> str:
    path = Path(".env").absolute()
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    path.chmod(0o600)
    return str(path)


def toml(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[credentials]\n{text}\n")
    return str(path)


Setting = Callable[[str, pytest.MonkeyPatch], tuple[str, str, dict[str, str], str]]
"""Given an address: a hostile folder around a victim; what is called, with what, and which file the
message must name."""


def password(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    return (
        "dnanexus",
        "password",
        {"username": "ada", "password": SECRET},
        dotenv(DX_APISERVER_HOST=url),
    )


def a_folder_above(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    file = dotenv(DX_APISERVER_HOST=url)
    Path("deep/er").mkdir(parents=True)
    patch.chdir("deep/er")
    return "dnanexus", "password", {"username": "ada", "password": SECRET}, file


def token_of_the_environment(
    url: str, patch: pytest.MonkeyPatch
) -> tuple[str, str, dict[str, str], str]:
    patch.setenv("FOUNDRY_TOKEN", SECRET)
    return "foundry", "token", {}, dotenv(FOUNDRY_HOSTNAME=url)


def home_jwt(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    toml(Path.home() / ".config/foundry-dev-tools/config.toml", f'jwt = "{SECRET}"')
    Path(".git").mkdir()
    return (
        "foundry",
        "token",
        {},
        toml(Path(".foundry_dev_tools.toml").absolute(), f'domain = "{url}"'),
    )


def home_client(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    oauth = (
        'oauth = {grant_type = "client_credentials", client_id = "i", client_secret ='
        f' "{SECRET}"}}'
    )
    toml(Path.home() / ".foundry-dev-tools/config.toml", oauth)
    Path(".git").mkdir()
    return (
        "foundry",
        "service-user",
        {},
        toml(Path(".foundry_dev_tools.toml").absolute(), f'domain = "{url}"'),
    )


def dotenv_above_and_repository(
    url: str, patch: pytest.MonkeyPatch
) -> tuple[str, str, dict[str, str], str]:
    dotenv(FOUNDRY_TOKEN=SECRET)
    repository = Path("cloned").absolute()
    (repository / ".git").mkdir(parents=True)
    patch.chdir(repository)
    return "foundry", "token", {}, toml(repository / ".foundry_dev_tools.toml", f'domain = "{url}"')


def issuer(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    for name, value in (
        ("TENANT", "acme"),
        ("OIDC_CLIENT_ID", "i"),
        ("OIDC_CLIENT_SECRET", SECRET),
    ):
        patch.setenv(f"LABAUTH_BENCHLING_{name}", value)
    return "benchling", "oidc", {}, dotenv(LABAUTH_BENCHLING_ISSUER=url)


def plain_http(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    patch.setenv("BENCHLING_API_KEY", SECRET)
    return "benchling", "api-key", {}, dotenv(BENCHLING_URL=url)


def page(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    patch.setenv("FOUNDRY_CLIENT_ID", "i")
    return "foundry", "user", {}, dotenv(FOUNDRY_HOSTNAME=url)


def redirect(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    return "dnanexus", "browser", {}, dotenv(LABAUTH_DNANEXUS_REDIRECT_URI=f"{url}/landed")


def dx_login(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    file = Path.home() / ".dnanexus_config/environment.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"DX_SECURITY_CONTEXT": json.dumps({"auth_token": SECRET})}))
    return "dnanexus", "api-token", {}, dotenv(DX_APISERVER_HOST=url)


def given_key(url: str, patch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, str], str]:
    patch.setenv("BENCHLING_URL", url)
    return "benchling", "api-key", {"api_key": SECRET}, "BENCHLING_URL in the environment"


SETTINGS = [
    password,
    a_folder_above,
    token_of_the_environment,
    home_jwt,
    home_client,
    dotenv_above_and_repository,
    issuer,
    plain_http,
    page,
    redirect,
    dx_login,
    given_key,
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.__name__)
def test_hostile_folders(setting: Setting, evil: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, no name is looked up; the message names the address, who named it, and what
    to type."""
    provider, method, given, named_by = setting(evil.url, monkeypatch)
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address))
    call = begin if PROVIDERS[provider].method(method).flow else login
    # without a host it is api.dnanexus.com's, so that the file's address is ignored
    if setting is dx_login:
        found = credentials.collect(
            PROVIDERS[provider], PROVIDERS[provider].method(method), None, {}
        )
        assert found.fields == {"tenant": evil.url}
        assert any("it is for api.dnanexus.com" in reason for reason in found.reasons)
        return
    with pytest.raises(UntrustedOrigin) as caught:
        call(provider, method, **given)
    said = str(caught.value)
    assert evil.url in said
    assert named_by in said
    assert f"='{evil.url}" in said
    assert "kanari" not in said
    assert evil.seen == []
    assert asked == []


@pytest.mark.parametrize(
    "setting", [s for s in SETTINGS if s not in (dx_login, issuer)], ids=lambda each: each.__name__
)
def test_what_the_message_says_to_type(
    setting: Setting, evil: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is named in the call is a decision: then it is sent there."""
    provider, method, given, _ = setting(evil.url, monkeypatch)
    if PROVIDERS[provider].method(method).flow:
        where = (
            {"redirect_uri": f"{evil.url}/landed"} if setting is redirect else {"tenant": evil.url}
        )
        evil.server_close()  # its port is taken by the listener now
        attempt = begin(provider, method, **given, **where)
        assert evil.url.removeprefix("http://") in attempt.url.replace("%3A", ":")
        attempt.cancel()
        return
    if setting in (home_jwt, home_client, dotenv_above_and_repository):
        Path(".foundry_dev_tools.toml").unlink()
    with contextlib.suppress(ProviderError):  # whatever it makes of it
        login(provider, method, tenant=evil.url, **given)
    assert evil.seen


def test_a_yes_is_remembered(evil: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One question with the address on a line of its own and the file; a yes holds for that file
    and that address only."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    questions: list[str] = []
    answers: list[str] = []
    monkeypatch.setattr(
        "builtins.input", lambda question: (questions.append(question), answers.pop())[1]
    )
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "i")
    monkeypatch.setenv("BENCHLING_CLIENT_SECRET", SECRET)
    file = dotenv(BENCHLING_URL=evil.url)
    answers.append("")
    with pytest.raises(UntrustedOrigin, match="because you did not answer yes"):
        login("benchling")
    assert evil.seen == []
    assert f"\n    {evil.url}\n" in questions[0]
    assert file in questions[0]
    assert "Client secret (BENCHLING_CLIENT_SECRET in the environment)" in questions[0]
    answers.append("y")
    login("benchling")
    assert evil.seen
    stores._agreed.clear()  # as in the next kernel
    forget_logins()
    login("benchling")
    assert len(questions) == 2
    dotenv(BENCHLING_URL="http://127.0.0.1:9")
    answers.append("n")
    with pytest.raises(UntrustedOrigin):
        login("benchling")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    dotenv(BENCHLING_URL=evil.url)
    answers.append("n")
    with pytest.raises(UntrustedOrigin):
        login("benchling")
    assert len(questions) == 4
    logout(all=True, forget=True)
    assert not list((tmp_path / "data").rglob("agreed/*"))


def test_a_prompt_shows_where(evil: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt for a secret names the resolved address, and the file that named it: to type there
    is the decision."""
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    prompts: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: (prompts.append(prompt), SECRET)[1])
    file = dotenv(DX_APISERVER_HOST=evil.url, DX_USERNAME="ada")
    login("dnanexus", "password")
    assert prompts[0].startswith(
        f"DNAnexus Password for {evil.url} (named by DX_APISERVER_HOST in .env ({file})) ("
    )
    assert len(prompts) == 1
    monkeypatch.setenv("BENCHLING_TENANT", "acme")
    prompts.clear()
    with pytest.raises(Exception, match=r"acme\.benchling\.com"):
        login("benchling", "api-key")
    assert prompts[0].startswith("Benchling API key for https://acme.benchling.com (")


def test_presets_stand_above_the_working_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin's tenant and issuer win over .env and over a repository's settings, which keep what
    they hold."""
    values = {
        "tenants": {"foundry": "acme", "benchling": "acme"},
        "issuers": {"benchling": "https://acme.okta.com"},
    }
    monkeypatch.setattr(presets, "presets", presets.LabAuth(**values))
    dotenv(
        FOUNDRY_HOSTNAME="evil.example",
        FOUNDRY_TOKEN="of-dotenv",
        LABAUTH_BENCHLING_ISSUER="https://evil.example",
        LABAUTH_BENCHLING_OIDC_CLIENT_SECRET="of-dotenv",
    )
    foundry, benchling = PROVIDERS["foundry"], PROVIDERS["benchling"]
    found = credentials.collect(foundry, foundry.method("token"), None, {})
    assert found.fields == {"tenant": "acme"}
    assert ".env was ignored: it is for evil.example, not for acme" in found.reasons
    found = credentials.collect(benchling, benchling.method("oidc"), None, {})
    assert found.fields["issuer"] == "https://acme.okta.com"
    assert "client_secret" not in found.fields
    Path(".env").unlink()
    Path(".git").mkdir()
    toml(Path(".foundry_dev_tools.toml"), 'domain = "evil.example"\njwt = "of-the-repository"')
    assert credentials.collect(foundry, foundry.method("token"), None, {}).fields == {
        "tenant": "acme"
    }
    dotenv(FOUNDRY_HOSTNAME="acme.palantirfoundry.com", FOUNDRY_TOKEN="of-dotenv")
    found = credentials.collect(foundry, foundry.method("token"), None, {})
    assert found.fields["token"] == "of-dotenv"
    assert credentials.doubts(foundry, foundry.method("token"), found) == []


def test_each_file_keeps_its_secrets() -> None:
    """What foundry-dev-tools' files hold is not mixed: a repository's domain takes no jwt of the
    home's file along."""
    foundry = PROVIDERS["foundry"]
    home = toml(
        Path.home() / ".config/foundry-dev-tools/config.toml",
        f'domain = "acme.example"\njwt = "{SECRET}"',
    )
    found = credentials.collect(foundry, foundry.method("token"), None, {})
    assert (found.fields["token"], found.sources["token"].file) == (SECRET, home)
    Path(".git").mkdir()
    toml(Path(".foundry_dev_tools.toml"), 'domain = "evil.example"')
    found = credentials.collect(foundry, foundry.method("token"), None, {})
    assert found.fields == {"tenant": "evil.example"}
    why = "it is for acme.example, not for evil.example"
    assert f"foundry-dev-tools was ignored: {why}" in found.reasons


@pytest.mark.parametrize("where", ["dotenv", "environment"])
def test_the_same_source_is_not_asked_about(
    where: str, evil: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .env, or an environment, that holds the secret and its address is one decision: nobody is
    asked."""
    values = {
        "BENCHLING_URL": evil.url,
        "BENCHLING_CLIENT_ID": "i",
        "BENCHLING_CLIENT_SECRET": SECRET,
    }
    if where == "dotenv":
        dotenv(**values)
    for name, value in values.items() if where == "environment" else ():
        monkeypatch.setenv(name, value)
    assert login("benchling").origin == evil.url


@pytest.mark.slow
def test_an_unknown_host_on_the_line(evil: Server, tmp_path: Path) -> None:
    """A notebook's line sends what the environment holds to the provider's own hosts; another host
    is asked about first."""
    kernel = Kernel(
        tmp_path,
        {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "i"), "FOUNDRY_TOKEN": SECRET},
    )
    try:
        kernel.run(
            "%load_ext labauth_nb\nimport labauth_nb.notebook.panel;"
            " labauth_nb.notebook.panel.HELLO_SECONDS = 0.1"
        )
        line = f"%labauth login foundry --method token --tenant {evil.url}"
        said = kernel.text(line)
        assert said.startswith(
            "UntrustedOrigin: Nothing was sent. Your Token (FOUNDRY_TOKEN in the environment)"
            f" would be sent to {evil.url}"
        )
        assert "Only the %labauth line of this cell names that address." in said
        assert f"LABAUTH_FOUNDRY_TENANT={evil.url}" in said
        assert "did not answer yes" in kernel.text(line, ["n"])
        assert evil.seen == []
        assert f"    {evil.url}\n" in kernel.prompts[-1]["prompt"]
        kernel.text(line, ["y"])
        assert evil.seen
        evil.seen.clear()
        kernel.text(line)
        assert evil.seen
        assert "could not be found" in kernel.text(
            "%labauth login foundry --method token --tenant nobody-there-0"
        )
    finally:
        kernel.stop()


def test_what_is_remembered_goes_where_it_was_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, evil: Server
) -> None:
    """A refresh token is remembered with its issuer, whoever named that: another issuer of a later
    .env never gets it."""
    monkeypatch.setenv("LABAUTH_BENCHLING_ISSUER", lab.origin("idp"))
    fields = {k: v for k, v in lab.credentials("benchling", "oidc").items() if k != "issuer"}
    attempt = begin(
        "benchling", "oidc", tenant=lab.origin("benchling"), remember=True, store="file", **fields
    )
    attempt.answer(lab.visit(attempt.url))
    forget_logins()
    monkeypatch.delenv("LABAUTH_BENCHLING_ISSUER")
    assert "file store" in login("benchling", "oidc").found.source()
    forget_logins()
    lab.advance("9d")
    dotenv(LABAUTH_BENCHLING_ISSUER=evil.url)
    with pytest.raises(Exception, match="was ignored: it is of another client or address"):
        login("benchling", "oidc")
    assert evil.seen == []


def test_remembered_without_its_issuer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, evil: Server
) -> None:
    """What was remembered without the issuer that it was kept with is not used: nobody can tell
    where it may go."""
    fields = lab.credentials("benchling", "oidc")
    tenant = lab.origin("benchling")
    attempt = begin("benchling", "oidc", tenant=tenant, remember=True, store="file", **fields)
    attempt.answer(lab.visit(attempt.url))
    ref = stores.EntryRef("file", "benchling", logins.get("benchling").tenant, "benchling")
    with ref.locked():
        entry = ref.read()
        assert entry is not None
        del entry.fields["issuer"]
        ref.write(entry)
    forget_logins()
    lab.advance("9d")
    monkeypatch.setenv("LABAUTH_BENCHLING_ISSUER", evil.url)
    with pytest.raises(MissingCredentials):
        login("benchling", "oidc")
    assert evil.seen == []


def test_the_form_shows_it_all(evil: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form: the resolved address of what was found or preset, who named it, what is no secret
    in clear, the question."""
    monkeypatch.setattr(presets, "presets", presets.LabAuth(tenants={"benchling": "acme"}))
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "my-client")
    state = panel.LoginPanel(plan(Wish("benchling", "app"))).state()["form"]
    (app,) = [m for m in state["methods"] if m["name"] == "app"]
    assert app["where"] == [{"field": "tenant", "address": "https://acme.benchling.com", "by": ""}]
    assert app["doubts"] == []
    assert [(f["value"], f["supplied"]) for f in app["fields"][:2]] == [
        ("acme", "preset by your admin"),
        ("my-client", "from the environment (BENCHLING_CLIENT_ID)"),
    ]
    monkeypatch.setattr(presets, "presets", None)
    monkeypatch.setenv("BENCHLING_CLIENT_SECRET", SECRET)
    file = dotenv(BENCHLING_URL=evil.url)
    form = panel.LoginPanel(plan(Wish("benchling", "app")))
    (doubt,) = form.state()["form"]["methods"][0]["doubts"]
    assert doubt["address"] == evil.url
    assert file in doubt["why"]
    form._begin()
    assert evil.seen == []
    form.heard({"type": "submit", "method": "app", "fields": {}})
    assert form.login is not None
    assert evil.seen


def test_success_names_the_address(lab: Lab) -> None:
    """The message after a sign-in shows the resolved address."""
    mine = login("qbench", tenant=lab.origin("qbench"), **lab.credentials("qbench", "client"))
    assert repr(mine).startswith(f"Signed in to QBench ({lab.origin('qbench')})")
    exchange_of(mine).origin = "https://acme.qbench.net"
    assert repr(mine).startswith("Signed in to QBench (https://acme.qbench.net)")


def form_of(
    provider: str, method: str, tenant: str | None = None, ask: bool = True
) -> panel.LoginPanel:
    """The form as `%labauth login --ask` shows it, seen by a page."""
    form = panel.LoginPanel(plan(Wish(provider, method, tenant, line=True)), ask)
    form.state()
    return form


@pytest.mark.parametrize(
    ("shown", "typed"),
    [
        ("acme", ""),
        ("acme", "ac me"),
        (None, "ac me"),
        (None, "acme.evil.example"),
        (None, "a@benchling.com"),
    ],
)
def test_a_yes_is_only_to_what_was_shown(
    shown: str | None, typed: str, evil: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A box that was cleared, or holds a typo, is no yes to the address that the folder names; nor
    is it remembered."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("BENCHLING_API_KEY", SECRET)
    dotenv(BENCHLING_URL=evil.url)
    form = form_of("benchling", "api-key", shown)
    form.heard({"type": "submit", "method": "api-key", "fields": {"tenant": typed, "api_key": ""}})
    assert form.login is None
    assert evil.seen == []
    assert not list((tmp_path / "data").rglob("agreed/*"))
    assert stores._agreed == set()
    (doubt,) = (m["doubts"] for m in form.state()["form"]["methods"] if m["name"] == "api-key")
    assert doubt[0]["address"] == evil.url


def test_again_keeps_the_doubt(evil: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that is shown again still knows that its host stood on the line."""
    monkeypatch.setenv("FOUNDRY_TOKEN", SECRET)
    form = form_of("foundry", "token", evil.url, ask=False)
    for _ in range(2):
        (doubts,) = (m["doubts"] for m in form.state()["form"]["methods"] if m["name"] == "token")
        assert [doubt["address"] for doubt in doubts] == [evil.url]
        form.heard({"type": "again"})


def test_a_yes_is_to_one_provider(
    evil: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A yes for one provider's secret, or for a page to sign in at, lets no other
    secret go there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(terminal, "can_ask", lambda: True)
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: (questions.append(question), "y")[1])
    monkeypatch.setenv("FOUNDRY_TOKEN", SECRET)
    monkeypatch.setenv("BENCHLING_API_KEY", SECRET)
    dotenv(FOUNDRY_HOSTNAME=evil.url, BENCHLING_URL=evil.url)
    for provider, method in (("foundry", "token"), ("benchling", "api-key"), ("foundry", "token")):
        with contextlib.suppress(ProviderError):
            login(provider, method)
    assert len(questions) == 2


def test_a_tenant_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose own tenant cannot be read keeps its secrets, unless the person names the
    tenant."""
    monkeypatch.setenv("DX_APISERVER_HOST", "stag.example")
    monkeypatch.setenv("DX_APISERVER_PORT", "eight")
    monkeypatch.setenv("DX_SECURITY_CONTEXT", json.dumps({"auth_token": SECRET}))
    dnanexus = PROVIDERS["dnanexus"]
    assert (
        "token" not in credentials.collect(dnanexus, dnanexus.method("api-token"), None, {}).fields
    )
    given = credentials.collect(dnanexus, dnanexus.method("api-token"), "api.cn.dnanexus.com", {})
    assert given.fields["token"] == SECRET


def test_a_preset_host_stands_above_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no host takes the admin's, not the provider's default; a user name
    alone names none."""
    monkeypatch.setattr(
        presets, "presets", presets.LabAuth(tenants={"dnanexus": "api.cn.dnanexus.com"})
    )
    monkeypatch.setenv("DX_SECURITY_CONTEXT", json.dumps({"auth_token": SECRET}))
    monkeypatch.setenv("DX_USERNAME", "ada")
    dnanexus = PROVIDERS["dnanexus"]
    for method in ("api-token", "password"):
        found = credentials.collect(dnanexus, dnanexus.method(method), None, {})
        assert found.fields["tenant"] == "api.cn.dnanexus.com"
    assert found.fields["username"] == "ada"


def test_a_redirect_on_the_line() -> None:
    """Where a code is bound to nothing, another computer that a line sends it to is asked about,
    and shown."""
    dnanexus = PROVIDERS["dnanexus"]
    for redirect, doubted in (("https://evil.example/cb", 1), ("http://127.0.0.1:8765/", 0)):
        sources = credentials.Sources(line=True)
        found = credentials.collect(
            dnanexus, dnanexus.method("browser"), None, {"redirect_uri": redirect}, sources
        )
        doubts = credentials.doubts(dnanexus, dnanexus.method("browser"), found)
        assert [doubt.address for doubt in doubts] == [redirect][:doubted]
        assert all("your browser would take its code to" in str(doubt) for doubt in doubts)
        shown = [
            place.address
            for place in credentials.places(dnanexus, dnanexus.method("browser"), found)
        ]
        assert ("https://evil.example/cb" in shown) == bool(doubted)


FORGED = [
    "https://evil.example/\x1b[2Khttps://acme.okta.com",
    "https://acme.okta.com@evil.example",
    "https://evil.example/ is not used; your secret goes to https://acme.okta.com",
    "https://\u0430cme.okta.com",
    "https://evil.example/\u202emoc.atko",
    "https://evil.example/" + "%20" * 300,
]


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_address(forged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that looks like another one, or steers a terminal, is ignored, never shown in a
    question."""
    monkeypatch.setenv("LABAUTH_BENCHLING_OIDC_CLIENT_SECRET", SECRET)
    dotenv(LABAUTH_BENCHLING_ISSUER=forged)
    benchling = PROVIDERS["benchling"]
    found = credentials.collect(benchling, benchling.method("oidc"), "acme", {})
    assert "issuer" not in found.fields
    assert any("LABAUTH_BENCHLING_ISSUER in .env was ignored" in reason for reason in found.reasons)
    assert forged not in " ".join(found.reasons)


def test_a_forged_folder(evil: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's name cannot write lines of its own into the message."""
    folder = Path("x\nGo on? [y")
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BENCHLING_API_KEY", SECRET)
    dotenv(BENCHLING_URL=evil.url)
    with pytest.raises(UntrustedOrigin) as caught:
        login("benchling", "api-key")
    assert "\n" not in str(caught.value)


def test_the_issuer_gets_the_client_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an issuer the client secret goes there, not to the tenant: so the question says."""
    monkeypatch.setenv("LABAUTH_BENCHLING_OIDC_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("LABAUTH_BENCHLING_ISSUER", "https://acme.okta.com")
    dotenv(BENCHLING_TENANT="acme")
    benchling = PROVIDERS["benchling"]
    (doubt,) = credentials.doubts(
        benchling,
        benchling.method("oidc"),
        credentials.collect(benchling, benchling.method("oidc"), None, {}),
    )
    assert str(doubt).startswith(
        "You would sign in at https://acme.benchling.com. Only BENCHLING_TENANT in .env"
    )


def test_a_redirect_that_cannot_be_read() -> None:
    """A redirect address that cannot even be parsed is one message in the form, not a crash."""
    form = form_of("foundry", "user", "acme")
    form.heard(
        {
            "type": "submit",
            "method": "user",
            "fields": {"client_id": "i", "redirect_uri": "http://["},
        }
    )
    assert "redirect address" in str(form.error)
    assert form.state()["form"]


def test_a_refused_file_is_told_in_the_form() -> None:
    """The form says why the .env that somebody else can write is not read."""
    dotenv(BENCHLING_TENANT="acme")
    Path(".env").chmod(0o666)
    (said,) = form_of("benchling", "app").state()["form"]["refused"]
    assert "was ignored (other users can write to it; run chmod go-w on it)" in said
