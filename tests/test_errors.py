"""Every message that a user may read: who said what, then what to do."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from email.utils import formatdate
from http.client import BadStatusLine, RemoteDisconnected
from socket import gaierror

import pytest
import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import NewConnectionError

from labauth_nb import (
    InvalidInput,
    LabauthError,
    MissingCredentials,
    ProviderError,
    ProviderUnreachable,
    SignInRefused,
    begin,
    login,
    logout,
    refresh,
    session,
    status,
)
from labauth_nb.providers import PROVIDERS
from labauth_nb.responses import Sender, provider_error, read_error, unreachable, wait_seconds
from labauth_nb.sandbox import Lab


def answer(status: int, body: object, **headers: str) -> requests.Response:
    """A response as requests would give it."""
    import json

    it = requests.Response()
    it.status_code, it.url = status, "https://acme.example/x"
    it._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    it.headers = CaseInsensitiveDict(
        {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )
    it.request = requests.Request("GET", it.url).prepare()
    return it


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": "invalid_client", "error_description": "no"}, "invalid_client", "no"),
        (
            {"error": "ratelimit exceeded 300 per 60 seconds"},
            "",
            "ratelimit exceeded 300 per 60 seconds",
        ),
        (
            {"error": {"type": "invalid_client", "message": "no", "userMessage": "n"}},
            "invalid_client",
            "no",
        ),
        ({"error": {"type": "PermissionDenied", "message": "VIEW"}}, "PermissionDenied", "VIEW"),
        (
            {"error_type": "Forbidden", "error_description": "no scope", "error_token": "t"},
            "Forbidden",
            "no scope",
        ),
        (
            {
                "errorCode": "C",
                "errorName": "ApiUsageDenied",
                "parameters": {"missingScope": "a:b"},
            },
            "ApiUsageDenied",
            "missing scope a:b",
        ),
        ({"errorCode": "C", "parameters": None}, "C", ""),
        ({"message": "plain"}, "", "plain"),
        ({"error": None}, "", ""),
        ({"error": {"type": 5, "message": ["x"]}}, "", ""),
        ([], "", ""),
        (b"not json", "", "a response that is not JSON"),
        (b"\xff\xfe\x00", "", "a response that is not JSON"),
    ],
)
def test_read_error(body: object, code: str, message: str) -> None:
    """Every provider's error shape is read, and a broken one breaks nothing."""
    assert read_error(answer(400, body)) == (code, message)


PAGE = "a web page instead of JSON"
PAGES = {"content-type: text/html": "text/html; charset=utf-8", "no word of it": "text/plain"}


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 429, 500, 503])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_web_page(provider: str, status: int, kind: str) -> None:
    """A web page is said to be one; its refusal is not explained as the API's own would be."""
    it, page = PROVIDERS[provider], b"\xef\xbb\xbf\n<!DOCTYPE html><p>Blocked"
    sender = Sender(it.title, it.hints)
    error = provider_error(sender, answer(status, page, content_type=PAGES[kind]))
    said = str(error)
    assert said.startswith(f"{it.title} responded with {status} ({PAGE}")
    busy = status == 429 or status >= 500
    assert ("proxy or firewall" in said) == (not busy)
    own = ("a problem of its own", "down for a moment", "Too many requests")
    assert any(words in said for words in own) == busy
    assert busy or not any(hint in said for hint in it.hints.values())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "17"}, 17),
        ({"x_rate_limit_reset": "3", "retry_after": "17"}, 3),
        (
            {
                "retry_after": formatdate(1_800_000_030, usegmt=True),
                "date": formatdate(1_800_000_000, usegmt=True),
            },
            30,
        ),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({}, None),
    ],
)
def test_wait_seconds(headers: dict[str, str], seconds: float | None) -> None:
    """The wait is read from the provider's own headers, as seconds or as a date;
    nonsense is none."""
    assert (
        wait_seconds(answer(429, {}, **headers), ("x-rate-limit-reset", "retry-after")) == seconds
    )


@pytest.mark.parametrize(
    ("caught", "said"),
    [
        (requests.ConnectTimeout("x"), "did not accept the connection in time"),
        (requests.ReadTimeout("x"), "sent nothing in time"),
        (requests.exceptions.ProxyError("x"), "through the proxy"),
        (requests.exceptions.SSLError("x"), "could not prove its identity"),
        (
            requests.exceptions.SSLError("certificate is not yet valid (_ssl.c)"),
            "check the clock first",
        ),
        (requests.exceptions.SSLError("certificate has expired (_ssl.c)"), "check the clock first"),
        (requests.ConnectionError(gaierror("x")), "could not be found. Check the address"),
        (requests.ConnectionError(ConnectionRefusedError("x")), "refused the connection"),
        (requests.ConnectionError(NewConnectionError(None, "x")), "could not be reached. Check"),  # type: ignore[arg-type]
        (requests.ConnectionError(ConnectionResetError("x")), "closed the connection. Try again."),
        (requests.ConnectionError(RemoteDisconnected("x")), "closed the connection. Try again."),
        (requests.exceptions.ChunkedEncodingError("x"), "closed the connection. Try again."),
        (requests.ConnectionError(BadStatusLine("refused")), "sent a response that cannot be read"),
    ],
)
def test_unreachable(caught: Exception, said: str) -> None:
    """No answer is a message that tells the cause, and is what requests users catch."""
    error = unreachable("QBench", "https://acme.qbench.net/x?token=1", caught)
    assert str(error).startswith("QBench did not respond: acme.qbench.net ")
    assert said in str(error)
    assert isinstance(error, requests.ConnectionError)
    assert isinstance(error, requests.Timeout)


def test_unknown_host() -> None:
    """A host that does not exist is a message, from a real look-up of its name."""
    with pytest.raises(
        ProviderUnreachable,
        match=r"QBench did not respond: lims\.invalid .*Check the QBench address",
    ):
        login("qbench", tenant="lims.invalid", client_id="i", client_secret="s" * 9)


def test_without_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra installed, --tenant sandbox is one message with the install command."""
    monkeypatch.setitem(sys.modules, "labauth_nb.sandbox", None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"pip install 'labauth-nb\[sandbox\]'"):
        login("benchling", tenant="sandbox")


def test_errors_carry_data() -> None:
    """What an error is about is data beside its message, and outlasts a copy and a pickle."""
    refused = SignInRefused(
        "no", field="otp", status=401, code="x", hint="y", response=answer(401, {})
    )
    for error in (refused, InvalidInput("no", field="otp"), MissingCredentials("no", field="otp")):
        for each in (error, error.again(), pickle.loads(pickle.dumps(error))):
            assert (str(each), each.field, type(each)) == ("no", "otp", type(error))
    assert (refused.status, refused.code, refused.hint) == (401, "x", "y")
    assert refused.response.status_code == 401
    assert InvalidInput("no").field is None


def test_shape_of_errors() -> None:
    """Errors are copied and pickled with what they carry, show as one line, and are one family."""
    sender = Sender("Foundry", PROVIDERS["foundry"].hints)
    error = provider_error(sender, answer(403, {"errorName": "X", "errorCode": "C"}))
    for twin in (copy.copy(error), error.again(), pickle.loads(pickle.dumps(error))):
        assert isinstance(twin, ProviderError)
        assert (str(twin), twin.status, twin.code, twin.hint) == (str(error), 403, "X", error.hint)
    assert error._render_traceback_() == [f"ProviderError: {error}"]
    assert isinstance(error, LabauthError)


CASES = {
    "benchling wrong secret": (
        "benchling",
        "app",
        {"client_secret": "wrong-0001"},
        "401 invalid_client .*Developer Console",
    ),
    "benchling wrong key": (
        "benchling",
        "api-key",
        {"api_key": "sk_wrong0001"},
        "401 authentication_error .*Check the API key",
    ),
    "benchling no JWT": (
        "benchling",
        "id-token",
        {"id_token": "nonsense"},
        "not a JWT with three parts",
    ),
    "benchling spaces": (
        "benchling",
        "api-key",
        {"api_key": "sk_a b"},
        "holds a space, a line break or a quote mark",
    ),
    "qbench wrong secret": (
        "qbench",
        "client",
        {"client_secret": "w" * 32},
        "400 invalid_grant .*clock must be right",
    ),
    "foundry wrong secret": (
        "foundry",
        "service-user",
        {"client_secret": "wrong-0001"},
        "401 invalid_client .*OAuth & scopes",
    ),
    "foundry bad scope": (
        "foundry",
        "service-user",
        {"scopes": "api:nonsense"},
        "400 invalid_scope .*Ask only for scopes",
    ),
    "foundry bad token": (
        "foundry",
        "token",
        {"token": "nonsense"},
        "401 Default:Unauthorized .*sign in again",
    ),
    "dnanexus bad token": (
        "dnanexus",
        "api-token",
        {"token": "nonsense"},
        "401 InvalidAuthentication .*Make a new API token",
    ),
    "dnanexus wrong password": (
        "dnanexus",
        "password",
        {"password": "wrong"},
        "401 UsernameOrPasswordError .*single sign-on",
    ),
    "field of another method": (
        "benchling",
        "app",
        {"api_key": "x"},
        "no field of Benchling app 'api_key'.*Choose one of: client_id",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sentences(lab: Lab, case: str) -> None:
    """A sign-in that cannot work says who said what and what to do, in one line."""
    provider, method, fields, pattern = CASES[case]
    with pytest.raises(LabauthError, match=pattern) as caught:
        login(provider, method, tenant="sandbox", **fields)
    assert "\n" not in str(caught.value)
    print(f"{case}: {type(caught.value).__name__}: {caught.value}")


def test_archived_and_suspended(lab: Lab) -> None:
    """An archived app and a suspended user are refused with a hint that names the cause, and come
    back when undone."""
    login("benchling", tenant="sandbox")
    login("benchling", "api-key", tenant="sandbox", name="mine")
    lab.archive()
    lab.suspend("benchling")
    with pytest.raises(LabauthError, match="or the app archived"):
        session("benchling").get("plates")
    with pytest.raises(ProviderError, match="the user may be suspended"):
        session("mine").check(session("mine").get("plates"))
    lab.archive(False)
    lab.suspend("benchling", False)
    assert session("benchling").get("plates").status_code == 200
    assert session("mine").get("plates").status_code == 200


LOOKS = "looks like a secret, so it was refused and nothing was sent. If it is one, delete it"
SECRETS = ["sk_kanari0001abc", "kanari1f8Q2z7Lp0Xw9Vt3", "https://ada:kanari@acme.benchling.com"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("where", ["tenant", "name", "method", "provider"])
@pytest.mark.parametrize("verb", [login, begin])
def test_a_secret_in_the_wrong_place(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, verb: Callable[..., object], where: str, secret: str
) -> None:
    """A secret as a tenant, name, method or provider is refused, unrepeated, before a look-up."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    given = {"provider": "foundry", "tenant": "acme", "method": "service-user", where: secret}
    with pytest.raises(InvalidInput, match=LOOKS) as caught:
        verb(**given, client_id="x", client_secret="y")
    assert "kanari" not in str(caught.value)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("verb", [session, status, refresh, logout])
def test_a_secret_as_the_name_of_a_login(verb: Callable[[str], object], secret: str) -> None:
    """A secret given to a verb in place of a login's name is refused, unrepeated."""
    with pytest.raises(LabauthError, match=LOOKS) as caught:
        verb(secret)
    assert "kanari" not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRETS[0], SECRETS[2], "eyJkanari0001.eyJkanari0001.x"])
@pytest.mark.parametrize(
    ("provider", "method", "field"),
    [
        ("qbench", "client", "client_id"),
        ("dnanexus", "password", "username"),
        ("foundry", "service-user", "scopes"),
        ("benchling", "oidc", "issuer"),
        ("foundry", "user", "redirect_uri"),
    ],
)
def test_a_secret_in_a_field(provider: str, method: str, field: str, secret: str) -> None:
    """A key, a JWT or a password in an address is refused in a field that is shown, unrepeated."""
    with pytest.raises(InvalidInput, match=LOOKS) as caught:
        begin(provider, method, tenant="sandbox", **{field: secret})
    assert "kanari" not in str(caught.value)
    assert caught.value.field == field


@pytest.mark.parametrize("length", [21, 30, 39])
@pytest.mark.parametrize("verb", [login, begin, session, logout])
def test_a_passphrase_is_not_repeated(
    lab: Lab,
    verb: Callable[[str], object],
    length: int,
) -> None:
    """A word of over 20 characters is not repeated: it may be a secret that can be read out."""
    word = ("kanari-horse-battery-staple-" * 2)[: length - 1] + "z"
    with pytest.raises(LabauthError, match="not shown, in case it is a secret") as caught:
        verb(word)
    assert "kanari" not in str(caught.value)


CLIENT_IDS = ["0f9c2b7e-4d1a-4c55-9e21-7a60c1d2e3f4", "Zk3jW9qLx7Tb2Vn8Rm4Yp6Hc1Df5Gs0A"]


@pytest.mark.parametrize("client_id", CLIENT_IDS)
def test_a_client_id_is_no_secret(lab: Lab, client_id: str) -> None:
    """A client ID that is a UUID or 32 mixed characters is sent, for the provider to judge."""
    with pytest.raises(SignInRefused, match="401 invalid_client"):
        login("foundry", "service-user", tenant="sandbox", client_id=client_id)
