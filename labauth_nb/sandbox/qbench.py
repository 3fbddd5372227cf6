"""QBench as the sandbox plays it: assertions with their time bounds, rotating refresh tokens, orders, samples."""

from __future__ import annotations

import math
import uuid
from typing import Any

import jwt
from flask import Response, request

from .lab import Lab, OldSite
from .sites import KEY, Grant, Issued, refused
from .sites import respond as answer

CLIENT_ID, CLIENT_SECRET = "sandbox-qbench-client", "sandbox-qbench-client-secret-0001"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFRESH_SECONDS = 7 * 86400
LIMIT, AT_ONCE = (300, 60.0), 10
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
    names = [("Ada", "Lovelace"), ("Rosalind", "Franklin"), ("Barbara", "McClintock"), ("Fred", "Sanger")]
    return [{"id": n, "first_name": first, "last_name": last} for n, (first, last) in enumerate(names, 1)]


def error(status: int, code: str, message: str) -> Response:
    """The shape of the v2 resources."""
    names = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed"}
    kind = code or names.get(status, "InternalServerError" if status >= 500 else "BadRequest")
    body: dict[str, Any] = {"error_description": message, "error_type": kind, "error_token": str(uuid.uuid4())}
    if status == 400:
        body["errors"] = []
    return answer(body, status)


def site(lab: Lab) -> OldSite:
    """The site, in its first state."""
    here = OldSite(
        "qbench",
        lab,
        error,
        lambda: error(404, "NotFound", f"There is nothing at {request.path}."),
        limit=LIMIT,
        limit_headers=lambda most, used, reset: {
            "X-QBAPI-Throttle-Request-Count": str(used),
            "X-QBAPI-Throttle-TTL": str(math.ceil(reset)),
        },
        limit_answer=lambda most, used, reset: answer(
            {"error": f"ratelimit exceeded {most} per 60 seconds [current count: {used}. Retry in {math.ceil(reset)} seconds]"},
            429,
        ),
        at_once=AT_ONCE,
        at_once_answer=lambda most: answer({"error": f"exceeded concurrent request limit of {most}"}, 429),
    )
    flags = here.flags
    flags |= {
        "suspended": False,
        "life": 3600,
        "client_secret": CLIENT_SECRET,
        "dead_status": 401,
        "scopes": {"orders", "samples", "customers", "tests", "users"},
        "credentials": lambda method: {"client_id": CLIENT_ID, "client_secret": flags["client_secret"]},
    }
    app = here.app
    lists = {"orders": _orders(), "samples": _samples(), "customers": _customers(), "invoices": []}
    lists |= {"tests": _tests(), "users": _users()}

    def granted(family: str) -> Response:
        """A token response, with the refresh token's id in it and its JWT in the cookie jid."""
        access_token = here.issue(CLIENT_ID, flags["life"], family=family)
        refresh_id = str(uuid.uuid4())
        with lab.lock:
            here.refresh_tokens[refresh_id] = Issued(Grant(CLIENT_ID, family=family), here.now + REFRESH_SECONDS)
        body = {"access_token": access_token, "token_type": "Bearer", "expires_in": flags["life"]}
        response = answer(body | {"refresh_token": refresh_id})
        jid = jwt.encode({"jti": refresh_id, "sub": CLIENT_ID}, KEY, algorithm="HS256")
        response.set_cookie("jid", jid, secure=True, httponly=True, path="/qbench/api/v2/auth", samesite="Strict")
        return response

    @app.post("/qbench/api/v2/auth/token")
    @app.post("/qbench/oauth2/v1/token")
    def token() -> Response:
        # request.form reads both application/x-www-form-urlencoded (the guide) and multipart/form-data (the OpenAPI file).
        grant, assertion = request.form.get("grant_type"), request.form.get("assertion")
        if not grant or not assertion:
            return refused(400, "invalid_request", "grant_type and assertion are required form fields")
        if grant != JWT_BEARER:
            return refused(400, "unsupported_grant_type", "Only the jwt-bearer grant is supported")
        try:
            # Its guide names three claims; who sends more (aud: RFC 7523 3, nbf) is welcome.
            unread = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud"), False)
            options: Any = unread | {"require": ["sub", "iat", "exp"]}
            claims = jwt.decode(assertion, flags["client_secret"], ["HS256"], options)
            iat, exp = float(claims["iat"]), float(claims["exp"])
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            return refused(400, "invalid_grant", "The assertion's signature or its claims are not valid")
        if claims["sub"] != CLIENT_ID or flags["suspended"]:
            return refused(400, "invalid_grant", "Unknown client")
        if not 300 <= exp - iat <= 3600:
            return refused(400, "invalid_grant", "exp must be 5 to 60 minutes after iat")
        if abs(iat - here.now) > 300 or exp <= here.now:
            return refused(400, "invalid_grant", "iat must be within 5 minutes of the server's time")
        return granted(str(uuid.uuid4()))

    @app.post("/qbench/api/v2/auth/token/refresh")
    def refresh() -> Response:
        refresh_id, jid = request.form.get("refresh_token_id"), request.cookies.get("jid")
        if not refresh_id or not jid:
            return refused(400, "invalid_request", "refresh_token_id and the cookie jid are required")
        try:
            named = jwt.decode(jid, KEY, ["HS256"], {"verify_iat": False}).get("jti")
        except jwt.PyJWTError:
            named = None
        with lab.lock:
            issued = here.refresh_tokens.get(refresh_id)
            if issued is None or named != refresh_id or here.now >= issued.expires_at or flags["suspended"]:
                return refused(400, "invalid_grant", "The refresh token is not valid")
            if issued.dead:  # used before: somebody has a copy, so the whole family ends
                here.end(issued.grant.family)
                return refused(400, "invalid_grant", "The refresh token was used before; it is invalidated")
            issued.dead = True
        return granted(issued.grant.family)

    def guard(resource: str) -> Response | None:
        if not (bearer := here.bearer()):
            return refused(400, "invalid_request", "Invalid Authorization header format")
        if here.good(bearer) is None or flags["suspended"]:
            if flags["dead_status"] == 400:
                return refused(400, "invalid_grant", "The access token is not valid")
            return error(401, "Unauthorized", "The access token is not valid")
        if resource and resource not in flags["scopes"]:
            return error(403, "Forbidden", f"This API client has no scope for {resource}")
        return here.spent("client")

    @app.get("/qbench/api/v2/auth/token/info")
    def info() -> Response:
        return no if (no := guard("")) is not None else answer({"client_id": CLIENT_ID, "name": "Sandbox API client"})

    @app.get(LIST)
    def page(name: str) -> Response:
        if (no := guard(name)) is not None:
            return no
        try:
            number, size = int(request.args.get("page_num", 1)), int(request.args.get("page_size", 20))
        except ValueError:
            return error(400, "BadRequest", "page_num and page_size must be whole numbers")
        if number < 1 or size < 1:
            return error(400, "BadRequest", "page_num and page_size must be 1 or more")
        rows, size = list(lists[name]), min(size, 50)
        sort_by, sort_order = request.args.get("sort_by"), request.args.get("sort_order", "ASC").upper()
        if sort_order not in ("ASC", "DESC"):
            return error(400, "BadRequest", "sort_order must be ASC or DESC")
        if sort_by:
            if rows and sort_by not in rows[0]:
                return error(400, "BadRequest", f"sort_by: there is no column {sort_by[:40]}")
            rows.sort(key=lambda row: row[sort_by], reverse=sort_order == "DESC")
        start = (number - 1) * size
        body = {"page_number": number, "total_count": len(rows), "total_pages": math.ceil(len(rows) / size)}
        return answer({"data": rows[start : start + size], **body})

    @app.get(f"{LIST}/<int:key>")
    def item(name: str, key: int) -> Response:
        if (no := guard(name)) is not None:
            return no
        found = [row for row in lists[name] if row["id"] == key]
        return answer({"data": found[0]}) if found else error(404, "NotFound", f"There is no {name} item {key}")

    return here
