"""What the sandbox's authorization servers share: checked requests, pages with a form, codes, refresh tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections import Counter
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from flask import Response, request
from werkzeug.datastructures import MultiDict

from .lab import OldSite
from .pages import FIELDS, page, send_to, stop
from .sites import KEY, Grant, Issued, refused, repeated

CODE_SECONDS, REFRESH_SECONDS = 60.0, 30 * 86400.0
WRONG_SIGN_INS = 3
"""After so many wrong sign-ins in one browser the client is told access_denied."""
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{1,5})?(/[!-\"$-~]*)?")
PROOF, SESSION = re.compile(r"[A-Za-z0-9._~-]{43,128}"), re.compile(r"[A-Za-z0-9_-]{43}")


def only(values: MultiDict[str, str], name: str) -> str | None:
    """The value of `name`, where it is there once."""
    found = values.getlist(name)
    return found[0] if len(found) == 1 else None


@dataclass
class Asked:
    """An authorization request whose client and redirect_uri are known."""

    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    state: str | None
    challenge: str
    nonce: str | None
    issuer: str | None = None

    def back(self, **answer: str) -> Response:
        """Back to the client with a code or an error, with the state that it sent and who says so (RFC 9207 2)."""
        more = {"state": self.state, "iss": self.issuer}
        query = urlencode(answer | {name: value for name, value in more.items() if value is not None})
        return send_to(f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{query}")

    def denied(self, sentence: str) -> Response:
        """Back to the client: the person, or the server, said no."""
        return self.back(error="access_denied", error_description=sentence)


@dataclass
class Code:
    """An authorization code: what was asked, and by whom it was allowed."""

    asked: Asked
    subject: str
    expires_at: float
    family: str
    used: bool = False


class AuthorizationServer:
    """The part of one site that people see, and its codes and refresh tokens.

    `clients`: client_id -> must it use PKCE? None: this server does not know PKCE.
    `scopes`: those there are (empty: the parameter is ignored). `says_issuer`: its responses do so (RFC 9207).
    """

    def __init__(
        self, here: OldSite, clients: dict[str, bool | None], scopes: frozenset[str] = frozenset(), says_issuer: bool = False
    ) -> None:
        self.here, self.clients, self.scopes, self.says_issuer = here, clients, scopes, says_issuer
        self.codes: dict[str, Code] = {}
        self.wrong: Counter[str] = Counter()
        self.cookie = f"sandbox-{here.name}"  # cookies are not kept apart by port, so not by site either
        here.flags["redirects"] = []

    # The authorization endpoint

    def registered(self, redirect_uri: str) -> bool:
        """Whether `redirect_uri` is registered: by the flag `redirects`, to the letter, but for loopback's port.

        Loopback has another port each time (RFC 8252 7.3; 8.3: `localhost` likewise), so its host and path count. Where the
        flag has no loopback address, every one is registered.
        """
        known, sent = self.here.flags["redirects"], LOOPBACK.fullmatch(redirect_uri)
        if sent is None or redirect_uri in known:
            return redirect_uri in known
        local = [found for each in known if (found := LOOPBACK.fullmatch(each))]
        return not local or (sent[1], sent[3] or "/") in [(found[1], found[3] or "/") for found in local]

    def posted(self) -> bool:
        """Whether the client sent the authorization request by POST (OIDC Core 3.1.2.1); our form leaves it in the address."""
        return request.method == "POST" and "client_id" in request.form

    def submitted(self) -> bool:
        """Whether this request is the page's form."""
        return request.method == "POST" and not self.posted()

    def sent(self) -> MultiDict[str, str]:
        """The parameters of the authorization request."""
        return request.values if self.posted() else request.args

    def asked(self) -> Asked | Response:
        """This authorization request; or the answer to a wrong one, which goes to the client only if that is known."""
        sent = self.sent()
        client_id, redirect_uri = only(sent, "client_id") or "", only(sent, "redirect_uri") or ""
        if client_id not in self.clients:
            return stop("No application with this client_id is registered here.")
        if not self.registered(redirect_uri):
            return stop("This redirect_uri is not registered for the application.")
        scopes = frozenset((only(sent, "scope") or "").split())
        state = only(sent, "state") if self.here.flags.get("echo_state", True) else None
        challenge = (only(sent, "code_challenge") or "") if self.clients[client_id] is not None else ""
        issuer = self.here.lab.origin(self.here.name) if self.says_issuer else None
        asked = Asked(client_id, redirect_uri, scopes, state, challenge, only(sent, "nonce"), issuer)
        if (problem := self._problem(asked)) is not None:
            return asked.back(error=problem[0], error_description=problem[1])
        return asked

    def _problem(self, asked: Asked) -> tuple[str, str] | None:
        sent, must = self.sent(), self.clients[asked.client_id]
        if repeated(sent):
            return "invalid_request", "A parameter is given twice"
        if "response_type" not in sent:
            return "invalid_request", "response_type is missing"
        if sent["response_type"] != "code":
            return "unsupported_response_type", "The only response_type is code"
        if must and not asked.challenge:
            return "invalid_request", "A public client must send a code_challenge (PKCE)"
        if must is not None and (asked.challenge or "code_challenge_method" in sent):
            if sent.get("code_challenge_method") != "S256":
                return "invalid_request", "The only code_challenge_method is S256"
            if not SESSION.fullmatch(asked.challenge):
                return "invalid_request", "A code_challenge of S256 has 43 characters of base64url"
        if self.scopes and asked.scopes - self.scopes:
            return "invalid_scope", "The application does not have all of these scopes"
        return None

    def form(
        self,
        title: str,
        text: str,
        fields: tuple[str, ...] = (),
        buttons: tuple[str, str] = ("Allow", "Deny"),
        problem: str = "",
        **filled: str,
    ) -> Response:
        """The page on which a person types `fields` and says yes or no; `text` is HTML, `problem` what was wrong before."""
        session = request.cookies.get(self.cookie, "")
        fresh = not SESSION.fullmatch(session)
        session = secrets.token_urlsafe(32) if fresh else session
        body = [f'<p role="alert">{escape(problem)}</p>'] if problem else []
        action = f' action="?{escape(self._query().decode())}"' if self.posted() else ""
        body += [text, f'<form method="post"{action}><input type="hidden" name="seal" value="{self._seal(session)}">']
        for name in fields:
            label, kind, complete = FIELDS[name]
            body.append(
                f'<label for="{name}">{label}</label><input id="{name}" name="{name}" type="{kind}" autocomplete="{complete}" '
                f'value="{escape(filled.get(name, ""))}" required>'
            )
        body.append(f'<button name="choice" value="allow">{buttons[0]}</button>')
        body.append(f'<button name="choice" value="deny" formnovalidate>{buttons[1]}</button></form>')
        person = self.here.person()
        known = "".join(f"<br>{FIELDS[name][0]}: <code>{escape(person[name])}</code>" for name in fields if name in person)
        body.append(f"<p>To practise, type:{known}</p>" if known else "")
        response = page(title, "".join(body), 401 if problem else 200)
        if fresh:
            response.set_cookie(self.cookie, session, httponly=True, samesite="Lax")
        return response

    def _query(self) -> bytes:
        """The authorization request as the query of the address that its form goes to."""
        return urlencode(list(self.sent().items(multi=True))).encode() if self.posted() else request.query_string

    def _seal(self, session: str) -> str:
        """Binds a form to the browser that was shown it, and to the request that it answers."""
        return hmac.new(KEY.encode(), f"{session} {request.path} ".encode() + self._query(), "sha256").hexdigest()

    def forged(self) -> Response | None:
        """The refusal of a form that another page sent, or that no button sent."""
        session, seal = request.cookies.get(self.cookie, ""), request.form.get("seal", "")
        if not SESSION.fullmatch(session) or not hmac.compare_digest(self._seal(session).encode(), seal.encode()):
            return stop("The form did not come from this page, or your browser keeps no cookies: open the page again.")
        if request.form.get("choice") not in ("allow", "deny"):
            return stop("The form says neither yes nor no.")
        return None

    def wrong_again(self) -> bool:
        """Count a wrong sign-in of this browser; True: that was the last one."""
        session = request.cookies.get(self.cookie, "")
        with self.here.lab.lock:
            self.wrong[session] += 1
            last = self.wrong[session] >= WRONG_SIGN_INS
            if last:
                del self.wrong[session]
        return last

    def allowed(self, asked: Asked, subject: str) -> Response:
        """Back to the client, with a code."""
        code = secrets.token_urlsafe(24)
        with self.here.lab.lock:
            self.codes[code] = Code(asked, subject, self.here.now + CODE_SECONDS, str(uuid.uuid4()))
        return asked.back(code=code)

    # The token endpoint (call these with the lab's lock held until the tokens are issued)

    def redeem(self, client_id: str | None) -> Code | Response:
        """The code of this token request, used up by it; or the refusal. `client_id` None: the request names no client."""
        sent, code = request.form, self.codes.get(request.form.get("code", ""))
        if not sent.get("code") or not sent.get("redirect_uri"):
            return refused(400, "invalid_request", "code and redirect_uri are required form fields")
        if code is None or client_id not in (None, code.asked.client_id):
            return refused(400, "invalid_grant", "The code is unknown, or was given to another client")
        if code.used:  # RFC 6749 4.1.2: somebody has a copy, so what came from it ends
            self.here.end(code.family)
            return refused(400, "invalid_grant", "The code was used before; the tokens that came from it are revoked")
        if self.here.now >= code.expires_at:
            return refused(400, "invalid_grant", "The code has expired")
        if sent["redirect_uri"] != code.asked.redirect_uri:
            return refused(400, "invalid_grant", "redirect_uri is not the one that the code was asked with")
        if self.clients[code.asked.client_id] is not None and not _proves(sent.get("code_verifier", ""), code.asked.challenge):
            return refused(400, "invalid_grant", "code_verifier does not fit the code_challenge")
        code.used = True
        return code

    def new_refresh_token(self, client_id: str, subject: str, scopes: frozenset[str], family: str) -> str:
        """One more refresh token of `family`."""
        refresh_token = secrets.token_urlsafe(32)
        life = self.here.flags["refresh_life"]
        with self.here.lab.lock:
            self.here.refresh_tokens[refresh_token] = Issued(Grant(subject, scopes, family, client_id), self.here.now + life)
        return refresh_token

    def refresh(self, client_id: str) -> tuple[Issued, frozenset[str]] | Response:
        """What the refresh token of this request stands for, and the scopes asked for; or the refusal."""
        sent = request.form
        if not sent.get("refresh_token"):
            return refused(400, "invalid_request", "refresh_token is a required form field")
        issued = self.here.refresh_tokens.get(sent["refresh_token"])
        if issued is None or issued.grant.client_id != client_id:
            return refused(400, "invalid_grant", "The refresh token is unknown, or was given to another client")
        if issued.dead:  # used before, or revoked: somebody has a copy, so the whole family ends
            self.here.end(issued.grant.family)
            return refused(400, "invalid_grant", "The refresh token was used before or revoked")
        if self.here.now >= issued.expires_at:
            return refused(400, "invalid_grant", "The refresh token has expired")
        scopes = frozenset(sent.get("scope", "").split()) or issued.grant.scopes
        if scopes - issued.grant.scopes:
            return refused(400, "invalid_scope", "A refresh token gives no scope that it was not granted")
        issued.dead = bool(self.here.flags["rotate"])
        return issued, scopes

    def revoked(self, client_id: str) -> Response | None:
        """Revoke the token of this request (a refresh token: with its family), or refuse (RFC 7009 2.1: another's token)."""
        named = request.form.get("token", "")
        if not named:
            return refused(400, "invalid_request", "token is a required form field")
        with self.here.lab.lock:
            refresh_token = self.here.refresh_tokens.get(named)
            issued = refresh_token or self.here.tokens.get(named)
            if issued is None:
                return None  # RFC 7009 2.2: an unknown token is no error
            if issued.grant.client_id not in ("", client_id):
                return refused(400, "invalid_grant", "The token was given to another client")
            issued.dead = True
            if refresh_token is not None:
                self.here.end(issued.grant.family)
        return None


def _proves(verifier: str, challenge: str) -> bool:
    """RFC 7636 4.6. Without a challenge there is nothing to prove, and a verifier is a sign of foul play (RFC 9700 4.8.2)."""
    if not verifier or not challenge:
        return verifier == challenge
    digest = hashlib.sha256(verifier.encode()).digest()
    return bool(PROOF.fullmatch(verifier)) and base64.urlsafe_b64encode(digest).rstrip(b"=") == challenge.encode()
