"""DNAnexus as the sandbox plays it: API (POST and JSON only), authentication server and login page at one origin."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Mapping
from typing import Any

from flask import Response, g, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from .authorization import AuthorizationServer
from .lab import Lab, OldSite
from .sites import refused, repeated
from .sites import respond as answer

API_TOKEN, JOB_TOKEN = "sandboxDNAnexusApiToken0001", "sandboxDNAnexusJobToken0001"
USERNAME, PASSWORD = "ada", "sandbox-dnanexus-password"
USER = "user-ada"
CLIENTS = ("apiserver", "sandbox-dnanexus-client")
BROWSER_SECONDS = 30 * 86400.0
ALPHABET = "0123456789BFGJKPQVXYZbfgjkpqvxyz"
FOREVER = 10 * 365 * 86400.0
WRONG_CODES, LOCK_SECONDS = 3, 900.0
"""After so many wrong one-time codes no code is taken for so long (how long DNAnexus makes one wait is not published)."""


def _identify(kind: str, count: int) -> list[str]:
    dice = random.Random(kind)  # noqa: S311 (the same ids at each start)
    return [f"{kind}-" + "".join(dice.choices(ALPHABET, k=24)) for _ in range(count)]


PROJECTS, FILES, LOCKED = _identify("project", 230), _identify("file", 250), _identify("project", 231)[-1]


def _describe(key: str) -> dict[str, Any] | None:
    if key in PROJECTS:
        n = PROJECTS.index(key)
        return {
            "id": key,
            "class": "project",
            "name": f"Sequencing run {n + 1:03}",
            "region": "aws:us-east-1",
            "level": "VIEW",
        }
    if key in FILES:
        n = FILES.index(key)
        names = {"name": f"sample_{n + 1:03}.fastq.gz", "folder": f"/run_{n % 5 + 1}", "size": 1_000_000 + n * 4096}
        return {"id": key, "project": PROJECTS[n % 3], "class": "file", "state": "closed", **names}
    if key == USER:
        return {"id": USER, "class": "user", "handle": "ada", "first": "Ada", "last": "Lovelace"}
    return None


CODES = {400: "MalformedJSON", 401: "InvalidAuthentication", 404: "ResourceNotFound", 422: "InvalidInput"}
CODES |= {405: "ResourceNotFound", 415: "MalformedJSON", 429: "RateLimitConditional", 503: "ServiceUnavailable"}


def error(status: int, code: str, message: str) -> Response:
    """DNAnexus' error shape."""
    code = code or CODES.get(status, "InternalError")
    return answer({"error": {"type": code, "message": message}}, {405: 404, 415: 400}.get(status, status))


def site(lab: Lab) -> OldSite:
    """The site, in its first state."""
    here = OldSite(
        "dnanexus", lab, error, lambda: error(404, "ResourceNotFound", f"{request.path} is not a route"), limit=(200, 1.0)
    )
    flags = here.flags
    flags |= {"suspended": False, "life": None, "otp": "", "password": PASSWORD, "echo_state": True}
    wrong_codes: list[float] = []
    # The real server wants each client_id and its redirect_uri registered; here two are, with loopback on any port.
    server = AuthorizationServer(here, dict.fromkeys(CLIENTS))
    here.person = lambda: {"username": USERNAME, "password": flags["password"], "otp": flags["otp"]}

    def credentials(method: str) -> dict[str, str]:
        if method == "password":
            return {"username": USERNAME, "password": flags["password"]}
        if method == "browser":
            return {"client_id": CLIENTS[0]}
        token = JOB_TOKEN if method == "job" else API_TOKEN
        if here.good(token) is None:
            here.issue(USER, FOREVER, token=token)
        return {"token": token}

    flags["credentials"] = credentials
    app = here.app

    def body() -> dict[str, Any]:
        try:
            content = request.get_json()
        except (BadRequest, UnsupportedMediaType, RecursionError):
            raise BadRequest("Expected a JSON hash with the content type application/json") from None
        if not isinstance(content, dict):
            raise BadRequest("Expected a JSON hash")
        return content

    def guard() -> Response | None:
        if here.bearer() is None:
            return error(401, "InvalidAuthentication", "You need to be logged in to use this method")
        issued = here.good(here.bearer())
        if issued is None or flags["suspended"]:
            return error(401, "InvalidAuthentication", "The token could not be found")
        g.content = body()
        return here.spent(issued.grant.subject)

    def wrong(typed: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is wrong with this user name, password and one-time code: the error's type and a sentence."""
        if (typed.get("username"), typed.get("password")) != (USERNAME, flags["password"]) or flags["suspended"]:
            return "UsernameOrPasswordError", "Incorrect username or password"
        if not flags["otp"]:
            return None
        with lab.lock:
            wrong_codes[:] = [when for when in wrong_codes if here.now - when < LOCK_SECONDS]
            if len(wrong_codes) >= WRONG_CODES:
                return "OTPMismatchError", "Too many wrong codes: wait before the next try"
            if not typed.get("otp"):
                return "OTPRequiredError", "A one-time code is required"
            if typed["otp"] != flags["otp"]:
                wrong_codes.append(here.now)
                return "OTPMismatchError", "The one-time code does not match"
            wrong_codes.clear()
        return None

    @app.route("/oauth2/authorize", methods=["GET", "POST"])
    def authorize() -> Response:
        asked = server.asked()
        if isinstance(asked, Response):
            return asked
        problem = None
        if server.submitted():
            if (no := server.forged()) is not None:
                return no
            if request.form["choice"] == "deny":
                return asked.denied("The user cancelled")
            problem = wrong(request.form)
            if problem is None:
                return server.allowed(asked, USER)
            if server.wrong_again():
                return asked.denied("Too many wrong sign-ins")
        text = f"<p>to go on to <b>{asked.client_id}</b>, which then acts as you.</p>"
        fields = ("username", "password", "otp") if flags["otp"] else ("username", "password")
        return server.form("Log in to DNAnexus", text, fields, ("Log in", "Cancel"), problem[1] if problem else "")

    @app.post("/oauth2/token")
    def token_for_code() -> Response:
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            return refused(400, "invalid_request", "grant_type is missing, or a parameter is given twice")
        if grant != "authorization_code":
            return refused(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client = here.client()
        if client is None and (request.form.get("client_id") or "Authorization" in request.headers):
            return refused(401, "invalid_client", "The client is named twice, or in a way that is unknown here")
        with lab.lock:
            code = server.redeem(client and client[0])  # the documented request names no client
            if isinstance(code, Response):
                return code
            if flags["suspended"]:
                return refused(400, "invalid_grant", "The user is suspended")
            life = BROWSER_SECONDS if flags["life"] is None else flags["life"]
            token = here.issue(USER, life, family=code.family, token=uuid.uuid4().hex)
        return answer({"access_token": token, "token_type": "bearer", "user_id": USER})

    @app.post("/system/newAuthToken")
    def new_auth_token() -> Response:
        content = body()
        expires = content.get("expires")
        if not isinstance(expires, int) or not here.now * 1000 < expires < 2**53:
            return error(422, "InvalidInput", "expires must be a time in the future, in milliseconds")
        if (problem := wrong(content)) is not None:
            return error(401, *problem)
        life = expires / 1000 - here.now if flags["life"] is None else flags["life"]
        token = here.issue(USER, life, token=uuid.uuid4().hex)
        signature = hashlib.sha256(token.encode()).hexdigest()
        return answer({"access_token": token, "token_type": "Bearer", "token_signature": signature, "user_id": USER})

    @app.post("/system/destroyAuthToken")
    def destroy_auth_token() -> Response:
        if (no := guard()) is not None:
            return no
        for token, issued in list(here.tokens.items()):
            if hashlib.sha256(token.encode()).hexdigest() == g.content.get("tokenSignature"):
                issued.dead = True
                return answer({"tokenSignature": g.content["tokenSignature"]})
        return error(404, "ResourceNotFound", "The token could not be found")

    @app.post("/system/whoami")
    def whoami() -> Response:
        return no if (no := guard()) is not None else answer({"id": USER})

    @app.post("/system/getUserInfo")
    def user_info() -> Response:
        # The key that dxpy reads after `dx login --token`.
        return no if (no := guard()) is not None else answer({"username": USERNAME})

    @app.post("/system/greet")
    def greet() -> Response:
        # The keys that dxpy and DNAnexus' upload agent read: nothing is new.
        return no if (no := guard()) is not None else answer({"messages": [], "update": {"available": False}})

    def page(rows: list[dict[str, Any]], key: str) -> Response:
        limit, starting = g.content.get("limit", 1000), g.content.get("starting")
        if not isinstance(limit, int) or not 1 <= limit <= 1000:
            return error(422, "InvalidInput", "limit must be an integer between 1 and 1000")
        keys = [row["id"] for row in rows]
        if starting is not None and (not isinstance(starting, dict) or starting.get("id") not in keys):
            return error(422, "InvalidInput", "starting must be what the previous page gave as next")
        start = keys.index(starting["id"]) if starting else 0
        following = None if start + limit >= len(rows) else {k: rows[start + limit][k] for k in ("id", key) if k in rows[0]}
        return answer({"results": rows[start : start + limit], "next": following})

    @app.post("/system/findProjects")
    def find_projects() -> Response:
        if (no := guard()) is not None:
            return no
        rows: list[dict[str, Any]] = [
            {"id": k, "level": "VIEW", "permissionSources": [USER], "public": False} for k in PROJECTS
        ]
        if g.content.get("describe"):
            rows = [row | {"describe": _describe(row["id"])} for row in rows]
        return page(rows, "level")

    @app.post("/system/findDataObjects")
    def find_data_objects() -> Response:
        if (no := guard()) is not None:
            return no
        rows = [{"project": (_describe(k) or {})["project"], "id": k} for k in FILES]
        if g.content.get("class") not in (None, "file"):
            rows = []
        scope = g.content.get("scope") or {}
        if not isinstance(scope, dict):
            return error(422, "InvalidInput", "scope must be a hash")
        if scope.get("project") == LOCKED:
            return error(401, "PermissionDenied", "VIEW permission is required on the project")
        if scope.get("project"):
            rows = [row for row in rows if row["project"] == scope["project"]]
        if g.content.get("describe"):
            rows = [row | {"describe": _describe(row["id"])} for row in rows]
        return page(rows, "project")

    @app.post("/<key>/describe")
    def describe(key: str) -> Response:
        if (no := guard()) is not None:
            return no
        if key == LOCKED:
            return error(401, "PermissionDenied", f"VIEW permission is required on {key}")
        found = _describe(key)
        return answer(found) if found else error(404, "ResourceNotFound", f"{key} was not found")

    return here
