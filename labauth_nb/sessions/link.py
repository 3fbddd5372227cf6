"""`Link`: all that a session needs of a login."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from ..clocks import Clock
from ..errors import ProviderError
from ..masking import scrub
from ..providers import Provider
from ..responses import clean
from ..tokens.renewal import TokenSource
from ..tokens.token import Token


@dataclass(frozen=True, repr=False)
class Link:
    """What a session needs of the login that it was taken from. The wing above makes it.

    `name`: the login's; `tenant`: as the session's repr shows it; `origin`: where its token may
    go, and nowhere else; `clock`: what waits are waited by. What changes is asked for each time:
    `token(rejected)`: a good token, as `TokenSource.token`; raises `NotSignedIn` after a log out,
    or where somebody else has signed in under that name. `source()`: the token source, for what
    the provider says of a token. `secrets()`: all that a server may say back, to be masked.
    `pickled()`: a function and its arguments, without a secret, which make a session elsewhere.
    """

    name: str
    provider: Provider
    tenant: str
    origin: str
    clock: Clock
    token: Callable[[Token | None], Token]
    source: Callable[[], TokenSource]
    secrets: Callable[[], list[str]]
    pickled: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]


def refusal(link: Link, said: str, response: requests.Response) -> ProviderError:
    """The error that says `said` about `response`, without the secrets of `link` in either."""
    clean(response, secrets := link.secrets())
    return ProviderError(scrub(said, secrets), response=response)
