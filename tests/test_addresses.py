"""One parser of addresses: what a tenant, an issuer and a redirect may be."""

from __future__ import annotations

import pytest

from labauth_nb import InvalidInput
from labauth_nb.providers import PROVIDERS, parsed
from labauth_nb.tokens.attempts import checked_redirect

GOOD = [
    "https://acme.example.com",
    "https://acme.example.com:8443/a?b=c",
    "http://127.0.0.1:8/x",
    "http://[::1]:9/",
    "http://localhost",
]
BAD = [
    "http://acme.example.com",
    "ftp://acme.example.com",
    "https://",
    "https://acme.example.com:port/",
    "https://acme.example.com:99999/",
    "https://user:kanari-0001@acme.example.com/",
    "https://acme.example.com@evil.example/",
    "https://[::1",
    "https://acme example.com/",
    "https://acme.example.com/\x1b[31m",
    "https://acme.example.com/" + "a" * 2000,
    "acme.example.com",
    "",
]


@pytest.mark.parametrize("address", GOOD)
def test_good(address: str) -> None:
    """https with a host, and http to this computer, is an address; a redirect is taken as it is."""
    assert parsed(address) is not None
    assert checked_redirect(address) == address
    assert (parsed(address, local=False) is None) == address.startswith("http:")


@pytest.mark.parametrize("address", BAD)
def test_bad(address: str) -> None:
    """All else is none, as a redirect too; a password before an @ is not repeated."""
    assert parsed(address) is None
    with pytest.raises(InvalidInput, match="is not a valid redirect address") as caught:
        checked_redirect(address)
    assert "kanari" not in str(caught.value)
    assert caught.value.field == "redirect_uri"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "typed",
    ["https://user:kanari-0001@acme.example.com/", "https://[::1", "ftp://acme", "https://", "a b"],
)
def test_bad_tenant(provider: str, typed: str) -> None:
    """The same parser refuses a tenant, for every provider."""
    with pytest.raises(InvalidInput) as caught:
        PROVIDERS[provider].origin(typed)
    assert "kanari" not in str(caught.value)
