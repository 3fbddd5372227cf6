"""Readers of the vendors' own files, by name: read, never copied elsewhere, never changed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def unwrapped(name: str, value: str, reasons: list[str]) -> str:
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
            token = unwrapped("DX_SECURITY_CONTEXT", str(content.get("DX_SECURITY_CONTEXT")), reasons)
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
