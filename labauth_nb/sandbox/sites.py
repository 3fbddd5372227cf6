"""`Site`: what every server of the sandbox shares.

A site is a class, a route a method, a lever an attribute.

A request runs through `Site` in this order: counted, refused where too many are under way, spoiled
where `Lab.next` said so, then the route's method. A method refuses by raising `Refusal`.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jwt
from flask import Flask, Response, g, jsonify, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map

from ..clocks import SandboxClock
from .levers import Fault, Lever

KEY = "the sandbox signs its own tokens with this, and nothing else"
"""The signing key of JWTs that the sandbox issues to itself."""

Route = TypeVar("Route", bound=Callable[..., Response])


# Responses


def respond(body: Any, status: int = 200) -> Response:
    """A JSON response."""
    response = jsonify(body)
    response.status_code = status
    return response


class Refusal(Exception):
    """Ends the request under way with `response`."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(status: int, code: str, message: str) -> NoReturn:
    """End the request with an error in a token endpoint's shape (RFC 6749 5.2)."""
    raise Refusal(refused(status, code, message))


def refused(status: int, code: str, message: str) -> Response:
    """An error in a token endpoint's shape: ``{"error", "error_description"}`` (RFC 6749 5.2)."""
    g.basic = code == "invalid_client"
    return respond({"error": code, "error_description": message}, status)


def repeated(values: MultiDict[str, str]) -> bool:
    """Whether a parameter is given twice, which it must not be (RFC 6749 3.1, 3.2)."""
    return any(len(found) > 1 for found in values.listvalues())


# Routes


def get(path: str) -> Callable[[Route], Route]:
    """Mark a method of a `Site`: it responds to GET (and HEAD) at `path`, in Flask's syntax."""
    return _route("GET", path)


def post(path: str) -> Callable[[Route], Route]:
    """Mark a method of a `Site`: it responds to POST at `path`, in Flask's syntax."""
    return _route("POST", path)


def _route(verb: str, path: str) -> Callable[[Route], Route]:
    def mark(method: Route) -> Route:
        method.__dict__.setdefault("routes", []).append((verb, path))
        return method

    return mark


# Tokens


@dataclass(frozen=True)
class Grant:
    """What a token stands for: a user or client, scopes, and the client that it was issued to.

    `family`: the sign-in that it came from; the tokens of one family are revoked together.
    """

    subject: str
    scopes: frozenset[str] = frozenset()
    family: str = ""
    client_id: str = ""


@dataclass
class Issued:
    """A token that the sandbox issued, until when (seconds since the epoch, the server's time)."""

    grant: Grant
    expires_at: float
    dead: bool = False


class Shared:
    """What the sites of one sandbox stand on.

    `clock`: the client's and the servers'; `skew_seconds`: how far the servers' is ahead of it.
    `counts`: (site, "VERB /path") -> requests. `crashes`: bugs of the sandbox itself.
    `origins`: site -> ``http://127.0.0.1:PORT``. `lock`: held to write any of it.
    """

    def __init__(self) -> None:
        self.clock = SandboxClock()
        self.lock = threading.RLock()
        self.origins: dict[str, str] = {}
        self.stopped = False
        self.clear({})

    def clear(self, makers: Mapping[str, Callable[[Any], Site]]) -> None:
        """The first state, with new sites by `makers`."""
        self.skew_seconds = 0.0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.crashes: list[Exception] = []
        self.sites: dict[str, Site] = {name: make(self) for name, make in makers.items()}

    @property
    def now(self) -> float:
        """The servers' time, which `Lab.skew` can set off from the clock."""
        return self.clock.time() + self.skew_seconds

    def origin(self, provider: str) -> str:
        """Where the site of `provider` listens: ``http://127.0.0.1:PORT``."""
        return self.origins[provider]


class Site(ABC):
    """One provider's server: a Flask app with a route for each method that `get` or `post` marks.

    A subclass says its `name`, its errors' shape, its levers and its rates: `limit` is (requests,
    seconds) for each user or client, `at_once` how many of one user's requests may be under way
    (0: any number). `tokens`, `refresh_tokens`: what it issued; `faults`: what `Lab.next` ordered;
    `windows`: who -> [when the window began, requests in it]; `active`: who -> requests under way.
    """

    name: str
    limit: tuple[int, float] = (10_000, 60.0)
    at_once = 0
    suspended = Lever(False, "True or False", "the user is suspended")

    def __init__(self, lab: Shared) -> None:
        self.lab = lab
        self.tokens: dict[str, Issued] = {}
        self.refresh_tokens: dict[str, Issued] = {}
        self.faults: list[Fault] = []
        self.windows: dict[str, list[float]] = {}
        self.active: Counter[str] = Counter()

    @cached_property
    def app(self) -> Flask:
        """The Flask app, made when it is first asked for: a reset makes sites that nobody may ask.

        (Two threads may make two; all state is the site's.)
        """
        # A root path of our own: Flask would look for a folder, and the process' may be gone.
        here, name = str(Path(__file__).parent), f"labauth_nb.sandbox.{self.name}"
        app = Flask(name, static_folder=None, root_path=here, instance_path=here)
        app.json.sort_keys = False  # type: ignore[attr-defined]
        # A path with // is an unknown path, not a redirect (Werkzeug < 3.0.2 takes this only here).
        app.url_map = Map(merge_slashes=False)
        app.before_request(self._before)
        app.after_request(self._after)
        app.teardown_request(self._done)
        app.register_error_handler(Refusal, lambda refusal: refusal.response)
        app.register_error_handler(HTTPException, self._http_error)
        app.register_error_handler(Exception, self._crash)
        for method in dir(type(self)):
            for verb, path in getattr(getattr(type(self), method), "routes", ()):
                app.add_url_rule(path, method, getattr(self, method), methods=[verb])
        return app

    # What a subclass says

    @abstractmethod
    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """An error in the provider's shape, with `more` fields where that has room for them.

        `code` "": the usual one of this status.
        """

    @abstractmethod
    def not_found(self) -> Response:
        """The response at a path that there is not."""

    @abstractmethod
    def credentials(self, method: str) -> dict[str, str]:
        """The fields that sign in by `method`, as the client names both."""

    def person(self) -> dict[str, str]:
        """What the sandbox's user types on this site's pages."""
        return {}

    def limit_headers(self, most: int, used: int, reset: float) -> dict[str, str]:
        """Headers that say where one stands: `used` of `most` requests; `reset`: seconds left."""
        return {}

    def over_limit(self, most: int, used: int, reset: float) -> Response:
        """The 429 response to a request over the limit; see `limit_headers`."""
        return self.error(429, "", "Too many requests")

    def crowded(self) -> Response:
        """The 429 response to one request too many under way."""
        return self.error(429, "", "Too many requests at once")

    def fail(self, status: int, code: str, message: str, **more: Any) -> NoReturn:
        """End the request with an `error` of the provider's."""
        raise Refusal(self.error(status, code, message, **more))

    # Levers

    @classmethod
    def levers(cls) -> dict[str, Lever[Any]]:
        """This site's levers by name, those that all sites have first."""
        found = (vars(each).items() for each in reversed(cls.__mro__))
        return {name: each for group in found for name, each in group if isinstance(each, Lever)}

    @classmethod
    def lever_help(cls) -> str:
        """This site's levers, a line each."""
        levers = cls.levers().items()
        return "\n".join(f"  {name} ({lever.values()}): {lever.help}" for name, lever in levers)

    def set(self, states: dict[str, Any]) -> None:
        """Set levers, all or none; an unknown or wrong one is a `ValueError` that lists them."""
        levers, why = self.levers(), ""
        for name, value in states.items():
            if name not in levers:
                why = f"{self.name} has no lever {name!r}."
            elif not levers[name].takes(value):
                why = f"{self.name}: {name} is {levers[name].values()}."
        if why:
            raise ValueError(f"{why} The levers of {self.name}:\n{self.lever_help()}")
        for name, value in states.items():
            setattr(self, name, value)

    # Tokens

    @property
    def now(self) -> float:
        """The server's time, in seconds since the epoch."""
        return self.lab.now

    def issue(self, grant: Grant, life: float, token: str = "") -> str:
        """A new access token (or `token`), good for `life` seconds."""
        token = token or str(uuid.uuid4())
        with self.lab.lock:
            self.tokens[token] = Issued(grant, self.now + life)
        return token

    def issue_jwt(self, grant: Grant, life: float) -> str:
        """A new access token that is a JWT (its exp says when it ends)."""
        now = self.now
        claims = {"sub": grant.subject, "iat": int(now), "exp": int(now + life)}
        claims["jti"] = str(uuid.uuid4())
        return self.issue(grant, life, jwt.encode(claims, KEY, algorithm="HS256"))

    def end(self, family: str) -> None:
        """Revoke every token of `family`."""
        with self.lab.lock:
            for issued in (*self.refresh_tokens.values(), *self.tokens.values()):
                issued.dead = issued.dead or issued.grant.family == family

    def good(self, token: str | None) -> Issued | None:
        """What was issued as `token`, if it is good now."""
        issued = self.tokens.get(token or "")
        return None if issued is None or issued.dead or self.now >= issued.expires_at else issued

    # Reading a request

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
        if sent is None or sent.type != "basic":
            return None
        return sent.username or "", sent.password or ""

    def client(self) -> tuple[str, str] | None:
        """(client_id, client_secret) by Basic or in the body; a public client's secret is "".

        None: no client, two ways at once, or two client_ids (RFC 6749 2.3). What has no value
        counts as omitted (3.2).
        """
        client_id, secret = (request.form.get(name, "") for name in ("client_id", "client_secret"))
        if "Authorization" not in request.headers:
            return (client_id, secret) if client_id else None
        basic = self.basic()
        return None if basic is None or secret or client_id not in ("", basic[0]) else basic

    # A request's way

    def _before(self) -> Response | None:
        with self.lab.lock:
            self.lab.counts[self.name, f"{request.method} {request.path}"] += 1
        self._admit()
        fault = self._due()
        if self.lab.stopped:
            return Response("The sandbox was stopped.", 503, {"Connection": "close"})
        return None if fault is None else self._spoiled(fault)

    def _admit(self) -> None:
        """Count this request among those that its user has under way; refuse one too many."""
        issued = self.good(self.bearer()) if self.at_once else None
        if issued is None:
            return
        who = issued.grant.subject
        with self.lab.lock:
            if self.active[who] >= self.at_once:
                raise Refusal(self.crowded())
            self.active[who] += 1
            g.active = who

    def _done(self, error: BaseException | None) -> None:
        if (who := g.pop("active", None)) is not None:
            with self.lab.lock:
                self.active[who] -= 1

    def _due(self) -> Fault | None:
        """The fault that this request gets, used up by it."""
        with self.lab.lock:
            fault = next((f for f in self.faults if f.path in request.path), None)
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
        return fault

    def _spoiled(self, fault: Fault) -> Response | None:
        request.get_data()  # a server that leaves the body unread waits for more before it hangs up
        if fault.response == 429:
            return self._too_many(self.limit[0], self.limit[0] + 1, fault.seconds)
        if fault.response == "slow":
            time.sleep(fault.seconds)
            return None
        if fault.response == "html":
            text = "<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"
            return Response(text, 503, mimetype="text/html")
        if fault.response == "truncated":
            headers = {"Content-Length": "4096", "Connection": "close"}
            return Response(iter(['{"data": [{"id": ']), 200, headers, "application/json")
        return self.error(int(fault.response), "", "Something went wrong on our side")

    def charge(self, who: str, limit: tuple[int, float] | None = None) -> None:
        """Count a request of `who` against `limit` (None: the site's); refuse one too many."""
        most, seconds = limit or self.limit
        with self.lab.lock:
            window = self.windows.setdefault(who, [self.now, 0])
            if not 0 <= self.now - window[0] < seconds:
                window[:] = [self.now, 0]
            window[1] += 1
            used, reset = int(window[1]), max(window[0] + seconds - self.now, 0.0)
        if used > most:
            raise Refusal(self._too_many(most, used, reset))
        g.limit_headers = self.limit_headers(most, used, reset)

    def _too_many(self, most: int, used: int, reset: float) -> Response:
        g.limit_headers = self.limit_headers(most, used, reset)
        return self.over_limit(most, used, reset)

    def _after(self, response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.update(g.get("limit_headers", {}))
        if response.status_code == 401:
            response.headers.setdefault("WWW-Authenticate", self._challenge())
        return response

    def _challenge(self) -> str:
        """How to authenticate (RFC 9110 11.6.1).

        By Basic where that was tried or a client must, else by a token.
        """
        if self.bearer() is None and (self.basic() is not None or g.get("basic")):
            return 'Basic realm="sandbox"'
        dead = self.bearer() is not None and self.good(self.bearer()) is None
        # RFC 6750 3.1
        return 'Bearer realm="sandbox"' + (', error="invalid_token"' if dead else "")

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
