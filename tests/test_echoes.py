"""A server that says back what it was sent: no error, name or response shows a secret of it."""

from __future__ import annotations

import base64
import html
import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import parse_qs, quote, quote_plus, urlencode, urlsplit

import flask
import jwt
import pytest
import requests
from conftest import exchange_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labauth_nb import LabauthError, ProviderError, begin, login, logout, refresh
from labauth_nb.logins.logins import Login
from labauth_nb.masking import MASK, scrub
from labauth_nb.providers import PROVIDERS
from labauth_nb.sandbox import Lab

TEXT = st.text(min_size=4, alphabet=st.characters(exclude_characters="*", codec="utf-8"))
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quote": quote,
    "quote all": lambda s: quote(s, safe=""),
    "quote lower": lambda s: "".join(c if c.isalnum() else quote(c).lower() for c in s),
    "quote plus": quote_plus,
    "quote twice": lambda s: quote(quote_plus(s), safe=""),
    "json": lambda s: json.dumps(s)[1:-1],
    "json text": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json slash": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json in json": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "html": html.escape,
    "latin-1": lambda s: s.encode().decode("latin-1"),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "base64 in a URL": lambda s: quote(base64.b64encode(s.encode()).decode().rstrip("="), safe=""),
    "form in base64": lambda s: base64.b64encode(quote_plus(s).encode()).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(deadline=None)  # a time says how busy the computer is
@given(secret=TEXT)
def test_spellings(spelling: str, secret: str) -> None:
    """Whatever a secret is and however a server spells it: the whole of that spelling is masked."""
    spelt = SPELLINGS[spelling](secret)
    assert scrub(f"<{spelt}>", [secret]).replace("=", "") == f"<{MASK}>"


@settings(deadline=None)  # a time says how busy the computer is
@given(st.binary(), TEXT, st.binary(), st.booleans())
def test_base64(before: bytes, secret: str, after: bytes, urlsafe: bool) -> None:
    """Whatever stands around a secret in base64: each character with a bit of it is masked."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    raw = secret.encode()
    coded = encode(before + raw + after).decode()
    first, last = 8 * len(before) // 6, -(-8 * (len(before) + len(raw)) // 6)
    pieces = scrub(coded, [secret]).split(MASK)
    assert len(pieces) >= 2
    assume(len(pieces) == 2)  # else the secret stands there twice
    assert coded.startswith(pieces[0])
    assert coded.endswith(pieces[1])
    assert len(pieces[0]) <= first
    assert len(pieces[1]) <= len(coded) - last


def test_masked_as_a_whole() -> None:
    """Secrets that overlap, nest or repeat themselves are masked as a whole."""
    assert scrub("-abcdefgh-", ["abcd", "bcdefgh"]) == f"-{MASK}-"
    assert scrub("-abcdefgh-", ["abcdefgh", "cdef"]) == f"-{MASK}-"
    assert scrub("-ababababab-", ["abababab"]) == f"-{MASK}-"
    assert scrub("-abc-", ["abc"]) == "-abc-"


@pytest.mark.parametrize("text", ["\\" * 200_000, "%25" * 70_000, "a" * 200_000, "QUFB" * 50_000])
def test_long_texts(text: str) -> None:
    """A long text made to slow the search down, without a secret, stays as it is, in seconds."""
    began = time.monotonic()
    assert scrub(text, ["/+secret" * 10, "a" * 30 + "b"]) == text
    assert time.monotonic() - began < 10


def sent(request: flask.Request) -> list[str]:
    """The secrets of a request, as its server finds them."""
    values = {**request.form, **(request.get_json(silent=True) or {})}
    names = ("assertion", "client_secret", "code", "code_verifier", "device_code", "password")
    names += ("refresh_token", "refresh_token_id", "token", "otp")
    found = [values[name] for name in names if values.get(name)]
    found += [value for value in request.cookies.values()]
    if authorization := request.headers.get("Authorization"):
        found.append(authorization.partition(" ")[2])
        if request.authorization and request.authorization.type == "basic":
            found.append(request.authorization.password or request.authorization.username or "")
    return found


Ends = str | tuple[str, ...]


class Hostile:
    """Says back what requests to `path` (its end) sent, in every way and place."""

    def __init__(self, lab: Lab, site: str, path: Ends, status: int = 400) -> None:
        self.path, self.status, self.heard = path, status, list[str]()
        self.known: list[str] = []
        functions = lab.sites[site].app.before_request_funcs.setdefault(None, [])
        functions.insert(0, self)

    def __call__(self) -> flask.Response | None:
        request = flask.request
        if not request.path.endswith(self.path):
            return None
        self.heard += sent(request)
        raw = request.get_data()
        whole = [*self.known, request.headers.get("Authorization", ""), raw.decode()]
        whole += sent(request)
        said = " ".join(spell(each) for each in whole if each for spell in SPELLINGS.values())
        nested = base64.b64encode(json.dumps(whole).encode()).decode()
        body = {"error": "invalid_request", "error_description": f"{said} {nested}", "sent": whole}
        response = flask.Response(json.dumps(body), mimetype="application/json")
        short = " ".join(map(quote_plus, whole))  # a line of a header has its limit
        response.status = f"{self.status} {short} {nested}"
        response.autocorrect_location_header = False
        response.headers["Location"] = f"/x?{quote(nested)}&{short.replace(' ', '&')}"
        response.headers["X-Echo"] = f"{short} {nested}"
        response.headers["Set-Cookie"] = f"echo={nested}; Path=/"
        return response


def walk(thing: object, seen: set[int] | None = None) -> Iterator[str]:
    """Every text that can be reached from `thing` by its attributes and items."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, str | bytes | bytearray):
        yield thing if isinstance(thing, str) else bytes(thing).decode("latin-1")
    elif isinstance(thing, dict):
        for item in thing.items():
            yield from walk(list(item), seen)
    elif isinstance(thing, list | tuple | set):
        for each in thing:
            yield from walk(each, seen)
    elif type(thing).__module__.partition(".")[0] in ("labauth_nb", "requests", "urllib3", "http"):
        yield from walk(list(getattr(thing, "__dict__", {}).values()), seen)
        yield from walk(list(getattr(thing, "args", ())), seen)


def hints(secret: str) -> set[str]:
    """What gives `secret` away: each spelling, and the core of its base64 at each alignment."""
    found = {spell(secret) for spell in SPELLINGS.values()}
    found |= {secret[:40]} if len(secret) > 60 else set()  # a message may cut a token
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + secret.encode()).decode()
        core = coded[4 if shift else 0 : (shift + len(secret.encode())) // 3 * 4]
        found |= {core, core.replace("+", "-").replace("/", "_")}
    return found


def assert_clean(error: BaseException, secrets: list[str]) -> None:
    """Neither `error`, nor its response, nor a pickle of either, holds any of `secrets`."""
    response = getattr(error, "response", None)
    shown = [*walk(error), repr(error), str(error)]
    shown += [data.decode("latin-1") for data in (pickle.dumps(error), pickle.dumps(response))]
    whole = "\n".join(shown)
    assert secrets
    for secret in set(secrets):
        found = [hint for hint in hints(secret) if hint in whole]
        assert not found, (secret, found[0], whole[max(whole.index(found[0]) - 80, 0) :][:200])


ENDS = {"qbench": "auth/token", "dnanexus": "newAuthToken", "idp": "/token"}
METHODS = [(p.name, m) for p in PROVIDERS.values() for m in p.methods]
TYPED = [(name, m.name) for name, m in METHODS if not m.flow and not m.job_variable]


@pytest.mark.parametrize("status", [302, 400, 503])
@pytest.mark.parametrize(("provider", "method"), TYPED)
def test_typed(lab: Lab, provider: str, method: str, status: int) -> None:
    """A sign-in whose server says back what it was sent: the error shows no secret."""
    minted = PROVIDERS[provider].method(method).issued_here
    hostile = Hostile(lab, provider, ENDS.get(provider, "token") if minted else "", status)
    with pytest.raises(LabauthError) as caught:
        login(provider, method, tenant="sandbox")
    assert_clean(caught.value, hostile.heard)


BROWSER = [
    ("foundry", "user", "foundry"),
    ("dnanexus", "browser", "dnanexus"),
    ("benchling", "oidc", "idp"),
]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(("provider", "method", "site"), BROWSER)
def test_browser(lab: Lab, provider: str, method: str, site: str, status: int) -> None:
    """A code and its verifier that the token endpoint says back are shown nowhere."""
    attempt = begin(provider, method, tenant="sandbox")
    landed = lab.visit(attempt.url)
    hostile = Hostile(lab, site, "token", status)
    with pytest.raises(LabauthError) as caught:
        attempt.answer(landed)
    assert len(hostile.heard) >= 1
    assert_clean(caught.value, hostile.heard)


def signed_in(lab: Lab, provider: str, method: str) -> Login:
    """A login by `method`, in a browser where it is one."""
    if PROVIDERS[provider].method(method).flow is None:
        return login(provider, method, tenant="sandbox")
    attempt = begin(provider, method, tenant="sandbox")
    made: Login = attempt.answer(lab.visit(attempt.url))
    return made


RENEWED = [BROWSER[0], BROWSER[2], ("qbench", "client", "qbench")]
RENEWED += [("benchling", "app", "benchling")]


@pytest.mark.parametrize(("provider", "method", "site"), RENEWED)
def test_renewal(lab: Lab, provider: str, method: str, site: str) -> None:
    """What is sent to renew a token, and the token itself, are not shown when said back."""
    mine = signed_in(lab, provider, method)
    hostile = Hostile(lab, site, ("token", "refresh"))
    hostile.known = mine.source().secrets()
    with pytest.raises(LabauthError) as caught:
        refresh(provider)
    assert_clean(caught.value, [*hostile.heard, *bare(hostile.known)])
    assert_clean(LabauthError(mine.last_error), [*hostile.heard, *bare(hostile.known)])


def bare(tokens: list[str]) -> list[str]:
    """`tokens` without the schemes of headers."""
    return [token.removeprefix("Bearer ").removeprefix("Basic ") for token in tokens]


REVOKED = [*BROWSER, ("foundry", "service-user", "foundry"), ("dnanexus", "password", "dnanexus")]


@pytest.mark.parametrize(("provider", "method", "site"), REVOKED)
def test_revocation(lab: Lab, provider: str, method: str, site: str) -> None:
    """A revocation that fails, and says back every token there was, shows none at log out."""
    mine = signed_in(lab, provider, method)
    if mine.source().renewable and not mine.method.flow:
        refresh(provider)  # the token before is live still
    hostile = Hostile(lab, site, ("revoke", "revoke_token", "destroyAuthToken"))
    hostile.known = mine.source().secrets()
    said = logout(provider)[0]
    assert "not revoked" in said
    assert_clean(LabauthError(said), [*hostile.heard, *bare(hostile.known)])


def test_token_of_the_login_before(lab: Lab) -> None:
    """After signing in again the token before is still masked where the provider says it back."""
    said = {"errorCode": "C", "errorName": "X"}
    lab.sites["foundry"].app.get("/said")(lambda: (said, 400))
    old = str.__str__(login("foundry", tenant="sandbox").token().access_token)
    said["errorDescription"] = f"not {old}"
    held = login("foundry", tenant="sandbox").session()
    with pytest.raises(ProviderError, match=r"not \*\*\*") as caught:
        held.check(held.get("/said"))
    assert_clean(caught.value, [old])


@pytest.mark.parametrize("place", ["at home", "elsewhere", "pages", "stream"])
def test_check(lab: Lab, place: str) -> None:
    """An error of a session's response shows no token: not the one sent, nor the one before it."""
    mine = login("foundry", tenant="sandbox")
    refresh("foundry")
    assert len(set(mine.source().secrets())) == 4
    held = mine.session()
    if place == "at home":
        Hostile(lab, "foundry", "datasets/x", 403).known = mine.source().secrets()
        response = held.get("datasets/x")
        with pytest.raises(requests.HTTPError) as caught:
            response.raise_for_status()
        assert_clean(Exception(*caught.value.args), bare(mine.source().secrets()))
        act = partial(held.check, response)
    elif place == "elsewhere":
        Hostile(lab, "qbench", "/x", 404).known = mine.source().secrets()
        act = partial(held.check, held.get(lab.origin("qbench") + "/x"))
    elif place == "pages":
        Hostile(lab, "foundry", "ontologies", 200).known = mine.source().secrets()
        act = partial(held.frame, "ontologies")
    else:
        code = "MULTIPASS_TOKEN"
        Hostile(lab, "foundry", "ontologies", 401).known = mine.source().secrets()
        act = partial(held.post, "ontologies", data=iter([code.encode()]))
    with pytest.raises(requests.HTTPError) as caught:
        act()
    assert_clean(caught.value, bare(mine.source().secrets()))


@pytest.mark.parametrize("where", ["https://evil.invalid/{}", "/x/{}", "foo://x/{}"])
def test_token_in_a_redirect(lab: Lab, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A redirect to an address with the token in it is not followed, and shown in no log."""
    caplog.set_level(logging.DEBUG)
    mine = login("foundry", tenant="sandbox")
    [token] = set(bare(mine.source().secrets()))
    response = flask.Response("", 302)
    response.autocorrect_location_header = False
    response.headers["Location"] = where.format(quote(token))
    lab.sites["foundry"].app.view_functions["list_ontologies"] = lambda *_, **__: response
    with pytest.raises(LabauthError) as caught:
        mine.session().get("ontologies")
    assert_clean(caught.value, [token])
    assert_clean(Exception(caplog.text), [token])


def test_redirects_without_an_end(lab: Lab) -> None:
    """The error of too many redirects holds no token that the pages on the way said back."""
    mine = login("foundry", tenant="sandbox")
    token = mine.token().access_token
    functions = lab.sites["foundry"].app.view_functions
    hop = (token, 302, {"Location": "ontologies", "X": token})
    functions["list_ontologies"] = lambda *_, **__: hop
    with pytest.raises(requests.TooManyRedirects) as caught:
        mine.session().get("ontologies")
    assert_clean(caught.value, [token])


def test_utf_16(lab: Lab) -> None:
    """A secret said back in UTF-16, or with control characters in it, is masked like any other."""
    secret = "kanari-client-secret-0001"
    body = json.dumps({"error": "invalid", "error_description": "\x01".join(secret), "s": secret})
    answer = flask.Response(body.encode("utf-16"), 400, mimetype="application/json")
    lab.sites["benchling"].app.view_functions["token"] = lambda: answer
    with pytest.raises(ProviderError) as caught:
        login("benchling", tenant="sandbox", client_secret=secret)
    assert_clean(caught.value, [secret])
    assert b"k\0a\0n" not in caught.value.response.content


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_name(lab: Lab, spelling: str) -> None:
    """A name that a provider makes of what it was sent shows no secret of it."""

    def me() -> flask.Response:
        token = flask.request.headers["Authorization"].partition(" ")[2]
        return flask.jsonify({"username": f"ada {SPELLINGS[spelling](token)}"})

    lab.sites["foundry"].app.view_functions["me"] = me
    mine = login("foundry", tenant="sandbox")
    assert mine.who == "ada ***" + "=" * (mine.who or "").count("=")
    assert_clean(Exception(repr(mine)), bare(mine.source().secrets()))


def test_claimed_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that an ID token claims shows no secret either."""
    token = lab.credentials("benchling", "id-token")["id_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    claims = claims | {"email": f"ada {token}"}
    monkeypatch.setattr("labauth_nb.logins.signins.claims_of", lambda _: claims)
    assert login("benchling", "id-token", tenant="sandbox", id_token=token).who == "ada ***"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_declined(lab: Lab, spelling: str) -> None:
    """A refusal that comes by the browser shows no secret of its sign-in."""
    attempt = begin("benchling", "oidc", tenant="sandbox")
    query = parse_qs(urlsplit(attempt.url).query)
    known = [query[name][0] for name in ("state", "nonce")]
    said = " ".join(SPELLINGS[spelling](each) for each in known)
    back = {"error": "access_denied", "error_description": said, "state": known[0]}
    back["iss"] = lab.origin("idp")
    with pytest.raises(LabauthError, match="access_denied") as caught:
        attempt.answer(f"{query['redirect_uri'][0]}?{urlencode(back)}")
    assert_clean(caught.value, known)


@pytest.mark.parametrize("name", ["user_code", "verification_uri", "verification_uri_complete"])
def test_device_page(lab: Lab, name: str) -> None:
    """What the person is to open or type is refused where it has the client secret in it."""
    secret = "kanari-client-secret-0001"
    view = lab.sites["idp"].app.view_functions["device_authorization"]

    def echo() -> flask.Response:
        body = {**good, name: f"{good[name]}?{secret}"}
        return flask.jsonify(body)

    attempt = begin("benchling", "oidc", tenant="sandbox")
    with lab.sites["idp"].app.test_request_context(
        method="POST",
        data={"client_id": exchange_of(attempt).fields["client_id"], "scope": "openid"},
    ):
        good = view().get_json()
    lab.sites["idp"].app.view_functions["device_authorization"] = echo
    lab.set("idp", client_auth="client_secret_basic")
    attempt = begin("benchling", "oidc", tenant="sandbox", client_secret=secret)
    with pytest.raises(LabauthError, match="cannot be used") as caught:
        attempt.device()
    assert_clean(caught.value, [secret])


@pytest.mark.parametrize("path", ["device_authorization", "/token"])
@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
def test_device(lab: Lab, path: str, client_auth: str) -> None:
    """The client secret and the device code, said back to a device sign-in, are shown nowhere."""
    secret = "kanari+client secret-0001"
    lab.set("idp", interval=0.1, client_auth=client_auth, client_secret=secret)
    attempt = begin("benchling", "oidc", tenant="sandbox", client_secret=secret)
    hostile = Hostile(lab, "idp", path)
    with pytest.raises(LabauthError) as caught:
        attempt.device() and attempt.wait(10)
    assert_clean(caught.value, [*hostile.heard, secret])
