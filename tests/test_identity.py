"""The identity provider of the sandbox: OpenID Connect, the device grant, what it enforces, and how
it spoils its ID tokens."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urljoin

import jwt
import pytest
import requests
from pages import HERE, INVALID_GRANT, PKCE, VERIFIER, Client, Form, landed, refused

from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.identity import CLIENT_ID, DEVICE, EMAIL, FAULTS

SENT = {
    "client_id": CLIENT_ID,
    "state": "a state",
    "scope": "openid email offline_access",
    "nonce": "a nonce",
}
OWN = Client(
    "idp", "/authorize", "/token", SENT | PKCE, {"client_id": CLIENT_ID, "code_verifier": VERIFIER}
)
address, exchange = OWN.address, OWN.exchange


def discovered(lab: Lab) -> dict[str, Any]:
    body: dict[str, Any] = requests.get(
        lab.origin("idp") + "/.well-known/openid-configuration", timeout=10
    ).json()
    return body


def post(lab: Lab, path: str, **form: str | None) -> requests.Response:
    """A form of the public client's."""
    return requests.post(lab.origin("idp") + path, data={"client_id": CLIENT_ID} | form, timeout=10)


def signed_in(lab: Lab, **changed: str | None) -> dict[str, Any]:
    body: dict[str, Any] = exchange(lab, OWN.code(lab, **changed)).json()
    return body


def renew(lab: Lab, refresh_token: str) -> requests.Response:
    return post(lab, "/token", grant_type="refresh_token", refresh_token=refresh_token)


def connect(lab: Lab, scope: str = "openid email offline_access") -> dict[str, Any]:
    """A device that asks to be connected."""
    body: dict[str, Any] = post(lab, "/device_authorization", scope=scope).json()
    return body


def poll(lab: Lab, device: dict[str, Any], **changed: str) -> requests.Response:
    return post(
        lab, "/token", **{"grant_type": DEVICE, "device_code": device["device_code"]} | changed
    )


def claims_in(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def at_benchling(lab: Lab, id_token: str) -> int:
    headers = {"Authorization": f"Bearer {id_token}"}
    return requests.get(
        lab.origin("benchling") + "/api/v2/projects", headers=headers, timeout=10
    ).status_code


def knows(lab: Lab, access_token: str) -> bool:
    headers = {"Authorization": f"Bearer {access_token}"}
    return (
        requests.get(lab.origin("idp") + "/userinfo", headers=headers, timeout=10).status_code
        == 200
    )


def test_discovery(lab: Lab) -> None:
    """The configuration names this issuer and its endpoints, all there; the device grant only where
    it is offered."""
    offered = discovered(lab)
    assert offered["issuer"] == lab.origin("idp")
    required = {
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
    }
    assert required | {
        "id_token_signing_alg_values_supported",
        "device_authorization_endpoint",
    } <= set(offered)
    for name in offered:
        if name.endswith(("_endpoint", "_uri")):
            assert offered[name].startswith(offered["issuer"] + "/")
            assert requests.get(offered[name], timeout=10).status_code != 404
    lab.set("idp", device=False)
    assert "device_authorization_endpoint" not in discovered(lab)
    assert DEVICE not in discovered(lab)["grant_types_supported"]
    assert post(lab, "/device_authorization", scope="openid").status_code == 404
    assert refused(post(lab, "/token", grant_type=DEVICE, device_code="x")) == (
        400,
        "unsupported_grant_type",
    )


def test_code_grant(lab: Lab) -> None:
    """Signed in on the page, code and PKCE give an ID token for Benchling with e-mail and nonce,
    good for an hour there."""
    answer = landed(lab.visit(address(lab)))
    assert (answer["state"], answer["iss"]) == ("a state", lab.origin("idp"))
    assert discovered(lab)["authorization_response_iss_parameter_supported"] is True
    body = exchange(lab, answer["code"]).json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "id_token",
        "refresh_token",
    }
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    claims, now = claims_in(body["id_token"]), lab.clock.time()
    assert (claims["iss"], claims["sub"], claims["aud"]) == (lab.origin("idp"), "ada", CLIENT_ID)
    assert (claims["email"], claims["email_verified"], claims["nonce"]) == (EMAIL, True, "a nonce")
    assert (claims["exp"] - claims["iat"], claims["iat"]) == (3600, pytest.approx(now, abs=5))
    assert (at_benchling(lab, body["id_token"]), at_benchling(lab, body["access_token"])) == (
        200,
        401,
    )
    assert (knows(lab, body["access_token"]), knows(lab, body["id_token"])) == (True, False)
    assert lab.token_requests("idp") == 1
    lab.advance("1h")
    assert (at_benchling(lab, body["id_token"]), knows(lab, body["access_token"])) == (401, False)


def test_life_and_skew(lab: Lab) -> None:
    """An ID token's life can be set, and its times are the server's own, however far the clocks are
    apart."""
    lab.set("idp", life=60)
    lab.skew(7200)
    body = signed_in(lab)
    claims = claims_in(body["id_token"])
    assert (claims["exp"] - claims["iat"], body["expires_in"]) == (60, 60)
    assert claims["iat"] - lab.clock.time() == pytest.approx(7200, abs=5)
    assert at_benchling(lab, body["id_token"]) == 200
    lab.advance(60)
    assert at_benchling(lab, body["id_token"]) == 401


def test_scopes(lab: Lab) -> None:
    """Without the scope email the ID token has no e-mail address, without offline_access no refresh
    token comes."""
    body = signed_in(lab, scope="openid", nonce=None)
    assert "refresh_token" not in body
    assert {"email", "nonce"} & set(claims_in(body["id_token"])) == set()
    assert at_benchling(lab, body["id_token"]) == 401


@pytest.mark.parametrize(
    "changed", [{"client_id": "x"}, {"redirect_uri": "https://evil.example/"}], ids=str
)
def test_unregistered(lab: Lab, changed: dict[str, str | None]) -> None:
    """An unknown client, or a redirect_uri that is not registered, gets an error page and no
    redirect."""
    page = requests.get(address(lab, **changed), allow_redirects=False, timeout=10)
    assert (page.status_code, "location" in page.headers) == (400, False)
    lab.set("idp", redirects=["https://evil.example/"])
    assert (requests.get(address(lab, **changed), timeout=10).status_code == 200) == (
        "redirect_uri" in changed
    )


WRONG_REQUESTS = [
    ({"response_type": "id_token"}, "unsupported_response_type"),
    ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"scope": "email"}, "invalid_scope"),
    ({"scope": None}, "invalid_scope"),
    ({"scope": "openid everything"}, "invalid_scope"),
    ({"prompt": "none"}, "login_required"),
]


@pytest.mark.parametrize(("changed", "error"), WRONG_REQUESTS, ids=str)
def test_authorize_refused(lab: Lab, changed: dict[str, str | None], error: str) -> None:
    """A request without PKCE, without openid or with what is not offered goes back to the client as
    an error."""
    answer = landed(lab.visit(address(lab, **changed)))
    assert (set(answer), answer["error"]) == ({"error", "error_description", "state", "iss"}, error)
    assert (answer["state"], answer["iss"]) == ("a state", lab.origin("idp"))


def typed(lab: Lab, page: requests.Response, **changed: str) -> tuple[str, dict[str, str]]:
    """Where the form of `page` goes, and what the person types in it."""
    form = Form(page.text)
    return (
        urljoin(page.url, form.action),
        form.inputs | {"choice": "allow"} | lab.credentials("idp", "password") | changed,
    )


def test_posted_request(lab: Lab) -> None:
    """An authorization request may be posted (OIDC Core 3.1.2.1): the same page, the same code, the
    same refusals."""
    url, _, query = address(lab, state='a "state" & <more>').partition("?")
    request = dict(parse_qsl(query))
    with requests.Session() as browser:
        page = browser.post(url, data=request, timeout=10)
        assert (page.status_code, "password" in Form(page.text).inputs) == (200, True)
        where, form = typed(lab, page, password="wrong")
        again = browser.post(where, data=form, timeout=10)
        assert again.status_code == 401
        where, form = typed(lab, again)
        back = browser.post(where, data=form, allow_redirects=False, timeout=10).headers["location"]
        assert landed(back)["state"] == request["state"]
        assert exchange(lab, landed(back)["code"]).status_code == 200
        for changed, error in WRONG_REQUESTS:
            sent = {name: value for name, value in (request | changed).items() if value is not None}
            back = browser.post(url, data=sent, allow_redirects=False, timeout=10).headers[
                "location"
            ]
            assert landed(back)["error"] == error
        for sent in (
            request | {"client_id": "x"},
            request | {"redirect_uri": "https://evil.example/"},
            {},
        ):
            assert (
                browser.post(url, data=sent, allow_redirects=False, timeout=10).status_code == 400
            )
        assert (
            browser.post(
                where, data=form | {"seal": "x"}, allow_redirects=False, timeout=10
            ).status_code
            == 400
        )


def test_posted_userinfo(lab: Lab) -> None:
    """Userinfo takes GET and POST (OIDC Core 5.3.1), the token in the header or, posted, in the
    form."""
    token, url = signed_in(lab)["access_token"], lab.origin("idp") + "/userinfo"
    known = requests.post(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert known.json() == {"sub": "ada", "email": EMAIL, "email_verified": True}
    assert requests.post(url, data={"access_token": token}, timeout=10).json() == known.json()
    assert refused(requests.post(url, data={"access_token": "x"}, timeout=10)) == (
        401,
        "invalid_token",
    )
    assert refused(requests.post(url, timeout=10)) == (401, "invalid_token")
    assert refused(requests.get(url, params={"access_token": token}, timeout=10)) == (
        401,
        "invalid_token",
    )


def test_challenges(lab: Lab) -> None:
    """401 names Basic to a client and Bearer at userinfo, with invalid_token for a token that is
    unknown."""
    assert (
        post(lab, "/revoke", client_id="x").headers["WWW-Authenticate"] == 'Basic realm="sandbox"'
    )
    url = lab.origin("idp") + "/userinfo"
    assert requests.get(url, timeout=10).headers["WWW-Authenticate"] == 'Bearer realm="sandbox"'
    dead = requests.get(url, headers={"Authorization": "Bearer x"}, timeout=10)
    assert dead.headers["WWW-Authenticate"] == 'Bearer realm="sandbox", error="invalid_token"'
    assert (
        requests.get(lab.origin("idp") + "/token", timeout=10).headers["Allow"] == "OPTIONS, POST"
    )


def test_declined(lab: Lab) -> None:
    """Deny, and a suspended user, give access_denied; a wrong password or address the page again,
    with a message."""
    assert landed(lab.visit(address(lab), "deny"))["error"] == "access_denied"
    for typed in ({"password": "wrong"}, {"email": "nobody@sandbox.example"}, {"password": ""}):
        with pytest.raises(ValueError, match="address or the password is wrong"):
            lab.visit(address(lab), **typed)
    body, code = signed_in(lab), landed(lab.visit(address(lab)))["code"]
    lab.suspend("idp")
    assert landed(lab.visit(address(lab)))["error"] == "access_denied"
    assert (
        refused(exchange(lab, code)) == refused(renew(lab, body["refresh_token"])) == INVALID_GRANT
    )


WRONG_EXCHANGES: list[dict[str, str | None]] = [
    {"code_verifier": None},
    {"code_verifier": VERIFIER + "x"},
    {"redirect_uri": HERE + "x"},
    {"code": "x"},
]


@pytest.mark.parametrize("changed", WRONG_EXCHANGES, ids=str)
def test_code_refused(lab: Lab, changed: dict[str, str | None]) -> None:
    """A code counts with its redirect_uri and verifier, once, for 60 seconds; when it comes twice
    its tokens end."""
    code, late = (landed(lab.visit(address(lab)))["code"] for _ in range(2))
    assert refused(exchange(lab, **{"code": code} | changed)) == INVALID_GRANT
    body = exchange(lab, code).json()
    assert (knows(lab, body["access_token"]), at_benchling(lab, body["id_token"])) == (True, 200)
    assert refused(exchange(lab, code)) == INVALID_GRANT
    assert (knows(lab, body["access_token"]), at_benchling(lab, body["id_token"])) == (False, 401)
    assert refused(renew(lab, body["refresh_token"])) == INVALID_GRANT
    lab.advance(60)
    assert refused(exchange(lab, late)) == INVALID_GRANT


ENDPOINTS = pytest.mark.parametrize("path", ["/token", "/device_authorization", "/revoke"])
FORM = {"grant_type": "refresh_token", "refresh_token": "x", "scope": "openid", "token": "x"}


@ENDPOINTS
def test_client_refused(lab: Lab, path: str) -> None:
    """Another client, none, or one with a secret though it is public, is invalid_client; no
    parameter may come twice."""
    for changed in ({"client_id": "x"}, {"client_id": None}, {"client_secret": "x"}):
        assert refused(post(lab, path, **FORM | changed)) == (401, "invalid_client")
    url = lab.origin("idp") + path
    for auth in ((CLIENT_ID, "x"), ("x", "")):
        assert refused(requests.post(url, data=FORM, auth=auth, timeout=10)) == (
            401,
            "invalid_client",
        )
    headers = {"Authorization": "Bearer x"}
    strange = requests.post(url, data=FORM | {"client_id": CLIENT_ID}, headers=headers, timeout=10)
    assert refused(strange) == (401, "invalid_client")
    assert refused(requests.post(url, data=[*FORM.items(), ("token", "y")], timeout=10)) == (
        400,
        "invalid_request",
    )
    assert refused(post(lab, "/token", grant_type="password")) == (400, "unsupported_grant_type")
    assert refused(post(lab, "/token")) == (400, "invalid_request")


@ENDPOINTS
def test_public_client_as_basic(lab: Lab, path: str) -> None:
    """A public client may be the user name of Basic, with an empty password, or have an empty
    client_secret."""
    known = (200, "") if path != "/token" else INVALID_GRANT
    basic = requests.post(lab.origin("idp") + path, data=FORM, auth=(CLIENT_ID, ""), timeout=10)
    for response in (basic, post(lab, path, **FORM | {"client_secret": ""})):
        body = response.json()
        assert (response.status_code, body.get("error", "")) == known


SECRET = "a +%:/\u00e9 secret"
AS = {
    "client_secret_basic": {"auth": (quote_plus(CLIENT_ID), quote_plus(SECRET))},
    "client_secret_post": {"form": {"client_id": CLIENT_ID, "client_secret": SECRET}},
    "none": {"form": {"client_id": CLIENT_ID}},
}


@ENDPOINTS
@pytest.mark.parametrize(
    "wanted", ["client_secret_basic", "client_secret_post", "private_key_jwt", ""]
)
def test_client_authentication(lab: Lab, path: str, wanted: str) -> None:
    """A confidential client authenticates as the metadata say, in no other way; where they are
    silent, by Basic."""
    lab.set("idp", client_auth=wanted, client_secret=SECRET)
    for at in ("token", "revocation"):
        assert discovered(lab).get(f"{at}_endpoint_auth_methods_supported") == (
            [wanted] if wanted else None
        )
    url, sent = lab.origin("idp") + path, {}
    for method, parts in AS.items():
        data = FORM | parts.get("form", {})
        sent[method] = (
            requests.post(url, data=data, auth=parts.get("auth"), timeout=10).json().get("error")
        )
    good = wanted or "client_secret_basic"
    assert {method for method, error in sent.items() if error != "invalid_client"} == {good} & set(
        AS
    )
    for auth in (("x", quote_plus(SECRET)), (CLIENT_ID, ""), (CLIENT_ID, "wrong")):
        assert refused(requests.post(url, data=FORM, auth=auth, timeout=10)) == (
            401,
            "invalid_client",
        )
    for more in ({"client_id": "x"}, {"client_secret": SECRET}):
        twice = requests.post(
            url, data=FORM | more, auth=AS["client_secret_basic"]["auth"], timeout=10
        )
        assert refused(twice) == (400, "invalid_request")


def test_refresh(lab: Lab) -> None:
    """A refresh gives a new ID token without nonce and a new refresh token; the old one, used
    again, ends the family."""
    first = signed_in(lab)
    second = renew(lab, first["refresh_token"]).json()
    assert "nonce" not in claims_in(second["id_token"])
    assert claims_in(second["id_token"])["sub"] == claims_in(first["id_token"])["sub"]
    assert (at_benchling(lab, second["id_token"]), second["id_token"] == first["id_token"]) == (
        200,
        False,
    )
    assert refused(renew(lab, first["refresh_token"])) == INVALID_GRANT
    assert (at_benchling(lab, second["id_token"]), knows(lab, second["access_token"])) == (
        401,
        False,
    )
    assert refused(renew(lab, second["refresh_token"])) == INVALID_GRANT
    lab.set("idp", rotate=False, refresh_life=600)
    kept = signed_in(lab)["refresh_token"]
    assert ["refresh_token" in renew(lab, kept).json() for _ in range(2)] == [False, False]
    lab.advance(600)
    assert refused(renew(lab, kept)) == INVALID_GRANT


def test_revocation(lab: Lab) -> None:
    """An access token is revoked alone, a refresh token with all that came from it; an unknown one
    is no error."""
    body = signed_in(lab)
    assert [
        post(lab, "/revoke", token=each).status_code for each in (body["access_token"], "unknown")
    ] == [200, 200]
    assert (knows(lab, body["access_token"]), at_benchling(lab, body["id_token"])) == (False, 200)
    for form in ({}, {"token": ""}):
        assert refused(post(lab, "/revoke", **form)) == (400, "invalid_request")
    body = renew(lab, body["refresh_token"]).json()
    assert post(lab, "/revoke", token=body["refresh_token"]).status_code == 200
    assert (knows(lab, body["access_token"]), refused(renew(lab, body["refresh_token"]))) == (
        False,
        INVALID_GRANT,
    )


@pytest.mark.parametrize("lever", ["expire", "revoke"])
def test_levers(lab: Lab, lever: str) -> None:
    """The levers end access and ID tokens alike, and the refresh token brings new ones."""
    body = signed_in(lab)
    getattr(lab, lever)("idp")
    assert (knows(lab, body["access_token"]), at_benchling(lab, body["id_token"])) == (False, 401)
    body = renew(lab, body["refresh_token"]).json()
    assert (knows(lab, body["access_token"]), at_benchling(lab, body["id_token"])) == (True, 200)


def test_device_grant(lab: Lab) -> None:
    """The device waits until a person allows it on the page, gets its tokens once, and may renew
    them."""
    device = connect(lab)
    assert {
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    } == set(device)
    assert (device["interval"], device["expires_in"]) == (5, 600)
    assert (
        device["verification_uri_complete"]
        == f"{device['verification_uri']}?user_code={device['user_code']}"
    )
    assert refused(poll(lab, device)) == (400, "authorization_pending")
    assert lab.visit(device["verification_uri_complete"]) == lab.origin("idp") + "/device/allowed"
    lab.advance(5)
    body = poll(lab, device).json()
    assert at_benchling(lab, body["id_token"]) == 200
    assert renew(lab, body["refresh_token"]).status_code == 200
    lab.advance(5)
    assert refused(poll(lab, device)) == refused(poll(lab, {"device_code": "x"})) == INVALID_GRANT
    with pytest.raises(ValueError, match="No device waits with this code"):
        lab.visit(device["verification_uri_complete"])
    with pytest.raises(ValueError, match="No device waits with this code"):
        lab.visit(device["verification_uri"], "deny", user_code="")


def test_device_refused(lab: Lab) -> None:
    """Denied on the page: access_denied. Not decided in 10 minutes: expired_token, and the page
    knows the code no more."""
    device, late = connect(lab), connect(lab, "openid")
    assert lab.visit(device["verification_uri"], "deny", user_code=device["user_code"]).endswith(
        "/device/denied"
    )
    assert refused(poll(lab, device)) == (400, "access_denied")
    lab.advance(600)
    assert refused(poll(lab, late)) == (400, "expired_token")
    with pytest.raises(ValueError, match="No device waits"):
        lab.visit(late["verification_uri_complete"])
    for scope in ("", "email", "openid everything"):
        assert refused(post(lab, "/device_authorization", scope=scope)) == (400, "invalid_scope")


def test_device_slow_down(lab: Lab) -> None:
    """Polling faster than the interval is slow_down, and each one adds 5 seconds to the interval,
    also once allowed."""
    lab.set("idp", interval=2.5)
    device = connect(lab)
    assert device["interval"] == 2.5
    lab.visit(device["verification_uri_complete"])
    fresh = connect(lab)
    assert refused(poll(lab, fresh)) == (400, "authorization_pending")
    lab.advance(2.5)
    assert refused(poll(lab, fresh)) == (400, "authorization_pending")
    for seconds in (1, 7, 12):  # the interval is 2.5, 7.5 and 12.5 seconds then
        lab.advance(seconds)
        assert refused(poll(lab, fresh)) == (400, "slow_down")
    lab.advance(17.5)
    assert refused(poll(lab, fresh)) == (400, "authorization_pending")
    assert refused(poll(lab, fresh)) == (400, "slow_down")
    assert poll(lab, device).status_code == 200


def test_device_page(lab: Lab) -> None:
    """The page shows the code to compare, takes it in any spelling, and allows nothing without
    password and seal."""
    device = connect(lab)
    url = device["verification_uri_complete"]
    assert Form(requests.get(url, timeout=10).text).inputs["user_code"] == device["user_code"]
    assert "<i>" not in requests.get(device["verification_uri"] + "?user_code=<i>", timeout=10).text
    with pytest.raises(ValueError, match="password is wrong"):
        lab.visit(url, password="wrong")
    form = {
        "choice": "allow",
        "user_code": device["user_code"],
        **lab.credentials("idp", "password"),
    }
    for more in ({}, {"client_id": CLIENT_ID}):
        assert requests.post(url, data=form | more, timeout=10).status_code == 400
    assert refused(poll(lab, device)) == (400, "authorization_pending")
    spelt = device["user_code"].lower().replace("-", " ")
    assert lab.visit(device["verification_uri"], user_code=spelt).endswith("/device/allowed")
    lab.advance(5)
    assert poll(lab, device).status_code == 200


def test_three_wrong_sign_ins(lab: Lab) -> None:
    """The third wrong password in one browser ends the sign-in: access_denied, for a client as for
    a device."""
    device = connect(lab)
    for url in (address(lab), device["verification_uri_complete"]):
        with requests.Session() as browser:
            inputs = Form(browser.get(url, timeout=10).text).inputs
            form = inputs | {"choice": "allow", "email": EMAIL, "password": "wrong"}
            pages = [
                browser.post(url, data=form, allow_redirects=False, timeout=10) for _ in range(3)
            ]
            assert [page.status_code for page in pages] == [401, 401, 303]
    assert refused(poll(lab, device)) == (400, "access_denied")


def test_suspended_device(lab: Lab) -> None:
    """A suspended user's device is refused on the page."""
    device = connect(lab)
    lab.suspend("idp")
    assert lab.visit(device["verification_uri_complete"]).endswith("/device/denied")
    lab.suspend("idp", False)
    assert refused(poll(lab, device)) == (400, "access_denied")


def keys(lab: Lab) -> list[dict[str, str]]:
    found: list[dict[str, str]] = requests.get(discovered(lab)["jwks_uri"], timeout=10).json()[
        "keys"
    ]
    return found


def verify(lab: Lab, token: str, nonce: str = "a nonce") -> dict[str, Any]:
    """The claims, checked by PyJWT against the keys published (its times by the wall clock, as the
    sandbox's is not moved)."""
    key = jwt.PyJWKClient(discovered(lab)["jwks_uri"]).get_signing_key_from_jwt(token)
    options: Any = {"require": ["exp", "iat", "iss", "aud", "sub"]}
    claims = jwt.decode(
        token, key, ["RS256"], options, audience=CLIENT_ID, issuer=lab.origin("idp"), leeway=5
    )
    assert claims["nonce"] == nonce
    assert claims["email"] == EMAIL
    return claims


@pytest.mark.witness
def test_witness_keys(lab: Lab) -> None:
    """PyJWT's PyJWKClient finds the key at the published address and verifies an ID
    token with it."""
    assert verify(lab, signed_in(lab)["id_token"])["sub"] == "ada"
    (key,) = keys(lab)
    assert {name: key[name] for name in ("kty", "use", "alg")} == {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
    }
    assert {"d", "p", "q"} & set(key) == set()


SPOILED = {
    "none": jwt.InvalidAlgorithmError,
    "hs256": jwt.InvalidAlgorithmError,
    "nonce": AssertionError,
    "aud": jwt.InvalidAudienceError,
    "iss": jwt.InvalidIssuerError,
    "expired": jwt.ExpiredSignatureError,
    "no_email": KeyError,
    "signature": jwt.InvalidSignatureError,
}


@pytest.mark.parametrize("fault", SPOILED)
def test_faults(lab: Lab, fault: str) -> None:
    """Each fault spoils the ID tokens in its one way, which a good verifier names, renewed ones
    too; then they are good."""
    lab.set("idp", fault=fault)
    body = signed_in(lab)
    with pytest.raises(SPOILED[fault]):
        verify(lab, body["id_token"])
    with pytest.raises(SPOILED[fault]):
        verify(lab, renew(lab, body["refresh_token"]).json()["id_token"])
    lab.set("idp", fault="")
    verify(lab, signed_in(lab)["id_token"])
    assert set(FAULTS) - {""} == set(SPOILED)
    with pytest.raises(ValueError, match=r"fault is one of .*The levers of idp"):
        lab.set("idp", fault="other")


def test_hs256_is_the_public_key(lab: Lab) -> None:
    """The fault hs256 is the classical confusion: the token is signed with the public key's PEM as
    a secret."""
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    lab.set("idp", fault="hs256")
    token = lab.credentials("benchling", "id-token")["id_token"]
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    (key,) = keys(lab)
    public = jwt.PyJWK(key).key
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed, _, signature = token.rpartition(".")
    expected = (
        base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), "sha256")).rstrip(b"=").decode()
    )
    assert signature == expected


@pytest.mark.parametrize("keep_kid", [False, True])
def test_rotated_keys(lab: Lab, keep_kid: bool) -> None:
    """A new key signs and the old one is gone, under a new kid or, on request, under
    the old one."""
    (old,), token = keys(lab), signed_in(lab)["id_token"]
    lab.rotate_keys(keep_kid)
    (new,) = keys(lab)
    assert (new["n"] == old["n"], new["kid"] == old["kid"]) == (False, keep_kid)
    with pytest.raises(jwt.InvalidSignatureError if keep_kid else jwt.PyJWKClientError):
        verify(lab, token)
    verify(lab, signed_in(lab)["id_token"])


JUNK = ["\u00e9\u4e2d", "%ff%fe", "a" * 20000, "\x00\r\n", "[" * 9000, "\U0001f600"]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:9]))
def test_hostile_input(lab: Lab, junk: str) -> None:
    """Whatever is sent, the identity provider answers with less than 500 and does not
    fail itself."""
    for name in (
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "prompt",
        "code_challenge",
        "response_type",
    ):
        for verb, form in (
            ("GET", {}),
            ("POST", {"seal": junk, "choice": "allow", "email": junk, "password": junk}),
        ):
            url = address(lab, **{name: junk})
            assert (
                requests.request(
                    verb, url, data=form, allow_redirects=False, timeout=10
                ).status_code
                < 500
            )
    for name in (
        "grant_type",
        "code",
        "refresh_token",
        "device_code",
        "client_id",
        "scope",
        "token",
        "redirect_uri",
    ):
        for path in ("/token", "/device_authorization", "/revoke", "/device", "/userinfo", "/jwks"):
            form = {"grant_type": DEVICE, "user_code": junk} | {name: junk}
            assert post(lab, path, **form).status_code < 500
    with requests.Session() as browser:
        url = lab.origin("idp") + "/device?" + urlencode({"user_code": junk})
        form = Form(browser.get(url, timeout=10).text).inputs | {
            "choice": "allow",
            "email": junk,
            "user_code": junk,
        }
        assert browser.post(url, data=form, timeout=10).status_code == 401
    assert (
        requests.get(f"{address(lab)}&state=%ff%00", allow_redirects=False, timeout=10).status_code
        == 303
    )


def test_this_computer_only(lab: Lab) -> None:
    """Every server of the sandbox listens on loopback, where no other computer gets in."""
    assert {server.server_address[0] for server in lab.servers.values()} == {"127.0.0.1"}


def test_reset_and_describe(lab: Lab) -> None:
    """The identity provider is no provider in the sandbox's sentence; a reset forgets its tokens
    and levers."""
    assert lab.describe() == f"SANDBOX: running; providers: {', '.join(PROVIDERS)}."
    assert lab.credentials("benchling", "oidc") == {
        "issuer": lab.origin("idp"),
        "client_id": CLIENT_ID,
    }
    lab.set("idp", fault="aud", life=5)
    body = signed_in(lab)
    lab.reset()
    assert (knows(lab, body["access_token"]), refused(renew(lab, body["refresh_token"]))) == (
        False,
        INVALID_GRANT,
    )
    assert claims_in(signed_in(lab)["id_token"])["aud"] == CLIENT_ID
