"""The verbs that may ask a person, in Python and at a prompt.

Login, begin, refresh, logout; and the prompts.

Each renders the same plan as the panel does: what is missing is asked for, an address in doubt
wants a yes, and a browser method shows its link. Where nobody can be asked, the plan's own error is
raised.
"""

from __future__ import annotations

import getpass
import sys
import webbrowser
from collections.abc import Mapping
from typing import Any

from ..credentials.sources import allowed, healed
from ..errors import InvalidInput, MissingCredentials, NotSignedIn, SignInRefused, UntrustedOrigin
from ..logins import logins, plans, sharing, signins
from ..logins.logins import Login
from ..logins.plans import Plan, Wish
from ..masking import Secret, noticed
from ..providers import PLAIN_FIELDS, Field, find
from ..tokens.attempts import DONE, OVER, Attempt


def login(  # noqa: PLR0913 - what a user types, by name
    provider: str,
    method: str | None = None,
    *,
    tenant: str | None = None,
    name: str | None = None,
    remember: bool | str = False,
    store: str = "keyring",
    **fields: str,
) -> Login:
    """Sign in, and keep the login under `name` (the provider's name by default).

    One of that name is replaced.

    `provider`, `method`: see `labauth_nb.providers.PROVIDERS`; `tenant`: in any spelling, or
    "sandbox"; `fields`: the method's fields, such as ``client_secret=os.environ["X"]``; what is not
    given is looked up, then asked for. `remember`: True, "credentials" or "refresh-token" keeps
    that for the next kernel in `store`, the operating system's "keyring", or a "file" that only you
    can read. Where it cannot be kept, you are signed in all the same, and a line on stderr says
    why.

    Raises `InvalidInput`, `MissingCredentials`, `SignInRefused`, `ProviderUnreachable`,
    `LoginExpired`.
    """
    wish = Wish(provider, method, tenant, name, _veiled(fields), _word(remember), store)
    del fields
    mine = sign_in(plans.plan(wish))
    if mine.kept.startswith(signins.NOT_REMEMBERED):  # a script shows no repr
        print(mine.kept, file=sys.stderr)
    return mine


def begin(  # noqa: PLR0913 - what a user types, by name
    provider: str,
    method: str | None = None,
    *,
    tenant: str | None = None,
    name: str | None = None,
    remember: bool | str = False,
    store: str = "keyring",
    **fields: str,
) -> Attempt:
    """Begin to sign in with a browser, and give the `Attempt`.

    Open its `url`, then `wait` for the login, or hand `answer` the address that the browser
    landed on. The arguments, and what is raised, are those of `login`.
    """
    if method is None:
        method = next((m.name for m in allowed(find(provider)) if m.flow), None)
    wish = Wish(provider, method, tenant, name, _veiled(fields), _word(remember), store)
    del fields
    return signins.attempt(plans.plan(wish, recalling=False), attended=can_ask())


def refresh(name: str | None = None) -> Login:
    """Renew the token of `name` now.

    Raises `NotSignedIn`, `LoginExpired` (a pasted token) and what grants raise.
    """
    result = logins.get(name)
    result.refresh(can_ask())
    return result


def logout(
    name: str | None = None, *, all: bool = False, revoke: bool | None = None, forget: bool = False
) -> list[str]:
    """Log out of `name` (None: the only one) or `all`: forget, and revoke where that is offered.

    `revoke`: True revokes a pasted token too, False nothing; None asks about a pasted one. A login
    that is remembered is forgotten there too; `forget`: also one that this kernel has not signed in
    to, with `all` everything that is remembered. Gives a message for each.
    """
    if all and name is not None:
        raise InvalidInput(
            "Log out of one login or of all of them, not both: leave out the name or --all."
        )
    names = None if all else name
    return logins.logout(
        names, all=all, revoke=_confirmed if revoke is None and can_ask() else revoke, forget=forget
    )


def _confirmed(login: Login) -> bool:
    return confirm(
        f"Destroy the pasted {login.method.secret.label} at {login.provider.title} for good?"
    )


def _word(remember: bool | str) -> str:
    return sharing.AUTO if remember is True else remember or ""


def _veiled(fields: Mapping[str, str]) -> dict[str, str | None]:
    """Masked from the first line on, as a traceback with locals shows what stands there."""
    secrets = {name: _masked(value) for name, value in fields.items() if name not in PLAIN_FIELDS}
    noticed(value for value in secrets.values() if isinstance(value, str))
    return {**fields, **secrets}


def _masked(value: str) -> str:
    return Secret(value) if isinstance(value, str) else value


def sign_in(plan: Plan) -> Login:
    """Carry out a plan, with a person at a prompt where there is one. Raises as `login`."""
    attended = can_ask()
    result = signins.resumed(_filled(plan) if attended else plan, attended)
    if isinstance(result, Login):
        return result
    plan = _filled(result) if attended else result
    if plan.method.flow is not None and plan.ready:
        if not in_terminal():
            raise _use_the_panel(plan) if attended else plan.error()
        return _browsed(signins.attempt(plan, attended=True))
    try:
        return signins.carry_out(plan, attended)
    except SignInRefused as error:
        code = plan.wanted(error)
        if code is None or not attended:
            raise
        plan = plan.filled({code.name: ask(plan, code)}, asked=True)
    return signins.carry_out(plan, attended)


def _filled(plan: Plan) -> Plan:
    """The plan with what a person gives at prompts, and a yes to the addresses in doubt.

    Raises `MissingCredentials` for no answer, `UntrustedOrigin` for no yes.
    """
    if plan.missing and plan.method.job_variable:
        raise plan.error()
    while plan.missing:
        wanted = plan.missing[0]
        seen = [place.address for place in plan.places if wanted.secret]
        plan = plan.filled({wanted.name: ask(plan, wanted)}, seen, asked=True)
    if not plan.doubts:
        return plan
    said = " ".join(map(str, plan.doubts))
    large = "".join(f"    {doubt.address}\n" for doubt in plan.doubts)
    if not confirm(f"{said}\n\n{large}\nGo on?"):
        raise UntrustedOrigin(f"Nothing was sent, because you did not answer yes. {said}")
    return signins.agreed(plan, {doubt.address for doubt in plan.doubts})


def _use_the_panel(plan: Plan) -> MissingCredentials:
    """The error where Python asks for a browser method in a notebook, whose outputs are saved.

    No link is printed there.
    """
    tenant = "sandbox" if plan.sandboxed else plan.found.fields["tenant"]
    return MissingCredentials(
        f"{plan.provider.title} {plan.method.name} signs in with a browser. In a notebook type"
        f" %labauth login {plan.provider.name} --tenant {tenant} --method"
        f" {plan.method.name}{plans.as_option(plan)}, which shows a link.{plans.spent_note(plan)}"
    )


def _browsed(attempt: Attempt) -> Login:
    """Sign in with a browser from a terminal.

    The page is opened, and its answer waited for, or pasted.
    """
    address = str.__str__(attempt.url)
    opened = webbrowser.open(address)
    what = "Sign in on the page that has opened" if opened else "Open this address and sign in"
    print(
        f"{what}:\n{address}",
        *([attempt.error] if attempt.error else []),
        sep="\n",
        file=sys.stderr,
    )
    try:
        question = (
            "Then press Enter here; if the browser could not come back, paste the address that it"
            " landed on: "
        )
        while attempt.state not in (DONE, OVER):
            _answered(attempt, getpass.getpass(question))
        result: Login = attempt.wait(1)
        return result
    except (KeyboardInterrupt, EOFError):
        attempt.cancel()
        raise NotSignedIn("The sign-in was cancelled.") from None


def _answered(attempt: Attempt, pasted: str) -> None:
    """Hand the attempt what was pasted ("": only Enter was pressed)."""
    if attempt.state in (DONE, OVER):
        return
    if not pasted.strip():
        print(attempt.error or "No response has come from the browser yet.", file=sys.stderr)
        return
    try:
        attempt.answer(pasted)
    except InvalidInput as error:
        print(error, file=sys.stderr)


def can_ask() -> bool:
    """Whether somebody can answer a prompt: not in nbconvert, papermill, nbclient or a pipe."""
    ip = _ipython()
    if ip is not None and getattr(ip, "kernel", None) is not None:
        try:
            return bool(ip.get_parent()["content"]["allow_stdin"])
        except (LookupError, TypeError):  # LookupError: in a thread, on ipykernel 7.0
            return False
    return bool(sys.stdin) and sys.stdin.isatty()


def in_terminal() -> bool:
    """Whether somebody sits at a terminal: what is printed there is saved nowhere."""
    return getattr(_ipython(), "kernel", None) is None and can_ask()


def ask(plan: Plan, wanted: Field) -> str:
    """Ask for one field here, saying where it goes: secrets by getpass, which keeps no answer.

    Raises `MissingCredentials` for no answer.
    """
    goes = " and ".join(str(place) for place in plan.places)
    whose = "Your" if wanted is plan.provider.tenant else plan.provider.title
    prompt = f"{whose} {wanted.label}{f' for {goes}' if goes else ''} ({wanted.hint}): "
    try:
        answer = Secret(getpass.getpass(prompt)) if wanted.secret else input(prompt)
    except (EOFError, KeyboardInterrupt):
        answer = ""
    except Exception as error:  # IPython's StdinNotImplementedError has no public home
        if type(error).__name__ != "StdinNotImplementedError":
            raise
        answer = ""
    if not answer.strip():
        raise MissingCredentials(
            f"No {wanted.label} was given, so you are not signed in to {plan.provider.title}."
        )
    if wanted.secret:
        noticed([answer.strip()])
    return healed(plan.provider, wanted, answer)


def confirm(question: str) -> bool:
    """Ask a yes-or-no question; no answer is no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def _ipython() -> Any:
    """The running IPython shell, or None. IPython is not imported for it."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
