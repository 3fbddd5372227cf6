"""QBench on the sandbox: what it enforces, the shapes of its answers, and the PyPI client as a
witness."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from conftest import Crowd, check_headers
from jsonschema import Draft4Validator
from pages import refused

from labauth_nb import ProviderError, login, session
from labauth_nb.sandbox import Lab

BASE = "/qbench/api/v2"
TOKEN, OLD_TOKEN, REFRESH, ORDERS = (
    f"{BASE}/auth/token",
    "/qbench/oauth2/v1/token",
    f"{BASE}/auth/token/refresh",
    f"{BASE}/orders",
)
OPENAPI = Path(__file__).with_name("qbench_openapi.json")
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def ask(
    lab: Lab, path: str = ORDERS, verb: str = "GET", token: str = "", **options: Any
) -> requests.Response:
    if token:
        options["headers"] = {"Authorization": f"Bearer {token}"}
    return requests.request(verb, lab.origin("qbench") + path, timeout=10, **options)


def assertion(
    lab: Lab,
    early: int = 0,
    life: int = 1800,
    key: str = "",
    algorithm: str = "HS256",
    **changed: Any,
) -> str:
    """An assertion issued `early` seconds ahead of the clock, good for `life` seconds; a claim
    changed to None is left out."""
    client = lab.credentials("qbench", "client")
    now = int(lab.clock.time()) + early
    claims = {"sub": client["client_id"], "iat": now, "exp": now + life} | changed
    secret = None if algorithm == "none" else key or client["client_secret"]
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm
    )


def ask_token(lab: Lab, signed: str, path: str = TOKEN, grant: str = GRANT) -> requests.Response:
    return ask(lab, path, "POST", data={"grant_type": grant, "assertion": signed})


def ask_refresh(lab: Lab, refresh_token: str, jid: str) -> requests.Response:
    return ask(lab, REFRESH, "POST", data={"refresh_token_id": refresh_token}, cookies={"jid": jid})


def first(lab: Lab) -> tuple[str, str, str]:
    """A new family: access token, refresh token, cookie."""
    return parts(ask_token(lab, assertion(lab)))


def parts(response: requests.Response) -> tuple[str, str, str]:
    assert response.status_code == 200, response.text
    return (
        response.json()["access_token"],
        response.json()["refresh_token"],
        response.cookies["jid"],
    )


def said(response: requests.Response) -> tuple[int, str]:
    """(status, error_type) of an answer in the resources' shape; `errors` comes with 400 only."""
    extra = {"errors"} if response.status_code == 400 else set()
    assert set(response.json()) == {"error_description", "error_type", "error_token"} | extra
    check_headers(response)
    return response.status_code, response.json()["error_type"]


@pytest.mark.parametrize("path", [TOKEN, OLD_TOKEN])
@pytest.mark.parametrize("multipart", [False, True])
def test_token(lab: Lab, path: str, multipart: bool) -> None:
    """Both token paths take the assertion urlencoded and as multipart, and give an hour, a refresh
    token and its cookie."""
    form = {"grant_type": GRANT, "assertion": assertion(lab)}
    response = (
        ask(lab, path, "POST", files={k: (None, v) for k, v in form.items()})
        if multipart
        else ask_token(lab, form["assertion"], path)
    )
    access, refresh, jid = parts(response)
    assert response.json() == {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_token": refresh,
    }
    assert jwt.decode(jid, options={"verify_signature": False})["jti"] == refresh
    assert {"Secure", "HttpOnly"} <= set(response.headers["set-cookie"].split("; "))
    assert ask(lab, token=access).status_code == 200


TAKEN = [(0, 300), (0, 3600), (-290, 1800), (290, 1800)]
REFUSED = [(0, 299), (0, 3601), (0, -1800), (-310, 1800), (310, 1800), (-302, 300)]


@pytest.mark.parametrize(("early", "life"), TAKEN + REFUSED)
def test_time_bounds(lab: Lab, early: int, life: int) -> None:
    """An assertion lives 5 to 60 minutes and is issued within 5 minutes of the server's clock; else
    400 invalid_grant."""
    response = ask_token(lab, assertion(lab, early, life))
    if (early, life) in TAKEN:
        assert response.status_code == 200
    else:
        assert refused(response) == (400, "invalid_grant")


WRONG_CLAIMS = [
    {"sub": "another-client"},
    {"sub": None},
    {"iat": None},
    {"exp": None},
    {"exp": "later"},
    {"exp": 10**400},
]
WRONG_KEYS = [
    {"key": "a secret of somebody else, 32 bytes long"},
    {"algorithm": "none"},
    {"algorithm": "HS384"},
]


# by its message: PyJWT before 2.11 has no class for it
@pytest.mark.filterwarnings("ignore:The HMAC key is")
@pytest.mark.parametrize("changed", WRONG_CLAIMS + WRONG_KEYS, ids=str)
def test_assertion_refused(lab: Lab, changed: dict[str, Any]) -> None:
    """A wrong signature, algorithm or client and a claim that is missing or no number are 400
    invalid_grant, at both paths."""
    signed = assertion(lab, **changed)
    assert (
        refused(ask_token(lab, signed))
        == refused(ask_token(lab, signed, OLD_TOKEN))
        == (400, "invalid_grant")
    )


@pytest.mark.parametrize("aud", [TOKEN, ["https://acme.qbench.net", "x"]])
def test_assertion_with_more(lab: Lab, aud: Any) -> None:
    """An assertion may have aud, iss, jti and nbf, as RFC 7523 wants and other clients send, though
    the guide names none."""
    client_id = lab.credentials("qbench", "client")["client_id"]
    lab.advance("1h")  # nbf is read by nobody's clock, so not by the wall clock either
    signed = assertion(lab, aud=aud, iss=client_id, jti="1", nbf=int(lab.clock.time()))
    assert ask(lab, token=parts(ask_token(lab, signed))[0]).status_code == 200


def test_grants(lab: Lab) -> None:
    """Only the jwt-bearer grant is taken, and only with an assertion; the client's secret itself
    opens nothing."""
    assert refused(ask_token(lab, assertion(lab), grant="client_credentials")) == (
        400,
        "unsupported_grant_type",
    )
    assert (
        refused(ask_token(lab, ""))
        == refused(ask_token(lab, assertion(lab), grant=""))
        == (400, "invalid_request")
    )
    client = lab.credentials("qbench", "client")
    assert refused(ask(lab, TOKEN, "POST", auth=tuple(client.values()))) == (400, "invalid_request")
    assert refused(ask_token(lab, client["client_secret"])) == (400, "invalid_grant")


def test_new_secret_and_suspension(lab: Lab) -> None:
    """When the secret is regenerated the old one is refused; a suspended client gets no token and
    its tokens stop."""
    old, (access, refresh, jid) = assertion(lab), first(lab)
    lab.set("qbench", client_secret="another secret, long enough for HS256")
    assert refused(ask_token(lab, old)) == (400, "invalid_grant")
    lab.suspend("qbench")
    assert (
        refused(ask_token(lab, assertion(lab)))
        == refused(ask_refresh(lab, refresh, jid))
        == (400, "invalid_grant")
    )
    assert said(ask(lab, token=access)) == (401, "Unauthorized")


def test_refresh_rotates(lab: Lab) -> None:
    """A refresh gives a new access token and a new refresh token, each good for one use; the old
    access token goes on."""
    family = first(lab)
    again = parts(ask_refresh(lab, *family[1:]))
    third = parts(ask_refresh(lab, *again[1:]))
    assert len({*family, *again, *third}) == 9
    assert [ask(lab, token=each[0]).status_code for each in (family, again, third)] == [
        200,
        200,
        200,
    ]


def test_reuse_kills_the_family(lab: Lab) -> None:
    """A refresh token used twice ends its whole family, access tokens included, and no other
    family."""
    family, other = first(lab), first(lab)
    again = parts(ask_refresh(lab, *family[1:]))
    assert refused(ask_refresh(lab, *family[1:])) == (400, "invalid_grant")
    assert refused(ask_refresh(lab, *again[1:])) == (400, "invalid_grant")
    assert [ask(lab, token=each[0]).status_code for each in (family, again, other)] == [
        401,
        401,
        200,
    ]
    assert ask_refresh(lab, *other[1:]).status_code == 200


def test_refresh_needs_both_parts(lab: Lab) -> None:
    """A refresh needs the form field and the cookie jid, and both of the same token."""
    (_, refresh, jid), (_, _, other_jid) = first(lab), first(lab)
    assert refused(ask(lab, REFRESH, "POST", data={"refresh_token_id": refresh})) == (
        400,
        "invalid_request",
    )
    assert refused(ask(lab, REFRESH, "POST", cookies={"jid": jid})) == (400, "invalid_request")
    forged = jwt.encode(
        {"jti": refresh}, "another key that is at least 32 bytes", algorithm="HS256"
    )
    for wrong in (other_jid, forged, "x"):
        assert refused(ask_refresh(lab, refresh, wrong)) == (400, "invalid_grant")
    assert ask_refresh(lab, refresh, jid).status_code == 200


def test_expiry(lab: Lab) -> None:
    """An access token lasts an hour and a refresh token 7 days, by the sandbox's clock."""
    (access, refresh, jid), (_, late, late_jid) = first(lab), first(lab)
    lab.advance("59m")
    assert ask(lab, token=access).status_code == 200
    lab.advance("1m")
    assert said(ask(lab, token=access)) == (401, "Unauthorized")
    lab.advance(7 * 86400 - 3600 - 60)
    assert ask_refresh(lab, refresh, jid).status_code == 200
    lab.advance(60)
    assert refused(ask_refresh(lab, late, late_jid)) == (400, "invalid_grant")


@pytest.mark.parametrize("lever", ["expire", "revoke"])
def test_dead_token(lab: Lab, lever: str) -> None:
    """A token ended by a lever is refused at once, by 401 or, as some report, by 400; a missing one
    by the third wording."""
    access, refresh, jid = first(lab)
    getattr(lab, lever)("qbench")
    assert said(ask(lab, token=access)) == (401, "Unauthorized")
    lab.set("qbench", dead_status=400)
    assert refused(ask(lab, token=access)) == (400, "invalid_grant")
    assert refused(ask(lab)) == (400, "invalid_request")
    assert ask(lab).json()["error_description"] == "Invalid Authorization header format"
    assert ask(lab, token=parts(ask_refresh(lab, refresh, jid))[0]).status_code == 200


def test_scopes(lab: Lab) -> None:
    """An endpoint that is not ticked in the Scopes tab is 403, and the session's error says where
    to tick it."""
    login("qbench", tenant="sandbox")
    with session("qbench") as held:
        assert held.get("orders").status_code == 200
        assert said(held.get("invoices")) == (403, "Forbidden")
        with pytest.raises(ProviderError, match="Scopes tab"):
            held.check(held.get("invoices"))
        lab.set("qbench", scopes={"invoices"})
        assert [
            held.get(name).status_code for name in ("invoices", "orders", "auth/token/info")
        ] == [200, 403, 200]


@pytest.mark.parametrize("seconds", [-900, 900])
def test_clock_skew(lab: Lab, seconds: int) -> None:
    """With the server's clock 15 minutes off our time is refused and the server's taken, which a
    login finds out by itself."""
    lab.skew(seconds)
    assert refused(ask_token(lab, assertion(lab))) == (400, "invalid_grant")
    assert ask_token(lab, assertion(lab, early=seconds)).status_code == 200
    assert (
        f"15 min {'behind' if seconds > 0 else 'ahead'}"
        in login("qbench", tenant="sandbox").clock_note
    )


@pytest.mark.parametrize(("name", "many"), [("tests", 480), ("users", 4)])
def test_more_lists(lab: Lab, name: str, many: int) -> None:
    """Tests and users are lists like the orders: paged, read one by one, and closed where their
    scope is not ticked."""
    login("qbench", tenant="sandbox")
    with session("qbench") as held:
        assert len(held.frame(name)) == many
        assert held.get(f"{name}/{many}").json()["data"]["id"] == many
        assert held.get(f"{name}/{many + 1}").status_code == 404
        lab.set("qbench", scopes={"orders"})
        assert said(held.get(name)) == said(held.get(f"{name}/1")) == (403, "Forbidden")


def test_paging(lab: Lab) -> None:
    """Pages are 20 long unless asked for, at most 50; total_pages says where they end, and what is
    after it is empty."""
    access, *_ = first(lab)
    body = ask(lab, token=access).json()
    assert (len(body.pop("data")), body) == (
        20,
        {"page_number": 1, "total_count": 150, "total_pages": 8},
    )
    pages = [
        ask(lab, token=access, params={"page_num": n, "page_size": 99}).json() for n in (1, 2, 3, 4)
    ]
    assert [len(page["data"]) for page in pages] == [50, 50, 50, 0]
    assert {page["total_pages"] for page in pages} == {3}
    assert len({row["id"] for page in pages for row in page["data"]}) == 150
    last = ask(
        lab, token=access, params={"sort_by": "id", "sort_order": "DESC", "page_size": 1}
    ).json()["data"]
    assert last[0] == ask(lab, f"{ORDERS}/150", token=access).json()["data"]


@pytest.mark.parametrize(
    "params",
    [{"page_num": 0}, {"page_size": 0}, {"page_num": "x"}, {"sort_by": "x"}, {"sort_order": "UP"}],
    ids=str,
)
def test_page_refused(lab: Lab, params: dict[str, Any]) -> None:
    """A page number, a size, a column or an order that cannot be is 400 in the resources' shape,
    with `errors`."""
    assert said(ask(lab, token=first(lab)[0], params=params)) == (400, "BadRequest")


def test_rate_limit(lab: Lab) -> None:
    """300 requests in 60 s: the headers count up, the 301st is 429 in the third error shape, and
    after the TTL it goes on."""
    headers = {"Authorization": f"Bearer {first(lab)[0]}"}
    with requests.Session() as held:
        url = lab.origin("qbench") + ORDERS + "?page_size=1"
        answers = [held.get(url, headers=headers) for _ in range(301)]
        assert [a.status_code for a in answers] == [200] * 300 + [429]
        assert [a.headers["X-QBAPI-Throttle-Request-Count"] for a in answers] == [
            str(n) for n in range(1, 302)
        ]
        wait = int(answers[-1].headers["X-QBAPI-Throttle-TTL"])
        expected = (
            f"ratelimit exceeded 300 per 60 seconds [current count: 301. Retry in {wait} seconds]"
        )
        assert (answers[-1].json(), "retry-after" in answers[-1].headers) == (
            {"error": expected},
            False,
        )
        lab.advance(wait)
        assert held.get(url, headers=headers).status_code == 200


def test_ten_at_once(lab: Lab, crowd: Crowd) -> None:
    """Of the client's requests 10 may be under way: the 11th is 429 in QBench's words, without a
    header, and then served."""
    (one, *_), (two, *_) = first(lab), first(lab)
    with crowd("qbench", 10, lambda: ask(lab, token=one)) as held:
        for path in (ORDERS, f"{BASE}/auth/token/info"):
            over = ask(lab, path, token=two)
            assert (over.status_code, over.json()) == (
                429,
                {"error": "exceeded concurrent request limit of 10"},
            )
            assert [
                name for name in over.headers if name.lower().startswith(("x-qbapi", "retry"))
            ] == []
        assert ask_token(lab, assertion(lab)).status_code == 200
        assert said(ask(lab, token="unknown")) == (401, "Unauthorized")
    assert [each.result().status_code for each in held] == [200] * 10
    assert ask(lab, token=two).headers["X-QBAPI-Throttle-Request-Count"] == "11"


@pytest.mark.parametrize(
    "path",
    ["/", "/qbench", f"{BASE}/nothing", "/qbench/api/v1/orders", f"{BASE}//orders", f"{ORDERS}/x"],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_path(lab: Lab, verb: str, path: str) -> None:
    """Every unknown path is a 404 in the resources' shape, and a verb that a known path does not
    take a 405 in it."""
    access, *_ = first(lab)
    assert said(ask(lab, path, verb, access)) == (404, "NotFound")
    assert said(ask(lab, f"{ORDERS}/151", token=access)) == (404, "NotFound")
    assert said(ask(lab, TOKEN)) == said(ask(lab, ORDERS, "PUT")) == (405, "MethodNotAllowed")


def test_faults(lab: Lab) -> None:
    """The next N answers are what the lever says, in QBench's shapes, and requests are counted all
    the same."""
    access, *_ = first(lab)
    lab.next("qbench", 429, seconds=9)
    lab.next("qbench", 500)
    lab.next("qbench", 503, times=2, path="orders")
    slow_down = ask(lab, token=access)
    assert (
        slow_down.status_code,
        slow_down.headers["X-QBAPI-Throttle-TTL"],
        list(slow_down.json()),
    ) == (429, "9", ["error"])
    assert said(ask(lab, token=access)) == (500, "InternalServerError")
    assert ask(lab, f"{BASE}/samples", token=access).status_code == 200
    assert [ask(lab, token=access).status_code for _ in range(3)] == [503, 503, 200]
    assert (lab.count("qbench", f"GET {ORDERS}"), lab.token_requests("qbench")) == (5, 1)


@functools.cache
def openapi() -> dict[str, Any]:
    """The part of QBench's published OpenAPI file that is needed; its records closed, so that no
    unknown key passes."""

    def closed(node: dict[str, Any]) -> dict[str, Any]:
        return (
            {"additionalProperties": False} | node
            if node.get("type") == "object" and "properties" in node
            else node
        )

    return json.loads(OPENAPI.read_text(encoding="utf-8"), object_hook=closed)  # type: ignore[no-any-return]


ONES = ("order", "sample", "customer", "test", "user")
READS = [(f"/{name}", f"/{name}") for name in ("invoices", *(f"{one}s" for one in ONES))]
READS += [(f"/{name}s/{{{name}_id}}", f"/{name}s/{key}") for name in ONES for key in ("1", "999")]


@pytest.mark.parametrize(("path", "actual"), [*READS, ("/orders", "/orders?page_num=x")])
def test_shapes(lab: Lab, path: str, actual: str) -> None:
    """Lists, single items and refusals keep to QBench's own schema, and a record has no key that
    the schema lacks."""
    lab.set("qbench", scopes={"invoices", *(f"{one}s" for one in ONES)})
    response = ask(lab, BASE + actual, token=first(lab)[0])
    documented = openapi()["paths"][BASE + path]["get"]["responses"][str(response.status_code)]
    schema = documented["content"]["application/json"]["schema"]
    Draft4Validator({"allOf": [schema], "components": openapi()["components"]}).validate(
        response.json()
    )


@pytest.mark.witness
def test_witness(lab: Lab) -> None:
    """The PyPI client qbench signs in by itself, on the older path, and reads all orders over their
    pages."""
    import qbench

    client = qbench.connect(lab.origin("qbench"), *lab.credentials("qbench", "client").values())
    orders = client.get_orders()
    assert sorted(order["id"] for order in orders) == list(range(1, 151))
    assert client.get_order(7)["custom_formatted_id"] == "ORD-00007"
    assert (lab.count("qbench", f"POST {OLD_TOKEN}"), lab.token_requests("qbench")) == (1, 1)
    assert lab.count("qbench", f"GET {ORDERS}") == 4


@pytest.mark.witness
def test_witness_refused(lab: Lab) -> None:
    """The PyPI client qbench reports a wrong secret, and a scope that is not ticked, by its own
    errors."""
    import qbench

    with pytest.raises(qbench.QBenchAuthError, match="400"):
        qbench.connect(
            lab.origin("qbench"), lab.credentials("qbench", "client")["client_id"], "wrong"
        )
    client = qbench.connect(lab.origin("qbench"), *lab.credentials("qbench", "client").values())

    async def read() -> Any:
        return await client.get_invoices()  # inside a running loop, as in a notebook, it is awaited

    with pytest.raises(qbench.QBenchConnectionError, match="403"):
        asyncio.run(read())
