"""QBench as the sandbox plays it: assertions with time bounds, rotating refresh tokens, records.

Sources: its API guide, its OpenAPI file (v2), and the PyPI client `qbench`.
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import jwt
from flask import Response, request

from .levers import Lever
from .sites import KEY, Grant, Issued, Shared, Site, get, post, refuse, respond

CLIENT_ID, CLIENT_SECRET = "sandbox-qbench-client", "sandbox-qbench-client-secret-0001"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFRESH_SECONDS = 7 * 86400
SCOPES = ("orders", "samples", "customers", "tests", "users")
LIST = "/qbench/api/v2/<any(orders,samples,customers,invoices,tests,users):name>"
MATRICES = ("Flower", "Water", "Soil", "Plasma")


def _orders() -> list[dict[str, Any]]:
    return [
        {
            "id": n,
            "custom_formatted_id": f"ORD-{n:05}",
            "customer_account_id": n % 7 + 1,
            "date_created": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T08:00:00",
            "state": ("Created", "Received", "In Progress", "Completed")[n % 4],
            "total_samples_created": n % 5 + 1,
        }
        for n in range(1, 151)
    ]


def _samples() -> list[dict[str, Any]]:
    return [
        {
            "id": n,
            "custom_formatted_id": f"SMP-{n:05}",
            "order_id": (n - 1) // 2 + 1,
            "description": f"{MATRICES[n % 4]} {n:03}",
            "sample_type": MATRICES[n % 4],
            "complete": n % 3 == 2,
        }
        for n in range(1, 241)
    ]


def _customers() -> list[dict[str, Any]]:
    return [{"id": n, "customer_name": f"Practice customer {n}"} for n in range(1, 8)]


def _tests() -> list[dict[str, Any]]:
    return [
        {
            "id": n,
            "sample_id": (n - 1) // 2 + 1,
            "assay_id": n % 5 + 1,
            "date_created": f"2026-{n % 9 + 1:02}-{n % 28 + 1:02}T09:00:00",
            "results": ("", "Pass", "Pass", "Fail")[n % 4],
        }
        for n in range(1, 481)
    ]


def _users() -> list[dict[str, Any]]:
    names = [
        ("Ada", "Lovelace"),
        ("Rosalind", "Franklin"),
        ("Barbara", "McClintock"),
        ("Fred", "Sanger"),
    ]
    whole = enumerate(names, 1)
    return [{"id": n, "first_name": first, "last_name": last} for n, (first, last) in whole]


ERRORS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}
ERRORS |= {405: "MethodNotAllowed"}


class QBench(Site):
    """One API client, and a customer's records."""

    name = "qbench"
    limit, at_once = (300, 60.0), 10
    life = Lever(3600, "seconds", "how long an access token lives")
    client_secret = Lever(CLIENT_SECRET, "text", "the API client's secret")
    dead_status = Lever(401, "status", "the response to a dead access token", (400, 401))
    scopes = Lever(frozenset(SCOPES), "list of texts", "the lists that the API client may read")

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.lists = {"orders": _orders(), "samples": _samples(), "customers": _customers()}
        self.lists |= {"invoices": [], "tests": _tests(), "users": _users()}

    def credentials(self, method: str) -> dict[str, str]:
        """The API client's."""
        return {"client_id": CLIENT_ID, "client_secret": self.client_secret}

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """The shape of the v2 resources: ``{"error_description", "error_type", "error_token"}``."""
        usual = "InternalServerError" if status >= 500 else "BadRequest"
        body: dict[str, Any] = {"error_description": message}
        body["error_type"] = code or ERRORS.get(status, usual)
        body["error_token"] = str(uuid.uuid4())
        if status == 400:
            body["errors"] = []
        return respond(body, status)

    def not_found(self) -> Response:
        """404 in the resources' shape."""
        return self.error(404, "NotFound", f"There is nothing at {request.path}.")

    def limit_headers(self, most: int, used: int, reset: float) -> dict[str, str]:
        """The requests counted, and the seconds until they count no more."""
        names = ("X-QBAPI-Throttle-Request-Count", "X-QBAPI-Throttle-TTL")
        return dict(zip(names, (str(used), str(math.ceil(reset))), strict=True))

    def over_limit(self, most: int, used: int, reset: float) -> Response:
        """429 in a shape of its own (the guide's): ``{"error": a message}``."""
        where = f"current count: {used}. Retry in {math.ceil(reset)} seconds"
        return respond({"error": f"ratelimit exceeded {most} per 60 seconds [{where}]"}, 429)

    def crowded(self) -> Response:
        """429 for the requests under way, in the same shape."""
        return respond({"error": f"exceeded concurrent request limit of {self.at_once}"}, 429)

    # Tokens

    @post("/qbench/api/v2/auth/token")
    @post("/qbench/oauth2/v1/token")
    def token(self) -> Response:
        """A token for an assertion (RFC 7523 2.1), HS256 with the client's secret.

        A form, urlencoded (the guide) or multipart (the OpenAPI file). Errors: RFC 6749's shape.
        """
        grant, assertion = request.form.get("grant_type"), request.form.get("assertion")
        if not grant or not assertion:
            refuse(400, "invalid_request", "grant_type and assertion are required form fields")
        if grant != JWT_BEARER:
            refuse(400, "unsupported_grant_type", "Only the jwt-bearer grant is supported")
        try:
            # Its guide names three claims; who sends more (aud: RFC 7523 3, nbf) is welcome.
            unread = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud"), False)
            options: Any = unread | {"require": ["sub", "iat", "exp"]}
            claims = jwt.decode(assertion, self.client_secret, ["HS256"], options)
            iat, exp = float(claims["iat"]), float(claims["exp"])
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            refuse(400, "invalid_grant", "The assertion's signature or its claims are not valid")
        if claims["sub"] != CLIENT_ID or self.suspended:
            refuse(400, "invalid_grant", "Unknown client")
        if not 300 <= exp - iat <= 3600:
            refuse(400, "invalid_grant", "exp must be 5 to 60 minutes after iat")
        if abs(iat - self.now) > 300 or exp <= self.now:
            refuse(400, "invalid_grant", "iat must be within 5 minutes of the server's time")
        return self._granted(str(uuid.uuid4()))

    def _granted(self, family: str) -> Response:
        """A token response, with the refresh token's id in it and its JWT in the cookie jid."""
        grant = Grant(CLIENT_ID, family=family)
        access_token, refresh_id = self.issue(grant, self.life), str(uuid.uuid4())
        with self.lab.lock:
            self.refresh_tokens[refresh_id] = Issued(grant, self.now + REFRESH_SECONDS)
        body = {"access_token": access_token, "token_type": "Bearer", "expires_in": self.life}
        response = respond(body | {"refresh_token": refresh_id})
        jid = jwt.encode({"jti": refresh_id, "sub": CLIENT_ID}, KEY, algorithm="HS256")
        path = "/qbench/api/v2/auth"
        response.set_cookie("jid", jid, secure=True, httponly=True, path=path, samesite="Strict")
        return response

    @post("/qbench/api/v2/auth/token/refresh")
    def refresh(self) -> Response:
        """The next pair of tokens for ``refresh_token_id`` and the cookie jid (OpenAPI file)."""
        refresh_id, jid = request.form.get("refresh_token_id"), request.cookies.get("jid")
        if not refresh_id or not jid:
            refuse(400, "invalid_request", "refresh_token_id and the cookie jid are required")
        try:
            named = jwt.decode(jid, KEY, ["HS256"], {"verify_iat": False}).get("jti")
        except jwt.PyJWTError:
            named = None
        with self.lab.lock:
            issued = self.refresh_tokens.get(refresh_id)
            known = issued is not None and named == refresh_id and not self.suspended
            if issued is None or not known or self.now >= issued.expires_at:
                refuse(400, "invalid_grant", "The refresh token is not valid")
            if issued.dead:  # used before: somebody has a copy, so the whole family ends
                self.end(issued.grant.family)
                message = "The refresh token was used before; it is invalidated"
                refuse(400, "invalid_grant", message)
            issued.dead = True
        return self._granted(issued.grant.family)

    @get("/qbench/api/v2/auth/token/info")
    def info(self) -> Response:
        """Whose token this is: ``{"client_id", "name"}``."""
        self._guard("")
        return respond({"client_id": CLIENT_ID, "name": "Sandbox API client"})

    # Records

    def _guard(self, resource: str) -> None:
        """Refuse a request without a good token, without the scope `resource`, or over the limit.

        No header or another scheme is 400 in RFC 6749's shape, as QBench has it.
        """
        if not (bearer := self.bearer()):
            refuse(400, "invalid_request", "Invalid Authorization header format")
        if self.good(bearer) is None or self.suspended:
            if self.dead_status == 400:
                refuse(400, "invalid_grant", "The access token is not valid")
            self.fail(401, "Unauthorized", "The access token is not valid")
        if resource and resource not in self.scopes:
            message = f"This API client has no scope for {resource}"
            self.fail(403, "Forbidden", message)
        self.charge("client")

    @get(LIST)
    def page(self, name: str) -> Response:
        """At most 50 rows: ``{"data": [...], "page_number", "total_count", "total_pages"}``."""
        self._guard(name)
        try:
            number = int(request.args.get("page_num", 1))
            size = int(request.args.get("page_size", 20))
        except ValueError:
            return self.error(400, "BadRequest", "page_num and page_size must be whole numbers")
        if number < 1 or size < 1:
            return self.error(400, "BadRequest", "page_num and page_size must be 1 or more")
        rows, size = self._sorted(name), min(size, 50)
        start, body = (number - 1) * size, {"page_number": number, "total_count": len(rows)}
        body["total_pages"] = math.ceil(len(rows) / size)
        return respond({"data": rows[start : start + size], **body})

    def _sorted(self, name: str) -> list[dict[str, Any]]:
        """The rows of a list, by ``sort_by`` and ``sort_order`` (ASC, DESC)."""
        rows, sort_by = list(self.lists[name]), request.args.get("sort_by")
        sort_order = request.args.get("sort_order", "ASC").upper()
        if sort_order not in ("ASC", "DESC"):
            self.fail(400, "BadRequest", "sort_order must be ASC or DESC")
        if sort_by:
            if rows and sort_by not in rows[0]:
                message = f"sort_by: there is no column {sort_by[:40]}"
                self.fail(400, "BadRequest", message)
            rows.sort(key=lambda row: row[sort_by], reverse=sort_order == "DESC")
        return rows

    @get(f"{LIST}/<int:key>")
    def item(self, name: str, key: int) -> Response:
        """One row: ``{"data": {...}}``."""
        self._guard(name)
        for row in self.lists[name]:
            if row["id"] == key:
                return respond({"data": row})
        return self.error(404, "NotFound", f"There is no {name} item {key}")
