"""What a provider is, as data.

`Provider`, `Method`, `Field` and the small records they are made of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import InvalidInput, nearest, refuse_secret
from ..masking import shown
from .addresses import is_loopback, parsed


@dataclass(frozen=True)
class Env:
    """An environment variable that the vendor's own tools use, and how its value is to be read."""

    name: str
    json_key: str = ""
    """The value is a JSON object, as `written_by` writes it, and what it has under this key is
    meant."""
    written_by: str = ""
    """The vendor's tool that writes the JSON, for messages."""
    signed_out: str = ""
    """What `written_by` leaves there after a log out, instead of a secret."""
    scheme: str = ""
    """The variable beside it that has the scheme of its host (https where it is not set)."""
    port: str = ""
    """The variable beside it that has the port of its host."""
    full_host: bool = False
    """Whether it is ignored where its value has no dot: it is then no host, but the computer's own
    name."""
    unless: str = ""
    """A variable: where that is set too, this one means something else, and is ignored."""
    because: str = ""
    """What it means then, for the message that says so."""


@dataclass(frozen=True)
class Field:
    """One thing that the user gives."""

    name: str
    """The keyword of `login`; with dashes the option of ``%labauth``."""
    label: str
    """What a form and a message call it."""
    hint: str
    """Where the user finds it."""
    env: tuple[Env, ...] = ()
    """The variables that are in use for it already, the most usual first."""
    secret: bool = False
    """Whether it is masked, asked for unseen and never shown."""
    optional: bool = False
    """Whether a sign-in goes without it."""
    default: str = ""
    """What it is where nobody says otherwise."""
    variable: str = ""
    """Our own variable for it, where LABAUTH_<PROVIDER>_<FIELD> is another method's."""
    address: str = ""
    """SERVER: it names who gets the credentials. RETURN: it names where the browser brings the
    code."""
    begins: str = ""
    """What each value of a secret begins with: a word that does so is taken for a secret wherever
    it stands (`labauth_nb.masking`)."""
    verbatim: bool = False
    """Whether a person made it up, so that quotes and spaces may belong to it."""
    once: bool = False
    """Whether it works once only, so that it is never remembered."""

    @property
    def variables(self) -> list[str]:
        """The names of the variables in `env`."""
        return [each.name for each in self.env]


SERVER, RETURN = "server", "return"
REDIRECT_URI = Field(
    "redirect_uri",
    "Redirect address",
    "what is registered for the client; leave it empty for this computer, any port"
    " (http://127.0.0.1)",
    optional=True,
    address=RETURN,
)
"""Where the sign-in page sends the browser back to (RFC 8252 7.3; on a hub: an address that is
proxied to the kernel)."""


@dataclass(frozen=True)
class Flow:
    """How a browser method runs: where its endpoints are, what they keep to, and what to say."""

    authorize: str = ""
    """Path of the authorization endpoint at the authentication server."""
    token: str = ""
    """Path of the token endpoint."""
    issuer: str = ""
    """The field that names the issuer, at which both are found by discovery instead (OpenID Connect
    Discovery 1.0)."""
    pkce: bool = True
    """Whether the code is bound to us (RFC 7636)."""
    echoes_state: bool = True
    """Whether every response to the browser brings `state` back; else one without it is taken by
    paste only."""
    who: str = ""
    """Who responds, in messages, where that is not the provider itself."""
    note: str = ""
    """What the person must know before they begin."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """As `Provider.hints`, for the endpoints of this flow."""


@dataclass(frozen=True)
class Method:
    """A way to sign in."""

    name: str
    """The word after ``--method``."""
    label: str
    """How a person chooses it, such as "With my API key"."""
    grant: str
    """The name of its grant (`labauth_nb.tokens.grants.GRANTS`)."""
    fields: tuple[Field, ...]
    """What it needs, in the order of the form."""
    hint: str
    """When to choose it, and whom it acts for, in one line."""
    page: str = ""
    """The page where its secret is made, as the provider documents it; {origin} stands for the
    tenant's web address. Where no such page is documented: where the way to it starts. "": there
    is none."""
    page_words: str = ""
    """The words of the link to `page`; {host} stands for the host of the web address."""
    issued_here: bool = False
    """Whether its token is issued at our request (then logging out revokes it without asking)."""
    revoke: str = ""
    """The name of its revocation (`labauth_nb.tokens.grants.REVOCATIONS`); "": there is none."""
    why_not_revoked: str = ""
    """Why logging out leaves the token alone."""
    files: str = ""
    """The vendor's own files that hold these fields
    (`labauth_nb.credentials.vendor_files.FILES`)."""
    job_variable: str = ""
    """An environment variable that is set inside a job, and only there: the job signs
    in by itself."""
    claim: str = ""
    """A claim that the pasted token must carry."""
    never_expires: bool = False
    """Whether what is pasted never expires."""
    flow: Flow | None = None
    """What is done in a browser, where a person signs in there."""
    refreshes: bool = False
    """Whether it is renewed by a refresh token."""
    refresh_seconds: float = math.inf
    """Life of a refresh token."""
    cookie: str = ""
    """A cookie that comes beside a refresh token, and goes back with it."""
    assertion_seconds: int = 0
    """Life of the assertions (RFC 7523) that we sign."""
    asked_seconds: int = 0
    """Life that is asked for, where the provider lets the client choose."""
    digest_key: str = ""
    """What a revocation by digest calls the token's SHA-256."""
    errors_about: Mapping[str, str] = field(default_factory=dict)
    """The field that each error code is about."""

    @property
    def once(self) -> Field | None:
        """The field that works once only, such as a second factor."""
        return next((f for f in self.fields if f.once), None)

    @property
    def secret(self) -> Field:
        """The field that is the credential itself (for a browser method: any field)."""
        return next((f for f in self.fields if f.secret and not f.optional), self.fields[0])


@dataclass(frozen=True)
class DeadToken:
    """A response that means "this token is dead"."""

    status: int
    """Its HTTP status."""
    codes: tuple[str, ...] = ()
    """The error codes that mean it (none: any)."""
    words: tuple[str, ...] = ()
    """Words in its message that mean it (none: any)."""


@dataclass(frozen=True)
class Probe:
    """A request that tells who is signed in."""

    verb: str
    """GET or POST."""
    path: str
    """Its path; `{previous}` is the name that the probe before it told."""
    keys: tuple[str, ...] = ()
    """Where the name is in a good response: the first of these keys that is there."""
    items: str = ""
    """The list that a good response holds, where it tells no name."""
    forbidden: tuple[str, ...] = ()
    """The "status code" of each error that, by the provider's document, only a good token gets."""


@dataclass(frozen=True)
class Paging:
    """How lists come in pages: by a cursor, or by number."""

    verb: str = "GET"
    """The verb of a list."""
    items: str = ""
    """The key of a page's list ("": the only list there is)."""
    cursor: str = ""
    """The key of the cursor of the next page; missing or empty on the last one."""
    send: str = ""
    """The parameter that sends the cursor back."""
    number: str = ""
    """The parameter that asks for a page by its number, from 1."""
    total_pages: str = ""
    """The key that says how many pages there are."""
    total_count: str = ""
    """The key that says how many items there are."""


@dataclass(frozen=True)
class Provider:
    """A provider.

    Where it is, how one signs in, what its responses mean, what to do about its errors.
    """

    name: str
    """The word after ``%labauth login``."""
    title: str
    """What messages call it."""
    tenant: Field
    """Whose installation it is."""
    methods: tuple[Method, ...]
    """The ways to sign in, the default one first."""
    api_base: str
    """The path before every path of its API."""
    token_path: str
    """The path of its token endpoint."""
    paging: Paging
    """How its lists come in pages."""
    probes: tuple[Probe, ...]
    """The requests that tell who is signed in, one after the other."""
    dead_token: tuple[DeadToken, ...]
    """The responses that mean "this token is dead"."""
    hints: Mapping[str, str]
    """What to do about an error: by its code, "status code", or status ("5xx": any from 500 on)."""
    suffix: str = ""
    """What a bare tenant name is completed with."""
    suffix_required: bool = False
    """Whether every tenant is under that suffix."""
    client_authentication: str = "basic"
    """Where the client secret goes: "basic" (the header) or "body" (RFC 6749 2.3.1)."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Its other paths, by what a grant or a revocation calls them."""
    auth_hosts: Mapping[str, str] = field(default_factory=dict)
    """The origin of the authentication server by the API's host, where that is another one."""
    web_hosts: Mapping[str, str] = field(default_factory=dict)
    """The host of the web pages by the API's host, where that is another one."""
    web_pages: Mapping[str, str] = field(default_factory=dict)
    """Hosts that people paste and that are not the API, with the right one."""
    pacing: tuple[str, ...] = ("retry-after",)
    """Headers that say how many seconds to wait."""
    reads: tuple[str, ...] = ()
    """Patterns (`fnmatch`) of paths whose POST changes nothing."""
    limits_first: bool = False
    """Whether a 429 says, by its document, that the request was not worked on."""
    docs: str = ""
    """The page that documents signing in."""

    def method(self, name: str | None) -> Method:
        """The method called `name` (None: the default one).

        Raises `InvalidInput`, listing the choices.
        """
        if name is None:
            return self.methods[0]
        for method in self.methods:
            if method.name == str(name).strip().lower():
                return method
        raise nearest(str(name), [m.name for m in self.methods], f"{self.title} method")

    def origin(self, tenant: str) -> str:
        """The origin (``https://host[:port]``) of `tenant`, in any spelling. Raises `InvalidInput`.

        Plain http is kept for loopback only; elsewhere it becomes https. A path (a pasted page) is
        dropped.
        """
        typed = tenant.strip()
        refuse_secret(typed, f"The {self.tenant.label}", "tenant")
        parts = parsed(typed if "://" in typed else "https://" + typed, plain=True)
        host, port = (
            (parts.hostname or "").rstrip(".") if parts else "",
            (parts.port if parts else None),
        )
        if parts is None or parts.path.startswith("//") or not _HOST.fullmatch(host):
            raise self._bad_tenant(typed)
        if host in self.web_pages:
            api = self.web_pages[host]
            said = f"{host} is a web page, not {self.title}'s API: use {api}."
            raise InvalidInput(said, field="tenant")
        if is_loopback(host):
            return f"{parts.scheme}://{_bracketed(host)}{f':{port}' if port else ''}"
        if "." not in host:
            if not self.suffix:
                raise self._bad_tenant(typed)
            host += self.suffix
        if (
            self.suffix_required
            and host != self.suffix.lstrip(".")
            and not host.endswith(self.suffix)
        ):
            said = f"{host} is not a {self.title} address: they end in {self.suffix}."
            raise InvalidInput(f"{said} Give {self.tenant.hint}.", field="tenant")
        if port == {"http": 80, "https": 443}[parts.scheme]:
            port = None
        return f"https://{host}{f':{port}' if port else ''}"

    def owns(self, tenant: str) -> bool:
        """Whether `tenant` is at an address of the vendor's own, whoever named it.

        Raises `InvalidInput`.
        """
        host = urlsplit(self.origin(tenant)).netloc
        return host.endswith(self.suffix) if self.suffix else host in self.auth_hosts

    def auth_origin(self, origin: str) -> str:
        """The origin of the authentication server that goes with the API at `origin`."""
        return self.auth_hosts.get(urlsplit(origin).netloc, origin)

    def link(self, method: Method, origin: str) -> tuple[str, str]:
        """Where the secret of `method` is made at the tenant at `origin`: the link and its words.

        ("", "") where there is no such page, and on this computer (the sandbox has no web pages).
        """
        parts = urlsplit(origin)
        if not method.page or is_loopback(parts.hostname or ""):
            return "", ""
        host = self.web_hosts.get(parts.netloc, parts.netloc)
        page = method.page.format(origin=f"https://{host}")
        return page, method.page_words.format(host=host)

    def _bad_tenant(self, typed: str) -> InvalidInput:
        hint = self.tenant.hint
        said = f"{shown(typed)} is not a {self.title} address. Give {hint}."
        return InvalidInput(said, field="tenant")


def spelled(address: str) -> str:
    """`address` in small letters (scheme and host, RFC 3986 6.2.2.1), no slash at its end."""
    try:
        parts = urlsplit(address)
        return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
    except ValueError:
        return address


def whole_address(typed: str) -> str:
    """An issuer or a redirect address as it was typed, in one spelling.

    With its scheme, without what discovery adds.
    """
    typed = typed.strip()
    typed = spelled(typed if "://" in typed else f"https://{typed}")
    return typed.removesuffix("/.well-known/openid-configuration").rstrip("/")


_HOST = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|::1")


def without_page(tenant: str) -> str:
    """`tenant` without the page of a pasted address: its path and query may hold anything."""
    return re.split(r"(?<![:/])[/?#]", tenant.strip(), maxsplit=1)[0]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
