"""Palantir Foundry as the sandbox plays it: Multipass (sign-in page, tokens, scopes), ontologies and objects."""

from __future__ import annotations

import base64
import uuid
from html import escape
from typing import Any

from flask import Response, g, request

from .authorization import REFRESH_SECONDS, AuthorizationServer
from .lab import Lab, OldSite
from .pages import page, stop
from .sites import refused, repeated
from .sites import respond as answer

CLIENT_ID, CLIENT_SECRET = "sandbox-foundry-client", "sandbox-foundry-client-secret"
PUBLIC_CLIENT_ID = "sandbox-foundry-public"
AT_ONCE = 30
CALLBACK = "/multipass/api/oauth2/callback"
GRANTS = ("client_credentials", "authorization_code", "refresh_token")
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


def site(lab: Lab) -> OldSite:
    """The site, in its first state."""
    here = OldSite(
        "foundry",
        lab,
        error,
        lambda: error(404, "ApiNotFound", f"There is nothing at {request.path}"),
        limit=(5000, 60.0),
        at_once=AT_ONCE,
    )
    flags = here.flags
    flags |= {"suspended": False, "life": 3600, "client_secret": CLIENT_SECRET, "rotate": True, "refresh_life": REFRESH_SECONDS}

    def credentials(method: str) -> dict[str, str]:
        if method == "token":
            return {"token": here.issue_jwt(USER["id"], 8 * 3600, SCOPES)}
        if method == "user":
            return {"client_id": PUBLIC_CLIENT_ID, "scopes": "api:ontologies-read offline_access"}
        return {"client_id": CLIENT_ID, "client_secret": flags["client_secret"], "scopes": "api:ontologies-read"}

    flags["credentials"] = credentials
    app = here.app
    ontologies, samples = _ontologies(), _samples()

    class Multipass(AuthorizationServer):
        """Also knows the vendor's own page that shows the code."""

        def registered(self, redirect_uri: str) -> bool:
            return redirect_uri == lab.origin("foundry") + CALLBACK or super().registered(redirect_uri)

    server = Multipass(here, {CLIENT_ID: False, PUBLIC_CLIENT_ID: True}, SCOPES)

    @app.route("/multipass/api/oauth2/authorize", methods=["GET", "POST"])
    def authorize() -> Response:
        asked = server.asked()
        if isinstance(asked, Response):
            return asked
        if flags["suspended"]:
            return asked.denied("The user is suspended")
        scopes = asked.scopes or SCOPES - {"offline_access"}  # none asked: all, as at the token endpoint
        if not server.submitted():
            rows = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in sorted(scopes))
            text = (
                f"<p>You are <b>{USER['username']}</b>. The application <b>{asked.client_id}</b> asks for:</p><ul>{rows}</ul>"
            )
            return server.form("Allow this application to act as you?", text)
        if (no := server.forged()) is not None:
            return no
        if request.form["choice"] == "deny":
            return asked.denied("The user declined")
        asked.scopes = scopes
        return server.allowed(asked, USER["id"])

    @app.get(CALLBACK)
    def callback() -> Response:
        if code := request.args.get("code"):
            return page("Copy this code", f'<p>Paste it where you began:</p><p><code id="code">{escape(code)}</code></p>')
        return stop(request.args.get("error_description") or request.args.get("error") or "There is no code in this address.")

    def client() -> str | None:
        """The client of this request: authenticated, or the public one, which has nothing but its name."""
        known = {(CLIENT_ID, flags["client_secret"]): CLIENT_ID, (PUBLIC_CLIENT_ID, ""): PUBLIC_CLIENT_ID}
        found = here.client()
        return None if found is None else known.get(found)

    def granted(client_id: str, subject: str, scopes: frozenset[str], family: str = "") -> dict[str, Any]:
        access_token = here.issue_jwt(subject, flags["life"], scopes, family, client_id)
        return {"access_token": access_token, "token_type": "Bearer", "expires_in": flags["life"]}

    @app.post("/multipass/api/oauth2/token")
    def token() -> Response:
        grant = request.form.get("grant_type")
        if not grant or repeated(request.form):
            return refused(400, "invalid_request", "grant_type is missing, or a parameter is given twice")
        if grant not in GRANTS:
            return refused(400, "unsupported_grant_type", f"Unsupported grant type {grant[:40]}")
        client_id = client()
        if client_id is None:
            return refused(401, "invalid_client", "Client authentication failed")
        with lab.lock:
            if grant == "client_credentials":
                return for_service_user(client_id)
            return for_code(client_id) if grant == "authorization_code" else for_refresh_token(client_id)

    def for_service_user(client_id: str) -> Response:
        if client_id == PUBLIC_CLIENT_ID:
            return refused(400, "unauthorized_client", "A public client has no service user")
        if flags["suspended"]:
            return refused(401, "invalid_client", "Client authentication failed")
        scopes = frozenset(request.form.get("scope", "").split())
        if unknown := sorted(scopes - SCOPES):
            return refused(400, "invalid_scope", f"The application has no scope {unknown[0][:60]}")
        # Without a scope parameter the token has all the application's scopes (foundry-platform-sdk, ConfidentialClientAuth).
        body = granted(client_id, SERVICE_USER["id"], scopes or SCOPES)
        return answer(body | ({"scope": " ".join(sorted(scopes))} if scopes else {}))

    def for_code(client_id: str) -> Response:
        code = server.redeem(client_id)
        if isinstance(code, Response):
            return code
        if flags["suspended"]:
            return refused(400, "invalid_grant", "The user is suspended")
        scopes = code.asked.scopes
        body = granted(client_id, code.subject, scopes, code.family) | {"scope": " ".join(sorted(scopes))}
        if "offline_access" in scopes:
            body["refresh_token"] = server.new_refresh_token(client_id, code.subject, scopes, code.family)
        return answer(body)

    def for_refresh_token(client_id: str) -> Response:
        if flags["suspended"]:
            return refused(400, "invalid_grant", "The user is suspended")
        found = server.refresh(client_id)
        if isinstance(found, Response):
            return found
        issued, scopes = found
        body = granted(client_id, issued.grant.subject, scopes, issued.grant.family) | {"scope": " ".join(sorted(scopes))}
        if flags["rotate"]:
            body["refresh_token"] = server.new_refresh_token(
                client_id, issued.grant.subject, issued.grant.scopes, issued.grant.family
            )
        return answer(body)

    @app.post("/multipass/api/oauth2/revoke_token")
    def revoke() -> Response:
        if repeated(request.form):
            return refused(400, "invalid_request", "A parameter is given twice")
        client_id = client()
        if client_id is None:
            return refused(401, "invalid_client", "Client authentication failed")
        no = server.revoked(client_id)
        return answer({}) if no is None else no

    def guard(scope: str = "") -> Response | None:
        issued = here.good(here.bearer())
        if issued is None or (flags["suspended"]):
            return error(401, "Default:Unauthorized", "The token is missing, expired or revoked")
        g.user = USER if issued.grant.subject == USER["id"] else SERVICE_USER
        g.left = issued.expires_at - here.now
        if scope and scope not in issued.grant.scopes:
            return error(403, "ApiUsageDenied", "The token has no scope for this", missingScope=scope)
        return here.spent(issued.grant.subject)

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

    def paged(rows: list[dict[str, Any]], most: int, **more: Any) -> Response:
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
        return paged(TYPES, 500) if known(name) else error(404, "OntologyNotFound", "No such ontology", ontology=name)

    @app.get("/api/<any(v1,v2):version>/ontologies/<name>/objects/<kind>")
    def objects(version: str, name: str, kind: str) -> Response:
        if (no := guard("api:ontologies-read")) is not None:
            return no
        if not known(name):
            return error(404, "OntologyNotFound", "No such ontology", ontology=name)
        if kind != "Sample":
            return error(404, "ObjectTypeNotFound", "No such object type", objectType=kind)
        found = samples if name in (ontologies[0]["apiName"], ontologies[0]["rid"]) else []
        return paged(found, 50, totalCount=str(len(found)))  # Foundry's "long" is a JSON string

    @app.get("/api/v2/datasets/<rid>")
    def dataset(rid: str) -> Response:
        if (no := guard("api:datasets-read")) is not None:
            return no
        return error(404, "DatasetNotFound", "No such dataset", datasetRid=rid)

    return here
