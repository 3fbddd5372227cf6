"""Benchling as the sandbox plays it: token endpoint, API keys, ID tokens, plates, entries, projects."""

from __future__ import annotations

import base64
import math
from typing import Any

from flask import Response, g, request

from . import identity
from .authorization import repeated
from .lab import Lab, OldSite
from .sites import respond as answer

CLIENT_ID, CLIENT_SECRET = "sandbox-benchling-app", "sandbox-benchling-client-secret"
API_KEY = "sk_sandboxBenchlingApiKey01"
APP_LIMIT, USER_LIMIT = (300, 30.0), (60, 30.0)

ADA = {"handle": "ada", "id": "ent_sandbox1", "name": "Ada Lovelace"}
PROJECTS = [("src_sandbox1", "Antibody discovery"), ("src_sandbox2", "Enzyme screening"), ("src_sandbox3", "Stability")]
ASSAYS = ("ELISA", "Cell viability", "Binding affinity", "Expression")


def _plates() -> list[dict[str, Any]]:
    return [
        {
            "id": f"plt_sandbox{n:03}",
            "name": f"{ASSAYS[n % 4]} plate {n:03}",
            "barcode": f"PLT{n:05}",
            "type": "matrix_plate",
            "projectId": PROJECTS[n % 3][0],
            "parentStorageId": None,
            "schema": {"id": "plt_schema96", "name": "96-well plate"},
            "createdAt": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T09:00:00.000000+00:00",
            "modifiedAt": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T15:30:00.000000+00:00",
            "creator": ADA,
            "fields": {},
            "availableCapacity": n % 97,
            "occupiedCapacity": 96 - n % 97,
            "totalCapacity": 96,
            "wells": {},
            "webURL": f"https://sandbox.benchling.com/sandbox/f/plates/plt_sandbox{n:03}",
            "archiveRecord": None,
        }
        for n in range(1, 121)
    ]


def _entries() -> list[dict[str, Any]]:
    return [
        {
            "id": f"etr_sandbox{n:03}",
            "displayId": f"EXP26{n:06}",
            "name": f"{ASSAYS[n % 4]} run {n:03}",
            "createdAt": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T10:00:00.000000+00:00",
            "modifiedAt": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T11:00:00.000000+00:00",
            "creator": ADA,
            "authors": [ADA],
            "assignedReviewers": [],
            "customFields": {},
            "days": [],
            "fields": {},
            "folderId": "lib_sandbox1",
            "entryTemplateId": None,
            "reviewRecord": None,
            "schema": None,
            "apiURL": f"https://sandbox.benchling.com/api/v2/entries/etr_sandbox{n:03}",
            "webURL": f"https://sandbox.benchling.com/sandbox/f/entries/etr_sandbox{n:03}",
            "archiveRecord": None,
        }
        for n in range(1, 61)
    ]


def _projects() -> list[dict[str, Any]]:
    return [{"id": key, "name": name, "owner": ADA, "archiveRecord": None} for key, name in PROJECTS]


def _users() -> list[dict[str, Any]]:
    more = [(f"colleague{n:02}", f"ent_sandbox{n}", f"Colleague {n:02}") for n in range(2, 61)]
    return [
        {
            "handle": handle,
            "id": key,
            "name": name,
            "email": f"{handle}@sandbox.example",
            "isSuspended": False,
            "apiKeyLastChangedAt": None,
            "passwordLastChangedAt": None,
        }
        for handle, key, name in [(ADA["handle"], ADA["id"], ADA["name"]), *more]
    ]


def error(status: int, code: str, message: str) -> Response:
    """Benchling's error shape: `error` is an object."""
    code = code or ("invalid_request_error" if status < 500 else "api_error")
    g.basic = code == "invalid_client"
    return answer({"error": {"type": code, "message": message, "userMessage": message}}, status)


def site(lab: Lab) -> OldSite:
    """The site, in its first state."""
    here = OldSite(
        "benchling",
        lab,
        error,
        lambda: error(404, "invalid_request_error", f"There is nothing at {request.path}."),
        limit=APP_LIMIT,
        limit_headers=lambda most, used, reset: {
            "x-rate-limit-limit": str(most),
            "x-rate-limit-remaining": str(max(most - used, 0)),
            "x-rate-limit-reset": str(math.ceil(reset)),
        },
        limit_answer=lambda most, used, reset: error(429, "invalid_request_error", "Rate limit exceeded."),
    )
    flags = here.flags
    flags |= {"suspended": False, "archived": False, "member": True, "life": 900, "client_secret": CLIENT_SECRET}

    def credentials(method: str) -> dict[str, str]:
        if method == "api-key":
            return {"api_key": API_KEY}
        if method == "id-token":
            return {"id_token": identity.id_token(lab.sites["idp"])}
        if method == "oidc":
            return {"issuer": lab.origin("idp"), "client_id": identity.CLIENT_ID}
        return {"client_id": CLIENT_ID, "client_secret": flags["client_secret"]}

    flags["credentials"] = credentials
    app = here.app
    lists: dict[str, list[dict[str, Any]]] = {"plates": _plates(), "entries": _entries(), "projects": _projects()}
    lists["users"] = _users()

    @app.post("/api/v2/token")
    def token() -> Response:
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            return error(400, "invalid_request", "Missing grant_type, as a form field, or a parameter given twice")
        if grant != "client_credentials":
            return error(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client = here.client()
        if client is None:
            return error(401, "invalid_client", "Client authentication is missing, or given twice")
        if client != (CLIENT_ID, flags["client_secret"]) or flags["archived"]:
            return error(401, "invalid_client", "Client authentication failed")
        access_token = here.issue_jwt(CLIENT_ID, flags["life"])
        return answer({"access_token": access_token, "token_type": "Bearer", "expires_in": flags["life"]})

    def guard() -> Response | None:
        """401 unless this request is authenticated; 429 over the limit."""
        no = error(401, "authentication_error", "Authentication failed")
        basic, bearer = here.basic(), here.bearer()
        if basic is not None:
            if basic != (API_KEY, "") or flags["suspended"]:
                return no
            g.app = False
            return here.spent("user", USER_LIMIT)
        issued = here.good(bearer)
        if issued is not None and issued.grant.subject == CLIENT_ID:
            g.app = True
            return no if flags["archived"] else here.spent("app", APP_LIMIT)
        # Benchling reads the identity provider's keys anew: a token whose kid is gone, or is another key's now, is refused.
        email = identity.email_in(lab.sites["idp"], bearer or "")
        ended = bearer in here.tokens and issued is None  # by a lever of the sandbox
        if email != identity.EMAIL or ended or flags["suspended"]:
            return no
        g.app = False
        return here.spent("user", USER_LIMIT)

    def visible(name: str) -> list[dict[str, Any]]:
        return lists[name] if flags["member"] or not g.app else []

    @app.get("/api/v2/<any(plates,entries,projects,users):name>")
    def page(name: str) -> Response:
        if (no := guard()) is not None:
            return no
        try:
            size = int(request.args.get("pageSize", 50))
            cursor = request.args.get("nextToken") or ""
            start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
        except ValueError:
            return error(400, "invalid_request_error", "pageSize or nextToken is not valid")
        if start < 0 or not 1 <= size <= 100:
            return error(400, "invalid_request_error", "pageSize must be between 1 and 100, nextToken one that was given")
        rows, end = visible(name), start + size
        following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(rows) else ""
        return answer({name: rows[start:end], "nextToken": following})

    @app.get("/api/v2/<any(plates,entries,projects,users):name>/<key>")
    def item(name: str, key: str) -> Response:
        if (no := guard()) is not None:
            return no
        for row in visible(name):
            if row["id"] == key:
                return answer({"entry": row} if name == "entries" else row)
        body = {"type": "invalid_request_error", "message": f"No {name} item has this id", "invalidId": key}
        return answer({"error": body | {"userMessage": body["message"]}}, 404)

    return here
