"""The web pages of the sandbox: their style, their headers, and the form that a person fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from flask import Response

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 3rem auto; padding: 0 1rem }
body { color: #1c2127; background: #fff }
.sandbox { color: #5f6b7c; border-bottom: 1px solid #d3d8de }
[role=alert] { color: #ac2f33; font-weight: 600 }
label, input { display: block; width: 100%; box-sizing: border-box }
input { font: inherit; padding: .4rem; margin-bottom: 1rem }
button { font: inherit; padding: .4rem 1.2rem; margin-right: .5rem }
code { overflow-wrap: anywhere }
"""
POLICY = (
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
"""No form-action: Chromium would apply it to the redirect after the form, too."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "; ".join(POLICY),
}
FIELDS = {
    "username": ("User name", "text", "username"),
    "email": ("E-mail address", "email", "username"),
    "password": ("Password", "password", "current-password"),
    "otp": ("One-time code", "text", "one-time-code"),
    "user_code": ("Code shown on your device", "text", "off"),
}
"""A form's fields: label, type, autocomplete."""


def page(title: str, body: str, status: int = 200) -> Response:
    """A web page; `body` is HTML."""
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        '<p class="sandbox">SANDBOX: a practice page, on this computer only</p>'
        f"<h1>{escape(title)}</h1>{body}</html>"
    )
    return Response(text, status, HEADERS, mimetype="text/html")


def send_to(url: str) -> Response:
    """A redirect that is a GET, also after a form."""
    return Response("", 303, HEADERS | {"Location": url})


def stop(message: str) -> Response:
    """The error page: nobody is sent anywhere."""
    return page("This sign-in cannot go on", f'<p role="alert">{escape(message)}</p>', 400)


@dataclass(frozen=True)
class Form:
    """A page on which a person types `fields` (names in `FIELDS`) and presses one of two buttons.

    `text` is HTML; `problem`: what was wrong with the form before; `filled`: what stands in fields.
    """

    title: str
    text: str
    fields: tuple[str, ...] = ()
    buttons: tuple[str, str] = ("Allow", "Deny")
    problem: str = ""
    filled: Mapping[str, str] = field(default_factory=dict)

    def page(self, seal: str, action: str, person: Mapping[str, str]) -> Response:
        """The page.

        `seal`: a hidden field; `action`: where the form goes ("": to the page itself); `person`:
        what to type, shown below the form.
        """
        body = [f'<p role="alert">{escape(self.problem)}</p>'] if self.problem else []
        where = f' action="{escape(action)}"' if action else ""
        body += [self.text, f'<form method="post"{where}>']
        body.append(f'<input type="hidden" name="seal" value="{seal}">')
        for name in self.fields:
            label, kind, complete = FIELDS[name]
            body.append(
                f'<label for="{name}">{label}</label>'
                f'<input id="{name}" name="{name}" type="{kind}" autocomplete="{complete}" '
                f'value="{escape(self.filled.get(name, ""))}" required>'
            )
        yes, no = self.buttons
        body.append(f'<button name="choice" value="allow">{yes}</button>')
        body.append(f'<button name="choice" value="deny" formnovalidate>{no}</button></form>')
        known = [(FIELDS[name][0], person[name]) for name in self.fields if name in person]
        typed = "".join(f"<br>{label}: <code>{escape(value)}</code>" for label, value in known)
        body.append(f"<p>In the sandbox, type:{typed}</p>" if typed else "")
        return page(self.title, "".join(body), 401 if self.problem else 200)
