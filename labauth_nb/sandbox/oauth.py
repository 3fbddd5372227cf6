"""What the sandbox's authorization servers share: checked requests, codes, refresh tokens.

`AuthorizationSite`: a page on which a person says yes or no, and codes (RFC 6749 4.1, RFC 7636).
`RefreshingSite`: refresh tokens that rotate, and revocation (RFC 6749 6, RFC 7009).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response, request
from werkzeug.datastructures import MultiDict

from .levers import Lever
from .pages import Form, send_to, stop
from .sites import KEY, Grant, Issued, Refusal, Shared, Site, refuse, repeated

CODE_SECONDS, REFRESH_SECONDS = 60.0, 30 * 86400.0
WRONG_SIGN_INS = 3
"""After so many wrong sign-ins in one browser the client gets access_denied."""
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

    def back(self, **parameters: str) -> Response:
        """Back to the client with a code or an error, its state, and who says so (RFC 9207 2)."""
        more = {"state": self.state, "iss": self.issuer}
        query = parameters | {name: value for name, value in more.items() if value is not None}
        mark = "&" if "?" in self.redirect_uri else "?"
        return send_to(f"{self.redirect_uri}{mark}{urlencode(query)}")

    def denied(self, message: str) -> Response:
        """Back to the client: the person, or the server, said no."""
        return self.back(error="access_denied", error_description=message)


@dataclass
class Code:
    """An authorization code: what was asked, and by whom it was allowed."""

    asked: Asked
    subject: str
    expires_at: float
    family: str
    used: bool = False

    def grant(self, client_id: str) -> Grant:
        """What its tokens stand for."""
        return Grant(self.subject, self.asked.scopes, self.family, client_id)


class AuthorizationSite(Site):
    """A site with a sign-in page.

    `clients`: client_id -> must it use PKCE? None: this server does not know PKCE. `known_scopes`:
    those there are (empty: the parameter is ignored). `says_issuer`: its responses do (RFC 9207).
    `codes`: those issued. `wrong`: a browser's cookie -> wrong sign-ins in a row.
    """

    clients: dict[str, bool | None]
    known_scopes: frozenset[str] = frozenset()
    says_issuer = False
    redirects = Lever[list[str]](
        [],
        "list of texts",
        "more registered redirect_uris; once one of them is on loopback, it counts by host and "
        "path, and no other loopback address is registered",
    )

    def __init__(self, lab: Shared) -> None:
        super().__init__(lab)
        self.codes: dict[str, Code] = {}
        self.wrong: Counter[str] = Counter()
        # Cookies are not kept apart by port, so not by site either.
        self.cookie = f"sandbox-{self.name}"

    @abstractmethod
    def person(self) -> dict[str, str]:
        """What the sandbox's user types on this site's pages."""

    # The authorization endpoint

    def registered(self, redirect_uri: str) -> bool:
        """Whether `redirect_uri` is registered: to the letter, except for loopback's port.

        Loopback has another port each time (RFC 8252 7.3; 8.3: `localhost` likewise), so its host
        and path count. Where `redirects` has no loopback address, every one is registered.
        """
        known, sent = self.redirects, LOOPBACK.fullmatch(redirect_uri)
        if sent is None or redirect_uri in known:
            return redirect_uri in known
        local = [found for each in known if (found := LOOPBACK.fullmatch(each))]
        there = [(found[1], found[3] or "/") for found in local]
        return not local or (sent[1], sent[3] or "/") in there

    def posted(self) -> bool:
        """Whether the client sent the authorization request by POST (OIDC Core 3.1.2.1).

        Our own form leaves the request in the address.
        """
        return request.method == "POST" and "client_id" in request.form

    def sent(self) -> MultiDict[str, str]:
        """The parameters of the authorization request."""
        return request.values if self.posted() else request.args

    def state_for(self, state: str | None) -> str | None:
        """The state that goes back to a client that sent `state`."""
        return state

    def asked(self) -> Asked:
        """This authorization request. A wrong one is refused, at the client if that is known."""
        sent = self.sent()
        client_id = only(sent, "client_id") or ""
        redirect_uri = only(sent, "redirect_uri") or ""
        if client_id not in self.clients:
            raise Refusal(stop("No application with this client_id is registered here."))
        if not self.registered(redirect_uri):
            raise Refusal(stop("This redirect_uri is not registered for the application."))
        pkce = self.clients[client_id] is not None
        asked = Asked(
            client_id,
            redirect_uri,
            scopes=frozenset((only(sent, "scope") or "").split()),
            state=self.state_for(only(sent, "state")),
            challenge=(only(sent, "code_challenge") or "") if pkce else "",
            nonce=only(sent, "nonce"),
            issuer=self.lab.origin(self.name) if self.says_issuer else None,
        )
        if (problem := self._problem(asked)) is not None:
            raise Refusal(asked.back(error=problem[0], error_description=problem[1]))
        return asked

    def _problem(self, asked: Asked) -> tuple[str, str] | None:
        """What is wrong with a request whose client is known: error, error_description."""
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
        if self.known_scopes and asked.scopes - self.known_scopes:
            return "invalid_scope", "The application does not have all of these scopes"
        return None

    def form(self, form: Form) -> Response:
        """The page with `form`, bound to the browser by a cookie and a seal."""
        session = request.cookies.get(self.cookie, "")
        fresh = not SESSION.fullmatch(session)
        session = secrets.token_urlsafe(32) if fresh else session
        action = f"?{self._query().decode()}" if self.posted() else ""
        response = form.page(self._seal(session), action, self.person())
        if fresh:
            response.set_cookie(self.cookie, session, httponly=True, samesite="Lax")
        return response

    def _query(self) -> bytes:
        """The authorization request as the query of the address that its form goes to."""
        if self.posted():
            return urlencode(list(self.sent().items(multi=True))).encode()
        return request.query_string

    def _seal(self, session: str) -> str:
        """Binds a form to the browser that was shown it, and to the request on it."""
        sealed = f"{session} {request.path} ".encode() + self._query()
        return hmac.new(KEY.encode(), sealed, "sha256").hexdigest()

    def submitted(self) -> str:
        """The button that sent the sign-in page's form ("": it was not sent); see `choice`."""
        return self.choice() if request.method == "POST" and not self.posted() else ""

    def choice(self) -> str:
        """The button that sent this page's form: "allow" or "deny". A forged form is refused."""
        session, seal = request.cookies.get(self.cookie, ""), request.form.get("seal", "")
        sealed = hmac.compare_digest(self._seal(session).encode(), seal.encode())
        if not SESSION.fullmatch(session) or not sealed:
            why = "The form did not come from this page, or your browser keeps no cookies"
            raise Refusal(stop(f"{why}: open the page again."))
        if request.form.get("choice") not in ("allow", "deny"):
            raise Refusal(stop("The form says neither yes nor no."))
        return request.form["choice"]

    def wrong_again(self) -> bool:
        """Count a wrong sign-in of this browser; True: that was the last one."""
        session = request.cookies.get(self.cookie, "")
        with self.lab.lock:
            self.wrong[session] += 1
            last = self.wrong[session] >= WRONG_SIGN_INS
            if last:
                del self.wrong[session]
        return last

    def allowed(self, asked: Asked, subject: str) -> Response:
        """Back to the client, with a code."""
        code = secrets.token_urlsafe(24)
        with self.lab.lock:
            self.codes[code] = Code(asked, subject, self.now + CODE_SECONDS, str(uuid.uuid4()))
        return asked.back(code=code)

    # The token endpoint (call these with the lab's lock held until the tokens are issued)

    def redeem(self, client_id: str | None) -> Code:
        """The code of this token request, used up by it. `client_id` None: it names no client."""
        sent, code = request.form, self.codes.get(request.form.get("code", ""))
        if not sent.get("code") or not sent.get("redirect_uri"):
            refuse(400, "invalid_request", "code and redirect_uri are required form fields")
        if code is None or client_id not in (None, code.asked.client_id):
            refuse(400, "invalid_grant", "The code is unknown, or was given to another client")
        if code.used:  # RFC 6749 4.1.2: somebody has a copy, so what came from it ends
            self.end(code.family)
            message = "The code was used before; the tokens that came from it are revoked"
            refuse(400, "invalid_grant", message)
        if self.now >= code.expires_at:
            refuse(400, "invalid_grant", "The code has expired")
        if sent["redirect_uri"] != code.asked.redirect_uri:
            message = "redirect_uri is not the one that the code was asked with"
            refuse(400, "invalid_grant", message)
        pkce = self.clients[code.asked.client_id] is not None
        if pkce and not _proves(sent.get("code_verifier", ""), code.asked.challenge):
            refuse(400, "invalid_grant", "code_verifier does not fit the code_challenge")
        code.used = True
        return code


class RefreshingSite(AuthorizationSite):
    """A site that issues refresh tokens as well."""

    rotate = Lever(True, "True or False", "each refresh token is good once")
    refresh_life = Lever(REFRESH_SECONDS, "seconds", "how long a refresh token lives")

    def new_refresh_token(self, grant: Grant) -> str:
        """One more refresh token of the grant's family."""
        refresh_token = secrets.token_urlsafe(32)
        with self.lab.lock:
            self.refresh_tokens[refresh_token] = Issued(grant, self.now + self.refresh_life)
        return refresh_token

    def refreshed(self, client_id: str) -> tuple[Grant, frozenset[str]]:
        """What the refresh token of this request stands for, and the scopes asked for."""
        sent = request.form
        if not sent.get("refresh_token"):
            refuse(400, "invalid_request", "refresh_token is a required form field")
        issued = self.refresh_tokens.get(sent["refresh_token"])
        if issued is None or issued.grant.client_id != client_id:
            message = "The refresh token is unknown, or was given to another client"
            refuse(400, "invalid_grant", message)
        if issued.dead:  # used before, or revoked: somebody has a copy, so the whole family ends
            self.end(issued.grant.family)
            refuse(400, "invalid_grant", "The refresh token was used before or revoked")
        if self.now >= issued.expires_at:
            refuse(400, "invalid_grant", "The refresh token has expired")
        scopes = frozenset(sent.get("scope", "").split()) or issued.grant.scopes
        if scopes - issued.grant.scopes:
            message = "A refresh token gives no scope that it was not granted"
            refuse(400, "invalid_scope", message)
        issued.dead = self.rotate
        return issued.grant, scopes

    def revoke_named(self, client_id: str) -> None:
        """Revoke the token of this request; a refresh token with its family.

        Another client's is refused (RFC 7009 2.1); an unknown one is not an error (2.2).
        """
        named = request.form.get("token", "")
        if not named:
            refuse(400, "invalid_request", "token is a required form field")
        with self.lab.lock:
            refresh_token = self.refresh_tokens.get(named)
            issued = refresh_token or self.tokens.get(named)
            if issued is None:
                return
            if issued.grant.client_id not in ("", client_id):
                refuse(400, "invalid_grant", "The token was given to another client")
            issued.dead = True
            if refresh_token is not None:
                self.end(issued.grant.family)


def _proves(verifier: str, challenge: str) -> bool:
    """RFC 7636 4.6.

    Without a challenge there is nothing to prove, and a verifier is a sign of foul play
    (RFC 9700 4.8.2).
    """
    if not verifier or not challenge:
        return verifier == challenge
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return bool(PROOF.fullmatch(verifier)) and digest == challenge.encode()
