"""Palantir Foundry as the sandbox plays it: Multipass (sign-in page, tokens, scopes), ontologies.

Sources: its API documentation (general, and Ontologies v2), and its `foundry-platform-sdk`.
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from html import escape
from typing import Any

from flask import Response, g, request

from .levers import Lever
from .oauth import RefreshingSite
from .pages import Form, page, stop
from .sites import Grant, Shared, get, post, refuse, repeated, respond

CLIENT_ID, CLIENT_SECRET = "sandbox-foundry-client", "sandbox-foundry-client-secret"
PUBLIC_CLIENT_ID = "sandbox-foundry-public"
CALLBACK = "/multipass/api/oauth2/callback"
GRANTS = ("client_credentials", "authorization_code", "refresh_token")
READ = "api:ontologies-read"
OTHERS = ("api:ontologies-write", "api:datasets-read", "api:admin-read", "offline_access")
SCOPES = frozenset({READ, *OTHERS})
USER = {"id": "5a8b0000-0000-4000-8000-000000000001", "username": "ada"}
SERVICE_USER = {"id": "5a8b0000-0000-4000-8000-000000000002", "username": "sandbox-service-user"}
INSTRUMENTS = ("Orbitrap 1", "Orbitrap 2", "NovaSeq", "Plate reader")


def _ontologies() -> list[dict[str, Any]]:
    names = (("lab", "Laboratory"), ("manufacturing", "Manufacturing"))
    return [
        {
            "apiName": name,
            "displayName": title,
            "description": f"The practice {title.lower()} ontology",
            "rid": f"ri.ontology.main.ontology.0000000{n}-0000-4000-8000-000000000000",
        }
        for n, (name, title) in enumerate(names, 1)
    ]


def _samples() -> list[dict[str, Any]]:
    return [
        {
            "__primaryKey": f"S-{n:04}",
            "__apiName": "Sample",
            "__rid": f"ri.phonograph2-objects.main.object.{uuid.UUID(int=n)}",
            "sampleId": f"S-{n:04}",
            "instrument": INSTRUMENTS[n % 4],
            "concentration": round(0.5 + n % 40 / 8, 3),
            "measuredOn": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}",
        }
        for n in range(1, 131)
    ]


TYPES = [
    {
        "apiName": "Sample",
        "displayName": "Sample",
        "pluralDisplayName": "Samples",
        "status": "ACTIVE",
        "primaryKey": "sampleId",
        "titleProperty": "sampleId",
        "rid": "ri.ontology.main.object-type.00000000-0000-4000-8000-000000000001",
        "datasources": [],  # foundry-platform-sdk 1.100 wants it; later ones may do without
        "icon": {"type": "blueprint", "name": "lab-test", "color": "#4C90F0"},
        "properties": {
            name: {
                "dataType": {"type": kind},
                "rid": f"ri.ontology.main.property.{name}",
                "typeClasses": [],
                "valueFormatting": None,
            }
            for name, kind in (
                ("sampleId", "string"),
                ("instrument", "string"),
                ("concentration", "double"),
                ("measuredOn", "date"),
            )
        },
    }
]

NAMES = {400: "INVALID_ARGUMENT", 401: "UNAUTHORIZED", 403: "PERMISSION_DENIED"}
NAMES |= {404: "NOT_FOUND", 429: "RATE_LIMITED"}


ONTOLOGIES = "/api/<any(v1,v2):version>/ontologies"


class Foundry(RefreshingSite):
    """One user, one service user, a confidential and a public client, two ontologies."""

    name = "foundry"
    limit, at_once = (5000, 60.0), 30
    clients = {CLIENT_ID: False, PUBLIC_CLIENT_ID: True}  # noqa: RUF012 (the base declares it)
    known_scopes = SCOPES
    life = Lever(3600, "seconds", "how long an access token lives")
    client_secret = Lever(CLIENT_SECRET, "text", "the confidential client's secret")

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.ontologies, self.samples = _ontologies(), _samples()

    def credentials(self, method: str) -> dict[str, str]:
        """A pasted token, the public client, or the confidential one."""
        if method == "token":
            return {"token": self.issue_jwt(Grant(USER["id"], SCOPES), 8 * 3600)}
        if method == "user":
            return {"client_id": PUBLIC_CLIENT_ID, "scopes": f"{READ} offline_access"}
        return {"client_id": CLIENT_ID, "client_secret": self.client_secret, "scopes": READ}

    def person(self) -> dict[str, str]:
        """The user is signed in already, and types nothing."""
        return {}

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """The API's error shape, with `more` as its ``parameters``.

        Its shape: ``{"errorCode", "errorName", "errorInstanceId", "errorDescription",
        "parameters"}``.
        """
        kind = NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        name = code or f"Default:{kind.title().replace('_', '')}"
        body = {"errorCode": kind, "errorName": name, "errorInstanceId": str(uuid.uuid4())}
        return respond(body | {"errorDescription": message, "parameters": more}, status)

    def not_found(self) -> Response:
        """404 in the API's shape."""
        return self.error(404, "ApiNotFound", f"There is nothing at {request.path}")

    # Multipass

    def registered(self, redirect_uri: str) -> bool:
        """The vendor's own page that shows the code is registered as well."""
        own = self.lab.origin(self.name) + CALLBACK
        return redirect_uri == own or super().registered(redirect_uri)

    @get("/multipass/api/oauth2/authorize")
    @post("/multipass/api/oauth2/authorize")
    def authorize(self) -> Response:
        """The consent page; where no scope is asked for, all but offline_access are."""
        asked = self.asked()
        if self.suspended:
            return asked.denied("The user is suspended")
        asked.scopes = asked.scopes or SCOPES - {"offline_access"}
        if choice := self.submitted():
            if choice == "deny":
                return asked.denied("The user declined")
            return self.allowed(asked, USER["id"])
        rows = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in sorted(asked.scopes))
        who, what = f"<b>{USER['username']}</b>", f"<b>{asked.client_id}</b>"
        text = f"<p>You are {who}. The application {what} asks for:</p><ul>{rows}</ul>"
        return self.form(Form("Allow this application to act as you?", text))

    @get(CALLBACK)
    def callback(self) -> Response:
        """The vendor's page that shows the code, to be copied."""
        sent = request.args
        if code := sent.get("code"):
            told = f'<p><code id="code">{escape(code)}</code></p>'
            return page("Copy this code", f"<p>Paste it where you began:</p>{told}")
        why = sent.get("error_description") or sent.get("error")
        return stop(why or "There is no code in this address.")

    def _client(self) -> str:
        """The client: authenticated, or the public one, which has nothing but its name."""
        known = {(CLIENT_ID, self.client_secret): CLIENT_ID}
        known[PUBLIC_CLIENT_ID, ""] = PUBLIC_CLIENT_ID
        found = self.client()
        if found is None or found not in known:
            refuse(401, "invalid_client", "Client authentication failed")
        return known[found]

    def _granted(self, grant: Grant) -> dict[str, Any]:
        access_token = self.issue_jwt(grant, self.life)
        return {"access_token": access_token, "token_type": "Bearer", "expires_in": self.life}

    def _granted_to_user(self, grant: Grant) -> dict[str, Any]:
        return self._granted(grant) | {"scope": " ".join(sorted(grant.scopes))}

    @post("/multipass/api/oauth2/token")
    def token(self) -> Response:
        """A token for a service user, a code or a refresh token; shapes and errors: RFC 6749 5."""
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            message = "grant_type is missing, or a parameter is given twice"
            refuse(400, "invalid_request", message)
        if grant not in GRANTS:
            refuse(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client_id = self._client()
        with self.lab.lock:
            if grant == "client_credentials":
                return self._for_service_user(client_id)
            if grant == "authorization_code":
                return self._for_code(client_id)
            return self._for_refresh(client_id)

    def _for_service_user(self, client_id: str) -> Response:
        """Without a scope parameter the token has all the application's scopes.

        (foundry-platform-sdk, ConfidentialClientAuth)
        """
        if client_id == PUBLIC_CLIENT_ID:
            refuse(400, "unauthorized_client", "A public client has no service user")
        if self.suspended:
            refuse(401, "invalid_client", "Client authentication failed")
        scopes = frozenset(request.form.get("scope", "").split())
        if unknown := sorted(scopes - SCOPES):
            refuse(400, "invalid_scope", f"The application has no scope {unknown[0][:60]}")
        body = self._granted(Grant(SERVICE_USER["id"], scopes or SCOPES, client_id=client_id))
        return respond(body | ({"scope": " ".join(sorted(scopes))} if scopes else {}))

    def _for_code(self, client_id: str) -> Response:
        """A refresh token comes with it where offline_access was asked for."""
        grant = self.redeem(client_id).grant(client_id)
        if self.suspended:
            refuse(400, "invalid_grant", "The user is suspended")
        body = self._granted_to_user(grant)
        if "offline_access" in grant.scopes:
            body["refresh_token"] = self.new_refresh_token(grant)
        return respond(body)

    def _for_refresh(self, client_id: str) -> Response:
        """The next refresh token comes with it, unless the lever `rotate` is off."""
        if self.suspended:
            refuse(400, "invalid_grant", "The user is suspended")
        grant, scopes = self.refreshed(client_id)
        body = self._granted_to_user(replace(grant, scopes=scopes))
        if self.rotate:
            body["refresh_token"] = self.new_refresh_token(grant)
        return respond(body)

    @post("/multipass/api/oauth2/revoke_token")
    def revoke(self) -> Response:
        """RFC 7009: ``{}``, for an unknown token as well."""
        if repeated(request.form):
            refuse(400, "invalid_request", "A parameter is given twice")
        self.revoke_named(self._client())
        return respond({})

    def _guard(self, scope: str = "") -> None:
        """Refuse a request without a good token, without `scope`, or over the limit."""
        issued = self.good(self.bearer())
        if issued is None or self.suspended:
            message = "The token is missing, expired or revoked"
            self.fail(401, "Default:Unauthorized", message)
        g.user = USER if issued.grant.subject == USER["id"] else SERVICE_USER
        g.left = issued.expires_at - self.now
        if scope and scope not in issued.grant.scopes:
            message = "The token has no scope for this"
            self.fail(403, "ApiUsageDenied", message, missingScope=scope)
        self.charge(issued.grant.subject)

    @get("/multipass/api/me")
    def me(self) -> Response:
        """``{"id", "username", "attributes"}`` of the token's user."""
        self._guard()
        return respond({**g.user, "attributes": {}})

    @get("/multipass/api/token/ttl")
    def ttl(self) -> Response:
        """The seconds that the token lives on, as a bare number."""
        self._guard()
        return respond(int(g.left))

    # The API

    @get("/api/v2/admin/users/getCurrent")
    def current(self) -> Response:
        """The token's user, as the Admin API shows it."""
        self._guard("api:admin-read")
        realm = {"realm": "palantir-internal-realm", "status": "ACTIVE"}
        return respond({**g.user, "attributes": {}, **realm})

    def _paged(self, rows: list[dict[str, Any]], most: int, **more: Any) -> Response:
        """A page by ``pageSize`` and ``pageToken``: ``{"data", "nextPageToken"}`` and `more`."""
        try:
            size = int(request.args.get("pageSize", most))
            cursor = request.args.get("pageToken") or ""
            start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
        except ValueError:
            return self.error(400, "InvalidPageToken", "pageSize or pageToken is not valid")
        if start < 0:
            return self.error(400, "InvalidPageToken", "pageToken must be one that was given")
        if not 1 <= size <= 1000:
            message = "pageSize must be between 1 and 1000"
            return self.error(400, "InvalidPageSize", message, pageSize=str(size))
        end = start + size
        body: dict[str, Any] = {"data": rows[start:end], **more}
        if end < len(rows):
            body["nextPageToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
        return respond(body)

    def _ontology(self, name: str) -> dict[str, Any]:
        """The ontology of this apiName or rid, for a token that may read it."""
        self._guard(READ)
        found = [o for o in self.ontologies if name in (o["apiName"], o["rid"])]
        if not found:
            self.fail(404, "OntologyNotFound", "No such ontology", ontology=name)
        return found[0]

    @get(ONTOLOGIES)
    def list_ontologies(self, version: str) -> Response:
        """``{"data": [...]}``."""
        self._guard(READ)
        return respond({"data": self.ontologies})

    @get(f"{ONTOLOGIES}/<name>")
    def one_ontology(self, version: str, name: str) -> Response:
        """One ontology."""
        return respond(self._ontology(name))

    @get(f"{ONTOLOGIES}/<name>/objectTypes")
    def object_types(self, version: str, name: str) -> Response:
        """A page of object types."""
        self._ontology(name)
        return self._paged(TYPES, 500)

    @get(f"{ONTOLOGIES}/<name>/objects/<kind>")
    def objects(self, version: str, name: str, kind: str) -> Response:
        """A page of objects, with ``totalCount`` (Foundry's "long" is a JSON string)."""
        ontology = self._ontology(name)
        if kind != "Sample":
            message = "No such object type"
            self.fail(404, "ObjectTypeNotFound", message, objectType=kind)
        found = self.samples if ontology is self.ontologies[0] else []
        return self._paged(found, 50, totalCount=str(len(found)))

    @get("/api/v2/datasets/<rid>")
    def dataset(self, rid: str) -> Response:
        """The sandbox has no data sets; the scope is checked all the same."""
        self._guard("api:datasets-read")
        return self.error(404, "DatasetNotFound", "No such dataset", datasetRid=rid)
