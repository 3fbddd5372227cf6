"""Palantir Foundry: facts from its documentation and from the vendor's SDKs."""

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
    "Foundry address",
    "the name in your browser's address bar, such as acme.palantirfoundry.com",
    env=(
        Env(
            "FOUNDRY_HOSTNAME",
            full_host=True,
            unless="FOUNDRY_PROXY_URL",
            because="it is a part of the Code Workspace",
        ),
        Env("FDT_CREDENTIALS__DOMAIN"),
    ),
    address=SERVER,
)

DEVELOPER_CONSOLE = "{origin}/workspace/developer-console/"
"""Where applications are made. Source: Palantir's guide to the Python OSDK."""

FOUNDRY = Provider(
    name="foundry",
    title="Foundry",
    docs="https://www.palantir.com/docs/foundry/api/general/overview/authentication",
    tenant=TENANT,
    suffix=".palantirfoundry.com",
    api_base="/api/v2",
    token_path="/multipass/api/oauth2/token",
    paths={"revoke": "/multipass/api/oauth2/revoke_token", "ttl": "/multipass/api/token/ttl"},
    client_authentication="body",
    methods=(
        Method(
            "service-user",
            "As an app",
            "client_credentials",
            fields=(
                Field(
                    "client_id",
                    "Client ID",
                    "Developer Console, your application, OAuth & scopes",
                    env=(Env("FOUNDRY_CLIENT_ID"), Env("FDT_CREDENTIALS__OAUTH__CLIENT_ID")),
                ),
                Field(
                    "client_secret",
                    "Client secret",
                    "Developer Console, your application, OAuth & scopes; shown once, when the"
                    " application is made",
                    env=(
                        Env("FOUNDRY_CLIENT_SECRET"),
                        Env("FDT_CREDENTIALS__OAUTH__CLIENT_SECRET"),
                    ),
                    secret=True,
                ),
                Field(
                    "scopes",
                    "Scopes",
                    "what the application may do, separated by spaces, such as api:ontologies-read",
                    env=(Env("FOUNDRY_SCOPES"), Env("FDT_CREDENTIALS__OAUTH__SCOPES")),
                    optional=True,
                    default="api:ontologies-read",
                ),
            ),
            hint="For scripts and integrations: acts as the application's service user.",
            page=DEVELOPER_CONSOLE,
            page_words="Open Developer Console on {host}",
            issued_here=True,
            revoke="oauth2",
            files="foundry-dev-tools",
        ),
        Method(
            "token",
            "With my token",
            "bearer",
            fields=(
                Field(
                    "token",
                    "Token",
                    "Account, Settings, Tokens, Create token",
                    env=(Env("FOUNDRY_TOKEN"), Env("FDT_CREDENTIALS__JWT")),
                    secret=True,
                ),
            ),
            hint="For a quick look: acts as you, until the token expires.",
            page="{origin}/workspace/settings/tokens",  # as Foundry DevTools documents it
            page_words="Make a token on {host}",
            files="foundry-dev-tools",
        ),
        Method(
            "user",
            "As myself, in the browser",
            "authorization_code",
            fields=(
                Field(
                    "client_id",
                    "Client ID",
                    "Developer Console, your application with the authorization code grant, OAuth &"
                    " scopes",
                    env=(Env("FOUNDRY_CLIENT_ID"), Env("FDT_CREDENTIALS__OAUTH__CLIENT_ID")),
                ),
                Field(
                    "client_secret",
                    "Client secret",
                    "for a confidential application only; a public one has none",
                    secret=True,
                    optional=True,
                ),
                Field(
                    "scopes",
                    "Scopes",
                    "what the application may do as you; with offline_access the sign-in lasts"
                    " longer than an hour",
                    env=(Env("FOUNDRY_SCOPES"), Env("FDT_CREDENTIALS__OAUTH__SCOPES")),
                    optional=True,
                    default="api:ontologies-read offline_access",
                ),
                REDIRECT_URI,
            ),
            hint="Acts as you: you sign in on Foundry's own page, and nothing is pasted.",
            page=DEVELOPER_CONSOLE,
            page_words="Open Developer Console on {host}",
            issued_here=True,
            revoke="oauth2",
            refreshes=True,
            flow=Flow(
                authorize="/multipass/api/oauth2/authorize",
                token="/multipass/api/oauth2/token",
                hints={
                    "access_denied": (
                        "The sign-in was declined: open the sign-in page again and allow it, or ask"
                        " your admin."
                    ),
                    "invalid_grant": (
                        "The code was already used, is too old, or belongs to another attempt: sign"
                        " in again."
                    ),
                    "invalid_client": (
                        "Check the client ID (a confidential application has a secret too) in"
                        " Developer Console."
                    ),
                    "unauthorized_client": (
                        "Enable the authorization code grant under Developer Console, your"
                        " application."
                    ),
                },
            ),
        ),
    ),
    probes=(
        Probe(
            "GET",
            "/multipass/api/me",
            ("username", "id"),
            forbidden=("403 ApiUsageDenied",),
        ),
    ),
    paging=Paging(items="data", cursor="nextPageToken", send="pageToken"),
    dead_token=(DeadToken(401),),
    hints={
        "invalid_client": (
            "Check the client ID and secret under Developer Console, your application, OAuth &"
            " scopes."
        ),
        "unauthorized_client": (
            "Enable the client credentials grant under Developer Console, your application."
        ),
        "invalid_scope": (
            "Ask only for scopes that the application has under Developer Console, OAuth & scopes."
        ),
        "401": "The token has expired or was revoked: sign in again.",
        "403": (
            "The application's scopes, the scopes asked for and the project role must all allow it:"
            " see Developer Console, OAuth & scopes."
        ),
        "404": "Check the path and the name; what you have no role for is not found either.",
        "429": "Too many requests: wait {retry} and go on.",
        "5xx": "Foundry has a problem of its own: try again in a minute.",
    },
)
