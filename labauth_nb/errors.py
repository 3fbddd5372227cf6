"""What can go wrong, one message each.

    LabauthError
    ├── InvalidInput          an unknown word, a tenant that is none, a secret where none may be
    ├── MissingCredentials    nobody gave them, and nobody can be asked
    ├── NotSignedIn           there is no such login (any more)
    ├── LoginExpired          it has expired and cannot be renewed without you
    ├── UnsafeRequest         refused before sending: a token over plain http
    │   └── UntrustedOrigin   a secret or a person, to an address of a less trusted source
    ├── StoreUnavailable      the place where logins are remembered cannot be used
    ├── ProviderUnreachable   no response (also a requests.ConnectionError and requests.Timeout)
    └── ProviderError         the provider responded with an error (also a requests.HTTPError)
        └── SignInRefused     its token endpoint did, or it did not accept what was pasted

In a notebook each shows as one line, is a real error output (it stops Run All) and can be caught.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import requests

from .masking import looks_secret, noticed, shown


class LabauthError(Exception):
    """The root of all errors of labauth_nb. `str(error)` is the message that the user reads."""

    field: str | None = None
    """The credential field that the error is about, where known."""
    spent: object = None
    """The token with its next refresh token, where a renewal failed after the old refresh token was
    used up."""
    repeats: bool = True
    """Whether what failed may be sent again: not a code or refresh token that works once and may
    have arrived."""
    records: list[dict[str, Any]] | None = None
    """What `pages` or `frame` had read before this error ended the walk; None outside of one."""
    cursor: Any = None
    """The page to go on at: `pages(..., cursor=error.cursor)`; None: the first."""

    def __init__(self, *args: object, field: str | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        if field is not None:
            self.field = field

    def _render_traceback_(self) -> list[str]:
        """IPython asks the exception itself before it formats a traceback.

        One line, no frames, no locals.
        """
        return [f"{type(self).__name__}: {self}"]

    def again(self) -> LabauthError:
        """The same error for another thread (one exception object must not be raised in two)."""
        return copy.copy(self)


class InvalidInput(LabauthError, ValueError):
    """A word, a tenant or an option that cannot be used."""


class MissingCredentials(LabauthError):
    """A field has no value, and nobody can be asked for it."""


class NotSignedIn(LabauthError, LookupError):
    """A session, a refresh or a log out was asked for without a login of that name."""


class LoginExpired(LabauthError):
    """The login has expired and cannot be renewed without the user."""


class UnsafeRequest(LabauthError, ValueError):
    """A request that would carry a token over plain http to another computer. It was not sent."""


class UntrustedOrigin(UnsafeRequest):
    """A secret was about to go to an address that only a less trusted source names.

    It was not sent.

    The order of sources: `labauth_nb.credentials.trust`.
    """


class StoreUnavailable(LabauthError):
    """The place where logins are remembered cannot be used."""


class ProviderUnreachable(LabauthError, requests.ConnectionError, requests.Timeout):
    """No response came: the network, the name, the certificate, or time ran out.

    `sent`: whether the request may have arrived; `passing`: whether waiting may help; `slow`:
    whether a longer timeout may.
    """

    sent: bool = True
    passing: bool = False
    slow: bool = False


class Unfinished(requests.ConnectionError):
    """A response that `labauth_nb.tokens.wire` gave up, and why.

    The end of a sentence about the host.
    """


class ProviderError(LabauthError, requests.HTTPError):
    """The provider responded with an error.

    `status`: the HTTP status; `code`: the provider's own error code ("" where it gave none);
    `hint`: what to do about it; `response`: the response itself (its request carries no token).
    """

    status: int = 0
    code: str = ""
    hint: str = ""
    retry_after: float | None = None

    def __init__(
        self, *args: object, status: int = 0, code: str = "", hint: str = "", **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.status, self.code, self.hint = status, code, hint


class SignInRefused(ProviderError):
    """The provider refused the sign-in."""


def refuse_secret(
    word: str,
    what: str,
    field: str | None = None,
    looks: Callable[[str], bool] = looks_secret,
) -> None:
    """Raise `InvalidInput`, without `word` in it, where that looks like a secret.

    `what`: what it was given as, with an article; `field`: as `LabauthError.field`; `looks`: which
    words do.
    """
    if looks(word):
        noticed([word])
        raise InvalidInput(
            f"{what} looks like a secret, so it was refused and nothing was sent. If it is one,"
            " delete it from this cell, and replace it if the notebook was saved or shared.",
            field=field,
        )


def miscopied(label: str, name: str, hint: str) -> InvalidInput:
    """The error for a value of the field `name` that cannot be sent; `hint`: where to find it."""
    return InvalidInput(
        f"The {label} holds a space, a line break or a quote mark that does not belong to it: "
        f"copy it again, whole. Where to find it: {hint}.",
        field=name,
    )


def nearest(word: str, choices: Iterable[str], what: str) -> InvalidInput:
    """The error for an unknown `word`: it lists the choices and names the nearest."""
    refuse_secret(str(word), f"That {what}")
    known = list(choices)
    close = difflib.get_close_matches(str(word).lower(), known, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    listed = ", ".join(known) if known else "none"
    said = repr(str(word)) if close and len(str(word)) <= len(close[0]) + 3 else shown(str(word))
    return InvalidInput(f"There is no {what} {said}.{guess} Choose one of: {listed}.")


def place_of(error: BaseException) -> str:
    """Which error it was, and where; not its words, which may hold anything."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = (
        f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        if frame is not None
        else ""
    )
    return f"{type(error).__name__}{where}"
