"""OpenID Connect: what is believed of an issuer, its configuration, its keys and its ID tokens, and
what never is."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import flask
import jwt
import pytest
from conftest import exchange_of
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import jsonify
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pages import carried
from test_secrets import leaks

from labauth_nb import (
    Attempt,
    InvalidInput,
    LabauthError,
    LoginExpired,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    begin,
    logout,
    session,
)
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.identity import CLIENT_ID
from labauth_nb.tokens import openid
from labauth_nb.tokens.exchanges import Exchange

NONCE = "the-nonce-of-this-sign-in"
REFUSED = "The ID token was rejected, and nothing was sent to the provider: {}. Sign in again."
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def exchange(lab: Lab) -> Exchange:
    """An exchange that knows its issuer, and nobody's keys yet."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    attempt.cancel()
    return replace(exchange_of(attempt), ended=threading.Event())


def claims(lab: Lab, **changed: Any) -> dict[str, Any]:
    """The claims of a good ID token; None takes one away."""
    now = int(lab.clock.time())
    good: dict[str, Any] = {
        "iss": lab.origin("idp"),
        "sub": "ada",
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 3600,
    }
    good |= {"nonce": NONCE, "email": "ada@sandbox.example"} | changed
    return {name: value for name, value in good.items() if value is not None}


def signed(
    lab: Lab, body: dict[str, Any], alg: str = "RS256", kid: str | None = "", key: Any = None
) -> str:
    own, issuers = lab.sites["idp"].keys.current
    headers = {} if kid is None else {"kid": kid or own}
    return jwt.encode(body, key or issuers, algorithm=alg, headers=headers)


def b64(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(lab: Lab) -> str:
    """Signed by anybody: the "secret" is the public key."""
    import hmac

    kid, key = lab.sites["idp"].keys.current
    head = f"{b64({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{b64(claims(lab))}"
    secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{head}.{b64(hmac.digest(secret, head.encode(), 'sha256'))}"


def fetched(lab: Lab) -> int:
    return lab.count("idp", "/jwks")


OTHERS = "its claim {} is missing or not valid"
AUD = "its claim aud is missing or names a different client: check the client ID. Sign in again."
ISS = "its claim iss is missing or names a different issuer: check the issuer. Sign in again."
AZP = "its claim azp is missing or names a different client: check the client ID. Sign in again."
OLD = "it has already expired; check this computer's clock. Sign in again."
NOT_SIGNED = "it is not signed by a key of the issuer (alg {})"
UNKNOWN = "its key is not among the issuer's"
WRONG = "its signature is wrong"
EMAIL = (
    "it has no claim 'email', by which Benchling finds the user. "
    "Ask the admin of your identity provider to include it (scope openid email)"
)
BAD: list[tuple[str, Callable[[Lab], str], str, int]] = [
    ("no JWT", lambda lab: "not a token", "it is not a JWT", 0),
    ("two parts", lambda lab: "a.b", "it is not a JWT", 0),
    ("header is a list", lambda lab: f"{b64([])}.{b64({})}.x", "it is not a JWT", 0),
    (
        "alg none",
        lambda lab: jwt.encode(claims(lab), "", algorithm="none"),
        NOT_SIGNED.format("none"),
        0,
    ),
    (
        "alg None",
        lambda lab: f"{b64({'alg': 'None'})}.{b64(claims(lab))}.",
        NOT_SIGNED.format("unknown"),
        0,
    ),
    (
        "alg missing",
        lambda lab: f"{b64({'typ': 'JWT'})}.{b64(claims(lab))}.eA",
        NOT_SIGNED.format("unknown"),
        0,
    ),
    (
        "alg is a list",
        lambda lab: f"{b64({'alg': ['RS256']})}.{b64(claims(lab))}.eA",
        NOT_SIGNED.format("unknown"),
        0,
    ),
    ("HS256 by the public key", hs256, NOT_SIGNED.format("HS256"), 0),
    (
        "HS512",
        lambda lab: signed(lab, claims(lab), "HS512", key="x" * 64),
        NOT_SIGNED.format("HS512"),
        0,
    ),
    ("unknown kid", lambda lab: signed(lab, claims(lab), kid="another"), UNKNOWN, 2),
    ("no kid, another key", lambda lab: signed(lab, claims(lab), kid=None, key=STRANGER), WRONG, 2),
    ("a foreign key under its kid", lambda lab: signed(lab, claims(lab), key=STRANGER), WRONG, 2),
    (
        "an EC signature under an RSA kid",
        lambda lab: signed(lab, claims(lab), "ES256", key=CURVE),
        WRONG,
        1,
    ),
    ("signature missing", lambda lab: signed(lab, claims(lab)).rpartition(".")[0] + ".", WRONG, 2),
    ("claims changed", lambda lab: tampered(signed(lab, claims(lab))), WRONG, 2),
    ("iss", lambda lab: signed(lab, claims(lab, iss="https://evil.example")), ISS, 1),
    (
        "iss with a slash more",
        lambda lab: signed(lab, claims(lab, iss=lab.origin("idp") + "/")),
        ISS,
        1,
    ),
    ("no iss", lambda lab: signed(lab, claims(lab, iss=None)), ISS, 1),
    ("aud", lambda lab: signed(lab, claims(lab, aud="another")), AUD, 1),
    ("aud of others", lambda lab: signed(lab, claims(lab, aud=["a", "b"])), AUD, 1),
    ("no aud", lambda lab: signed(lab, claims(lab, aud=None)), AUD, 1),
    ("several aud, no azp", lambda lab: signed(lab, claims(lab, aud=[CLIENT_ID, "b"])), AZP, 1),
    ("azp", lambda lab: signed(lab, claims(lab, azp="another")), AZP, 1),
    ("no sub", lambda lab: signed(lab, claims(lab, sub=None)), OTHERS.format("sub"), 1),
    ("no iat", lambda lab: signed(lab, claims(lab, iat=None)), OTHERS.format("iat"), 1),
    ("no exp", lambda lab: signed(lab, claims(lab, exp=None)), OTHERS.format("exp"), 1),
    ("exp over", lambda lab: signed(lab, claims(lab, exp=int(lab.clock.time()) - 61)), OLD, 1),
    (
        "exp is text",
        lambda lab: signed(lab, claims(lab, exp="tomorrow")),
        "it has already expired",
        1,
    ),
    (
        "exp is endless",
        lambda lab: signed(lab, claims(lab, exp=float("inf"))),
        "it has already expired",
        1,
    ),
    (
        "exp is NaN",
        lambda lab: signed(lab, claims(lab, exp=float("nan"))),
        "it has already expired",
        1,
    ),
    (
        "nonce",
        lambda lab: signed(lab, claims(lab, nonce="x")),
        "it belongs to a different sign-in attempt (nonce mismatch)",
        1,
    ),
    (
        "no nonce",
        lambda lab: signed(lab, claims(lab, nonce=None)),
        "it belongs to a different sign-in attempt (nonce",
        1,
    ),
    ("no email", lambda lab: signed(lab, claims(lab, email=None)), EMAIL, 1),
    ("empty email", lambda lab: signed(lab, claims(lab, email="")), EMAIL, 1),
]
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def tampered(token: str) -> str:
    head, _, signature = token.split(".")
    body = jwt.decode(token, options={"verify_signature": False}) | {"email": "eve@sandbox.example"}
    return f"{head}.{b64(body)}.{signature}"


@pytest.mark.parametrize(
    ("token", "why", "fetches"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_id_tokens(
    lab: Lab, exchange: Exchange, token: Callable[[Lab], str], why: str, fetches: int
) -> None:
    """Each is refused with what is wrong with it; the issuer's keys are fetched at most
    once more."""
    spoiled = token(lab)
    with pytest.raises(SignInRefused) as caught:
        openid.verified(exchange, spoiled, NONCE)
    assert str(caught.value).startswith(REFUSED.partition("{}")[0] + why)
    assert str(caught.value).endswith(". Sign in again.")
    assert caught.value.__cause__ is None
    assert spoiled == "a.b" or leaks([spoiled], str(caught.value), repr(vars(caught.value))) == []
    assert fetched(lab) == fetches


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "b"], "azp": CLIENT_ID},
        {"azp": CLIENT_ID},
        {"exp": "leeway"},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_good_id_tokens(lab: Lab, exchange: Exchange, changed: dict[str, Any]) -> None:
    """What OpenID Connect allows is believed: several audiences with azp, clocks that differ by a
    minute."""
    if changed.get("exp"):
        changed = {"exp": int(lab.clock.time()) - 50}
    assert openid.verified(exchange, signed(lab, claims(lab, **changed)), NONCE)["sub"] == "ada"
    assert fetched(lab) == 1
    assert openid.verified(exchange, signed(lab, claims(lab, nonce=None)))["email"]
    assert fetched(lab) == 1


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("published", [None, "EdDSA", "Ed25519"])
def test_ed25519(lab: Lab, exchange: Exchange, alg: str, published: str | None) -> None:
    """Both names of a signature by an Ed25519 key are believed (RFC 9864), however the key names
    it."""
    key, stranger = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    jwk = {**public, "kid": "k", "use": "sig"} | ({"alg": published} if published else {})
    lab.sites["idp"].app.view_functions["jwks"] = lambda: flask.jsonify({"keys": [jwk]})
    head = f"{b64({'alg': alg, 'kid': 'k'})}.{b64(claims(lab))}"
    assert (
        openid.verified(exchange, f"{head}.{b64(key.sign(head.encode()))}", NONCE)["sub"] == "ada"
    )
    with pytest.raises(SignInRefused, match=WRONG):
        openid.verified(exchange, f"{head}.{b64(stranger.sign(head.encode()))}", NONCE)


def test_ed25519_wants_its_key(lab: Lab, exchange: Exchange) -> None:
    """A token that says Ed25519 under an RSA key is refused, and so is a set of keys
    that is none."""
    header = {"alg": "Ed25519", "kid": lab.sites["idp"].keys.current[0]}
    token = f"{b64(header)}.{b64(claims(lab))}.{b64(bytes(64))}"
    with pytest.raises(SignInRefused, match=WRONG):
        openid.verified(exchange, token, NONCE)
    for keys in ({"keys": {}}, {"keys": ["Ed25519", 5]}, {}):
        lab.sites["idp"].app.view_functions["jwks"] = lambda keys=keys: flask.jsonify(keys)
        exchange.keys = None
        with pytest.raises(SignInRefused, match="keys cannot be used"):
            openid.verified(exchange, token, NONCE)


@pytest.mark.parametrize("alg", ["RS256", "EdDSA", "ES256"])
def test_token_that_names_no_key(lab: Lab, exchange: Exchange, alg: str) -> None:
    """Without kid the issuer's only key for that alg counts (OpenID Connect Core 10.1); among
    several none does."""
    private: dict[str, Any] = {
        "RS256": lab.sites["idp"].keys.current[1],
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }
    kinds = {"RS256": RSAAlgorithm, "EdDSA": OKPAlgorithm, "ES256": ECAlgorithm}
    public = [
        kinds[name].to_jwk(key.public_key(), as_dict=True) | {"use": "sig"}
        for name, key in private.items()
    ]
    lab.sites["idp"].app.view_functions["jwks"] = lambda: flask.jsonify({"keys": public})
    token = signed(lab, claims(lab), alg=alg, kid=None, key=private[alg])
    assert openid.verified(exchange, token, NONCE)["sub"] == "ada"
    public += [dict(key) for key in public]
    exchange.keys = None
    with pytest.raises(SignInRefused, match=UNKNOWN):
        openid.verified(exchange, token, NONCE)


@pytest.mark.parametrize("keep_kid", [False, True])
def test_rotated_keys(lab: Lab, exchange: Exchange, keep_kid: bool) -> None:
    """Keys that have rotated, under a new name or the old one, are fetched once more; a wrong
    signature no more than that."""
    openid.verified(exchange, signed(lab, claims(lab)), NONCE)
    old = signed(lab, claims(lab))
    lab.rotate_keys(keep_kid=keep_kid)
    assert openid.verified(exchange, signed(lab, claims(lab)), NONCE)["sub"] == "ada"
    assert fetched(lab) == 2
    with pytest.raises(SignInRefused, match=WRONG if keep_kid else UNKNOWN):
        openid.verified(exchange, old, NONCE)
    # newer PyJWT waits half a minute before it asks for an unknown key again
    assert fetched(lab) in (2, 3)


@pytest.mark.parametrize("keep_kid", [False, True])
def test_keys_rotate_between_page_and_token(lab: Lab, keep_kid: bool) -> None:
    """A whole sign-in, its renewal under rotated keys, and data after each."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    before = fetched(lab)
    lab.rotate_keys(keep_kid=keep_kid)
    mine.refresh()
    assert fetched(lab) - before == 1
    assert session("benchling").get("plates").status_code == 200


@pytest.mark.parametrize("answer", [503, "html", "truncated"])
def test_keys_down(lab: Lab, answer: int | str) -> None:
    """Keys that cannot be had are told with who did not give them; nothing goes to Benchling."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    lab.next("idp", answer, times=99, path="jwks")
    with pytest.raises(
        LabauthError, match=r"^The identity provider (responded with 503|did not respond)"
    ):
        attempt.answer(lab.visit(attempt.url))
    assert lab.count("benchling") == 0


@pytest.mark.parametrize(
    "scopes", ["email", "openid,email,offline_access", "OpenID email", "openidx"]
)
def test_scopes_without_openid(lab: Lab, scopes: str) -> None:
    """Scopes without openid are refused before anything is sent, with what to type; the field is
    named."""
    with pytest.raises(InvalidInput) as caught:
        begin("benchling", "oidc", tenant="sandbox", scopes=scopes)
    assert (
        str(caught.value)
        == "The scopes must contain openid, else the identity provider sends no ID token. "
        "Give them with spaces between, such as: openid email offline_access"
    )
    assert caught.value.field == "scopes"
    assert lab.count("idp") == 0


@pytest.mark.parametrize(
    ("scopes", "prompt"), [("openid offline_access", "consent"), ("openid email", None)]
)
def test_consent(lab: Lab, scopes: str, prompt: str | None) -> None:
    """Who asks for offline_access asks for consent, without which issuers ignore it (OpenID Connect
    Core 11)."""
    sent = carried(begin("benchling", "oidc", tenant="sandbox", scopes=scopes).url)
    assert (sent["scope"], sent.get("prompt")) == (scopes, prompt)


@pytest.mark.parametrize("supported", [True, False, None, "yes"])
def test_email_by_the_claims_parameter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, supported: object
) -> None:
    """The e-mail address is asked for in the ID token itself where the issuer can do that, by a
    device too."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    exchange_of(attempt).metadata = {
        **exchange_of(attempt).metadata,
        "claims_parameter_supported": supported,
    }
    heard: list[dict[str, str]] = []
    app = lab.sites["idp"].app
    real = app.view_functions["device_authorization"]
    monkeypatch.setitem(
        app.view_functions,
        "device_authorization",
        lambda: (heard.append(flask.request.form.to_dict()), real())[1],
    )
    attempt.device()
    for sent in (carried(attempt.url), *heard):
        claim = {"id_token": {"email": {"essential": True}}} if supported is True else None
        assert json.loads(sent.get("claims", "null")) == claim
        assert sent["scope"] == "openid email offline_access"
    assert len(heard) == 1
    attempt.cancel()


@pytest.mark.parametrize(
    ("supported", "given", "sent"),
    [
        (["openid", "email"], {}, "openid email"),
        (["openid", "email", "offline_access"], {}, "openid email offline_access"),
        (None, {}, "openid email offline_access"),
        ("openid", {}, "openid email offline_access"),
        (["openid"], {"scopes": "openid offline_access"}, "openid offline_access"),
    ],
    ids=str,
)
def test_offline_access_where_supported(
    issuer: Issuer, supported: Any, given: dict[str, str], sent: str
) -> None:
    """What nobody typed is asked for only where the issuer has it; what was typed always is."""
    listed = {} if supported is None else {"scopes_supported": supported}
    issuer.says(issuer.configuration | listed)
    attempt = begin("benchling", "oidc", tenant="sandbox", issuer=issuer.address, **given)
    asked_for = carried(attempt.url)
    attempt.cancel()
    assert asked_for["scope"] == sent
    assert asked_for.get("prompt") == ("consent" if "offline_access" in sent else None)


def test_parameters_once(issuer: Issuer) -> None:
    """Of what the authorization endpoint's address has already, ours comes once; the rest stays."""
    address = f"{issuer.address}/authorize?prompt=login&p=B2C%20x&state=theirs&empty"
    issuer.says(issuer.configuration | {"authorization_endpoint": address})
    attempt = begin("benchling", "oidc", tenant="sandbox", issuer=issuer.address)
    pairs = parse_qsl(urlsplit(attempt.url).query, keep_blank_values=True)
    attempt.cancel()
    assert len({name for name, _ in pairs}) == len(pairs)
    assert dict(pairs)["prompt"] == "consent"
    assert dict(pairs)["state"] != "theirs"
    assert (dict(pairs)["p"], dict(pairs)["empty"]) == ("B2C x", "")
    assert "p=B2C%20x&empty&" in attempt.url


def test_no_consent_elsewhere(lab: Lab) -> None:
    """Foundry, which speaks no OpenID here, is asked for its scopes only."""
    sent = carried(
        begin("foundry", "user", tenant="sandbox", scopes="api:ontologies-read offline_access").url
    )
    assert sent["scope"] == "api:ontologies-read offline_access"
    assert not {"prompt", "claims"} & set(sent)


# Client authentication

SECRET = "kanari +%:/\u00e9 client secret"
BASIC, POST = "client_secret_basic", "client_secret_post"
OFFERED: list[tuple[str, Any, list[str]]] = [
    # what the client is registered for, what the metadata say, the ways in which it is tried
    (BASIC, [BASIC], [BASIC]),
    (POST, [POST], [POST]),
    ("", None, [BASIC]),
    (BASIC, [], [BASIC]),
    (BASIC, POST, [BASIC]),
    (BASIC, ["private_key_jwt", POST, BASIC], [BASIC]),
    (POST, [BASIC, POST, "none"], [BASIC, POST]),
]


def confidential(lab: Lab, registered: str, offered: Any, **given: str) -> Attempt:
    """A sign-in by a client with a secret, whose issuer offers other ways than that
    client may use."""
    lab.set("idp", client_auth=registered, client_secret=SECRET)
    app = lab.sites["idp"].app
    real = app.view_functions["configuration"]

    def changed() -> Any:
        response, name = real(), "token_endpoint_auth_methods_supported"
        body = response.get_json() | {name: offered}
        body.pop("revocation_endpoint_auth_methods_supported", None)
        response.data = json.dumps({n: v for n, v in body.items() if v is not None})
        return response

    app.view_functions["configuration"] = changed
    return begin("benchling", "oidc", tenant="sandbox", client_secret=SECRET, **given)


def authenticated(lab: Lab) -> list[tuple[str, str]]:
    """From now on: (path, how the client authenticated) of each request that has a form."""
    seen: list[tuple[str, str]] = []

    def note() -> None:
        if flask.request.method == "POST" and "seal" not in flask.request.form:
            basic, form = flask.request.authorization, flask.request.form
            assert basic is None or not {"client_id", "client_secret"} & set(form)
            posted = POST if "client_secret" in form else "none"
            seen.append((flask.request.path, posted if basic is None else BASIC))

    lab.sites["idp"].app.before_request_funcs[None].insert(0, note)
    return seen


@pytest.mark.parametrize(("registered", "offered", "ways"), OFFERED, ids=str)
def test_client_authentication(lab: Lab, registered: str, offered: Any, ways: list[str]) -> None:
    """The client's secret goes as the issuer's metadata say, to each endpoint; what was refused is
    tried once."""
    seen = authenticated(lab)
    attempt = confidential(lab, registered, offered)
    mine = attempt.answer(lab.visit(attempt.url))
    assert seen == [("/token", way) for way in ways]
    mine.refresh()
    assert session("benchling").get("plates").status_code == 200
    assert "The token was revoked" in logout("benchling")[0]
    assert set(seen[len(ways) :]) == {("/token", ways[-1]), ("/revoke", ways[-1])}


@pytest.mark.parametrize(("registered", "offered", "ways"), OFFERED, ids=str)
def test_device_client_authentication(
    lab: Lab, registered: str, offered: Any, ways: list[str]
) -> None:
    """The device authorization endpoint and its polls are asked by the same client."""
    seen = authenticated(lab)
    lab.set("idp", interval=0.1)
    attempt = confidential(lab, registered, offered)
    attempt.device()
    lab.visit(attempt.device_link)
    assert attempt.wait(20).who
    assert seen[: len(ways)] == [("/device_authorization", way) for way in ways]
    polls = [each for each in seen[len(ways) :] if each[0] != "/device"]
    assert polls
    assert set(polls) == {("/token", ways[-1])}


@pytest.mark.parametrize("code", ["unauthorized_client", "invalid_request"])
def test_refused_as_another_error(lab: Lab, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Servers that refuse Basic by 400 and a code of their own choice are asked the
    other way, too."""
    attempt, app = confidential(lab, POST, [BASIC, POST]), lab.sites["idp"].app
    real = app.view_functions["token"]

    def token() -> Any:
        basic = "Authorization" in flask.request.headers
        return (flask.jsonify(error=code), 400) if basic else real()

    monkeypatch.setitem(app.view_functions, "token", token)
    assert attempt.answer(lab.visit(attempt.url)).who


def test_scopes_between_lines(lab: Lab) -> None:
    """However the scopes were separated when typed, one space goes between them (RFC 6749 3.3)."""
    attempt = begin("benchling", "oidc", tenant="sandbox", scopes="openid\temail  offline_access")
    assert carried(attempt.url)["scope"] == "openid email offline_access"


def test_public_client(lab: Lab) -> None:
    """A client without a secret is named in the form, whatever the metadata say, and sends no
    header."""
    seen = authenticated(lab)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    exchange_of(attempt).metadata = {
        **exchange_of(attempt).metadata,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }
    attempt.answer(lab.visit(attempt.url))
    logout("benchling")
    assert seen == [("/token", "none"), ("/revoke", "none")]


NO_SECRET = (
    "The identity provider accepts no client secret (token_endpoint_auth_methods_supported: {}). "
)
KEYS_ONLY = "Ask its admin to allow client_secret_basic for this client."
PUBLIC = "Leave the client secret empty, if the client is a public one."


@pytest.mark.parametrize(
    ("offered", "names", "remedy"),
    [
        (["private_key_jwt", "tls_client_auth"], "private_key_jwt, tls_client_auth", KEYS_ONLY),
        (["none"], "none", PUBLIC),
        (["none", "private_key_jwt"], "none, private_key_jwt", PUBLIC),
        ([7, "\x1b[31mevil\n"], "7, [31mevil", KEYS_ONLY),
    ],
    ids=str,
)
def test_no_way_to_authenticate(lab: Lab, offered: Any, names: str, remedy: str) -> None:
    """What the issuer wants instead of a secret is said before a page is opened; the field is
    named."""
    with pytest.raises(InvalidInput) as caught:
        confidential(lab, BASIC, offered)
    assert str(caught.value) == NO_SECRET.format(names) + remedy
    assert caught.value.field == "client_secret"
    assert lab.count("idp") == 1


def test_client_authentication_at_revocation(lab: Lab) -> None:
    """The revocation endpoint is asked as its own list says; where that has no way, log out says
    so."""
    seen = authenticated(lab)
    for listed in (POST, "private_key_jwt"):
        attempt = confidential(lab, BASIC, [BASIC])
        names = {"revocation_endpoint_auth_methods_supported": [listed]}
        exchange_of(attempt).metadata = {**exchange_of(attempt).metadata, **names}
        attempt.answer(lab.visit(attempt.url))
        lab.set("idp", client_auth=listed)
        (said,) = logout("benchling")
        assert ("was revoked" in said) == (listed == POST)
    assert seen == [("/token", BASIC), ("/revoke", POST), ("/token", BASIC)]
    wanted = "(revocation_endpoint_auth_methods_supported: private_key_jwt)"
    assert said.endswith(
        f"The token was not revoked: The identity provider accepts no client secret {wanted}."
        f" {KEYS_ONLY}"
    )


@pytest.mark.parametrize("offered", [[BASIC], [POST], [BASIC, POST]], ids=str)
def test_wrong_client_secret(lab: Lab, offered: list[str]) -> None:
    """A wrong secret is told in one message, which shows it in no spelling."""
    wrong = "kanari-wrong-client-secret-0001"
    lab.set("idp", client_auth=offered[-1])
    attempt = begin("benchling", "oidc", tenant="sandbox", client_secret=wrong)
    exchange_of(attempt).metadata = {
        **exchange_of(attempt).metadata,
        "token_endpoint_auth_methods_supported": offered,
    }
    with pytest.raises(SignInRefused) as caught:
        attempt.answer(lab.visit(attempt.url))
    assert str(caught.value).startswith("The identity provider responded with 401 invalid_client (")
    assert str(caught.value).endswith(
        "Check the client ID (and the secret of a confidential client) with its admin."
    )
    basic = base64.b64encode(f"{CLIENT_ID}:{wrong}".encode()).decode()
    assert leaks([wrong, basic], str(caught.value), repr(vars(caught.value))) == []
    assert lab.token_requests("idp") == len(offered)


# Clocks that differ


@pytest.mark.parametrize("skew", [0, 20, 240, 86400, -20, -240, -350, -400, -7200])
def test_the_issuers_clock(lab: Lab, skew: float) -> None:
    """However the issuer's clock differs from ours, the token's own life counts down, and one is
    issued for each life."""
    lab.set("idp", life=300)
    lab.skew(skew)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    assert 280 <= (mine.seconds_left or 0) <= 300
    assert mine.time_left == "5 min"
    for _ in range(3):
        assert session("benchling").get("plates").status_code == 200
    assert lab.token_requests("idp") == 1
    for lives in (1, 2):
        lab.advance(301)
        for _ in range(3):
            assert session("benchling").get("plates").status_code == 200
        assert lab.token_requests("idp") == 1 + lives
        assert 280 <= (mine.seconds_left or 0) <= 300


@pytest.mark.parametrize(
    ("skew", "said"),
    [(240, "4 min behind"), (-350, "6 min ahead"), (30, ""), (-30, "")],
    ids=["240", "-350", "30", "-30"],
)
def test_the_clock_is_told(lab: Lab, skew: float, said: str) -> None:
    """A clock that is off by more than a minute is told in the status, until it is right."""
    lab.skew(skew)
    lab.set("idp", life=400)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    assert mine.clock_note == (f"this computer's clock is {said}" if said else "")
    lab.skew(0)
    mine.refresh()
    assert mine.clock_note == ""


@pytest.mark.parametrize("iat", [0, -5, 4_000_000_000, 1e300, "soon", True, [], None])
def test_iat_that_is_no_time(lab: Lab, monkeypatch: pytest.MonkeyPatch, iat: Any) -> None:
    """An iat that cannot be when the token was issued moves no clock: exp counts as it stands."""
    body = claims(lab, nonce=None) | {"iat": iat}
    attempt = begin("benchling", "oidc", tenant="sandbox")
    monkeypatch.setattr(attempt, "_nonce", None)
    token_answers(lab, monkeypatch, lambda answer: answer.update(id_token=signed(lab, body)))
    if iat is None:
        with pytest.raises(SignInRefused, match="its claim iat is missing"):
            attempt.answer(lab.visit(attempt.url))
        return
    mine = attempt.answer(lab.visit(attempt.url))
    assert (mine.status, mine.clock_note) == ("valid", "")
    assert mine.seconds_left == pytest.approx(3600, abs=10)


@pytest.mark.parametrize("skew", [0, 240, -240])
def test_iat_dated_back(lab: Lab, monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    """Where iat is dated back, as Microsoft Entra does with nbf, the clock is taken from the
    response's Date."""
    lab.skew(skew)
    now = int(lab.clock.time() + skew)
    body = claims(lab, iat=now - 300, nbf=now - 300, exp=now + 3600, nonce=None)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    monkeypatch.setattr(attempt, "_nonce", None)
    token_answers(lab, monkeypatch, lambda answer: answer.update(id_token=signed(lab, body)))
    mine = attempt.answer(lab.visit(attempt.url))
    assert mine.seconds_left == pytest.approx(3600, abs=10)


@pytest.mark.parametrize("left", [600, 100, 61])
def test_id_token_issued_earlier(lab: Lab, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """A token that was issued before it was asked for, with a Date that is right, moves
    no clock."""
    now = int(lab.clock.time())
    body = claims(lab, iat=now - 3000, exp=now + left, nonce=None)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    monkeypatch.setattr(attempt, "_nonce", None)
    token_answers(lab, monkeypatch, lambda answer: answer.update(id_token=signed(lab, body)))
    mine = attempt.answer(lab.visit(attempt.url))
    assert mine.seconds_left == pytest.approx(left, abs=5)
    assert mine.clock_note == ""


# Renewal and revocation


def token_answers(lab: Lab, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """From now on every token response is changed on its way."""
    app = lab.sites["idp"].app
    real = app.view_functions["token"]

    def changed() -> Any:
        response = real()
        if response.status_code == 200:
            body = response.get_json()
            change(body)
            response.data = json.dumps(body)
        return response

    monkeypatch.setitem(app.view_functions, "token", changed)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda lab, body: body.update(id_token=signed(lab, claims(lab, sub="eve", nonce=None))),
            "it is for a different user (sub)",
        ),
        (
            lambda lab, body: body.update(id_token=jwt.encode(claims(lab), "", algorithm="none")),
            NOT_SIGNED.format("none"),
        ),
        (
            lambda lab, body: body.update(id_token=signed(lab, claims(lab, aud="another"))),
            AUD.removesuffix(". Sign in again."),
        ),
    ],
)
def test_renewal_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, change: Callable[[Lab, Any], None], why: str
) -> None:
    """At renewal, too: another person's ID token, or one that proves nothing, is not sent to
    Benchling."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    token_answers(lab, monkeypatch, lambda body: change(lab, body))
    lab.advance("2h")
    before = lab.count("benchling")
    with pytest.raises(SignInRefused) as caught:
        session("benchling").get("plates")
    assert str(caught.value) == REFUSED.format(why)
    assert lab.count("benchling") == before


def test_renewal_without_an_id_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that gives no ID token for a refresh token: the login has expired, with what to
    type."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    token_answers(lab, monkeypatch, lambda body: body.pop("id_token"))
    lab.advance("2h")
    with pytest.raises(LoginExpired) as caught:
        session("benchling").get("plates")
    assert (
        str(caught.value) == "The identity provider gives no new ID token for a refresh token. "
        "To sign in again, type %labauth login benchling --tenant sandbox --method oidc"
    )


def test_a_bad_id_token_loses_no_refresh_token(lab: Lab) -> None:
    """A bad ID token at a renewal loses no refresh token that came with it: the next one works."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    lab.set("idp", fault="signature")
    lab.advance("2h")
    with pytest.raises(SignInRefused, match=WRONG):
        session("benchling").get("plates")
    lab.set("idp", fault="")
    assert session("benchling").get("plates").status_code == 200


def test_sign_in_without_an_id_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without an ID token is refused; an access token alone proves nothing."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    token_answers(lab, monkeypatch, lambda body: body.pop("id_token"))
    with pytest.raises(SignInRefused) as caught:
        attempt.answer(lab.visit(attempt.url))
    assert str(caught.value) == REFUSED.format(
        "there was none in the response (is openid among the scopes?)"
    )


@pytest.mark.parametrize("answer", [429, 500, "html"])
def test_keys_before_the_code(lab: Lab, answer: int | str) -> None:
    """While the issuer's keys cannot be had, the code is not spent."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    landed = lab.visit(attempt.url)
    lab.next("idp", answer, times=9, path="jwks")
    with pytest.raises(ProviderError):
        attempt.answer(landed)
    assert lab.token_requests("idp") == 0


def test_a_bad_id_token_is_revoked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in whose ID token is bad leaves no refresh token alive at the issuer."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    landed = lab.visit(attempt.url)
    lab.set("idp", fault="signature")
    with pytest.raises(SignInRefused, match=WRONG):
        attempt.answer(landed)
    assert lab.token_requests("idp") == 1
    assert lab.count("idp", "/revoke") == 1


def test_renewal_keeps_or_takes_the_refresh_token(lab: Lab) -> None:
    """Rotated refresh tokens are taken, others kept: three renewals either way; a revoked one says
    how to come back."""
    for rotate in (True, False):
        lab.set("idp", rotate=rotate)
        attempt = begin("benchling", "oidc", tenant="sandbox")
        attempt.answer(lab.visit(attempt.url))
        for _ in range(3):
            lab.advance("2h")
            assert session("benchling").get("plates").status_code == 200
    lab.revoke("idp", refresh=True)
    lab.advance("2h")
    said = (
        r"no longer accepts the refresh token of this sign-in\. "
        r"To sign in again, type %labauth login benchling .*--method oidc$"
    )
    with pytest.raises(LoginExpired, match=said):
        session("benchling").get("plates")


def test_without_offline_access(lab: Lab) -> None:
    """Without a refresh token the login ends with its ID token."""
    attempt = begin("benchling", "oidc", tenant="sandbox", scopes="openid email")
    attempt.answer(lab.visit(attempt.url))
    lab.advance("2h")
    with pytest.raises(LoginExpired, match=r"To sign in again, type %labauth login benchling"):
        session("benchling").get("plates")


def test_revocation(lab: Lab) -> None:
    """Logging out revokes the refresh token at the identity provider, and says so."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    refresh_token = str.__str__(mine.source().current.refresh_token)
    (said,) = logout("benchling")
    assert (
        said == "Signed out of Benchling (sandbox). The token was revoked at the identity provider."
    )
    assert lab.sites["idp"].refresh_tokens[refresh_token].dead
    assert lab.count("idp", "POST /revoke") == 1


def test_revocation_not_offered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the issuer offers none, or it fails, the message says that the token was
    not revoked."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    exchange_of(mine).metadata = {
        n: v for n, v in exchange_of(mine).metadata.items() if n != "revocation_endpoint"
    }
    assert logout("benchling") == [
        "Signed out of Benchling (sandbox). The token was not revoked: "
        "the identity provider offers no way to do that from here."
    ]
    attempt = begin("benchling", "oidc", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    lab.next("idp", 503, times=9, path="revoke")
    assert (
        "The token was not revoked: The identity provider responded with 503"
        in logout("benchling")[0]
    )


# Discovery


class Issuer(ThreadingHTTPServer):
    """An issuer whose configuration is the test's: `answer` gives (status, headers, body) for a
    path."""

    daemon_threads = True

    def __init__(self) -> None:
        issuer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = issuer.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.answer: Callable[[str], tuple[int, dict[str, str], str]] = lambda path: (404, {}, "")
        self.configuration: dict[str, Any] = {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
        }
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def says(self, body: Any, status: int = 200, **headers: str) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.answer = lambda path: (status, headers, text)


@pytest.fixture
def issuer(lab: Lab) -> Iterator[Issuer]:
    it = Issuer()
    yield it
    it.shutdown()
    it.server_close()


def begun(issuer: str) -> None:
    begin("benchling", "oidc", tenant="sandbox", issuer=issuer).cancel()


@pytest.mark.parametrize(
    "typed",
    [
        "{}",
        "{}/",
        "{}/.well-known/openid-configuration",
        " {}/.well-known/openid-configuration/ ",
        "{}//",
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_issuer_in_any_spelling(issuer: Issuer, typed: str, slash: str) -> None:
    """With or without a slash, or as the address of the configuration itself; the issuer's own
    spelling counts for iss."""
    issuer.says(issuer.configuration | {"issuer": issuer.address + slash})
    attempt = begin("benchling", "oidc", tenant="sandbox", issuer=typed.format(issuer.address))
    assert exchange_of(attempt).metadata["issuer"] == issuer.address + slash
    assert attempt.url.startswith(f"{issuer.address}/authorize?response_type=code&")
    assert not attempt.offers_device
    attempt.cancel()


CONFIG = (
    "The identity provider responded with 200 without a configuration in it. "
    "Check the issuer: is that the identity provider's own address?"
)
MISSING = "The identity provider's {} is missing or is not an https address: tell its admin."
DOCUMENTS: list[tuple[str, Callable[[Issuer], None], str]] = [
    (
        "html",
        lambda it: it.says("<h1>Hello</h1>", **{"Content-Type": "text/html"}),
        (
            "responded with 200 (a web page instead of JSON: check the issuer, or the service may"
            " be down). An API sends"
        ),
    ),
    ("a list", lambda it: it.says([]), CONFIG),
    ("no JSON", lambda it: it.says("{"), CONFIG),
    (
        "another issuer",
        lambda it: it.says(it.configuration | {"issuer": "https://evil.example"}),
        "identifies itself as a different issuer",
    ),
    (
        "no issuer",
        lambda it: it.says({**it.configuration, "issuer": None}),
        "identifies itself as a different issuer",
    ),
    (
        "redirect",
        lambda it: it.says("", 302, Location="https://evil.example/"),
        "responded with 302 (a redirect to another address).",
    ),
    (
        "404",
        lambda it: it.says("", 404),
        "Check the issuer: it is the address without /.well-known/openid-configuration.",
    ),
    (
        "500",
        lambda it: it.says("", 500),
        "The identity provider has a problem of its own: try again in a minute.",
    ),
    *(
        (
            f"no {name}",
            lambda it, name=name: it.says({**it.configuration, name: None}),
            MISSING.format(name),
        )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    ),
    *(
        (
            f"http {name}",
            lambda it, name=name: it.says({**it.configuration, name: "http://evil.example/"}),
            MISSING.format(name),
        )
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "device_authorization_endpoint",
            "revocation_endpoint",
        )
    ),
    (
        "script",
        lambda it: it.says({**it.configuration, "authorization_endpoint": "javascript:alert(1)"}),
        "is missing or is not an https",
    ),
    (
        "a number",
        lambda it: it.says({**it.configuration, "token_endpoint": 7}),
        "is missing or is not an https",
    ),
]


@pytest.mark.parametrize(
    ("says", "why"), [row[1:] for row in DOCUMENTS], ids=[row[0] for row in DOCUMENTS]
)
def test_discovery_refused(issuer: Issuer, says: Callable[[Issuer], None], why: str) -> None:
    """A configuration that is none, or of another issuer, is refused before any page is opened; the
    field is named."""
    says(issuer)
    with pytest.raises(LabauthError) as caught:
        begun(issuer.address)
    assert why in str(caught.value)
    assert "tenant" not in str(caught.value)
    assert caught.value.field == "issuer"


BUSY = "Too many requests: wait a little, then start again."
DOWN = "The identity provider has a problem of its own: try again in a minute."


def asked(lab: Lab, path: str) -> None:
    """Ask the identity provider for what is at `path`."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    if path == "device_authorization":
        attempt.device()
    else:
        attempt.answer(lab.visit(attempt.url))


@pytest.mark.parametrize("path", ["openid-configuration", "jwks", "device_authorization"])
@pytest.mark.parametrize(("status", "why"), [(429, BUSY), (503, DOWN), (500, DOWN)])
def test_busy_issuer(lab: Lab, path: str, status: int, why: str) -> None:
    """An identity provider that is busy or down is told as such at each of its endpoints."""
    lab.next("idp", status, times=9, path=path)
    with pytest.raises(ProviderError) as caught:
        asked(lab, path)
    assert not isinstance(caught.value, SignInRefused)
    assert str(caught.value).startswith(f"The identity provider responded with {status}")
    assert str(caught.value).endswith(why)
    assert "address" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("path", ["openid-configuration", "jwks"])
def test_issuer_busy_for_a_moment(lab: Lab, path: str) -> None:
    """A configuration and keys that come later are asked for again, as slowly as wanted."""
    lab.next("idp", 429, times=2, path=path)
    attempt = begin("benchling", "oidc", tenant="sandbox")
    assert attempt.answer(lab.visit(attempt.url)).who


ERROR = {"error": "not_today", "error_description": "Come back tomorrow."}
OWN = "The identity provider responded with 200 not_today (Come back tomorrow)."
EMPTY = "The identity provider responded with 200 without {} in it. Check the issuer"
WITHOUT = {
    "configuration": "a configuration",
    "jwks": "keys",
    "device_authorization": "a device code",
}


@pytest.mark.parametrize("view", WITHOUT)
@pytest.mark.parametrize("body", [ERROR, [], "page"], ids=str)
def test_issuer_without(lab: Lab, monkeypatch: pytest.MonkeyPatch, view: str, body: Any) -> None:
    """A response without what was asked for names that; an error in a 200 is told as it is."""
    monkeypatch.setitem(lab.sites["idp"].app.view_functions, view, lambda: jsonify(body))
    with pytest.raises(LabauthError) as caught:
        asked(lab, view)
    wanted = OWN if body == ERROR else EMPTY.format(WITHOUT[view])
    assert str(caught.value).startswith(wanted)
    assert "token" not in str(caught.value)


NO_ISSUER = ["http://idp.example", "ftp://x", "https://", "https://[", "//", "https://x/?kanari"]


@pytest.mark.parametrize("typed", NO_ISSUER)
def test_no_issuer(lab: Lab, typed: str) -> None:
    """Plain http elsewhere, and what is no address at all, is refused without a request."""
    with pytest.raises(InvalidInput) as caught:
        begun(typed)
    assert str(caught.value).endswith(
        " is not a valid issuer URL: give the https address of your lab's identity provider."
    )
    assert "kanari" not in str(caught.value)
    assert caught.value.field == "issuer"


def test_issuer_with_a_user_name(lab: Lab) -> None:
    """What stands before an @ in the issuer's address may be a secret: it is not repeated."""
    with pytest.raises(InvalidInput, match="contains a user name or password") as caught:
        begun("https://kanari-token@idp.example")
    assert "kanari" not in str(caught.value)
    assert caught.value.field == "issuer"


def test_issuer_gone(lab: Lab) -> None:
    """An issuer that does not answer is said with its host."""
    with pytest.raises(
        ProviderUnreachable,
        match=r"^The identity provider did not respond: 127\.0\.0\.1:1 refused the connection",
    ):
        begun("http://127.0.0.1:1")


def test_the_panel_names_the_issuer(lab: Lab) -> None:
    """An issuer that cannot be reached is told at its own field of the form, not at the
    tenant's."""
    from labauth_nb.logins.plans import Wish, plan
    from labauth_nb.notebook.panel import LoginPanel
    from labauth_nb.providers import PROVIDERS

    panel = LoginPanel(plan(Wish("benchling", "oidc")))
    for name, field in (("oidc", "issuer"), ("app", "tenant")):
        panel.plan = panel.plan.by(PROVIDERS["benchling"].method(name))
        error = panel.explained(ProviderUnreachable("x"))
        assert error.field == field


def test_without_cryptography(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that checks signatures nothing is begun, and the command to install it is
    named."""
    monkeypatch.setattr(openid, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput) as caught:
        begun(lab.origin("idp"))
    assert (
        str(caught.value)
        == "Checking an ID token needs one more package. Install it with: pip install"
        " 'labauth-nb[oidc]'"
    )
    assert lab.count("idp") == 0


def test_discovery_once(lab: Lab) -> None:
    """A sign-in and its renewals ask for the configuration once."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    mine.refresh()
    mine.refresh()
    assert lab.count("idp", "openid-configuration") == 1


NO_PAGE = "The identity provider's page for typing the code is not an https address"
NO_CODE = "The identity provider sent a device code that cannot be used. Tell its admin."
NAMES = ("device_code", "user_code", "verification_uri")
DEVICE_ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({"verification_uri": "http://evil.example/"}, NO_PAGE),
    ({"verification_uri_complete": "javascript:alert(1)"}, NO_PAGE),
    *(({name: spoiled}, NO_CODE) for name in NAMES for spoiled in (None, 5, "", [])),
    *(
        ({name: spoiled}, NO_CODE)
        for name in ("expires_in", "interval")
        for spoiled in ("soon", [], float("nan"), float("inf"), 10**400)
    ),
    ({"user_code": "\x1b[31mEVIL\n"}, NO_CODE),
    ({"user_code": "A" * 5000}, NO_CODE),
    ({"user_code": "\ud800"}, "without a device code in it"),
    ({"verification_uri": "https://x/\n\x1b[31m"}, NO_CODE),
    ({"verification_uri": "https://ada@evil.example/"}, NO_PAGE),
]


@pytest.mark.parametrize(
    ("changed", "why"),
    DEVICE_ANSWERS,
    ids=[str(c)[:40].encode("ascii", "replace").decode() for c, _ in DEVICE_ANSWERS],
)
def test_device_answers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], why: str
) -> None:
    """A device authorization that cannot be used, or that leads elsewhere, is refused; the browser
    way goes on."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    app = lab.sites["idp"].app
    real = app.view_functions["device_authorization"]

    def spoiled() -> Any:
        response = real()
        body = {n: v for n, v in (response.get_json() | changed).items() if v is not None}
        response.data = json.dumps(body)
        return response

    monkeypatch.setitem(app.view_functions, "device_authorization", spoiled)
    with pytest.raises(LabauthError) as caught:
        attempt.device()
    assert why in str(caught.value)
    assert attempt.state == "waiting"
    assert attempt.answer(lab.visit(attempt.url)).who


def test_renewal_is_quick(lab: Lab) -> None:
    """A good ID token is believed without another request for keys: twenty renewals fetch them
    once."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    start = time.monotonic()
    for _ in range(20):
        mine.refresh()
    assert fetched(lab) == 1
    assert time.monotonic() - start < 10
