"""What a provider is, as data: `Provider`, `Method`, `Field` and the small records they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import InvalidInput, nearest, refuse_secret
from ..masking import shown


@dataclass(frozen=True)
class Field:
    """One thing that the user gives: `env` are the variables already in use for it, `hint` says where to find it.

    `variable`: our own variable for it, where LABAUTH_<PROVIDER>_<FIELD> is another method's; `address`: SERVER where it
    names who gets the credentials, RETURN where it names the page that the browser brings the code back to.
    `verbatim`: whether a person made it up, so that quotes and spaces may belong to it.
    """

    name: str
    label: str
    hint: str
    env: tuple[str, ...] = ()
    secret: bool = False
    optional: bool = False
    default: str = ""
    variable: str = ""
    address: str = ""
    verbatim: bool = False


SERVER, RETURN = "server", "return"
REDIRECT_URI = Field(
    "redirect_uri",
    "Redirect address",
    "what is registered for the client; leave it empty for this computer, any port (http://127.0.0.1)",
    optional=True,
    address=RETURN,
)
"""Where the sign-in page sends the browser back to (RFC 8252 7.3; on a hub: an address that is proxied to the kernel)."""


@dataclass(frozen=True)
class Flow:
    """How a browser method runs: where its endpoints are, what they keep to, and what to say.

    `authorize`, `token`: paths at the authentication server; both "": found by discovery at the field `issuer` (OpenID
    Connect Discovery 1.0). `pkce`: whether the code is bound to us (RFC 7636); `echoes_state`: whether the answer always
    brings `state` back; `who`: who answers, in messages; `note`: what must be known first; `hints`: as `Provider.hints`.
    """

    authorize: str = ""
    token: str = ""
    pkce: bool = True
    echoes_state: bool = True
    who: str = ""
    note: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to sign in: its fields and the name of its grant (`labauth_nb.tokens.grants.GRANTS`).

    `revoke`: the name of the revocation, where the provider offers one; `minted`: whether we asked for the token
    (then logging out revokes it without asking); `files`: vendors' own files that hold these fields;
    `marker`: an environment variable that says "this is the place for this method"; `claim`: a claim that the pasted
    token must carry; `lasting`: whether what is pasted never expires; `keep_word`: why logging out leaves the token alone;
    `flow`: what is done in a browser, where a person signs in there; `refreshes`: whether it is renewed by a refresh token.
    """

    name: str
    label: str
    grant: str
    fields: tuple[Field, ...]
    hint: str
    minted: bool = False
    revoke: str = ""
    keep_word: str = ""
    files: str = ""
    marker: str = ""
    claim: str = ""
    lasting: bool = False
    flow: Flow | None = None
    refreshes: bool = False

    @property
    def secret(self) -> Field:
        """The field that is the credential itself (a browser method has none: any of its fields)."""
        return next((f for f in self.fields if f.secret and not f.optional), self.fields[0])


@dataclass(frozen=True)
class DeadToken:
    """An answer that means "this token is dead": the status, and the error codes or words in it (none: any)."""

    status: int
    codes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """A request that tells who is signed in: the first of `keys` in the response. `{answer}` is what the one before told.

    `items`: the list that a good response holds, where it tells no name; `forbidden`: "status code" of
    each error that, by the provider's document, only a good token gets.
    """

    verb: str
    path: str
    keys: tuple[str, ...] = ()
    items: str = ""
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paging:
    """How lists come in pages: by a cursor (`send` it back as `cursor`) or by number (until `total_pages`)."""

    verb: str = "GET"
    items: str = ""
    cursor: str = ""
    send: str = ""
    number: str = ""
    total_pages: str = ""
    total_count: str = ""


@dataclass(frozen=True)
class Provider:
    """A provider: where it is, how one signs in, what its answers mean, what to do about its errors.

    `suffix`: what a bare tenant name is completed with; `closed`: whether every tenant is under that suffix;
    `web_pages`: hosts that people paste and that are not the API, with the right one; `pacing`: headers that
    tell how many seconds to wait; `reads`: patterns (`fnmatch`) of paths whose POST changes nothing;
    `limits_first`: whether a 429 says, by its document, that the request was not worked on.
    """

    name: str
    title: str
    tenant: Field
    methods: tuple[Method, ...]
    api_base: str
    token_path: str
    paging: Paging
    probes: tuple[Probe, ...]
    dead_token: tuple[DeadToken, ...]
    hints: Mapping[str, str]
    suffix: str = ""
    closed: bool = False
    client_authentication: str = "basic"
    paths: Mapping[str, str] = field(default_factory=dict)
    auth_hosts: Mapping[str, str] = field(default_factory=dict)
    web_pages: Mapping[str, str] = field(default_factory=dict)
    pacing: tuple[str, ...] = ("retry-after",)
    reads: tuple[str, ...] = ()
    limits_first: bool = False
    docs: str = ""

    def method(self, name: str | None) -> Method:
        """The method called `name` (None: the default one). Raises `InvalidInput`, listing the choices."""
        if name is None:
            return self.methods[0]
        for method in self.methods:
            if method.name == str(name).strip().lower():
                return method
        raise nearest(str(name), [m.name for m in self.methods], f"{self.title} method")

    def origin(self, tenant: str) -> str:
        """The origin (``https://host[:port]``) of `tenant`, in any spelling. Raises `InvalidInput`.

        Plain http is kept for loopback only; elsewhere it becomes https. A path (a pasted page) is dropped.
        """
        typed = tenant.strip()
        refuse_secret(typed, "The tenant", "tenant")
        try:
            parts = urlsplit(typed if "://" in typed else "https://" + typed)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise self._bad_tenant(typed) from None
        if (
            parts.path.startswith("//")
            or parts.scheme not in ("http", "https")
            or "@" in parts.netloc
            or not _HOST.fullmatch(host)
        ):
            raise self._bad_tenant(typed)
        if host in self.web_pages:
            raise _about_tenant(f"{host} is a web page, not {self.title}'s API: use {self.web_pages[host]}.")
        if is_loopback(host):
            return f"{parts.scheme}://{_bracketed(host)}{f':{port}' if port else ''}"
        if "." not in host:
            if not self.suffix:
                raise self._bad_tenant(typed)
            host += self.suffix
        if self.closed and host != self.suffix.lstrip(".") and not host.endswith(self.suffix):
            raise _about_tenant(f"{host} is not a {self.title} address: they end in {self.suffix}. Give {self.tenant.hint}.")
        if port == {"http": 80, "https": 443}[parts.scheme]:
            port = None
        return f"https://{host}{f':{port}' if port else ''}"

    def owns(self, tenant: str) -> bool:
        """Whether `tenant` is at an address of the vendor's own, whoever named it. Raises `InvalidInput`."""
        host = urlsplit(self.origin(tenant)).netloc
        return host.endswith(self.suffix) if self.suffix else host in self.auth_hosts

    def auth_origin(self, origin: str) -> str:
        """The origin of the authentication server that goes with the API at `origin`."""
        return self.auth_hosts.get(urlsplit(origin).netloc, origin)

    def _bad_tenant(self, typed: str) -> InvalidInput:
        hint = self.tenant.hint
        return _about_tenant(f"{shown(typed)} is not a {self.title} address. Give {hint}.")


def _about_tenant(sentence: str) -> InvalidInput:
    error = InvalidInput(sentence)
    error.field = "tenant"
    return error


def spelled(address: str) -> str:
    """`address` with scheme and host in small letters (RFC 3986 6.2.2.1), and without a slash at its end."""
    try:
        parts = urlsplit(address)
        return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
    except ValueError:
        return address


def whole_address(typed: str) -> str:
    """An issuer or a redirect address as it was typed, in one spelling: with its scheme, without what discovery adds."""
    typed = typed.strip()
    typed = spelled(typed if "://" in typed else f"https://{typed}")
    return typed.removesuffix("/.well-known/openid-configuration").rstrip("/")


_HOST = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|::1")


def without_page(tenant: str) -> str:
    """`tenant` without the page of a pasted address: its path and query may hold anything."""
    return re.split(r"(?<![:/])[/?#]", tenant.strip(), maxsplit=1)[0]


def is_loopback(host: str | None) -> bool:
    """Whether `host` is this computer."""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host or ""))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
