"""Sign in to lab data providers from a notebook.

>>> %load_ext labauth_nb
>>> %labauth login benchling --tenant sandbox
>>> lab = %labauth session benchling

The same verbs in Python: ``login``, ``begin``, ``session``, ``status``, ``refresh``, ``logout``,
and ``panel``, the login panel as a widget; beside them ``labauth_nb.providers.PROVIDERS`` (what
there is, as data) and ``labauth_nb.sandbox.running()`` (the sandbox). Every name is imported at
first use, so that ``import labauth_nb`` stays light (PEP 562).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# A copied folder meets no installer, and the other modules would not even parse.
if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError("Python 3.11 or later is needed")

if TYPE_CHECKING:
    from .errors import (
        InvalidInput,
        LabauthError,
        LoginExpired,
        MissingCredentials,
        NotSignedIn,
        ProviderError,
        ProviderUnreachable,
        SignInRefused,
        StoreUnavailable,
        UnsafeRequest,
        UntrustedOrigin,
    )
    from .logins.logins import Login, session, status
    from .logins.statuses import Status
    from .notebook.panel import panel
    from .notebook.terminal import begin, login, logout, refresh
    from .sessions.session import LabSession
    from .tokens.attempts import Attempt

_HOME = dict.fromkeys(("Login", "session", "status"), "logins.logins")
_HOME |= dict.fromkeys(("begin", "login", "logout", "refresh"), "notebook.terminal")
_HOME |= {
    "panel": "notebook.panel",
    "Attempt": "tokens.attempts",
    "LabSession": "sessions.session",
    "Status": "logins.statuses",
}

__all__ = [
    "Attempt",
    "InvalidInput",
    "LabSession",
    "LabauthError",
    "Login",
    "LoginExpired",
    "MissingCredentials",
    "NotSignedIn",
    "ProviderError",
    "ProviderUnreachable",
    "SignInRefused",
    "Status",
    "StoreUnavailable",
    "UnsafeRequest",
    "UntrustedOrigin",
    "begin",
    "login",
    "logout",
    "panel",
    "refresh",
    "session",
    "status",
]


def __getattr__(name: str) -> Any:
    if name in ("providers", "sandbox"):
        return import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'errors')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ip: Any) -> None:
    """Register ``%labauth`` (IPython calls this for ``%load_ext labauth_nb``)."""
    from .notebook.magic import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """Take ``%labauth`` away again (IPython calls this for ``%unload_ext labauth_nb``)."""
    from .notebook.magic import unload

    unload(ip)
