"""`visit`: the person and the browser, played without a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from .lab import Lab, OldSite

MOST_STEPS = 20


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


def _site(lab: Lab, url: str) -> OldSite | None:
    parts = urlsplit(url)
    return next((lab.sites[name] for name in lab.sites if lab.origin(name) == f"{parts.scheme}://{parts.netloc}"), None)


def visit(lab: Lab, url: str, choice: str, typed: dict[str, str]) -> str:
    """See `Lab.visit`."""
    if choice not in ("allow", "deny"):
        raise ValueError(f"{choice!r} is no choice: 'allow' or 'deny'.")
    if _site(lab, url) is None:
        raise ValueError("This address is not one of the sandbox's.")
    clients: dict[str, Any] = {}  # one per site: each keeps its cookies
    form, submitted = None, False
    for _ in range(MOST_STEPS):
        here = _site(lab, url)
        if here is None:
            return url
        client = clients.setdefault(here.name, here.app.test_client())
        response = client.get(url) if form is None else client.post(url, data=form)
        form = None
        if response.is_json:
            raise ValueError(f"{here.name} answered {response.status_code}: {response.text.strip()}")
        if response.location:
            url = urljoin(url, response.location)
            continue
        shown = _Page(response.text)
        if shown.said["alert"] or response.status_code >= 400:
            raise ValueError(shown.said["alert"] or shown.said["h1"] or f"{here.name} answered {response.status_code}.")
        if shown.fields is None or submitted:
            return url
        if unknown := sorted(set(typed) - set(shown.fields)):
            raise ValueError(f"The page has no field {unknown[0]!r}: {', '.join(shown.fields)}.")
        person = here.person()
        form = {name: typed.get(name, value or person.get(name, "")) for name, value in shown.fields.items()}
        form, submitted = form | {"choice": choice}, True
    raise ValueError("The sandbox's pages send the browser round and round.")
