"""Foundry on the sandbox: what it enforces, the shapes of its answers, and the vendor's own client as a witness."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import pytest
import requests

from labauth_nb import ProviderError, SignInRefused, login, logout, session
from labauth_nb.sandbox import Lab

TOKEN, REVOKE = "/multipass/api/oauth2/token", "/multipass/api/oauth2/revoke_token"
ONTOLOGIES, OBJECTS = "/api/v2/ontologies", "/api/v2/ontologies/lab/objects/Sample"
ME, CURRENT = "/multipass/api/me", "/api/v2/admin/users/getCurrent"
GRANT = {"grant_type": "client_credentials", "scope": "api:ontologies-read"}


def ask(lab: Lab, path: str = ONTOLOGIES, verb: str = "GET", token: str = "", **options: Any) -> requests.Response:
    if token:
        options["headers"] = {"Authorization": f"Bearer {token}"}
    return requests.request(verb, lab.origin("foundry") + path, timeout=10, **options)


def ask_token(
    lab: Lab, way: str = "body", grant: dict[str, str] = GRANT, path: str = TOKEN, **changed: str
) -> requests.Response:
    """A request with the client authentication in the Basic header, in the body, in both or in neither."""
    fields = lab.credentials("foundry", "service-user") | changed
    client = {name: fields[name] for name in ("client_id", "client_secret")}
    basic = (client["client_id"], client["client_secret"]) if way in ("basic", "both") else None
    return ask(lab, path, "POST", data=grant | (client if way in ("body", "both") else {}), auth=basic)


def token_for(lab: Lab, scope: str = "api:ontologies-read") -> str:
    return str(ask_token(lab, grant=GRANT | {"scope": scope}).json()["access_token"])


def refused(response: requests.Response) -> tuple[int, str]:
    """(status, error) of an answer in the token endpoint's shape."""
    assert set(response.json()) == {"error", "error_description"}
    return response.status_code, response.json()["error"]


def said(response: requests.Response) -> tuple[int, str, str]:
    """(status, errorCode, errorName) of an answer in the API's shape."""
    body = response.json()
    assert {"errorCode", "errorName", "errorInstanceId", "parameters"} <= set(body)
    return response.status_code, body["errorCode"], body["errorName"]


UNAUTHORIZED = (401, "UNAUTHORIZED", "Default:Unauthorized")


@pytest.mark.parametrize("way", ["basic", "body"])
def test_client_authentication(lab: Lab, way: str) -> None:
    """A token comes for the client's secret in the body as well as in the Basic header: an hour, no refresh token."""
    body = ask_token(lab, way).json()
    claims = jwt.decode(body.pop("access_token"), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert body == {"token_type": "Bearer", "expires_in": 3600, "scope": "api:ontologies-read"}


WRONG_CLIENTS = [("basic", {"client_secret": "x"}), ("body", {"client_secret": "x"}), ("body", {"client_id": "x"})]


@pytest.mark.parametrize("path", [TOKEN, REVOKE])
@pytest.mark.parametrize(("way", "changed"), [*WRONG_CLIENTS, ("neither", {}), ("both", {})])
def test_client_refused(lab: Lab, path: str, way: str, changed: dict[str, str]) -> None:
    """A wrong client, none, or one given twice is 401 invalid_client, at the revocation endpoint as well."""
    assert refused(ask_token(lab, way, path=path, **changed)) == (401, "invalid_client")


@pytest.mark.parametrize("grant", ["", "password", "refresh_token", "authorization_code"])
def test_grant_refused(lab: Lab, grant: str) -> None:
    """The sandbox offers the client credentials grant only; a missing or other one gets RFC 6749's error."""
    expected = "unsupported_grant_type" if grant else "invalid_request"
    assert refused(ask_token(lab, grant={"grant_type": grant})) == (400, expected)


@pytest.mark.parametrize("scope", ["api:everything", "api:ontologies-read api:everything"])
def test_scope_refused(lab: Lab, scope: str) -> None:
    """A scope that the application lacks is invalid_scope, though it has the others."""
    assert refused(ask_token(lab, grant=GRANT | {"scope": scope})) == (400, "invalid_scope")


def test_new_secret_and_suspension(lab: Lab) -> None:
    """When the secret is made anew the old one is refused; a suspended user gets no token, and its tokens stop."""
    access, old = token_for(lab), lab.credentials("foundry", "service-user")["client_secret"]
    lab.set("foundry", client_secret="another")
    assert refused(ask_token(lab, client_secret=old)) == (401, "invalid_client")
    assert ask_token(lab).status_code == 200
    lab.suspend("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED
    with pytest.raises(SignInRefused, match="401 invalid_client"):
        login("foundry", "service-user", tenant="sandbox")


def test_expiry(lab: Lab) -> None:
    """A token lasts the hour that it was given, by the sandbox's clock, and the time-to-live endpoint counts it down."""
    access = token_for(lab)
    lab.advance("59m")
    assert 0 < ask(lab, "/multipass/api/token/ttl", token=access).json() <= 60
    assert ask(lab, token=access).status_code == 200
    lab.advance("1m")
    assert said(ask(lab, token=access)) == UNAUTHORIZED


@pytest.mark.parametrize("end", ["expire", "revoke", "endpoint", "reset"])
def test_token_ended(lab: Lab, end: str) -> None:
    """Expired or revoked by a lever, revoked by its owner or forgotten by a reset: the token is refused at once."""
    access = token_for(lab)
    if end == "endpoint":
        assert ask_token(lab, grant={"token": access}, path=REVOKE).status_code == 200
        assert ask_token(lab, grant={"token": "unknown"}, path=REVOKE).status_code == 200
    elif end == "reset":
        lab.reset()
    else:
        getattr(lab, end)("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED
    assert ask(lab, token=token_for(lab)).status_code == 200


def test_log_out_revokes(lab: Lab) -> None:
    """Logging out of a service user ends its token at the sandbox."""
    access = login("foundry", "service-user", tenant="sandbox").token().access_token
    assert ask(lab, token=access).status_code == 200
    logout("foundry")
    assert said(ask(lab, token=access)) == UNAUTHORIZED


def test_skew(lab: Lab) -> None:
    """The server's Date header and its tokens tell its own time, however far the client's clock is off."""
    lab.skew(7200)
    claims = jwt.decode(token_for(lab), options={"verify_signature": False})
    response = ask(lab, token=token_for(lab))
    assert response.status_code == 200
    assert len(response.raw.headers.getlist("date")) == 1
    for told in (claims["iat"], parsedate_to_datetime(response.headers["date"]).timestamp()):
        assert told - lab.clock.time() == pytest.approx(7200, abs=5)


@pytest.mark.parametrize("token", ["", "x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ."])
def test_no_token(lab: Lab, token: str) -> None:
    """Without a token, or with one that the sandbox never gave, every endpoint is 401 in the API's shape."""
    for path in (ONTOLOGIES, OBJECTS, ME, CURRENT, "/multipass/api/token/ttl", "/api/v2/datasets/x"):
        assert said(ask(lab, path, token=token)) == UNAUTHORIZED


NEEDS = {ONTOLOGIES: "api:ontologies-read", OBJECTS: "api:ontologies-read", CURRENT: "api:admin-read"}


@pytest.mark.parametrize(("path", "scope"), NEEDS.items())
def test_missing_scope(lab: Lab, path: str, scope: str) -> None:
    """A call beyond the token's scopes is 403 and names the missing scope; who I am needs none; no scope asked means all."""
    other = token_for(lab, "api:datasets-read")
    response = ask(lab, path, token=other)
    assert said(response) == (403, "PERMISSION_DENIED", "ApiUsageDenied")
    assert response.json()["parameters"] == {"missingScope": scope}
    assert ask(lab, ME, token=other).json()["username"] == "sandbox-service-user"
    assert ask(lab, path, token=token_for(lab, scope)).status_code == 200
    assert ask(lab, path, token=token_for(lab, "")).status_code == 200


def test_missing_scope_said(lab: Lab) -> None:
    """A session's error names the scope to ask for."""
    login("foundry", "service-user", tenant="sandbox", scopes="api:datasets-read")
    with session("foundry") as held, pytest.raises(ProviderError, match="Ask for the scope api:ontologies-read"):
        held.check(held.get("ontologies"))


def test_pasted_token(lab: Lab) -> None:
    """A token made in the settings acts as the user, with all scopes, for its own 8 hours."""
    access = lab.credentials("foundry", "token")["token"]
    assert [ask(lab, path, token=access).status_code for path in (ONTOLOGIES, CURRENT)] == [200, 200]
    assert ask(lab, ME, token=access).json()["username"] == "ada"
    lab.advance("8h")
    assert said(ask(lab, ME, token=access)) == UNAUTHORIZED


def test_paging(lab: Lab) -> None:
    """130 objects come in pages of 50, 50 and 30, each once; the last page has no nextPageToken; ontologies are not paged."""
    access, pages, cursor = token_for(lab), [], ""
    while not pages or cursor:
        body = ask(lab, OBJECTS, token=access, params={"pageSize": 50, "pageToken": cursor}).json()
        pages, cursor = [*pages, [row["__primaryKey"] for row in body["data"]]], body.get("nextPageToken", "")
    assert [len(page) for page in pages] == [50, 50, 30]
    assert len({key for page in pages for key in page}) == 130
    assert "nextPageToken" not in body
    assert list(ask(lab, token=access).json()) == ["data"]


@pytest.mark.parametrize("params", [{"pageSize": 0}, {"pageSize": 1001}, {"pageToken": "x"}, {"pageToken": "LTk="}], ids=str)
def test_page_refused(lab: Lab, params: dict[str, Any]) -> None:
    """A page size or a page token that cannot be is 400 in the API's shape."""
    assert said(ask(lab, OBJECTS, token=token_for(lab), params=params))[:2] == (400, "INVALID_ARGUMENT")


def test_rate_limit(lab: Lab) -> None:
    """A user has 5,000 requests a minute; the next is 429 in the API's shape, without headers, until the minute is over."""
    access = token_for(lab)
    assert ask(lab, token=access).status_code == 200
    (window,) = lab.sites["foundry"].windows.values()
    assert window[1] == 1
    window[1] = 4999
    last, over = ask(lab, token=access), ask(lab, token=access)
    assert (last.status_code, said(over)) == (200, (429, "RATE_LIMITED", "Default:RateLimited"))
    assert {name for name in over.headers if "limit" in name.lower() or "retry" in name.lower()} == set()
    assert ask(lab, token=lab.credentials("foundry", "token")["token"]).status_code == 200
    lab.advance(60)
    assert ask(lab, token=access).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/v2/nothing", "/multipass/api/nothing", "/api/v3/ontologies", "/api//v2/ontologies"]
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_path(lab: Lab, verb: str, path: str) -> None:
    """Every unknown path is a 404 in the API's shape, and a verb that a known path does not take a 405 in it."""
    access = token_for(lab)
    assert said(ask(lab, path, verb, access)) == (404, "NOT_FOUND", "ApiNotFound")
    assert said(ask(lab, ONTOLOGIES, "DELETE", access))[:2] == said(ask(lab, TOKEN))[:2] == (405, "INVALID_ARGUMENT")


@pytest.mark.parametrize("path", ["ontologies/none", "ontologies/none/objectTypes", "ontologies/none/objects/Sample"])
def test_unknown_item(lab: Lab, path: str) -> None:
    """What is not there is a 404 with its own errorName."""
    access = token_for(lab, "")
    assert said(ask(lab, f"/api/v2/{path}", token=access)) == (404, "NOT_FOUND", "OntologyNotFound")
    assert said(ask(lab, "/api/v2/ontologies/lab/objects/X", token=access)) == (404, "NOT_FOUND", "ObjectTypeNotFound")
    assert said(ask(lab, "/api/v2/datasets/none", token=token_for(lab, "api:datasets-read"))) == (
        404,
        "NOT_FOUND",
        "DatasetNotFound",
    )
    assert said(ask(lab, "/api/v2/datasets/none", token=token_for(lab)))[2] == "ApiUsageDenied"


def test_faults(lab: Lab) -> None:
    """The next N answers are what the lever says, in the API's shape, and requests are counted all the same."""
    access = token_for(lab)
    lab.next("foundry", 429)
    lab.next("foundry", 500, times=2, path="ontologies")
    lab.next("foundry", 503, path="token")
    assert said(ask(lab, token=access)) == (429, "RATE_LIMITED", "Default:RateLimited")
    assert ask(lab, ME, token=access).status_code == 200
    assert [said(ask(lab, token=access))[:2] for _ in range(2)] == [(500, "INTERNAL")] * 2
    assert [ask_token(lab).status_code for _ in range(2)] == [503, 200]
    assert (lab.count("foundry", f"GET {ONTOLOGIES}"), lab.token_requests("foundry")) == (3, 3)


def client_for(lab: Lab, scopes: list[str] | None, secret: str = "") -> Any:
    """foundry-platform-sdk pointed at the sandbox."""
    import foundry_sdk

    fields, config = lab.credentials("foundry", "service-user"), foundry_sdk.Config(scheme="http")
    auth = foundry_sdk.ConfidentialClientAuth(
        fields["client_id"], secret or fields["client_secret"], scopes=scopes, should_refresh=False
    )
    return foundry_sdk.FoundryClient(auth=auth, hostname=lab.origin("foundry").removeprefix("http://"), config=config)


@pytest.mark.witness
def test_witness(lab: Lab) -> None:
    """foundry-platform-sdk signs in as a service user, and reads ontologies, their types and all objects over their pages."""
    client = client_for(lab, ["api:ontologies-read"])
    assert [each.api_name for each in client.ontologies.Ontology.list().data] == ["lab", "manufacturing"]
    assert client.ontologies.Ontology.get("lab").display_name == "Laboratory"
    assert [each.api_name for each in client.ontologies.Ontology.ObjectType.list("lab")] == ["Sample"]
    objects = list(client.ontologies.OntologyObject.list("lab", "Sample", page_size=50))
    assert (len(objects), len({each["sampleId"] for each in objects})) == (130, 130)
    assert lab.count("foundry", f"GET {OBJECTS}") == 3
    assert lab.token_requests("foundry") == 1


@pytest.mark.witness
def test_witness_missing_scope(lab: Lab) -> None:
    """foundry-platform-sdk sees a missing scope as PermissionDenied with its name; without scopes it has them all."""
    import foundry_sdk

    client = client_for(lab, ["api:datasets-read"])
    with pytest.raises(foundry_sdk.PermissionDeniedError) as caught:
        client.ontologies.Ontology.list()
    assert (caught.value.name, caught.value.parameters) == ("ApiUsageDenied", {"missingScope": "api:ontologies-read"})
    assert client_for(lab, None).admin.User.get_current().username == "sandbox-service-user"


@pytest.mark.witness
def test_witness_refused(lab: Lab) -> None:
    """foundry-platform-sdk reports a wrong secret, a dead token and an unknown ontology by its own errors."""
    import foundry_sdk

    with pytest.raises(foundry_sdk.SDKInternalError, match=r"401 UNAUTHORIZED.*oauth2/token"):
        client_for(lab, None, secret="wrong").ontologies.Ontology.list()
    client = client_for(lab, None)
    with pytest.raises(foundry_sdk.NotFoundError):
        client.ontologies.Ontology.get("none")
    lab.revoke("foundry")
    with pytest.raises(foundry_sdk.UnauthorizedError):
        client.ontologies.Ontology.list()
