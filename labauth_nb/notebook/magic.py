"""``%labauth VERB``: parses, calls, shows. Everything else is imported at the first use."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from .lines import awaiting, clean_stored, ending_as_itself
from .options import TEACH, VERBS, choices, help_of, known, parsed
from .views import listening

if TYPE_CHECKING:
    from ..logins.plans import Wish

HELP = ("help", "--help", "-h")


@magics_class
class LabauthMagics(Magics):
    """The magic ``%labauth``, and ``%_labauth``, which cells that await a login call instead."""

    @no_var_expand
    @line_magic
    def labauth(self, line: str) -> Any:
        """`%labauth`: sign in, hand out sessions, log out. `%labauth` alone lists what it does."""
        return _run(line)

    @no_var_expand
    @line_magic
    def _labauth(self, line: str) -> Any:
        """``%labauth login`` for a cell that awaits what this gives."""
        return _run(line, awaited=True)

    labauth.__doc__ = TEACH


def _run(line: str, **more: Any) -> Any:
    """Do what a line says; `more`: for its verb.

    Raises `InvalidInput` for a line that cannot be understood.
    """
    from ..errors import InvalidInput, nearest

    try:
        words = shlex.split(line.strip().rstrip(";"), comments=True)
    except ValueError:
        raise InvalidInput("A quote is open at the end of the line: close it.") from None
    if not words or words[0] in HELP:
        print(TEACH)
        return None
    _refuse_secrets(words)
    verb, *rest = words
    if verb not in VERBS:
        raise nearest(verb, VERBS, "verb")
    if set(rest) & set(HELP[1:]):
        print(help_of(verb))
        return None
    said = parsed(verb, rest)
    if verb == "login" and said["provider"] is None:
        raise InvalidInput("Which provider? Type %labauth login " + " | ".join(_providers()))
    return RUN[verb](**said, **more)


def _refuse_secrets(words: list[str]) -> None:
    from ..errors import InvalidInput, refuse_secret
    from ..masking import WORDS, holds_key, looks_secret
    from ..providers import SECRET_FIELDS

    secret = {name.replace("_", "") for name in (*SECRET_FIELDS, *WORDS)} | {"p", "s", "k", "code"}
    _, plain, _ = known()
    for before, word in zip(["", *words], words, strict=False):
        flag, _, value = word.partition("=")
        if word.startswith("-") and re.sub(r"[-_]", "", flag).lower() in secret:
            raise InvalidInput(
                f"{flag} is refused: a secret on this line would be saved in the notebook and in"
                " the history. Leave it out: you are asked for it, or it comes from the"
                " environment. Delete it from this cell now, and replace the secret if the"
                " notebook was saved or shared."
            )
        looks = holds_key if plain & {before, flag} else looks_secret
        value = value if word.startswith("-") and value else word
        refuse_secret(value, "An argument on that line", looks=looks)


def _login(
    provider: str,
    ask: bool,
    wait: str | None,
    no_wait: bool,
    awaited: bool = False,
    **typed: str | None,
) -> Any:
    """`awaited`: the cell awaits what this gives.

    `typed`: the other options, those of the fields among them.
    """
    wish = _wish(provider, **typed)
    seconds = None if wait is None else seconds_in(wait)
    if _in_kernel():
        from .panel import WAIT_SECONDS, run_login

        seconds = WAIT_SECONDS if seconds is None else seconds
        return run_login(wish, ask, None if no_wait else seconds, awaited)
    from ..logins.plans import plan
    from .terminal import sign_in

    print(sign_in(plan(wish)))
    return None


def _wish(
    provider: str, tenant: str | None, remember: str | None, store: str | None, **typed: str | None
) -> Wish:
    """What was typed, as a wish; to name a store is to ask for remembering."""
    from ..logins.plans import Wish
    from ..providers import without_page

    method, name = typed.pop("method"), typed.pop("name")
    return Wish(
        provider,
        method,
        tenant and without_page(tenant),
        name,
        remember=remember or ("auto" if store else ""),
        store=store or "keyring",
        fields={field: value for field, value in typed.items() if value is not None},
        line=True,
    )


def _session(name: str | None) -> Any:
    from ..logins.logins import session

    return session(name)


def _status(name: str | None) -> Any:
    if _in_kernel():
        from .panel import show_status

        return show_status(name)
    from ..logins.logins import status

    return status(name)


def _in_kernel() -> bool:
    """Whether this is a kernel, which may have a page that shows panels; not a terminal."""
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _refresh(name: str | None) -> None:
    from .terminal import refresh

    print(refresh(name))


def _logout(name: str | None, all: bool, revoke: bool, forget: bool) -> None:
    from .terminal import logout

    sentences = logout(name, all=all, revoke=revoke or None, forget=forget)
    for sentence in sentences or [
        "Not signed in anywhere" + (", and nothing is remembered." if forget else ".")
    ]:
        print(sentence)


def _show_providers(name: str | None) -> None:
    from ..credentials.sources import allowed, variables
    from ..providers import PROVIDERS, find

    for provider in PROVIDERS.values() if name is None else [find(name)]:
        print(f"{provider.name}: {provider.title}.")
        print(f"  --tenant: {provider.tenant.label}; {provider.tenant.hint}.")
        example = provider.origin(provider.tenant.default or "acme")
        for method in allowed(provider):
            default = " (default)" if method is allowed(provider)[0] else ""
            print(f"  --method {method.name}{default}: {method.label}. {method.hint}")
            if method.page:
                page, words = provider.link(method, example)
                print(f"      {words}: {page}")
            for field in method.fields if name else ():
                optional = "optional, " if field.optional else ""
                print(
                    f"      {field.label}: {optional}{field.hint}"
                    f" [{', '.join(variables(provider, field))}]"
                )


def _sandbox(action: str | None, amount: str | None) -> None:
    from ..errors import InvalidInput, nearest
    from ..logins.logins import forget_sandbox, sandbox_lab
    from ..masking import shown

    if action not in (None, "status", "stop", "advance"):
        raise nearest(str(action), ["status", "stop", "advance"], "sandbox verb")
    if action == "stop":
        sandbox_lab().stop()
        forget_sandbox()
        print("SANDBOX: stopped; its logins are forgotten.")
    elif action == "advance":
        if not amount:
            raise InvalidInput("Missing duration. Type %labauth sandbox advance 15m")
        seconds = seconds_in(amount)
        sandbox_lab().advance(seconds)
        print(f"SANDBOX: the clock is {amount if amount[-1].isalpha() else amount + ' s'} further.")
    elif amount is not None:
        raise InvalidInput(f"What is {shown(amount)}? Type {VERBS['sandbox'].usage}")
    else:
        print(sandbox_lab().describe())


def seconds_in(amount: str) -> float:
    """`clocks.seconds_in` for what a user typed. Raises `InvalidInput`."""
    from .. import clocks
    from ..errors import InvalidInput

    try:
        return clocks.seconds_in(amount)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


RUN: dict[str, Callable[..., Any]] = {
    "login": _login,
    "session": _session,
    "status": _status,
    "refresh": _refresh,
    "logout": _logout,
    "providers": _show_providers,
    "sandbox": _sandbox,
}


def _providers() -> list[str]:
    from ..providers import PROVIDERS

    return list(PROVIDERS)


def _fitting(before: str, token: str) -> list[str] | None:
    """The words that fit what is typed `before` the cursor; None where that is no ``%labauth``."""
    match = re.search(r"%labauth((?:\s+\S+)*)\s+(\S*)$", before)
    if not match:
        return None
    typed = match[2]
    # The token that IPython replaces may start in the middle of a word with a dash.
    start = len(typed) - len(token) if token and typed.endswith(token) else 0
    return [c[start:] for c in choices(match[1].split()) if c.startswith(typed)]


def complete(context: Any) -> dict[str, Any]:
    """IPython's completer asks: the words that fit what is typed after ``%labauth``."""
    from IPython.core.completer import SimpleCompletion

    line = context.text_until_cursor.splitlines()[-1] if context.text_until_cursor else ""
    texts = _fitting(line, context.token)
    found = [SimpleCompletion(text=t, type="magic") for t in texts or ()]
    return {"completions": found, "suppress": texts is not None}


def _completing(ip: Any) -> Callable[[], None]:
    """Have Tab complete ``%labauth``; gives a function that undoes it."""
    try:
        from IPython.core.completer import context_matcher
    except ImportError:  # before IPython 8.6
        hooks, key = ip.strdispatchers["complete_command"].regexs, re.compile(".*%labauth ")
        words = lambda _, event: _fitting(event.text_until_cursor, event.symbol)  # noqa: E731
        ip.set_hook("complete_command", words, re_key=key.pattern)
        return lambda: hooks.pop(key)
    matcher = context_matcher()(complete)
    ip.Completer.custom_matchers.append(matcher)
    return lambda: ip.Completer.custom_matchers.remove(matcher)


def _preset(ip: Any) -> Callable[[], None]:
    """Take the admin's presets, shown in ``%config LabAuth``; gives a function to undo it."""
    from traitlets import TraitError

    from ..credentials import presets as config

    try:
        config.presets = presets = config.LabAuth(parent=ip)
    except TraitError as error:
        from ..errors import InvalidInput

        raise InvalidInput(
            f"{error} It is set in ipython_config.py: ask the admin of this hub."
        ) from None
    ip.configurables.append(presets)

    def undo() -> None:
        config.presets = None
        ip.configurables.remove(presets)

    return undo


_undo: list[Callable[[], None]] = []


NEEDED = {"IPython": (7, 34), "ipykernel": (6, 17), "ipywidgets": (7, 7), "anywidget": (0, 9, 13)}
"""The oldest versions that this works with; CI runs the tests of the magic on them."""


def _check_versions(names: Iterable[str]) -> None:
    """Raise `LabauthError` where one of `names` is missing or too old, with what to do."""
    for name in names:
        # The one that runs, where pip has just installed another.
        found = getattr(sys.modules.get(name), "__version__", None)
        with suppress(PackageNotFoundError):
            found = found or version(name)
        least = NEEDED[name]
        if found and tuple(map(int, re.findall(r"\d+", found)[:3])) >= least:
            continue
        from ..errors import LabauthError

        need = ".".join(map(str, least))
        raise LabauthError(
            f"labauth_nb needs {name} {need} or later, and {found or 'none'} is installed here. "
            f'Run %pip install -U "{name.lower()}>={need}", then restart the kernel.'
        )


def load(ip: Any) -> None:
    """Register the magic, its presets, its Tab and the cleaning of history: all or nothing.

    Loading twice is loading once. Raises `InvalidInput` for a preset that cannot be used,
    `LabauthError` for a package that is missing or too old.
    """
    unload(ip)
    kernel = getattr(ip, "kernel", None) is not None
    _check_versions(NEEDED if kernel else ["IPython"])
    try:
        _undo.append(_preset(ip))
        if getattr(ip, "history_manager", None) is not None:
            _undo.append(clean_stored(ip))
        if kernel:
            _undo.append(awaiting(ip))
            _undo.append(ending_as_itself(ip))
            _undo.append(listening(ip))
        _undo.append(_completing(ip))
        ip.register_magics(LabauthMagics)
    except BaseException:
        unload(ip)
        raise


def unload(ip: Any) -> None:
    """Undo `load`."""
    while _undo:
        _undo.pop()()
    for name in ("labauth", "_labauth"):
        ip.magics_manager.magics["line"].pop(name, None)
