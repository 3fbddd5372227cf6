"""Benchling as the sandbox plays it: token endpoint, API keys, ID tokens, and lists of records.

Sources: its API reference (v2), its authentication guide, and the vendor's `benchling-sdk`.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from flask import Response, g, request

from .identity import CLIENT_ID as OIDC_CLIENT_ID
from .identity import EMAIL, IdentityProvider
from .levers import Lever
from .sites import Grant, Shared, Site, get, post, repeated, respond

CLIENT_ID, CLIENT_SECRET = "sandbox-benchling-app", "sandbox-benchling-client-secret"
API_KEY = "sk_sandboxBenchlingApiKey01"
APP_LIMIT, USER_LIMIT = (300, 30.0), (60, 30.0)

ADA = {"handle": "ada", "id": "ent_sandbox1", "name": "Ada Lovelace"}
PROJECTS = [
    ("src_sandbox1", "Antibody discovery"),
    ("src_sandbox2", "Enzyme screening"),
    ("src_sandbox3", "Stability"),
]
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
    rest = {"owner": ADA, "archiveRecord": None}
    return [{"id": key, "name": name} | rest for key, name in PROJECTS]


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


LISTS = "/api/v2/<any(plates,entries,projects,users):name>"


class Benchling(Site):
    """One app, one user, and their tenant's lists. Signs its user in by the sandbox's `idp`."""

    name = "benchling"
    limit = APP_LIMIT
    archived = Lever(False, "True or False", "the app is archived")
    member = Lever(True, "True or False", "the app is a member of the projects")
    life = Lever(900, "seconds", "how long an app's access token lives")
    client_secret = Lever(CLIENT_SECRET, "text", "the app's secret")

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.lists = {"plates": _plates(), "entries": _entries()}
        self.lists |= {"projects": _projects(), "users": _users()}

    @property
    def idp(self) -> IdentityProvider:
        """Where its user signs in."""
        site = self.lab.sites["idp"]
        assert isinstance(site, IdentityProvider)
        return site

    def credentials(self, method: str) -> dict[str, str]:
        """The app's, the user's API key, a new ID token, or the client at the `idp`."""
        if method == "api-key":
            return {"api_key": API_KEY}
        if method == "id-token":
            return {"id_token": self.idp.id_token()}
        if method == "oidc":
            return {"issuer": self.lab.origin("idp"), "client_id": OIDC_CLIENT_ID}
        return {"client_id": CLIENT_ID, "client_secret": self.client_secret}

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """``{"error": {"type", "message", "userMessage"}}``, with `more` in it."""
        code = code or ("invalid_request_error" if status < 500 else "api_error")
        g.basic = code == "invalid_client"
        body = {"type": code, "message": message, **more, "userMessage": message}
        return respond({"error": body}, status)

    def not_found(self) -> Response:
        """404 in Benchling's shape."""
        return self.error(404, "invalid_request_error", f"There is nothing at {request.path}.")

    def limit_headers(self, most: int, used: int, reset: float) -> dict[str, str]:
        """The limit, what is left of it, and the seconds until it starts again."""
        values = {"limit": most, "remaining": max(most - used, 0), "reset": math.ceil(reset)}
        return {f"x-rate-limit-{name}": str(value) for name, value in values.items()}

    def over_limit(self, most: int, used: int, reset: float) -> Response:
        """429 in Benchling's shape."""
        return self.error(429, "invalid_request_error", "Rate limit exceeded.")

    @post("/api/v2/token")
    def token(self) -> Response:
        """An app's token, by its secret in the Basic header or in the form (RFC 6749 4.4).

        ``{"access_token", "token_type", "expires_in"}``; errors in Benchling's shape.
        """
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            message = "Missing grant_type, as a form field, or a parameter given twice"
            self.fail(400, "invalid_request", message)
        if grant != "client_credentials":
            self.fail(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client = self.client()
        if client is None:
            self.fail(401, "invalid_client", "Client authentication is missing, or given twice")
        if client != (CLIENT_ID, self.client_secret) or self.archived:
            self.fail(401, "invalid_client", "Client authentication failed")
        access_token = self.issue_jwt(Grant(CLIENT_ID), self.life)
        body = {"access_token": access_token, "token_type": "Bearer", "expires_in": self.life}
        return respond(body)

    def _guard(self) -> None:
        """Refuse a request that is not authenticated (401) or is over the limit (429).

        By an API key (Basic user name, no password), an app's token or an ID token.
        """
        basic, bearer = self.basic(), self.bearer()
        issued = self.good(bearer) if basic is None else None
        g.app = issued is not None and issued.grant.subject == CLIENT_ID
        if basic is not None:
            good = basic == (API_KEY, "") and not self.suspended
        elif g.app:
            good = not self.archived
        else:
            # Benchling reads the identity provider's keys each time: a token whose kid is gone, or
            # is another key's now, is refused.
            email = self.idp.email_in(bearer or "")
            ended = bearer in self.tokens and issued is None  # by a lever of the sandbox
            good = email == EMAIL and not ended and not self.suspended
        if not good:
            self.fail(401, "authentication_error", "Authentication failed")
        self.charge(*(("app", APP_LIMIT) if g.app else ("user", USER_LIMIT)))

    def _visible(self, name: str) -> list[dict[str, Any]]:
        return self.lists[name] if self.member or not g.app else []

    @get(LISTS)
    def page(self, name: str) -> Response:
        """A page by ``pageSize`` (1 to 100) and ``nextToken``: ``{name: [...], "nextToken"}``."""
        self._guard()
        try:
            size = int(request.args.get("pageSize", 50))
            cursor = request.args.get("nextToken") or ""
            start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
        except ValueError:
            message = "pageSize or nextToken is not valid"
            return self.error(400, "invalid_request_error", message)
        if start < 0 or not 1 <= size <= 100:
            message = "pageSize must be between 1 and 100, nextToken one that was given"
            return self.error(400, "invalid_request_error", message)
        rows, end = self._visible(name), start + size
        following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(rows) else ""
        return respond({name: rows[start:end], "nextToken": following})

    @get(f"{LISTS}/<key>")
    def item(self, name: str, key: str) -> Response:
        """One item, an entry inside ``{"entry": ...}``; an unknown id is named as ``invalidId``."""
        self._guard()
        for row in self._visible(name):
            if row["id"] == key:
                return respond({"entry": row} if name == "entries" else row)
        message = f"No {name} item has this id"
        return self.error(404, "invalid_request_error", message, invalidId=key)
