"""Where a field's value comes from, and why a source did not serve.

In this order: given in Python; the process environment; the nearest `.env` from the notebook's folder upward (read, never
loaded into os.environ); what was remembered; the vendor's own files; the admin's presets; else somebody is asked, where
somebody can answer.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import config
from .errors import InvalidInput, MissingCredentials, refuse_secret
from .masking import Fields, Secret, holds_key, looks_secret, noticed
from .providers import Field, Method, Provider, is_loopback, without_page

GIVEN, ENVIRONMENT, DOTENV, SANDBOX, ASKED, DEFAULT = "you", "environment", ".env", "sandbox", "you, asked", "default"
CONFIG = "config"
_PRESETS = {
    "tenant": "tenants",
    "client_id": "client_ids",
    "scopes": "scopes",
    "issuer": "issuers",
    "redirect_uri": "redirect_uris",
}


def preset(provider: Provider, method: Method, wanted: str) -> str:
    """What the admin preset for the field `wanted`: for this method, else for the provider; "" for nothing."""
    given: Mapping[str, str] = getattr(config.presets, _PRESETS.get(wanted, ""), None) or {}
    return given.get(f"{provider.name}/{method.name}") or given.get(provider.name) or ""


def allowed(provider: Provider) -> tuple[Method, ...]:
    """The methods that the admin allows (all, where nothing is said), the default one first."""
    names = (getattr(config.presets, "methods", None) or {}).get(provider.name)
    return tuple(provider.method(name) for name in names) if names else provider.methods


@dataclass
class Found:
    """What was found for one sign-in: the fields, which source each came from, and why other sources did not serve.

    `variables`: the environment variable that supplied a field, where one did.
    """

    fields: Fields = field(default_factory=Fields)
    sources: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def take(self, wanted: Field, value: str, source: str, variable: str = "") -> None:
        """Keep `value` for `wanted`, unless there is one already."""
        if wanted.name not in self.fields:
            self.fields[wanted.name] = Secret(value) if wanted.secret else value
            self.sources[wanted.name] = source
            self.variables[wanted.name] = variable

    def missing(self, method: Method) -> list[Field]:
        """The fields of `method` that have no value and need one."""
        return [f for f in method.fields if not f.optional and f.name not in self.fields]

    def source(self) -> str:
        """One word or a few for the status: where the credentials came from."""
        return " + ".join(dict.fromkeys(s for s in self.sources.values() if s != DEFAULT)) or "nothing"

    def story(self) -> str:
        """Where each field came from, by which variable, and why other sources did not serve."""
        told = [f"{n} from {s} {self.variables.get(n, '')}".rstrip() for n, s in self.sources.items()]
        return ", ".join(told) + "".join(f"; {reason}" for reason in self.reasons)


def variables(provider: Provider, wanted: Field) -> list[str]:
    """The environment variables that supply `wanted`, the most specific first."""
    return [wanted.variable or f"LABAUTH_{provider.name}_{wanted.name}".upper(), *wanted.env]


def collect(
    provider: Provider,
    method: Method,
    tenant: str | None,
    given: Mapping[str, str],
    recalled: tuple[str, Mapping[str, str]] | None = None,
) -> Found:
    """What can be had for `method` without asking. `tenant`: the one given, if any; `recalled`: what was remembered, and where.

    A source that names another tenant than the one asked for keeps its secrets: they are that tenant's.
    Raises `InvalidInput` for a tenant that is none.
    """
    found = Found()
    wanted = {f.name: f for f in (provider.tenant, *method.fields)}
    refuse_secrets(wanted.values(), given)
    for name, value in given.items():
        if not _sendable(value):
            raise InvalidInput(f"{wanted[name].label} holds characters that cannot be sent: copy it once more.")
        if value.strip():
            found.take(wanted[name], value.strip(), GIVEN)
    if tenant is not None:
        _origin(provider, tenant.strip())
        found.take(provider.tenant, without_page(tenant), GIVEN)
    for source, lookup in _sources(provider, method, found, recalled):
        values = {name: lookup(f) for name, f in wanted.items()}
        own, variable = values.pop("tenant")
        if "HOST" in variable and "." not in own and own:
            found.reasons.append(f"{source}: {variable} was passed over, as it does not look like a host")
            own = ""
        if not own and any(value for value, _ in values.values()) and not _local(found.fields.get("tenant")):
            own, variable = provider.tenant.default, ""  # as the vendor's own tools take it
        if own:
            try:
                own_origin = _origin(provider, own)
            except InvalidInput as error:
                found.reasons.append(f"{source}: {variable or 'its tenant'} was passed over ({error})")
                own = ""
            else:
                chosen = found.fields.get("tenant")
                if chosen is not None and _origin(provider, chosen) != own_origin:
                    found.reasons.append(f"{source}: passed over, it is for {own}, not for {chosen}")
                    continue
                found.take(provider.tenant, own, source, variable)
        for name, (value, variable) in values.items():
            if value:
                found.take(wanted[name], value, source, variable)
    for f in wanted.values():
        if value := preset(provider, method, f.name):
            found.take(f, value, CONFIG)
        elif f.default:
            found.take(f, f.default, DEFAULT)
    return found


def refuse_secrets(fields: Iterable[Field], given: Mapping[str, str]) -> None:
    """Raise `InvalidInput` where one of `fields` that is shown was given a secret."""
    for each in fields:
        if not each.secret:
            # A client ID may be any mix of characters.
            looks = looks_secret if each.name == "tenant" else holds_key
            refuse_secret(given.get(each.name, ""), f"The {each.label}", each.name, looks)


Lookup = Callable[[Field], tuple[str, str]]


def _sendable(value: str) -> bool:
    """Whether `value` is text that can be written in UTF-8 (a variable may hold any bytes)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _local(tenant: str | None) -> bool:
    return is_loopback(urlsplit(tenant or "").hostname) or tenant == "sandbox"


def _origin(provider: Provider, tenant: str) -> str:
    return "sandbox" if tenant.lower() == "sandbox" else provider.origin(tenant)


def _sources(
    provider: Provider, method: Method, found: Found, recalled: tuple[str, Mapping[str, str]] | None
) -> Iterator[tuple[str, Lookup]]:
    """Each source's name and how it looks a field up: (value, variable), ("", "") for none. Reasons go to `found`."""

    def in_mapping(mapping: Mapping[str, str | None], source: str) -> Lookup:
        def lookup(wanted: Field) -> tuple[str, str]:
            for name in variables(provider, wanted):
                value = mapping.get(name)
                if name == "FOUNDRY_HOSTNAME" and value and mapping.get("FOUNDRY_PROXY_URL"):
                    found.reasons.append(f"{source}: {name} was passed over, it is a part of the Code Workspace")
                    continue
                if name == "DX_APISERVER_HOST" and value and "://" not in value:
                    port = mapping.get("DX_APISERVER_PORT")
                    value = f"{mapping.get('DX_APISERVER_PROTOCOL') or 'https'}://{value}{f':{port}' if port else ''}"
                if value is not None and not value.strip():
                    found.reasons.append(f"{source}: {name} is empty")
                elif value is not None and not _sendable(value):
                    found.reasons.append(f"{source}: {name} was passed over, it is not text in UTF-8")
                elif value is not None:
                    value = _unwrapped(name, value, found.reasons)
                    if value:
                        return value.strip(), name
            return "", ""

        return lookup

    yield ENVIRONMENT, in_mapping(os.environ, ENVIRONMENT)
    dotenv = _dotenv(found.reasons)
    if dotenv is not None:
        yield DOTENV, in_mapping(dotenv, DOTENV)
    if recalled is not None:
        yield recalled[0], lambda wanted: (recalled[1].get(wanted.name, ""), "")
    for name, values in FILES[method.files](found.reasons) if method.files else ():
        yield name, lambda wanted, values=values: (values.get(wanted.name, "").strip(), "")  # type: ignore[misc]


def _dotenv(reasons: list[str]) -> Mapping[str, str | None] | None:
    from dotenv import dotenv_values, find_dotenv

    try:
        path = find_dotenv(usecwd=True)
    except OSError:
        reasons.append(".env: this notebook's folder is gone")
        return None
    if not path:
        reasons.append(".env: there is none in this folder or above it")
        return None
    try:
        return dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError):
        reasons.append(".env: it could not be read (it must be a text file in UTF-8)")
        return None


def _unwrapped(name: str, value: str, reasons: list[str]) -> str:
    """The token in `DX_SECURITY_CONTEXT`, which is JSON; any other variable as it is."""
    if name != "DX_SECURITY_CONTEXT":
        return value
    try:
        token = json.loads(value)["auth_token"]
    except (ValueError, TypeError, KeyError):
        token = None
    if not isinstance(token, str):
        reasons.append(f"{name}: it is not the JSON that dx writes")
        return ""
    if token == "PUBLIC":  # noqa: S105 (what dx writes after a log out)
        reasons.append(f"{name}: dx is logged out")
        return ""
    return token


def _home() -> Path:
    """The user's home; a folder that is not there for a user who has none (a container with any uid)."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _there() -> bool:
    """Whether the folder that this process works in still exists."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _dxpy_files(reasons: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """What `dx login` wrote: this shell's session, the user's, the machine's. Source: dxpy, DXConfig."""
    user = Path(os.environ.get("DX_USER_CONF_DIR") or _home() / ".dnanexus_config")
    for folder in (user / "sessions" / str(os.getppid()), user, Path("/etc/dnanexus")):
        try:
            content = json.loads((folder / "environment.json").read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            reasons.append("dx login: its environment.json could not be read")
            continue
        if isinstance(content, dict):
            token = _unwrapped("DX_SECURITY_CONTEXT", str(content.get("DX_SECURITY_CONTEXT")), reasons)
            if token:
                host, port = content.get("DX_APISERVER_HOST"), content.get("DX_APISERVER_PORT")
                scheme = content.get("DX_APISERVER_PROTOCOL") or "https"
                tenant = f"{scheme}://{host}{f':{port}' if port else ''}" if host else ""
                yield "dx login", {"token": token, "tenant": tenant}


def _foundry_dev_tools(reasons: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """foundry-dev-tools' config.toml files; the later one wins. Source: foundry-dev-tools, config."""
    config: dict[str, Any] = {}
    home, here = _home(), Path.cwd() if _there() else Path("/")
    paths = [
        Path("/etc/xdg/foundry-dev-tools/config.toml"),
        home / ".foundry-dev-tools/config.toml",
        home / ".config/foundry-dev-tools/config.toml",
    ]
    root = next((p for p in (here, *here.parents) if (p / ".git").exists()), None)
    if root is not None:
        paths.append(root / ".foundry_dev_tools.toml")
    for path in paths:
        try:
            content = tomllib.loads(path.read_text("utf-8")).get("credentials", {})
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            reasons.append(f"foundry-dev-tools: its {path.name} could not be read")
            continue
        if isinstance(content, dict):
            config |= content
    if not config:
        return
    values = {"tenant": config.get("domain"), "token": config.get("jwt")}
    oauth = config.get("oauth")
    if isinstance(oauth, dict):
        if oauth.get("grant_type", "authorization_code") == "client_credentials":
            scopes = oauth.get("scopes")
            values |= {name: oauth.get(name) for name in ("client_id", "client_secret")}
            values["scopes"] = " ".join(map(str, scopes)) if isinstance(scopes, list) else scopes
        else:
            reasons.append("foundry-dev-tools: its oauth is not for a service user")
    yield "foundry-dev-tools", {name: value for name, value in values.items() if isinstance(value, str)}


FILES = {"dxpy": _dxpy_files, "foundry-dev-tools": _foundry_dev_tools}


def can_ask() -> bool:
    """Whether somebody can answer a prompt: not in nbconvert, papermill, nbclient or a pipe."""
    ip = _ipython()
    if ip is not None and getattr(ip, "kernel", None) is not None:
        try:
            return bool(ip.get_parent()["content"]["allow_stdin"])
        except (LookupError, TypeError):  # LookupError: in a thread, on ipykernel 7.0
            return False
    return bool(sys.stdin) and sys.stdin.isatty()


def in_terminal() -> bool:
    """Whether somebody sits at a terminal: what is printed there is saved nowhere."""
    return getattr(_ipython(), "kernel", None) is None and can_ask()


def ask(provider: Provider, wanted: Field) -> str:
    """Ask for one field here: secrets by getpass, which keeps no answer. Raises `MissingCredentials` for no answer."""
    prompt = f"{provider.title} {wanted.label} ({wanted.hint}): "
    try:
        answer = getpass.getpass(prompt) if wanted.secret else input(prompt)
    except (EOFError, KeyboardInterrupt):
        answer = ""
    except Exception as error:  # IPython's StdinNotImplementedError has no public home
        if type(error).__name__ != "StdinNotImplementedError":
            raise
        answer = ""
    if not answer.strip():
        raise MissingCredentials(f"No {wanted.label} was given, so you are not signed in to {provider.title}.")
    if wanted.secret:
        noticed([answer.strip()])
    return answer.strip()


def confirm(question: str) -> bool:
    """Ask a yes-or-no question; no answer is no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def missing_error(provider: Provider, method: Method, found: Found, missing: list[Field], name: str) -> MissingCredentials:
    """The sentence for when nobody can be asked: what is missing, which variables would supply it, what to run."""
    *first, last = [f.label for f in missing]
    labels = f"{', '.join(first)} and {last} are" if first else f"{last} is"
    names = ", ".join(_main_variable(provider, f, found) for f in missing)
    more = f" ({'; '.join(found.reasons)})" if found.reasons else ""
    several = f" --method {method.name}" if method is not provider.methods[0] else ""
    named = f" --as {name}" if name != provider.name else ""
    tenant = f" --tenant {found.fields['tenant']}" if found.sources.get("tenant") == GIVEN else ""
    error = MissingCredentials(
        f"{provider.title} {labels} missing, and nobody can be asked here. Set {names} in the environment or in a .env "
        f"file{more}, or run this cell where you can answer: %labauth login {provider.name}{tenant}{several}{named}"
    )
    error.field = missing[0].name
    return error


def _main_variable(provider: Provider, wanted: Field, found: Found) -> str:
    """The variable to tell people of: one already in use that holds the plain value, else ours; for the tenant --tenant too."""
    name = next((name for name in wanted.env if name != "DX_SECURITY_CONTEXT"), variables(provider, wanted)[0])
    if wanted is not provider.tenant:
        return name
    unused = any(f" {name} was passed over" in reason for reason in found.reasons)
    return "the tenant by --tenant" if unused else f"{name} (or --tenant)"


def _ipython() -> Any:
    """The running IPython shell, or None. IPython is not imported for it."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
