"""Signing in with a browser: an `Attempt`, from the sign-in page to the token.

By listener, paste, or device code.

Sources: RFC 6749 4.1 (authorization code), RFC 7636 (PKCE), RFC 8252 (loopback redirect), RFC 8628
(device code), RFC 9207 (iss), OpenID Connect Core 3.1. The browser is told nothing but the
provider's page; the kernel redeems the code.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote_plus, urlencode

from ..clocks import started
from ..errors import InvalidInput, LabauthError, NotSignedIn, SignInRefused, place_of
from ..masking import Secret, noticed
from ..providers import Provider, parsed
from ..responses import one_line
from . import grants
from .codes import Code, Device
from .exchanges import TIMEOUT, Exchange
from .listeners import (
    BAD,
    BROKEN,
    FORBIDDEN,
    NOT_FOUND,
    NOTHING,
    OK,
    Listener,
    Page,
    listen,
    with_port,
)
from .token import Token

ATTEMPT_SECONDS = 600.0
"""How long an attempt is waited for."""
CODE_LEAST = 8
"""A word that is shorter is no authorization code."""
WAITING, BUSY, DONE, OVER = "waiting", "busy", "done", "over"
"""The states of an attempt: for the browser; redeeming; signed in; failed or cancelled."""


class Attempt:
    """One attempt to sign in with a browser.

    Open `url` in a browser. The response comes home by itself where browser and kernel share this
    computer; else give `answer` what the browser's address bar shows afterwards, or use the device
    code (`device`) where that is offered. `wait` gives the login. Keep the attempt as long as it is
    waited for: one that nobody holds any more has ended.

    `complete` is handed the token and gives the login, or raises; `changed` is called, by any
    thread, when something changed. Nothing is sent, and no port is taken, before `start`.
    """

    def __init__(
        self,
        exchange: Exchange,
        complete: Callable[[Token], Any],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        assert exchange.method.flow is not None
        self._exchange, self._complete, self._changed, self._flow = (
            exchange,
            complete,
            changed,
            exchange.method.flow,
        )
        self._grant = grants.PAGES[exchange.method.grant]
        self._state, self._verifier = (
            Secret(secrets.token_urlsafe(32)),
            Secret(secrets.token_urlsafe(64)),
        )
        self._nonce: Secret | None = Secret(secrets.token_urlsafe(32))
        self._lock, self._device_lock = threading.Lock(), threading.RLock()
        self._ended = threading.Event()
        self._owner = 0  # the thread that redeems, while the state is "busy"
        self._device: Device | None = None
        self._listener: Listener | None = None
        self._finalize: weakref.finalize[..., Attempt] | None = None
        self._redirect_uri = exchange.fields.get("redirect_uri") or "http://127.0.0.1/"
        self.state = WAITING
        self.here = False
        """Whether it is proven that the browser can reach the kernel's computer by loopback."""
        self.error: LabauthError | None = None
        """What went wrong last; the attempt goes on unless its `state` is "over"."""
        self.login: Any = None

    def start(self) -> Attempt:
        """Find the sign-in page and listen for what comes back; gives the attempt itself.

        Raises `InvalidInput` for a redirect address that cannot be used, or where no thread can be
        started; and what discovery raises.
        """
        checked_redirect(self._redirect_uri)
        self._grant.find(self._exchange)
        self._listener, why = listen(self._redirect_uri, self)
        # whoever listens there would get a code that is bound to nothing
        if why and not self._flow.pkce:
            what = (
                "and whoever has it would get the response. Close that, or register another address"
            )
            raise InvalidInput(f"{why}, {what}.", field="redirect_uri")
        if why:
            what = "sign in, then copy the address from the browser's address bar and paste it here"
            self.error = InvalidInput(f"{why}: {what}.", field="answer")
        self._redirect_uri = with_port(self._redirect_uri, self._listener)
        # Neither keeps the attempt alive: nobody can wait for one that is dropped, and its socket
        # must not stay.
        self._finalize = finalize = weakref.finalize(self, _dropped, self._listener, self._ended)
        finalize.atexit = False
        watched = (weakref.ref(self), self._ended, time.monotonic() + ATTEMPT_SECONDS)
        if started(_watch, *watched, name="labauth sign-in") is None:
            finalize()
            raise _threadless(self._exchange)
        return self

    # The sign-in page

    @property
    def provider(self) -> Provider:
        """Whom it signs in to."""
        return self._exchange.provider

    @property
    def url(self) -> str:
        """The sign-in page's address.

        It holds this attempt's state: show it to the person only, and print it nowhere.
        """
        exchange = self._exchange
        asked: dict[str, str] = {"response_type": "code", "client_id": exchange.fields["client_id"]}
        asked |= {"redirect_uri": self._redirect_uri, "state": self._state}
        asked |= self._grant.parameters(exchange, self._nonce)
        if self._flow.pkce:
            challenge = base64.urlsafe_b64encode(_digest(self._verifier)).rstrip(b"=").decode()
            asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        return _with_query(self._grant.page(exchange), asked)

    @property
    def proof(self) -> str:
        """An address that only this computer answers at.

        A page that fetches it proves that it runs here; "" for none.
        """
        return self._listener.proof_url if self._listener is not None else ""

    @property
    def note(self) -> str:
        """What must be known before this way can work; "" for nothing."""
        return self._flow.note

    # The device code

    @property
    def offers_device(self) -> bool:
        """Whether a device code can be had (RFC 8628)."""
        return self._grant.offers_device(self._exchange)

    @property
    def device_link(self) -> str:
        """The device page's address with the code in it, once `device` was called; else ""."""
        return self._device.verification_uri_complete if self._device is not None else ""

    def device(self) -> tuple[str, str]:
        """(the address to open on any device, the code to type there).

        From now on that is waited for.

        Raises `InvalidInput` where the provider offers none, `SignInRefused`,
        `ProviderUnreachable`.
        """
        with self._device_lock:  # two views of one panel ask at once, for one code
            device = self._device or self._ask_for_device()
        return device.verification_uri, device.user_code

    def _ask_for_device(self) -> Device:
        if self.state in (DONE, OVER):
            raise InvalidInput(_OVER, field="answer")
        try:
            self._device = device = self._grant.device(self._exchange)
        except LabauthError as error:
            raise self._said(error) from None
        except BaseException as error:
            raise self._unforeseen(error) from None
        self.error = None
        poll = partial(self._grant.poll, self._exchange, self._device, self._ended)
        if started(_poll, weakref.ref(self), poll, name="labauth device code") is None:
            raise self._failed(_threadless(self._exchange))
        self._tell()
        return device

    def polled(self, token: Token | None, error: LabauthError | None) -> None:
        """What became of the device code."""
        with self._lock:
            late = self.state != WAITING  # the browser was quicker
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

    # What comes back

    def answer(self, pasted: str) -> Any:
        """Sign in with what the browser's address bar shows, or the code alone; the login.

        Raises `InvalidInput` for what is no response to this attempt, `SignInRefused`,
        `ProviderUnreachable`.
        """
        pasted = Secret(pasted if isinstance(pasted, str) else "")
        try:
            text = Secret("".join(pasted.split()))
            noticed([pasted])
            if not text:
                raise self._ignored(
                    "Nothing was pasted: copy the whole address that the browser landed on."
                )
            # a code alone may end in "=" too
            if "://" in text or re.search(r"(^|[?&])(code|state|error)=", text):
                self._take(_query(text), by_hand=True)
            elif len(pasted.split()) > 1 or len(text) < CODE_LEAST:
                raise self._ignored(_NO_CODE)
            else:
                self._take([("code", text)], by_hand=True, bare=True)
            return self.wait(sum(TIMEOUT))
        except LabauthError:
            raise
        except BaseException as error:
            raise self._unforeseen(error) from None

    def heard(self, status: int, query: str) -> Page:
        """The browser came home with `query`; gives the page to show. Never raises."""
        states = {_digest(value) for name, value in _query(query) if name == "state" and value}
        own = _digest(self._state) in states
        if states and not own:
            if status == OK:
                with suppress(LabauthError):
                    self._take(_query(query))
            return Page(BAD if status == OK else status, ELSEWHERE)
        if status in (FORBIDDEN, NOT_FOUND):
            return Page(status, _NOT_HERE if status == FORBIDDEN else NOTHING, own)
        try:
            self._take(_query(query))
        except LabauthError as error:
            return Page(BAD, str(error), own)
        except BaseException as error:
            return Page(BROKEN, str(self._broken(error)), own)
        done = (
            f"You are signed in to {self._exchange.provider.title}. Close this page and go back to"
            " the notebook."
        )
        return Page(OK, done, own)

    def proven(self) -> None:
        """A browser on this computer fetched the proof."""
        self.here = True
        self._tell()

    def yields(self, newer: Any) -> str:
        """A `newer` attempt wants the port.

        End, where it is a cell that was run again; else say who has it.
        """
        if self._exchange.method is not newer._exchange.method:  # noqa: SLF001 - its own class
            return f"the sign-in to {self._exchange.provider.title} that is under way"
        self.cancel(NotSignedIn("A newer sign-in attempt replaced this one."))
        return ""

    def _take(
        self, pairs: list[tuple[str, Secret]], by_hand: bool = False, bare: bool = False
    ) -> None:
        """Use a response.

        `by_hand`: a person pasted it; `bare`: the code alone. Raises why it is not used.
        """
        with self._lock:
            if self.state != WAITING:
                raise InvalidInput(_OVER if self.state == OVER else _SECOND, field="answer")
        query = dict(pairs)
        code, error = (query.get(name, Secret()) for name in ("code", "error"))
        # RFC 6749 3.1
        if any(
            sum(name == each for each, _ in pairs) > 1 for name in ("state", "code", "error", "iss")
        ):
            raise self._ignored(
                "That response repeats a parameter and was ignored. Open the sign-in page again."
            )
        if not code and not error:
            raise self._ignored(_NO_CODE)
        self._check_origin(query, by_hand, bare)
        if error:
            raise self._failed(self._declined(error, query.get("error_description", "")))
        if not re.fullmatch(r"[\x21-\x7e]+", code):
            raise self._ignored(_NO_CODE)
        with self._lock:
            if self.state != WAITING:
                raise InvalidInput(_SECOND, field="answer")
            self._owner = threading.get_ident()
            self.state, self.error = BUSY, None
        self._tell()
        self._redeem(
            Code(code, self._redirect_uri, self._verifier if self._flow.pkce else None, self._nonce)
        )

    def _check_origin(self, query: dict[str, Secret], by_hand: bool, bare: bool) -> None:
        """Raise where a response is not this attempt's, or cannot be told to be."""
        state, issuer = query.get("state"), query.get("iss")
        if state and not hmac.compare_digest(_digest(state), _digest(self._state)):
            why = "belongs to a different sign-in attempt (state mismatch) and was ignored"
            raise self._ignored(f"That response {why}. Open the sign-in page again.")
        # a code alone has no place for it
        if not bare and (why := self._grant.not_from(self._exchange, issuer)):
            raise self._ignored(
                f"That response {why} and was ignored.{'' if issuer else f' {_WHOLE}'}"
            )
        if state or (bare and self._flow.pkce):
            return
        if self._flow.echoes_state:
            raise self._ignored(
                "That response has no state, so its origin cannot be verified, and it was ignored."
                f" {_WHOLE}"
            )
        # any page can send that: it ends nothing, and its words are not shown
        if query.get("error"):
            raise self._ignored(f"{self._exchange.title} {_UNPROVEN}")
        if not by_hand:  # any page can send a code as well; to paste one is the person's own act
            raise self._ignored(f"{self._exchange.title} {_STATELESS}")

    def _redeem(self, code: Code) -> None:
        try:
            self._finish(self._grant.redeem(self._exchange, code))
        except LabauthError as error:
            raise self._failed(error) from None

    # How it ends

    def wait(self, seconds: float = ATTEMPT_SECONDS) -> Any:
        """The login, once there is one.

        Raises what went wrong; `NotSignedIn` after `seconds` (real time).
        """
        end = time.monotonic() + seconds
        try:
            while self.state not in (DONE, OVER):
                if time.monotonic() >= end:
                    raise NotSignedIn(
                        f"Nobody has signed in to {self._exchange.provider.title} in {seconds:g} s."
                    )
                self._ended.wait(0.1)
        except LabauthError:
            raise
        except BaseException as error:
            raise self._unforeseen(error) from None
        if self.state == DONE:
            return self.login
        raise (self.error or NotSignedIn("The sign-in was cancelled.")).again()

    def cancel(self, error: LabauthError | None = None) -> None:
        """End this attempt: close the listener, stop polling. What comes afterwards is not used."""
        with self._lock:
            if self.state in (DONE, OVER):
                return
            self.state, self.error = OVER, error or self.error
        self._exchange.ended.set()
        self._close()

    def late(self) -> None:
        """Its time has run out."""
        hung = (
            f"{self._exchange.title} did not respond in time, so this sign-in attempt has ended."
            " Start again."
        )
        nobody = (
            f"Nobody signed in within {ATTEMPT_SECONDS / 60:g} min, so this attempt has ended."
            " Start again."
        )
        self.cancel(NotSignedIn(hung if self.state == BUSY else nobody))

    def _finish(self, token: Token) -> None:
        if self.state != BUSY:
            grants.discard(self._exchange, lambda: [token])
            raise NotSignedIn("The sign-in was cancelled.")
        self.login = self._complete(token)
        with self._lock:
            self.state, self.error = DONE, None
        self._close()

    def _declined(self, code: str, description: str) -> SignInRefused:
        """The error that came instead of a code (RFC 6749 4.1.2.1)."""
        known = [self._state, self._verifier, self._nonce or "", *self._exchange.secrets()]
        code, said = one_line(code, 60, known), one_line(description, secrets=known).rstrip(".")
        hint = self._flow.hints.get(code) or "Start the sign-in again, or choose another method."
        words = (
            f"{self._exchange.title} responded with {code}{f' ({said})' if said else ''}. {hint}"
        )
        return SignInRefused(words, code=code, hint=hint)

    def _broken(self, error: BaseException) -> LabauthError:
        """The message for an interrupt, or a bug.

        Ends the attempt where this thread was redeeming.
        """
        mine = self.state == BUSY and self._owner == threading.get_ident()
        if isinstance(error, Exception):
            said = NotSignedIn(_unexpected(error))
        else:
            said = NotSignedIn(
                "The sign-in was interrupted: start it again."
                if mine
                else "Interrupted; the sign-in goes on."
            )
        return self._failed(said) if mine else said

    def _unforeseen(self, error: BaseException) -> BaseException:
        """What is raised for `error`: a message.

        An interrupt as it is, but without its frames, which hold the response.
        """
        said = self._broken(error)
        if isinstance(error, Exception):
            return said
        vars(error)["_render_traceback_"] = lambda: [f"{type(error).__name__}: {said}"]
        return error.with_traceback(None)

    def _ignored(self, why: str) -> InvalidInput:
        """The error for a response that is not used; the attempt goes on."""
        error = InvalidInput(why, field="answer")
        self._said(error)
        return error

    def _said(self, error: LabauthError) -> LabauthError:
        """`error` is kept for the panel; the attempt goes on."""
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
        if self._finalize is not None:
            self._finalize.detach()
        listener, self._listener = self._listener, None
        _dropped(listener, self._ended)
        self._tell()

    def _tell(self) -> None:
        """Whoever watches is told; that it fails there is nothing to a sign-in."""
        with suppress(Exception):
            self._changed()

    def __repr__(self) -> str:
        return f"<Attempt to sign in to {self._exchange.provider.title}: {self.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A sign-in under way is not pickled.")


_SECOND = "This sign-in already received a response; the second one was ignored."
_NO_CODE = "There is no code in that: copy the whole address that the browser landed on."
_OVER = "This sign-in attempt has ended. Start again from the notebook."
_WHOLE = "Copy the whole address that the browser landed on."
_NOT_HERE = "This address serves one sign-in only."
ELSEWHERE = (
    "This response belongs to a different sign-in attempt. If that was started in another notebook"
    " or terminal, copy this address into the notebook or terminal that started it. It is in the"
    " browser's address bar; a panel takes it under Paste the address."
)
_STATELESS = (
    "returned a code without a state parameter, so its origin cannot be verified. "
    "If you have just signed in on its page yourself, copy this address into the notebook: "
    "the one in the browser's address bar."
)
_UNPROVEN = (
    "returned an error without a state parameter, so its origin cannot be verified. This sign-in"
    " goes on: if you did not decline it, open the sign-in page again."
)


def _unexpected(error: BaseException) -> str:
    return (
        f"Sign-in failed unexpectedly ({place_of(error)}). Please try again; if it recurs,"
        " report it."
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _query(text: str) -> list[tuple[str, Secret]]:
    """The names and values in an address, or in its query alone."""
    text = Secret(text.partition("#")[0])
    parts = [Secret(part) for part in text.partition("?")]
    whole = "=" in parts[0] and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    query = text if whole else parts[2]
    return [(name, Secret(value)) for name, value in parse_qsl(query, keep_blank_values=True)]


def _with_query(address: str, asked: dict[str, str]) -> Secret:
    """`address` with `asked` in its query.

    What stands there stays (RFC 6749 3.1), but no name comes twice.
    """
    address, _, query = address.partition("?")
    pieces = [each for each in query.split("&") if each]
    kept = (each for each in pieces if unquote_plus(each.partition("=")[0]) not in asked)
    return Secret(f"{address}?{'&'.join([*kept, urlencode(asked)])}")


def _dropped(listener: Listener | None, ended: threading.Event) -> None:
    ended.set()
    if listener is not None:
        listener.close()


def _watch(reference: weakref.ref[Attempt], ended: threading.Event, expires_at: float) -> None:
    """End the attempt when its time has run out; it is not kept alive by this."""
    if ended.wait(max(expires_at - time.monotonic(), 0)):
        return
    attempt = reference()
    busy = attempt is not None and attempt.state == BUSY
    del attempt
    # A response that came in time is used; but what redeems it may hang, too.
    if busy and ended.wait(sum(TIMEOUT)):
        return
    attempt = reference()
    if attempt is not None:
        attempt.late()


def _poll(reference: weakref.ref[Attempt], poll: Callable[[], Token | None]) -> None:
    """Wait for the device code to be typed; the attempt is not kept alive by it."""
    token: Token | None = None
    error: LabauthError | None = None
    try:
        token = poll()
    except LabauthError as caught:
        error = caught
    except BaseException as caught:
        error = NotSignedIn(_unexpected(caught))
    attempt = reference()
    if attempt is not None:
        attempt.polled(token, error)


def _threadless(exchange: Exchange) -> InvalidInput:
    """The error where no thread can be started."""
    provider, method = exchange.provider, exchange.method
    others = [f"--method {m.name}" for m in provider.methods if not m.flow and not m.job_variable]
    return InvalidInput(
        f"{provider.title} {method.name} waits for a browser in a thread, and none can be started "
        f"here (Pyodide, or a limit of this computer). Use {' or '.join(others)}."
    )


def checked_redirect(redirect_uri: str) -> str:
    """`redirect_uri`, if it is one: https, or http to loopback. Raises `InvalidInput`."""
    parts = parsed(redirect_uri)
    if parts is None or parts.fragment:
        # Before an @ stands a password.
        typed = "That" if "@" in redirect_uri else repr(redirect_uri[:80])
        said = "it starts with https://, or with http://127.0.0.1, as registered"
        sentence = f"{typed} is not a valid redirect address: {said}."
        raise InvalidInput(sentence, field="redirect_uri")
    return redirect_uri
