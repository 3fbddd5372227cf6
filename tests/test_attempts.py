"""One try at signing in with a browser: every bad answer over both ways home, the listener's
manners, the device code."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.client
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from conftest import exchange_of, free_port
from kernels import Kernel
from pages import carried
from test_secrets import leaks

from labauth_nb import (
    Attempt,
    InvalidInput,
    LabauthError,
    NotSignedIn,
    ProviderUnreachable,
    begin,
    session,
)
from labauth_nb.logins import logins
from labauth_nb.masking import Secret
from labauth_nb.sandbox import Lab
from labauth_nb.tokens import attempts, codes, listeners
from labauth_nb.tokens.token import Token

FOUNDRY, BENCHLING, DNANEXUS = ("foundry", "user"), ("benchling", "oidc"), ("dnanexus", "browser")
ALL = [FOUNDRY, BENCHLING, DNANEXUS]
SITE = {"benchling": "idp"}
TITLE = {"foundry": "Foundry", "benchling": "The identity provider", "dnanexus": "DNAnexus"}
READ = {
    "foundry": ("GET", "ontologies"),
    "benchling": ("GET", "plates"),
    "dnanexus": ("POST", "system/whoami"),
}
WAYS = ["listener", "paste"]
PAIRED = [(FOUNDRY, "listener"), (BENCHLING, "paste"), (DNANEXUS, "listener"), (DNANEXUS, "paste")]
"""Each provider and each way home, not each with each: both ways lead to the same code, whoever the
provider is."""
Query = list[tuple[str, str]]


def began(provider: str, method: str, **fields: str) -> Attempt:
    return begin(provider, method, tenant="sandbox", **fields)


def asked(attempt: Attempt) -> dict[str, str]:
    """The parameters of the sign-in page's address."""
    return carried(attempt.url)


def spent(lab: Lab, provider: str) -> int:
    """Requests to the token endpoint so far."""
    return lab.token_requests(SITE.get(provider, provider))


def fetch(
    port: int, target: str, verb: str = "GET", host: str | None = None
) -> tuple[int, str, dict[str, str]]:
    """(status, body, headers) of a raw request to loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(verb, target, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        return (
            answer.status,
            answer.read().decode(),
            {name.lower(): value for name, value in answer.getheaders()},
        )
    finally:
        connection.close()


def sentence(page: str) -> str:
    found = re.search(r"<p>(.*?)</p>", page)
    assert found, page
    return unescape(found[1])


def give(way: str, attempt: Attempt, address: str) -> str:
    """Bring an answer home, by the listener or pasted; gives the message that the person reads ("":
    signed in)."""
    if way == "paste":
        try:
            attempt.answer(address)
        except LabauthError as error:
            return str(error)
        return ""
    parts = urlsplit(address)
    status, page, _ = fetch(parts.port or 0, f"{parts.path}?{parts.query}")
    if status == 200:
        assert attempt.wait(10) is not None
        assert sentence(page).startswith("You are signed in to ")
        return ""
    return sentence(page)


def usable(lab: Lab, provider: str, method: str) -> None:
    """After an attempt that has ended, the next one signs in and reads."""
    lab.set(SITE.get(provider, provider), **({"fault": ""} if provider == "benchling" else {}))
    attempt = began(provider, method)
    attempt.answer(lab.visit(attempt.url))
    reads(provider)


def reads(provider: str) -> None:
    verb, path = READ[provider]
    assert (
        session(provider).request(verb, path, json={} if verb == "POST" else None).status_code
        == 200
    )


def waits_for(true: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def ours() -> list[str]:
    return [
        t.name
        for t in threading.enumerate()
        if t.name.startswith("labauth") and "sandbox" not in t.name
    ]


def port_of(attempt: Attempt) -> int:
    return urlsplit(attempt.proof).port or 0


def is_free(port: int) -> bool:
    with socket.socket() as it:
        it.settimeout(1)
        return it.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(autouse=True, scope="module")
def _none_left() -> Iterator[None]:
    """Whatever the tests do: no socket, no thread of an attempt stays once it has ended
    or dropped."""
    yield
    gc.collect()
    waits_for(lambda: not ours() or gc.collect() < 0, 8)


# What an answer may be


def _set(**changed: str) -> Callable[[Query], Query]:
    return lambda query: [*((n, v) for n, v in query if n not in changed), *changed.items()]


def _drop(*names: str) -> Callable[[Query], Query]:
    return lambda query: [(n, v) for n, v in query if n not in names]


def _stateless_error(query: Query) -> Query:
    """An error that says who it is from, as the identity provider promises (RFC 9207)."""
    return [("error", "access_denied"), *(pair for pair in query if pair[0] == "iss")]


def _twice(name: str, value: str) -> Callable[[Query], Query]:
    return lambda query: [*query, (name, value)]


OTHER = (
    "That response belongs to a different sign-in attempt (state mismatch) and was ignored. Open"
    " the sign-in page again."
)
STATELESS = (
    "That response has no state, so its origin cannot be verified, and it was ignored. "
    "Copy the whole address that the browser landed on."
)
CODELESS = "There is no code in that: copy the whole address that the browser landed on."
TWICE = "That response repeats a parameter and was ignored. Open the sign-in page again."
FOREIGN = "That response is from a different identity provider (iss) and was ignored."
GOES_ON = [
    *((way, "wrong state", _set(state="x" * 43), OTHER) for way in ALL),
    *((way, "non-ASCII state", _set(state="ä" * 43), OTHER) for way in ALL),
    *(
        (
            way,
            "error with a wrong state",
            lambda q: [("error", "access_denied"), ("state", "x")],
            OTHER,
        )
        for way in ALL
    ),
    *((way, "no state", _drop("state"), STATELESS) for way in (FOUNDRY, BENCHLING)),
    *((way, "empty state", _set(state=""), STATELESS) for way in (FOUNDRY, BENCHLING)),
    *((way, "error without state", _stateless_error, STATELESS) for way in (FOUNDRY, BENCHLING)),
    *((way, "no code", _drop("code"), CODELESS) for way in ALL),
    *((way, "non-ASCII code", _set(code="cödé"), CODELESS) for way in ALL),
    *((way, "a code with a line break", _set(code="a\r\nb"), CODELESS) for way in ALL),
    *((way, "code twice", _twice("code", "another"), TWICE) for way in ALL),
    *((way, "state twice", _twice("state", "another"), TWICE) for way in ALL),
    *(
        (way, "code and error twice", lambda q: [*q, ("error", "a"), ("error", "b")], TWICE)
        for way in ALL
    ),
    (BENCHLING, "iss of another", _set(iss="https://evil.example"), FOREIGN),
]


@pytest.mark.parametrize(
    ("pair", "change", "said", "way"),
    # each change over both ways
    [(pair, change, said, WAYS[n % 2]) for n, (pair, _, change, said) in enumerate(GOES_ON)],
    ids=[f"{pair[0]}: {name}" for pair, name, *_ in GOES_ON],
)
def test_bad_answers_that_the_try_survives(
    lab: Lab, pair: tuple[str, str], change: Callable[[Query], Query], said: str, way: str
) -> None:
    """A response that is not this attempt's gets its message, costs no token request, and the right
    one still signs in."""
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    bad = f"{good.partition('?')[0]}?{urlencode(change(parse_qsl(urlsplit(good).query)))}"
    shown = attempts.ELSEWHERE if (way, said) == ("listener", OTHER) else said
    assert give(way, attempt, bad) == shown
    assert (attempt.state, str(attempt.error)) == (attempts.WAITING, said)
    assert spent(lab, pair[0]) == 0
    assert give(way, attempt, good) == ""
    assert (attempt.state, attempt.error) == (attempts.DONE, None)
    assert spent(lab, pair[0]) == 1
    reads(pair[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_promised_issuer(lab: Lab, way: str) -> None:
    """An identity provider that promises iss (RFC 9207) gives it, or its response is not used."""
    attempt = began(*BENCHLING)
    home, _, issuer = lab.visit(attempt.url).partition("&iss=")
    said = "does not name its identity provider (iss) and was ignored."
    assert said in give(way, attempt, home)
    assert spent(lab, "benchling") == 0
    assert give(way, attempt, f"{home}&iss={issuer}") == ""


@pytest.mark.parametrize(("pair", "way"), PAIRED)
def test_a_stale_answer(lab: Lab, pair: tuple[str, str], way: str) -> None:
    """A response to an earlier attempt is said to be a different one's, costs no token request, and
    the new one goes on."""
    first = began(*pair)
    stale = urlsplit(lab.visit(first.url)).query
    first.cancel()
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    said = OTHER if way == "paste" else attempts.ELSEWHERE
    assert give(way, attempt, f"{good.partition('?')[0]}?{stale}") == said
    assert (attempt.state, spent(lab, pair[0])) == (attempts.WAITING, 0)
    assert give(way, attempt, good) == ""


DECLINED = {
    "foundry": (
        "Foundry responded with access_denied (The user declined). "
        "The sign-in was declined: open the sign-in page again and allow it, or ask your admin."
    ),
    "benchling": (
        "The identity provider responded with access_denied (The user declined). "
        "The sign-in was declined: open the sign-in page again, or ask your admin."
    ),
    "dnanexus": (
        "DNAnexus responded with access_denied (The user cancelled). "
        "The sign-in was declined: open the sign-in page again, or use an API token."
    ),
}


@pytest.mark.parametrize(("pair", "way"), PAIRED)
def test_declined(lab: Lab, pair: tuple[str, str], way: str) -> None:
    """Deny ends the attempt with the provider's word and what to do, without a token request; the
    next try signs in."""
    attempt = began(*pair)
    assert give(way, attempt, lab.visit(attempt.url, "deny")) == DECLINED[pair[0]]
    assert attempt.state == attempts.OVER
    with pytest.raises(LabauthError, match="access_denied"):
        attempt.wait(1)
    assert spent(lab, pair[0]) == 0
    usable(lab, *pair)


@pytest.mark.parametrize("way", WAYS)
def test_other_errors(lab: Lab, way: str) -> None:
    """An error that nobody knows is told as it came, on one line, without the attempt's secrets,
    with what to do."""
    attempt = began(*FOUNDRY)
    state, home = asked(attempt)["state"], asked(attempt)["redirect_uri"]
    query = {
        "error": "temporarily_unavailable",
        "error_description": f"<b>try\x1b[31m\nlater</b> {state} " * 9,
        "state": state,
    }
    said = give(way, attempt, f"{home}?{urlencode(query)}")
    assert said.startswith(
        "Foundry responded with temporarily_unavailable (<b>try[31m later</b> ***"
    )
    assert said.endswith(". Start the sign-in again, or choose another method.")
    assert leaks([state], said, repr(attempt.error)) == []
    usable(lab, *FOUNDRY)


NOT_PROVEN = (
    "DNAnexus returned an error without a state parameter, so its origin cannot be verified. "
    "This sign-in goes on: if you did not decline it, open the sign-in page again."
)
CODE_NOT_PROVEN = (
    "DNAnexus returned a code without a state parameter, so its origin cannot be verified. "
    "If you have just signed in on its page yourself, copy this address into the notebook: "
    "the one in the browser's address bar."
)


def test_a_code_without_state(lab: Lab) -> None:
    """A code that came by itself and names no attempt is not used, and stays on its page; pasted,
    it signs in."""
    lab.set("dnanexus", echo_state=False)
    attempt = began(*DNANEXUS)
    home, good = asked(attempt)["redirect_uri"], lab.visit(attempt.url)
    for address in (good, f"{home}?code=of-somebody-else", good):
        parts = urlsplit(address)
        status, page, _ = fetch(parts.port or 0, f"{parts.path}?{parts.query}")
        assert (status, sentence(page)) == (400, CODE_NOT_PROVEN)
        assert ERASES not in page
        assert leaks([v for _, v in parse_qsl(parts.query)], page) == []
        assert (attempt.state, str(attempt.error)) == (attempts.WAITING, CODE_NOT_PROVEN)
    assert spent(lab, "dnanexus") == 0
    assert give("paste", attempt, good) == ""
    assert (attempt.state, spent(lab, "dnanexus")) == (attempts.DONE, 1)
    reads("dnanexus")


@pytest.mark.parametrize("way", WAYS)
def test_an_error_without_state_ends_nothing(lab: Lab, way: str) -> None:
    """Any page can send an error without state: it ends no try, and its words are not shown; the
    answer still signs in."""
    lab.set("dnanexus", echo_state=False)
    attempt = began(*DNANEXUS)
    evil = f"{asked(attempt)['redirect_uri']}?error=x&error_description=Call+555-EVIL"
    for address in (evil, lab.visit(attempt.url, "deny")):
        assert give(way, attempt, address) == NOT_PROVEN
        assert (attempt.state, str(attempt.error)) == (attempts.WAITING, NOT_PROVEN)
    assert give("paste", attempt, lab.visit(attempt.url)) == ""
    reads("dnanexus")


@pytest.mark.parametrize(("pair", "way"), PAIRED)
def test_a_second_answer(lab: Lab, pair: tuple[str, str], way: str) -> None:
    """A second answer to a try that is done is not used, over either way; after a
    cancel none is."""
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    assert give(way, attempt, good) == ""
    try:
        assert give(way, attempt, good) == attempts._SECOND
    except OSError:
        assert way == "listener"  # it is closed already
    assert (attempt.state, spent(lab, pair[0])) == (attempts.DONE, 1)
    cancelled = began(*pair)
    address = lab.visit(cancelled.url)
    cancelled.cancel()
    try:
        assert (
            give(way, cancelled, address)
            == "This sign-in attempt has ended. Start again from the notebook."
        )
    except OSError:
        assert way == "listener"
    assert spent(lab, pair[0]) == 1
    with pytest.raises(NotSignedIn, match=r"^The sign-in was cancelled\.$"):
        cancelled.wait(1)


SPENT = "The code was already used, is too old, or belongs to another attempt: sign in again."


@pytest.mark.parametrize(
    ("why", "pair", "way"),
    [("used", *PAIRED[0]), ("old", *PAIRED[1]), ("made up", *PAIRED[2]), ("used", *PAIRED[3])],
)
def test_a_code_that_is_over(lab: Lab, pair: tuple[str, str], way: str, why: str) -> None:
    """A code that was already used, is too old or unknown is refused by the provider, in one
    message; the next try works."""
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    if why == "used":
        lab.sites[SITE.get(pair[0], pair[0])].codes[carried(good)["code"]].used = True
    elif why == "old":
        lab.advance(61)
    else:
        good = re.sub(r"code=[^&]*", "code=made-up", good)
    said = give(way, attempt, good)
    assert said.startswith(f"{TITLE[pair[0]]} responded with 400 invalid_grant (The code ")
    assert said.endswith(f". {SPENT}")
    assert (attempt.state, spent(lab, pair[0])) == (attempts.OVER, 1)
    usable(lab, *pair)


DOWN = [
    (503, r"responded with 503 .*has a problem of its own: try again in a minute\."),
    (500, r"responded with 500 .*has a problem of its own: try again in a minute\."),
    ("html", r"responded with 503 \(a web page instead of JSON"),
    ("truncated", r"did not respond: 127\.0\.0\.1:\d+ closed the connection\. Try again\."),
    (
        "gone",
        (
            r"did not respond: 127\.0\.0\.1:1 refused the connection\. Check the address, and"
            r" whether the server runs\."
        ),
    ),
]


@pytest.mark.parametrize(
    ("answer", "said", "pair", "way"),
    [(*down, *PAIRED[n % 4]) for n, down in enumerate(DOWN)],
    ids=[str(a) for a, _ in DOWN],
)
def test_token_endpoint_down(
    lab: Lab, pair: tuple[str, str], answer: int | str, said: str, way: str
) -> None:
    """A token endpoint that is down, or gone, is told with who and what to do; the next try signs
    in."""
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    if answer == "gone":
        exchange_of(attempt).auth_origin = "http://127.0.0.1:1"
        exchange_of(attempt).metadata = {
            **exchange_of(attempt).metadata,
            "token_endpoint": "http://127.0.0.1:1/token",
        }
    else:
        lab.next(SITE.get(pair[0], pair[0]), answer, times=9, path="token")
    told = give(way, attempt, good)
    assert told.startswith(TITLE[pair[0]])
    assert re.search(said, told), told
    assert attempt.state == attempts.OVER
    lab.sites[SITE.get(pair[0], pair[0])].faults.clear()
    usable(lab, *pair)


def test_a_spoiled_id_token(lab: Lab) -> None:
    """An ID token of another sign-in is refused, nothing is sent to Benchling, and the next try
    signs in.

    What else can be wrong with one: test_openid.
    """
    lab.set("idp", fault="nonce")
    attempt = began(*BENCHLING)
    assert (
        give("paste", attempt, lab.visit(attempt.url))
        == "The ID token was rejected, and nothing was sent to the provider: "
        "it belongs to a different sign-in attempt (nonce mismatch). Sign in again."
    )
    assert (attempt.state, spent(lab, "benchling"), lab.count("benchling")) == (attempts.OVER, 1, 0)
    with pytest.raises(NotSignedIn):
        session("benchling")
    usable(lab, *BENCHLING)


PASTED = [
    ("", "Nothing was pasted: copy the whole address that the browser landed on."),
    (" \n ", "Nothing was pasted: copy the whole address that the browser landed on."),
    ("http://[::/?code=x&state=y", OTHER),
    ("https://acme.example/", CODELESS),
    ("code=abc", STATELESS),
    ("\ud800", CODELESS),
    ("cödé", CODELESS),
    ("what is this", CODELESS),
    ("https://127.0.0.1/?a=1&code=&state=", CODELESS),
    ("error=access_denied", STATELESS),
    ("x" * 300_000 + "ä", CODELESS),
]


@pytest.mark.parametrize(
    ("text", "said"), PASTED, ids=[t[:20].encode(errors="replace").decode() for t, _ in PASTED]
)
def test_pasted_rubbish(lab: Lab, text: str, said: str) -> None:
    """Whatever is pasted: a message, no token request, and the attempt goes on."""
    attempt = began(*FOUNDRY)
    with pytest.raises(InvalidInput) as caught:
        attempt.answer(text)
    assert (str(caught.value), caught.value.field) == (said, "answer")
    assert (attempt.state, spent(lab, "foundry")) == (attempts.WAITING, 0)
    attempt.answer(lab.visit(attempt.url))


def test_the_sign_in_page_pasted_back(lab: Lab) -> None:
    """The sign-in page's own address, copied by mistake, has no code in it."""
    attempt = began(*FOUNDRY)
    with pytest.raises(InvalidInput, match="There is no code in that"):
        attempt.answer(attempt.url)
    attempt.cancel()


@pytest.mark.parametrize(
    "change",
    [str, lambda a: f"  {a[:40]}\n{a[40:]} ", lambda a: a.partition("?")[2], lambda a: a + "#_=_"],
)
def test_pasted_in_any_shape(lab: Lab, change: Callable[[str], str]) -> None:
    """The whole address, wrapped over lines, its query alone, or with a fragment: all are the
    answer."""
    attempt = began(*FOUNDRY)
    attempt.answer(change(lab.visit(attempt.url)))
    reads("foundry")


@pytest.mark.parametrize("pair", [FOUNDRY, BENCHLING])
def test_the_code_alone(lab: Lab, pair: tuple[str, str]) -> None:
    """Where PKCE binds the code to this try, the code alone is enough; one that ends in "=" is
    still a code."""
    attempt = began(*pair)
    attempt.answer(carried(lab.visit(attempt.url))["code"])
    reads(pair[0])
    odd = began(*pair)
    with pytest.raises(LabauthError, match="invalid_grant"):
        odd.answer("c29tZSBjb2Rl==")


def test_the_code_alone_without_pkce(lab: Lab) -> None:
    """DNAnexus' code alone, pasted, signs in: to paste it is the person's own act."""
    attempt = began(*DNANEXUS)
    attempt.answer(carried(lab.visit(attempt.url))["code"])
    reads("dnanexus")


@pytest.mark.parametrize("pair", ALL)
def test_twenty_answers_at_once(lab: Lab, pair: tuple[str, str]) -> None:
    """Twenty answers at the same time, over both ways: one token request, one login, nineteen
    "answered already"."""
    attempt = began(*pair)
    good, gate, said = lab.visit(attempt.url), threading.Barrier(20), []

    def answer(n: int) -> None:
        gate.wait()
        try:
            said.append(give(WAYS[n % 2], attempt, good))
        except OSError:
            said.append(attempts._SECOND)  # closed already

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert spent(lab, pair[0]) == 1
    assert len(said) == 20
    assert set(said) <= {"", attempts._SECOND}
    assert "" in said
    assert attempt.state == attempts.DONE


def test_two_answers_in_the_same_moment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers that are both found good before either is used: one token request all
    the same."""
    attempt = began(*FOUNDRY)
    good, gate, here, real = (
        lab.visit(attempt.url),
        threading.Barrier(2),
        threading.local(),
        attempts._digest,
    )
    said: list[str] = []

    def digest(text: str) -> bytes:
        if threading.current_thread().name == "answers" and not hasattr(here, "met"):
            here.met = gate.wait(5)
        return real(text)

    monkeypatch.setattr(attempts, "_digest", digest)
    work = [
        threading.Thread(target=lambda: said.append(give("paste", attempt, good)), name="answers")
        for _ in range(2)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(10)
    assert sorted(said) == ["", attempts._SECOND]
    assert spent(lab, "foundry") == 1


# The sign-in page's address


@pytest.mark.parametrize("pair", ALL)
def test_url(lab: Lab, pair: tuple[str, str]) -> None:
    """The address holds what the RFCs want and nothing more; S256 of a verifier of RFC 7636's
    length and characters."""
    attempt, other = began(*pair), began(*pair)
    sent, origin = asked(attempt), lab.origin(SITE.get(pair[0], pair[0]))
    paths = {
        "foundry": "/multipass/api/oauth2/authorize",
        "benchling": "/authorize",
        "dnanexus": "/oauth2/authorize",
    }
    assert attempt.url.partition("?")[0] == origin + paths[pair[0]]
    names = {"response_type", "client_id", "redirect_uri", "state"}
    names |= {"scope", "code_challenge", "code_challenge_method"} if pair != DNANEXUS else set()
    names |= {"nonce", "prompt"} if pair == BENCHLING else set()
    assert set(sent) == names
    assert (sent["response_type"], sent["redirect_uri"]) == (
        "code",
        f"http://127.0.0.1:{port_of(attempt)}/",
    )
    assert sent["client_id"] == lab.credentials(*pair)["client_id"]
    assert attempt.url == attempt.url
    for name in ("state", "nonce", "code_challenge"):
        if name in sent:
            assert re.fullmatch(r"[A-Za-z0-9_-]{43}", sent[name])
            assert sent[name] != asked(other)[name]
    if pair != DNANEXUS:
        verifier = str.__str__(attempt._verifier)
        assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier)  # RFC 7636 4.1
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
            .rstrip(b"=")
            .decode()
        )
        assert (sent["code_challenge"], sent["code_challenge_method"]) == (digest, "S256")
        assert verifier not in attempt.url
    attempt.cancel()
    other.cancel()


def test_wrong_verifier(lab: Lab) -> None:
    """The code is bound to this try: with another verifier it buys nothing."""
    attempt = began(*FOUNDRY)
    good = lab.visit(attempt.url)
    attempt._verifier = type(attempt._verifier)("x" * 43)
    assert "400 invalid_grant (code_verifier does not fit" in give("paste", attempt, good)


# The listener


def test_landing_page(lab: Lab) -> None:
    """The page says in plain words that it is done, is stored nowhere, refers nobody, and takes the
    code off its address."""
    attempt = began(*FOUNDRY)
    good = urlsplit(lab.visit(attempt.url))
    status, page, headers = fetch(good.port or 0, f"/?{good.query}")
    assert (status, sentence(page)) == (
        200,
        "You are signed in to Foundry. Close this page and go back to the notebook.",
    )
    assert leaks([v for _, v in parse_qsl(good.query)], page, str(headers)) == []
    assert 'history.replaceState(null, "", location.pathname)' in page
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["connection"] == "close"
    assert headers["server"].strip() == "labauth"
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', page))
    assert (
        headers["content-security-policy"]
        == f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}';"
        " frame-ancestors 'none'"
    )


ERASES = "history.replaceState"


@pytest.mark.parametrize("path", ["/", "/other"])
@pytest.mark.parametrize("host", [None, "hub.example"])
@pytest.mark.parametrize("pair", ALL)
def test_a_response_of_another_sign_in(
    lab: Lab, pair: tuple[str, str], host: str | None, path: str
) -> None:
    """A response of another kernel keeps its address, with a page that says where to paste it and
    shows no secret."""
    attempt = began(*pair)
    good = urlsplit(lab.visit(attempt.url))
    query = urlencode(_set(state="x" * 43)(parse_qsl(good.query)))
    status, page, headers = fetch(good.port or 0, f"{path}?{query}", host=host)
    assert status == (403 if host else 404 if path != "/" else 400)
    assert "belongs to a different sign-in attempt" in sentence(page)
    assert "copy this address into the notebook" in sentence(page)
    assert ERASES not in page
    assert leaks([v for _, v in parse_qsl(query)], page, str(headers)) == []
    assert give("listener", attempt, good.geturl()) == ""


def test_a_response_of_another_sign_in_while_redeeming(lab: Lab) -> None:
    """A response of another kernel is told so, and keeps its address, also while this one's own
    code is redeemed."""
    attempt = began(*FOUNDRY)
    port = port_of(attempt)
    attempt.state = attempts.BUSY
    assert sentence(fetch(port, "/?code=kanari-code&state=another")[1]) == attempts.ELSEWHERE
    attempt.state = attempts.WAITING
    attempt.cancel()


def test_which_pages_erase_the_address(lab: Lab) -> None:
    """The address of one's own response is erased, declined too; one of another attempt, or of
    nobody, is kept to be copied."""
    stale = began(*FOUNDRY)
    old = urlsplit(lab.visit(stale.url)).query
    stale.cancel()
    attempt = began(*FOUNDRY)
    good = urlsplit(lab.visit(attempt.url, "deny"))
    pages = [fetch(good.port or 0, f"/?{q}")[1] for q in (old, "code=kanari-code-0001", good.query)]
    assert [ERASES in page for page in pages] == [False, False, True]


NOTHING = "There is nothing here. Go back to the notebook."
STRANGE = [
    ("GET", "/", None, 404),
    ("GET", "/?", None, 404),
    ("GET", "/other?{}", None, 404),
    ("GET", "/favicon.ico", None, 404),
    ("GET", "/%2e?{}", None, 404),
    ("GET", "http://127.0.0.1/?{}", None, 404),
    ("GET", "http://[/?{}", None, 404),
    ("GET", "/?{}", "evil.example", 403),
    ("GET", "/?{}", "evil.example:80", 403),
    ("GET", "/?{}", "127.0.0.1", 403),
    ("GET", "/?{}", "", 403),
    ("POST", "/?{}", None, 501),
    ("HEAD", "/?{}", None, 501),
    ("PUT", "/?{}", None, 501),
    ("OPTIONS", "/?{}", None, 501),
    ("GET", "/?{}&x=" + "x" * 70_000, None, 414),
    ("GET", "/?" + "%ff" * 2000, None, 400),
    ("GET", "/?" + "&=;" * 2000, None, 400),
]


@pytest.mark.parametrize(
    ("verb", "target", "host", "status"),
    STRANGE,
    ids=[f"{v} {t[:12]} {h}" for v, t, h, _ in STRANGE],
)
def test_strange_requests(lab: Lab, verb: str, target: str, host: str | None, status: int) -> None:
    """Another path, verb or Host, and rubbish: a page with the same headers, nothing sent, the
    attempt goes on."""
    attempt = began(*FOUNDRY)
    good = urlsplit(lab.visit(attempt.url))
    got, page, headers = fetch(good.port or 0, target.replace("{}", good.query), verb, host)
    assert got == status
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    if verb == "HEAD":
        assert page == ""
    elif status != 400:
        assert sentence(page) == (
            NOTHING if status != 403 else "This address serves one sign-in only."
        )
    assert (attempt.state, spent(lab, "foundry"), attempt.here) == (attempts.WAITING, 0, False)
    assert give("listener", attempt, good.geturl()) == ""


def test_slow_clients_do_not_block(lab: Lab) -> None:
    """Clients that connect and say nothing, or half a line, keep nobody waiting, and nothing open
    afterwards."""
    attempt = began(*FOUNDRY)
    slow = [socket.create_connection(("127.0.0.1", port_of(attempt))) for _ in range(30)]
    slow[0].sendall(b"GET /?code=")
    start = time.monotonic()
    try:
        assert give("listener", attempt, lab.visit(attempt.url)) == ""
        assert time.monotonic() - start < 3
        waits_for(lambda: is_free(urlsplit(asked(attempt)["redirect_uri"]).port or 0))
    finally:
        for each in slow:
            each.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_crowd_at_the_listener(lab: Lab) -> None:
    """Connections that say nothing cost 16 descriptors, however many there are; the real response
    gets through."""
    attempt = began(*FOUNDRY)
    home, before = ("127.0.0.1", port_of(attempt)), descriptors()
    held = [socket.create_connection(home) for _ in range(60)]
    try:
        time.sleep(0.5)
        assert descriptors() - before - len(held) <= listeners.CONNECTIONS
        start = time.monotonic()
        assert give("listener", attempt, lab.visit(attempt.url)) == ""
        assert time.monotonic() - start < listeners.CONNECTION_SECONDS
        waits_for(lambda: descriptors() <= before + len(held))
    finally:
        for each in held:
            each.close()


def test_trickled_request(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that come byte by byte hold a connection for its time in all, not for that time after
    each byte."""
    monkeypatch.setattr(listeners, "CONNECTION_SECONDS", 1.0)
    attempt = began(*FOUNDRY)
    with socket.create_connection(("127.0.0.1", port_of(attempt)), timeout=0.2) as client:
        client.sendall(b"GET /?code=kanari HTTP/1.1\r\nX: ")
        start, ended = time.monotonic(), False
        while not ended and time.monotonic() - start < 8:
            try:
                client.sendall(b"x")
                ended = client.recv(4096) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
    assert ended
    assert (attempt.state, attempt.error) == (attempts.WAITING, None)
    attempt.cancel()


def test_crowd_does_not_cut_off_a_code(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a code is redeemed, however slowly, its page is waited for: no crowd and no time-out
    cuts it off."""
    # more than a busy machine keeps us from sending our request
    monkeypatch.setattr(listeners, "CONNECTION_SECONDS", 1)
    monkeypatch.setattr(listeners, "CROWDED_SECONDS", 0.5)
    attempt, real = began(*FOUNDRY), codes.AuthorizationCode.redeem

    def slowly(*given: Any) -> Any:
        time.sleep(2)
        return real(*given)

    monkeypatch.setattr(codes.AuthorizationCode, "redeem", slowly)
    assert give("listener", attempt, lab.visit(attempt.url)) == ""


def test_proof(lab: Lab) -> None:
    """Only this computer can fetch the proof; that proves "here", answers nothing and shows
    nothing."""
    attempt = began(*FOUNDRY)
    parts, told = urlsplit(attempt.proof), []
    attempt._changed = lambda: told.append(1)
    assert (parts.hostname, len(parts.path) > 20, attempt.here) == ("127.0.0.1", True, False)
    assert fetch(parts.port or 0, parts.path, host="evil.example")[0] == 403
    assert not attempt.here
    assert fetch(parts.port or 0, parts.path)[:2] == (204, "")
    assert (attempt.here, attempt.state, len(told)) == (True, attempts.WAITING, 1)
    attempt.cancel()
    assert attempt.proof == ""


def test_only_on_loopback(lab: Lab) -> None:
    """The listener is bound to 127.0.0.1, at a port of its own for each try."""
    one, two = began(*FOUNDRY), began(*FOUNDRY)
    assert one._listener is not None
    assert one._listener.server_address[0] == "127.0.0.1"
    assert port_of(one) != port_of(two)
    one.cancel()
    two.cancel()


@pytest.mark.parametrize("how", ["answer", "declined", "cancel", "time-out"])
def test_closes(lab: Lab, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one answer, a refusal, a cancel or the time-out the port is closed within a second, and
    no thread stays."""
    monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 0.3 if how == "time-out" else 60)
    attempt = began(*FOUNDRY)
    port = port_of(attempt)
    if how in ("answer", "declined"):
        give("listener", attempt, lab.visit(attempt.url, "allow" if how == "answer" else "deny"))
    elif how == "cancel":
        attempt.cancel()
    waits_for(lambda: is_free(port), 2)
    waits_for(lambda: not ours(), 2)
    if how == "time-out":
        said = r"^Nobody signed in within 0\.005 min, so this attempt has ended\. Start again\.$"
        with pytest.raises(NotSignedIn, match=said):
            attempt.wait(1)
        monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 60)
        usable(lab, *FOUNDRY)


def test_nobody_waits_forever(lab: Lab) -> None:
    """`wait` ends after the time that it is given; the attempt goes on."""
    attempt = began(*FOUNDRY)
    with pytest.raises(NotSignedIn, match=r"^Nobody has signed in to Foundry in 0\.1 s\.$"):
        attempt.wait(0.1)
    assert attempt.state == attempts.WAITING
    attempt.cancel()


def test_dropped(lab: Lab) -> None:
    """Tries that were begun and dropped leave no socket and no thread."""
    ports = [port_of(began(*FOUNDRY)) for _ in range(25)]
    gc.collect()
    waits_for(lambda: all(is_free(port) for port in ports), 30)
    waits_for(lambda: not ours(), 30)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGTERM", "SystemExit", "SIGKILL"])
def test_closes_with_the_process(lab: Lab, end: str) -> None:
    """When the kernel ends, however it ends, the port is free again, and nothing keeps the process
    alive."""
    code = (
        "import sys, labauth_nb\na = labauth_nb.begin('foundry', 'user',"
        " tenant='sandbox')\nprint(a.proof, flush=True)\n"
        + ("raise SystemExit(0)" if end == "SystemExit" else "a.wait(60)")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = urlsplit(process.stdout.readline().strip()).port or 0
    if end != "SystemExit":
        assert not is_free(port)
        process.send_signal(getattr(signal, end))
    _, errors = process.communicate(timeout=20)
    assert (errors, is_free(port)) == ("", True)


# Where the redirect address leads


def test_registered_port(lab: Lab) -> None:
    """A registered port and path are kept to the letter; declined, the same port serves the next
    try at once."""
    home = f"http://127.0.0.1:{free_port()}/call/back?app=1"
    first = began(*FOUNDRY, redirect_uri=home)
    assert asked(first)["redirect_uri"] == home
    landed = urlsplit(lab.visit(first.url, "deny"))
    with socket.create_connection(("127.0.0.1", landed.port)) as client:
        client.sendall(
            f"GET {landed.path}?{landed.query} HTTP/1.1\r\nHost: {landed.netloc}\r\n\r\n".encode()
        )
        while client.recv(4096):
            pass  # the server hangs up first, so that its port is in TIME_WAIT
    assert str(first.error) == DECLINED["foundry"]
    waits_for(lambda: is_free(landed.port or 0), 2)
    again = began(*FOUNDRY, redirect_uri=home)
    assert again.proof
    assert give("listener", again, lab.visit(again.url)) == ""


def test_a_registered_port_of_the_try_before(lab: Lab) -> None:
    """A cell that is run again takes its own registered port over; the earlier attempt says why it
    has ended."""
    home = f"http://localhost:{free_port()}/"
    first = began(*FOUNDRY, redirect_uri=home)
    second = began(*FOUNDRY, redirect_uri=home)
    assert second.proof
    with pytest.raises(NotSignedIn, match="A newer sign-in attempt replaced this one"):
        first.wait(1)
    assert give("listener", second, lab.visit(second.url).replace("localhost", "127.0.0.1")) == ""


@pytest.mark.parametrize(
    "home", ["http://127.0.0.1", "http://127.0.0.1:0/cb", "http://localhost/cb?app=1"]
)
def test_any_port(lab: Lab, home: str) -> None:
    """A redirect address without a port gets one; its host, path and query stay."""
    attempt = began(*FOUNDRY, redirect_uri=home)
    sent, given = urlsplit(asked(attempt)["redirect_uri"]), urlsplit(home)
    assert sent.port == port_of(attempt)
    assert (sent.hostname, sent.path, sent.query) == (
        given.hostname,
        given.path or "/",
        given.query,
    )
    assert give("listener", attempt, lab.visit(attempt.url).replace("localhost", "127.0.0.1")) == ""


@pytest.mark.parametrize("holder", ["another program", "another provider"])
def test_port_taken(lab: Lab, holder: str) -> None:
    """Where the registered port is taken, there is no proof, and the response is pasted."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
        if holder == "another program":
            it.listen()
        else:
            it.close()
            other = began(*DNANEXUS, redirect_uri=f"http://127.0.0.1:{port}/")
        attempt = began(*FOUNDRY, redirect_uri=f"http://127.0.0.1:{port}/")
        assert (attempt.proof, attempt.here) == ("", False)
        assert str(attempt.error).startswith(f"Port {port} is taken by ")
        assert "copy the address from the browser's address bar and paste it here" in str(
            attempt.error
        )
        assert give("paste", attempt, lab.visit(attempt.url)) == ""
        if holder != "another program":
            assert other.state == attempts.WAITING
            other.cancel()


def test_port_taken_without_pkce(lab: Lab) -> None:
    """Where no PKCE binds the code, a taken port ends the sign-in before a page is shown."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        it.listen()
        with pytest.raises(
            InvalidInput, match="and whoever has it would get the response"
        ) as caught:
            began(*DNANEXUS, redirect_uri=f"http://127.0.0.1:{it.getsockname()[1]}/")
    assert caught.value.field == "redirect_uri"


@pytest.mark.parametrize("path", ["/user/x/proxy/{}/cb", "/user/x/proxy/absolute/{}/cb"])
def test_hub_proxy(lab: Lab, path: str) -> None:
    """A hub's proxied address reaches the listener at the port in it, with the hub's Host and the
    path that is left."""
    port = free_port()
    home = f"https://Hub.example.org{path.replace('{}', str(port))}"
    lab.set("foundry", redirects=[home])
    attempt = began(*FOUNDRY, redirect_uri=home)
    assert asked(attempt)["redirect_uri"] == home
    landed = urlsplit(lab.visit(attempt.url))
    inside = landed.path if "absolute" in path else "/cb"
    assert fetch(port, f"{inside}?{landed.query}", host="evil.example")[0] == 403
    assert fetch(port, f"/?{landed.query}", host="hub.example.org")[0] == 404
    status, page, _ = fetch(port, f"{inside}?{landed.query}", host="hub.example.org")
    assert (status, sentence(page)[:24]) == (200, "You are signed in to Fou")
    assert attempt.wait(5).who


@pytest.mark.parametrize("host", ["localhost:8888", "localhost"])
def test_local_proxy(lab: Lab, host: str) -> None:
    """A JupyterLab of this computer that proxies to the kernel: the listener is at the port behind
    it."""
    port = free_port()
    home = f"http://{host}/proxy/{port}/cb"
    attempt = began(*FOUNDRY, redirect_uri=home)
    assert asked(attempt)["redirect_uri"] == home
    landed = urlsplit(lab.visit(attempt.url))
    assert fetch(port, f"/cb?{landed.query}", host=host)[0] == 200


@pytest.mark.parametrize(
    "home",
    ["https://127.0.0.1:8443/cb", "http://[::1]:8765/", "http://[::1]/", "http://127.0.0.2:8765/"],
)
def test_where_no_listener_could_answer(lab: Lab, home: str) -> None:
    """Loopback that our listener does not serve (TLS, IPv6, another 127.x): no proof, and the
    answer is pasted."""
    lab.set("foundry", redirects=[home])
    attempt = began(*FOUNDRY, redirect_uri=home)
    assert (attempt.proof, asked(attempt)["redirect_uri"]) == ("", home)
    assert give("paste", attempt, lab.visit(attempt.url)) == ""


def test_vendors_callback_page(lab: Lab) -> None:
    """The vendor's own page that shows the code: no listener, the code alone is pasted."""
    home = lab.origin("foundry") + "/multipass/api/oauth2/callback"
    attempt = began(*FOUNDRY, redirect_uri=home)
    assert attempt.proof == ""  # the sandbox itself holds that port
    landed = lab.visit(attempt.url)
    assert landed.startswith(home)
    code = carried(landed)["code"]
    page = lab.sites["foundry"].app.test_client().get(landed).text
    assert f'<code id="code">{code}</code>' in page
    assert give("paste", attempt, code) == ""
    reads("foundry")


NO_ADDRESS = [
    "ftp://x/",
    "http://acme.example/cb",
    "127.0.0.1:80",
    "https://",
    "https://x/#f",
    "http://127.0.0.1:99999/",
]


@pytest.mark.parametrize("home", NO_ADDRESS)
def test_no_redirect_address(lab: Lab, home: str) -> None:
    """What is no redirect address is refused before anything is begun, with what one is."""
    with pytest.raises(InvalidInput) as caught:
        began(*FOUNDRY, redirect_uri=home)
    assert (
        str(caught.value)
        == f"{home!r} is not a valid redirect address: it starts with https://, or with"
        " http://127.0.0.1, as registered."
    )
    assert caught.value.field == "redirect_uri"


@pytest.mark.parametrize("home", ["https://kanari@x/", "https://ada:kan/ari@x/"])
def test_no_name_in_a_redirect_address(lab: Lab, home: str) -> None:
    """An address with a user name or password in it is no redirect address; it is not repeated."""
    with pytest.raises(InvalidInput, match=r"^That is not a valid redirect address: "):
        began(*FOUNDRY, redirect_uri=home)


# Cancelled, and what nobody may see


def test_cancel_while_the_code_is_redeemed(lab: Lab) -> None:
    """A cancel while the token endpoint takes its time: what comes afterwards is not used."""
    attempt = began(*FOUNDRY)
    lab.next("foundry", "slow", path="token", seconds=0.6)
    said: list[str] = []
    good = lab.visit(attempt.url)
    thread = threading.Thread(target=lambda: said.append(give("paste", attempt, good)))
    thread.start()
    waits_for(lambda: attempt.state == attempts.BUSY)
    attempt.cancel()
    thread.join(10)
    assert (said, attempt.state) == (["The sign-in was cancelled."], attempts.OVER)
    with pytest.raises(NotSignedIn):
        logins.get("foundry")


def test_cancelled_token_is_revoked(lab: Lab) -> None:
    """A token that comes after its sign-in was cancelled is revoked, as nobody will hold it."""
    attempt = began(*FOUNDRY)
    address = lab.visit(attempt.url)
    lab.next("foundry", "slow", path="token", seconds=1)
    thread = threading.Thread(target=give, args=("listener", attempt, address), daemon=True)
    thread.start()
    waits_for(lambda: spent(lab, "foundry"))
    attempt.cancel()
    thread.join(20)
    site = lab.sites["foundry"]
    waits_for(
        lambda: (
            site.tokens
            and not any(site.good(t) for t in site.tokens if not t.startswith("sandbox"))
        ),
        10,
    )


def test_time_out_while_the_code_is_redeemed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that came in time is used, though the token endpoint answers after the time-out."""
    monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 1.0)
    attempt = began(*FOUNDRY)
    lab.next("foundry", "slow", path="token", seconds=1.5)
    assert give("paste", attempt, lab.visit(attempt.url)) == ""


@pytest.mark.parametrize("pair", ALL)
def test_nothing_is_shown(
    lab: Lab, pair: tuple[str, str], capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    """Nothing is printed or logged, and no repr, error or traceback holds code, state, nonce,
    verifier or token."""
    caplog.set_level(0)
    attempt = began(*pair)
    good = lab.visit(attempt.url)
    wrong = good.replace("state=", "state=x")
    texts = [
        repr(attempt),
        str(attempt),
        repr(vars(attempt)),
        repr(attempt.url),
        repr(vars(exchange_of(attempt))),
    ]
    try:
        attempt.answer(wrong)
    except LabauthError as error:
        texts += [
            *traceback.format_exception(error),
            *error._render_traceback_(),
            repr(vars(error)),
        ]
    fetch(port_of(attempt), f"/?{urlsplit(wrong).query}")
    mine = attempt.answer(good)
    texts += [repr(attempt), repr(vars(attempt)), repr(mine), repr(vars(mine))]
    late = began(*pair)
    stale = re.sub(r"code=[^&]*", "code=canary-code-0001", lab.visit(late.url))
    try:
        late.answer(stale)
    except LabauthError as error:
        texts += [
            *traceback.format_exception(error),
            *error._render_traceback_(),
            repr(vars(error)),
        ]
        response = getattr(error, "response", None)
        texts += (
            [repr(vars(response)), repr(vars(response.request))] if response is not None else []
        )
        texts += [str(pickle.dumps(response))]
    out, err = capfd.readouterr()
    secrets = [
        v for a in (good, stale) for n, v in parse_qsl(urlsplit(a).query) if n in ("code", "state")
    ]
    secrets += [
        str.__str__(s) for a in (attempt, late) for s in (a._state, a._verifier, a._nonce) if s
    ]
    secrets += [str.__str__(s) for s in mine.secrets()]
    assert len(secrets) > 7
    assert leaks(secrets, *texts, out, err, caplog.text) == []
    for holder in (attempt, late):
        with pytest.raises(TypeError, match=r"^A sign-in under way is not pickled\.$"):
            pickle.dumps(holder)


# The device code


def test_device_without_threads(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device code that no thread could wait for ends the sign-in, with the other methods."""
    attempt = began(*BENCHLING)
    monkeypatch.setattr(attempts, "started", lambda *_, **options: None)
    with pytest.raises(
        InvalidInput, match=r"none can be started here .* Use --method app or --method"
    ):
        attempt.device()
    assert attempt.state == "over"


@pytest.fixture
def device(lab: Lab) -> Attempt:
    lab.set("idp", interval=0.1)
    attempt = began(*BENCHLING)
    assert attempt.offers_device
    assert attempt.device_link == ""
    attempt._changed = lambda: attempt.device_link and attempt.device()  # as the panel does
    uri, code = attempt.device()
    assert uri == lab.origin("idp") + "/device"
    assert attempt.device_link == f"{uri}?user_code={code}"
    return attempt


def polls(lab: Lab) -> int:
    return lab.count("idp", "POST /token")


def test_device_pending_then_allowed(lab: Lab, device: Attempt) -> None:
    """While nobody has decided it is asked again, at the server's pace; then the login is there,
    and the polling ends."""
    waits_for(lambda: polls(lab) >= 2)
    assert device.state == attempts.WAITING
    lab.visit(device.device_link)
    assert device.wait(10).who == "ada@sandbox.example"
    waits_for(lambda: not ours())
    asked_once = polls(lab)
    time.sleep(0.3)
    assert polls(lab) == asked_once
    reads("benchling")


def test_device_once(lab: Lab, device: Attempt) -> None:
    """Asked for by two views at once, it is one code."""
    gate, seen = threading.Barrier(8), set()

    def ask() -> None:
        gate.wait()
        seen.add(device.device())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert (len(seen), lab.count("idp", "device_authorization")) == (1, 1)
    device.cancel()
    late = began(*BENCHLING)
    late.cancel()
    with pytest.raises(InvalidInput, match="This sign-in attempt has ended"):
        late.device()
    assert lab.count("idp", "device_authorization") == 1


def test_device_slow_down(lab: Lab, device: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """slow_down adds to the interval, as RFC 8628 3.5 has it, and does not end the attempt."""
    from labauth_nb.tokens import openid

    monkeypatch.setattr(openid, "INTERVAL_SECONDS", 0.3)
    (waiting,) = lab.sites["idp"].devices.values()
    waiting.interval = 0.35
    monkeypatch.setattr("labauth_nb.sandbox.identity.SLOWER", 0.0)
    waits_for(lambda: polls(lab) >= 2)
    before = polls(lab)
    time.sleep(1.0)
    assert polls(lab) - before <= 3
    assert device.state == attempts.WAITING
    lab.visit(device.device_link)
    assert device.wait(10)


def test_device_denied(lab: Lab, device: Attempt) -> None:
    """Denied on the other device: who said it, what to do, and a usable next try."""
    lab.visit(device.device_link, "deny")
    with pytest.raises(LabauthError) as caught:
        device.wait(10)
    assert (
        str(caught.value)
        == "The identity provider responded with 400 access_denied (The user declined). "
        "The sign-in was declined: open the sign-in page again, or ask your admin."
    )
    usable(lab, *BENCHLING)


def test_device_ran_out(lab: Lab, device: Attempt) -> None:
    """Nobody typed the code in time."""
    lab.advance("11m")
    with pytest.raises(
        LabauthError,
        match=r"^The code expired before it was entered\. Sign in again to get a new one\.$",
    ):
        device.wait(10)


def test_device_ran_out_at_the_server(lab: Lab, device: Attempt) -> None:
    """The server's own word for it, expired_token, is the same sentence (the clocks differ)."""
    lab.skew(700)
    with pytest.raises(
        LabauthError,
        match=r"^The code expired before it was entered\. Sign in again to get a new one\.$",
    ):
        device.wait(10)


@pytest.mark.parametrize("answer", [503, 429, "truncated", "html"])
def test_device_one_poll_lost(
    lab: Lab, device: Attempt, answer: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that gets no answer, or "too many requests", is asked again, more slowly."""
    from labauth_nb.tokens import openid

    monkeypatch.setattr(openid, "INTERVAL_SECONDS", 0.1)
    before = polls(lab)
    lab.next("idp", answer, path="/token", seconds=0)
    waits_for(lambda: polls(lab) >= before + 3)
    assert device.state == attempts.WAITING
    lab.visit(device.device_link)
    assert device.wait(10)


def test_device_cancelled(lab: Lab, device: Attempt) -> None:
    """After a cancel nothing is asked any more, and an allowed device is not used."""
    device.cancel()
    waits_for(lambda: not ours())
    before = polls(lab)
    lab.visit(device.device_link)
    time.sleep(0.4)
    assert polls(lab) == before
    assert device.state == attempts.OVER


def test_device_and_browser(lab: Lab, device: Attempt) -> None:
    """The browser may be quicker: then the device code is not asked about any more, and its end
    ends nothing."""
    assert give("listener", device, lab.visit(device.url)) == ""
    lab.visit(device.device_link, "deny")
    time.sleep(0.3)
    assert device.state == attempts.DONE
    reads("benchling")


def test_device_spoiled_id_token(lab: Lab, device: Attempt) -> None:
    """An ID token that proves nothing is refused on this way, too."""
    lab.set("idp", fault="none")
    lab.visit(device.device_link)
    with pytest.raises(LabauthError, match=r"not signed by a key of the issuer \(alg none\)"):
        device.wait(10)
    assert lab.count("benchling") == 0


def test_device_not_to_be_had(lab: Lab) -> None:
    """Where none is offered, or the server is down, a message says so; the browser way goes on, and
    it can be asked again."""
    for pair in (FOUNDRY, DNANEXUS):
        attempt = began(*pair)
        assert not attempt.offers_device
        with pytest.raises(
            InvalidInput, match="offers no device code: open the sign-in page in a browser instead"
        ):
            attempt.device()
        attempt.cancel()
    lab.set("idp", interval=0.1)
    attempt = began(*BENCHLING)
    lab.next("idp", 503, path="device_authorization")
    with pytest.raises(LabauthError, match="The identity provider responded with 503"):
        attempt.device()
    assert (attempt.state, "responded with 503" in str(attempt.error)) == (attempts.WAITING, True)
    attempt.device()
    assert attempt.error is None
    lab.visit(attempt.device_link)
    assert attempt.wait(10)
    lab.set("idp", device=False)
    attempt = began(*BENCHLING)
    assert not attempt.offers_device
    attempt.cancel()


def test_begin_needs_a_browser_method(lab: Lab) -> None:
    """`begin` takes a method with a browser, by default the provider's own; for another it names
    `login`."""
    with pytest.raises(InvalidInput, match="needs no browser: use login for it"):
        begin("benchling", "app", tenant="sandbox")
    with pytest.raises(InvalidInput, match="needs no browser"):
        begin("qbench", tenant="sandbox")
    attempt = begin("foundry", tenant="sandbox")
    assert exchange_of(attempt).method.name == "user"
    attempt.cancel()


def test_unreachable_issuer(lab: Lab) -> None:
    """An issuer that is not there is said before anything is begun."""
    with pytest.raises(
        ProviderUnreachable, match=r"^The identity provider did not respond: 127\.0\.0\.1:1 refused"
    ):
        began(*BENCHLING, issuer="http://127.0.0.1:1")


# What nobody foresaw, and Ctrl-C


def _breaks(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def redeem(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(codes.AuthorizationCode, "redeem", redeem)


@pytest.mark.parametrize("way", WAYS)
def test_a_bug_while_the_code_is_redeemed(
    lab: Lab, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no message becomes one, with what and where and not its words; the attempt has ended,
    and the next one signs in."""
    attempt = began(*FOUNDRY)
    port, good = port_of(attempt), lab.visit(attempt.url)
    _breaks(monkeypatch, OverflowError("kanari"))
    said = give(way, attempt, good)
    assert re.fullmatch(
        r"Sign-in failed unexpectedly \(OverflowError at test_attempts\.py:\d+\)\. Please try"
        r" again; if it recurs, report it\.",
        said,
    )
    assert (attempt.state, str(attempt.error), is_free(port)) == (attempts.OVER, said, True)
    with pytest.raises(NotSignedIn, match="failed unexpectedly"):
        attempt.wait(1)
    monkeypatch.undo()
    usable(lab, *FOUNDRY)


def test_a_bug_is_no_bad_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the page it is a 500: the response was good."""
    attempt = began(*FOUNDRY)
    good = urlsplit(lab.visit(attempt.url))
    _breaks(monkeypatch, RecursionError())
    status, page, _ = fetch(good.port or 0, f"{good.path}?{good.query}")
    assert (status, sentence(page)[:41]) == (500, "Sign-in failed unexpectedly (RecursionErr")


def test_interrupted_while_the_code_is_redeemed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the attempt, closes its port, and is still Ctrl-C; no frame of it
    holds the code."""
    attempt = began(*DNANEXUS)
    port, good = port_of(attempt), lab.visit(attempt.url)
    _breaks(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        attempt.answer(good)
    assert caught.traceback[-1].name == "answer"
    assert (attempt.state, is_free(port)) == (attempts.OVER, True)
    with pytest.raises(NotSignedIn, match=r"^The sign-in was interrupted: start it again\.$"):
        attempt.wait(1)
    monkeypatch.undo()
    usable(lab, *DNANEXUS)


def test_a_watcher_that_breaks(lab: Lab) -> None:
    """A panel that cannot be told of a change is nothing to the sign-in."""
    attempt = began(*FOUNDRY)
    attempt._changed = lambda: 1 / 0  # type: ignore[assignment,return-value]
    assert give("listener", attempt, lab.visit(attempt.url)) == ""


def test_redeeming_for_ever(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token endpoint that never ends its response does not keep the attempt busy for ever."""
    monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 0.3)
    monkeypatch.setattr(attempts, "TIMEOUT", (0.1, 0.2))
    attempt, go = began(*FOUNDRY), threading.Event()
    late = Token(Secret("late"), Secret("Bearer late"), 0.0)
    monkeypatch.setattr(codes.AuthorizationCode, "redeem", lambda *arguments: go.wait(20) and late)
    good = lab.visit(attempt.url)
    thread = threading.Thread(target=give, args=("paste", attempt, good))
    thread.start()
    waits_for(lambda: attempt.state == attempts.OVER)
    assert (
        str(attempt.error)
        == "Foundry did not respond in time, so this sign-in attempt has ended. Start again."
    )
    go.set()
    thread.join(10)


VERBOSE = r"""
%xmode Verbose
%load_ext labauth_nb
import labauth_nb, os, signal, threading, time
from labauth_nb.sandbox import running
from labauth_nb.logins import logins
lab_ = running()
def slowly(provider, path):
    "Redeems slowly, so that the test's Ctrl-C comes meanwhile; the secrets go to a file."
    global attempt
    site, method = {'foundry': ('foundry', 'user'), 'benchling': ('idp', 'oidc')}[provider]
    attempt = labauth_nb.begin(provider, method, tenant='sandbox')
    address = lab_.visit(attempt.url)
    query = address.partition('?')[2].split('&')
    with open('held.txt', 'a') as f:
        for each in (*query, attempt._verifier, attempt._nonce or ''):
            f.write(str.__str__(each).rpartition('=')[2] + '\n')
    lab_.next(site, 'slow', path=path, seconds=9)
    return address
def stop():
    "Ctrl-C, once a site has the request that it holds."
    def wait():
        while any(site.faults for site in lab_.sites.values()):
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=wait, daemon=True).start()
def held():
    with open('held.txt', 'a') as f:
        for site in lab_.sites.values():
            f.writelines(str.__str__(s) + '\n' for s in (*site.tokens, *site.refresh_tokens))
"""


@pytest.mark.slow
def test_interrupts_show_no_secret(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ctrl-C under %xmode Verbose, at the token endpoint, at the issuer's keys and at a renewal: no
    code, state or token."""
    folder = tmp_path_factory.mktemp("interrupts")
    kernel = Kernel(folder, {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")})
    try:
        kernel.run(VERBOSE)

        def interrupted(code: str) -> str:
            said = kernel.text(code)
            assert "KeyboardInterrupt" in said, said
            return said

        for provider, path in (("foundry", "token"), ("benchling", "token"), ("benchling", "jwks")):
            said = interrupted(
                f"home = slowly({provider!r}, {path!r})\nstop()\nattempt.answer(home)"
            )
            assert "The sign-in was interrupted: start it again." in said
            assert kernel.text("attempt.state") == "'over'"
        kernel.run(
            "attempt = labauth_nb.begin('benchling', 'oidc', tenant='sandbox'); mine ="
            " attempt.answer(lab_.visit(attempt.url))"
        )
        kernel.run("mine._exchange.keys = None; lab_.next('idp', 'slow', path='jwks', seconds=9)")
        interrupted("stop()\nmine.refresh()")
        kernel.run(
            "mine.refresh(); lab_.rotate_keys(); lab_.next('idp', 'slow', path='jwks', seconds=9)"
        )
        interrupted("stop()\nmine.refresh()")
        kernel.run("held()")
    finally:
        kernel.stop()
    secrets = [
        line
        for line in (folder / "held.txt").read_text().split()
        if len(line) > 12 and not line.startswith("sandbox")
    ]
    assert len(secrets) > 8
    assert leaks(secrets, *kernel.messages) == []
