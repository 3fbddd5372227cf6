"""Palantir Foundry as the sandbox plays it: Multipass token endpoint, scopes, ontologies and objects."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from flask import Response, g, request

from .lab import Lab, Site, answer

CLIENT_ID, CLIENT_SECRET = "sandbox-foundry-client", "sandbox-foundry-client-secret"
SCOPES = frozenset({"api:ontologies-read", "api:ontologies-write", "api:datasets-read", "api:admin-read", "offline_access"})
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

NAMES = {400: "INVALID_ARGUMENT", 401: "UNAUTHORIZED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RATE_LIMITED"}


def error(status: int, code: str, message: str, **parameters: Any) -> Response:
    """Foundry's API error shape."""
    kind = NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    body = {
        "errorCode": kind,
        "errorName": code or f"Default:{kind.title().replace('_', '')}",
        "errorInstanceId": str(uuid.uuid4()),
    }
    return answer(body | {"errorDescription": message, "parameters": parameters}, status)


def refused(status: int, code: str, message: str) -> Response:
    """Multipass' error shape at the token endpoint (RFC 6749 5.2)."""
    return answer({"error": code, "error_description": message}, status)


def site(lab: Lab) -> Site:
    """The site, in its first state."""
    here = Site(
        "foundry", lab, error, lambda: error(404, "ApiNotFound", f"There is nothing at {request.path}"), limit=(5000, 60.0)
    )
    flags = here.flags
    flags |= {"suspended": False, "life": 3600, "client_secret": CLIENT_SECRET}

    def credentials(method: str) -> dict[str, str]:
        if method == "token":
            return {"token": here.issue_jwt(USER["id"], 8 * 3600, SCOPES)}
        return {"client_id": CLIENT_ID, "client_secret": flags["client_secret"], "scopes": "api:ontologies-read"}

    flags["credentials"] = credentials
    app = here.app
    ontologies, samples = _ontologies(), _samples()

    def authenticated() -> bool:
        return here.client() == (CLIENT_ID, flags["client_secret"])

    @app.post("/multipass/api/oauth2/token")
    def token() -> Response:
        grant = request.form.get("grant_type")
        if not grant:
            return refused(400, "invalid_request", "grant_type is missing")
        if grant != "client_credentials":
            return refused(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        if not authenticated() or flags["suspended"]:
            return refused(401, "invalid_client", "Client authentication failed")
        scopes = frozenset(request.form.get("scope", "").split())
        if unknown := sorted(scopes - SCOPES):
            return refused(400, "invalid_scope", f"The application has no scope {unknown[0][:60]}")
        # Without a scope parameter the token has all the application's scopes (foundry-platform-sdk, ConfidentialClientAuth).
        access_token = here.issue_jwt(SERVICE_USER["id"], flags["life"], scopes or SCOPES)
        body = {"access_token": access_token, "token_type": "Bearer", "expires_in": flags["life"]}
        return answer(body | ({"scope": " ".join(sorted(scopes))} if scopes else {}))

    @app.post("/multipass/api/oauth2/revoke_token")
    def revoke() -> Response:
        if not authenticated():
            return refused(401, "invalid_client", "Client authentication failed")
        if (issued := here.tokens.get(request.form.get("token", ""))) is not None:
            issued.dead = True
        return answer({})  # RFC 7009 2.2: an unknown token is no error

    def guard(scope: str = "") -> Response | None:
        issued = here.good(here.bearer())
        if issued is None or (flags["suspended"]):
            return error(401, "Default:Unauthorized", "The token is missing, expired or revoked")
        g.user = USER if issued.subject == USER["id"] else SERVICE_USER
        g.left = issued.expires_at - here.now
        if scope and scope not in issued.scopes:
            return error(403, "ApiUsageDenied", "The token has no scope for this", missingScope=scope)
        return here.spent(issued.subject)

    @app.get("/multipass/api/me")
    def me() -> Response:
        return no if (no := guard()) is not None else answer({**g.user, "attributes": {}})

    @app.get("/multipass/api/token/ttl")
    def ttl() -> Response:
        return no if (no := guard()) is not None else answer(int(g.left))

    @app.get("/api/v2/admin/users/getCurrent")
    def current() -> Response:
        if (no := guard("api:admin-read")) is not None:
            return no
        return answer({**g.user, "attributes": {}, "realm": "palantir-internal-realm", "status": "ACTIVE"})

    def page(rows: list[dict[str, Any]], most: int, **more: Any) -> Response:
        try:
            size = int(request.args.get("pageSize", most))
            cursor = request.args.get("pageToken") or ""
            start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
        except ValueError:
            return error(400, "InvalidPageToken", "pageSize or pageToken is not valid")
        if start < 0:
            return error(400, "InvalidPageToken", "pageToken must be one that was given")
        if not 1 <= size <= 1000:
            return error(400, "InvalidPageSize", "pageSize must be between 1 and 1000", pageSize=str(size))
        end = start + size
        body: dict[str, Any] = {"data": rows[start:end], **more}
        if end < len(rows):
            body["nextPageToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
        return answer(body)

    def known(name: str) -> bool:
        return any(name in (o["apiName"], o["rid"]) for o in ontologies)

    @app.get("/api/<any(v1,v2):version>/ontologies")
    def list_ontologies(version: str) -> Response:
        return no if (no := guard("api:ontologies-read")) is not None else answer({"data": ontologies})

    @app.get("/api/<any(v1,v2):version>/ontologies/<name>")
    def one_ontology(version: str, name: str) -> Response:
        if (no := guard("api:ontologies-read")) is not None:
            return no
        found = [o for o in ontologies if name in (o["apiName"], o["rid"])]
        return answer(found[0]) if found else error(404, "OntologyNotFound", "No such ontology", ontology=name)

    @app.get("/api/<any(v1,v2):version>/ontologies/<name>/objectTypes")
    def object_types(version: str, name: str) -> Response:
        if (no := guard("api:ontologies-read")) is not None:
            return no
        return page(TYPES, 500) if known(name) else error(404, "OntologyNotFound", "No such ontology", ontology=name)

    @app.get("/api/<any(v1,v2):version>/ontologies/<name>/objects/<kind>")
    def objects(version: str, name: str, kind: str) -> Response:
        if (no := guard("api:ontologies-read")) is not None:
            return no
        if not known(name):
            return error(404, "OntologyNotFound", "No such ontology", ontology=name)
        if kind != "Sample":
            return error(404, "ObjectTypeNotFound", "No such object type", objectType=kind)
        found = samples if name in (ontologies[0]["apiName"], ontologies[0]["rid"]) else []
        return page(found, 50, totalCount=str(len(found)))  # Foundry's "long" is a JSON string

    @app.get("/api/v2/datasets/<rid>")
    def dataset(rid: str) -> Response:
        if (no := guard("api:datasets-read")) is not None:
            return no
        return error(404, "DatasetNotFound", "No such dataset", datasetRid=rid)

    return here
