"""``%labauth VERB``: parses, calls, shows. Everything else is imported at the first use."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from .history import KEEPS, clean_stored

TEACH = """\
%labauth login PROVIDER [--tenant T] [--method M] [--as NAME] [--ask] [--wait 5m | --no-wait] [--remember] [--store file]
                              sign in (benchling, qbench, foundry, dnanexus); %labauth login --help tells of each option
%labauth session NAME
                              an authenticated requests session: lab = %labauth session benchling
%labauth status [NAME]
                              who you are, and how long it lasts
%labauth refresh NAME
                              renew the token now
%labauth logout [NAME | --all] [--revoke] [--forget]
                              forget, and revoke where the provider offers it
%labauth providers [NAME]
                              the providers, their methods, and what each needs
%labauth sandbox [status | stop | advance 15m]
                              the embedded sandbox behind --tenant sandbox

Try it without an account:  %labauth login benchling --tenant sandbox
Secrets are never typed on this line: leave them out, and you are asked, or they come from the environment.
"""


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving the interpreter."""

    def error(self, message: str) -> NoReturn:
        from ..errors import InvalidInput

        if message.startswith("unrecognized"):
            message = "A word on that line is not known (it is not repeated here, in case it is a secret)"
        message = re.sub(r"ignored explicit argument .*", "it takes no value", message, flags=re.S)
        raise InvalidInput(f"{message[0].upper()}{message[1:]}. Type {self.usage or '%labauth'}")


def _parsers() -> dict[str, _Parser]:
    from ..providers import PLAIN_FIELDS

    def verb(name: str, usage: str, *arguments: tuple[str, dict[str, Any]]) -> _Parser:
        parser = _Parser(prog=name, usage=f"%labauth {name} {usage}".strip(), add_help=False, allow_abbrev=False)
        for flag, options in arguments:
            parser.add_argument(flag, **options)
        return parser

    one: dict[str, Any] = {"nargs": "?", "default": None}
    return {
        "login": verb(
            "login",
            "PROVIDER [--tenant T] [--method M] [--as NAME] [--ask] [--wait 5m | --no-wait] [--remember] [--store file]",
            ("provider", {}),
            ("--tenant", {}),
            ("--method", {}),
            ("--as", {"dest": "name"}),
            ("--ask", {"action": "store_true"}),
            ("--wait", {}),
            ("--no-wait", {"action": "store_true"}),
            ("--awaited", {"action": "store_true"}),
            ("--remember", {"nargs": "?", "const": "auto", "default": ""}),
            ("--store", {"default": ""}),
            *((f"--{field.replace('_', '-')}", {}) for field in PLAIN_FIELDS),
        ),
        "session": verb("session", "NAME", ("name", one)),
        "status": verb("status", "[NAME]", ("name", one)),
        "refresh": verb("refresh", "NAME", ("name", one)),
        "logout": verb(
            "logout",
            "[NAME | --all] [--revoke] [--forget]",
            ("name", one),
            ("--all", {"action": "store_true"}),
            ("--revoke", {"action": "store_true", "default": None}),
            ("--forget", {"action": "store_true"}),
        ),
        "providers": verb("providers", "[NAME]", ("name", one)),
        "sandbox": verb("sandbox", "[status | stop | advance 15m]", ("action", one), ("amount", one)),
    }


@magics_class
class LabauthMagics(Magics):
    """The magic ``%labauth``."""

    @no_var_expand
    @line_magic
    def labauth(self, line: str) -> Any:
        from ..errors import InvalidInput, nearest

        try:
            words = shlex.split(line.strip().rstrip(";"), comments=True)
        except ValueError:
            raise InvalidInput("A quote is open at the end of the line: close it.") from None
        if not words or words[0] in ("help", "--help", "-h"):
            print(TEACH)
            return None
        _refuse_secrets(words)
        verb, *rest = words
        parsers = _parsers()
        if verb not in parsers:
            raise nearest(verb, parsers, "verb")
        if "--help" in rest or "-h" in rest:
            print(f"{parsers[verb].usage}\n{inspect.getdoc(VERBS[verb])}")
            return None
        if not any(word for word in rest if not word.startswith("-")) and verb == "login":
            raise InvalidInput("Which provider? Type %labauth login " + " | ".join(_providers()))
        options = parsers[verb].parse_args(_joined(rest))
        return VERBS[verb](**vars(options))

    labauth.__doc__ = TEACH


def _joined(words: list[str]) -> list[str]:
    """``--remember`` takes the next word only where that says what is kept, not a provider's name."""
    joined: list[str] = []
    for word in words:
        word = "--remember" if word == "--remember=" else word
        if joined and joined[-1] == "--remember":
            joined[-1] = f"--remember={word}" if word in KEEPS else "--remember=auto"
            joined += [] if word in KEEPS else [word]
        else:
            joined.append(word)
    return joined


def _refuse_secrets(words: list[str]) -> None:
    from ..errors import InvalidInput, refuse_secret
    from ..masking import WORDS, holds_key, looks_secret
    from ..providers import PLAIN_FIELDS, SECRET_FIELDS

    secret = {name.replace("_", "") for name in (*SECRET_FIELDS, *WORDS)} | {"p", "s", "k", "code"}
    plain = {f"--{name.replace('_', '-')}" for name in PLAIN_FIELDS}
    for before, word in zip(["", *words], words, strict=False):
        flag, _, value = word.partition("=")
        if word.startswith("-") and re.sub(r"[-_]", "", flag).lower() in secret:
            raise InvalidInput(
                f"{flag} is refused: a secret on this line would be saved in the notebook and in the history. Leave it "
                "out: you are asked for it, or it comes from the environment. Delete it from this cell now, and "
                "replace the secret if the notebook was saved or shared."
            )
        looks = holds_key if plain & {before, flag} else looks_secret
        value = value if word.startswith("-") and value else word
        refuse_secret(value, "A word on that line", looks=looks)


def _login(
    provider: str,
    ask: bool,
    wait: str | None,
    no_wait: bool,
    awaited: bool,
    **typed: str | None,
) -> Any:
    """Sign in to PROVIDER.

    --tenant T   your lab's tenant, in any spelling, or `sandbox` for the embedded one
    --method M   a way to sign in, as listed by %labauth providers PROVIDER
    --as NAME    a name of your own, for several tenants or accounts side by side
    --client-id, --scopes, --username, --issuer, --redirect-uri: fields of the method that are no secret
    --ask        show the form even where nothing is missing, prefilled
    --wait 5m    how long the cell waits for the form (a prompt is waited for as long as it takes); --no-wait: not at all
    --remember   keep what the next kernel needs in the operating system's keyring: the refresh token of a browser method,
                 else the credentials that you typed (--remember refresh-token | credentials to choose)
    --store file keep it in a file that only you can read instead, where there is no keyring
    """
    from ..logins.plans import Wish
    from ..providers import without_page

    tenant, store = typed.pop("tenant"), typed.pop("store")
    wish = Wish(
        provider,
        typed.pop("method"),
        tenant and without_page(tenant),
        typed.pop("name"),
        remember=typed.pop("remember") or ("auto" if store else ""),
        store=store or "keyring",
        fields={field: value for field, value in typed.items() if value is not None},
        line=True,
    )
    seconds = None if wait is None else seconds_in(wait)
    if _in_kernel():
        from .panel import WAIT_SECONDS, run_login

        seconds = WAIT_SECONDS if seconds is None else seconds
        return run_login(wish, ask, None if no_wait else seconds, awaited)
    from ..logins.plans import plan
    from .terminal import sign_in

    print(sign_in(plan(wish)))
    return None


def _session(name: str | None) -> Any:
    """Give the authenticated requests session of the login NAME: lab = %labauth session benchling"""
    from ..logins.logins import session

    return session(name)


def _status(name: str | None) -> Any:
    """Show all logins: who you are, how long it lasts, where the credentials came from."""
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
    """Renew the token of the login NAME now."""
    from .terminal import refresh

    print(refresh(name))


def _logout(name: str | None, all: bool, revoke: bool | None, forget: bool) -> None:
    """Forget the login NAME, or --all, also where it is remembered; revoke what was issued here where the provider offers it.

    --revoke     revoke a pasted token too, without asking
    --forget     forget what is remembered also where this kernel has not signed in; with --all: everything
    """
    from .terminal import logout

    sentences = logout(name, all=all, revoke=revoke, forget=forget)
    for sentence in sentences or ["Not signed in anywhere" + (", and nothing is remembered." if forget else ".")]:
        print(sentence)


def _show_providers(name: str | None) -> None:
    """List the providers, their methods, what each needs and where to find it."""
    from ..credentials.sources import allowed, variables
    from ..providers import PROVIDERS, find

    for provider in PROVIDERS.values() if name is None else [find(name)]:
        print(f"{provider.name}: {provider.title}. Tenant: {provider.tenant.hint}.")
        for method in allowed(provider):
            default = " (default)" if method is allowed(provider)[0] else ""
            print(f"  --method {method.name}{default}: {method.label}; {method.hint}")
            for field in method.fields if name else ():
                optional = "optional, " if field.optional else ""
                print(f"      {field.label}: {optional}{field.hint} [{', '.join(variables(provider, field))}]")


def _sandbox(action: str | None, amount: str | None) -> None:
    """The embedded sandbox. `status` shows it, `advance 15m` moves its clock (s, m, h, d), `stop` ends it."""
    from ..errors import InvalidInput, nearest
    from ..logins.logins import forget_sandbox, practice_lab
    from ..masking import shown

    if action not in (None, "status", "stop", "advance"):
        raise nearest(str(action), ["status", "stop", "advance"], "sandbox verb")
    if action == "stop":
        practice_lab().stop()
        forget_sandbox()
        print("SANDBOX: stopped; its logins are forgotten.")
    elif action == "advance":
        if not amount:
            raise InvalidInput("By how much? Type %labauth sandbox advance 15m")
        seconds = seconds_in(amount)
        practice_lab().advance(seconds)
        print(f"SANDBOX: the clock is {amount if amount[-1].isalpha() else amount + ' s'} further.")
    elif amount is not None:
        usage = "%labauth sandbox [status | stop | advance 15m]"
        raise InvalidInput(f"What is {shown(amount)}? Type {usage}")
    else:
        print(practice_lab().describe())


def seconds_in(amount: str) -> float:
    """`clocks.seconds_in` for what a user typed. Raises `InvalidInput`."""
    from .. import clocks
    from ..errors import InvalidInput

    try:
        return clocks.seconds_in(amount)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


VERBS: dict[str, Callable[..., Any]] = {
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


_WORDS: dict[str, Iterable[str]] = {"--tenant": ["sandbox"], "--remember": KEEPS, "--store": ["keyring", "file"]}


def choices(words: list[str]) -> Iterable[str]:
    """What may stand after `words` (those after ``%labauth``): for Tab."""
    from ..credentials.sources import allowed
    from ..logins import logins
    from ..providers import PROVIDERS

    if not words:
        return VERBS
    verb, *rest = words
    if rest and rest[-1] == "--method" and len(rest) > 1 and rest[0] in PROVIDERS:
        return [m.name for m in allowed(PROVIDERS[rest[0]])]
    if rest and rest[-1] in _WORDS:
        return _WORDS[rest[-1]]
    if rest and rest[-1] == "--as":
        return []
    if verb == "login":
        flags = [f for f in ("--tenant", "--method", "--as", "--remember") if f not in rest]
        return flags if rest else PROVIDERS
    if verb == "sandbox":
        return [] if rest else ["status", "stop", "advance"]
    if verb == "providers":
        return [] if rest else PROVIDERS
    if verb in VERBS and not rest:
        names = [row["login"] for row in logins.status()]
        return [*names, "--all", "--revoke", "--forget"] if verb == "logout" else names
    return [f for f in ("--revoke", "--forget") if f not in rest] if verb == "logout" else []


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


_LOGIN_LINE = re.compile(r"get_ipython\(\)\.run_line_magic\('labauth', (['\"])login ")


def _awaiting(ip: Any) -> Callable[[], None]:
    """Have cells await a ``%labauth login`` at their left margin, so that the kernel can hear the panel meanwhile.

    IPython's documented custom input transformation; gives a function that undoes it. Inside another cell magic
    (%%time, %%capture) an await would be an error, so there the line stays as it is, and the magic says what to do.
    """
    running = [0]

    def transform(lines: list[str]) -> list[str]:
        if running[0] or not ip.autoawait:
            return lines
        return [f"await {line.replace('login ', 'login --awaited ', 1)}" if _LOGIN_LINE.match(line) else line for line in lines]

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


def _around_cells(ip: Any, begin: Callable[..., None], end: Callable[..., None]) -> Callable[[], None]:
    """Call `begin` before each cell and `end` after it; gives a function that undoes it."""
    ip.events.register("pre_run_cell", begin)
    ip.events.register("post_run_cell", end)

    def undo() -> None:
        ip.events.unregister("pre_run_cell", begin)
        ip.events.unregister("post_run_cell", end)

    return undo


def _ending_as_itself(ip: Any) -> Callable[[], None]:
    """Have each cell end under its own request; gives a function that undoes it.

    ipykernel 7.4 hands a page's message to its widget while a cell awaits, then puts that cell's request back. If the
    cell has ended meanwhile and the next one awaits, the next one's "idle" names the wrong request, and JupyterLab
    shows [ ] at it for ever.
    """
    kernel, requests = ip.kernel, WeakKeyDictionary[Any, tuple[Any, Any]]()

    def begin(info: Any) -> None:
        with suppress(LookupError):  # in a thread, on ipykernel 7.0
            # Inside an awaited cell this is the context that its task began with: nothing has overwritten it.
            requests[info] = kernel.get_parent("shell"), kernel._parent_ident["shell"]

    def end(result: Any) -> None:
        request, ident = requests.pop(result.info, (None, None)) if result else (None, None)
        if request is not None and request is not kernel.get_parent("shell"):
            kernel.set_parent(ident, request, "shell")

    return _around_cells(ip, begin, end)


def _preset(ip: Any) -> Callable[[], None]:
    """Take the admin's presets, and show them in ``%config LabAuth``; gives a function that undoes it."""
    from traitlets import TraitError

    from ..credentials import presets as config

    try:
        config.presets = presets = config.LabAuth(parent=ip)
    except TraitError as error:
        from ..errors import InvalidInput

        raise InvalidInput(f"{error} It stands in ipython_config.py: ask the admin of this hub.") from None
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
    """Register the magic, its presets, its Tab completion, and the cleaning of the history: all or nothing.

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
            _undo.append(_awaiting(ip))
            if hasattr(ip.kernel, "_parent_ident"):  # ipykernel's own, not Pyodide's or Xeus's
                _undo.append(_ending_as_itself(ip))
        _undo.append(_completing(ip))
        ip.register_magics(LabauthMagics)
    except BaseException:
        unload(ip)
        raise


def unload(ip: Any) -> None:
    """Undo `load`."""
    while _undo:
        _undo.pop()()
    ip.magics_manager.magics["line"].pop("labauth", None)
