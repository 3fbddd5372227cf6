"""What counts as an address, told once for tenants, issuers and redirects."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

LONGEST = 2000
"""Characters; what is longer is no address that a person or a server means."""


def is_loopback(host: str | None) -> bool:
    """Whether `host` is this computer (RFC 8252 8.3)."""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host or ""))


def parsed(address: str, *, plain: bool = False, local: bool = True) -> SplitResult | None:
    """The parts of `address`; None where nothing may be sent to it, or shown of it.

    That is https, or http to loopback (where `local`), with a host, a port that is a number, no
    user name or password, and nothing that cannot be printed. `plain`: of http or https only the
    host and port are taken, whatever follows.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    http = parts.scheme == "http" and (plain or (local and is_loopback(parts.hostname)))
    if not (http or parts.scheme == "https") or not parts.hostname or "@" in parts.netloc:
        return None
    whole = address.isprintable() and " " not in address and len(address) <= LONGEST
    return parts if whole or plain else None
