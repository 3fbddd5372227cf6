"""What an admin presets, by traitlets.

``c.LabAuth...`` in ``ipython_config.py``, shown by ``%config LabAuth``.
"""

from __future__ import annotations

from typing import Any

from traitlets import Dict, List, TraitError, Unicode, validate
from traitlets.config import Configurable

_KEY = "Keys: a provider, such as foundry, or provider/method, such as benchling/oidc."


class LabAuth(Configurable):
    """Presets.

    What is neither given, nor in the environment, nor in a .env file, nor in a vendor's file comes
    from here.

    So a user types only ``%labauth login foundry``.
    """

    tenants = Dict(help=f"The address, as --tenant takes it. {_KEY}").tag(config=True)
    client_ids = Dict(help=f"The client ID. {_KEY}").tag(config=True)
    scopes = Dict(help=f"The scopes, separated by spaces. {_KEY}").tag(config=True)
    issuers = Dict(help=f"The issuer of OpenID Connect. {_KEY}").tag(config=True)
    redirect_uris = Dict(help=f"The redirect address of browser methods. {_KEY}").tag(config=True)
    methods = Dict(
        value_trait=List(Unicode()),
        help="The methods that are allowed, the default one first. Keys: a provider.",
    ).tag(config=True)

    @validate("tenants", "client_ids", "scopes", "issuers", "redirect_uris", "methods")
    def _known(self, proposal: Any) -> Any:
        # not at the top: it brings requests, and loading the extension stays light
        from ..errors import LabauthError
        from ..providers import find

        trait, value = (
            proposal["trait"].name,
            {str(k).strip().lower(): v for k, v in proposal["value"].items()},
        )
        try:
            for key, given in value.items():
                provider, _, method = key.partition("/")
                known = find(provider)
                if trait == "methods" and method:
                    raise TraitError(f"LabAuth.{trait}: {key} is not a provider: write {provider}.")
                for name in given if trait == "methods" else filter(None, [method]):
                    known.method(name)
                if trait == "methods" and not given:
                    raise TraitError(
                        f"LabAuth.{trait}: {key} allows no method; leave it out to allow all."
                    )
                if trait != "methods" and not isinstance(given, str):
                    raise TraitError(f"LabAuth.{trait}: {key} must be text.")
                if trait == "tenants" and given.strip().lower() != "sandbox":
                    known.origin(given)
                if (
                    trait == "issuers"
                    and "://" in given
                    and not given.lower().startswith(("https://", "http://127.0.0.1"))
                ):
                    raise TraitError(f"LabAuth.{trait}: {given[:80]!r} is not an https address.")
        except LabauthError as error:
            raise TraitError(f"LabAuth.{trait}: {error}") from None
        return value


presets: LabAuth | None = None
"""Those of this kernel, once the extension is loaded."""
