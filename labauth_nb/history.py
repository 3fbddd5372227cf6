"""What IPython keeps of cells: its history, stored without the secrets in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

KEEPS = ("credentials", "refresh-token")
_KNOWN = ["--tenant", "--method", "--as", "--wait", "--client-id", "--client_id", "--scopes", "--username"]
_KNOWN += ["--store", "--issuer", "--redirect-uri", "--redirect_uri"]
_FLAGS = ["--ask", "--no-wait", "--awaited", "--remember", *KEEPS]


def _clean_lines(code: str) -> str:
    """`code` with every word of a ``%labauth login`` line masked that is not one of its own."""
    from .providers import PROVIDERS

    def clean(match: re.Match[str]) -> str:
        words, kept, before = re.findall(r"\s+|\S+", match[2]), [], ""
        for word in words:
            bare = word.strip("'\")")
            own = word.isspace() or bare.partition("=")[0] in (*_KNOWN, *_FLAGS) or bare in PROVIDERS
            # Quote marks and brackets stay: IPython reads its own history as code.
            kept.append(word if own or before in _KNOWN or not bare else word.replace(bare, "***"))
            before = before if word.isspace() else bare
        return match[1] + "".join(kept)

    return re.sub(r"(labauth(?:', ['\"])?\s*login)([^\n#]*)", clean, code)


def clean_stored(ip: Any) -> Callable[[], None]:
    """Have IPython store cells that mention labauth without the secrets in them; gives a function that undoes it."""
    manager = ip.history_manager
    original = manager.store_inputs

    def store_inputs(line_num: int, source: str, source_raw: str | None = None) -> Any:
        from .masking import scrub_code
        from .providers import SECRET_FIELDS

        names = SECRET_FIELDS if re.search(r"labauth|\blogin\b", source_raw or source) else ()
        source = _clean_lines(scrub_code(source, names))
        source_raw = None if source_raw is None else _clean_lines(scrub_code(source_raw, names))
        return original(line_num, source, source_raw)

    manager.store_inputs = store_inputs

    def undo() -> None:
        manager.store_inputs = original

    return undo
