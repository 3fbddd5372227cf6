"""Where a field's value comes from, and why a source did not serve.

In this order: given in Python; the process environment; the nearest `.env` from the notebook's
folder upward (read, never loaded into os.environ); what was remembered; the vendor's own files; the
admin's presets; else somebody is asked, where somebody can answer.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import InvalidInput, miscopied, refuse_secret
from ..masking import Fields, Secret, holds_key, looks_secret
from ..providers import (
    RETURN,
    SERVER,
    Env,
    Field,
    Method,
    Provider,
    is_loopback,
    whole_address,
    without_page,
)
from . import presets
from .trust import (
    ASKED,
    CONFIG,
    DEFAULT,
    DOTENV,
    ENVIRONMENT,
    GIVEN,
    LINE,
    TYPED,
    Doubt,
    Source,
    Trust,
    may_go,
)
from .vendor_files import FILES, Unusable, nearest_dotenv, small_text, unwrapped, why_unread

_PRESETS = {
    "tenant": "tenants",
    "client_id": "client_ids",
    "scopes": "scopes",
    "issuer": "issuers",
    "redirect_uri": "redirect_uris",
}


def preset(provider: Provider, method: Method, wanted: str) -> str:
    """What the admin preset for the field `wanted`, by method or provider; "" for nothing."""
    given: Mapping[str, str] = getattr(presets.presets, _PRESETS.get(wanted, ""), None) or {}
    return (given.get(f"{provider.name}/{method.name}") or given.get(provider.name) or "").strip()


def allowed(provider: Provider) -> tuple[Method, ...]:
    """The methods that the admin allows (all, where nothing is said), the default one first."""
    names = (getattr(presets.presets, "methods", None) or {}).get(provider.name)
    return tuple(provider.method(name) for name in names) if names else provider.methods


@dataclass
class Found:
    """What was found for one sign-in.

    The fields, which source each came from, and why other sources did not serve.

    `labels`: what people call each field; `variables`: the environment variable that supplied a
    field, where one did; `named`: for each field that is an address every source that names this
    address, with its variable; `ignored`: variables that were not taken.
    """

    fields: Fields = field(default_factory=Fields)
    labels: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    named: dict[str, list[tuple[Source, str]]] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)

    def take(self, wanted: Field, value: str, source: Source, variable: str = "") -> None:
        """Keep `value` for `wanted`, unless there is one already (of an address: the same one)."""
        if wanted.address:
            self.named.setdefault(wanted.name, []).append((source, variable))
        if wanted.name not in self.fields:
            self.fields[wanted.name] = Secret(value) if wanted.secret else value
            self.labels[wanted.name] = wanted.label
            self.sources[wanted.name] = source
            self.variables[wanted.name] = variable

    def missing(self, method: Method) -> list[Field]:
        """The fields of `method` that have no value and need one."""
        return [f for f in method.fields if not f.optional and f.name not in self.fields]

    def source(self) -> str:
        """Where the credentials came from, as a person says it; "" where none were needed."""
        told: dict[str, tuple[Source, list[str]]] = {}
        for name, source in self.sources.items():
            if name != "tenant" and source != DEFAULT:
                told.setdefault(source.words, (source, []))[1].append(self.variables.get(name, ""))
        return ", ".join(source.named(*names) for source, names in told.values())

    def story(self) -> str:
        """Where each field came from, by which variable, and why other sources did not serve."""
        told = [
            f"{self.labels.get(name, name)} {source.named(self.variables.get(name, ''))}"
            for name, source in self.sources.items()
        ]
        return ", ".join(told) + "".join(f"; {reason}" for reason in self.reasons)


def variables(provider: Provider, wanted: Field) -> list[str]:
    """The environment variables that supply `wanted`, the most specific first."""
    return [wanted.variable or f"LABAUTH_{provider.name}_{wanted.name}".upper(), *wanted.variables]


_EDGES = " \t\r\n\xa0\u200b\u2060\ufeff"
"""What a copy from a page has at its ends, and nobody sees."""
_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
_NAME = r"([A-Za-z_]\w{0,63})"
_LINES = (  # of sh and cmd; PowerShell; cmd, csh and fish; JSON; YAML
    rf'(?:export|set)\s+"?{_NAME}[ \t]*=[ \t]*(?=\S)',
    rf"\$\{{?env:{_NAME}\}}?[ \t]*=[ \t]*(?=\S)",
    rf"(?:setx|setenv|set\s+-\w+)[ \t]+{_NAME}[ \t]+(?=\S)",
    r"""(["'])(?P<name>\w{1,64})\1[ \t]*:[ \t]*(?=\S)""",
    rf"{_NAME}[ \t]*:[ \t]+(?=\S)",
)
"""How a line that sets a variable begins, whatever that is called."""
_DOTENV_LINE = rf"{_NAME}[ \t]*=[ \t]*(?=[^=\s])"
"""How a line of a .env begins: to be told by its name, as a key may look like one."""
_WRAPPED_LEAST = 20
"""Characters: the first line of a token that was wrapped is as long, and none is longer."""


def healed(provider: Provider, wanted: Field, value: str) -> str:
    """`value` for the field `wanted` without what a paste brought along.

    That is white space and quotes around it, what sets a variable before it (``NAME=``, or as
    PowerShell, cmd, JSON or YAML have it), and line breaks in a token. Of
    what a person made up only the line's end is taken. Raises `InvalidInput` for another field's
    line, and where lines cannot be put together for certain.
    """
    if wanted.verbatim:
        return Secret(value.rstrip("\r\n"))
    if (line := _line(value)) is None:
        line = _line(value := _unquoted(value))
    if line is not None:
        name, rest, certain = line
        fields = [f for m in provider.methods for f in (provider.tenant, *m.fields)]
        names = {n.lower(): f.name for f in fields for n in (*variables(provider, f), f.name)}
        of = names.get(name.lower(), wanted.name if certain or name.isupper() else "")
        if of == wanted.name and "\n" not in value:
            value = rest
        elif of and "\n" not in value:
            said = f"The {wanted.label} was given as {name}, which belongs to another field"
            raise InvalidInput(f"{said}. Where to find it: {wanted.hint}.", field=wanted.name)
    value = _unquoted(value)
    whole = value if value.startswith("-----BEGIN") else _joined(value)
    if whole is None and (wanted.secret or wanted.name == "client_id"):
        raise miscopied(wanted.label, wanted.name, wanted.hint)
    value = value if whole is None else whole
    return value if wanted.secret else str.__str__(value)


def _line(value: str) -> tuple[str, Secret, bool] | None:
    """(name, value, whether it is certain) of a line that sets a variable; None for another."""
    value = Secret(value.strip(_EDGES))
    for pattern in (*_LINES, _DOTENV_LINE):
        if match := re.match(pattern, value, re.IGNORECASE):
            rest = Secret(re.sub(r"[ \t]+/m$", "", value[match.end() :], flags=re.IGNORECASE))
            if '"' in match[0] and rest.count('"') == 1:  # set "NAME=value"
                rest = Secret(rest.removesuffix('"'))
            name = match.groupdict().get("name") or match[1]
            return name, rest, pattern in _LINES
    return None


def _unquoted(value: str) -> Secret:
    value = Secret(value.strip(_EDGES))
    if value[-1:] in (",", ";") and value[:1] + value[-2:-1] in _QUOTES:  # of JSON, or of a shell
        value = Secret(value[:-1])
    if len(value) > 2 and value[0] + value[-1] in _QUOTES:
        value = Secret(value[1:-1].strip(_EDGES))
    return value


def _joined(value: str) -> Secret | None:
    """The one line that was wrapped into those of `value`; None where that is not certain."""
    first, *more = map(Secret, re.split(r"\s*[\r\n]\s*", value))
    if not more:
        return first
    whole = len(first) >= max(_WRAPPED_LEAST, *map(len, more))
    named = any(map(_line, (first, *more)))
    return Secret("".join((first, *more))) if whole and not named else None


def afterthought(wanted: Field, value: str) -> str:
    """What to say of a refused `value` that was sent as it was given; "" for nothing."""
    if not wanted.verbatim or not value.strip():
        return ""
    if _unquoted(value) == value and _line(value) is None:
        return ""
    around = "with a name, quote marks or spaces around it"
    said = f"The {wanted.label} was sent as it was given, {around}"
    return f"{said}: leave them out if they do not belong to it."


def collect(
    provider: Provider,
    method: Method,
    tenant: str | None,
    given: Mapping[str, str],
    sources: Sources | None = None,
) -> Found:
    """What can be had for `method` without asking.

    `tenant`: the one given, if any; `sources`: as read for this sign-in.

    A source that names another tenant than the one asked for keeps its secrets: they are that
    tenant's. Raises `InvalidInput` for a tenant that is none.
    """
    found, sources = Found(), sources or Sources()
    wanted = {f.name: f for f in (provider.tenant, *method.fields)}
    refuse_secrets(wanted.values(), given)
    for name, value in given.items():
        if not _sendable(value):
            raise InvalidInput(
                f"{wanted[name].label} holds characters that cannot be sent: copy it again."
            )
        if value.strip():
            value = healed(provider, wanted[name], value)
            found.take(wanted[name], value, sources.giver(provider, wanted[name], value))
    if tenant is not None:
        _origin(provider, tenant.strip())
        found.take(
            provider.tenant,
            without_page(tenant),
            sources.giver(provider, provider.tenant, tenant.strip()),
        )
    for source, lookup in sources.each(provider, method, found):
        _supply(provider, method, found, source, lookup)
    for f in wanted.values():
        for value, source in ((preset(provider, method, f.name), CONFIG), (f.default, DEFAULT)):
            if value and _agrees(provider, f, found.fields.get(f.name), value):
                found.take(f, value, source)
    return found


def _supply(
    provider: Provider, method: Method, found: Found, source: Source, lookup: Lookup
) -> None:
    """Take what one source has, as far as the addresses that it names are those chosen already."""
    fields = (provider.tenant, *method.fields)
    offer = _Offer(provider, method, source, {f.name: lookup(f) for f in fields})
    secret = any(offer.values[f.name][0] for f in method.fields if f.secret)
    if secret and not offer.values["tenant"][0] and not preset(provider, method, "tenant"):
        # As the vendor's own tools take it.
        offer.values["tenant"] = provider.tenant.default, ""
    for f in fields:
        if f.address and offer.values[f.name][0]:
            offer.reconcile(f, found)
    for f in fields:
        value, variable = offer.values[f.name]
        if value:
            builtin = f is provider.tenant and not variable and value == f.default
            own = source.but(Trust.BUILT_IN) if builtin else source
            found.take(f, value, own, variable)


_NOTHING = "", ""


@dataclass
class _Offer:
    """What one source has, before it is taken: by a field's name its value, and its variable."""

    provider: Provider
    method: Method
    source: Source
    values: dict[str, tuple[str, str]]

    def reconcile(self, field: Field, found: Found) -> None:
        """Withdraw what goes with another address than the one chosen for `field`.

        A source that names another tenant keeps all it has, of another issuer all but the tenant.
        """
        value, _ = self.values[field.name]
        chosen = found.fields.get(field.name)
        if self.source.trust is Trust.TREE:  # a preset stands above every file of the working tree
            chosen = chosen or preset(self.provider, self.method, field.name)
        try:
            _check_address(self.provider, field, value)
            if _agrees(self.provider, field, chosen, value):
                return
        except InvalidInput as error:
            self._withdraw(field, found, error)
            return
        self.values[field.name] = _NOTHING
        if field.address == SERVER:
            found.reasons.append(
                f"{self.source.noun} was ignored: it is for {value}, not for {chosen}"
            )
            keep = () if field is self.provider.tenant else ("tenant",)
            self.values |= {name: _NOTHING for name in self.values if name not in keep}

    def _withdraw(self, field: Field, found: Found, error: InvalidInput) -> None:
        """Ignore an address that is not valid, and the secrets, as nobody knows whose they are."""
        value, variable = self.values[field.name]
        why = "it looks like a secret" if looks_secret(value) else error
        what = self.source.place(variable or "the address")
        found.reasons.append(f"{what} was ignored ({why})")
        found.ignored.add(variable)
        self.values[field.name] = _NOTHING
        if field.address == SERVER and found.sources.get(field.name) != GIVEN:
            self.values |= {f.name: _NOTHING for f in self.method.fields if f.secret}


def address_of(provider: Provider, field: Field, value: str) -> str:
    """What the value of an address field stands for, in one spelling.

    Raises `InvalidInput` for a tenant that is none.
    """
    return _origin(provider, value) if field is provider.tenant else whole_address(value)


def _check_address(provider: Provider, field: Field, value: str) -> None:
    """Raise `InvalidInput` where an address may not be shown, nor asked about."""
    if field is not provider.tenant and not _ADDRESS.fullmatch(whole_address(value)):
        said = f"The {field.label} is not a valid address"
        raise InvalidInput(
            f"{said}: it starts with https:// and a server's name.", field=field.name
        )


_ADDRESS = re.compile(r"(?=.{1,200}$)https?://(\[::1\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[\x21-\x7e]*)?")
"""What may be shown, and asked about: without a user name, and in ASCII, so that nothing looks like
another host."""


def _agrees(provider: Provider, field: Field, chosen: str | None, value: str) -> bool:
    """Whether `value` is the address that was chosen already, where there is one.

    Raises as `address_of`.
    """
    if not field.address:
        return True
    address = address_of(provider, field, value)
    return not chosen or address_of(provider, field, chosen) == address


class Place(NamedTuple):
    """An address that gets credentials.

    The field that names it, the address as it is resolved, and who names it.

    The last is "" but for a file of the working tree.
    """

    field: str
    address: str
    by: str = ""

    def __str__(self) -> str:
        return f"{self.address} (named by {self.by})" if self.by else self.address


def places(provider: Provider, method: Method, found: Found) -> list[Place]:
    """Where a sign-in by `method` goes, as far as it is known.

    Where it comes back to only if that is another computer.
    """
    result = []
    for f in (provider.tenant, *method.fields):
        away = f.address == RETURN and _is_away(found.fields.get(f.name, ""))
        if f.name in found.fields and (f.address == SERVER or away):
            source, variable = found.named[f.name][0]
            tree = source is not LINE and all(
                each.trust is Trust.TREE for each, _ in found.named[f.name]
            )
            by = source.place(variable, whole=True) if tree else ""
            result.append(Place(f.name, address_of(provider, f, found.fields[f.name]), by))
    return result


def doubts(provider: Provider, method: Method, found: Found) -> list[Doubt]:
    """Each address of the plan that is named by nobody trusted as much as what goes there."""
    result = []
    secrets = [f for f in method.fields if f.secret and f.name in found.fields]
    # an issuer gets them, not the tenant
    target = next((f for f in method.fields if f.address == SERVER), provider.tenant)
    for f in (provider.tenant, *method.fields):
        if not f.address or f.name not in found.fields:
            continue
        address, named = address_of(provider, f, found.fields[f.name]), found.named[f.name]
        givers = [source for source, _ in named]
        going = [
            s for s in secrets if not any(may_go(found.sources[s.name], giver) for giver in givers)
        ]
        going = going if f is target else []
        if (going or _is_doubtful_page(method, f, address, givers)) and address != "sandbox":
            _check_address(provider, f, found.fields[f.name])
            result.append(_doubt(provider, f, address, going, found))
    return result


def _is_doubtful_page(method: Method, wanted: Field, address: str, givers: list[Source]) -> bool:
    """Whether a person who signs in by a browser has to see `address` first."""
    if method.flow is None:
        return False
    # It is chosen by a click: in doubt only where a file of the working tree alone names it.
    if not any(may_go(LINE, giver) for giver in givers):
        return True
    # A code that is bound to nothing opens the account to whoever gets it.
    bound = wanted.address != RETURN or method.flow.pkce
    return not bound and givers[0] is LINE and _is_away(address)


def _doubt(
    provider: Provider, wanted: Field, address: str, going: list[Field], found: Found
) -> Doubt:
    """That the secrets `going` would go to `address`, and who names it."""
    source, variable = found.named[wanted.name][0]
    what = tuple(
        f"{s.label} ({found.sources[s.name].place(found.variables.get(s.name, ''), whole=True)})"
        for s in going
    )
    by = source.place(variable, whole=True)
    place = source.file or (f"{by} in {_folder()}" if source is LINE else by)
    key = " ".join((place, provider.name, wanted.name, *(s.name for s in going)))
    return Doubt(address, wanted.name, by, key, what, wanted.address == RETURN)


def _is_away(address: str) -> bool:
    """Whether `address` is not this computer; nor is what cannot be an address."""
    try:
        return not is_loopback(urlsplit(address).hostname)
    except ValueError:
        return True


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "?"


def refuse_secrets(fields: Iterable[Field], given: Mapping[str, str]) -> None:
    """Raise `InvalidInput` where one of `fields` that is shown was given a secret."""
    for each in fields:
        if not each.secret:
            # A client ID may be any mix of characters.
            looks = looks_secret if each.name == "tenant" else holds_key
            refuse_secret(given.get(each.name, ""), f"The {each.label}", each.name, looks)


Lookup = Callable[[Field], tuple[str, str]]
"""How a source looks a field up: (value, the variable it came by), ("", "") for none."""


class Sources:
    """What supplies fields on this computer, as it was when this was made.

    One of these per sign-in.

    The environment and each file are read once, so that what a form showed is what a submit sends.
    `line`: whether what is given stands on a ``%labauth`` line.
    """

    def __init__(self, line: bool = False) -> None:
        self.line, self.environment = line, _environment()
        self._asked: frozenset[str] = frozenset()
        self._typed: frozenset[str] = frozenset()
        self._recalled: tuple[Source, Mapping[str, str]] | None = None
        self._reasons: list[str] = []
        self.refused: list[str] = []
        """Why a file of the working tree is not read, for the form."""
        self._dotenv = _dotenv(self._reasons, self.refused)
        self._files: dict[str, tuple[list[tuple[Source, dict[str, str]]], list[str]]] = {}

    def giver(self, provider: Provider, field: Field, value: str) -> Source:
        """Who gives `value`: a notebook's line counts as typed for own hosts of the provider."""
        if field.name in self._asked:
            return ASKED
        given = TYPED if self.line or field.name in self._typed else GIVEN
        if not self.line or not field.address:
            return given
        own = field is provider.tenant and (
            _origin(provider, value) == "sandbox" or provider.owns(value)
        )
        return given if own else LINE

    def with_asked(self, names: Iterable[str]) -> Sources:
        """The same, with fields that are given because a person was asked for them."""
        mine = copy.copy(self)
        mine._asked |= frozenset(names)  # noqa: SLF001 - a copy of its own
        return mine

    def with_typed(self, names: Iterable[str]) -> Sources:
        """The same, with fields that a person has typed into a form."""
        mine = copy.copy(self)
        mine._typed |= frozenset(names)  # noqa: SLF001 - a copy of its own
        return mine

    def with_recalled(self, source: Source, values: Mapping[str, str]) -> Sources:
        """The same, with what was remembered, and where that is."""
        mine = copy.copy(self)
        mine._recalled = source, values  # noqa: SLF001 - a copy of its own
        return mine

    def each(
        self, provider: Provider, method: Method, found: Found
    ) -> Iterator[tuple[Source, Lookup]]:
        """Each source and its look-up, the first to be asked first.

        Why one does not serve goes to `found`.
        """
        yield ENVIRONMENT, _in_mapping(provider, self.environment, ENVIRONMENT, found)
        found.reasons += self._reasons
        if self._dotenv is not None:
            source, values = self._dotenv
            yield source, _in_mapping(provider, values, source, found)
        if self._recalled is not None:
            yield self._recalled[0], _in_values(self._recalled[1])
        for source, values in self._read(method.files, found.reasons) if method.files else ():
            yield source, _in_values(values)

    def _read(self, files: str, reasons: list[str]) -> list[tuple[Source, dict[str, str]]]:
        """What each of the vendor's files called `files` holds."""
        if files not in self._files:
            mine: list[str] = []
            self._files[files] = list(FILES[files](mine)), mine
        found, said = self._files[files]
        reasons += said
        return found


def _in_values(values: Mapping[str, str]) -> Lookup:
    return lambda wanted: (values.get(wanted.name, "").strip(), "")


def _in_mapping(
    provider: Provider, mapping: Mapping[str, str | None], source: Source, found: Found
) -> Lookup:
    """The look-up in environment variables, or in a file that holds the like."""

    def lookup(wanted: Field) -> tuple[str, str]:
        for env in (Env(variables(provider, wanted)[0]), *wanted.env):
            given = mapping.get(env.name)
            if given is None:
                continue
            try:
                value = unwrapped(env, healed(provider, wanted, _whole(env, given, mapping)))
                if value and env.full_host and "." not in value:
                    raise _Unrelated("was ignored, as it does not look like an address")
                if value:
                    return value, env.name
            except Unusable as error:
                found.reasons.append(f"{source.place(env.name)} {error}")
                found.ignored |= {env.name} if isinstance(error, _Unrelated) else set()
            except InvalidInput as error:
                found.reasons.append(f"{source.place(env.name)} was ignored ({error})")
        return "", ""

    return lookup


class _Unrelated(Unusable):
    """A variable is there for something else, so that another way to give the field is advised."""


def _whole(env: Env, value: str, mapping: Mapping[str, str | None]) -> str:
    """`value` with what stands in the variables beside `env`. Raises `Unusable`."""
    if not value.strip():
        raise Unusable("is empty")
    if env.unless and mapping.get(env.unless):
        raise _Unrelated(f"was ignored, {env.because}")
    if not _sendable(value):
        raise Unusable("was ignored, it is not text in UTF-8")
    if env.port and "://" not in value:
        port = mapping.get(env.port)
        return f"{mapping.get(env.scheme) or 'https'}://{value}{f':{port}' if port else ''}"
    return value


def _environment() -> Mapping[str, str]:
    """The environment variables of this process, as they are now."""
    return {name: Secret(value) for name, value in os.environ.items()}


def _dotenv(
    reasons: list[str], refused: list[str]
) -> tuple[Source, Mapping[str, str | None]] | None:
    """What the nearest `.env` holds; None where there is none that can be used."""
    try:
        path = nearest_dotenv()
    except OSError:
        reasons.append(".env: this notebook's folder is gone")
        return None
    if path is None:
        reasons.append(".env: there is none in this folder or above it")
        return None
    try:
        text = Secret(small_text(path, alone=True))
    except (OSError, ValueError) as error:
        refused.append(f".env: {path} was ignored ({why_unread(error)})")
        reasons += refused
        return None
    from dotenv import dotenv_values

    folder = "this folder" if path.parent == Path.cwd() else "a folder above this one"
    source = Source(DOTENV, Trust.TREE, str(path), f"from your .env in {folder}")
    return source, {
        name: value and Secret(value)
        for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items()
    }


def _sendable(value: str) -> bool:
    """Whether `value` is text that can be written in UTF-8 (a variable may hold any bytes)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _origin(provider: Provider, tenant: str) -> str:
    return "sandbox" if tenant.lower() == "sandbox" else provider.origin(tenant)


def main_variable(provider: Provider, wanted: Field, found: Found) -> str:
    """The variable to tell people of: one already in use that holds the plain value, else ours.

    For the tenant --tenant too; "" where its variable does not serve, so that only --tenant does.
    """
    plain = (env.name for env in wanted.env if not env.json_key)
    name = next(plain, variables(provider, wanted)[0])
    if wanted is not provider.tenant:
        return name
    return "" if name in found.ignored else f"{name} (or --tenant)"
