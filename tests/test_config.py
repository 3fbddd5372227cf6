"""An admin's presets, by traitlets: `c.LabAuth...` in ipython_config.py, and the order of all
sources."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import exchange_of, forget_logins
from kernels import Kernel
from traitlets import TraitError

from labauth_nb import InvalidInput, MissingCredentials, begin, login
from labauth_nb.credentials import presets, stores
from labauth_nb.notebook.magic import choices
from labauth_nb.sandbox import Lab

SERVICE = {"client_id": "sandbox-foundry-client", "client_secret": "sandbox-foundry-client-secret"}
PUBLIC = "sandbox-foundry-public"


@contextlib.contextmanager
def admin(folder: Path, lines: str, **env: str) -> Iterator[Kernel]:
    """A kernel on a hub whose admin wrote `lines`."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_config.py").write_text(f"c = get_config()\n{lines}\n")
    kernel = Kernel(
        folder,
        {"IPYTHONDIR": str(folder / "ipython"), "XDG_DATA_HOME": str(folder / "data"), **env},
    )
    try:
        yield kernel
    finally:
        kernel.stop()


@pytest.fixture
def preset(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Presets in this process."""

    def put(**values: Any) -> None:
        monkeypatch.setattr(presets, "presets", presets.LabAuth(**values))

    return put


@pytest.mark.slow
def test_a_user_types_only_the_provider(lab: Lab, tmp_path: Path) -> None:
    """With tenant, client ID, scopes and method preset and the secret in the environment, `%labauth
    login foundry` is all."""
    lines = (
        f"c.LabAuth.tenants = {{'foundry': {lab.origin('foundry')!r}, 'qbench': 'acme'}}\n"
        "c.LabAuth.client_ids = {'foundry/service-user': 'sandbox-foundry-client'}\n"
        "c.LabAuth.scopes = {'foundry': 'api:ontologies-read'}\n"
        "c.LabAuth.issuers = {'benchling/oidc': 'https://idp.acme.example'}\n"
        "c.LabAuth.redirect_uris = {'foundry/user': 'https://hub.acme.example/callback'}\n"
        "c.LabAuth.methods = {'foundry': ['service-user']}"
    )
    with admin(tmp_path, lines, FOUNDRY_CLIENT_SECRET=SERVICE["client_secret"]) as kernel:
        kernel.run(
            "%load_ext labauth_nb\nimport labauth_nb.notebook.panel;"
            " labauth_nb.notebook.panel.HELLO_SECONDS = 0.1"
        )
        said = kernel.text("%labauth login foundry")
        assert said.startswith("Signed in to Foundry (http://127.0.0.1:")
        assert (
            "credentials from the environment (FOUNDRY_CLIENT_SECRET), preset by your admin" in said
        )
        assert kernel.text("labauth_nb.session('foundry').get('ontologies')") == "<Response [200]>"
        shown = kernel.text("%config LabAuth")
        for word in (
            "tenants",
            "client_ids",
            "scopes",
            "issuers",
            "redirect_uris",
            "methods",
            "sandbox-foundry-client",
        ):
            assert word in shown
        assert (
            "not allowed here by your admin (LabAuth.methods). Choose: service-user."
            in kernel.text("%labauth login foundry --method user")
        )
        assert "not allowed" in kernel.text(
            "import labauth_nb; labauth_nb.login('foundry', 'token')"
        )
        assert "not allowed" in kernel.text("labauth_nb.begin('foundry', 'user')")
        offered = kernel.text("%labauth providers foundry")
        assert "--method service-user (default)" in offered
        assert "--method token" not in offered
        offered = kernel.reply(kernel.client.complete("%labauth login foundry --method "))
        assert offered["matches"] == ["service-user"]
        kernel.run(
            "from labauth_nb.notebook.panel import LoginPanel; from labauth_nb.logins.plans import"
            " Wish, plan"
        )
        form = "LoginPanel(plan(Wish('foundry')), True).state()"
        assert kernel.text(f"[m['name'] for m in {form}['form']['methods']]") == "['service-user']"
        # and at run time
        kernel.run("%config LabAuth.tenants = {'benchling': 'sandbox', 'qbench': 'beta'}")
        assert kernel.text("%labauth login benchling").startswith("SANDBOX: Signed in to Benchling")
        kernel.run("%reload_ext labauth_nb")
        assert kernel.text("labauth_nb.credentials.presets.presets.tenants['qbench']") == "'beta'"
        assert "There is no provider 'benchlin'" in kernel.text(
            "%config LabAuth.tenants = {'benchlin': 'acme'}"
        )
        assert kernel.text("labauth_nb.credentials.presets.presets.tenants['qbench']") == "'beta'"
        kernel.run("%unload_ext labauth_nb")
        assert kernel.text("print(labauth_nb.credentials.presets.presets)") == "None\n"


BAD = [
    ("tenants = {'fondry': 'acme'}", "There is no provider 'fondry'. Did you mean foundry?"),
    ("client_ids = {'foundry/usr': 'x'}", "There is no Foundry method 'usr'. Did you mean user?"),
    ("methods = {'foundry': ['service']}", "There is no Foundry method 'service'."),
    ("methods = {'foundry': []}", "foundry allows no method; leave it out to allow all."),
    ("methods = {'foundry/user': ['user']}", "foundry/user is not a provider"),
    ("tenants = {'dnanexus': 'platform.dnanexus.com'}", "is a web page, not DNAnexus's API"),
    ("tenants = {'benchling': 'acme.example.com'}", "is not a Benchling address"),
    ("tenants = {'foundry': ''}", "'' is not a Foundry address"),
    ("tenants = {'foundry': 7}", "foundry must be text."),
    ("scopes = {'foundry': ['api:read']}", "foundry must be text."),
    ("tenants = 'acme'", "The 'tenants' trait of a LabAuth instance expected a dict"),
    ("methods = {'foundry': 'user'}", "must be a list"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_bad_preset_is_one_sentence(line: str, said: str) -> None:
    """An unknown provider or method, a tenant that is none, what is no text: refused, with what is
    wrong."""
    name, _, value = line.partition(" = ")
    with pytest.raises(TraitError) as raised:
        presets.LabAuth(**{name: eval(value)})
    assert said in str(raised.value)


@pytest.mark.slow
def test_bad_presets_at_load_ext(tmp_path: Path) -> None:
    """%load_ext fails in one line that says where it stands and whom to ask; the kernel goes on."""
    with admin(
        tmp_path,
        "c.LabAuth.tenants = {'fondry': 'acme'}\nc.LabAuth.scopes = {'foundry': 'api:read'}",
    ) as kernel:
        (output,) = kernel.run("%load_ext labauth_nb")
        assert output["ename"] == "InvalidInput"
        (line,) = output["traceback"]
        assert line.startswith(
            "InvalidInput: LabAuth.tenants: There is no provider 'fondry'. Did you mean foundry?"
        )
        assert line.endswith("It is set in ipython_config.py: ask the admin of this hub.")
        assert kernel.text("1 + 1") == "2"
        assert "not found" in kernel.text("%labauth")


def test_no_secret_can_be_preset(preset: Any) -> None:
    """There is no trait for one: what every user of a hub can read is no place for it."""
    names = set(presets.LabAuth.class_trait_names(config=True))
    assert names == {"tenants", "client_ids", "scopes", "issuers", "redirect_uris", "methods"}


SOURCES = ["you", "environment", ".env", "keyring", "foundry-dev-tools", "config", "default"]


@pytest.mark.parametrize(
    ("first", "second"), [(a, b) for n, a in enumerate(SOURCES) for b in SOURCES[n + 1 :]]
)
def test_the_order(
    lab: Lab, first: str, second: str, preset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given > environment > .env > remembered > vendor's files > preset > default, pair by pair,
    for the scopes."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    monkeypatch.setenv("KEYRING_PROPERTY_FILE_PATH", str(tmp_path / "ring" / "ring.cfg"))
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    origin, given = lab.origin("foundry"), dict(SERVICE)
    names = ["api:datasets-read", "api:ontologies-write"]
    for source, scopes in zip((first, second), names, strict=True):
        match source:
            case "keyring":
                login("foundry", tenant=origin, remember=True, scopes=scopes, **SERVICE)
                forget_logins()
            case "you":
                given["scopes"] = scopes
            case "environment":
                monkeypatch.setenv("FOUNDRY_SCOPES", scopes)
            case ".env":
                Path(".env").write_text(f"FOUNDRY_SCOPES={scopes}\n")
            case "config":
                preset(scopes={"foundry": scopes})
            case "foundry-dev-tools":
                file = Path.home() / ".foundry-dev-tools" / "config.toml"
                file.parent.mkdir()
                oauth = "grant_type = 'client_credentials'\nclient_id = 'sandbox-foundry-client'"
                oauth += f"\nclient_secret = 'sandbox-foundry-client-secret'\nscopes = [{scopes!r}]"
                file.write_text(
                    f"[credentials]\ndomain = {origin!r}\n[credentials.oauth]\n{oauth}\n"
                )
            case "default":
                names[1] = "api:ontologies-read"
    mine = login("foundry", "service-user", tenant=origin, **given)
    assert mine.found.sources["scopes"] == first
    assert exchange_of(mine).fields["scopes"] == names[0]


@pytest.mark.parametrize("wins", ["environment", "keyring"])
def test_the_order_of_tenants(
    lab: Lab, wins: str, preset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's tenant wins over the remembered one, and that over a vendor's file and a
    preset."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    origin, other = lab.origin("foundry"), lab.origin("foundry").replace("127.0.0.1", "localhost")
    login("foundry", tenant=origin, remember=True, store="file", **SERVICE)
    forget_logins()
    file = Path.home() / ".foundry-dev-tools" / "config.toml"
    file.parent.mkdir()
    file.write_text(f"[credentials]\ndomain = {other!r}\n")
    preset(tenants={"foundry": other})
    if wins == "keyring":
        assert login("foundry").tenant == origin
        assert login("foundry").found.sources["tenant"] == "file"
    else:
        monkeypatch.setenv("LABAUTH_FOUNDRY_TENANT", other)
        with pytest.raises(MissingCredentials, match="Client ID and Client secret are missing"):
            login("foundry")


def test_of_several_remembered_tenants_the_preset_says_which(
    lab: Lab, preset: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What comes after memory in the order still decides where memory alone does not."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    origin, other = lab.origin("foundry"), lab.origin("foundry").replace("127.0.0.1", "localhost")
    for tenant in (origin, other):
        login("foundry", tenant=tenant, remember=True, store="file", **SERVICE)
        forget_logins()
    with pytest.raises(InvalidInput, match="several addresses"):
        login("foundry")
    preset(tenants={"foundry": other})
    assert login("foundry").tenant == other


def test_a_method_s_preset_wins_over_its_provider_s(preset: Any, lab: Lab) -> None:
    """foundry/user has another client ID than foundry; both reach the right method, and the sign-in
    page."""
    preset(
        tenants={"foundry": lab.origin("foundry")},
        client_ids={"foundry": SERVICE["client_id"], "foundry/user": PUBLIC},
        methods={"foundry": ["user", "service-user"]},
    )
    attempt = begin("foundry")
    assert f"client_id={PUBLIC}" in str.__str__(attempt.url)
    assert attempt.answer(lab.visit(attempt.url)).found.source() == "preset by your admin"
    mine = login(
        "foundry",
        "service-user",
        tenant=lab.origin("foundry"),
        client_secret=SERVICE["client_secret"],
    )
    assert exchange_of(mine).fields["client_id"] == SERVICE["client_id"]
    assert list(choices(["login", "foundry", "--method"])) == ["user", "service-user"]


def test_what_was_remembered_by_a_method_that_is_forbidden_now(
    lab: Lab, preset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not used, and stays until it is forgotten."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    login("foundry", tenant=lab.origin("foundry"), remember=True, store="file", **SERVICE)
    forget_logins()
    preset(methods={"foundry": ["token"]})
    with pytest.raises(MissingCredentials, match="Token"):
        login("foundry", tenant=lab.origin("foundry"))
    assert [head.method for head in stores.heads()] == ["service-user"]
