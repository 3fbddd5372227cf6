"""Benchling (API v2): facts from its API reference, its SDK and the authentication guide."""

from .model import (
    REDIRECT_URI,
    SERVER,
    DeadToken,
    Env,
    Field,
    Flow,
    Method,
    Paging,
    Probe,
    Provider,
)

TENANT = Field(
    "tenant",
    "Benchling address",
    "the name before .benchling.com in your browser's address bar, such as acme",
    env=(Env("BENCHLING_TENANT"), Env("BENCHLING_TENANT_URL"), Env("BENCHLING_URL")),
    address=SERVER,
)

BENCHLING = Provider(
    name="benchling",
    title="Benchling",
    docs="https://docs.benchling.com/docs/authentication",
    tenant=TENANT,
    suffix=".benchling.com",
    suffix_required=True,
    api_base="/api/v2",
    token_path="/api/v2/token",
    client_authentication="basic",
    methods=(
        Method(
            "app",
            "As an app",
            "client_credentials",
            fields=(
                Field(
                    "client_id",
                    "Client ID",
                    "Developer Console, your app, Client ID",
                    env=(Env("BENCHLING_CLIENT_ID"),),
                ),
                Field(
                    "client_secret",
                    "Client secret",
                    "Developer Console, your app, Generate Client Secret",
                    env=(Env("BENCHLING_CLIENT_SECRET"),),
                    secret=True,
                ),
            ),
            hint=(
                "For scripts and integrations: acts as the app, which must have been added to the"
                " projects it reads."
            ),
            page="{origin}/",
            page_words="Make an app on {host}",
            issued_here=True,
        ),
        Method(
            "api-key",
            "With my API key",
            "basic_api_key",
            fields=(
                Field(
                    "api_key",
                    "API key",
                    "your profile settings, API Key, Generate; it starts with sk_",
                    env=(Env("BENCHLING_API_KEY"),),
                    secret=True,
                    begins="sk_",
                ),
            ),
            hint="For a quick look: acts as you, and does not expire.",
            page="{origin}/",
            page_words="Make a key on {host}",
            never_expires=True,
        ),
        Method(
            "id-token",
            "With an ID token",
            "bearer",
            fields=(
                Field(
                    "id_token",
                    "ID token",
                    "your lab's identity provider (Okta, Azure AD); it must carry the claim email",
                    secret=True,
                ),
            ),
            hint=(
                "Acts as you, where your Benchling trusts your lab's identity provider (OpenID"
                " Connect)."
            ),
            claim="email",
        ),
        Method(
            "oidc",
            "As myself, in the browser",
            "openid",
            fields=(
                Field(
                    "issuer",
                    "Issuer",
                    "the address of your lab's identity provider, such as https://acme.okta.com",
                    address=SERVER,
                ),
                Field(
                    "client_id",
                    "Client ID",
                    "what the identity provider's admin registered for Benchling's API",
                    variable="LABAUTH_BENCHLING_OIDC_CLIENT_ID",
                ),
                Field(
                    "client_secret",
                    "Client secret",
                    "for a confidential client only; a public one has none",
                    secret=True,
                    optional=True,
                    variable="LABAUTH_BENCHLING_OIDC_CLIENT_SECRET",
                ),
                Field(
                    "scopes",
                    "Scopes",
                    "openid and email at least; with offline_access the sign-in is renewed"
                    " without you",
                    optional=True,
                    default="openid email offline_access",
                ),
                REDIRECT_URI,
            ),
            hint=(
                "Acts as you: you sign in at your lab's identity provider, which Benchling must"
                " trust (OpenID Connect)."
            ),
            issued_here=True,
            claim="email",
            revoke="openid",
            refreshes=True,
            flow=Flow(
                issuer="issuer",
                who="the identity provider",
                hints={
                    "access_denied": (
                        "The sign-in was declined: open the sign-in page again, or ask your admin."
                    ),
                    "invalid_grant": (
                        "The code was already used, is too old, or belongs to another attempt: sign"
                        " in again."
                    ),
                    "invalid_client": (
                        "Check the client ID (and the secret of a confidential client) with its"
                        " admin."
                    ),
                    "invalid_scope": (
                        "Ask only for scopes that the client has; openid and email are needed."
                    ),
                    "404": (
                        "Check the issuer: it is the address without"
                        " /.well-known/openid-configuration."
                    ),
                    "429": "Too many requests: wait {retry} and go on.",
                    "5xx": "The identity provider has a problem of its own: try again in a minute.",
                },
            ),
        ),
    ),
    probes=(Probe("GET", "/api/v2/projects?pageSize=1", items="projects"),),
    paging=Paging(cursor="nextToken", send="nextToken"),
    pacing=("x-rate-limit-reset", "retry-after"),
    dead_token=(DeadToken(401),),
    hints={
        "invalid_client": (
            "Check the Benchling address, and the client ID and secret under Developer Console,"
            " your app; the secret may have been regenerated, or the app archived."
        ),
        "401": (
            "Check the API key or token; the user may be suspended, or the key may belong to"
            " another Benchling address."
        ),
        "403": (
            "Ask for access to that item: an app must be added to the organization, team or"
            " project."
        ),
        "404": (
            "Check the path and the id; an app that was not added to the project sees nothing there"
            " either."
        ),
        "429": "Too many requests: wait {retry} and go on.",
        "503": (
            "Benchling is down for a moment (its maintenance is on the last Saturday of the month):"
            " try later."
        ),
        "5xx": "Benchling has a problem of its own: try again in a minute.",
    },
)
