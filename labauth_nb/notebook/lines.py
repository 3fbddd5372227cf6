"""What IPython does with lines.

A login is awaited by its cell, and the history is stored without the secrets in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from operator import attrgetter
from pathlib import Path
from secrets import token_bytes
from typing import Any
from urllib.parse import quote, quote_plus
from weakref import WeakKeyDictionary

from ..clocks import started
from ..masking import MASK, listeners
from .options import known

WORD_LEAST = 8
"""A secret that is shorter, such as a one-time code, is masked only as a word of its own."""
IDENT = "_parent_ident"
"""Whose request runs: ipykernel sets it by a public method, and has none to read it."""
BUSY_SECONDS, DELAY_SECONDS = 10.0, 0.5
"""How long a locked history database is waited for, and how long a sign-in waits for it."""


def _clean_lines(code: str) -> str:
    """`code` without the words of ``%labauth`` lines that look secret, or login does not know."""
    from ..masking import holds_key, scrub_word

    taking, fields, alone = known()

    def clean(match: re.Match[str]) -> str:
        kept, before = [], ""
        for word in re.findall(r"\s+|\S+", match[3]):
            # Quote marks and brackets stay: IPython reads its own history as code.
            bare = word.strip().strip("\\'\")")
            flag, _, value = bare.partition("=") if bare.startswith("-") else ("", "", bare)
            taken = taking & {before, flag} or alone & {flag, bare}
            if bare and match[2] and not taken:
                word = word.replace(bare, MASK)
            elif value and (holds_key(value) or not fields & {before, flag}):
                word = word.replace(value, scrub_word(value))
            kept.append(word)
            before = bare or before
        return match[1] + "".join(kept)

    return re.sub(r"(labauth(?:', ['\"]|[ \t]+)(login\b)?)([^\n#]*)", clean, code)


def _spelled(secret: str) -> set[str]:
    """`secret` as code spells it.

    As it is, URL-encoded, and in base64 (alone, and as the user name of Basic).
    """
    raw = secret.encode(errors="surrogatepass")
    coded = {base64.b64encode(raw).decode(), base64.b64encode(raw + b":").decode()}
    return {secret, quote(raw, safe=""), quote_plus(raw), *coded} if len(secret) >= 4 else set()


def _cleaner(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that masks `secrets` in code: in each spelling, and escaped as literals are."""
    literals = set(secrets)
    for _ in range(2):  # in the transformed cell a magic's line is a literal, with literals in it
        for text in list(literals):
            literals |= {repr(text)[1:-1], repr(text + "'\"")[1:-4]}
            literals |= {json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
    forms = sorted(set().union(*map(_spelled, literals)), key=len, reverse=True)
    words = {form for form in forms if len(form) < WORD_LEAST and re.fullmatch(r"\w+", form)}

    def clean(code: str) -> str:
        for form in forms:
            if form not in words:
                code = code.replace(form, MASK)
        return re.sub(r"\\[nrt]|\w+", lambda word: MASK if word[0] in words else word[0], code)

    return clean


def _mask_cells(ip: Any, clean: Callable[[str], str]) -> None:
    """Mask what this session keeps in memory: In, _ih, _i, _ii, _iii, _i1 and so on."""
    manager = ip.history_manager
    for cells in (manager.input_hist_parsed, manager.input_hist_raw):
        for at, code in enumerate(cells):
            if (cleaned := clean(code)) != code:
                cells[at] = cleaned
    for name in ("_i00", "_i", "_ii", "_iii"):
        setattr(manager, name, clean(getattr(manager, name)))
    for name, code in list(ip.user_ns.items()):
        if re.fullmatch(r"_i{1,3}|_i\d+", name) and isinstance(code, str):
            ip.user_ns[name] = clean(code)


def _mask_rows(manager: Any, clean: Callable[[str], str]) -> None:
    """Mask what this session wrote to the database, or is about to. What goes wrong is logged."""
    import sqlite3

    with manager.db_input_cache_lock:
        waiting = manager.db_input_cache
        manager.db_input_cache = [(line, clean(code), clean(raw)) for line, code, raw in waiting]
    try:
        if str(manager.hist_file) == ":memory:":
            return _rewrite(manager.db, manager.session_number, clean)
        # A connection of this thread's own: IPython's must not be in the middle of something.
        file = f"{Path(manager.hist_file).absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(file, uri=True, timeout=BUSY_SECONDS)) as db:
            _rewrite(db, manager.session_number, clean)
    except sqlite3.Error as error:
        logging.getLogger(__name__).warning(
            "IPython's history database could not be cleaned (%s): a secret may still be in %s.",
            type(error).__name__,
            manager.hist_file,
        )


def _rewrite(db: Any, session: int, clean: Callable[[str], str]) -> None:
    db.execute("PRAGMA secure_delete = ON")  # else the old bytes stay in the file
    found = "SELECT rowid, source, source_raw FROM history WHERE session = ?"
    with db:
        for row, *codes in db.execute(found, (session,)).fetchall():
            cleaned = [clean(code) for code in codes]
            if cleaned != codes:
                change = "UPDATE history SET source = ?, source_raw = ? WHERE rowid = ?"
                db.execute(change, (*cleaned, row))


def _mask_earlier(ip: Any, secrets: list[str]) -> None:
    """Mask `secrets` in the earlier cells of this session, without delaying a sign-in by much."""
    manager, clean = ip.history_manager, _cleaner(secrets)
    _mask_cells(ip, clean)
    if manager.enabled:
        # Not a daemon: the kernel ends only when the file is clean.
        shared = manager.hist_file != ":memory:"  # which IPython 7 reads in one thread only
        work = (
            started(_mask_rows, manager, clean, name="labauth history", daemon=False)
            if shared
            else None
        )
        if work is None:
            _mask_rows(manager, clean)
        else:
            work.join(DELAY_SECONDS)


def _live() -> list[str]:
    """The secrets of the logins that are signed in."""
    # slow to import, and without it there are none
    if "labauth_nb.logins.logins" not in sys.modules:
        return []
    from ..logins.logins import known

    return [secret for login in known() if login.signed_in for secret in login.secrets()]


class _Known:
    """What turned out to be secret in this kernel, as keyed digests.

    After a log out nothing else of it is left here.
    """

    def __init__(self) -> None:
        self._key, self._digests = token_bytes(16), set[bytes]()

    def _digest(self, word: str) -> bytes:
        return hashlib.blake2b(
            word.encode(errors="surrogatepass"), key=self._key, digest_size=16
        ).digest()

    def add(self, secrets: Iterable[str]) -> None:
        """From now on these are masked, where they stand as a word of their own."""
        self._digests |= {self._digest(secret) for secret in secrets if len(secret) >= WORD_LEAST}

    def mask(self, code: str) -> str:
        """`code` without the words that are known."""
        return re.sub(
            _WORD, lambda word: MASK if self._digest(word[0]) in self._digests else word[0], code
        )


_WORD = r"""[^\s'"=,;()\[\]{}<>]{8,}"""
"""What may be a secret in a cell: between quote marks, brackets, spaces and the like."""


def clean_stored(ip: Any) -> Callable[[], None]:
    """Have IPython store cells without the secrets of our logins; gives a function that undoes it.

    Masked are: what looks like one in a cell that mentions labauth; what a live login holds; and
    what turns out to be one, in earlier cells and later ones.
    """
    manager = ip.history_manager
    original = manager.store_inputs
    known = _Known()

    def noticed(secrets: list[str]) -> None:
        known.add(secrets)
        _mask_earlier(ip, secrets)

    def store_inputs(line_num: int, source: str, source_raw: str | None = None) -> Any:
        from ..masking import scrub_code
        from ..providers import SECRET_FIELDS

        names = SECRET_FIELDS if re.search(r"labauth|\blogin\b", source_raw or source) else ()
        clean = _cleaner(_live())
        source = known.mask(clean(_clean_lines(scrub_code(source, names))))
        if source_raw is not None:
            source_raw = known.mask(clean(_clean_lines(scrub_code(source_raw, names))))
        return original(line_num, source, source_raw)

    manager.store_inputs = store_inputs
    listeners.append(noticed)

    def undo() -> None:
        manager.store_inputs = original
        listeners.remove(noticed)

    return undo


_LOGIN_LINE = re.compile(r"get_ipython\(\)\.run_line_magic\('labauth', (['\"])login ")


def awaiting(ip: Any) -> Callable[[], None]:
    """Have cells await a ``%labauth login`` at their left margin: the kernel can hear meanwhile.

    IPython's documented custom input transformation; gives a function that undoes it. Inside
    another cell magic (%%time, %%capture) an await would be an error, so there the line stays as it
    is, and the magic says what to do.
    """
    running = [0]

    def transform(lines: list[str]) -> list[str]:
        if running[0] or not ip.autoawait:
            return lines
        return [
            f"await {line.replace('labauth', '_labauth', 1)}" if _LOGIN_LINE.match(line) else line
            for line in lines
        ]

    def begin(*_: Any) -> None:
        running[0] += 1

    def end(*_: Any) -> None:
        running[0] = 0

    ip.input_transformers_post.append(transform)
    rest = _around_cells(ip, begin, end)

    def undo() -> None:
        ip.input_transformers_post.remove(transform)
        rest()

    return undo


def _around_cells(
    ip: Any, begin: Callable[..., None], end: Callable[..., None]
) -> Callable[[], None]:
    """Call `begin` before each cell and `end` after it; gives a function that undoes it."""
    ip.events.register("pre_run_cell", begin)
    ip.events.register("post_run_cell", end)

    def undo() -> None:
        ip.events.unregister("pre_run_cell", begin)
        ip.events.unregister("post_run_cell", end)

    return undo


def ending_as_itself(ip: Any) -> Callable[[], None]:
    """Have each cell end under its own request; gives a function that undoes it.

    ipykernel 7.4 hands a page's message to its widget while a cell awaits, then puts that cell's
    request back. If the cell has ended meanwhile and the next one awaits, the next one's "idle"
    names the wrong request, and JupyterLab shows [ ] at it for ever.
    """
    kernel, requests = ip.kernel, WeakKeyDictionary[Any, tuple[Any, Any]]()
    if not hasattr(kernel, IDENT):  # ipykernel's own, not Pyodide's or Xeus's
        return lambda: None

    def begin(info: Any) -> None:
        with suppress(LookupError):  # in a thread, on ipykernel 7.0
            # Inside an awaited cell this is the context that its task began with: nothing has
            # overwritten it.
            requests[info] = kernel.get_parent("shell"), attrgetter(IDENT)(kernel)["shell"]

    def end(result: Any) -> None:
        request, ident = requests.pop(result.info, (None, None)) if result else (None, None)
        if request is not None and request is not kernel.get_parent("shell"):
            kernel.set_parent(ident, request, "shell")

    return _around_cells(ip, begin, end)
