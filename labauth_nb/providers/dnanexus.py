"""DNAnexus: facts from its API documentation and from dxpy."""

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
    "DNAnexus address",
    "api.dnanexus.com (the default), or api.cn.dnanexus.com for China",
    env=(
        Env(
            "DX_APISERVER_HOST",
            scheme="DX_APISERVER_PROTOCOL",
            port="DX_APISERVER_PORT",
            full_host=True,
        ),
    ),
    optional=True,
    default="api.dnanexus.com",
    address=SERVER,
)

SECURITY_CONTEXT = Env(
    "DX_SECURITY_CONTEXT", json_key="auth_token", written_by="dx", signed_out="PUBLIC"
)
"""What `dx login`, and inside a job the platform, has as the token. Source: dxpy."""

WHERE = "on platform.dnanexus.com, your user name, Profile, API Tokens, New Token"

DNANEXUS = Provider(
    name="dnanexus",
    title="DNAnexus",
    docs="https://documentation.dnanexus.com/developer/api/authentication",
    tenant=TENANT,
    api_base="",
    token_path="/system/newAuthToken",
    paths={"destroy": "/system/destroyAuthToken"},
    auth_hosts={
        "api.dnanexus.com": "https://auth.dnanexus.com",
        "api.cn.dnanexus.com": "https://auth.cn.dnanexus.com:8001",
    },
    web_hosts={
        "api.dnanexus.com": "platform.dnanexus.com",
        "api.cn.dnanexus.com": "platform.cn.dnanexus.com",
    },
    web_pages={
        "platform.dnanexus.com": "api.dnanexus.com",
        "ukbiobank.dnanexus.com": "api.dnanexus.com",
        "auth.dnanexus.com": "api.dnanexus.com",
        "www.dnanexus.com": "api.dnanexus.com",
        "dnanexus.com": "api.dnanexus.com",
        "platform.cn.dnanexus.com": "api.cn.dnanexus.com",
    },
    methods=(
        Method(
            "api-token",
            "With my API token",
            "bearer",
            fields=(Field("token", "API token", WHERE, env=(SECURITY_CONTEXT,), secret=True),),
            hint="Acts as you, until the day chosen when it was made.",
            page="{origin}/",
            page_words="Make a token on {host}",
            revoke="digest",
            digest_key="tokenSignature",
            files="dxpy",
        ),
        Method(
            "job",
            "As this job",
            "bearer",
            fields=(
                Field(
                    "token",
                    "Job token",
                    "DNAnexus sets DX_SECURITY_CONTEXT inside a job",
                    env=(SECURITY_CONTEXT,),
                    secret=True,
                ),
            ),
            hint="In a DXJupyterLab session or an app: nothing to give.",
            why_not_revoked="A job's token is never destroyed: the job needs it until it ends.",
            job_variable="DX_JOB_ID",
        ),
        Method(
            "password",
            "With my user name and password",
            "password",
            fields=(
                Field(
                    "username",
                    "User name",
                    "what you type on platform.dnanexus.com",
                    env=(Env("DX_USERNAME"),),
                ),
                Field(
                    "password",
                    "Password",
                    "what you type on platform.dnanexus.com; with single sign-on there is none: use"
                    " an API token",
                    secret=True,
                    verbatim=True,
                ),
                Field(
                    "otp",
                    "One-time code",
                    "the 6 digits of your authenticator app, where two-factor sign-in is on",
                    secret=True,
                    optional=True,
                    once=True,
                ),
            ),
            hint="Acts as you, for 18 hours.",
            asked_seconds=18 * 3600,  # what `dx login` asks for (dxpy 0.414 and later)
            errors_about={
                "OTPRequiredError": "otp",
                "OTPMismatchError": "otp",
                "UsernameOrPasswordError": "password",
            },
            issued_here=True,
            revoke="digest",
            digest_key="tokenSignature",
        ),
        Method(
            "browser",
            "As myself, in the browser",
            "authorization_code",
            fields=(
                Field(
                    "client_id",
                    "Client ID",
                    "apiserver, or the one that DNAnexus registered for you",
                    optional=True,
                    default="apiserver",
                ),
                REDIRECT_URI,
            ),
            hint="Acts as you: you sign in on DNAnexus' own page.",
            issued_here=True,
            revoke="digest",
            digest_key="tokenSignature",
            flow=Flow(
                authorize="/oauth2/authorize",
                token="/oauth2/token",
                pkce=False,
                echoes_state=False,
                note=(
                    "DNAnexus must have registered the redirect address for this client (ask their"
                    " support). Without that, cancel and choose the API token, or the user name and"
                    " password, instead."
                ),
                hints={
                    "access_denied": (
                        "The sign-in was declined: open the sign-in page again, or use an API"
                        " token."
                    ),
                    "invalid_grant": (
                        "The code was already used, is too old, or belongs to another attempt: sign"
                        " in again."
                    ),
                    "invalid_client": (
                        "DNAnexus does not know this client: ask them to register it, or use an API"
                        " token."
                    ),
                },
            ),
        ),
    ),
    probes=(
        Probe(
            "POST",
            "/system/whoami",
            ("id",),
            forbidden=(
                "401 PermissionDenied",
                "403 SpendingLimitExceeded",
                "403 OrgExpired",
            ),
        ),
        Probe("POST", "/{previous}/describe", ("handle",)),
    ),
    paging=Paging(verb="POST", items="results", cursor="next", send="starting"),
    # Every call is a POST; dxpy sends these again too (always_retry in dxpy.api).
    reads=(
        "/*/describe",
        "/*/download",
        "/*/downloadFile",
        "/*/dryRun",
        "/*/find*",
        "/*/get",
        "/*/getDetails",
        "/*/getLog",
        "/*/isStageCompatible",
        "/*/list*",
        "/*/validateBatch",
        "/system/describe*",
        "/system/generateBatchInputs",
        "/system/globalSearch",
        "/system/greet",
        "/system/headers",
        "/system/resolve*",
        "/system/whoami",
    ),
    dead_token=(DeadToken(401, codes=("InvalidAuthentication",)),),
    hints={
        "InvalidAuthentication": f"Make a new API token ({WHERE}) and sign in again.",
        "PermissionDenied": (
            "Your sign-in is fine, but you have no access to that: ask for it in the project."
        ),
        "UsernameOrPasswordError": (
            "Check the user name and the password; with single sign-on use an API token instead"
            f" ({WHERE})."
        ),
        "OTPRequiredError": "Give the 6 digits of your authenticator app as the one-time code.",
        "OTPMismatchError": (
            "Give the newest 6 digits of your authenticator app; after 3 wrong ones wait a while."
        ),
        "SpendingLimitExceeded": (
            "The billed account has reached its spending limit: ask its admin."
        ),
        "OrgExpired": "The organization's account has expired: ask its admin.",
        "404": (
            "Check the path (every call is a POST) and the id; what you have no access to may not"
            " be found either."
        ),
        "422": "Check the input of that call: its fields and its ids.",
        "429": "Too many requests: wait {retry} and go on.",
        "5xx": "DNAnexus has a problem of its own: try again in a minute.",
    },
)
