"""What IPython keeps of cells: its history, stored without the secrets in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

KEEPS = ("credentials", "refresh-token")
_FLAGS = ["--tenant", "--method", "--as", "--wait", "--store"]
_ALONE = ["--ask", "--no-wait", "--awaited", "--remember"]


def _clean_lines(code: str) -> str:
    """`code` without the words of ``%labauth`` lines that look secret, or login does not know."""
    from .masking import MASK, holds_key, scrub_word
    from .providers import PLAIN_FIELDS, PROVIDERS

    plain = {f"--{spelled}" for name in PLAIN_FIELDS for spelled in (name, name.replace("_", "-"))}
    takes = {*_FLAGS, *plain}

    def clean(match: re.Match[str]) -> str:
        kept, before = [], ""
        for word in re.findall(r"\s+|\S+", match[3]):
            # Quote marks and brackets stay: IPython reads its own history as code.
            bare = word.strip().strip("\\'\")")
            flag, _, value = bare.partition("=") if bare.startswith("-") else ("", "", bare)
            known = takes & {before, flag} or flag in _ALONE or bare in (*KEEPS, *PROVIDERS)
            if bare and match[2] and not known:
                word = word.replace(bare, MASK)
            elif value and (holds_key(value) or not plain & {before, flag}):
                word = word.replace(value, scrub_word(value))
            kept.append(word)
            before = bare or before
        return match[1] + "".join(kept)

    return re.sub(r"(labauth(?:', ['\"]|[ \t]+)(login\b)?)([^\n#]*)", clean, code)


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
