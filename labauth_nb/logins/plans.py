"""`Wish`, what was typed, and `Plan`, what is known of a sign-in and what is missing.

A plan is made before anything happens: nothing was sent, nobody was asked, and nothing is raised
because something is missing. What supplies fields on this computer is looked up once per wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..credentials import recalls, stores
from ..credentials import sources as credentials
from ..credentials.entries import REFRESH_TOKEN
from ..credentials.recalls import Recall
from ..credentials.sources import Found, Place, Sources
from ..credentials.stores import KEYRING
from ..credentials.trust import DEFAULT, DOTENV, ENVIRONMENT, GIVEN, LINE, SANDBOX, Doubt
from ..errors import (
    InvalidInput,
    LabauthError,
    MissingCredentials,
    StoreUnavailable,
    UntrustedOrigin,
    nearest,
    refuse_secret,
)
from ..masking import Fields, noticed, shown
from ..providers import Field, Method, Provider, find
from . import sharing
from .logins import sandbox_lab


@dataclass(frozen=True, repr=False)
class Wish:
    """What a person asked for, as it was typed.

    `provider`: its name; `method`, `tenant`, `name` (of the login): None where nothing was typed;
    `fields`: the method's fields by name, secret ones among them; `remember`: what to keep for the
    next kernel (`sharing.AUTO`, `entries.CREDENTIALS`, `entries.REFRESH_TOKEN`, "" for nothing),
    in `store`; `line`: whether it stands on a ``%labauth`` line, which is saved with the notebook.
    """

    provider: str
    method: str | None = None
    tenant: str | None = None
    name: str | None = None
    fields: Mapping[str, str | None] = field(default_factory=Fields)
    remember: str = ""
    store: str = KEYRING
    line: bool = False

    def __repr__(self) -> str:
        words = (self.provider, self.method, self.tenant, self.name, *self.fields)
        return f"<Wish: {' '.join(str(word) for word in words if word)}>"

    @property
    def given(self) -> dict[str, str]:
        """The fields that were given."""
        return {name: value for name, value in self.fields.items() if value is not None}


@dataclass(frozen=True, repr=False)
class Look:
    """What was looked up for a wish, once, and what has become of it since.

    `recall`: what is remembered, `spent`: whether its token has turned out to be expired (its
    fields are still good); `trouble`: why, or why nothing could be recalled; `agreed`: the
    addresses that the person has seen and gone on with.
    """

    sources: Sources
    recall: Recall | None = None
    spent: bool = False
    trouble: str = ""
    agreed: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class Plan:
    """A sign-in as far as it is known: see `plan`.

    `found`: the values with their sources and reasons; `recall`: what is remembered, where its
    token is to be used; `keeps`: what is to be remembered; `missing`: the fields that somebody has
    to supply; `doubts`: the addresses that a person has to say yes to first.
    """

    wish: Wish
    provider: Provider
    method: Method
    name: str
    found: Found
    recall: Recall | None
    keeps: str
    missing: list[Field]
    doubts: list[Doubt]
    look: Look

    def __repr__(self) -> str:
        missing = ", ".join(each.name for each in self.missing)
        return (
            f"<Plan: {self.provider.name}"
            f" {self.method.name}{f', missing: {missing}' * bool(missing)}>"
        )

    @property
    def sandboxed(self) -> bool:
        """Whether it goes to the embedded sandbox."""
        return is_sandbox(self.found.fields.get("tenant"))

    @property
    def ready(self) -> bool:
        """Whether it can be carried out, or begun in a browser, as it is."""
        return not self.missing and not self.doubts

    @property
    def places(self) -> list[Place]:
        """Where it goes, as far as it is known."""
        return credentials.places(self.provider, self.method, self.found)

    def filled(
        self,
        values: Mapping[str, str],
        seen: Iterable[str] = (),
        asked: bool = False,
        remember: str | None = None,
    ) -> Plan:
        """The plan with what a form or a prompt has brought; looks nothing up again.

        `seen`: addresses that the person has seen, and gone on with; `asked`: the values were asked
        for at a prompt, else typed into a form; `remember`: as in the wish, where that was chosen,
        too. Raises `InvalidInput` for a value that cannot be one.
        """
        tenant = values.get("tenant", self.wish.tenant) or None
        typed = {name: value for name, value in values.items() if name != "tenant"}
        fields = Fields({**self.wish.given, **typed})
        keeps = self.wish.remember if remember is None else remember
        wish = replace(
            self.wish, method=self.method.name, tenant=tenant, fields=fields, remember=keeps
        )
        sources = self.look.sources
        sources = sources.with_asked(values) if asked else sources.with_typed(values)
        return _planned(
            wish, replace(self.look, sources=sources, agreed=self.look.agreed | frozenset(seen))
        )

    def by(self, method: Method) -> Plan:
        """The plan for another method, with what was given for it."""
        if method is self.method:
            return self
        names = [each.name for each in method.fields]
        fields = Fields({name: value for name, value in self.wish.given.items() if name in names})
        return _planned(
            replace(self.wish, method=method.name, fields=fields, remember=""), self.look
        )

    def without_token(self, why: str) -> Plan:
        """The plan where what was remembered has expired: its fields are still good."""
        return _planned(self.wish, replace(self.look, spent=True, trouble=why))

    def wanted(self, error: LabauthError) -> Field | None:
        """The one-time code that `error` asks for; None: it asks for none, or it was given."""
        fields = (each for each in self.method.fields if each.once)
        return next(
            (f for f in fields if f.name == error.field and f.name not in self.found.sources), None
        )

    def error(self) -> LabauthError:
        """What is wrong with it where nobody can be asked: what is missing, and what to do."""
        if self.missing:
            return _job_error(self) if self.method.job_variable else _missing_error(self)
        if self.doubts:
            said = " ".join(map(str, self.doubts))
            return UntrustedOrigin(f"Nothing was sent. {said} If you trust it, {_remedy(self)}")
        return _browser_error(self)


def plan(wish: Wish, recalling: bool = True) -> Plan:
    """Everything that is known of a sign-in before its first request.

    What was typed, looked up, or remembered.

    Without `recalling` nothing that is remembered is used. Raises `InvalidInput` for a word that
    is not known, or a value that cannot be one.
    """
    for what, word in (("method", wish.method), ("tenant", wish.tenant), ("name", wish.name)):
        if word is not None and not isinstance(word, str):
            raise InvalidInput(f"{what} must be text, not {type(word).__name__}.")
    provider = find(wish.provider)
    _checked_name(wish.name or provider.name)
    if wish.method is not None:
        _allowed(provider, wish.method)
    look = Look(Sources(line=wish.line))
    if recalling and not _in_job(provider, look.sources):
        try:
            look = replace(look, recall=_recalled(wish, provider, look.sources))
        except StoreUnavailable as error:
            # what cannot be remembered can still be asked for
            look = replace(look, trouble=str(error))
    return _planned(wish, look)


def _planned(wish: Wish, look: Look) -> Plan:
    """The plan for `wish` by what was looked up."""
    provider = find(wish.provider)
    tenant = wish.tenant and credentials.healed(provider, provider.tenant, wish.tenant)
    given, known = wish.given, _known(wish, provider, tenant, look.recall)
    method = (
        provider.method(known.entry.method)
        if known and not given
        else _choose_method(wish, provider, tenant, look)
    )
    if known is not None and known.entry.method != method.name:
        known = None
    keeps = sharing.what_to_remember(provider, method, wish.remember, wish.store)
    _check_fields(provider, method, given)
    found, fits = _found(wish, method, tenant, known, look)
    recall = known if fits and not look.spent else None
    found.reasons += [look.trouble] if look.trouble else []
    noticed(found.fields.secrets())
    doubts: list[Doubt] = []
    if is_sandbox(found.fields.get("tenant")):
        found, missing = _on_sandbox(provider, method, given, found), []
    else:
        missing = _missing(provider, method, found, recall)
        doubts = [
            doubt
            for doubt in credentials.doubts(provider, method, found)
            if not _is_agreed(doubt, look)
        ]
    return Plan(
        wish,
        provider,
        method,
        _checked_name(wish.name or provider.name),
        found,
        recall,
        keeps,
        missing,
        doubts,
        look,
    )


def _found(
    wish: Wish, method: Method, tenant: str | None, known: Recall | None, look: Look
) -> tuple[Found, bool]:
    """What is there for `method`, and whether it is what is remembered: then its token is used."""
    provider, given, sources = find(wish.provider), wish.given, look.sources
    with_known = sources.with_recalled(known.source, known.values) if known else sources
    found = credentials.collect(provider, method, tenant, given, with_known)
    if known is None or known.fits(found):
        return found, known is not None
    if not known.fits(found, secrets=False):
        # A client's secret goes with no other client.
        found = credentials.collect(provider, method, tenant, given, sources)
        found.reasons.append(f"{known.source.noun} was ignored: it is of another client or address")
    # the environment has other credentials by now: they win, and share no token
    return found, False


def _known(
    wish: Wish, provider: Provider, tenant: str | None, recall: Recall | None
) -> Recall | None:
    """What is remembered, unless another method or tenant was asked for."""
    if recall is None or (wish.method and provider.method(wish.method).name != recall.entry.method):
        return None
    if not tenant:
        return recall
    field, own = provider.tenant, recall.entry.tenant
    same = credentials.address_of(provider, field, tenant) == credentials.address_of(
        provider, field, own
    )
    return recall if same else None


def _missing(
    provider: Provider, method: Method, found: Found, recall: Recall | None
) -> list[Field]:
    """The fields that have no value and need one."""
    missing = found.missing(method)
    if recall is not None and recall.entry.remember == REFRESH_TOKEN:
        # the refresh token stands for the secret
        missing = [f for f in missing if method.flow and not f.secret]
    return missing if "tenant" in found.fields else [provider.tenant, *missing]


def _is_agreed(doubt: Doubt, look: Look) -> bool:
    return doubt.address in look.agreed or stores.agreed(doubt.key, doubt.address)


def _check_fields(provider: Provider, method: Method, given: Mapping[str, str]) -> None:
    """Raise `InvalidInput` where one of `given` is not a field of the method, or not text."""
    names = [f.name for f in method.fields]
    for name, value in given.items():
        if name not in names:
            raise nearest(name, names, f"field of {provider.title} {method.name}")
        if not isinstance(value, str):
            raise InvalidInput(f"{name} must be text, not {type(value).__name__}.")


def _recalled(wish: Wish, provider: Provider, sources: Sources) -> Recall | None:
    """What is remembered of that name, unless the environment or the admin says otherwise.

    Where several tenants are remembered, what comes after memory in the order of sources may say
    which.
    """
    name = _checked_name(wish.name or provider.name)
    method = None if wish.method is None else _allowed(provider, wish.method).name
    tenant = wish.tenant and credentials.healed(provider, provider.tenant, wish.tenant)
    heads = recalls.candidates(provider, name, method, tenant)
    if not heads:
        return None
    if tenant is None:
        found = credentials.collect(
            provider, provider.method(method or heads[0].method), None, {}, sources
        )
        source = found.sources.get("tenant")
        if source in (ENVIRONMENT, DOTENV) or (len(heads) > 1 and source != DEFAULT):
            tenant = found.fields.get("tenant")
    recall = recalls.recall(provider, name, method, tenant)
    return (
        recall
        if recall is None or provider.method(recall.entry.method) in credentials.allowed(provider)
        else None
    )


def _in_job(provider: Provider, sources: Sources) -> bool:
    """Whether this is a place that signs in by itself (inside a job)."""
    return any(m.job_variable and sources.environment.get(m.job_variable) for m in provider.methods)


def _allowed(provider: Provider, name: str) -> Method:
    """The method called `name`.

    Raises `InvalidInput` where there is none, or the admin does not allow it.
    """
    method, methods = provider.method(name), credentials.allowed(provider)
    if method not in methods:
        names = ", ".join(m.name for m in methods)
        raise InvalidInput(
            f"{provider.title} {method.name} is not allowed here by your admin (LabAuth.methods)."
            f" Choose: {names}."
        )
    return method


def is_sandbox(tenant: str | None) -> bool:
    """Whether `tenant` is the embedded sandbox."""
    return (tenant or "").strip().lower() == "sandbox"


def _choose_method(wish: Wish, provider: Provider, tenant: str | None, look: Look) -> Method:
    """The method asked for; else the one whose fields were given.

    Else one that the environment supplies; else the default.

    A browser method is chosen by itself only where it is the default, or where something of it was
    preset.
    """
    if wish.method is not None:
        return _allowed(provider, wish.method)
    methods, given = credentials.allowed(provider), wish.given
    if given:
        fitting = [m for m in methods if set(given) <= {f.name for f in m.fields}]
        return fitting[0] if fitting else methods[0]
    if is_sandbox(tenant):
        return methods[0]
    for method in methods:
        if method.job_variable and look.sources.environment.get(method.job_variable):
            return method
    for method in methods:
        if not method.job_variable:
            found = credentials.collect(provider, method, tenant, {}, look.sources)
            preset = {source for field, source in found.sources.items() if field != "tenant"} - {
                DEFAULT
            }
            if not found.missing(method) and (preset or not method.flow):
                return method
    return methods[0]


def _checked_name(name: str) -> str:
    name = name.strip()
    refuse_secret(name, "The name")
    if not name or any(c.isspace() or not c.isprintable() for c in name) or name.startswith("-"):
        said = f"{shown(name)} cannot name a login"
        raise InvalidInput(f"{said}: use one word, such as benchling-prod.")
    return name


def _on_sandbox(
    provider: Provider, method: Method, given: Mapping[str, str], before: Found
) -> Found:
    """The sandbox's own credentials, and what was given or remembered instead of them."""
    found, own = Found(), sandbox_lab().credentials(provider.name, method.name)
    found.take(provider.tenant, "sandbox", before.sources["tenant"], before.variables["tenant"])
    for each in method.fields:
        source = before.sources.get(each.name)
        if each.name in given:
            found.take(each, before.fields.get(each.name, ""), source or GIVEN)
        elif source is not None and source in stores.STORES:
            found.take(each, before.fields[each.name], source)
        elif value := own.get(each.name):
            found.take(each, value, SANDBOX)
        elif each.default:
            found.take(each, each.default, DEFAULT)
    return found


def _missing_error(plan: Plan) -> MissingCredentials:
    """What is missing, which variables would supply it, and what to run."""
    provider, method, found = plan.provider, plan.method, plan.found
    *first, last = [f.label for f in plan.missing]
    labels = f"{', '.join(first)} and {last} are" if first else f"{last} is"
    # an address says whose it is: "Benchling address"
    whose = "" if provider.tenant in plan.missing else f"{provider.title} "
    names = ", ".join(
        filter(None, (credentials.main_variable(provider, f, found) for f in plan.missing))
    )
    ways = [f"set {names} in the environment or in a .env file"] if names else []
    if provider.tenant in plan.missing and "--tenant" not in names:
        ways.append(f"give the {provider.tenant.label} with --tenant")
    told = " and ".join(ways)
    more = f" ({'; '.join(found.reasons)})" if found.reasons else ""
    several = f" --method {method.name}" if method is not provider.methods[0] else ""
    tenant = f" --tenant {found.fields['tenant']}" if found.sources.get("tenant") == GIVEN else ""
    return MissingCredentials(
        f"{whose}{labels} missing, and this run is not interactive."
        f" {told[0].upper()}{told[1:]}{more}, or run this cell interactively: %labauth login"
        f" {provider.name}{tenant}{several}{as_option(plan)}",
        field=plan.missing[0].name,
    )


def _job_error(plan: Plan) -> MissingCredentials:
    """The error where a job's own method is asked for, and this is not a job."""
    why = f" ({'; '.join(plan.found.reasons)})" if plan.found.reasons else ""
    names = ", ".join(variable for f in plan.missing for variable in f.variables)
    return MissingCredentials(
        f"This does not look like a {plan.provider.title} job: {names} is not set{why}. "
        f"Outside a job, type %labauth login {plan.provider.name}"
    )


def _browser_error(plan: Plan) -> MissingCredentials:
    """The error where a browser method is asked for, and nobody with a browser can be reached."""
    provider, method = plan.provider, plan.method
    others = " or ".join(
        f"--method {m.name}"
        for m in credentials.allowed(provider)
        if not m.flow and not m.job_variable
    )
    remember = ", once with --remember" if method.refreshes else ""
    return MissingCredentials(
        f"{provider.title} {method.name} needs a person with a browser, and this run is not"
        f" interactive.{spent_note(plan)} Run %labauth login {provider.name} --method {method.name}"
        f" interactively{remember}; or use {others}."
    )


def spent_note(plan: Plan) -> str:
    """Why what was remembered is not used, where it has expired."""
    return f" (The remembered login has expired: {plan.look.trouble})" if plan.look.spent else ""


def as_option(plan: Plan) -> str:
    """The option that names its login, where that is not the provider's name."""
    return f" --as {plan.name}" if plan.name != plan.provider.name else ""


def _remedy(plan: Plan) -> str:
    """What to type where an address in doubt is right.

    It is then named by somebody who is trusted enough.
    """
    provider, method, sources = plan.provider, plan.method, plan.look.sources
    if not plan.wish.line:
        return f"pass {', '.join(f'{doubt.field}={doubt.address!r}' for doubt in plan.doubts)}."
    fields = {f.name: f for f in (provider.tenant, *method.fields)}
    if all(
        sources.giver(provider, fields[d.field], d.address) is not LINE or not d.secrets
        for d in plan.doubts
    ):
        options = "".join(
            f" --{doubt.field.replace('_', '-')} {doubt.address}" for doubt in plan.doubts
        )
        way = f" --method {method.name}" if method is not provider.methods[0] else ""
        return f"type %labauth login {provider.name}{options}{way}{as_option(plan)}"
    names = ", ".join(
        f"{credentials.variables(provider, fields[d.field])[0]}={d.address}" for d in plan.doubts
    )
    return (
        f"run this cell once interactively, in a notebook or terminal, or set {names} in the"
        " environment."
    )
