"""One contract for every provider and method: what a login promises, on the sandbox, 32 threads at
a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests
from conftest import READ, exchange_of

import labauth_nb
from labauth_nb import (
    LabauthError,
    LabSession,
    Login,
    LoginExpired,
    NotSignedIn,
    SignInRefused,
    begin,
    logout,
    session,
    status,
)
from labauth_nb.logins.logins import get
from labauth_nb.providers import PROVIDERS
from labauth_nb.responses import read_error
from labauth_nb.sandbox import Lab

ALL = [(p.name, m.name) for p in PROVIDERS.values() for m in p.methods]
BROWSER = [(p.name, m.name) for p in PROVIDERS.values() for m in p.methods if m.flow]
MINTING = [
    (p.name, m.name)
    for p in PROVIDERS.values()
    for m in p.methods
    if m.issued_here and (m.refreshes or not m.flow)
]
PASTED = sorted(set(ALL) - set(MINTING) - set(BROWSER))
SECRET_FIELD = {
    (p.name, m.name): "client_id" if m.flow else m.secret.name
    for p in PROVIDERS.values()
    for m in p.methods
}
SITE = {("benchling", "oidc"): "idp"}
"""Which of the sandbox's servers issues the tokens, where it is not the provider's own."""
THREADS = 32


def login(provider: str, method: str, tenant: str, **fields: str) -> Login:
    """Sign in; by a browser method with the sandbox playing the person and the browser."""
    if (provider, method) not in BROWSER:
        return labauth_nb.login(provider, method, tenant=tenant, **fields)
    from labauth_nb.sandbox import running

    attempt = begin(provider, method, tenant=tenant, **fields)
    result: Login = attempt.answer(running().visit(attempt.url))
    return result


def read(lab_session: LabSession, provider: str) -> int:
    verb, path, json = READ[provider]
    return lab_session.request(verb, path, json=json).status_code


def token_requests(lab: Lab, provider: str, method: str) -> int:
    return lab.token_requests(SITE.get((provider, method), provider))


def storm(work: Callable[[], object]) -> list[object]:
    """What `work` gave or raised in each of 32 threads that were let go together."""
    gate, results = threading.Barrier(THREADS), []

    def run() -> None:
        gate.wait()
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == THREADS
    return results


@pytest.mark.parametrize("provider", PROVIDERS)
def test_its_errors_are_read(lab: Lab, provider: str) -> None:
    """An error in the provider's shape is read: `responses.read_error` gives its code and
    message, by which a dead token is known and a hint found."""
    site, it = lab.site(provider), requests.Response()
    with site.app.test_request_context():
        it._content = site.error(401, "some_code", "some words").data
    assert read_error(it) == ("some_code", "some words")


@pytest.mark.parametrize(("provider", "method"), ALL)
def test_every_method_signs_in_and_reads(lab: Lab, provider: str, method: str) -> None:
    """Every method signs in on the sandbox, and its session reads data; after log out it says how
    to come back."""
    mine = login(provider, method, tenant="sandbox")
    assert mine.method.name == method
    held = session(provider)
    assert read(held, provider) == 200
    assert [row["status"] for row in status()] == [mine.status]
    logout(provider)
    with pytest.raises(NotSignedIn, match=rf"%labauth login {provider} --tenant sandbox"):
        read(held, provider)


@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_empty(lab: Lab, provider: str, method: str) -> None:
    """Without a token yet, 32 threads cost 1 token request, and none fails."""
    mine = login(provider, method, tenant="sandbox")
    if (provider, method) not in BROWSER:  # whose first token is all there is to renew from
        mine._tokens._token = None
    else:
        lab.revoke(provider)
        mine._tokens._token = replace(mine._tokens._token, expires_at=0.0)
    before, held = token_requests(lab, provider, method), mine.session()
    assert storm(lambda: read(held, provider)) == [200] * THREADS
    assert token_requests(lab, provider, method) - before == 1


@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_expired(lab: Lab, provider: str, method: str) -> None:
    """When the token has expired, 32 threads cost 1 token request, and none fails or is sent
    unauthenticated."""
    login(provider, method, tenant="sandbox")
    before, held = token_requests(lab, provider, method), session(provider)
    lab.advance("19h")
    assert storm(lambda: read(held, provider)) == [200] * THREADS
    assert token_requests(lab, provider, method) - before == 1


@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_expiring(lab: Lab, provider: str, method: str) -> None:
    """Inside the margin before expiry, too: 32 threads cost 1 token request."""
    mine = login(provider, method, tenant="sandbox")
    before, held = token_requests(lab, provider, method), session(provider)
    assert mine.seconds_left is not None
    lab.advance(mine.seconds_left - 1)
    assert storm(lambda: read(held, provider)) == [200] * THREADS
    assert token_requests(lab, provider, method) - before == 1


@pytest.mark.parametrize("lever", ["revoke", "expire"])
@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_dead_at_the_server(lab: Lab, provider: str, method: str, lever: str) -> None:
    """When the provider calls a live token dead, 32 threads cost 1 token request, and
    none fails."""
    login(provider, method, tenant="sandbox")
    before, held = token_requests(lab, provider, method), session(provider)
    if (provider, method) in SITE:
        lab.rotate_keys()  # an ID token is dead when its key is gone
    else:
        getattr(lab, lever)(provider)
    assert storm(lambda: read(held, provider)) == [200] * THREADS
    assert token_requests(lab, provider, method) - before == 1


@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_wrong_secret(lab: Lab, provider: str, method: str) -> None:
    """With a secret that is wrong by now, 32 threads share one refusal, and the next call asks once
    more and recovers."""
    mine = login(provider, method, tenant="sandbox")
    field, good = (
        SECRET_FIELD[provider, method],
        exchange_of(mine).fields[SECRET_FIELD[provider, method]],
    )
    lab.advance("8d")
    exchange_of(mine).fields[field] = "not-the-secret-of-anybody-0000000"
    before, held = token_requests(lab, provider, method), session(provider)
    results = storm(lambda: read(held, provider))
    assert all(isinstance(r, SignInRefused | LoginExpired) for r in results)
    assert len({str(r) for r in results}) == 1
    assert token_requests(lab, provider, method) - before == 1
    exchange_of(mine).fields[field] = good
    assert read(held, provider) == 200


@pytest.mark.parametrize(("provider", "method"), MINTING)
def test_soft_window(lab: Lab, provider: str, method: str) -> None:
    """From 75 % of the life on, one of 32 threads renews and the token requests stay 1."""
    mine = login(provider, method, tenant="sandbox")
    before, held = token_requests(lab, provider, method), session(provider)
    assert mine.seconds_left is not None
    lab.advance(mine.seconds_left * 0.8)
    assert storm(lambda: read(held, provider)) == [200] * THREADS
    assert token_requests(lab, provider, method) - before == 1


# there we ask for 18 h
@pytest.mark.parametrize(
    ("provider", "method"), [pair for pair in MINTING if pair[0] != "dnanexus"]
)
def test_short_life(lab: Lab, provider: str, method: str) -> None:
    """A token that lives 3 seconds still works, and is asked for once per life."""
    lab.set(SITE.get((provider, method), provider), life=3)
    mine = login(provider, method, tenant="sandbox")
    held, before = mine.session(), token_requests(lab, provider, method)
    for _ in range(4):
        lab.advance(2.9)
        assert [read(held, provider) for _ in range(5)] == [200] * 5
    assert token_requests(lab, provider, method) - before == 4


@pytest.mark.parametrize(("provider", "method"), PASTED)
def test_pasted_and_refused(lab: Lab, provider: str, method: str) -> None:
    """A pasted credential that the provider does not know is refused at sign-in, in one message
    with a hint."""
    field = SECRET_FIELD[provider, method]
    with pytest.raises(LabauthError) as caught:
        login(provider, method, tenant="sandbox", **{field: "nobodys-credential-0001"})
    assert "nobodys" not in str(caught.value)
    assert len(str(caught.value)) > 40
    with pytest.raises(NotSignedIn):
        session(provider)


@pytest.mark.parametrize(("provider", "method"), ALL)
def test_network_gone(lab: Lab, provider: str, method: str) -> None:
    """Where nothing answers, sign-in and session say so in one message, and raise what requests
    users catch."""
    import requests

    mine = login(provider, method, tenant="sandbox")
    exchange_of(mine).origin = exchange_of(mine).auth_origin = "http://127.0.0.1:1"
    held = mine.session()
    with pytest.raises(
        requests.ConnectionError, match=r"did not respond: 127.0.0.1:1 refused the connection"
    ):
        read(held, provider)
    assert get(provider) is mine
