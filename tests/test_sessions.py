"""The session: where it sends what, when it sends again, how it pages, and what it never gives
away."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from conftest import exchange_of
from requests.utils import get_environ_proxies
from urllib3.exceptions import ReadTimeoutError

from labauth_nb import (
    InvalidInput,
    LabSession,
    LoginExpired,
    NotSignedIn,
    ProviderError,
    ProviderUnreachable,
    UnsafeRequest,
    login,
    session,
)
from labauth_nb.logins.elsewhere import restored as restored_session
from labauth_nb.logins.logins import _LOGINS
from labauth_nb.logins.signins import signed_in_here
from labauth_nb.sandbox import Lab


class Echo(ThreadingHTTPServer):
    """A foreign server: keeps the headers it was sent, and redirects /to?URL."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _EchoHandler)
        self.seen: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _EchoHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))  # type: ignore[attr-defined]
        where = self.path.partition("?")[2]
        self.send_response(302 if where else 200)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["plates", "/api/v2/plates", "WHOLE"])
def test_paths(lab: Lab, path: str) -> None:
    """A path is joined to the API base, one from the root to the origin, and a whole URL is taken
    as it is."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    whole = lab.origin("benchling") + "/api/v2/plates"
    assert held.get(whole if path == "WHOLE" else path).url == whole


def test_prepared_requests(lab: Lab) -> None:
    """A request prepared by hand is signed when it is sent, even one that was sent before."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    prepared = held.prepare_request(requests.Request("GET", "plates"))
    assert held.send(prepared).status_code == 200
    assert "Authorization" not in prepared.headers
    assert held.send(prepared).status_code == 200


def test_foreign_host(lab: Lab, echo: Echo) -> None:
    """Another origin (also: the same host, another port) gets the request, without the token."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    assert held.get(echo.url + "/x").status_code == 200
    assert "Authorization" not in echo.seen[0]


def test_foreign_host_is_named(lab: Lab) -> None:
    """Where another host cannot be reached, the error names that one, and not the provider."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    held.patience = 0
    with pytest.raises(ProviderUnreachable, match=r"^127\.0\.0\.1 did not respond"):
        held.get("http://127.0.0.1:1/x")


def test_proxy_for_other_hosts(lab: Lab, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session reaches other computers through the environment's proxy."""
    monkeypatch.setenv("http_proxy", echo.url)
    login("benchling", tenant="sandbox")
    assert session("benchling").get("http://elsewhere.invalid/x").status_code == 200
    assert echo.seen[0]["Host"] == "elsewhere.invalid"


def test_lookalike_host(lab: Lab) -> None:
    """An address that only begins like the origin gets no token: origins are compared as parsed
    values."""
    mine = login("benchling", tenant="sandbox")
    held = mine.session()
    for url in (
        mine.origin[:-1] + "/x",
        mine.origin.replace("127.0.0.1:", "127.0.0.1.evil.test:"),
        "http://127.0.0.1@evil.test/",
    ):
        prepared = requests.Request("GET", url).prepare()
        held.auth(prepared)
        assert "Authorization" not in prepared.headers


def test_redirect_away_and_back(lab: Lab, echo: Echo) -> None:
    """A redirect to another host carries no token, and one back to the provider does."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    back = held.get(f"{echo.url}/to?{lab.origin('benchling')}/api/v2/plates")
    assert back.status_code == 200
    assert len(back.json()["plates"]) == 50
    assert "Authorization" not in echo.seen[0]
    for hop in (back, *back.history):
        assert "Authorization" not in hop.request.headers


def test_own_authorization_stays(lab: Lab, echo: Echo) -> None:
    """The user's own Authorization header does not follow a redirect to another host."""
    redirect(lab, "/away", f"{echo.url}/x")
    login("benchling", tenant="sandbox")
    mine = {"Authorization": "Bearer kanari-header-of-mine"}
    assert session("benchling").get("/away", headers=mine).status_code == 200
    assert "kanari" not in str(echo.seen[0])


def test_netrc(lab: Lab, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .netrc entry for the provider's host replaces the token nowhere: not at first, not on a
    redirect."""
    netrc = Path.home() / ".netrc"
    netrc.write_text("default login mallory password netrc-canary\n")
    netrc.chmod(0o600)
    login("benchling", tenant="sandbox")
    held = session("benchling")
    assert held.get("plates").status_code == 200
    assert held.get(f"{echo.url}/to?{lab.origin('benchling')}/api/v2/plates").status_code == 200
    assert "Authorization" not in echo.seen[0]


def test_plain_http(lab: Lab) -> None:
    """Over plain http off loopback nothing is sent: the request is refused before."""
    mine = login("benchling", tenant="sandbox")
    exchange_of(mine).origin = "https://acme.benchling.com"
    with pytest.raises(UnsafeRequest, match="over https only"):
        mine.session().get("http://acme.benchling.com/api/v2/plates")


def test_own_authorization(lab: Lab) -> None:
    """An Authorization header that the user sets is left alone."""
    login("benchling", tenant="sandbox")
    assert (
        session("benchling").get("plates", headers={"Authorization": "Bearer mine"}).status_code
        == 401
    )
    assert lab.token_requests("benchling") == 1


def test_answer_keeps_no_token(lab: Lab) -> None:
    """The request of a response holds no token, so printing or pickling the response gives none
    away."""
    mine = login("benchling", tenant="sandbox")
    answer = session("benchling").get("plates")
    assert "Authorization" not in answer.request.headers
    assert mine.token().access_token.encode() not in pickle.dumps(answer)


def test_timeouts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts are 10 s to connect and 60 s to read unless said otherwise; None is the user's own
    choice."""
    login("benchling", tenant="sandbox")
    held, seen = session("benchling"), []
    send = requests.adapters.HTTPAdapter.send

    def spy(
        self: object, request: requests.PreparedRequest, **options: object
    ) -> requests.Response:
        seen.append(options["timeout"])
        return send(self, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", spy)
    held.get("plates")
    held.get("plates", timeout=3)
    held.get("plates", timeout=None)
    held.send(held.prepare_request(requests.Request("GET", "plates")))
    next(held.pages("plates"))
    assert seen == [(10.0, 60.0), 3, None, (10.0, 60.0), (10.0, 60.0)]


def test_slow_answer(lab: Lab) -> None:
    """A read that takes too long is a message, and still a requests.Timeout."""
    login("benchling", tenant="sandbox")
    lab.next("benchling", "slow", seconds=0.6)
    with pytest.raises(
        requests.Timeout, match=r"Benchling did not respond: .* sent nothing in time"
    ):
        session("benchling").get("plates", timeout=0.1)


def test_truncated_body(lab: Lab) -> None:
    """A body that breaks off is asked for again; of a change it is a message, sent once."""
    login("dnanexus", tenant="sandbox")
    held = session("dnanexus")
    lab.next("dnanexus", "truncated", times=2, path="whoami")
    assert held.post("system/whoami", json={}).json()["id"]
    lab.next("dnanexus", "truncated", path="record/new")
    with pytest.raises(ProviderUnreachable, match="closed the connection"):
        held.post("record/new", json={})
    assert lab.count("dnanexus", "record/new") == 1


FAILURES = {
    "refused": "[Errno 111] Connection refused",
    "unreachable": "[Errno 101] Network is unreachable",
    "name": "NameResolutionError: Temporary failure in name resolution",
    "reset": "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
}


class Outage:
    """No request gets through until `lasts` seconds of the lab's clock have passed."""

    def __init__(self, lab: Lab, patch: pytest.MonkeyPatch, lasts: float, error: Exception) -> None:
        self.requests: list[requests.PreparedRequest] = []
        self.signatures: list[str | None] = []
        real, ends = requests.adapters.HTTPAdapter.send, lab.clock.time() + lasts

        def send(
            adapter: object,
            request: requests.PreparedRequest,
            **options: object,
        ) -> requests.Response:
            self.requests.append(request)
            self.signatures.append(request.headers.get("Authorization"))
            if lab.clock.time() < ends:
                raise error
            return real(adapter, request, **options)  # type: ignore[arg-type]

        patch.setattr(requests.adapters.HTTPAdapter, "send", send)


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"])
@pytest.mark.parametrize("failure", FAILURES)
def test_outage(lab: Lab, monkeypatch: pytest.MonkeyPatch, failure: str, verb: str) -> None:
    """GET and HEAD outlast a connection that is not made or breaks; a change is sent once."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    error = requests.ConnectionError(FAILURES[failure])
    outage = Outage(lab, monkeypatch, 20, error)
    if verb in ("GET", "HEAD"):
        assert held.request(verb, "plates").status_code == 200
        return
    with pytest.raises(ProviderUnreachable):
        held.request(verb, "plates", json={})
    assert len(outage.requests) == 1


def test_reading_post_outlasts_an_outage(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNAnexus walk outlasts a connection that is refused."""
    login("dnanexus", tenant="sandbox")
    held = session("dnanexus")
    Outage(lab, monkeypatch, 20, requests.ConnectionError("refused"))
    assert len(held.frame("system/findProjects")) == 230


@pytest.mark.parametrize("cause", [ssl.SSLEOFError, ssl.SSLZeroReturnError])
def test_handshake_cut_off(lab: Lab, monkeypatch: pytest.MonkeyPatch, cause: type[OSError]) -> None:
    """A connection that ends while TLS is agreed on is a broken one: the request is sent again."""
    login("benchling", tenant="sandbox")
    Outage(lab, monkeypatch, 20, requests.exceptions.SSLError(cause(8, "EOF occurred")))
    assert len(session("benchling").frame("plates")) == 120


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_token_outlasts_an_outage(lab: Lab, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Where the token has expired and cannot be renewed yet, any verb waits: nothing was sent."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    lab.advance("16m")
    Outage(lab, monkeypatch, 6, requests.ConnectionError("refused"))
    assert held.request(verb, "plates").status_code == (200 if verb == "GET" else 405)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError("certificate verify failed"),
        requests.exceptions.SSLError(ssl.SSLError(1, "WRONG_VERSION_NUMBER")),
        requests.ConnectionError(ReadTimeoutError(None, "/", "read timed out")),  # type: ignore[arg-type]
        requests.exceptions.ProxyError("Tunnel connection failed: 407"),
        requests.ReadTimeout("read timed out"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_wait(lab: Lab, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A bad certificate, a proxy that forbids and a read that takes too long are told at once."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    outage = Outage(lab, monkeypatch, 20, error)
    with pytest.raises(ProviderUnreachable):
        held.get("plates")
    assert len(outage.requests) == 1


@pytest.mark.parametrize(("patience", "lasts"), [("2h", 600), (30, 25), ("90s", 80)])
def test_patience(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patience: float | str,
    lasts: float,
) -> None:
    """A session is as patient as it is told to be, by the login's clock; one line says so."""
    mine = login("benchling", tenant="sandbox")
    held = mine.session()
    held.patience = patience
    outage = Outage(lab, monkeypatch, lasts, requests.ConnectionError("refused"))
    began, tokens = lab.clock.time(), lab.token_requests("benchling")
    assert held.get("plates").status_code == 200
    assert lasts <= lab.clock.time() - began < lasts + 10
    assert None not in outage.signatures
    assert lab.token_requests("benchling") == tokens
    said = capsys.readouterr()
    assert said.out == ""
    line = f"Trying again for up to {held.patience:.0f} s (lab.patience).\n"
    assert said.err == f"Benchling cannot be reached. {line}"


def test_wait_shows_no_secret(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line about a wait shows no secret, even one that was sent as a host's name."""
    secret = "kanari-client-secret-0001"
    lab.set("benchling", client_secret=secret)
    held = login("benchling", tenant="sandbox", client_secret=secret).session()
    Outage(lab, monkeypatch, 20, requests.ConnectionError("refused"))
    monkeypatch.setattr(held, "patience", 15)
    with pytest.raises(ProviderUnreachable) as caught:
        held.get(f"https://{secret}.invalid/")
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "kanari" not in f"{said} {caught.value!r} {vars(caught.value)}"


def test_end_of_patience(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After 60 s in all the error comes; a wait of seconds is silent; 0 waits for nothing."""
    login("benchling", tenant="sandbox")
    held, began = session("benchling"), lab.clock.time()
    outage = Outage(lab, monkeypatch, 1000, requests.ConnectionError(ConnectionRefusedError()))
    with pytest.raises(ProviderUnreachable, match="refused the connection"):
        held.get("plates")
    assert 50 < lab.clock.time() - began <= 61
    capsys.readouterr()
    for patience in (4, 0):
        held.patience = patience
        before = len(outage.requests)
        with pytest.raises(ProviderUnreachable):
            held.get("plates")
        assert len(outage.requests) - before == (4 if patience else 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("amount", ["soon", -1, "", True, "2 weeks", float("nan")])
def test_patience_refused(lab: Lab, amount: float | str) -> None:
    """What is not a length of time is refused, and the old patience stays."""
    held = login("benchling", tenant="sandbox").session()
    with pytest.raises(InvalidInput, match="is not a length of time"):
        held.patience = amount
    assert held.patience == 60


def test_spent_stream(lab: Lab) -> None:
    """A stream that was read is not sent again, empty: the response is handed through."""
    login("dnanexus", tenant="sandbox")
    held, before = session("dnanexus"), lab.count("dnanexus", "whoami")
    lab.next("dnanexus", 503, path="whoami")
    headers = {"Content-Type": "application/json"}
    body = iter([b"{}"])
    assert held.post("system/whoami", data=body, headers=headers).status_code == 503
    assert lab.count("dnanexus", "whoami") - before == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retries(lab: Lab, status: int) -> None:
    """GET is sent again on 429, 502, 503 and 504, five times in all, and then the response is
    handed through."""
    login("benchling", tenant="sandbox")
    held, before = session("benchling"), lab.count("benchling", "/plates")
    lab.next("benchling", status, times=4, path="/plates")
    assert held.get("plates").status_code == 200
    assert lab.count("benchling", "/plates") - before == 5
    lab.next("benchling", status, times=5, path="/plates")
    assert held.get("plates").status_code == status
    assert lab.count("benchling", "/plates") - before == 10


def test_head_retries(lab: Lab) -> None:
    """HEAD is sent again as GET is."""
    login("benchling", tenant="sandbox")
    lab.next("benchling", 503, path="/plates")
    assert session("benchling").head("plates").status_code == 200
    assert lab.count("benchling", "HEAD /api/v2/plates") == 2


@pytest.fixture
def naps(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits on the lab's clock, in seconds."""
    waited: list[float] = []
    monkeypatch.setattr(lab.clock, "sleep", waited.append)
    return waited


def test_growing_waits(
    lab: Lab,
    naps: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the provider names no wait, each is twice the one before; nothing is printed."""
    login("benchling", tenant="sandbox")
    lab.next("benchling", 503, times=5, path="/plates")
    assert session("benchling").get("plates").status_code == 503
    assert naps == [1, 2, 4, 8]
    assert capsys.readouterr().err == ""


def test_patience_counts_the_attempts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the attempts themselves take, 20 s each here, is a part of the patience."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    outage = Outage(lab, monkeypatch, 1000, requests.ConnectionError("refused"))
    ticks = count(0, 20)
    monkeypatch.setattr("labauth_nb.tokens.wire.time", SimpleNamespace(monotonic=ticks.__next__))
    with pytest.raises(ProviderUnreachable):
        held.get("plates")
    assert len(outage.requests) == 4


def test_patience_in_all(lab: Lab, naps: list[float]) -> None:
    """Patience is for all the waits of a request together, not for each."""
    login("benchling", tenant="sandbox")
    lab.next("benchling", 429, times=5, path="/plates", seconds=25)
    assert session("benchling").get("plates").status_code == 429
    assert naps == [25, 25]


@pytest.mark.parametrize(("status", "wait"), [(429, 40), (503, 1)])
def test_window_paces_429_only(lab: Lab, naps: list[float], status: int, wait: float) -> None:
    """The reset of a rate window is waited for on 429; a 503 has nothing to do with it."""
    bad = ({}, status, {"x-rate-limit-reset": "40"})
    held = listing(lab, "benchling", lambda number: bad if number == 1 else {"rows": []})
    assert held.get("/odd").status_code == 200
    assert naps == [wait]


@pytest.mark.parametrize("provider", ["benchling", "qbench"])
def test_pacing(lab: Lab, provider: str) -> None:
    """The wait is what the provider's own header says; more than 60 s in all is not waited, but
    handed through."""
    login(provider, tenant="sandbox")
    held = session(provider)
    path = "plates" if provider == "benchling" else "orders"
    began = lab.clock.time()
    lab.next(provider, 429, path=path, seconds=17)
    assert held.get(path).status_code == 200
    assert 17 <= lab.clock.time() - began < 18.5
    lab.next(provider, 429, path=path, seconds=61)
    refused = held.get(path)
    assert refused.status_code == 429
    with pytest.raises(ProviderError, match="wait 61 s") as caught:
        held.check(refused)
    assert caught.value.retry_after == 61


SYSTEM = ["system/findProjects", "system/whoami", "project-x/describe", "project-x/listFolder"]
SYSTEM += [
    "file-x/download",
    "record-x/getDetails",
    "app-x/1.0/get",
    "job-x/getLog",
    "system/greet",
]


@pytest.mark.parametrize("path", SYSTEM)
@pytest.mark.parametrize("status", [429, 503])
def test_reading_post(lab: Lab, path: str, status: int) -> None:
    """A DNAnexus POST that only reads is sent again, as a GET is elsewhere."""
    login("dnanexus", tenant="sandbox")
    before = lab.count("dnanexus", path)
    lab.next("dnanexus", status, path=path)
    assert session("dnanexus").post(path, json={}).status_code != status
    assert lab.count("dnanexus", path) - before == 2


def test_walk_reads(lab: Lab) -> None:
    """pages() and frame() ride out a 503 and a 429 on a path that no list of reading calls has."""
    app = lab.sites["dnanexus"].app
    app.post("/own/rows")(app.view_functions["find_projects"])
    login("dnanexus", tenant="sandbox")
    lab.next("dnanexus", 503, path="own/rows")
    lab.next("dnanexus", 429, path="own/rows")
    assert len(session("dnanexus").frame("own/rows", json={"limit": 100})) == 230


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("provider", ["qbench", "dnanexus"])
def test_change_is_not_repeated(lab: Lab, provider: str, status: int, verb: str) -> None:
    """POST, PUT, PATCH and DELETE are not sent again on 502 to 504: they may have been done."""
    login(provider, tenant="sandbox")
    lab.next(provider, status, path="record/new")
    assert session(provider).request(verb, "record/new", json={}).status_code == status
    assert lab.count(provider, "record/new") == 1


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(("provider", "sent"), [("qbench", 2), ("foundry", 1), ("dnanexus", 1)])
def test_refused_before_work(lab: Lab, provider: str, sent: int, verb: str) -> None:
    """On 429 a change is sent again where the provider documents that it did no work: QBench."""
    login(provider, tenant="sandbox")
    lab.next(provider, 429, path="record/new")
    session(provider).request(verb, "record/new", json={})
    assert lab.count(provider, "record/new") == sent


def test_reading_post_elsewhere(lab: Lab) -> None:
    """What DNAnexus' paths mean holds at DNAnexus only: a POST to another host goes once."""
    login("dnanexus", tenant="sandbox")
    lab.next("qbench", 503, path="describe")
    away = lab.origin("qbench") + "/x/describe"
    assert session("dnanexus").post(away, json={}).status_code == 503


def test_permission_denied(lab: Lab) -> None:
    """DNAnexus' PermissionDenied is a 401 that renews nothing and is sent once; the hint says what
    it means."""
    from labauth_nb.sandbox.dnanexus import LOCKED

    login("dnanexus", "password", tenant="sandbox")
    held, before = session("dnanexus"), lab.token_requests("dnanexus")
    answer = held.post(f"{LOCKED}/describe", json={})
    assert (answer.status_code, lab.count("dnanexus", LOCKED)) == (401, 1)
    assert lab.token_requests("dnanexus") == before
    with pytest.raises(
        ProviderError, match=r"DNAnexus responded with 401 PermissionDenied .*Your sign-in is fine"
    ):
        held.check(answer)


@pytest.mark.parametrize("status", [400, 401])
def test_qbench_dead_token(lab: Lab, status: int) -> None:
    """QBench may call a token dead by 400 or by 401: both renew, and the request is
    sent once more."""
    lab.set("qbench", dead_status=status)
    login("qbench", tenant="sandbox")
    lab.revoke("qbench")
    assert session("qbench").get("orders").status_code == 200


def test_body_sent_again(lab: Lab) -> None:
    """After a renewal a body that can be wound back is sent again, whole; one that cannot raises,
    and says so."""
    login("dnanexus", "password", tenant="sandbox")
    held, headers = session("dnanexus"), {"Content-Type": "application/json"}
    lab.revoke("dnanexus")
    answer = held.post("system/findProjects", data=io.BytesIO(b'{"limit": 7}'), headers=headers)
    assert len(answer.json()["results"]) == 7
    lab.revoke("dnanexus")
    with pytest.raises(ProviderError, match=r"cannot be sent twice .*run the request again"):
        held.post(
            "system/findProjects", data=(part for part in [b'{"limit"', b": 7}"]), headers=headers
        )
    assert held.post("system/findProjects", json={"limit": 7}).status_code == 200


def test_no_access_is_not_a_storm(lab: Lab) -> None:
    """Where the provider goes on saying 401, a session renews once, not at every request."""
    login("benchling", tenant="sandbox")
    held, before = session("benchling"), lab.token_requests("benchling")
    lab.archive()
    lab.archive(False)
    lab.sites["benchling"].good = lambda token: None  # type: ignore[method-assign, assignment]
    assert [held.get("plates").status_code for _ in range(10)] == [401] * 10
    assert lab.token_requests("benchling") - before == 1


LISTS = [
    ("benchling", "plates", None, 50, 120),
    ("qbench", "orders", None, 20, 150),
    ("foundry", "ontologies/lab/objects/Sample", None, 50, 130),
    ("dnanexus", "system/findProjects", {"limit": 100}, 100, 230),
]


@pytest.mark.parametrize(("provider", "path", "json", "size", "total"), LISTS)
def test_pages(
    lab: Lab, provider: str, path: str, json: dict[str, int] | None, size: int, total: int
) -> None:
    """pages() walks each provider's paging to its end, lazily, each record once; frame() gives them
    as a DataFrame."""
    login(provider, tenant="sandbox")
    held, before = session(provider), lab.count(provider, path)
    pages = held.pages(path, json=json)
    assert len(next(pages)) == size
    assert lab.count(provider, path) - before == 1
    frame = held.frame(path, json=json)
    assert len(frame) == total
    assert frame.iloc[:, 0].is_unique or frame["id"].is_unique
    assert len(held.frame(path, json=json, limit=3)) == 3


@pytest.mark.parametrize(("provider", "path", "json", "size", "total"), LISTS)
def test_what_a_walk_is_given(
    lab: Lab,
    provider: str,
    path: str,
    json: dict[str, int] | None,
    size: int,
    total: int,
) -> None:
    """A walk leaves params and json as they are: the next one begins at the beginning."""
    login(provider, tenant="sandbox")
    params, body = {"x": "1"}, json and dict(json)
    session(provider).frame(path, params=params, json=body)
    assert (params, body) == ({"x": "1"}, json)


@pytest.mark.parametrize(
    "params",
    [
        [("a", "1"), ("b", "x y"), ("a", ["2", "3"])],
        {"a": ["1", "2", "3"], "b": "x y"},
        "a=1&a=2&a=3&b=x+y",
    ],
    ids=["pairs", "dict", "text"],
)
@pytest.mark.parametrize("verb", ["pages", "frame"])
def test_params_of_a_walk(lab: Lab, params: Any, verb: str) -> None:
    """A walk takes params= as requests does, a name given twice too, on each of its pages."""
    flask = pytest.importorskip("flask")
    seen = []

    def page(number: int) -> object:
        seen.append(flask.request.args.to_dict(flat=False))
        return {"rows": [{"id": number}], "nextToken": "n" if number < 2 else ""}

    list(getattr(listing(lab, "benchling", page), verb)("/odd", params=params))
    given = {"a": ["1", "2", "3"], "b": ["x y"]}
    assert seen == [given, given | {"nextToken": ["n"]}]


@pytest.mark.parametrize("params", [5, ["abc"], [1], [("a",)], b"\xff", [([], "1")], object()])
@pytest.mark.parametrize("verb", ["pages", "frame"])
def test_params_of_no_shape(lab: Lab, params: Any, verb: str) -> None:
    """params= that is no query is refused in a message, before anything is sent."""
    login("benchling", tenant="sandbox")
    before = lab.count("benchling")
    with pytest.raises(InvalidInput, match=r"^params= takes a dict, a list of"):
        getattr(session("benchling"), verb)("plates", params=params)
    assert lab.count("benchling") == before


def test_json_of_no_shape(lab: Lab) -> None:
    """json= of a walk that is no object is refused in a message."""
    login("dnanexus", tenant="sandbox")
    with pytest.raises(InvalidInput, match="json= of a walk takes a dict"):
        session("dnanexus").pages("system/findProjects", json=[1])  # type: ignore[arg-type]


def test_limit_ends_the_walk(lab: Lab) -> None:
    """frame(limit=) asks for no page that it does not need."""
    login("benchling", tenant="sandbox")
    assert len(session("benchling").frame("plates", limit=50)) == 50
    assert lab.count("benchling", "/plates") == 1


def test_stream(lab: Lab) -> None:
    """A response that is to be streamed is handed over unread."""
    login("benchling", tenant="sandbox")
    with session("benchling").get("plates", stream=True) as response:
        assert len(response.raw.read()) > 1000


def breaking(held: LabSession, error: BaseException) -> None:
    """Have the third response of `held` raise `error`, once."""
    left = [error, None, None]

    def hook(response: requests.Response, **_: object) -> None:
        if left and (raised := left.pop()) is not None:
            raise raised

    held.hooks["response"].append(hook)


@pytest.mark.parametrize("error", [ProviderError, ProviderUnreachable, KeyboardInterrupt])
@pytest.mark.parametrize("verb", ["pages", "frame"])
@pytest.mark.parametrize(("provider", "path", "json", "size", "total"), LISTS)
def test_broken_walk(
    lab: Lab,
    provider: str,
    path: str,
    json: dict[str, int] | None,
    size: int,
    total: int,
    verb: str,
    error: type[BaseException],
) -> None:
    """Whatever ends a walk carries what was read, and the page to go on at, by cursor or number."""
    login(provider, tenant="sandbox")
    held = session(provider)
    breaking(held, error("x"))
    with pytest.raises(error) as caught:
        list(getattr(held, verb)(path, json=json))
    assert len(caught.value.records) == 2 * size
    rest = held.frame(path, json=json, cursor=caught.value.cursor)
    assert len(rest) == total - 2 * size
    rows = list(caught.value.records)
    for page in held.pages(path, json=json, cursor=caught.value.cursor):
        rows += page
    assert len({str(row) for row in rows}) == total


def test_frame_without_threads(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Where no thread can be started, a frame comes without a warning of the progress bar's."""

    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tqdm._monitor.TMonitor.start", refuse)
    monkeypatch.setattr("tqdm.std.tqdm.monitor", None)
    login("benchling", tenant="sandbox")
    assert len(session("benchling").frame("plates", limit=3)) == 3
    assert [str(each.message) for each in recwarn if "tqdm" in str(each.message)] == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize(("provider", "path", "json", "size", "total"), LISTS)
def test_frame_interrupted_between_pages(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    path: str,
    json: dict[str, int] | None,
    size: int,
    total: int,
    end: type[BaseException],
) -> None:
    """An interrupt while the progress bar is drawn loses no page, and the cursor goes
    on behind it."""
    login(provider, tenant="sandbox")
    held, left = session(provider), [end, None]

    def update(bar: object, count: int) -> None:
        if left and (raised := left.pop()) is not None:
            raise raised

    monkeypatch.setattr("tqdm.auto.tqdm.update", update)
    with pytest.raises(end) as caught:
        held.frame(path, json=json)
    assert len(caught.value.records) == 2 * size
    rest = held.frame(path, json=json, cursor=caught.value.cursor)
    assert len(rest) == total - 2 * size


def test_frame_that_fails_keeps_records(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rows make no DataFrame, they are in error.records."""
    login("benchling", tenant="sandbox")
    monkeypatch.setattr("pandas.json_normalize", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        session("benchling").frame("plates")
    assert len(caught.value.records) == 120


def test_walk_that_never_began(lab: Lab) -> None:
    """The error of a first page carries no record, and begins at the beginning."""
    login("qbench", tenant="sandbox")
    held = session("qbench")
    with pytest.raises(ProviderError) as caught:
        next(held.pages("nonsense"))
    assert (caught.value.records, caught.value.cursor) == ([], None)
    assert len(held.frame("orders", cursor=caught.value.cursor)) == 150


@pytest.mark.parametrize("provider", ["benchling", "qbench", "foundry"])
@pytest.mark.parametrize("verb", ["pages", "frame"])
def test_json_by_get(lab: Lab, provider: str, verb: str) -> None:
    """json= for a list that is read by GET is refused, and not dropped."""
    login(provider, tenant="sandbox")
    with pytest.raises(InvalidInput, match="takes no json=: give params= instead"):
        getattr(session(provider), verb)("plates", json={"limit": 1})


def listing(lab: Lab, provider: str, page: Callable[[int], object]) -> LabSession:
    """A session whose list is `page(1)`, `page(2)`, ..., whatever is asked for, 500 in all."""
    numbers = count(1)

    def bounded() -> object:
        number = next(numbers)
        return page(number) if number <= 500 else ({}, 410)

    lab.sites[provider].app.get("/odd")(bounded)
    login(provider, tenant="sandbox")
    return session(provider)


@pytest.mark.parametrize("total", [None, 10**9, "many", -1, 0, [], 1e300, True])
def test_ignored_page_number(lab: Lab, total: object) -> None:
    """A walk ends where the page number is ignored, whatever the total says, and says so."""
    body = {"data": [{"id": 1}], "total_pages": total, "total_count": total}
    held = listing(lab, "qbench", lambda _: body)
    if total is True:  # 1, and so the last
        assert len(held.frame("/odd")) == 1
        return
    with pytest.raises(ProviderError, match="QBench sent the same page twice, so") as caught:
        held.frame("/odd")
    assert caught.value.records == [{"id": 1}]


@pytest.mark.parametrize("cursor", ["abc", 0, 2.5, [], "9" * 400])
def test_cursor_that_is_no_number(lab: Lab, cursor: object) -> None:
    """Where pages have numbers, a cursor that is none is refused in a message, unsent."""
    held = listing(lab, "qbench", lambda _: {"data": []})
    before = lab.count("qbench", "/odd")
    with pytest.raises(InvalidInput, match=r"is not the number of a page: QBench .*error\.cursor"):
        list(held.pages("/odd", cursor=cursor))
    assert lab.count("qbench", "/odd") == before
    assert list(held.pages("/odd", cursor="3")) == [[]]


@pytest.mark.parametrize("total", ["many", -1, 0, {}, 1e300, None])
def test_odd_totals(lab: Lab, total: object) -> None:
    """A total that is not one is unknown: the walk goes on to an empty page."""

    def page(number: int) -> object:
        rows = [{"id": number}] if number < 4 else []
        return {"data": rows, "total_pages": total, "total_count": total}

    assert list(listing(lab, "qbench", page).frame("/odd")["id"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            lambda number: [{"id": 1}],
            "sent 101 pages in a row that it had sent before, .* after 101",
        ),
        (lambda number: [{"id": number % 3}], "101 pages in a row .* ended after 103 records"),
        (lambda number: [], "sent 101 empty pages in a row, so the walk was ended after 0 records"),
    ],
    ids=["same", "round", "empty"],
)
def test_ever_new_cursors(lab: Lab, rows: Callable[[int], list[object]], said: str) -> None:
    """Cursors that are new for ever end after many pages in a row that were there before."""
    held = listing(lab, "benchling", lambda n: {"rows": rows(n), "nextToken": f"t{n}"})
    with pytest.raises(ProviderError, match=said):
        held.frame("/odd")


DONE = {"status": "DONE"}


@pytest.mark.parametrize("size", [1, 2])
def test_equal_pages_by_cursor(lab: Lab, size: int) -> None:
    """Pages whose rows are equal, as with returning=plates.status, do not end a walk
    that moves on."""
    rows = [DONE] * size
    held = listing(
        lab, "benchling", lambda n: {"plates": rows, "nextToken": f"n{n}" if n < 5 else ""}
    )
    assert len(held.frame("/odd")) == 5 * size


@pytest.mark.parametrize(
    ("size", "echo"), [(2, "page_num"), (1, "page_num"), (1, "page_number"), (2, "")]
)
def test_equal_pages_by_number(lab: Lab, size: int, echo: str) -> None:
    """Equal pages are walked to their last where the server says the number, or the rows of one are
    equal."""
    totals = {"total_pages": 4, "total_count": 4 * size}
    held = listing(lab, "qbench", lambda n: {"data": [DONE] * size, echo: n} | totals)
    assert len(held.frame("/odd")) == 4 * size


@pytest.mark.parametrize("total", [None, 10**9])
def test_equal_pages_without_end(lab: Lab, total: int | None) -> None:
    """A number that is said back, and pages that are equal for ever, end too."""
    held = listing(
        lab, "qbench", lambda n: {"data": [DONE], "page_number": n, "total_pages": total}
    )
    with pytest.raises(ProviderError, match="QBench sent 101 pages in a row that it had") as caught:
        held.frame("/odd")
    assert len(caught.value.records) == 101
    assert caught.value.cursor == 102


def test_ignored_page_number_that_is_said(lab: Lab) -> None:
    """A server that always says and sends its first page ends the walk at once, whatever its
    totals."""
    first = {"data": [{"id": 1}], "page_number": 1, "total_pages": 3, "total_count": 3}
    with pytest.raises(ProviderError, match="the same page twice, so the walk was ended after 1"):
        listing(lab, "qbench", lambda _: first).frame("/odd")


def test_same_cursor(lab: Lab) -> None:
    """The same cursor for ever ends the walk, though each page is new."""
    held = listing(lab, "benchling", lambda n: {"rows": [{"id": n}], "nextToken": n < 9 and "t"})
    with pytest.raises(ProviderError, match="the same page twice") as caught:
        held.frame("/odd")
    assert caught.value.records == [{"id": 1}, {"id": 2}]


def test_empty_page_amid(lab: Lab) -> None:
    """Pages that a filter left empty do not end a walk."""
    held = listing(
        lab,
        "foundry",
        lambda n: {"data": [{"n": n}] if n in (1, 50) else [], "nextPageToken": n < 50 and f"t{n}"},
    )
    assert list(held.frame("/odd")["n"]) == [1, 50]


@pytest.mark.parametrize("rows", [[1, 2], ["a"], [{"id": 1}, None], [[1]]])
@pytest.mark.parametrize("verb", ["pages", "frame"])
def test_rows_that_are_not_records(lab: Lab, rows: list[object], verb: str) -> None:
    """Rows that are not objects raise a message, also in frame()."""
    held = listing(lab, "qbench", lambda _: {"data": rows})
    with pytest.raises(ProviderError, match="QBench sent rows that are not records"):
        list(getattr(held, verb)("/odd"))


def test_not_a_list(lab: Lab) -> None:
    """pages() of a single item, of a refused path and of a web page each raise a message."""
    login("benchling", tenant="sandbox")
    held = session("benchling")
    with pytest.raises(ProviderError, match=r"is not a list in pages. Use lab.get\(path\)"):
        next(held.pages("plates/plt_sandbox001"))
    with pytest.raises(ProviderError, match="Benchling responded with 404 invalid_request_error"):
        next(held.pages("nonsense"))
    lab.next("benchling", "html", times=9)
    with pytest.raises(ProviderError, match="a web page instead of JSON"):
        next(held.pages("plates"))


def test_empty_frame(lab: Lab) -> None:
    """An empty list is an empty DataFrame, not an error."""
    lab.set("benchling", member=False)
    login("benchling", tenant="sandbox")
    assert session("benchling").frame("plates").empty


def test_check(lab: Lab) -> None:
    """check() hands a good answer on and raises for a bad one; as a hook it does so for every
    answer, renewal first."""
    login("foundry", tenant="sandbox")
    held = session("foundry")
    good = held.get("ontologies")
    assert held.check(good) is good
    held.hooks["response"].append(held.check)
    lab.revoke("foundry")
    assert held.get("ontologies").status_code == 200
    with pytest.raises(requests.HTTPError, match="api:datasets-read") as caught:
        held.get("datasets/ri.1")
    error = caught.value
    assert isinstance(error, ProviderError)
    assert (error.status, error.code, error.response.status_code) == (403, "ApiUsageDenied", 403)


def test_no_cookie_in_an_error(lab: Lab) -> None:
    """A session's cookies are secrets, too: no error holds one, sent or received."""
    bad = {"error": "no"}, 500, {"Set-Cookie": "sid=kanari-set; Path=/"}
    held = listing(lab, "benchling", lambda _: bad)
    held.cookies.set("mine", "kanari-sent")
    held.get("/odd")
    with pytest.raises(ProviderError) as caught:
        held.check(held.get("/odd"))
    response = caught.value.response
    shown = repr([vars(response), vars(response.request), response.cookies.items()])
    assert "kanari" not in shown
    assert b"kanari" not in pickle.dumps(caught.value)


def test_expired_pasted_token(lab: Lab) -> None:
    """A pasted token that has expired raises before sending, with the command to type; signing in
    again revives the session."""
    login("foundry", "token", tenant="sandbox")
    held = session("foundry")
    lab.advance("9h")
    before = lab.count("foundry")
    with pytest.raises(
        LoginExpired, match="%labauth login foundry --tenant sandbox --method token"
    ):
        held.get("ontologies")
    assert lab.count("foundry") == before
    login("foundry", "token", tenant="sandbox")
    assert held.get("datasets/x").status_code == 404


def test_pickle(lab: Lab) -> None:
    """A pickled session holds no secret; with its login there it works at once."""
    mine = login("benchling", tenant="sandbox", client_secret="sandbox-benchling-client-secret")
    data = pickle.dumps(session("benchling"))
    assert not any(secret.encode() in data for secret in mine.secrets())
    assert pickle.loads(data).get("plates").status_code == 200
    assert lab.token_requests("benchling") == 1


def equip(given: dict[str, str]) -> None:
    """Give a pool's process its own environment (the fork server keeps the first one it saw)."""
    os.environ.update(given)


def worker(held: LabSession) -> tuple[str, int, int]:
    """What a pool's process makes of a session: what it shows, a status, and how many logins."""
    shown, again = repr(held), pickle.loads(pickle.dumps(held))
    return shown, held.get("plates").status_code + again.get("plates").status_code, len(_LOGINS)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_session_in_a_pool(lab: Lab, start: str) -> None:
    """In another process a session signs in at its first request, by what that process has."""
    held = login("benchling", tenant="sandbox").session()
    fields = lab.credentials("benchling", "app")
    given = {f"BENCHLING_{name.upper()}": value for name, value in fields.items()}
    before = lab.token_requests("benchling")
    with multiprocessing.get_context(start).Pool(1, equip, (given,)) as pool:
        shown, statuses, logins = pool.apply_async(worker, (held,)).get(timeout=60)
    assert (statuses, logins) == (400, 1)
    assert shown == f"<LabSession of benchling: Benchling {held.login.origin}>"
    assert lab.token_requests("benchling") - before == 1


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_session_in_a_pool_without_credentials(lab: Lab, start: str) -> None:
    """Where that process has nothing, the first request says so, and the pool lives on."""
    held = login("benchling", tenant="sandbox").session()
    with multiprocessing.get_context(start).Pool(1) as pool:
        for _ in range(2):
            with pytest.raises(NotSignedIn) as caught:
                pool.apply_async(worker, (held,)).get(timeout=60)
        number = pool.apply_async(os.getpid).get(timeout=60)
    said = str(caught.value)
    assert said.startswith(f"The session benchling for {held.login.origin} came here, ")
    assert f"to process {number} (" in said
    assert f"on {socket.gethostname()}, without a secret." in said
    assert "Set BENCHLING_CLIENT_ID" in said


@pytest.mark.slow
def test_session_in_a_pool_with_a_bad_patience(lab: Lab) -> None:
    """A bad LABAUTH_PATIENCE is told by the first request there, and hangs no pool."""
    held = login("benchling", tenant="sandbox").session()
    bad = {"LABAUTH_PATIENCE": "2 hours"}
    with multiprocessing.get_context("spawn").Pool(2, equip, (bad,)) as pool:
        for asked in [pool.apply_async(worker, (held,)) for _ in range(2)]:
            with pytest.raises(InvalidInput, match=r"^LABAUTH_PATIENCE: .* is not a length"):
                asked.get(timeout=30)


def test_bad_patience_sends_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LABAUTH_PATIENCE turns bad, a session without a patience of its own says so, unsent."""
    held = login("benchling", tenant="sandbox").session()
    before = lab.count("benchling")
    monkeypatch.setenv("LABAUTH_PATIENCE", "2 hours")
    with pytest.raises(InvalidInput, match="LABAUTH_PATIENCE"):
        held.get("plates")
    assert lab.count("benchling") == before
    held.patience = "2h"
    assert held.get("plates").status_code == 200


def test_what_a_pickle_keeps(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience, tries and verify go along; a patience that was not set is the other process's."""
    held = login("benchling", tenant="sandbox").session()
    unset = pickle.dumps(held)
    held.patience, held.tries, held.verify = "2h", 2, "/some/authority.pem"
    held.headers["X-Key"] = "kanari"
    data = pickle.dumps(held)
    assert b"kanari" not in data
    monkeypatch.setenv("LABAUTH_PATIENCE", "15m")
    restored = pickle.loads(data)
    assert (restored.patience, restored.tries, restored.verify) == (7200, 2, held.verify)
    assert pickle.loads(unset).patience == 900
    held.verify = Path("/some/authority.pem")  # type: ignore[assignment]
    assert pickle.loads(pickle.dumps(held)).verify is True


@pytest.mark.parametrize(("provider", "method"), [("benchlinx", "app"), ("benchling", "apx")])
def test_restored_from_another_version(lab: Lab, provider: str, method: str) -> None:
    """A provider or method that is not known here is told by the first request, not on loading."""
    origin = login("benchling", tenant="sandbox").origin
    _LOGINS.clear()
    restored = pickle.loads(
        pickle.dumps(restored_session(signed_in_here, "mine", origin, provider, method))
    )
    assert repr(restored).startswith("<LabSession of mine: ")
    for ask in (restored.get, restored.frame):
        with pytest.raises(
            NotSignedIn, match=r"The session mine for .* There is no .* Choose one of"
        ):
            ask("plates")


@pytest.mark.parametrize("provider", ["foundry", "dnanexus", "benchling"])
def test_restored_browser_session(lab: Lab, provider: str) -> None:
    """A session whose login needs a person is restored too; its first request asks nobody."""
    held = login(provider, tenant="sandbox").session()
    method = next(m.name for m in held.login.provider.methods if m.flow)
    where = (provider, held.login.origin, provider, method)
    _LOGINS.clear()
    restored = restored_session(signed_in_here, *where)
    with pytest.raises(NotSignedIn, match="without a secret"):
        restored.get("plates")
    assert _LOGINS == {}


def test_restored_beside_another(lab: Lab) -> None:
    """A login of that name for another address is not used."""
    held = login("benchling", tenant="sandbox", name="lims").session()
    data = pickle.dumps(held)
    login("qbench", tenant="sandbox", name="lims")
    restored = pickle.loads(data)
    with pytest.raises(NotSignedIn, match="That name is for sandbox here: sign in with"):
        restored.get("plates")


def test_session_without_login() -> None:
    """A session asked for without a login raises, with the command to type; a wrong name lists the
    right ones."""
    with pytest.raises(NotSignedIn, match="Type %labauth login qbench"):
        session("qbench")
    with pytest.raises(NotSignedIn, match="Did you mean benchling"):
        session("benchlin")


def redirect(lab: Lab, path: str, to: str) -> None:
    """From now on Benchling's `path` redirects to the address `to`."""
    lab.sites["benchling"].app.get(path)(lambda: ("", 302, {"Location": to}))


def unsigned(response: requests.Response, **_: object) -> None:
    assert "Authorization" not in response.request.headers


def test_auth_on_plain_requests(lab: Lab) -> None:
    """session.auth also signs a plain requests call and its redirects; no response keeps it."""
    redirect(lab, "/here", "/api/v2/plates")
    mine = login("benchling", tenant="sandbox")
    held, hooks = mine.session(), {"response": unsigned}
    back = requests.get(held.url("/here"), auth=held.auth, timeout=10, hooks=hooks)
    assert (back.status_code, len(back.history)) == (200, 1)
    for hop in (back, *back.history):
        unsigned(hop)
        assert hop.request.hooks == {"response": [unsigned]}
        assert mine.token().access_token.encode() not in pickle.dumps(hop)


def test_auth_on_plain_redirect_away(lab: Lab, echo: Echo) -> None:
    """A plain requests call that is redirected to another origin arrives without the token."""
    redirect(lab, "/away", f"{echo.url}/x")
    held = login("benchling", tenant="sandbox").session()
    away = requests.get(held.url("/away"), auth=held.auth, timeout=10)
    assert away.status_code == 200
    assert "Authorization" not in echo.seen[0]
    for hop in (away, *away.history):
        unsigned(hop)


def test_plain_redirect_refused(lab: Lab) -> None:
    """The error of a redirect without an end holds no token either."""
    redirect(lab, "/round", "/round")
    mine = login("benchling", tenant="sandbox")
    with pytest.raises(requests.TooManyRedirects) as caught:
        requests.get(mine.session().url("/round"), auth=mine.session().auth, timeout=10)
    assert caught.value.request is not None
    assert mine.token().access_token.encode() not in pickle.dumps(caught.value.response)
    assert "Authorization" not in caught.value.request.headers


Patch = pytest.MonkeyPatch
PROXIES = ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy")


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("direct", ["", "no_proxy", "NO_PROXY"])
def test_no_proxy(lab: Lab, echo: Echo, monkeypatch: Patch, name: str, direct: str) -> None:
    """A plain requests call to this computer goes past the environment's proxy; others use it."""
    variables = ("no_proxy", "NO_PROXY")
    for each in (*PROXIES, "HTTPS_PROXY", "https_proxy", *variables, "REQUEST_METHOD"):
        monkeypatch.setenv(each, "x")  # so that what is set below is put back as well
        monkeypatch.delenv(each)
    held = login("benchling", tenant="sandbox").session()
    monkeypatch.setenv("HTTPS_PROXY", echo.url)
    if direct:
        monkeypatch.setenv(direct, "lab.example")
    requests.get(held.url("plates"), auth=held.auth, timeout=10)
    monkeypatch.setenv(name, echo.url)
    assert held.get("plates").status_code == 200
    kept = {each: os.environ[each] for each in variables if each in os.environ}
    assert kept == ({direct: "lab.example"} if direct else {})  # neither has a need of it
    for _ in range(2):
        assert requests.get(held.url("plates"), auth=held.auth, timeout=10).status_code == 200
    assert echo.seen == []
    assert os.environ[direct or "NO_PROXY"] == ("lab.example," if direct else "") + "127.0.0.1"
    assert get_environ_proxies("http://acme.example", None)
