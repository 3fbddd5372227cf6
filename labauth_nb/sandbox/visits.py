"""`visit`: the person and the browser, played without a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from .sites import Shared, Site

MOST_STEPS = 20
Words = dict[str, str]


class _Page(HTMLParser):
    """The fields of a page's form (None: it has no form), its alert, its heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] | None = None
        self.said = {"alert": "", "h1": ""}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self._inside = "alert" if named.get("role") == "alert" else tag
        if tag == "form":
            self.fields = {}
        elif tag == "input" and self.fields is not None:
            self.fields[named["name"]] = named.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.said:
            self.said[self._inside] += data


def _site(lab: Shared, url: str) -> Site | None:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return next((lab.sites[name] for name in lab.sites if lab.origin(name) == origin), None)


def visit(lab: Shared, url: str, choice: str, typed: dict[str, str]) -> str:
    """See `Lab.visit`."""
    if choice not in ("allow", "deny"):
        raise ValueError(f"{choice!r} is not a choice: 'allow' or 'deny'.")
    if _site(lab, url) is None:
        raise ValueError("This address is not one of the sandbox's.")
    clients: dict[str, Any] = {}  # one per site: each keeps its cookies
    form: dict[str, str] | None = None
    submitted = False
    for _ in range(MOST_STEPS):
        here = _site(lab, url)
        if here is None:
            return url
        client = clients.setdefault(here.name, here.app.test_client())
        response = client.get(url) if form is None else client.post(url, data=form)
        form = None
        if response.location:
            url = urljoin(url, response.location)
            continue
        page = _read(here, response)
        if page.fields is None or submitted:
            return url
        form, submitted = _filled(page.fields, typed, here.person()) | {"choice": choice}, True
    raise ValueError("The sandbox's pages send the browser round and round.")


def _read(here: Site, response: Any) -> _Page:
    """The page that came; `ValueError` with its message where it is an error."""
    if response.is_json:
        message = response.text.strip()
        raise ValueError(f"{here.name} responded with {response.status_code}: {message}")
    page = _Page(response.text)
    if page.said["alert"] or response.status_code >= 400:
        message = page.said["alert"] or page.said["h1"]
        raise ValueError(message or f"{here.name} responded with {response.status_code}.")
    return page


def _filled(fields: Words, typed: Words, person: Words) -> Words:
    """The form, with what was typed, or stood in it, or the person knows."""
    if unknown := sorted(set(typed) - set(fields)):
        raise ValueError(f"The page has no field {unknown[0]!r}: {', '.join(fields)}.")
    return {name: typed.get(name, value or person.get(name, "")) for name, value in fields.items()}
