"""OAuth clients that people have, unmodified, sign in to the sandbox and call its APIs."""

from __future__ import annotations

import datetime
import ipaddress
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pages import carried
from werkzeug.serving import make_server

from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.foundry import CALLBACK, PUBLIC_CLIENT_ID
from labauth_nb.sandbox.identity import CLIENT_ID as OIDC_CLIENT_ID
from labauth_nb.sandbox.identity import EMAIL

pytestmark = pytest.mark.witness

HERE = "http://127.0.0.1:8765/callback"
MULTIPASS = "/multipass/api/oauth2"
ONTOLOGIES, USERS, ORDERS = "/api/v2/ontologies", "/api/v2/users", "/qbench/api/v2/orders"
SCOPES = ["api:ontologies-read", "offline_access"]


@pytest.mark.parametrize("how", ["none", "client_secret_basic", "client_secret_post"])
def test_authlib_code(lab: Lab, how: str) -> None:
    """Authlib signs in at Foundry by code and PKCE, renews and revokes, in each client method."""
    from authlib.integrations.requests_client import OAuth2Session

    origin, base = lab.origin("foundry"), lab.origin("foundry") + MULTIPASS
    client = OAuth2Session(
        PUBLIC_CLIENT_ID,
        None if how == "none" else "",
        token_endpoint_auth_method=how,
        revocation_endpoint_auth_method=how,
        scope=" ".join(SCOPES),
        redirect_uri=HERE,
        code_challenge_method="S256",
    )
    verifier = "a-code_verifier.of~43.characters-or-more-0001"
    url, state = client.create_authorization_url(f"{base}/authorize", code_verifier=verifier)
    sent = {"authorization_response": lab.visit(url), "state": state, "code_verifier": verifier}
    first = client.fetch_token(f"{base}/token", **sent)
    assert len(client.get(origin + ONTOLOGIES).json()["data"]) == 2
    second = client.refresh_token(f"{base}/token")
    assert first["refresh_token"] != second["refresh_token"]
    assert client.get(origin + ONTOLOGIES).status_code == 200
    client.revoke_token(f"{base}/revoke_token", second["access_token"], "access_token")
    assert client.get(origin + ONTOLOGIES).status_code == 401


def test_authlib_openid(lab: Lab) -> None:
    """Authlib signs in as the metadata say, renews, and the new ID token opens Benchling."""
    from authlib.integrations.requests_client import OAuth2Session

    sent = {"scope": "openid email offline_access", "code_challenge_method": "S256"}
    client = OAuth2Session(OIDC_CLIENT_ID, redirect_uri=HERE, **sent)
    metadata = lab.origin("idp") + "/.well-known/openid-configuration"
    offered = client.get(metadata, withhold_token=True).json()
    verifier = "a-code_verifier.of~43.characters-or-more-0002"
    where, endpoint = offered["authorization_endpoint"], offered["token_endpoint"]
    url, _ = client.create_authorization_url(where, code_verifier=verifier, nonce="a nonce")
    landed = lab.visit(url)
    assert carried(landed)["iss"] == offered["issuer"]
    client.fetch_token(endpoint, authorization_response=landed, code_verifier=verifier)
    token = client.refresh_token(endpoint)
    assert client.post(offered["userinfo_endpoint"]).json()["email"] == EMAIL
    headers = {"Authorization": f"Bearer {token['id_token']}"}
    users = client.get(lab.origin("benchling") + USERS, headers=headers, withhold_token=True)
    assert users.status_code == 200


@pytest.mark.parametrize("how", ["client_secret_basic", "client_secret_post"])
def test_authlib_client_credentials(lab: Lab, how: str) -> None:
    """Authlib signs an app in at Benchling by header or body, and lists the users."""
    from authlib.integrations.requests_client import OAuth2Session

    origin = lab.origin("benchling")
    client = OAuth2Session(**lab.credentials("benchling", "app"), token_endpoint_auth_method=how)
    client.fetch_token(origin + "/api/v2/token", grant_type="client_credentials")
    assert client.get(origin + USERS).json()["users"][0]["handle"] == "ada"


def test_authlib_assertion(lab: Lab) -> None:
    """Authlib signs in at QBench by its own assertion, which has aud and iss, and reads orders."""
    from authlib.integrations.requests_client import AssertionSession

    fields, origin = lab.credentials("qbench", "client"), lab.origin("qbench")
    client = AssertionSession(
        token_endpoint=origin + "/qbench/api/v2/auth/token",
        issuer=fields["client_id"],
        subject=fields["client_id"],
        header={"alg": "HS256"},
        key=fields["client_secret"],
    )
    assert client.get(origin + ORDERS).json()["total_count"] == 150
    assert lab.token_requests("qbench") == 1


@pytest.fixture
def insecure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oauthlib takes http only where it is told to; palantir-oauth-client never does."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.mark.usefixtures("insecure")
@pytest.mark.parametrize("in_body", [None, True], ids=["basic", "body"])
def test_requests_oauthlib_code(lab: Lab, in_body: bool | None) -> None:
    """requests-oauthlib signs in at Foundry by code and PKCE, by header or body, and renews."""
    from requests_oauthlib import OAuth2Session

    origin, base = lab.origin("foundry"), lab.origin("foundry") + MULTIPASS
    with OAuth2Session(PUBLIC_CLIENT_ID, redirect_uri=HERE, scope=SCOPES, pkce="S256") as client:
        url, _ = client.authorization_url(f"{base}/authorize")
        sent = {"authorization_response": lab.visit(url), "include_client_id": in_body}
        client.fetch_token(f"{base}/token", **sent)
        assert len(client.get(origin + ONTOLOGIES).json()["data"]) == 2
        lab.expire("foundry")
        assert client.get(origin + ONTOLOGIES).status_code == 401
        client.refresh_token(f"{base}/token", client_id=PUBLIC_CLIENT_ID)
        assert client.get(origin + ONTOLOGIES).status_code == 200


@pytest.mark.usefixtures("insecure")
def test_requests_oauthlib_openid(lab: Lab) -> None:
    """requests-oauthlib signs in at the identity provider by code and PKCE, renews, and reads."""
    from requests_oauthlib import OAuth2Session

    idp, scope = lab.origin("idp"), ["openid", "email", "offline_access"]
    with OAuth2Session(OIDC_CLIENT_ID, redirect_uri=HERE, scope=scope, pkce="S256") as client:
        url, _ = client.authorization_url(f"{idp}/authorize")
        sent = {"authorization_response": lab.visit(url), "include_client_id": True}
        client.fetch_token(f"{idp}/token", **sent)
        client.refresh_token(f"{idp}/token", client_id=OIDC_CLIENT_ID)
        assert client.get(f"{idp}/userinfo").json()["email"] == EMAIL


BACKENDS = {
    "foundry": ("service-user", f"{MULTIPASS}/token", ONTOLOGIES),
    "benchling": ("app", "/api/v2/token", USERS),
}


@pytest.mark.usefixtures("insecure")
@pytest.mark.parametrize("provider", BACKENDS)
def test_requests_oauthlib_backend(lab: Lab, provider: str) -> None:
    """requests-oauthlib's BackendApplicationClient signs in by client credentials, and reads."""
    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    method, path, read = BACKENDS[provider]
    fields, origin = lab.credentials(provider, method), lab.origin(provider)
    with OAuth2Session(client=BackendApplicationClient(fields["client_id"])) as client:
        named = {name: fields[name] for name in ("client_id", "client_secret")}
        client.fetch_token(origin + path, **named)
        assert client.get(origin + read).status_code == 200


Settings = Callable[..., Any]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """foundry-dev-tools with its settings in the environment: `context(url, JWT="...")`."""

    def make(url: str, **credentials: str) -> Any:
        from foundry_dev_tools import FoundryContext

        parts = urlsplit(url)
        for name, value in {"DOMAIN": parts.netloc, "SCHEME": parts.scheme, **credentials}.items():
            monkeypatch.setenv(f"FDT_CREDENTIALS__{name}", value)
        return FoundryContext()

    return make


def test_foundry_dev_tools_jwt(lab: Lab, context: Settings) -> None:
    """foundry-dev-tools takes a pasted token, and says who it belongs to."""
    it = context(lab.origin("foundry"), JWT=lab.credentials("foundry", "token")["token"])
    assert it.multipass.get_user_info()["username"] == "ada"


def test_foundry_dev_tools_client_credentials(lab: Lab, context: Settings) -> None:
    """foundry-dev-tools signs a service user in, and names a wrong secret by its own error."""
    from foundry_dev_tools.errors.multipass import ClientAuthenticationFailedError

    fields = lab.credentials("foundry", "service-user")
    named = {f"OAUTH__{name.upper()}": fields[name] for name in ("client_id", "client_secret")}
    named["OAUTH__GRANT_TYPE"] = "client_credentials"
    it = context(lab.origin("foundry"), **named)
    assert it.multipass.get_user_info()["username"] == "sandbox-service-user"
    wrong = context(lab.origin("foundry"), **named | {"OAUTH__CLIENT_SECRET": "x"})
    with pytest.raises(ClientAuthenticationFailedError):
        wrong.multipass.get_user_info()


@pytest.fixture
def https(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The sandbox's Foundry by https, with a certificate that requests trusts."""
    loopback = ipaddress.ip_address("127.0.0.1")
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(loopback)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    app, pair = lab.sites["foundry"].app, (str(certificate), str(private))
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=pair)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_foundry_dev_tools_code(
    lab: Lab,
    context: Settings,
    https: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """foundry-dev-tools signs in by the code that palantir-oauth-client asks for, and renews."""
    lab.set("foundry", redirects=[https + CALLBACK])
    asked: list[str] = []

    def person(prompt: str) -> str:
        words = capsys.readouterr().out.split()
        asked.append(next(word for word in words if word.startswith(https)))
        landed = lab.visit(asked[-1].replace(https, lab.origin("foundry")))
        return carried(landed)["code"]

    monkeypatch.setattr("builtins.input", person)
    named = {"OAUTH__CLIENT_ID": PUBLIC_CLIENT_ID, "OAUTH__SCOPES": ",".join(SCOPES)}
    assert context(https, **named).multipass.get_user_info()["username"] == "ada"
    lab.revoke("foundry")
    assert context(https, **named).multipass.get_user_info()["username"] == "ada"
    assert (len(asked), lab.token_requests("foundry")) == (1, 2)
