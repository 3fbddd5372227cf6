"""Files that supply credentials: the nearest `.env`, and the vendors' own by name.

Read, never copied, never changed.

What stands in the working tree came with whatever was cloned or unpacked there, so that it may be
hostile: only small regular files are read, and of the working tree only those that nobody else can
have written.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..providers.dnanexus import SECURITY_CONTEXT
from ..providers.model import Env
from .trust import Source, Trust

MOST_BYTES = 65_536
"""Larger files are not read: people's own have some hundred bytes."""


class Unusable(ValueError):
    """Why a file is not read."""


def small_text(path: Path, alone: bool = False) -> str:
    """The text of a regular file of 64 kB or less.

    `alone`: nobody but this user (and root) may be able to write it.

    Raises `FileNotFoundError`, `OSError`, `UnicodeDecodeError` or `Unusable`; never waits, on a
    FIFO neither.
    """
    if alone:
        _check_owner(path.lstat())  # whoever owns a link chooses where it leads
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("it is not a regular file")
        if alone:
            _check_owner(status)
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Unusable(f"it is larger than {MOST_BYTES // 1024} kB")
    return content.decode("utf-8-sig")


def _check_owner(status: os.stat_result) -> None:
    """Raises `Unusable` where another user owns or can write the file (as ssh's StrictModes)."""
    if os.name != "posix":
        return
    if status.st_uid not in (os.geteuid(), 0):
        raise Unusable("it belongs to another user; copy it to make it yours")
    if stat.S_ISLNK(status.st_mode):
        return  # everybody can write every link, says its mode; it has no meaning
    theirs = stat.S_IWOTH if _private(status.st_gid) else stat.S_IWOTH | stat.S_IWGRP
    if status.st_mode & theirs:
        raise Unusable("other users can write to it; run chmod go-w on it")


def _private(group: int) -> bool:
    """Whether `group` is this user's own, by name and members (each has one where umask is 002)."""
    import grp
    import pwd

    try:
        entry = grp.getgrgid(group)
        return entry.gr_name == (me := pwd.getpwuid(os.geteuid()).pw_name) and set(
            entry.gr_mem
        ) <= {me}
    except KeyError:
        return False


def why_unread(error: Exception) -> str:
    """What is wrong with a file that `small_text` or a parser refused, in a few words."""
    if isinstance(error, Unusable):
        return str(error)
    return (
        "it must be a text file in UTF-8"
        if isinstance(error, UnicodeDecodeError)
        else "it could not be read"
    )


def nearest_dotenv() -> Path | None:
    """The `.env` in this folder or the nearest above it.

    A folder of that name (a virtual environment) does not count.

    Raises `OSError` where this folder is gone.
    """
    here = Path.cwd()
    found = (folder / ".env" for folder in (here, *here.parents))
    return next((path for path in found if os.path.lexists(path) and not os.path.isdir(path)), None)


def unwrapped(env: Env, value: str) -> str:
    """What is meant by `value` of the variable `env`: of JSON, what stands under its key.

    Raises `Unusable` where there is nothing, or the vendor's tool has signed out.
    """
    if not env.json_key:
        return value
    try:
        secret = json.loads(value)[env.json_key]
    except (ValueError, TypeError, KeyError, RecursionError):
        secret = None
    if not isinstance(secret, str) or not secret:
        raise Unusable(f"was ignored, it is not the JSON that {env.written_by} writes")
    if secret == env.signed_out:
        raise Unusable(f"was ignored, as {env.written_by} is logged out")
    return secret


def _home() -> Path:
    """The user's home.

    A folder that is not there for a user who has none (a container with any uid).
    """
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


def _dxpy_files(reasons: list[str]) -> Iterator[tuple[Source, dict[str, str]]]:
    """What `dx login` wrote: this shell's session, the user's, the machine's.

    Source: dxpy, DXConfig.
    """
    user = Path(os.environ.get("DX_USER_CONF_DIR") or _home() / ".dnanexus_config")
    for folder in (user / "sessions" / str(os.getppid()), user, Path("/etc/dnanexus")):
        path = folder / "environment.json"
        try:
            content = json.loads(small_text(path))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            reasons.append(f"dx login: {path} was ignored ({why_unread(error)})")
            continue
        if isinstance(content, dict):
            try:
                token = unwrapped(SECURITY_CONTEXT, str(content.get(SECURITY_CONTEXT.name)))
            except Unusable as error:
                reasons.append(f"dx login: {SECURITY_CONTEXT.name} in {path} {error}")
                continue
            host, port = content.get("DX_APISERVER_HOST"), content.get("DX_APISERVER_PORT")
            scheme = content.get("DX_APISERVER_PROTOCOL") or "https"
            tenant = f"{scheme}://{host}{f':{port}' if port else ''}" if host else ""
            yield Source("dx login", Trust.HOME, str(path)), {"token": token, "tenant": tenant}


def _foundry_dev_tools(reasons: list[str]) -> Iterator[tuple[Source, dict[str, str]]]:
    """foundry-dev-tools' config.toml files, each a source; first the one that it reads last."""
    home, here = _home(), Path.cwd() if _there() else Path("/")
    # closed above: no error
    root = next((p for p in (here, *here.parents) if os.path.exists(p / ".git")), None)
    paths = [
        home / ".config/foundry-dev-tools/config.toml",
        home / ".foundry-dev-tools/config.toml",
        Path("/etc/xdg/foundry-dev-tools/config.toml"),
    ]
    for path in [*([root / ".foundry_dev_tools.toml"] if root else []), *paths]:
        try:
            content = tomllib.loads(small_text(path, alone=path not in paths)).get("credentials")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            reasons.append(f"foundry-dev-tools: {path} was ignored ({why_unread(error)})")
            continue
        trust = Trust.HOME if path in paths else Trust.TREE
        if isinstance(content, dict) and content:
            yield (
                Source("foundry-dev-tools", trust, str(path)),
                _foundry_credentials(content, reasons),
            )


def _foundry_credentials(content: dict[str, Any], reasons: list[str]) -> dict[str, str]:
    """The fields that one section `credentials` supplies."""
    values = {"tenant": content.get("domain"), "token": content.get("jwt")}
    oauth = content.get("oauth")
    if isinstance(oauth, dict):
        if oauth.get("grant_type", "authorization_code") == "client_credentials":
            scopes = oauth.get("scopes")
            values |= {name: oauth.get(name) for name in ("client_id", "client_secret")}
            values["scopes"] = " ".join(map(str, scopes)) if isinstance(scopes, list) else scopes
        else:
            reasons.append("foundry-dev-tools: its oauth is not for a service user")
    return {name: value for name, value in values.items() if isinstance(value, str)}


FILES = {"dxpy": _dxpy_files, "foundry-dev-tools": _foundry_dev_tools}
