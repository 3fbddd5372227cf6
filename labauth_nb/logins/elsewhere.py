"""A session in another process: it signs in at its first request, from what that process has."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..errors import InvalidInput, LabauthError, NotSignedIn, ProviderError, ProviderUnreachable
from ..providers import PROVIDERS
from ..sessions.session import LabSession
from . import logins
from .logins import Login, find, named

sign_in: Any = None
"""`signins.signed_in_here`, put here by that room: it is above this one, and a pickle names it."""
_FINDING = threading.RLock()


class _Unknown:
    """Stands for a provider or a method that this version does not have: only its name is known."""

    def __init__(self, name: str, found: Callable[[], Any]) -> None:
        self.name = self.title = name
        self._found = found

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(self._found(), attribute)


class _Elsewhere:
    """Stands for the login of a session from another process, until a request needs it.

    It is then the login of that name here, or one made from what this process has; nobody is asked.
    Making it raises nothing: what is raised while a pickle is read hangs a pool.
    """

    def __init__(self, sign_in: Any, where: tuple[str, ...], identity: Any) -> None:
        self.name, self.origin, provider, method = where
        self.tenant, self.identity = self.origin, identity
        self._sign_in, self._login = sign_in, None
        known: Any = PROVIDERS.get(provider)
        try:
            self.method: Any = known.method(method)
        except (AttributeError, InvalidInput):
            self.method = _Unknown(method, lambda: self._real().method)
        self.provider = known or _Unknown(provider, lambda: self._real().provider)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # copy and pickle look for some
            raise AttributeError(attribute)
        return getattr(self._real(), attribute)

    def _real(self) -> Any:
        with _FINDING:
            if self._login is None:
                self._login = self._found()
        return self._login

    def _found(self) -> Any:
        found, name = find(self.name), self.name
        try:
            if found is None:
                words = (self.provider.name, self.method.name, self.origin, name)
                found = self._sign_in(*words)
        except (ProviderError, ProviderUnreachable):
            raise
        except LabauthError as error:
            raise self._missing(str(error)) from None
        if found.origin != self.origin:
            raise self._missing(f"That name is for {found.address} here: sign in with another one.")
        if self.identity is not None and found.acts_for(self.identity) is False:
            raise self._missing(
                f"It was {named(self.identity)}'s; here {name} is the login of"
                f" {named(found.identity)}."
            )
        return found

    def pickled(self) -> tuple[Callable[..., LabSession], tuple[Any, ...]]:
        """As `Link.pickled`; it needs no login."""
        return pickled(self)

    def _missing(self, why: str) -> NotSignedIn:
        process = multiprocessing.current_process()
        return NotSignedIn(
            f"The session {self.name} for {self.origin} came here, to process {process.pid} "
            f"({process.name}) on {socket.gethostname()}, without a secret. {why}"
        )


def pickled(login: Login | _Elsewhere) -> tuple[Callable[..., LabSession], tuple[Any, ...]]:
    """What a pickle of a session of `login` holds: which login it was, and no secret."""
    where = (login.name, login.origin, login.provider.name, login.method.name, login.identity)
    return restored, (sign_in, *where)


def restored(sign_in: Any, *where: Any) -> LabSession:
    """The session of a pickle; `where`: name, origin, provider, method, identity."""
    here, identity = find(where[0]), where[4] if len(where) > 4 else None
    if here is not None and here.origin != where[1]:
        here = None
    if here is not None and (not identity or here.acts_for(identity) is not False):
        return here.session()
    away: Any = _Elsewhere(sign_in, where[:4], identity)
    session = LabSession(away)
    session.login = away
    return session


logins.pickled = pickled
