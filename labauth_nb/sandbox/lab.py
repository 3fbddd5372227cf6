"""`Lab`: the sandbox's servers, and the levers that move them."""

from __future__ import annotations

import threading
from email.utils import formatdate
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from ..clocks import seconds_in
from .benchling import Benchling
from .dnanexus import DNAnexus
from .foundry import Foundry
from .identity import IdentityProvider
from .levers import FAULTS, Fault
from .qbench import QBench
from .sites import Shared, Site
from .visits import visit

_ALL = (Benchling, QBench, Foundry, DNAnexus, IdentityProvider)
SITES: dict[str, type[Site]] = {site.name: site for site in _ALL}


class _Handler(WSGIRequestHandler):
    """Logs nothing, and dates responses by the sandbox's clock.

    (A Date among the app's headers would be a second one.)
    """

    lab: Lab

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.lab.now, usegmt=True)


class Lab(Shared):
    """The four providers and an identity provider, each at its own origin on loopback.

    Its methods are the levers that move them. A provider is named as in `labauth_nb.providers`,
    the identity provider `idp`; another name is a `ValueError`. `servers`: by the same names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear(SITES)
        self.servers: dict[str, BaseWSGIServer] = {}
        try:
            for name in SITES:
                self._serve(name)
        except RuntimeError:  # no thread can be started: keep no port either
            for server in self.servers.values():
                server.server_close()
            raise

    def _serve(self, name: str) -> None:
        # The site is looked up for each request, so that `reset` can put a new one in place.
        def app(environ: Any, start_response: Any) -> Any:
            return self.sites[name].app(environ, start_response)

        handler = type("Handler", (_Handler,), {"lab": self})
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler)
        self.servers[name] = server
        self.origins[name] = f"http://127.0.0.1:{server.server_port}"
        label = f"labauth sandbox {name}"
        threading.Thread(target=server.serve_forever, name=label, daemon=True).start()

    def site(self, provider: str) -> Site:
        """The site of `provider`."""
        if provider not in self.sites:
            known = ", ".join(self.sites)
            raise ValueError(f"The sandbox has no provider {provider!r}. It has: {known}.")
        return self.sites[provider]

    def credentials(self, provider: str, method: str) -> dict[str, str]:
        """Fields that sign in to `provider` by `method`; pasted tokens are issued at each call."""
        return self.site(provider).credentials(method)

    def describe(self) -> str:
        """What runs, in one line, without ports."""
        providers = ", ".join(name for name in self.sites if name != "idp")
        return f"SANDBOX: {'stopped' if self.stopped else 'running'}; providers: {providers}."

    # Levers

    def advance(self, amount: float | str) -> None:
        """Move the clock of client and servers forward: seconds, or "90s", "15m", "2h", "1d"."""
        if isinstance(amount, str):
            amount = seconds_in(amount)
        self.clock.advance(amount)

    def expire(self, provider: str) -> None:
        """End the life of every access token (and ID token) of `provider` now, silently."""
        site = self.site(provider)
        with self.lock:
            for issued in site.tokens.values():
                issued.expires_at = min(issued.expires_at, site.now)

    def revoke(self, provider: str, refresh: bool = False) -> None:
        """Revoke every access token of `provider` now; `refresh`: every refresh token as well."""
        site = self.site(provider)
        with self.lock:
            for book in [site.tokens] + [site.refresh_tokens] * refresh:
                for issued in book.values():
                    issued.dead = True

    def next(
        self,
        provider: str,
        response: int | str,
        times: int = 1,
        path: str = "",
        seconds: float = 2.0,
    ) -> None:
        """Spoil the next `times` responses (to a request whose path contains `path`).

        `response`: one of `FAULTS`. `seconds`: how long "slow" takes, and what a 429 asks to wait.
        """
        site = self.site(provider)
        if response not in FAULTS:
            known = "\n".join(f"  {name!r}: {help}" for name, help in FAULTS.items())
            raise ValueError(f"next() knows no response {response!r}. It knows:\n{known}")
        with self.lock:
            site.faults.append(Fault(response, times, path, seconds))

    def set(self, provider: str, **levers: Any) -> None:
        """Set levers of a site, all or none: ``lab.set("dnanexus", otp="246810")``.

        `Lab.levers` lists them; an unknown or wrong one is a `ValueError` with the same list.
        """
        self.site(provider).set(levers)

    def levers(self, provider: str) -> str:
        """What `set` takes for `provider`, a line for each lever: its kind and what it does."""
        return self.site(provider).lever_help()

    def suspend(self, provider: str, suspended: bool = True) -> None:
        """Suspend the user, or undo it."""
        self.set(provider, suspended=suspended)

    def archive(self, archived: bool = True) -> None:
        """Archive the Benchling app, or undo it."""
        self.set("benchling", archived=archived)

    def rotate_keys(self, keep_kid: bool = False) -> None:
        """The identity provider signs with a new key from now on, and the old one is gone.

        `keep_kid`: the new key has the old one's name.
        """
        site = self.sites["idp"]
        assert isinstance(site, IdentityProvider)
        site.rotate_keys(keep_kid)

    def visit(self, url: str, choice: str = "allow", **typed: str) -> str:
        """Play the person and the browser: open a sign-in page, type, and choose "allow" or "deny".

        What is typed is what the sandbox's user knows, or `typed` instead; redirects on the
        sandbox's own sites are followed. Gives the address where the browser lands, which is not
        requested when it is the client's. Raises `ValueError` with the message of an error page,
        or of a page that asks again.
        """
        return visit(self, url, choice, typed)

    def skew(self, seconds: float) -> None:
        """Put the servers' clock `seconds` ahead of the client's (negative: behind)."""
        self.skew_seconds = seconds

    def count(self, provider: str, path: str = "") -> int:
        """Requests so far to `provider` whose "VERB /path" contains `path`."""
        with self.lock:
            counts = self.counts.items()
            return sum(n for (name, what), n in counts if name == provider and path in what)

    def token_requests(self, provider: str) -> int:
        """Requests so far to the token endpoints of `provider` (refreshing included)."""
        ends = ("/token", "/token/refresh", "/newAuthToken")
        with self.lock:
            counts = self.counts.items()
            return sum(n for (name, what), n in counts if name == provider and what.endswith(ends))

    def reset(self) -> None:
        """Back to the first state: clock, counters, tokens, levers, data. The origins stay."""
        with self.lock:
            self.clock.reset()
            self.clear(SITES)

    def stop(self) -> None:
        """Close the servers. The next `running()` starts new ones."""
        self.stopped = True
        for server in self.servers.values():
            server.shutdown()
            server.server_close()
