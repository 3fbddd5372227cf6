"""The providers as data: the words and the links that a person reads."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from labauth_nb.notebook.magic import _show_providers
from labauth_nb.providers import PROVIDERS
from labauth_nb.providers.model import Method, Provider

ALL = [pytest.param(p, m, id=f"{p.name}-{m.name}") for p in PROVIDERS.values() for m in p.methods]
WEB_HOSTS = {
    "benchling": "acme.benchling.com",
    "qbench": "acme.qbench.net",
    "foundry": "acme.palantirfoundry.com",
    "dnanexus": "platform.dnanexus.com",
}
"""Where people see each provider, at the example's address."""
NO_PAGE = {
    ("benchling", "id-token"): "the identity provider issues it",
    ("benchling", "oidc"): "the identity provider's admin has it",
    ("dnanexus", "job"): "DNAnexus sets it inside the job",
    ("dnanexus", "password"): "a person knows it",
}
"""The methods whose secret is made on none of the provider's pages, and why."""


def example(provider: Provider) -> str:
    """The origin of the installation that the hints name."""
    return provider.origin(provider.tenant.default or "acme")


@pytest.mark.parametrize(("provider", "method"), ALL)
def test_links(provider: Provider, method: Method) -> None:
    """Who is asked for a secret gets a link to where it is made: by https, on the provider's own
    web host, which the words name. Where there is none, there is a reason."""
    page, words = provider.link(method, example(provider))
    assert bool(page) == bool(words) == bool(method.page)
    if page:
        parts = urlsplit(page)
        assert (parts.scheme, parts.netloc) == ("https", WEB_HOSTS[provider.name])
        assert parts.netloc in words
        assert not re.search(r"[{}\s]", page)
    needs = any(f.secret for f in method.fields)
    assert bool(page) == (needs and (provider.name, method.name) not in NO_PAGE)


def test_link_follows_the_address() -> None:
    """A link leads to the very installation that is signed in to, wherever it is; the sandbox has
    no web pages."""
    foundry, dnanexus = PROVIDERS["foundry"], PROVIDERS["dnanexus"]
    own = foundry.link(foundry.method("token"), "https://foundry.acme.example:8443")
    assert own[0] == "https://foundry.acme.example:8443/workspace/settings/tokens"
    china = dnanexus.link(dnanexus.method("api-token"), "https://api.cn.dnanexus.com")
    assert china[0] == "https://platform.cn.dnanexus.com/"
    for here in ("http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765"):
        assert foundry.link(foundry.method("token"), here) == ("", "")


@pytest.mark.parametrize(("provider", "method"), ALL)
def test_choices_read_as_one(provider: Provider, method: Method) -> None:
    """A method's label is how a person would choose it, told apart from the others; its hint is one
    line of sentences; no line of the form speaks of tenants or hosts."""
    assert re.fullmatch(r"(As|With) \S.*[a-zI)]", method.label)
    assert sum(m.label == method.label for m in provider.methods) == 1
    assert re.fullmatch(r"[A-Z][^\n]{20,118}\.", method.hint)
    assert provider.tenant.label == f"{provider.title} address"
    for field in (provider.tenant, *method.fields):
        assert not re.search(r"(?i)\b(tenant|host)\b", field.label)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda p: p.name)
def test_shown(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    """``%labauth providers`` shows the address's label, and each method's label, hint and link."""
    _show_providers(provider.name)
    shown = capsys.readouterr().out
    assert f"--tenant: {provider.tenant.label}; " in shown
    for method in provider.methods:
        assert f"{method.label}. {method.hint}" in shown
        assert provider.link(method, example(provider))[0] in shown
