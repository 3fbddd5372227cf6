"""QBench (API v2): facts from its API guide, its OpenAPI file and independent clients."""

from .model import SERVER, DeadToken, Env, Field, Method, Paging, Probe, Provider

TENANT = Field(
    "tenant",
    "QBench address",
    "the address of your QBench, such as acme.qbench.net, or only acme",
    env=(Env("QBENCH_BASE_URL"), Env("QBENCH_URL")),
    address=SERVER,
)

QBENCH = Provider(
    name="qbench",
    title="QBench",
    docs="https://support.qbench.com/hc/en-us",
    tenant=TENANT,
    suffix=".qbench.net",
    api_base="/qbench/api/v2",
    token_path="/qbench/api/v2/auth/token",
    paths={"refresh": "/qbench/api/v2/auth/token/refresh"},
    methods=(
        Method(
            "client",
            "As an API client",
            "jwt_bearer",
            fields=(
                Field(
                    "client_id",
                    "Client ID",
                    "Configuration, Application, Developer, Settings, API Clients",
                    env=(Env("QBENCH_CLIENT_ID"), Env("QBENCH_API_KEY")),
                ),
                Field(
                    "client_secret",
                    "Client secret",
                    "Configuration, Application, Developer, Settings, API Clients",
                    env=(Env("QBENCH_CLIENT_SECRET"), Env("QBENCH_API_SECRET")),
                    secret=True,
                ),
            ),
            hint="For scripts and integrations: a client of the type Server-Side Web Application.",
            page="{origin}/",
            page_words="Make an API client on {host}",
            issued_here=True,
            refreshes=True,
            refresh_seconds=7 * 86400,  # by the guide
            cookie="jid",
            assertion_seconds=300,  # the shortest that the guide allows (5 to 60 minutes)
        ),
    ),
    probes=(
        Probe(
            "GET",
            "/qbench/api/v2/auth/token/info",
            ("username", "email", "name", "client_id", "sub"),
        ),
        Probe("GET", "/qbench/api/v2/orders?page_size=1", items="data"),
    ),
    paging=Paging(
        items="data", number="page_num", total_pages="total_pages", total_count="total_count"
    ),
    pacing=("x-qbapi-throttle-ttl", "retry-after"),
    # Its help page "Handling 429 Errors": "your request does not go through and it is safe to
    # retry".
    limits_first=True,
    dead_token=(
        DeadToken(401),
        DeadToken(400, codes=("invalid_grant",)),
        DeadToken(400, codes=("invalid_request",), words=("authorization header",)),
    ),
    hints={
        "400 invalid_grant": (
            "Check the client ID and secret under Configuration, Application, Developer, Settings,"
            " API Clients; this computer's clock must be right to within 5 minutes."
        ),
        "401": (
            "Check the client ID and secret under Configuration, Application, Developer, Settings,"
            " API Clients."
        ),
        "403": (
            "Tick that endpoint in the Scopes tab of the API client (Configuration, Application,"
            " Developer, Settings)."
        ),
        "404": "Check the path; at sign-in, check the address of your QBench.",
        "429": "Too many requests: wait {retry} and go on.",
        "5xx": "QBench has a problem of its own: try again in a minute.",
    },
)
