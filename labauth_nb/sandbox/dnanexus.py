"""DNAnexus as the sandbox plays it: API (POST and JSON only), authentication server and login page.

All at one origin. Sources: its API documentation, and the vendor's client `dxpy`.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Mapping
from typing import Any

from flask import Response, g, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from .levers import Lever
from .oauth import AuthorizationSite
from .pages import Form
from .sites import Grant, Shared, get, post, refuse, repeated, respond

API_TOKEN, JOB_TOKEN = "sandboxDNAnexusApiToken0001", "sandboxDNAnexusJobToken0001"
USERNAME, PASSWORD = "ada", "sandbox-dnanexus-password"
USER = "user-ada"
CLIENTS = ("apiserver", "sandbox-dnanexus-client")
BROWSER_SECONDS = 30 * 86400.0
ALPHABET = "0123456789BFGJKPQVXYZbfgjkpqvxyz"
FOREVER = 10 * 365 * 86400.0
WRONG_CODES, LOCK_SECONDS = 3, 900.0
"""After so many wrong one-time codes none is taken for so long (DNAnexus publishes no figure)."""


def _identify(kind: str, count: int) -> list[str]:
    dice = random.Random(kind)  # noqa: S311 (the same ids at each start)
    return [f"{kind}-" + "".join(dice.choices(ALPHABET, k=24)) for _ in range(count)]


PROJECTS, FILES = _identify("project", 230), _identify("file", 250)
LOCKED = _identify("project", 231)[-1]


def _describe(key: str) -> dict[str, Any] | None:
    if key in PROJECTS:
        n = PROJECTS.index(key)
        told = {"name": f"Sequencing run {n + 1:03}", "region": "aws:us-east-1"}
        return {"id": key, "class": "project", **told, "level": "VIEW"}
    if key in FILES:
        n = FILES.index(key)
        names: dict[str, Any] = {
            "name": f"sample_{n + 1:03}.fastq.gz",
            "folder": f"/run_{n % 5 + 1}",
        }
        names |= {"size": 1_000_000 + n * 4096}
        project = PROJECTS[n % 3]
        return {"id": key, "project": project, "class": "file", "state": "closed", **names}
    if key == USER:
        return {"id": USER, "class": "user", "handle": "ada", "first": "Ada", "last": "Lovelace"}
    return None


CODES = {
    400: "MalformedJSON",
    401: "InvalidAuthentication",
    404: "ResourceNotFound",
    422: "InvalidInput",
}
CODES |= {
    405: "ResourceNotFound",
    415: "MalformedJSON",
    429: "RateLimitConditional",
    503: "ServiceUnavailable",
}


WHERE = {405: 404, 415: 400}
"""DNAnexus knows neither 405 nor 415."""


class DNAnexus(AuthorizationSite):
    """One user, with projects and files, and one project without permission (`LOCKED`)."""

    name = "dnanexus"
    limit = (200, 1.0)
    # The real server wants each client_id and its redirect_uri registered; here two are, with
    # loopback on any port.
    clients = dict.fromkeys(CLIENTS)
    life = Lever[float | None](None, "seconds or None", "a token's life (None: as asked for)")
    otp = Lever("", "text", 'the one-time code that a password needs beside it; "": none')
    password = Lever(PASSWORD, "text", "the user's password")
    echo_state = Lever(True, "True or False", "the sign-in page sends the state back")

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.wrong_codes: list[float] = []

    def credentials(self, method: str) -> dict[str, str]:
        """The user's password, the browser's client, or a token (of a job, or the user's)."""
        if method == "password":
            return {"username": USERNAME, "password": self.password}
        if method == "browser":
            return {"client_id": CLIENTS[0]}
        token = JOB_TOKEN if method == "job" else API_TOKEN
        if self.good(token) is None:
            self.issue(Grant(USER), FOREVER, token)
        return {"token": token}

    def person(self) -> dict[str, str]:
        """User name, password and one-time code."""
        return {"username": USERNAME, "password": self.password, "otp": self.otp}

    def state_for(self, state: str | None) -> str | None:
        """DNAnexus' documents promise no state in the response: see the lever `echo_state`."""
        return state if self.echo_state else None

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """DNAnexus' error shape: ``{"error": {"type", "message"}}``."""
        kind = code or CODES.get(status, "InternalError")
        return respond({"error": {"type": kind, "message": message}}, WHERE.get(status, status))

    def not_found(self) -> Response:
        """404 in the API's shape."""
        return self.error(404, "ResourceNotFound", f"{request.path} is not a route")

    # Signing in

    def _wrong(self, typed: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is wrong with this user name, password and one-time code: (error type, message)."""
        given = typed.get("username"), typed.get("password")
        if given != (USERNAME, self.password) or self.suspended:
            return "UsernameOrPasswordError", "Incorrect username or password"
        if not self.otp:
            return None
        with self.lab.lock:
            self.wrong_codes = [t for t in self.wrong_codes if self.now - t < LOCK_SECONDS]
            if len(self.wrong_codes) >= WRONG_CODES:
                return "OTPMismatchError", "Too many wrong codes: wait before the next attempt"
            if not typed.get("otp"):
                return "OTPRequiredError", "A one-time code is required"
            if typed["otp"] != self.otp:
                self.wrong_codes.append(self.now)
                return "OTPMismatchError", "The one-time code does not match"
            self.wrong_codes.clear()
        return None

    @get("/oauth2/authorize")
    @post("/oauth2/authorize")
    def authorize(self) -> Response:
        """The login page of the documented OAuth flow; the code goes to redirect_uri."""
        asked, problem = self.asked(), None
        if choice := self.submitted():
            if choice == "deny":
                return asked.denied("The user cancelled")
            problem = self._wrong(request.form)
            if problem is None:
                return self.allowed(asked, USER)
            if self.wrong_again():
                return asked.denied("Too many wrong sign-ins")
        text = f"<p>to go on to <b>{asked.client_id}</b>, which then acts as you.</p>"
        fields = ("username", "password", *(["otp"] if self.otp else []))
        buttons, told = ("Log in", "Cancel"), problem[1] if problem else ""
        return self.form(Form("Log in to DNAnexus", text, fields, buttons, told))

    @post("/oauth2/token")
    def token_for_code(self) -> Response:
        """A token for a code: ``{"access_token", "token_type", "user_id"}``, without expires_in.

        The documented request names no client. Errors: RFC 6749's shape.
        """
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            message = "grant_type is missing, or a parameter is given twice"
            refuse(400, "invalid_request", message)
        if grant != "authorization_code":
            refuse(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client = self.client()
        named = request.form.get("client_id") or "Authorization" in request.headers
        if client is None and named:
            message = "The client is named twice, or in a way that is unknown here"
            refuse(401, "invalid_client", message)
        with self.lab.lock:
            code = self.redeem(client and client[0])
            if self.suspended:
                refuse(400, "invalid_grant", "The user is suspended")
            life = BROWSER_SECONDS if self.life is None else self.life
            token = self.issue(Grant(USER, family=code.family), life, uuid.uuid4().hex)
        return respond({"access_token": token, "token_type": "bearer", "user_id": USER})

    @post("/system/newAuthToken")
    def new_auth_token(self) -> Response:
        """A token for user name, password and one-time code, as `dx login` asks for it.

        ``expires`` in milliseconds since the epoch. Gives ``{"access_token", "token_type",
        "token_signature", "user_id"}``.
        """
        content = self._content()
        expires = content.get("expires")
        if not isinstance(expires, int) or not self.now * 1000 < expires < 2**53:
            message = "expires must be a time in the future, in milliseconds"
            self.fail(422, "InvalidInput", message)
        if (problem := self._wrong(content)) is not None:
            self.fail(401, *problem)
        life = expires / 1000 - self.now if self.life is None else self.life
        token = self.issue(Grant(USER), life, uuid.uuid4().hex)
        body = {"access_token": token, "token_type": "Bearer"}
        return respond(body | {"token_signature": _signature(token), "user_id": USER})

    @post("/system/destroyAuthToken")
    def destroy_auth_token(self) -> Response:
        """Revoke the token of ``tokenSignature`` (the SHA-256 of it)."""
        self._guard()
        for token, issued in list(self.tokens.items()):
            if _signature(token) == g.content.get("tokenSignature"):
                issued.dead = True
                return respond({"tokenSignature": g.content["tokenSignature"]})
        return self.error(404, "ResourceNotFound", "The token could not be found")

    # The API

    def _content(self) -> dict[str, Any]:
        """The request's JSON hash; else 400 (`_http_error` gives it the API's shape)."""
        try:
            content = request.get_json()
        except (BadRequest, UnsupportedMediaType, RecursionError):
            message = "Expected a JSON hash with the content type application/json"
            raise BadRequest(message) from None
        if not isinstance(content, dict):
            raise BadRequest("Expected a JSON hash")
        return content

    def _guard(self) -> None:
        """Refuse a request without a good token, without a JSON hash, or over the limit."""
        if self.bearer() is None:
            message = "You need to be logged in to use this method"
            self.fail(401, "InvalidAuthentication", message)
        issued = self.good(self.bearer())
        if issued is None or self.suspended:
            self.fail(401, "InvalidAuthentication", "The token could not be found")
        g.content = self._content()
        self.charge(issued.grant.subject)

    @post("/system/whoami")
    def whoami(self) -> Response:
        """``{"id"}`` of the user."""
        self._guard()
        return respond({"id": USER})

    @post("/system/getUserInfo")
    def user_info(self) -> Response:
        """The key that dxpy reads after `dx login --token`."""
        self._guard()
        return respond({"username": USERNAME})

    @post("/system/greet")
    def greet(self) -> Response:
        """The keys that dxpy and DNAnexus' upload agent read: nothing is new."""
        self._guard()
        return respond({"messages": [], "update": {"available": False}})

    def _page(self, rows: list[dict[str, Any]], key: str) -> Response:
        """``{"results", "next"}``: ``limit`` rows from ``starting``, a row's id and `key`."""
        limit, starting = g.content.get("limit", 1000), g.content.get("starting")
        if not isinstance(limit, int) or not 1 <= limit <= 1000:
            return self.error(422, "InvalidInput", "limit must be an integer between 1 and 1000")
        keys = [row["id"] for row in rows]
        given = isinstance(starting, dict) and starting.get("id") in keys
        if starting is not None and not given:
            message = "starting must be what the previous page gave as next"
            return self.error(422, "InvalidInput", message)
        start = keys.index(starting["id"]) if starting else 0
        page, rest = rows[start : start + limit], rows[start + limit :]
        following = {name: row[name] for row in rest[:1] for name in ("id", key) if name in row}
        return respond({"results": page, "next": following or None})

    def _described(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each row with its description, where the request asks for that."""
        if not g.content.get("describe"):
            return rows
        return [row | {"describe": _describe(row["id"])} for row in rows]

    @post("/system/findProjects")
    def find_projects(self) -> Response:
        """The user's projects: ``{"id", "level", "permissionSources", "public"}`` each."""
        self._guard()
        rest = {"level": "VIEW", "permissionSources": [USER], "public": False}
        return self._page(self._described([{"id": key} | rest for key in PROJECTS]), "level")

    @post("/system/findDataObjects")
    def find_data_objects(self) -> Response:
        """Files by ``class`` and ``scope``: ``{"project", "id"}`` each."""
        self._guard()
        rows = [{"project": (_describe(key) or {})["project"], "id": key} for key in FILES]
        if g.content.get("class") not in (None, "file"):
            rows = []
        scope = g.content.get("scope") or {}
        if not isinstance(scope, dict):
            return self.error(422, "InvalidInput", "scope must be a hash")
        if scope.get("project") == LOCKED:
            message = "VIEW permission is required on the project"
            return self.error(401, "PermissionDenied", message)
        if scope.get("project"):
            rows = [row for row in rows if row["project"] == scope["project"]]
        return self._page(self._described(rows), "project")

    @post("/<key>/describe")
    def describe(self, key: str) -> Response:
        """A project, file or user."""
        self._guard()
        if key == LOCKED:
            message = f"VIEW permission is required on {key}"
            return self.error(401, "PermissionDenied", message)
        found = _describe(key)
        if found is None:
            self.fail(404, "ResourceNotFound", f"{key} was not found")
        return respond(found)


def _signature(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
