"""Where credentials come from: the order of the sources, and why one did not serve."""

from __future__ import annotations

import json
import os
import re
import traceback
from pathlib import Path

import pytest

from labauth_nb import InvalidInput, LabauthError, MissingCredentials, SignInRefused, login, status
from labauth_nb.credentials import presets
from labauth_nb.credentials.sources import Sources, collect
from labauth_nb.logins.plans import Wish, plan
from labauth_nb.masking import Secret
from labauth_nb.notebook import terminal
from labauth_nb.notebook.panel import LoginPanel
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

BENCHLING, QBENCH, FOUNDRY, DNANEXUS = (
    PROVIDERS[n] for n in ("benchling", "qbench", "foundry", "dnanexus")
)


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given in Python beats the environment, which beats .env; LABAUTH_ names beat the ones in use;
    values are stripped."""
    Path(".env").write_text(
        "BENCHLING_TENANT=dot\nBENCHLING_CLIENT_ID=dot-id\nBENCHLING_CLIENT_SECRET=dot-secret\n"
    )
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "env-id")
    monkeypatch.setenv("LABAUTH_BENCHLING_CLIENT_ID", "  labauth-id\n")
    found = collect(BENCHLING, BENCHLING.method("app"), None, {"client_secret": " given-secret "})
    assert found.fields == {
        "client_secret": "given-secret",
        "client_id": "labauth-id",
        "tenant": "dot",
    }
    assert found.sources == {"client_secret": "you", "client_id": "environment", "tenant": ".env"}
    assert found.variables["client_id"] == "LABAUTH_BENCHLING_CLIENT_ID"


def test_sources_as_a_person_says_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where credentials came from is told in words, with the variables; who named the address is no
    part of that."""
    app, given = BENCHLING.method("app"), {"client_id": "a", "client_secret": "b"}
    sources = Sources()
    assert collect(BENCHLING, app, "acme", given).source() == "given in Python"
    asked = sources.with_asked(given)
    assert collect(BENCHLING, app, "acme", given, asked).source() == "typed here"
    in_form = sources.with_typed(given)
    assert collect(BENCHLING, app, "acme", given, in_form).source() == "typed here"
    monkeypatch.setattr(presets, "presets", presets.LabAuth(client_ids={"benchling": "mine"}))
    Path(".env").write_text("BENCHLING_TENANT=acme\nBENCHLING_CLIENT_SECRET=dot-secret\n")
    Path("below").mkdir()
    for folder, words in ((".", "this folder"), ("below", "a folder above this one")):
        monkeypatch.chdir(folder)
        assert collect(BENCHLING, app, None, {}).source() == (
            f"from your .env in {words} (BENCHLING_CLIENT_SECRET), preset by your admin"
        )
    monkeypatch.setenv("BENCHLING_TENANT", "acme")
    monkeypatch.setenv("BENCHLING_API_KEY", "sk_mine")
    found = collect(BENCHLING, BENCHLING.method("api-key"), None, {})
    assert found.source() == "from the environment (BENCHLING_API_KEY)"
    assert found.story().startswith("Benchling address from the environment (BENCHLING_TENANT), ")


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
    assert "BENCHLING_API_KEY in the environment is empty" in found.reasons


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_another_tenants_secret(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A source that names another tenant keeps its secrets: they never go to the tenant
    asked for."""
    if source == ".env":
        Path(".env").write_text("BENCHLING_TENANT=acme\nBENCHLING_API_KEY=sk_of_acme\n")
    else:
        monkeypatch.setenv("BENCHLING_TENANT", "acme")
        monkeypatch.setenv("BENCHLING_API_KEY", "sk_of_acme")
    found = collect(BENCHLING, BENCHLING.method("api-key"), "https://other.benchling.com", {})
    assert "api_key" not in found.fields
    who = "the environment" if source == "environment" else source
    why = "it is for acme, not for https://other.benchling.com"
    assert f"{who} was ignored: {why}" in found.reasons
    same = collect(BENCHLING, BENCHLING.method("api-key"), "https://acme.benchling.com/", {})
    assert same.fields["api_key"] == "sk_of_acme"


def test_foundry_hostname_of_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A  is sent there."""
    monkeypatch.setenv("FOUNDRY_HOSTNAME", "not a host!")
    found = collect(FOUNDRY, FOUNDRY.method("token"), None, {})
    assert "tenant" not in found.fields
    assert any(
        "FOUNDRY_HOSTNAME in the environment was ignored" in reason for reason in found.reasons
    )


def test_dx_security_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """DX_SECURITY_CONTEXT is read as the JSON that it is; logged out and broken are reasons."""
    method = DNANEXUS.method("api-token")
    monkeypatch.setenv(
        "DX_SECURITY_CONTEXT", json.dumps({"auth_token_type": "bearer", "auth_token": "dx-token"})
    )
    assert collect(DNANEXUS, method, None, {}).fields == {
        "token": "dx-token",
        "tenant": "api.dnanexus.com",
    }
    for broken, why in (
        ('{"auth_token": "PUBLIC"}', "logged out"),
        ("dx-token", "not the JSON"),
        ("[1]", "not the JSON"),
    ):
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
    file.write_text(
        json.dumps({"DX_SECURITY_CONTEXT": context, "DX_APISERVER_HOST": "api.cn.dnanexus.com"})
    )
    before = file.read_bytes()
    found = collect(DNANEXUS, DNANEXUS.method("api-token"), None, {})
    assert found.fields == {"token": "from-dx-login", "tenant": "https://api.cn.dnanexus.com"}
    assert found.source() == "from dx login"
    assert file.read_bytes() == before
    file.write_text("{broken")
    assert "environment.json was ignored" in str(
        collect(DNANEXUS, DNANEXUS.method("api-token"), None, {}).reasons
    )


def test_foundry_dev_tools() -> None:
    """foundry-dev-tools' config serves: its jwt for `token`, its oauth for `service-user`; a later
    file wins."""
    first, second = Path.home() / ".foundry-dev-tools", Path.home() / ".config/foundry-dev-tools"
    for folder, jwt in ((first, "old"), (second, "new")):
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(
            f'[credentials]\ndomain = "acme.palantirfoundry.com"\njwt = "{jwt}"\n'
        )
    assert collect(FOUNDRY, FOUNDRY.method("token"), None, {}).fields["token"] == "new"
    (second / "config.toml").write_text(
        '[credentials]\ndomain = "acme.palantirfoundry.com"\n[credentials.oauth]\ngrant_type ='
        ' "client_credentials"\nclient_id = "i"\nclient_secret = "s"\nscopes = ["a", "b"]\n'
    )
    found = collect(FOUNDRY, FOUNDRY.method("service-user"), None, {})
    assert (found.fields["client_id"], found.fields["client_secret"], found.fields["scopes"]) == (
        "i",
        "s",
        "a b",
    )


def test_method_by_what_is_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --method, the one whose fields the environment supplies is taken; a job is recognized
    by DX_JOB_ID."""
    monkeypatch.setenv("BENCHLING_TENANT", lab.origin("benchling"))
    monkeypatch.setenv("BENCHLING_API_KEY", lab.credentials("benchling", "api-key")["api_key"])
    assert login("benchling").method.name == "api-key"
    token = lab.credentials("dnanexus", "job")["token"]
    monkeypatch.setenv("DX_JOB_ID", "job-0000")
    monkeypatch.setenv(
        "DX_SECURITY_CONTEXT", json.dumps({"auth_token": token, "auth_token_type": "Bearer"})
    )
    monkeypatch.setenv("DX_APISERVER_HOST", lab.origin("dnanexus"))
    job = login("dnanexus")
    assert job.method.name == "job"
    assert "never destroyed" in job.logout()
    assert lab.count("dnanexus", "destroyAuthToken") == 0


def test_environment_never_goes_to_the_sandbox(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the sandbox the real secrets of the environment are not used; LABAUTH_..._TENANT=sandbox
    is the sandbox."""
    monkeypatch.setenv("BENCHLING_CLIENT_ID", "real-id")
    monkeypatch.setenv("BENCHLING_CLIENT_SECRET", "real-secret")
    monkeypatch.setenv("LABAUTH_BENCHLING_TENANT", "sandbox")
    mine = login("benchling")
    assert mine.sandbox
    assert mine.found.source() == "from the sandbox"


def test_missing_names_everything() -> None:
    """Where nobody can be asked, the message names what is missing, the variables that supply it,
    and the cell to run."""
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
        terminal.ask(plan(Wish("benchling", "app")), BENCHLING.methods[0].secret)


def test_status_tells_the_story(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says from which source and variable each field came, and why other sources did not
    serve."""
    monkeypatch.setenv("QBENCH_BASE_URL", lab.origin("qbench"))
    monkeypatch.setenv("QBENCH_CLIENT_ID", lab.credentials("qbench", "client")["client_id"])
    login(
        "qbench",
        tenant=lab.origin("qbench"),
        client_secret=lab.credentials("qbench", "client")["client_secret"],
    )
    text = repr(status())
    assert "Client ID from the environment (QBENCH_CLIENT_ID)" in text
    assert "Client secret given in Python" in text
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
    """A tenant may be typed as a name, a host or a pasted address; off loopback it is
    always https."""
    assert PROVIDERS[provider].origin(typed) == origin


@pytest.mark.parametrize(
    ("provider", "typed", "said"),
    [
        (
            "dnanexus",
            "platform.dnanexus.com",
            "is a web page, not DNAnexus's API: use api.dnanexus.com",
        ),
        ("dnanexus", "https://ukbiobank.dnanexus.com/login", "use api.dnanexus.com"),
        (
            "benchling",
            "acme.benchling.com.evil.test",
            "not a Benchling address: they end in .benchling.com",
        ),
        ("benchling", "https://acme.benchling.com@evil.test", "is not a Benchling address"),
        ("benchling", "ftp://acme.benchling.com", "is not a Benchling address"),
        ("benchling", "a b", "is not a Benchling address"),
        ("benchling", "", "is not a Benchling address"),
        ("benchling", "acme:port", "is not a Benchling address"),
        ("dnanexus", "acme", "is not a DNAnexus address"),
    ],
)
def test_bad_tenants(provider: str, typed: str, said: str) -> None:
    """What is no tenant is refused before anything is asked or sent, in one message that says what
    to give."""
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


@pytest.mark.parametrize(("client_id", "said"), [("", "Set FOUNDRY_CLIENT_ID, "), ("x", "Set ")])
def test_tenant_by_option_only(monkeypatch: pytest.MonkeyPatch, client_id: str, said: str) -> None:
    """A tenant whose variable was ignored is asked for by --tenant, not "in the environment"."""
    monkeypatch.setenv("FOUNDRY_HOSTNAME", "nohost")
    monkeypatch.setenv("FOUNDRY_CLIENT_ID", client_id or " ")
    with pytest.raises(MissingCredentials) as caught:
        login("foundry", "service-user")
    why = f"{said}FOUNDRY_CLIENT_SECRET in the environment or in a .env file and give the"
    assert f"{why} Foundry address with --tenant (" in str(caught.value)
    with pytest.raises(
        MissingCredentials, match=r"interactive\. Give the Foundry address with --tenant \("
    ):
        login("foundry", "service-user", client_id="x", client_secret="y")


# What a paste brings along

WRAPPED = {
    "double quotes": '"{}"',
    "single quotes": " '{}'\n",
    "backticks": "`{}`",
    "curly quotes": "\u201c{}\u201d",
    "an invisible mark": "\ufeff{}\u200b",
    "a line of a .env": "{name}={}",
    "the same with quotes": '{name} = "{}"',
    "quotes around all of it": "'{name}={}'",
    "a line of a shell": "export {name}='{}'",
    "another name": "MY_LAB_SECRET={}",
    "its own word": "client_secret={}",
    "quotes and a comma": '"{}",',
    "a line of JSON": '"client_secret": "{}",',
    "a line of JSON without a space": '"{name}":"{}"',
    "a line of YAML": "{name}: {}",
    "a line of YAML by another name": "secret: '{}'",
    "PowerShell": "$env:{name}='{}'",
    "PowerShell, with spaces": '$Env:{name} = "{}";',
    "cmd": "set {name}={}",
    "cmd with quotes": 'set "{name}={}"',
    "setx": "setx {name} {}",
    "setx for all": 'SETX {name} "{}" /M',
    "csh": "setenv {name} {}",
    "fish": "set -gx {name} '{}'",
}
SECRET = "sandbox-qbench-client-secret-0001"
WAYS = ["given", "environment", "prompt", "panel"]


def by(way: str, monkeypatch: pytest.MonkeyPatch, field: str, value: str) -> None:
    """Sign in to the sandbox's QBench, `field` coming that way."""
    if way == "given":
        login("qbench", tenant="sandbox", **{field: value})
    elif way == "environment":
        monkeypatch.setenv(f"LABAUTH_QBENCH_{field.upper()}", value)
        assert collect(QBENCH, QBENCH.methods[0], "acme", {}).fields[field] == SECRET
        login("qbench", tenant="sandbox", **{field: os.environ[f"LABAUTH_QBENCH_{field.upper()}"]})
    elif way == "prompt":
        monkeypatch.setattr("getpass.getpass", lambda prompt: str.__str__(value))
        wanted = next(f for f in QBENCH.methods[0].fields if f.name == field)
        login(
            "qbench",
            tenant="sandbox",
            **{field: terminal.ask(plan(Wish("qbench", tenant="acme")), wanted)},
        )
    else:
        panel = LoginPanel(plan(Wish("qbench", tenant="sandbox")), True)
        panel.heard({"type": "submit", "fields": {field: value}})
        assert panel.state()["error"] == ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_pasted_with_more(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    wrapped: str,
    way: str,
) -> None:
    """A secret with quotes around it, or as a line of a .env, is taken without them."""
    value = WRAPPED[wrapped].format(SECRET, name="QBENCH_CLIENT_SECRET")
    by(way, monkeypatch, "client_secret", value)
    assert status("qbench").rows[0][5] == "valid"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", '"sandbox-qbench-client"'),
        ("client_id", "QBENCH_CLIENT_ID=sandbox-qbench-client"),
        ("client_id", "sandbox-qbench-client\n"),
        ("tenant", "'sandbox'"),
        ("tenant", "QBENCH_URL=sandbox"),
        ("tenant", "QBENCH_URL: sandbox"),
        ("client_id", '"client_id": "sandbox-qbench-client",'),
    ],
)
def test_pasted_names(lab: Lab, field: str, value: str) -> None:
    """An ID or a tenant is healed in the same way."""
    assert login("qbench", **{"tenant": "sandbox", field: value}).status == "valid"


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlc2lnbmF0dXJl"


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n  "])
def test_wrapped_paste(lab: Lab, end: str) -> None:
    """A token that was wrapped into lines is put together again."""
    token = lab.credentials("foundry", "token")["token"]
    lines = end.join(token[at : at + 30] for at in range(0, len(token), 30))
    assert login("foundry", tenant="sandbox", token=lines).who
    given = {"token": f"{JWT[:40]}{end}{JWT[40:]}"}
    found = collect(FOUNDRY, FOUNDRY.method("token"), "acme", given)
    assert found.fields["token"] == JWT


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("kanari\nsecret", "The Client secret holds .*a line break"),
        (f"{SECRET}\nQBENCH_CLIENT_ID=x", "The Client secret holds .*a line break"),
        (f"QBENCH_CLIENT_ID=x\nQBENCH_CLIENT_SECRET={SECRET}", "holds .*a line break"),
        (
            "QBENCH_CLIENT_ID=kanari",
            "was given as QBENCH_CLIENT_ID, which belongs to another field",
        ),
        ('"client_id": "kanari",', "was given as client_id, which belongs to another field"),
        (
            "$env:QBENCH_CLIENT_ID='kanari'",
            "was given as QBENCH_CLIENT_ID, which belongs to another",
        ),
        ("setx QBENCH_CLIENT_ID kanari", "was given as QBENCH_CLIENT_ID, which belongs to another"),
        ('{"client_id": "a",\n"client_secret": "kanari"}', "holds .*a line break"),
    ],
)
@pytest.mark.parametrize("way", ["given", "prompt", "panel"])
def test_pasted_by_mistake(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    why: str,
    way: str,
) -> None:
    """What cannot be told for certain is named before anything is sent, and not repeated."""
    before = lab.token_requests("qbench")
    if way == "panel":
        panel = LoginPanel(plan(Wish("qbench", tenant="sandbox")), True)
        panel.heard({"type": "submit", "fields": {"client_secret": value}})
        said, field = panel.state()["error"], panel.state()["field"]
    else:
        with pytest.raises(InvalidInput) as caught:
            by(way, monkeypatch, "client_secret", Secret(value))
        said, field = str(caught.value), caught.value.field
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        ours = repr(frames[2:])  # the first two are this test's
        assert "kanari" not in ours
        assert SECRET not in ours
    assert re.search(why, said)
    assert field == "client_secret"
    assert "kanari" not in said
    assert SECRET not in said
    assert lab.token_requests("qbench") == before


def test_wrapped_id(lab: Lab) -> None:
    """A client ID that broke into lines is named, too."""
    with pytest.raises(InvalidInput, match=r"The Client ID holds .*a line break"):
        login("qbench", tenant="sandbox", client_id="sandbox-\nqbench-client")


KEPT = [
    "Q==",
    "QUJDREVGR0g=",
    "ABCDEFGH==",
    "a=b",
    "a:b",
    "SECRET:b",
    "abc,",
    "set",
    'say "hi" twice',
    '"half',
    "x" * 30,
]


@pytest.mark.parametrize("value", KEPT)
def test_left_as_it_is(value: str) -> None:
    """What may well belong to a secret stays: padding, quotes inside, an equals sign."""
    found = collect(QBENCH, QBENCH.methods[0], "acme", {"client_secret": value})
    assert found.fields["client_secret"] == value


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"


def test_key_in_lines() -> None:
    """A private key keeps its line breaks."""
    found = collect(QBENCH, QBENCH.methods[0], "acme", {"client_secret": PEM + "\n"})
    assert found.fields["client_secret"] == PEM


@pytest.mark.parametrize("way", ["given", "panel", "prompt"])
@pytest.mark.parametrize("password", ['"quoted"', " spaced ", "DX_PASSWORD=x", "tab\t"])
def test_password_is_not_healed(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    way: str,
) -> None:
    """A password is sent as it was given; where it is refused, what stands around it is named."""
    method = DNANEXUS.method("password")
    wanted = method.secret
    monkeypatch.setattr("getpass.getpass", lambda prompt: password)
    if way == "prompt":
        assert terminal.ask(plan(Wish("dnanexus", "password")), wanted) == password
    found = collect(DNANEXUS, method, None, {"password": password + "\n"})
    assert found.fields["password"] == password
    if way == "panel":
        panel = LoginPanel(plan(Wish("dnanexus", "password", "sandbox")), True)
        panel.heard({"type": "submit", "method": "password", "fields": {"password": password}})
        said = panel.state()["error"]
    else:
        with pytest.raises(SignInRefused) as caught:
            login("dnanexus", "password", tenant="sandbox", password=password)
        said = str(caught.value)
    assert "sent as it was given, with a name, quote marks or spaces around it" in said
    assert password.strip() not in said


def test_plain_password_refused(lab: Lab) -> None:
    """A wrong password with nothing around it is told as the provider tells it."""
    with pytest.raises(LabauthError) as caught:
        login("dnanexus", "password", tenant="sandbox", password="wrong-0001")
    assert "as it was given" not in str(caught.value)
