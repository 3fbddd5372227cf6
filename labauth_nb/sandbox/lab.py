"""`Lab`: the sandbox's clock, counters, levers and servers; `Site`: what every provider's server shares."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import jwt
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from ..clocks import seconds_in
from .levers import Fault
from .sites import KEY, Grant, Issued, Shared


@dataclass
class OldSite:
    """One provider's server: its Flask app, the tokens it issued, and its state.

    `error(status, code, message)` builds an error answer in the provider's shape; `limit_headers` and `limit_answer` are
    given the limit, the requests counted against it, and the seconds until it starts again. `at_once`: how many requests
    of one user may be under way (0: any number); `at_once_answer` builds the 429 response to one more. `person`: what its
    user types on its pages; `choices`: the values that a flag may have, where they are few; `keys`: what it signs ID tokens
    with, by kid.
    """

    name: str
    lab: Lab
    error: Callable[..., Response]
    not_found: Callable[[], Response]
    limit: tuple[int, float] = (10_000, 60.0)
    at_once: int = 0
    tokens: dict[str, Issued] = field(default_factory=dict)
    refresh_tokens: dict[str, Issued] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, list[float]] = field(default_factory=dict)
    limit_answer: Callable[[int, int, float], Response] | None = None
    limit_headers: Callable[[int, int, float], dict[str, str]] | None = None
    at_once_answer: Callable[[int], Response] | None = None
    active: Counter[str] = field(default_factory=Counter)
    person: Callable[[], dict[str, str]] = dict
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        here = str(Path(__file__).parent)  # else Flask looks for a folder, and the one that this process is in may be gone
        self.app = Flask(f"labauth_nb.sandbox.{self.name}", static_folder=None, root_path=here, instance_path=here)
        self.app.json.sort_keys = False  # type: ignore[attr-defined]
        # A path with // is an unknown path, not a redirect. Werkzeug before 3.0.2 takes this only when the map is made.
        self.app.url_map = Map(merge_slashes=False)
        self.app.before_request(self._before)
        self.app.after_request(self._after)
        self.app.teardown_request(self._done)
        self.app.register_error_handler(HTTPException, self._http_error)
        self.app.register_error_handler(Exception, self._crash)

    def set(self, flags: dict[str, Any]) -> None:
        """See `Lab.set`."""
        known, choices = self.flags, self.choices
        for name, value in flags.items():
            if name not in known or name == "credentials":
                raise ValueError(f"{self.name} has no state {name!r}: {', '.join(n for n in known if n != 'credentials')}.")
            if name in choices and value not in choices[name]:
                raise ValueError(f"{name} is one of {', '.join(map(repr, choices[name]))}.")
            known[name] = value

    def credentials(self, method: str) -> dict[str, str]:
        """See `Lab.credentials`."""
        fields: dict[str, str] = self.flags["credentials"](method)
        return fields

    @property
    def now(self) -> float:
        """The server's time, which a lever can set off from the clock."""
        return self.lab.clock.time() + self.lab.skew_seconds

    def issue(
        self,
        subject: str,
        life: float,
        scopes: frozenset[str] = frozenset(),
        family: str = "",
        token: str = "",
        client_id: str = "",
    ) -> str:
        """A new access token, good for `life` seconds. `client_id`: the client that it was given to, if that matters."""
        token = token or str(uuid.uuid4())
        with self.lab.lock:
            self.tokens[token] = Issued(Grant(subject, scopes, family, client_id), self.now + life)
        return token

    def issue_jwt(
        self, subject: str, life: float, scopes: frozenset[str] = frozenset(), family: str = "", client_id: str = ""
    ) -> str:
        """A new access token that is a JWT (its exp says when it ends)."""
        now = self.now
        body = {"sub": subject, "iat": int(now), "exp": int(now + life), "jti": str(uuid.uuid4())}
        return self.issue(subject, life, scopes, family, jwt.encode(body, KEY, algorithm="HS256"), client_id)

    def end(self, family: str) -> None:
        """Revoke every token of `family`: those that came from one sign-in."""
        with self.lab.lock:
            for issued in (*self.refresh_tokens.values(), *self.tokens.values()):
                issued.dead = issued.dead or issued.grant.family == family

    def good(self, token: str | None) -> Issued | None:
        """What was issued as `token`, if it is good now."""
        issued = self.tokens.get(token or "")
        return None if issued is None or issued.dead or self.now >= issued.expires_at else issued

    def bearer(self) -> str | None:
        """The bearer token of this request (None: the header is missing or of another scheme)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def basic(self) -> tuple[str, str] | None:
        """(user name, password) of this request's Basic header."""
        try:
            sent = request.authorization
        except ValueError:  # werkzeug on a header that is not ASCII
            return None
        return (sent.username or "", sent.password or "") if sent is not None and sent.type == "basic" else None

    def client(self) -> tuple[str, str] | None:
        """(client_id, client_secret) by Basic or in the body; a public client's secret is "".

        None: no client, two ways at once, or two client_ids (RFC 6749 2.3). What has no value counts as omitted (3.2).
        """
        client_id, secret = (request.form.get(name, "") for name in ("client_id", "client_secret"))
        if "Authorization" not in request.headers:
            return (client_id, secret) if client_id else None
        basic = self.basic()
        return None if basic is None or secret or client_id not in ("", basic[0]) else basic

    def spent(self, who: str, limit: tuple[int, float] | None = None) -> Response | None:
        """Count a request of `who` against the rate limit; the 429 answer when it is over."""
        most, seconds = limit or self.limit
        with self.lab.lock:
            window = self.windows.setdefault(who, [self.now, 0])
            if not 0 <= self.now - window[0] < seconds:
                window[:] = [self.now, 0]
            window[1] += 1
            used, reset = int(window[1]), max(window[0] + seconds - self.now, 0.0)
        if used > most:
            return self.too_many(most, used, reset)
        if self.limit_headers is not None:
            g.limit_headers = self.limit_headers(most, used, reset)
        return None

    def too_many(self, most: int, used: int, reset: float) -> Response:
        """The 429 answer: go on in `reset` seconds."""
        if self.limit_headers is not None:
            g.limit_headers = self.limit_headers(most, used, reset)
        return self.limit_answer(most, used, reset) if self.limit_answer else self.error(429, "", "Too many requests")

    def _crowded(self) -> Response | None:
        """Count this request among those that its user has under way; the 429 response to one too many."""
        issued = self.good(self.bearer()) if self.at_once else None
        if issued is None:
            return None
        with self.lab.lock:
            if self.active[issued.grant.subject] < self.at_once:
                self.active[issued.grant.subject] += 1
                g.active = issued.grant.subject
                return None
        return self.at_once_answer(self.at_once) if self.at_once_answer else self.error(429, "", "Too many requests at once")

    def _done(self, error: BaseException | None) -> None:
        if (who := g.pop("active", None)) is not None:
            with self.lab.lock:
                self.active[who] -= 1

    def _before(self) -> Response | None:
        with self.lab.lock:
            self.lab.counts[self.name, f"{request.method} {request.path}"] += 1
        if (no := self._crowded()) is not None:
            return no
        with self.lab.lock:
            fault = next((f for f in self.faults if f.path in request.path), None)
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
        if self.lab.stopped:
            return Response("The sandbox was stopped.", 503, {"Connection": "close"})
        if fault is None:
            return None
        request.get_data()  # a server that leaves the body unread waits for more of it before it hangs up
        if fault.response == 429:
            return self.too_many(self.limit[0], self.limit[0] + 1, fault.seconds)
        if fault.response == "slow":
            time.sleep(fault.seconds)
            return None
        if fault.response == "html":
            return Response("<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>", 503, mimetype="text/html")
        if fault.response == "truncated":
            return Response(
                iter(['{"data": [{"id": ']), 200, {"Content-Length": "4096", "Connection": "close"}, "application/json"
            )
        return self.error(int(fault.response), "", "Something went wrong on our side")

    def _after(self, response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.update(g.get("limit_headers", {}))
        if response.status_code == 401:
            response.headers.setdefault("WWW-Authenticate", self._challenge())
        return response

    def _challenge(self) -> str:
        """How to authenticate (RFC 9110 11.6.1): by Basic where that was tried or a client must, else by a token."""
        if self.bearer() is None and (self.basic() is not None or g.get("basic")):
            return 'Basic realm="sandbox"'
        dead = self.bearer() is not None and self.good(self.bearer()) is None
        return 'Bearer realm="sandbox"' + (', error="invalid_token"' if dead else "")  # RFC 6750 3.1

    def _http_error(self, error: HTTPException) -> Response:
        if error.code == 404:
            return self.not_found()
        response = self.error(error.code or 500, "", error.description or error.name)
        if isinstance(error, MethodNotAllowed) and response.status_code == 405:  # DNAnexus says 404
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    def _crash(self, error: Exception) -> Response:
        self.lab.crashes.append(error)
        return self.error(500, "", f"the sandbox itself failed: {type(error).__name__}")


class _Handler(WSGIRequestHandler):
    """Logs nothing, and dates its answers by the sandbox's clock (a Date in the app's headers would be a second one)."""

    lab: Lab

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.lab.clock.time() + self.lab.skew_seconds, usegmt=True)


class Lab(Shared):
    """The four providers and an identity provider, each at its own origin on loopback, and the levers that move them.

    `clock`: shared with the client; `counts`: (provider, "VERB /path") -> requests; `crashes`: bugs of the sandbox.
    """

    def __init__(self, makers: dict[str, Callable[[Any], Any]]) -> None:
        super().__init__()
        self._makers = makers
        self.clear(makers)
        self._servers: dict[str, BaseWSGIServer] = {}
        handler = type("Handler", (_Handler,), {"lab": self})
        for name in makers:
            # Asked for at each request, so that `reset` can put a fresh site in place.
            def app(environ: Any, start_response: Any, name: str = name) -> Any:
                return self.sites[name].app(environ, start_response)

            server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler)
            self._servers[name] = server
            self.origins[name] = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, name=f"labauth sandbox {name}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started: keep no port either
                for each in self._servers.values():
                    each.server_close()
                raise

    def credentials(self, provider: str, method: str) -> dict[str, str]:
        """Fields that sign in to `provider` by `method`; pasted tokens are made anew at each call."""
        fields: dict[str, str] = self.sites[provider].credentials(method)
        return fields

    def describe(self) -> str:
        """What runs, in one sentence, without ports."""
        providers = ", ".join(name for name in self.sites if name != "idp")
        return f"SANDBOX: {'stopped' if self.stopped else 'running'}; providers: {providers}."

    # Levers

    def advance(self, amount: float | str) -> None:
        """Move the clock, the client's and the servers', forward: seconds, or "90s", "15m", "2h", "1d"."""
        if isinstance(amount, str):
            amount = seconds_in(amount)
        self.clock.advance(amount)

    def expire(self, provider: str) -> None:
        """End the life of every access token (and ID token) of `provider` now, without telling anybody."""
        with self.lock:
            for issued in self.sites[provider].tokens.values():
                issued.expires_at = min(issued.expires_at, self.sites[provider].now)

    def revoke(self, provider: str, refresh: bool = False) -> None:
        """Revoke every access token of `provider` now; `refresh`: every refresh token as well."""
        site = self.sites[provider]
        with self.lock:
            for issued in (*site.tokens.values(), *(site.refresh_tokens.values() if refresh else ())):
                issued.dead = True

    def next(self, provider: str, answer: int | str, times: int = 1, path: str = "", seconds: float = 2.0) -> None:
        """The next `times` requests (whose path contains `path`) answer 429, 500, 502, 503, 504, "slow", "html" or "truncated".

        `seconds`: how long "slow" takes, and what a 429 asks to wait.
        """
        if answer not in (429, 500, 502, 503, 504, "slow", "html", "truncated"):
            raise ValueError(f"{answer!r} is not an answer: 429, 500, 502, 503, 504, 'slow', 'html' or 'truncated'.")
        with self.lock:
            self.sites[provider].faults.append(Fault(answer, times, path, seconds))

    def set(self, provider: str, **flags: Any) -> None:
        """Set states of a site: suspended=True (user), archived=True (Benchling app), member=False (Benchling app without
        projects), otp="246810" (DNAnexus wants this one-time code), life=3 (seconds an access token lives),
        dead_status=400 (QBench's answer to a dead token), client_secret="..." (the secret is made anew).

        Sign-in in the browser: redirects=["https://..."] (more registered redirect_uris; once one of them is on loopback, it
        counts by host and path, and no other loopback address is registered), rotate=False (a refresh token stays
        good), refresh_life=60 (seconds a refresh token lives), echo_state=False (DNAnexus answers without the state).
        idp: life=60 (seconds an ID token lives), device=False (no device grant), interval=0.1 (seconds between polls),
        fault="none", "hs256", "nonce", "aud", "iss", "expired", "no_email" or "signature" (spoils new ID tokens),
        client_auth="client_secret_basic", "client_secret_post", "private_key_jwt" or "" (how the client has to
        authenticate; "": the metadata do not say, so Basic), client_secret="..." (the secret that it has then)."""
        self.sites[provider].set(flags)

    def suspend(self, provider: str, suspended: bool = True) -> None:
        """Suspend the user (or take that back)."""
        self.set(provider, suspended=suspended)

    def archive(self, archived: bool = True) -> None:
        """Archive the Benchling app (or take that back)."""
        self.set("benchling", archived=archived)

    def rotate_keys(self, keep_kid: bool = False) -> None:
        """The identity provider signs with a new key from now on, and the old one is gone; `keep_kid`: under the old name."""
        from .identity import rotate

        rotate(self.sites["idp"], keep_kid)

    def visit(self, url: str, choice: str = "allow", **typed: str) -> str:
        """Play the person and the browser: open a sign-in page, type what the sandbox's user types (`typed` instead), choose
        "allow" or "deny", and follow the redirects on the sandbox's own sites.

        Gives the address where the browser lands, which is not requested when it is the client's. Raises `ValueError` with
        the sentence of an error page, or of a page that asks again.
        """
        from .visits import visit

        return visit(self, url, choice, typed)

    def skew(self, seconds: float) -> None:
        """Put the servers' clock `seconds` ahead of the client's (negative: behind)."""
        self.skew_seconds = seconds

    def count(self, provider: str, path: str = "") -> int:
        """Requests so far to `provider` whose "VERB /path" contains `path`."""
        with self.lock:
            return sum(n for (name, what), n in self.counts.items() if name == provider and path in what)

    def token_requests(self, provider: str) -> int:
        """Requests so far to the token endpoints of `provider` (refreshing included)."""
        ends = ("/token", "/token/refresh", "/newAuthToken")
        with self.lock:
            return sum(n for (name, what), n in self.counts.items() if name == provider and what.endswith(ends))

    def reset(self) -> None:
        """Back to the first state: clock, counters, tokens, levers, data. The origins stay."""
        with self.lock:
            self.clock.reset()
            self.clear(self._makers)

    def stop(self) -> None:
        """Close the servers. The next `running()` starts new ones."""
        self.stopped = True
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
