"""A browser's part, by hand: sign-in addresses, forms, codes on their way home, and token requests
for them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from conftest import check_headers

from labauth_nb.sandbox import Lab

HERE, VERIFIER = "http://127.0.0.1:8888/", "a-code_verifier.of~43.characters-or-more-0001"
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
INVALID_GRANT = (400, "invalid_grant")


class Form(HTMLParser):
    """What a page's form sends: the inputs with their values, the buttons as (name, value), and
    where to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.action = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = named.get("action", "")
        elif tag == "input":
            self.inputs[named["name"]] = named.get("value", "")
        elif tag == "button":
            self.buttons.append((named["name"], named["value"]))


def carried(url: str) -> dict[str, str]:
    """The parameters in an address."""
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def landed(url: str | None, home: str = HERE) -> dict[str, str]:
    """What an address carries to the client, whose redirect_uri is `home`."""
    assert url is not None
    assert url.startswith(home + ("&" if "?" in home else "?"))
    return carried(url)


def refused(response: requests.Response) -> tuple[int, str]:
    """(status, error) of a response in RFC 6749's shape."""
    assert set(response.json()) == {"error", "error_description"}
    check_headers(response)
    return response.status_code, response.json()["error"]


@dataclass(frozen=True)
class Client:
    """A client of one site: what it sends with a browser to `page`, and to `token` for a code; None
    leaves one out."""

    site: str
    page: str
    token: str
    sent: dict[str, str]
    proof: dict[str, str] = field(default_factory=dict)

    def address(self, lab: Lab, **changed: str | None) -> str:
        """The address of the sign-in page."""
        sent: dict[str, str | None] = {
            "response_type": "code",
            "redirect_uri": HERE,
            **self.sent,
        } | changed
        query = urlencode({k: v for k, v in sent.items() if v is not None})
        return f"{lab.origin(self.site)}{self.page}?{query}"

    def code(self, lab: Lab, **changed: str | None) -> str:
        """A code, allowed by the person."""
        return landed(lab.visit(self.address(lab, **changed)), changed.get("redirect_uri") or HERE)[
            "code"
        ]

    def exchange(self, lab: Lab, code: str, **changed: str | None) -> requests.Response:
        """The token request for a code."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": HERE,
        }
        return requests.post(
            lab.origin(self.site) + self.token, data=form | self.proof | changed, timeout=10
        )
