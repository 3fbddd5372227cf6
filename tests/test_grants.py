"""The grants, on the sandbox: what is sent, what is kept, what happens when it is refused."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from dataclasses import replace

import flask
import jwt
import pytest
import requests
from conftest import exchange_of
from test_secrets import leaks
from test_sessions import Outage

from labauth_nb import (
    InvalidInput,
    LabauthError,
    LoginExpired,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    UnsafeRequest,
    begin,
    login,
    refresh,
    session,
    status,
)
from labauth_nb.masking import Secret
from labauth_nb.notebook import terminal
from labauth_nb.sandbox import Lab
from labauth_nb.sandbox.sites import KEY, Grant
from labauth_nb.tokens import wire
from labauth_nb.tokens.grants import client_credentials


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (720, "12 min behind"),
        (-720, "12 min ahead"),
        (6 * 60, "6 min behind"),
        (86400, "24 h behind"),
    ],
)
def test_clock_skew(lab: Lab, seconds: float, said: str) -> None:
    """A clock that is off is corrected once from the server's Date, remembered for renewals, and
    told in the status."""
    lab.skew(seconds)
    mine = login("qbench", tenant="sandbox")
    assert lab.token_requests("qbench") == 2
    assert mine.clock_note == f"this computer's clock is {said}"
    assert said in repr(status())
    lab.advance("8d")
    assert session("qbench").get("orders").status_code == 200
    assert lab.token_requests("qbench") == 3


@pytest.mark.parametrize(("seconds", "said"), [(720, "12 min behind"), (-720, "12 min ahead")])
@pytest.mark.parametrize("provider", ["benchling", "qbench", "foundry", "dnanexus"])
def test_clock_told(lab: Lab, provider: str, seconds: float, said: str) -> None:
    """A clock that is far off is told for every provider: signed in or refused."""
    method = "password" if provider == "dnanexus" else None
    lab.skew(seconds)
    mine = login(provider, method, tenant="sandbox")
    assert mine.clock_note == f"this computer's clock is {said}"
    lab.skew(0)
    mine.refresh()
    assert mine.clock_note == ""
    lab.skew(seconds)
    wrong = {"password": "wrong-0001"} if method else {"client_secret": "w" * 32}
    with pytest.raises(SignInRefused, match=rf" Note: this computer's clock is {said}\.$"):
        login(provider, method, tenant="sandbox", name="wrong", **wrong)


@pytest.mark.parametrize("provider", ["benchling", "foundry", "dnanexus"])
def test_clock_told_of_a_pasted_secret(lab: Lab, provider: str) -> None:
    """A pasted secret that is refused while the clock is far off is told with the clock."""
    lab.skew(720)
    method = {"benchling": "api-key", "foundry": "token", "dnanexus": "api-token"}[provider]
    field = "api_key" if provider == "benchling" else "token"
    with pytest.raises(SignInRefused, match="Note: this computer's clock is 12 min behind"):
        login(provider, method, tenant="sandbox", **{field: "wrong-0001"})


@pytest.mark.parametrize("claims", [{"exp": -60, "iat": -900}, {"iat": 3600, "exp": -60}])
def test_expired_by_this_clock(lab: Lab, claims: dict[str, float]) -> None:
    """A pasted token has expired by this computer's clock, which may be wrong."""
    now = lab.clock.time()
    token = jwt.encode({name: now + off for name, off in claims.items()}, KEY, algorithm="HS256")
    behind = "this computer's clock is 60 min behind" if claims["iat"] > 0 else ""
    with pytest.raises(LoginExpired, match="this computer's clock") as caught:
        login("foundry", "token", tenant="sandbox", token=token)
    assert behind in str(caught.value)


def test_small_skew(lab: Lab) -> None:
    """A clock that is off by less than QBench minds costs nothing and is not mentioned."""
    lab.skew(200)
    assert login("qbench", tenant="sandbox").clock_note == ""
    assert lab.token_requests("qbench") == 1


@pytest.mark.parametrize("seconds", [0, 290, -290])
def test_shortest_assertion(lab: Lab, seconds: float) -> None:
    """An assertion lives 300 s, the guide's least, and a clock 290 s off still passes at first."""
    lab.skew(seconds)
    functions, lives = lab.sites["qbench"].app.view_functions, []
    token = functions["token"]

    def spy() -> object:
        claims = jwt.decode(flask.request.form["assertion"], options={"verify_signature": False})
        lives.append(claims["exp"] - claims["iat"])
        return token()

    functions["token"] = spy
    login("qbench", tenant="sandbox")
    assert lives == [300]


def test_wrong_secret_is_not_skew(lab: Lab) -> None:
    """A wrong secret on a computer whose clock is right is asked for once; nothing is remembered of
    a failed correction."""
    with pytest.raises(LabauthError, match="invalid_grant"):
        login("qbench", tenant="sandbox", client_secret="w" * 32)
    assert lab.token_requests("qbench") == 1


def test_failed_correction_is_forgotten(lab: Lab) -> None:
    """A time of the server's that did not help is not kept."""
    mine = login("qbench", tenant="sandbox")
    lab.revoke("qbench", refresh=True)
    lab.set("qbench", client_secret="n" * 32)
    lab.skew(720)
    before = lab.token_requests("qbench")
    with pytest.raises(SignInRefused, match="invalid_grant"):
        refresh("qbench")
    assert lab.token_requests("qbench") - before == 3
    assert mine.clock_note == ""


def test_refresh_keeps_the_newest(lab: Lab) -> None:
    """QBench is renewed by the refresh token, and the newest one is kept: ten renewals, no
    assertion, no reuse."""
    login("qbench", tenant="sandbox")
    for _ in range(10):
        lab.advance("61m")
        assert session("qbench").get("orders").status_code == 200
    assert (
        lab.count("qbench", "token/refresh"),
        lab.count("qbench", "POST /qbench/api/v2/auth/token"),
    ) == (10, 11)


def test_refused_refresh_falls_back(lab: Lab) -> None:
    """A refused refresh falls back to a fresh assertion, and the user notices nothing."""
    mine = login("qbench", tenant="sandbox")
    for issued in lab.sites["qbench"].refresh_tokens.values():
        issued.dead = True
    lab.advance("61m")
    assert session("qbench").get("orders").status_code == 200
    assert lab.count("qbench", "token/refresh") == 1
    assert mine.last_error == ""


def test_refused_refresh_shows_no_cookie(lab: Lab) -> None:
    """Where the refresh token is all there is, the error of its refusal holds no cookie of it."""
    mine = login("qbench", tenant="sandbox")
    held = [str.__str__(secret) for secret in mine.token().secrets()]
    assert len(held) == 4
    del exchange_of(mine).fields["client_secret"]
    lab.revoke("qbench", refresh=True)
    with pytest.raises(SignInRefused, match="400 invalid_grant") as caught:
        refresh("qbench")
    request = caught.value.response.request
    assert request is caught.value.request
    assert leaks(held, repr([vars(request), str(caught.value)]), pickle.dumps(caught.value)) == []


def test_unreachable_refresh_falls_back(lab: Lab) -> None:
    """A refresh whose answer got lost may have used up the refresh token: a fresh assertion is made
    instead."""
    login("qbench", tenant="sandbox")
    lab.next("qbench", "truncated", path="refresh")
    refresh("qbench")
    assert session("qbench").get("orders").status_code == 200


def test_id_token(lab: Lab) -> None:
    """The ID token's email says who you are, its exp how long it lasts; unverified, as Benchling
    verifies it."""
    mine = login("benchling", "id-token", tenant="sandbox")
    assert (mine.who, mine.time_left) == ("ada@sandbox.example", "60 min")
    lab.advance("61m")
    with pytest.raises(
        LoginExpired, match="%labauth login benchling --tenant sandbox --method id-token"
    ):
        session("benchling")


def test_id_token_without_email(lab: Lab) -> None:
    """An ID token without the claim email is refused before it is sent, with what to ask the
    identity provider's admin for."""
    token = jwt.encode({"sub": "ada", "exp": time.time() + 900}, KEY, algorithm="HS256")
    before = lab.count("benchling")
    with pytest.raises(
        InvalidInput,
        match=r"no claim 'email'.*Ask the admin of your identity provider to include email",
    ):
        login("benchling", "id-token", tenant="sandbox", id_token=token)
    assert lab.count("benchling") == before


def test_foundry_expiry_from_exp(lab: Lab) -> None:
    """A Foundry token's expiry is read from its claim exp."""
    assert login("foundry", "token", tenant="sandbox").time_left == "8 h"
    assert lab.count("foundry", "ttl") == 0


def test_foundry_expiry_from_ttl(lab: Lab) -> None:
    """Without exp it is asked for at the time-to-live endpoint; where that is refused, it is
    unknown."""
    opaque = lab.sites["foundry"].issue(
        Grant("5a8b0000-0000-4000-8000-000000000001"), 7200, "opaque-token-0001"
    )
    assert login("foundry", "token", tenant="sandbox", token=opaque).time_left == "120 min"
    lab.next("foundry", 500, path="ttl")
    mine = login("foundry", "token", tenant="sandbox", token=opaque, name="again")
    assert mine.status == "valid with unknown expiry"


@pytest.mark.parametrize("wrapped", [" {} \n", "Bearer {}", "bearer   {}", '"{}"', "'{}'"])
def test_pasted_values(lab: Lab, wrapped: str) -> None:
    """What is pasted with spaces, a line's end, quote marks or the word Bearer around it is taken
    without them."""
    token = lab.credentials("dnanexus", "api-token")["token"]
    assert login("dnanexus", tenant="sandbox", token=wrapped.format(token)).who == "ada"


@pytest.mark.parametrize(
    "pasted", ["two words", "line\nbreak", "smart’quote", "••••••••", "Bearer", "tab\there"]
)
def test_pasted_nonsense(lab: Lab, pasted: str) -> None:
    """What cannot stand in a header is refused before it is sent, naming the field and where to
    find it."""
    before = lab.count("dnanexus")
    with pytest.raises(
        InvalidInput,
        match=r"The API token holds a space.*Where to find it: on platform\.dnanexus\.com",
    ) as caught:
        login("dnanexus", tenant="sandbox", token=pasted)
    assert caught.value.field == "token"
    assert lab.count("dnanexus") == before


def test_password_expires_when_asked(lab: Lab) -> None:
    """A DNAnexus token by password expires when it was asked to, in 18 hours, and is renewed with
    the password."""
    mine = login("dnanexus", "password", tenant="sandbox")
    assert mine.time_left == "18 h"
    lab.advance("19h")
    assert session("dnanexus").post("system/whoami", json={}).status_code == 200
    assert lab.count("dnanexus", "newAuthToken") == 2


def test_one_time_code(lab: Lab) -> None:
    """A one-time code that is given is sent once and forgotten; without one, the error names the
    field."""
    lab.set("dnanexus", otp="246810")
    with pytest.raises(LabauthError, match="OTPRequiredError") as caught:
        login("dnanexus", "password", tenant="sandbox")
    assert caught.value.field == "otp"
    mine = login("dnanexus", "password", tenant="sandbox", otp="246810")
    assert "otp" not in exchange_of(mine).fields
    assert all(
        isinstance(value, Secret)
        for name, value in exchange_of(mine).fields.items()
        if name == "password"
    )


def test_scopes(lab: Lab) -> None:
    """The scopes asked for are the ones that the token has."""
    login("foundry", tenant="sandbox", scopes="api:ontologies-read api:datasets-read")
    assert session("foundry").get("datasets/ri.1").status_code == 404
    assert session("foundry").get("admin/users/getCurrent").status_code == 403


@pytest.mark.parametrize(
    ("provider", "method"), [("benchling", "app"), ("qbench", "client"), ("dnanexus", "password")]
)
@pytest.mark.parametrize("status", [429, 503])
def test_token_endpoint_says_later(lab: Lab, provider: str, method: str, status: int) -> None:
    """A token endpoint that says "later" twice is asked again, as slowly as it wants, and the
    sign-in goes on."""
    lab.next(provider, status, times=2)
    login(provider, method, tenant="sandbox")
    assert lab.token_requests(provider) == 3


def test_token_endpoint_is_down(lab: Lab) -> None:
    """One that stays down is asked 3 times, or not again where it wants a long wait; that is no
    refusal of the credentials."""
    lab.next("benchling", 503, times=9)
    with pytest.raises(ProviderError, match="Benchling responded with 503") as caught:
        login("benchling", tenant="sandbox")
    assert not isinstance(caught.value, SignInRefused)
    assert lab.token_requests("benchling") == 3
    lab.next("qbench", 429, seconds=120)
    with pytest.raises(ProviderError, match="QBench responded with 429"):
        login("qbench", tenant="sandbox")
    assert lab.token_requests("qbench") == 1


@pytest.mark.parametrize("host", ["acme.example", "192.168.0.7", "127.0.0.1.evil.example"])
def test_plain_http_is_refused_at_the_last_moment(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
) -> None:
    """Whoever names it: over plain http no credential leaves this computer."""
    exchange = replace(
        exchange_of(login("benchling", tenant="sandbox")), auth_origin=f"http://{host}"
    )
    monkeypatch.setattr(wire, "exchange", lambda *_, **__: pytest.fail("it was sent"))
    with pytest.raises(UnsafeRequest, match="credentials go over https only"):
        client_credentials(exchange, None)


@pytest.mark.parametrize(
    ("provider", "method"), [("benchling", "app"), ("qbench", "client"), ("dnanexus", "password")]
)
@pytest.mark.parametrize("failure", [500, 502, 504, "truncated"])
def test_token_request_that_fails_for_a_while(
    lab: Lab, provider: str, method: str, failure: int | str
) -> None:
    """A token endpoint that is broken, or breaks off, twice is asked again, and the sign-in goes
    on."""
    lab.next(provider, failure, times=2)
    login(provider, method, tenant="sandbox")
    assert lab.token_requests(provider) == 3


@pytest.mark.parametrize(("attended", "seconds"), [(True, 10), (False, 60)])
def test_sign_in_outlasts_an_outage(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    attended: bool,
    seconds: int,
) -> None:
    """A sign-in outlasts some time without a network, with one line; less where a person waits for
    it."""
    monkeypatch.setattr(terminal, "can_ask", lambda: attended)
    before = lab.clock.time()
    outage = Outage(lab, monkeypatch, seconds * 0.8, requests.ConnectionError("refused"))
    login("benchling", tenant="sandbox")
    assert len(outage.requests) > 3
    assert (
        capsys.readouterr().err
        == f"Benchling cannot be reached. Trying again for up to {seconds} s.\n"
    )
    assert lab.clock.time() - before < seconds + 5
    before = lab.clock.time()
    Outage(lab, monkeypatch, 600, requests.ConnectionError("refused"))
    with pytest.raises(ProviderUnreachable):
        login("qbench", tenant="sandbox")
    assert seconds - 1 < lab.clock.time() - before < seconds + 5


@pytest.mark.parametrize("attended", [True, False])
def test_patience_by_a_variable(lab: Lab, monkeypatch: pytest.MonkeyPatch, attended: bool) -> None:
    """LABAUTH_PATIENCE says how long a sign-in and a session try, whoever waits; what is no time is
    named."""
    monkeypatch.setattr(terminal, "can_ask", lambda: attended)
    monkeypatch.setenv("LABAUTH_PATIENCE", "5m")
    Outage(lab, monkeypatch, 240, requests.ConnectionError("refused"))
    login("benchling", tenant="sandbox")
    assert session("benchling").patience == 300
    monkeypatch.setenv("LABAUTH_PATIENCE", "0s")
    outage = Outage(lab, monkeypatch, 240, requests.ConnectionError("refused"))
    with pytest.raises(ProviderUnreachable):
        login("qbench", tenant="sandbox")
    assert len(outage.requests) == 1
    monkeypatch.setenv("LABAUTH_PATIENCE", "soon")
    with pytest.raises(InvalidInput, match=r"LABAUTH_PATIENCE: .*write 90s, 15m, 2h or 1d"):
        login("qbench", tenant="sandbox")


@pytest.mark.parametrize("failure", [500, 502, 504, "truncated"])
def test_a_code_is_sent_once(lab: Lab, failure: int | str) -> None:
    """A code that the server may have redeemed is not sent again: it would look stolen."""
    attempt = begin("foundry", "user", tenant="sandbox")
    landed = lab.visit(attempt.url)
    lab.next("foundry", failure, path="token")
    with pytest.raises((ProviderError, ProviderUnreachable)):
        attempt.answer(landed)
    assert lab.token_requests("foundry") == 1


@pytest.mark.parametrize("failure", [500, 502, 504, "truncated"])
def test_a_refresh_token_is_not_sent_again_by_itself(lab: Lab, failure: int | str) -> None:
    """A refresh token that may be used up is not sent again within a request; the next request
    tries it."""
    attempt = begin("foundry", "user", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    held, before = session("foundry"), lab.token_requests("foundry")
    lab.advance("2h")
    lab.next("foundry", failure, path="token")
    with pytest.raises((ProviderError, ProviderUnreachable)):
        held.get("ontologies")
    assert lab.token_requests("foundry") == before + 1
    with suppress(LoginExpired):
        held.get("ontologies")
    assert lab.token_requests("foundry") == before + 2


@pytest.mark.slow
def test_a_refresh_token_that_did_not_arrive(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh token that was not sent, as the connection was refused, is sent once
    there is one."""
    attempt = begin("foundry", "user", tenant="sandbox")
    attempt.answer(lab.visit(attempt.url))
    held, before = session("foundry"), lab.token_requests("foundry")
    lab.advance("2h")
    Outage(lab, monkeypatch, 20, requests.ConnectionError(ConnectionRefusedError("refused")))
    assert held.get("ontologies").status_code == 200
    assert lab.token_requests("foundry") == before + 1


@pytest.mark.slow
@pytest.mark.parametrize("failure", [500, 502, 504])
def test_renewal_outlasts_a_token_endpoint(lab: Lab, failure: int) -> None:
    """A session's request outlasts a token endpoint that is down for longer than a few tries."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    lab.advance("16m")
    lab.next("benchling", failure, times=7, path="token")
    assert held.get("plates").status_code == 200


def test_no_soft_renewal_by_what_may_be_used_up(lab: Lab) -> None:
    """While the access token is good, a refresh token that may be used up is left alone: its family
    may be revoked."""
    attempt = begin("foundry", "user", tenant="sandbox")
    mine = attempt.answer(lab.visit(attempt.url))
    token, held = mine.token(), session("foundry")
    lab.advance(f"{0.8 * token.life:.0f}s")
    before = lab.token_requests("foundry")
    lab.next("foundry", "truncated", path="token")
    for _ in range(4):
        assert held.get("ontologies").status_code == 200
        lab.advance(f"{0.02 * token.life:.0f}s")
    assert lab.token_requests("foundry") == before + 1


def test_told_patience_with_a_busy_token_endpoint(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line that a busy token endpoint is waited for names the patience, where it is shorter."""
    monkeypatch.setenv("LABAUTH_PATIENCE", "15s")
    monkeypatch.setattr("labauth_nb.tokens.wire.TOLD_AFTER_SECONDS", 0.5)
    lab.next("foundry", 503, path="token")
    login("foundry", tenant="sandbox")
    line = "Foundry responded with 503. Trying again for up to 15 s.\n"
    assert capsys.readouterr().err == line


@pytest.mark.slow
@pytest.mark.parametrize(("patience", "sent"), [(0, 1), (4.9, 4), ("2h", 9)])
def test_renewal_at_a_busy_token_endpoint(
    lab: Lab,
    capsys: pytest.CaptureFixture[str],
    patience: float | str,
    sent: int,
) -> None:
    """A renewal for a session's request is tried for as long as that session's patience, with one
    line."""
    login("foundry", tenant="sandbox")
    held, before = session("foundry"), lab.token_requests("foundry")
    lab.advance("2h")
    lab.next("foundry", 503, times=8, path="token")
    held.patience = patience
    if sent < 9:
        with pytest.raises(ProviderError, match="Foundry responded with 503"):
            held.get("ontologies")
    else:
        assert held.get("ontologies").status_code == 200
    assert lab.token_requests("foundry") == before + sent
    line = (
        "The token endpoint for Foundry responded with 503. Trying again for up to 7200 s"
        " (lab.patience).\n"
    )
    assert capsys.readouterr().err == (line if sent == 9 else "")


@pytest.mark.slow
@pytest.mark.parametrize("patience", ["0s", "2h"])
def test_renewal_for_a_plain_request(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    patience: str,
) -> None:
    """A plain requests call by session.auth waits for a busy token endpoint by LABAUTH_PATIENCE."""
    held = login("foundry", tenant="sandbox").session()
    lab.advance("2h")
    lab.next("foundry", 503, times=8, path="token")
    monkeypatch.setenv("LABAUTH_PATIENCE", patience)
    if patience == "0s":
        with pytest.raises(ProviderError, match="Foundry responded with 503"):
            requests.get(held.url("ontologies"), auth=held.auth, timeout=10)
    else:
        assert requests.get(held.url("ontologies"), auth=held.auth, timeout=10).ok


def test_renewal_that_may_wait(lab: Lab) -> None:
    """While the old token is good, a busy token endpoint holds no request up, nor is
    asked by each."""
    token = login("foundry", tenant="sandbox").token()
    held, before = session("foundry"), lab.token_requests("foundry")
    lab.advance(f"{0.8 * token.life:.0f}s")
    lab.next("foundry", 503, times=9, path="token")
    began = lab.clock.time()
    assert [held.get("ontologies").status_code for _ in range(4)] == [200] * 4
    assert lab.clock.time() - began < 5
    assert lab.token_requests("foundry") == before + 1
