"""Where credentials come from: the order of the sources, and why one did not serve."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labauth_nb import InvalidInput, MissingCredentials, login, status
from labauth_nb.credentials import ask, collect
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

BENCHLING, QBENCH, FOUNDRY, DNANEXUS = (PROVIDERS[n] for n in ("benchling", "qbench", "foundry", "dnanexus"))


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given in Python beats the environment, which beats .env; LABAUTH_ names beat the ones in use; values are stripped."""
    Path(".env").write_text("BENCHLING_TENANT=dot\nBENCHLING_CLIENT_ID=dot-id\nBENCHLING_CLIENT_SECRET=dot-secret\n")
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "env-id")
    monkeypatch.setenv("LABAUTH_BENCHLING_CLIENT_ID", "  labauth-id\n")
    found = collect(BENCHLING, BENCHLING.method("app"), None, {"client_secret": " given-secret "})
    assert found.fields == {"client_secret": "given-secret", "client_id": "labauth-id", "tenant": "dot"}
    assert found.sources == {"client_secret": "you", "client_id": "environment", "tenant": ".env"}
    assert found.variables["client_id"] == "LABAUTH_BENCHLING_CLIENT_ID"


def test_dotenv_is_found_upward_and_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The .env of a folder above serves, and os.environ stays as it was."""
    Path(".env").write_text("QBENCH_CLIENT_ID=from-above\n")
    deep = Path("a/b")
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    before = dict(os.environ)
    assert collect(QBENCH, QBENCH.methods[0], "acme", {}).fields["client_id"] == "from-above"
    assert dict(os.environ) == before


@pytest.mark.parametrize("secret", ["a${HOME}b", "${CANARY}", "a$b"])
def test_dotenv_as_it_is(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """A value of a .env is taken to the letter: a ${NAME} in a secret stands for nothing else."""
    monkeypatch.setenv("CANARY", "of-the-environment")
    Path(".env").write_text(f"BENCHLING_CLIENT_SECRET={secret}\n")
    found = collect(BENCHLING, BENCHLING.methods[0], "acme", {})
    assert found.fields["client_secret"] == secret


@pytest.mark.parametrize("content", [b"\xff\xfeB\x00E\x00", b"\x80\x81"])
def test_dotenv_unreadable(content: bytes) -> None:
    """A .env that is no UTF-8 text is a reason, not a crash."""
    Path(".env").write_bytes(content)
    found = collect(BENCHLING, BENCHLING.methods[0], "acme", {})
    assert any("UTF-8" in reason for reason in found.reasons)


def test_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable does not serve, and the reason says so."""
    monkeypatch.setenv("BENCHLING_API_KEY", " ")
    found = collect(BENCHLING, BENCHLING.method("api-key"), "acme", {})
    assert "api_key" not in found.fields
    assert "environment: BENCHLING_API_KEY is empty" in found.reasons


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_another_tenants_secret(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A source that names another tenant keeps its secrets: they never go to the tenant asked for."""
    if source == ".env":
        Path(".env").write_text("BENCHLING_TENANT=acme\nBENCHLING_API_KEY=sk_of_acme\n")
    else:
        monkeypatch.setenv("BENCHLING_TENANT", "acme")
        monkeypatch.setenv("BENCHLING_API_KEY", "sk_of_acme")
    found = collect(BENCHLING, BENCHLING.method("api-key"), "https://other.benchling.com", {})
    assert "api_key" not in found.fields
    assert f"{source}: ignored, it is for acme, not for https://other.benchling.com" in found.reasons
    same = collect(BENCHLING, BENCHLING.method("api-key"), "https://acme.benchling.com/", {})
    assert same.fields["api_key"] == "sk_of_acme"


def test_foundry_hostname_of_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A FOUNDRY_HOSTNAME that is no host is ignored, with the reason, and nothing is sent there."""
    monkeypatch.setenv("FOUNDRY_HOSTNAME", "not a host!")
    found = collect(FOUNDRY, FOUNDRY.method("token"), None, {})
    assert "tenant" not in found.fields
    assert any("FOUNDRY_HOSTNAME was ignored" in reason for reason in found.reasons)


def test_dx_security_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """DX_SECURITY_CONTEXT is read as the JSON that it is; logged out and broken are reasons."""
    method = DNANEXUS.method("api-token")
    monkeypatch.setenv("DX_SECURITY_CONTEXT", json.dumps({"auth_token_type": "bearer", "auth_token": "dx-token"}))
    assert collect(DNANEXUS, method, None, {}).fields == {"token": "dx-token", "tenant": "api.dnanexus.com"}
    for broken, why in (('{"auth_token": "PUBLIC"}', "logged out"), ("dx-token", "not the JSON"), ("[1]", "not the JSON")):
        monkeypatch.setenv("DX_SECURITY_CONTEXT", broken)
        found = collect(DNANEXUS, method, None, {})
        assert "token" not in found.fields
        assert any(why in reason for reason in found.reasons)


def test_dx_login_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `dx login` wrote serves, with its host, and is left as it is."""
    folder = Path.home() / ".dnanexus_config"
    folder.mkdir()
    context = json.dumps({"auth_token": "from-dx-login", "auth_token_type": "Bearer"})
    file = folder / "environment.json"
    file.write_text(json.dumps({"DX_SECURITY_CONTEXT": context, "DX_APISERVER_HOST": "api.cn.dnanexus.com"}))
    before = file.read_bytes()
    found = collect(DNANEXUS, DNANEXUS.method("api-token"), None, {})
    assert found.fields == {"token": "from-dx-login", "tenant": "https://api.cn.dnanexus.com"}
    assert found.source() == "dx login"
    assert file.read_bytes() == before
    file.write_text("{broken")
    assert "environment.json was ignored" in str(collect(DNANEXUS, DNANEXUS.method("api-token"), None, {}).reasons)


def test_foundry_dev_tools() -> None:
    """foundry-dev-tools' config serves: its jwt for `token`, its oauth for `service-user`; a later file wins."""
    first, second = Path.home() / ".foundry-dev-tools", Path.home() / ".config/foundry-dev-tools"
    for folder, jwt in ((first, "old"), (second, "new")):
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(f'[credentials]\ndomain = "acme.palantirfoundry.com"\njwt = "{jwt}"\n')
    assert collect(FOUNDRY, FOUNDRY.method("token"), None, {}).fields["token"] == "new"
    (second / "config.toml").write_text(
        '[credentials]\ndomain = "acme.palantirfoundry.com"\n[credentials.oauth]\ngrant_type = "client_credentials"\n'
        'client_id = "i"\nclient_secret = "s"\nscopes = ["a", "b"]\n'
    )
    found = collect(FOUNDRY, FOUNDRY.method("service-user"), None, {})
    assert (found.fields["client_id"], found.fields["client_secret"], found.fields["scopes"]) == ("i", "s", "a b")


def test_method_by_what_is_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --method, the one whose fields the environment supplies is taken; a job is recognized by DX_JOB_ID."""
    monkeypatch.setenv("BENCHLING_TENANT", lab.origin("benchling"))
    monkeypatch.setenv("BENCHLING_API_KEY", lab.credentials("benchling", "api-key")["api_key"])
    assert login("benchling").method.name == "api-key"
    token = lab.credentials("dnanexus", "job")["token"]
    monkeypatch.setenv("DX_JOB_ID", "job-0000")
    monkeypatch.setenv("DX_SECURITY_CONTEXT", json.dumps({"auth_token": token, "auth_token_type": "Bearer"}))
    monkeypatch.setenv("DX_APISERVER_HOST", lab.origin("dnanexus"))
    job = login("dnanexus")
    assert job.method.name == "job"
    assert "never destroyed" in job.logout()
    assert lab.count("dnanexus", "destroyAuthToken") == 0


def test_environment_never_goes_to_the_sandbox(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the sandbox the real secrets of the environment are not used; LABAUTH_..._TENANT=sandbox is the sandbox."""
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "real-id")
    monkeypatch.setenv("BENCHLING_CLIENT_SECRET", "real-secret")
    monkeypatch.setenv("LABAUTH_BENCHLING_TENANT", "sandbox")
    mine = login("benchling")
    assert mine.sandbox
    assert mine.found.source() == "sandbox"


def test_missing_names_everything() -> None:
    """Where nobody can be asked, the sentence names what is missing, the variables that supply it, and the cell to run."""
    with pytest.raises(MissingCredentials) as caught:
        login("benchling", tenant="acme")
    sentence = str(caught.value)
    for part in (
        "Client ID",
        "Client secret",
        "BENCHLING_CLIENT_ID",
        "BENCHLING_CLIENT_SECRET",
        "there is none in this folder",
    ):
        assert part in sentence
    assert sentence.endswith("%labauth login benchling --tenant acme")
    assert caught.value.field == "client_id"
    with pytest.raises(MissingCredentials, match=r"DX_SECURITY_CONTEXT is not set.*Outside a job"):
        login("dnanexus", "job")
    with pytest.raises(MissingCredentials, match="LABAUTH_DNANEXUS_TOKEN"):
        login("dnanexus")


@pytest.mark.parametrize("answer", ["", "  ", "\t"])
def test_no_answer_at_a_prompt(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """An empty or blank answer at a prompt is none, and the error names the field."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: answer)
    with pytest.raises(MissingCredentials, match="No Client secret was given"):
        ask(BENCHLING, BENCHLING.methods[0].secret)


def test_status_tells_the_story(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says from which source and variable each field came, and why other sources did not serve."""
    monkeypatch.setenv("QBENCH_BASE_URL", lab.origin("qbench"))
    monkeypatch.setenv("QBENCH_CLIENT_ID", lab.credentials("qbench", "client")["client_id"])
    login("qbench", tenant=lab.origin("qbench"), client_secret=lab.credentials("qbench", "client")["client_secret"])
    text = repr(status())
    assert "client_id from environment QBENCH_CLIENT_ID" in text
    assert "client_secret from you" in text
    assert ".env: there is none" in text
    assert lab.credentials("qbench", "client")["client_secret"] not in text


@pytest.mark.parametrize(
    ("provider", "typed", "origin"),
    [
        ("benchling", "acme", "https://acme.benchling.com"),
        ("benchling", "acme.benchling.com", "https://acme.benchling.com"),
        ("benchling", " https://acme.benchling.com/ ", "https://acme.benchling.com"),
        ("benchling", "HTTP://Acme.Benchling.com/plates/1?x", "https://acme.benchling.com"),
        ("benchling", "https://benchling.com", "https://benchling.com"),
        ("benchling", "http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("qbench", "acme", "https://acme.qbench.net"),
        ("qbench", "lims.acme.org:8443", "https://lims.acme.org:8443"),
        ("foundry", "acme.usw-16.palantirfoundry.com", "https://acme.usw-16.palantirfoundry.com"),
        ("foundry", "https://foundry.acme.org:443/workspace", "https://foundry.acme.org"),
        ("dnanexus", "https://api.dnanexus.com", "https://api.dnanexus.com"),
    ],
)
def test_tenant_spellings(provider: str, typed: str, origin: str) -> None:
    """A tenant may be typed as a name, a host or a pasted address; off loopback it is always https."""
    assert PROVIDERS[provider].origin(typed) == origin


@pytest.mark.parametrize(
    ("provider", "typed", "said"),
    [
        ("dnanexus", "platform.dnanexus.com", "is a web page, not DNAnexus's API: use api.dnanexus.com"),
        ("dnanexus", "https://ukbiobank.dnanexus.com/login", "use api.dnanexus.com"),
        ("benchling", "acme.benchling.com.evil.test", "not a Benchling address: they end in .benchling.com"),
        ("benchling", "https://acme.benchling.com@evil.test", "is not a Benchling address"),
        ("benchling", "ftp://acme.benchling.com", "is not a Benchling address"),
        ("benchling", "a b", "is not a Benchling address"),
        ("benchling", "", "is not a Benchling address"),
        ("benchling", "acme:port", "is not a Benchling address"),
        ("dnanexus", "acme", "is not a DNAnexus address"),
    ],
)
def test_bad_tenants(provider: str, typed: str, said: str) -> None:
    """What is no tenant is refused before anything is asked or sent, in one sentence that says what to give."""
    with pytest.raises(InvalidInput) as caught:
        login(provider, tenant=typed)
    assert said in str(caught.value)


def test_a_pasted_page_is_not_repeated(lab: Lab) -> None:
    """Of a pasted page's address only the host is used and shown: the rest may hold a secret."""
    page = "https://acme.qbench.net/kanari?next=https://kanari/page#kanari"
    with pytest.raises(MissingCredentials, match=r"--tenant https://acme\.qbench\.net$") as caught:
        login("qbench", tenant=page)
    assert "kanari" not in str(caught.value)
    page = f"{lab.origin('qbench')}/page?key=kanari"
    mine = login("qbench", tenant=page, **lab.credentials("qbench", "client"))
    assert "kanari" not in repr((mine, mine.found, mine.command))
