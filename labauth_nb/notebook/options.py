"""The verbs and options of ``%labauth``, a row each.

Usage, help, parsing, Tab and masking all come from these tables.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NoReturn

KEEPS = ("credentials", "refresh-token")
"""What --remember may name: `stores.KEEPS`, which is slow to import."""

Offers = Callable[[list[str]], Iterable[str]]
"""What Tab offers for a value, by the words that are typed after the verb."""


def _providers(words: list[str]) -> Iterable[str]:
    from ..providers import PROVIDERS

    return PROVIDERS


def _methods(words: list[str]) -> Iterable[str]:
    from ..credentials.sources import allowed
    from ..providers import PROVIDERS

    return [m.name for m in allowed(PROVIDERS[words[0]])] if words and words[0] in PROVIDERS else []


def _names(words: list[str]) -> Iterable[str]:
    from ..logins import logins

    return [login.name for login in logins.known()]


@dataclass(frozen=True)
class Option:
    """One word of a verb.

    `name`: as it is typed (``--tenant``), or in capitals what stands in its place (``NAME``);
    `value`: what stands for its value in the usage ("": it takes none); `dest`: the parameter that
    it becomes, where that is another word; `shown`: what the usage shows, where that is another
    word ("": nothing); `offers`: what Tab offers for it; `perhaps`: whether its value may be left
    out; `field`: whether it is a field of a method that is no secret, so that it may hold anything
    but a key.
    """

    name: str
    value: str = ""
    help: str = ""
    dest: str = ""
    offers: Offers = lambda words: ()
    shown: str | None = None
    perhaps: bool = False
    field: bool = False

    @property
    def flag(self) -> bool:
        """Whether it is an option, not a word by its place."""
        return self.name.startswith("--")

    @property
    def takes(self) -> bool:
        """Whether the next word is its value."""
        return bool(self.value)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Have `parser` take it."""
        dest = self.dest or self.name.strip("-").replace("-", "_").lower()
        if not self.flag:
            parser.add_argument(dest, metavar=self.name, nargs="?", help=self.help)
        elif self.perhaps:
            parser.add_argument(
                self.name, dest=dest, metavar=self.value, nargs="?", const="auto", help=self.help
            )
        elif self.takes:
            parser.add_argument(self.name, dest=dest, metavar=self.value, help=self.help)
        else:
            parser.add_argument(self.name, dest=dest, action="store_true", help=self.help)


@dataclass(frozen=True)
class Verb:
    """What stands behind ``%labauth``: `told`, for everybody.

    `help`, the message above its options.
    """

    name: str
    told: str
    help: str
    options: tuple[Option, ...] = ()

    @property
    def usage(self) -> str:
        """How it is typed, in one line."""
        words = [
            option.shown if option.shown is not None else _plain(option) for option in self.options
        ]
        return " ".join(filter(None, (f"%labauth {self.name}", *words)))


def _plain(option: Option) -> str:
    return (
        f"[{option.name} {option.value}]"
        if option.takes and not option.perhaps
        else f"[{option.name}]"
    )


def _offering(*words: str) -> Offers:
    return lambda _: words


_NAME = Option("NAME", help="the login's name, by default the provider's", offers=_names)
_ONE = replace(_NAME, shown="NAME")
VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "login",
            "sign in (%labauth providers lists where); %labauth login --help tells of each option",
            "Sign in to PROVIDER.",
            (
                Option(
                    "PROVIDER", help="see %%labauth providers", offers=_providers, shown="PROVIDER"
                ),
                Option(
                    "--tenant",
                    "T",
                    "your address at the provider, such as acme, or `sandbox` for the embedded one",
                    offers=_offering("sandbox"),
                ),
                Option(
                    "--method",
                    "M",
                    "a way to sign in, as listed by %%labauth providers PROVIDER",
                    offers=_methods,
                ),
                Option(
                    "--as",
                    "NAME",
                    "a name of your own, for several addresses or accounts side by side",
                    "name",
                ),
                Option("--ask", help="show the form even where nothing is missing, prefilled"),
                Option(
                    "--wait",
                    "5m",
                    "how long the cell waits for the form (a prompt is waited for as long as it"
                    " takes)",
                    shown="[--wait 5m | --no-wait]",
                ),
                Option("--no-wait", help="show the form, and do not wait for it", shown=""),
                Option(
                    "--remember",
                    "WHAT",
                    "keep what the next kernel needs in the operating system's keyring: the refresh"
                    " token of a browser method, else the credentials that you typed (refresh-token"
                    " or credentials to choose)",
                    offers=_offering(*KEEPS),
                    perhaps=True,
                ),
                Option(
                    "--store",
                    "file",
                    "keep it in a file that only you can read instead, where there is no keyring",
                    offers=_offering("keyring", "file"),
                ),
            ),
        ),
        Verb(
            "session",
            "an authenticated requests session: lab = %labauth session benchling",
            "Give the authenticated requests session of the login NAME: lab = %labauth session"
            " benchling",
            (_ONE,),
        ),
        Verb(
            "status",
            "who you are, and how long it lasts",
            "Show all logins: who you are, how long it lasts, where the credentials came from.",
            (_NAME,),
        ),
        Verb("refresh", "renew the token now", "Renew the token of the login NAME now.", (_ONE,)),
        Verb(
            "logout",
            "forget, and revoke where the provider offers it",
            "Forget the login NAME, or --all, also where it is remembered; revoke what was issued"
            " here where the provider offers it.",
            (
                replace(_NAME, shown="[NAME | --all]"),
                Option("--all", help="every login", shown=""),
                Option("--revoke", help="revoke a pasted token too, without asking"),
                Option(
                    "--forget",
                    help=(
                        "forget what is remembered also where this kernel has not signed in; with"
                        " --all: everything"
                    ),
                ),
            ),
        ),
        Verb(
            "providers",
            "the providers, their methods, and what each needs",
            "List the providers, their methods, what each needs and where to find it.",
            (replace(_NAME, help="the provider's name", offers=_providers),),
        ),
        Verb(
            "sandbox",
            "the embedded sandbox behind --tenant sandbox",
            "The embedded sandbox: status shows it, advance 15m moves its clock (s, m, h, d), stop"
            " ends it.",
            (
                Option(
                    "ACTION",
                    help="what to do with it",
                    offers=_offering("status", "stop", "advance"),
                    shown="[status | stop | advance 15m]",
                ),
                Option("AMOUNT", help="by how much the clock moves", shown=""),
            ),
        ),
    )
}


TEACH = (
    "\n".join(f"{verb.usage}\n{'':30}{verb.told}" for verb in VERBS.values())
    + """

Try it without an account:  %labauth login benchling --tenant sandbox
Secrets are never typed on this line: leave them out, and you are asked, or they come from the
environment.
"""
)


@lru_cache(maxsize=1)
def verbs() -> dict[str, Verb]:
    """The verbs, with a row for each of the providers' fields that is no secret."""
    from ..providers import PLAIN_FIELDS, PROVIDERS

    labels = {f.name: f.label for p in PROVIDERS.values() for m in p.methods for f in m.fields}
    fields = tuple(
        Option(
            f"--{name.replace('_', '-')}",
            "X",
            f"{labels[name]}, where the method has it",
            shown="",
            field=True,
        )
        for name in PLAIN_FIELDS
    )
    login = VERBS["login"]
    return {**VERBS, "login": replace(login, options=(*login.options, *fields))}


class _Help(argparse.HelpFormatter):
    """The usage as the table has it, without a word before it."""

    def add_usage(
        self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None
    ) -> None:
        super().add_usage(usage, actions, groups, "")


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving the interpreter."""

    def error(self, message: str) -> NoReturn:
        from ..errors import InvalidInput

        if message.startswith("unrecognized"):
            message = "Unknown option or argument (not shown, in case it is a secret)"
        message = re.sub(r"ignored explicit argument .*", "it takes no value", message, flags=re.S)
        raise InvalidInput(f"{message[0].upper()}{message[1:]}. Type {VERBS[self.prog].usage}")


def _parser(verb: Verb) -> _Parser:
    usage = verb.usage.replace("%", "%%")
    parser = _Parser(
        prog=verb.name,
        usage=usage,
        description=verb.help,
        add_help=False,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    for option in verb.options:
        option.add_to(parser)
    return parser


def parsed(verb: str, words: list[str]) -> dict[str, Any]:
    """What `words` say to `verb`, by parameter.

    Raises `InvalidInput`, which repeats no word that is not known.
    """
    return vars(_parser(verbs()[verb]).parse_args(_joined(words)))


def help_of(verb: str) -> str:
    """What ``%labauth VERB --help`` says."""
    return _parser(verbs()[verb]).format_help().rstrip()


def _joined(words: list[str]) -> list[str]:
    """``--remember`` takes the next word only where that says what is kept."""
    joined: list[str] = []
    for word in words:
        word = "--remember" if word == "--remember=" else word
        if joined and joined[-1] == "--remember":
            joined[-1] = f"--remember={word}" if word in KEEPS else "--remember=auto"
            joined += [] if word in KEEPS else [word]
        else:
            joined.append(word)
    return joined


def choices(words: list[str]) -> Iterable[str]:
    """What may stand after `words` (those after ``%labauth``): for Tab."""
    if not words:
        return VERBS
    name, *rest = words
    if name not in VERBS:
        return []
    options = {option.name: option for option in verbs()[name].options}
    last = options.get(rest[-1]) if rest else None
    if last is not None and last.takes:
        return last.offers(rest)
    placed = [option for option in options.values() if not option.flag]
    typed = [
        word
        for before, word in zip(["", *rest], rest, strict=False)
        if not _is_option(options, before, word)
    ]
    if len(typed) >= len(placed):
        return _left(options.values(), rest)
    offered = list(placed[len(typed)].offers(rest))
    must = placed[0].shown == placed[0].name  # nothing else goes before it
    return offered if must else [*offered, *_left(options.values(), rest)]


def _is_option(options: dict[str, Option], before: str, word: str) -> bool:
    """Whether `word` is an option, or the value of the one before it."""
    return word.startswith("-") or (before in options and options[before].takes)


def _left(options: Iterable[Option], words: list[str]) -> list[str]:
    """The options that are not typed yet; of the fields those that the provider has."""
    from ..providers import PROVIDERS

    provider = PROVIDERS.get(words[0]) if words else None
    fields = (
        {f"--{f.name.replace('_', '-')}" for m in provider.methods for f in m.fields}
        if provider
        else set()
    )
    return [
        o.name
        for o in options
        if o.flag and o.name not in words and (not o.field or o.name in fields)
    ]


@lru_cache(maxsize=1)
def known() -> tuple[set[str], set[str], set[str]]:
    """For masking.

    The options that take a value, those among them that are a field, and the words known by
    themselves.
    """
    from ..providers import PROVIDERS

    options = verbs()["login"].options
    taking = {option.name for option in options if option.takes}
    fields = {option.name for option in options if option.field}
    # as the field is called in Python
    fields |= {f"--{name[2:].replace('-', '_')}" for name in fields}
    alone = {
        option.name for option in options if option.flag and (not option.takes or option.perhaps)
    }
    return taking | fields, fields, {*alone, *KEEPS, *PROVIDERS}
