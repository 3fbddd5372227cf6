"""Signing in with a browser: an `Attempt` (one try), the listener that takes its answer on loopback, and what people paste.

Sources: RFC 6749 4.1 (authorization code), RFC 7636 (PKCE), RFC 8252 (loopback redirect), RFC 8628 (device code),
OpenID Connect Core 3.1. The browser is told nothing but the provider's page; the kernel redeems the code.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import re
import secrets
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote_plus, urlencode, urlsplit

from ..clocks import started
from ..errors import InvalidInput, LabauthError, NotSignedIn, SignInRefused, place_of
from ..masking import Secret, noticed
from ..providers import is_loopback
from ..responses import one_line
from . import grants
from .grants import Code, Exchange
from .token import Token

ATTEMPT_SECONDS = 600.0
"""How long a try is waited for."""
TAKEN_SECONDS = 1.0
"""How long a registered port is tried again: the try before this one may be just letting go of it."""
CONNECTIONS, CONNECTION_SECONDS = 16, 10.0
"""The listener reads so many requests at once, and each for so long in all."""
CROWDED_SECONDS = 1.0
"""Where all are taken, the oldest makes room once it has had this long: a browser needs far less."""
CODE_LEAST = 8
"""A word that is shorter is no authorization code."""
WAITING, ASKING, BUSY, DONE, OVER = "waiting", "asking", "busy", "done", "over"
"""The states of a try: for the browser; for a yes to an answer without state; redeeming; signed in; failed or cancelled."""

_earlier: deque[bytes] = deque(maxlen=200)
"""Digests of the states of earlier tries, to tell a stale answer from a foreign one."""


_holding: weakref.WeakValueDictionary[int, Attempt] = weakref.WeakValueDictionary()
"""Who listens at a registered port."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


class Attempt:
    """One try at signing in with a browser.

    Open `url` in a browser. The answer comes home by itself where browser and kernel share this computer; else give
    `answer` what the browser's address bar shows afterwards, or use the device code (`device`) where that is offered.
    `wait` gives the login. Keep the attempt as long as it is waited for: one that nobody holds any more is over.

    `complete` is handed the token and gives the login, or raises; `changed` is called, by any thread, when something changed.
    """

    def __init__(
        self, exchange: Exchange, complete: Callable[[Token], Any], changed: Callable[[], None] = lambda: None
    ) -> None:
        assert exchange.method.flow is not None
        self._exchange, self._complete, self._changed, self._flow = exchange, complete, changed, exchange.method.flow
        self._openid = not self._flow.token
        if self._openid:
            from . import openid

            openid.discover(exchange)
        self._state, self._verifier = Secret(secrets.token_urlsafe(32)), Secret(secrets.token_urlsafe(64))
        self._nonce = Secret(secrets.token_urlsafe(32)) if self._openid else None
        self._proof = secrets.token_urlsafe(16)
        self._lock, self._device_lock = threading.Lock(), threading.RLock()
        self._ended = threading.Event()
        self._owner = 0  # the thread that redeems, while the state is "busy"
        self._discarded: set[bytes] = set()  # digests of codes of which at least one was another's
        self._asked: Code | None = None  # an answer without state, until the person says yes
        self._device: Any = None
        self.state = WAITING
        self.question = 0
        """How often it was asked whether an answer is the person's own: the number of the question that stands."""
        self.here = False
        """Whether it is proven that the browser can reach the kernel's computer by loopback."""
        self.error: LabauthError | None = None
        """What went wrong last; the try goes on unless its `state` is "over"."""
        self.login: Any = None
        self._expires_at = time.monotonic() + ATTEMPT_SECONDS
        self._redirect_uri = exchange.fields.get("redirect_uri") or "http://127.0.0.1/"
        self._listener, why = _listen(self, self._redirect_uri)
        if why:
            what = "sign in, then copy the address from the browser's address bar and paste it here"
            self.error = InvalidInput(f"{why}: {what}.", field="answer")
        if why and not self._flow.pkce:  # whoever listens there would get a code that is bound to nothing
            what = "and whoever has it would get the response. Close that, or register another address"
            raise InvalidInput(f"{why}, {what}.", field="redirect_uri")
        if self._listener is not None and _portless(self._redirect_uri):
            parts = urlsplit(self._redirect_uri)
            netloc = f"{parts.hostname}:{self._listener.server_port}"
            self._redirect_uri = parts._replace(netloc=netloc, path=parts.path or "/").geturl()
        # Neither keeps the attempt alive: nobody can wait for one that is dropped, and its socket must not stay.
        self._finalize = weakref.finalize(self, _dropped, self._listener, self._ended)
        self._finalize.atexit = False
        watched = (weakref.ref(self), self._ended, self._expires_at)
        if started(_watch, *watched, name="labauth sign-in") is None:
            self._finalize()
            raise _threadless(exchange)

    @property
    def url(self) -> str:
        """The sign-in page's address. It holds this try's state: show it to the person only, and print it nowhere."""
        exchange = self._exchange
        asked: dict[str, str] = {"response_type": "code", "client_id": exchange.fields["client_id"]}
        asked |= {"redirect_uri": self._redirect_uri, "state": self._state}
        scopes = exchange.fields.get("scopes", "")
        if self._openid:
            from . import openid

            asked |= openid.parameters(exchange)
            if "offline_access" in scopes.split():
                asked["prompt"] = "consent"  # else it is to be ignored (OpenID Connect Core 11)
        elif scopes:
            asked["scope"] = scopes
        if self._flow.pkce:
            challenge = base64.urlsafe_b64encode(_digest(self._verifier)).rstrip(b"=").decode()
            asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        if self._nonce:
            asked["nonce"] = self._nonce
        address = (
            str(exchange.metadata["authorization_endpoint"]) if self._openid else exchange.auth_origin + self._flow.authorize
        )
        address, _, query = address.partition("?")
        pieces = [each for each in query.split("&") if each]
        # What stands there stays (RFC 6749 3.1), but no parameter comes twice.
        kept = (each for each in pieces if unquote_plus(each.partition("=")[0]) not in asked)
        return Secret(f"{address}?{'&'.join([*kept, urlencode(asked)])}")

    @property
    def proof(self) -> str:
        """An address that only this computer answers at: a page that fetches it proves that it runs here; "" for none."""
        listener = self._listener
        return f"http://127.0.0.1:{listener.server_port}/{self._proof}" if listener is not None else ""

    @property
    def offers_device(self) -> bool:
        """Whether a device code can be had (RFC 8628)."""
        from . import openid

        return self._openid and openid.offers_device(self._exchange)

    def device(self) -> tuple[str, str]:
        """(the address to open on any device, the code to type there); from now on the answer is waited for.

        Raises `InvalidInput` where the provider offers none, `SignInRefused`, `ProviderUnreachable`.
        """
        from . import openid

        if not self.offers_device:
            raise InvalidInput(f"{self._exchange.title} offers no device code: open the sign-in page in a browser instead.")
        with self._device_lock:  # two views of one panel ask at once, for one code
            if self._device is None:
                if self.state in (DONE, OVER):
                    raise InvalidInput(_OVER, field="answer")
                try:
                    self._device = openid.device(self._exchange)
                except LabauthError as error:
                    raise self._said(error) from None
                except BaseException as error:
                    raise self._unforeseen(error) from None
                with self._lock:
                    self.error = self.error if self.state == ASKING else None
                polled = (weakref.ref(self), self._exchange, self._device, self._ended)
                if started(_poll, *polled, name="labauth device code") is None:
                    raise self._failed(_threadless(self._exchange))
                self._tell()
        return self._device.verification_uri, self._device.user_code

    @property
    def note(self) -> str:
        """What must be known before this way can work; "" for nothing."""
        return self._flow.note

    @property
    def device_link(self) -> str:
        """The device page's address with the code in it, once `device` was called; else ""."""
        return self._device.verification_uri_complete if self._device is not None else ""

    def answer(self, pasted: str, sure: bool = False) -> Any:
        """Sign in with what the browser's address bar shows, or with the code alone; gives the login.

        `sure`: use it although it brings no state (where the provider may leave that out, it is asked for).
        Raises `InvalidInput` for what is no answer to this try, `SignInRefused`, `ProviderUnreachable`.
        """
        pasted = Secret(pasted if isinstance(pasted, str) else "")
        try:
            text = Secret("".join(pasted.split()))
            noticed([pasted])
            if not text:
                raise self._said(
                    InvalidInput("Nothing was pasted: copy the whole address that the browser landed on.", field="answer")
                )
            if "://" in text or re.search(r"(^|[?&])(code|state|error)=", text):  # a code alone may end in "=" too
                self._take(_query(text), sure=sure)
            elif len(pasted.split()) > 1 or len(text) < CODE_LEAST:
                raise self._said(InvalidInput(_NO_CODE, field="answer"))
            else:
                self._take([("code", text)], bare=True, sure=sure)
            return self.wait(grants.TIMEOUT[0] + grants.TIMEOUT[1])
        except LabauthError:
            raise
        except BaseException as error:
            raise self._unforeseen(error) from None

    def confirm(self, yes: bool) -> None:
        """The person's word on an answer that brought no state: use it, or go on waiting."""
        try:
            with self._lock:
                asked, self._asked = self._asked, None
                if self.state != ASKING:
                    return
                yes = yes and asked is not None
                self._owner = threading.get_ident()
                self.state = BUSY if yes else WAITING
                self.error = None
            self._tell()
            if yes and asked is not None:
                self._redeem(asked)
        except LabauthError:
            raise
        except BaseException as error:
            raise self._unforeseen(error) from None

    def wait(self, seconds: float = ATTEMPT_SECONDS) -> Any:
        """The login, once there is one. Raises what went wrong; `NotSignedIn` after `seconds` (real time)."""
        end = time.monotonic() + seconds
        try:
            while self.state not in (DONE, OVER) and self.state != ASKING:
                if time.monotonic() >= end:
                    raise NotSignedIn(f"Nobody has signed in to {self._exchange.provider.title} in {seconds:g} s.")
                self._ended.wait(0.1)
        except LabauthError:
            raise
        except BaseException as error:
            raise self._unforeseen(error) from None
        if self.state == DONE:
            return self.login
        raise (self.error or NotSignedIn("The sign-in was cancelled.")).again()

    def cancel(self, error: LabauthError | None = None) -> None:
        """End this try: close the listener, stop polling. What comes afterwards is not used."""
        with self._lock:
            if self.state in (DONE, OVER):
                return
            self.state, self.error = OVER, error or self.error
        self._exchange.ended.set()
        self._close()

    def heard(self, query: str) -> tuple[int, str]:
        """The browser came home with `query`; gives status and sentence for the page. Never raises."""
        try:
            self._take(_query(query))
        except LabauthError as error:
            return 400, _ELSEWHERE if self.foreign(query) else str(error)
        except BaseException as error:
            return 500, str(self._broken(error))
        if self.state == ASKING:
            return 200, "Almost there: go back to the notebook and answer the question in the panel."
        return 200, f"You are signed in to {self._exchange.provider.title}. Close this page and go back to the notebook."

    def _states(self, query: str) -> set[bytes]:
        return {_digest(value) for name, value in _query(query) if name == "state" and value}

    def foreign(self, query: str) -> bool:
        """Whether `query` brings the state of a sign-in that this kernel did not begin."""
        states = self._states(query)
        return bool(states) and not states & {_digest(self._state), *_earlier}

    def owns(self, query: str) -> bool:
        """Whether `query` is this kernel's: by its state, or where a response need not have one."""
        return not self.foreign(query) and bool(self._states(query) or not self._flow.echoes_state)

    def _take(self, pairs: list[tuple[str, Secret]], bare: bool = False, sure: bool = False) -> None:
        query = dict(pairs)
        state, code, error = (query.get(name, Secret()) for name in ("state", "code", "error"))
        with self._lock:
            if self.state in (DONE, BUSY):
                raise InvalidInput(_SECOND, field="answer")
            if self.state == OVER:
                raise InvalidInput(_OVER, field="answer")
        if any(sum(name == each for each, _ in pairs) > 1 for name in ("state", "code", "error", "iss")):  # RFC 6749 3.1
            raise self._said(
                InvalidInput("That answer says something twice, and was not used. Open the sign-in page again.", field="answer")
            )
        if not code and not error:
            raise self._said(InvalidInput(_NO_CODE, field="answer"))
        if state and not hmac.compare_digest(_digest(state), _digest(self._state)):
            why = "belongs to another sign-in (its state is another one)"
            if _digest(state) in _earlier:
                why = "is from an earlier try"
            raise self._said(InvalidInput(f"That answer {why}, and was not used. Open the sign-in page again.", field="answer"))
        self._check_issuer(query.get("iss"), bare)
        if not state and self._flow.echoes_state and not (bare and self._flow.pkce):
            why = "has no state, so it cannot be told whose it is, and was not used"
            raise self._said(
                InvalidInput(f"That answer {why}. Copy the whole address that the browser landed on.", field="answer")
            )
        if error and not state:  # any page can send that: it ends nothing, and its words are not shown
            raise self._said(InvalidInput(f"{self._exchange.title} {_UNPROVEN}", field="answer"))
        if error:
            raise self._failed(self._declined(error, query.get("error_description", "")))
        if not re.fullmatch(r"[\x21-\x7e]+", code):
            raise self._said(InvalidInput(_NO_CODE, field="answer"))
        answer = Code(code, self._redirect_uri, self._verifier if self._flow.pkce else None, self._nonce)
        try:
            with self._lock:
                self._settle(answer, unproven=not state and not self._flow.pkce, sure=sure)
        finally:
            self._tell()
        if self.state == BUSY and self._owner == threading.get_ident():
            self._redeem(answer)

    def _check_issuer(self, issuer: str | None, bare: bool) -> None:
        """RFC 9207 2.4: who promises to say who it is, says so; a code alone, pasted, has no place for it."""
        if not self._openid:
            return
        if issuer is not None and issuer != self._exchange.metadata["issuer"]:
            raise self._said(
                InvalidInput("That answer is from another identity provider (iss), and was not used.", field="answer")
            )
        promised = self._exchange.metadata.get("authorization_response_iss_parameter_supported") is True
        if issuer is None and promised and not bare:
            why = "does not say which identity provider it is from (iss), and was not used"
            raise self._said(
                InvalidInput(f"That answer {why}. Copy the whole address that the browser landed on.", field="answer")
            )

    def _settle(self, answer: Code, unproven: bool, sure: bool) -> None:
        """Use `answer`, or ask whether it is the person's own; under the lock."""
        digest = _digest(answer.code)
        same = self._asked is not None and hmac.compare_digest(digest, _digest(self._asked.code))
        if self.state not in (WAITING, ASKING):
            raise InvalidInput(_SECOND, field="answer")
        if unproven and digest in self._discarded:
            raise InvalidInput(_TWO, field="answer")
        if unproven and self._asked is not None and not same:
            # One of the two is another's. Which one, the person cannot tell either.
            self._discarded |= {digest, _digest(self._asked.code)}
            self.state, self._asked, self.error = WAITING, None, InvalidInput(_TWO, field="answer")
            raise InvalidInput(_TWO, field="answer")
        if unproven and not sure:
            self.question += not same
            self.state, self._asked = ASKING, answer
            self.error = InvalidInput(
                f"{self._exchange.title} sent an answer without state, so it cannot be proved that it is yours. "
                "Use it only if you have just signed in on that page yourself.",
                field="answer",
            )
        else:
            self._owner = threading.get_ident()
            self.state, self._asked, self.error = BUSY, None, None

    def _redeem(self, answer: Code) -> None:
        try:
            if self._openid:
                from . import openid

                token = openid.redeem(self._exchange, answer)
            else:
                token = grants.redeem(self._exchange, answer)
            self._finish(token)
        except LabauthError as error:
            raise self._failed(error) from None

    def _finish(self, token: Token) -> None:
        if self.state != BUSY:
            grants.discard(self._exchange, lambda: [token])
            raise NotSignedIn("The sign-in was cancelled.")
        self.login = self._complete(token)
        with self._lock:
            self.state, self.error = DONE, None
        self._close()

    def _polled(self, token: Token | None, error: LabauthError | None) -> None:
        """What became of the device code."""
        with self._lock:
            late = self.state not in (WAITING, ASKING)  # the browser was quicker
            if token is not None and not late:
                self._owner = threading.get_ident()
                self.state = BUSY
        if token is not None and late:
            grants.discard(self._exchange, lambda: [token])
        if error is not None and not late:
            self._failed(error)
        if token is None or late:
            return
        self._tell()
        try:
            self._finish(token)
        except LabauthError as caught:
            self._failed(caught)
        except BaseException as caught:
            self._broken(caught)

    def _broken(self, error: BaseException) -> LabauthError:
        """The sentence for what is no sentence: an interrupt, or a bug. Ends the try where this thread was redeeming."""
        mine = self.state == BUSY and self._owner == threading.get_ident()
        if isinstance(error, Exception):
            said = NotSignedIn(f"The sign-in broke off ({place_of(error)}): start it again.")
        else:
            said = NotSignedIn("The sign-in was interrupted: start it again." if mine else "Interrupted; the sign-in goes on.")
        return self._failed(said) if mine else said

    def _unforeseen(self, error: BaseException) -> BaseException:
        """What is raised for `error`: a sentence; an interrupt as it is, but without its frames, which hold the answer."""
        said = self._broken(error)
        if isinstance(error, Exception):
            return said
        vars(error)["_render_traceback_"] = lambda: [f"{type(error).__name__}: {said}"]
        return error.with_traceback(None)

    def _declined(self, code: str, description: str) -> SignInRefused:
        """The error that came instead of a code (RFC 6749 4.1.2.1)."""
        known = [self._state, self._verifier, self._nonce or "", *self._exchange.secrets()]
        code, said = one_line(code, 60, known), one_line(description, secrets=known).rstrip(".")
        hint = self._flow.hints.get(code) or "Start the sign-in again, or choose another method."
        words = f"{self._exchange.title} answered {code}{f' ({said})' if said else ''}. {hint}"
        return SignInRefused(words, code=code, hint=hint)

    def _tell(self) -> None:
        """Whoever watches is told; that it fails there is nothing to a sign-in."""
        with suppress(Exception):
            self._changed()

    def _said(self, error: LabauthError) -> LabauthError:
        """`error` is kept for the panel; the try goes on. The question whether an answer is yours stays as it is."""
        with self._lock:
            if self.state == WAITING:
                self.error = error
        self._tell()
        return error

    def _failed(self, error: LabauthError) -> LabauthError:
        with self._lock:
            if self.state in (DONE, OVER):
                return error
            self.state, self.error = OVER, error
        self._close()
        return error

    def _close(self) -> None:
        _earlier.append(_digest(self._state))
        self._finalize.detach()
        listener, self._listener = self._listener, None
        _dropped(listener, self._ended)
        self._tell()

    def __repr__(self) -> str:
        return f"<Attempt to sign in to {self._exchange.provider.title}: {self.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A sign-in under way is not pickled.")


_SECOND = "This sign-in was answered already: that second answer was not used."
_NO_CODE = "There is no code in that: copy the whole address that the browser landed on."
_OVER = "This sign-in attempt has ended. Start again from the notebook."


_ELSEWHERE = (
    "This response belongs to a sign-in in another notebook or terminal: copy this address into the notebook or "
    "terminal that began it. It is in the browser's address bar; a panel takes it under Paste the address."
)
_TWO = "Two answers came, and at least one is not yours: open the sign-in page again."
_UNPROVEN = (
    "sent a refusal without state, so it cannot be proved that it is yours. This sign-in goes on: "
    "if you have not declined it, open the sign-in page again."
)


def _query(text: str) -> list[tuple[str, Secret]]:
    """The names and values in an address, or in its query alone."""
    text = Secret(text.partition("#")[0])
    parts = [Secret(part) for part in text.partition("?")]
    whole = "=" in parts[0] and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    query = text if whole else parts[2]
    return [(name, Secret(value)) for name, value in parse_qsl(query, keep_blank_values=True)]


def _dropped(listener: _Listener | None, ended: threading.Event) -> None:
    ended.set()
    if listener is not None:
        listener.close()


def _watch(reference: weakref.ref[Attempt], ended: threading.Event, expires_at: float) -> None:
    if ended.wait(max(expires_at - time.monotonic(), 0)):
        return
    attempt, minutes = reference(), f"{ATTEMPT_SECONDS / 60:g} min"
    busy = attempt is not None and attempt.state == BUSY
    del attempt
    # An answer that came in time is used; but what redeems it may hang, too.
    if busy and ended.wait(grants.TIMEOUT[0] + grants.TIMEOUT[1]):
        return
    attempt, said = reference(), f"Nobody answered the sign-in page in {minutes}, so the try is over. Start it again."
    if attempt is not None:
        hung = f"{attempt._exchange.title} did not answer in time, so the try is over. Start it again."
        attempt.cancel(NotSignedIn(hung if attempt.state == BUSY else said))


def _poll(reference: weakref.ref[Attempt], exchange: Exchange, device: Any, ended: threading.Event) -> None:
    """Wait for the device code to be typed; the attempt is not kept alive by it."""
    from . import openid

    token: Token | None = None
    error: LabauthError | None = None
    try:
        token = openid.poll(exchange, device, ended)
    except LabauthError as caught:
        error = caught
    except BaseException as caught:
        error = NotSignedIn(f"The sign-in broke off ({place_of(caught)}): start it again.")
    attempt = reference()
    if attempt is not None:
        attempt._polled(token, error)


def _threadless(exchange: Exchange) -> InvalidInput:
    """The error where no thread can be started."""
    provider, method = exchange.provider, exchange.method
    others = [f"--method {m.name}" for m in provider.methods if not m.flow and not m.job_variable]
    return InvalidInput(
        f"{provider.title} {method.name} waits for a browser in a thread, and none can be started "
        f"here (Pyodide, or a limit of this computer). Use {' or '.join(others)}."
    )


_PROXIED = re.compile(r"/proxy/(?:absolute/)?(\d{1,5})(/.*)?$")
"""The path of an address that jupyter-server-proxy passes on to a port of the kernel's computer."""


def _portless(redirect_uri: str) -> bool:
    parts = urlsplit(redirect_uri)
    return is_loopback(parts.hostname) and parts.port in (None, 0) and not _PROXIED.search(parts.path)


def checked_redirect(redirect_uri: str) -> str:
    """`redirect_uri`, if it is one: https, or http to loopback. Raises `InvalidInput`."""
    try:
        parts = urlsplit(redirect_uri)
        _ = parts.port
        good = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    except ValueError:
        good = False
    if not good or not parts.hostname or parts.fragment or "@" in parts.netloc:
        # Before an @ stands a password.
        typed = "That" if "@" in redirect_uri else repr(redirect_uri[:80])
        said = "it starts with https://, or with http://127.0.0.1, as registered"
        sentence = f"{typed} is not a valid redirect address: {said}."
        raise InvalidInput(sentence, field="redirect_uri")
    return redirect_uri


_listeners: weakref.WeakSet[_Listener] = weakref.WeakSet()


def _after_fork() -> None:
    """The child of a fork serves no sign-in: with its copies of the sockets the ports would stay taken."""
    for listener in list(_listeners):
        for each in (listener.socket, *listener.reading):
            each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the real response waits here while others hold every connection
    allow_reuse_address = os.name == "posix"  # else a registered port is "taken" for a minute after each answer

    def __init__(self, port: int, path: str, hosts: set[str], attempt: Attempt) -> None:
        self.path, self.attempt, self.ended, self.timeout = path, weakref.ref(attempt), threading.Event(), 0.1
        self.reading: dict[socket.socket, float] = {}  # the connections whose request is read, and since when
        super().__init__(("127.0.0.1", port), _Answer)
        self.hosts = {f"{h}:{self.server_port}" for h in ("127.0.0.1", "localhost")} | hosts
        _listeners.add(self)
        started(self._serve, name="labauth listener")

    def _serve(self) -> None:
        with suppress(OSError, ValueError):  # the socket was closed meanwhile
            while not self.ended.is_set():
                if self._hang_up() < CONNECTIONS:
                    self.handle_request()
                else:
                    time.sleep(0.02)
        while self._hang_up():
            time.sleep(0.1)

    def _hang_up(self) -> int:
        """Shut the connections that take too long; gives how many there are."""
        now, opened = time.monotonic(), list(self.reading.items())
        for number, (connection, since) in enumerate(opened):
            oldest = number == 0 and len(opened) >= CONNECTIONS
            brief = oldest or self.ended.is_set()
            if now - since > (CROWDED_SECONDS if brief else CONNECTION_SECONDS):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
        return len(opened)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.reading[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.reading.pop(request, None)
        super().shutdown_request(request)

    def close(self) -> None:
        """Give the port back at once; the threads that write a page finish it."""
        self.ended.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # else the thread that waits for a connection keeps the port
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is nobody's business."""


class _Answer(BaseHTTPRequestHandler):
    """GET of the redirect address: the answer. Everything else: a page that says so, and nothing is done."""

    server: _Listener
    server_version, sys_version = "labauth", ""
    timeout = 10

    def do_GET(self) -> None:
        attempt, (path, _, query) = self.server.attempt(), self.path.partition("?")
        elsewhere = attempt is not None and attempt.foreign(query)
        script = _FORGET if attempt is not None and attempt.owns(query) else ""
        if self.headers.get("Host", "").lower() not in self.server.hosts or attempt is None:
            self._page(403, _ELSEWHERE if elsewhere else "This address serves one sign-in only.", script)
        elif hmac.compare_digest(path.encode(), f"/{attempt._proof}".encode()):
            attempt.here = True
            attempt._tell()
            self._page(204, "")
        elif path != self.server.path or not query:
            self._page(404, _ELSEWHERE if elsewhere else _NOTHING, script)
        else:
            self.server.reading.pop(self.connection, None)  # read; to redeem its code takes longer
            self._page(*attempt.heard(query), script)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Another verb, or no HTTP: the same page and headers, and nothing of what was sent."""
        self._page(code, _NOTHING)

    def _page(self, status: int, sentence: str, script: str = "") -> None:
        script_nonce = secrets.token_urlsafe(12)
        body = _PAGE.format(sentence=escape(sentence), nonce=script_nonce, script=script)
        body = "" if status == 204 else body
        self.send_response(status)
        content = b"" if self.command == "HEAD" else body.encode()
        policy = (
            f"default-src 'none'; style-src 'nonce-{script_nonce}'; script-src 'nonce-{script_nonce}'; frame-ancestors 'none'"
        )
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: the address holds the code."""


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>labauth</title>
<style nonce="{nonce}">
:root {{ color-scheme: light dark }}
body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 34em; margin: 15vh auto; padding: 0 1em }}
</style>
<p>{sentence}</p>
<script nonce="{nonce}">{script}</script></html>
"""
_FORGET = 'history.replaceState(null, "", location.pathname)'
"""Takes a response off its page's address; one that belongs elsewhere is to be copied from there."""
_NOTHING = "There is nothing here. Go back to the notebook."


def _listen(attempt: Attempt, redirect_uri: str) -> tuple[_Listener | None, str]:
    """The listener that the redirect address leads to, or None, and why: "" where it leads elsewhere (then: paste)."""
    parts = urlsplit(checked_redirect(redirect_uri))
    proxied = _PROXIED.search(parts.path)
    if proxied and 0 < int(proxied[1]) < 65536:
        absolute = "/proxy/absolute/" in parts.path
        port, path, hosts = int(proxied[1]), parts.path if absolute else proxied[2] or "/", _spellings(parts)
    elif parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"):
        port, path, hosts = parts.port or 0, parts.path or "/", set()
    else:
        return None, ""
    earlier = _holding.get(port)
    if earlier is not None and earlier._listener is not None:
        if earlier._exchange.method is not attempt._exchange.method:
            return None, f"Port {port} is taken by the sign-in to {earlier._exchange.provider.title} that is under way"
        # The cell was run again: nobody waits for the try before this one any more.
        earlier.cancel(NotSignedIn("A newer try took the place of this one."))
    end = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            listener = _Listener(port, path, hosts, attempt)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None, f"Port {port} of this computer cannot be used ({error.strerror})"
            if time.monotonic() >= end:
                return None, f"Port {port} is taken by another program on this computer"
            time.sleep(0.05)
        else:
            break
    if port:
        _holding[port] = attempt
    return listener, ""


def _spellings(parts: SplitResult) -> set[str]:
    """How a browser may spell the host of an address: it leaves the scheme's own port out (RFC 9110 7.2)."""
    netloc, usual = parts.netloc.lower(), ":443" if parts.scheme == "https" else ":80"
    return {netloc, netloc.removesuffix(usual)} | ({netloc + usual} if parts.port is None else set())
