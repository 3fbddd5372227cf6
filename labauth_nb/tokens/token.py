"""A token, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from ..masking import Secret

MARGIN_SECONDS = 60.0
"""Renew at most this early: as benchling-sdk and foundry-platform-sdk do."""
MARGIN_SHARE = 0.1
"""... and never earlier than this share of the life, so that a 3-second token still works
(benchling-sdk)."""
SOFT_SHARE = 0.75
"""From this share of the life on, one caller renews while the others go on (foundry-platform-sdk
renews at 0.75)."""


@dataclass(frozen=True, repr=False)
class Token:
    """What a grant gave: an access token (or what stands for one) and what is known about it.

    `header`: the value of the Authorization header; `issued_at`, `expires_at`: seconds since the
    epoch, UTC (`expires_at` None: unknown); `refresh_token` and `cookie`: for the next refresh,
    where the provider gave them.
    """

    access_token: Secret
    header: Secret
    issued_at: float
    expires_at: float | None = None
    refresh_token: Secret | None = None
    cookie: Secret | None = None
    scope: str | None = None

    @property
    def life(self) -> float | None:
        """Seconds between issue and expiry (None: unknown)."""
        return None if self.expires_at is None else max(self.expires_at - self.issued_at, 0.0)

    @property
    def renew_at(self) -> float:
        """When it must be renewed: a margin of min(60 s, 10 % of the life) before expiry."""
        if self.expires_at is None or self.life is None:
            return float("inf")
        return self.expires_at - min(MARGIN_SECONDS, MARGIN_SHARE * self.life)

    @property
    def soft_at(self) -> float:
        """When one caller may renew it ahead of time."""
        return (
            float("inf")
            if self.life is None
            else min(self.issued_at + SOFT_SHARE * self.life, self.renew_at)
        )

    def secrets(self) -> list[str]:
        """Every secret in it."""
        return [s for s in (self.access_token, self.header, self.refresh_token, self.cookie) if s]

    def __repr__(self) -> str:
        return f"<Token {'of unknown expiry' if self.expires_at is None else 'with an expiry'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A token is not pickled: sign in again in the other process.")
