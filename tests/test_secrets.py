"""No secret gets out: canaries for every method, searched in all that a kernel sends, stores and
logs."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from conftest import reading
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import Kernel

from labauth_nb import LabauthError, login, session, status
from labauth_nb.masking import Fields, Secret, looks_secret, scrub, scrub_code
from labauth_nb.providers import PROVIDERS, SECRET_FIELDS
from labauth_nb.sandbox import Lab

ALL = [(p.name, m.name) for p in PROVIDERS.values() for m in p.methods]


def spellings(secret: str) -> set[bytes]:
    """A secret as it is, URL-encoded, and in base64 at each of the three alignments (as in Basic
    authentication)."""
    raw, found = secret.encode(), {secret, quote(secret, safe=""), quote_plus(secret)}
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + raw).decode()
        found.add(coded[4 if shift else 0 : len(raw) * 4 // 3 - 4])
    return {text.encode() for text in found}


def leaks(secrets: list[str], *places: str | bytes) -> list[str]:
    """The secrets that stand in `places`, in any spelling."""
    raw = [place.encode() if isinstance(place, str) else place for place in places]
    return [
        secret for secret in secrets if any(s in place for s in spellings(secret) for place in raw)
    ]


def test_the_search_finds() -> None:
    """The search itself finds each spelling (else the tests below could not fail)."""
    secret = "canary/with+odd=signs-0001"
    for place in (
        secret,
        quote_plus(secret),
        base64.b64encode(f"id:{secret}".encode()),
        base64.b64encode(f"{secret}:".encode()),
    ):
        assert leaks(
            [secret],
            b"before " + (place if isinstance(place, bytes) else place.encode()) + b" after",
        )


SETUP = r"""
import logging, sys, io
_log = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=_log, force=True)
%xmode Verbose
%load_ext labauth_nb
import labauth_nb, labauth_nb.notebook.panel, pickle
labauth_nb.notebook.panel.HELLO_SECONDS = 0.1  # no page says hello to this kernel
from labauth_nb.sandbox import running
from labauth_nb.logins import logins
lab_ = running()
def held():
    "Every secret of the logins of this kernel, and every token of the sandbox, in a file."
    with open('held.txt', 'a') as f:
        for each in logins._LOGINS.values():
            f.writelines(s + '\n' for s in each.secrets())
        for site in lab_.sites.values():
            f.writelines(s + '\n' for s in (*site.tokens, *site.refresh_tokens))
import secrets as _secrets
def _token_urlsafe(n, _real=_secrets.token_urlsafe):
    "State, verifier and nonce; the sandbox's codes, refresh tokens and session cookies."
    value = _real(n)
    if n >= 24:  # less: what the page fetches to prove where it runs, and its style's nonce
        with open('held.txt', 'a') as f:
            f.write(value + '\n')
    return value
_secrets.token_urlsafe = _token_urlsafe
def home(change=str):
    "Begin, and come home from the provider's page; `change` spoils the response."
    global attempt
    attempt = labauth_nb.begin(provider, method, tenant='sandbox', name='NAME')
    return attempt.answer(change(lab_.visit(attempt.url)))
"""
SPOILED = [
    "lambda address: address.replace('state=', 'state=kanari')",
    "lambda address: address.replace('code=', 'code=kanari')",
    "lambda address: address.partition('?')[0]",
    "lambda address: address.replace('code=', 'error=access_denied&x=')",
    "lambda address: address + '&code=kanari'",
    "lambda address: 'http://['",
]
"""What may come home instead of the response."""
AFTER = r"""
held()
login_, lab = logins.get('NAME'), labauth_nb.session('NAME')
print(labauth_nb.status(), lab, lab.auth, login_)
login_._tokens.current, login_._exchange, login_._exchange.fields, vars(login_)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[bytes]]:
    """All methods, right and wrong, typed at prompts in one kernel: (the secrets, everything that
    could hold one)."""
    folder = tmp_path_factory.mktemp("secrets")
    kernel = Kernel(folder, {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")})
    secrets: list[str] = []
    kernel.run(SETUP)
    try:
        for provider, method in ALL:
            if method == "job":
                continue  # nothing is typed; its token is the environment's (below)
            kernel.run(
                f"lab_.reset()\norigin, fields = lab_.origin('{provider}'),"
                f" lab_.credentials('{provider}', '{method}')"
            )
            origin = kernel.text("print(origin)").strip()
            # The typed secrets go through a file, not through an output.
            kernel.run(
                "open('fields.txt', 'w').write('\\n'.join(f'{k}={v}' for k, v in fields.items()))"
            )
            fields = dict(
                line.split("=", 1) for line in (folder / "fields.txt").read_text().splitlines()
            )
            chosen = PROVIDERS[provider].method(method)
            read = f"labauth_nb.session('NAME').{reading(provider)}"
            if chosen.flow:
                in_the_browser(kernel, provider, method, read)
                continue
            wanted = [f for f in chosen.fields if not f.optional]
            good = [fields[f.name] for f in wanted]
            line = f"%labauth login {provider} --method {method} --tenant {origin} --as NAME"
            bad = [
                f"kanari-{provider}-{method}-{f.name}-0001" if f.secret else fields[f.name]
                for f in wanted
            ]
            secrets += [value for f, value in zip(wanted, bad, strict=True) if f.secret]
            secrets += [value for f, value in zip(wanted, good, strict=True) if f.secret]
            refused = kernel.run(line, bad)
            assert refused[-1]["output_type"] == "error", (provider, method)
            # A refusal must not end a login that is there; a server that is gone must not print
            # what was sent.
            kernel.run(
                f"%labauth login {provider} --method {method} --tenant http://127.0.0.1:1 --as"
                " NAME",
                bad,
            )
            assert "Signed in" in kernel.text(line, good), (provider, method)
            kernel.run(
                f"r = {read}; r, r.request.headers, vars(r.request), r.raw, pickle.dumps(r),"
                " pickle.dumps(r.request)"
            )
            kernel.run(AFTER)
            for lever in ("lab_.revoke", "lab_.expire"):
                kernel.run(f"{lever}('{provider}')\n{read}\nheld()")
            for answer in ("500", "'html'", "'truncated'"):
                kernel.run(f"lab_.next('{provider}', {answer})\n{read}.raise_for_status()")
            kernel.run(f"lab_.next('{provider}', 'slow', seconds=1)\n{read[:-1]}, timeout=0.1)")
            kernel.run("1 / 0 * logins.get('NAME')._tokens.current")
            kernel.run("pickle.dumps(labauth_nb.session('NAME'))")
            kernel.run("pickle.dumps(logins.get('NAME'))")
            kernel.run("pickle.dumps(logins.get('NAME')._exchange)")
            kernel.run(
                "lab_.advance('9d')\nlabauth_nb.session('NAME')." + reading(provider) + "\nheld()"
            )
            kernel.run("%labauth refresh NAME")
            kernel.run("held()")
            kernel.text("%labauth logout NAME", ["n"])
        kernel.run(
            "print(_log.getvalue())\n%history"
            " -g\nget_ipython().history_manager.writeout_cache()\n%tb"
        )
        kernel.run("print(In, _ih, globals().get('_oh'))")
    finally:
        kernel.stop()
    secrets += [
        s.removeprefix("Bearer ").removeprefix("Basic ")
        for s in (folder / "held.txt").read_text().splitlines()
    ]
    stored = [path.read_bytes() for path in (folder / "ipython").rglob("*") if path.is_file()]
    assert any(b"labauth login" in content for content in stored), "the history file was not found"
    return sorted(set(secrets)), [message.encode() for message in kernel.messages] + stored


def in_the_browser(kernel: Kernel, provider: str, method: str, read: str) -> None:
    """One method with a browser: its bad answers, a token endpoint that is down, the sign-in,
    renewals, the log out."""
    kernel.run(f"provider, method = '{provider}', '{method}'")
    site = "idp" if method == "oidc" else provider
    shown = (
        "attempt, vars(attempt), vars(attempt._exchange), str(attempt), [attempt.url], {'url':"
        " attempt.url}"
    )
    for change in SPOILED:
        spoiled = kernel.run(f"home({change})")[-1]
        assert spoiled["output_type"] == "error", (provider, method, change)
        assert len(spoiled["traceback"]) == 1, spoiled["traceback"]
        kernel.run(shown)
    for answer in ("503", "'html'", "'truncated'"):
        kernel.run(f"lab_.next('{site}', {answer}, times=5, path='token')\nhome()")
        kernel.run(f"lab_.sites['{site}'].faults.clear()")
    if site == "idp":
        for fault in ("none", "hs256", "nonce", "signature", "no_email"):
            assert (
                kernel.run(f"lab_.set('idp', fault='{fault}')\nhome()")[-1]["output_type"]
                == "error"
            )
        kernel.run("lab_.set('idp', fault='', interval=0.1)")
    kernel.run("home(); 1 / 0 * attempt")
    assert "Signed in" in kernel.text("home()"), (provider, method)
    kernel.run(f"held()\n{shown}")
    kernel.run(
        f"r = {read}; r, r.request.headers, vars(r.request), r.raw, pickle.dumps(r),"
        " pickle.dumps(r.request)"
    )
    kernel.run(AFTER)
    kernel.run("pickle.dumps(attempt)")
    kernel.run("attempt.answer('https://kanari.example/?code=kanari&state=kanari')")
    for lever in ("lab_.revoke", "lab_.expire"):
        kernel.run(f"{lever}('{site}')\n{read}\nheld()")
    kernel.run(f"lab_.advance('2h')\n{read}\nheld()")
    kernel.run("%labauth refresh NAME")
    if site == "idp":
        kernel.run(
            "attempt = labauth_nb.begin(provider, method, tenant='sandbox',"
            " name='NAME')\nattempt.device()[0]"
        )
        kernel.run(
            f"lab_.visit(attempt.device_link) and None\nprint(attempt.wait(10))\nheld()\n{shown}"
        )
    kernel.run("held()")
    assert "Signed out" in kernel.text("%labauth logout NAME")


@pytest.mark.timeout(600)  # a hundred cells, some of them slow
def test_kernel_gives_no_secret_away(recorded: tuple[list[str], list[bytes]]) -> None:
    """In every iopub message, log line at DEBUG, Verbose traceback, pickle and history file: 0 of
    the secrets."""
    secrets, places = recorded
    assert len(secrets) > 150
    assert len(places) > 500
    print(f"{len(secrets)} canaries searched in {len(places)} messages and files")
    assert leaks(secrets, *places) == []


def test_job_token(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A job's token stays where it was: in the environment, in no repr, log, error or pickle."""
    caplog.set_level(logging.DEBUG)
    token = lab.credentials("dnanexus", "job")["token"]
    mine = login("dnanexus", "job", tenant=lab.origin("dnanexus"), token=token)
    lab.revoke("dnanexus")
    answer = session("dnanexus").post("system/whoami", json={})
    with pytest.raises(LabauthError) as caught:
        session("dnanexus").check(answer)
    texts = [
        repr(mine),
        repr(status()),
        status()._repr_html_(),
        repr(vars(mine)),
        str(caught.value),
        caplog.text,
    ]
    texts += traceback.format_exception(caught.value)
    assert leaks([token], *texts, pickle.dumps(session("dnanexus")), pickle.dumps(answer)) == []


@pytest.mark.parametrize(("provider", "method"), ALL)
def test_errors_hold_no_secret(lab: Lab, provider: str, method: str, tmp_path: Path) -> None:
    """An error of a refused sign-in, pickled, shown or taken apart with its response, holds no
    secret."""
    field = PROVIDERS[provider].method(method).secret.name
    secret = "kanari-of-a-refused-sign-in-0001"
    with pytest.raises(LabauthError) as caught:
        login(provider, method, tenant="sandbox", **{field: secret})
    error = caught.value
    request = getattr(getattr(error, "response", None), "request", None)
    parts = [
        str(error),
        repr(error),
        repr(vars(error)),
        *error._render_traceback_(),
        repr(vars(request)) if request else "",
    ]
    assert error.__cause__ is None
    assert leaks([secret], *parts, pickle.dumps(getattr(error, "response", None))) == []


@settings(deadline=None)  # a time says how busy the computer is
@given(st.text(min_size=4, alphabet=st.characters(min_codepoint=33, max_codepoint=126)))
def test_reprs(secret: str) -> None:
    """Whatever a secret looks like: no repr of it, of a dict or a list with it, or of an f-string
    with !r shows it."""
    secret = "kanari" + secret
    fields = Fields(api_key=Secret(secret))
    for text in (repr(Secret(secret)), f"{fields}", repr([Secret(secret)]), f"{Secret(secret)!r}"):
        assert "kanari" not in text
    assert fields.secrets() == [secret]
    for holder in (Secret(secret), fields):
        with pytest.raises(TypeError, match="sign in again"):
            pickle.dumps(holder)


def test_copies() -> None:
    """A copy of a secret, alone or deep in a request's headers, is that same masked object."""
    secret = Secret("kanari-to-be-copied-0001")
    for copied in (
        copy.copy(secret),
        copy.deepcopy(secret),
        copy.deepcopy({"Authorization": [secret]})["Authorization"][0],
    ):
        assert copied is secret


@settings(deadline=None)  # a time says how busy the computer is
@given(st.text(min_size=4), st.text())
def test_scrub(secret: str, around: str) -> None:
    """A server that echoes a secret, plain, URL-encoded or in Basic, is masked."""
    for spelling in (
        secret,
        quote(secret, safe=""),
        base64.b64encode(secret.encode() + b":").decode(),
    ):
        assert spelling not in scrub(
            f"<{around.replace(spelling, '')}{spelling}>", [secret]
        ).replace("***", "")


@pytest.mark.parametrize(
    "code",
    [
        "%labauth login benchling --client-secret kanari0001",
        "%labauth login benchling --client_secret=kanari0001",
        '%labauth login x --api-key "kanari 0001"',
        "labauth_nb.login('benchling', client_secret='kanari0001')",
        'labauth_nb.login("benchling", **{"api_key": "kanari0001"})',
        "labauth_nb.login('x', 'y', password = r'kanari0001')",
        "key = 'sk_kanari0001abc'",
        "t = 'eyJkanari0001abc.eyJkanari0001.kanari0001'",
    ],
)
def test_scrub_code(code: str) -> None:
    """What looks like a secret in a cell is taken out, the rest of the cell stays."""
    cleaned = scrub_code(code, SECRET_FIELDS)
    assert "kanari" not in cleaned
    assert cleaned[:4] == code[:4]
    assert (
        scrub_code("%labauth login benchling --tenant acme", SECRET_FIELDS)
        == "%labauth login benchling --tenant acme"
    )


@pytest.mark.parametrize(
    "word",
    [
        "sk_kanari0001abc",
        "https://acme.benchling.com/?key=sk_kanari0001abc",
        "eyJkanari0001abc.eyJkanari0001.kanari0001",
        "kanari1f8Q2z7Lp0Xw9Vt3",
        "kanari0123456789canary0001",
        "12345678901234567890123",
        "A1b2c3-D4e5F6-G7h8I9-J0k1",
        "aBcDeFgHiJkLmNoPqRsTuVwXyZ",
        "kanari/1f8Q2z7Lp0Xw+9Vt3==",
        "kanari1f8Q2z7Lp0Xw9Vt3.benchling.com",
        "0f9c2b7e-4d1a-4c55-9e21-7a60c1d2e3f4",
        "https://ada:kanari@acme.benchling.com",
        "ada:kanari@acme.benchling.com",
    ],
)
def test_looks_secret(word: str) -> None:
    """A key, a JWT, a password in an address and a word that nobody can read out look secret."""
    assert looks_secret(word)


@pytest.mark.parametrize(
    "word",
    [
        "acme",
        "acme-biotech-sandbox-2",
        "acme.usw-16.palantirfoundry.com",
        "lab1234567.palantirfoundry.com",
        "benchling-production-eu-west-1",
        "benchling-prod-20261121",
        "qc-run-20261121T0900-evening",
        "takeda-pharma2024test",
        "thermofisher2023sandbox",
        "institute-for-genomics2",
        "foundry-prod-0123456789.corp.example",
        "ec2-12-34-56-78.example.org",
        "http://127.0.0.1:43211",
        "https://acme.benchling.com/plates/1",
        "https://acme.benchling.com/acme/f/lib_7sBQ1vtU-plates/seq_Xk29fj3a9d-one/edit",
        "https://hub.example.org:8000/user/ada@example.org/proxy/absolute/8765/home",
    ],
)
def test_looks_like_a_name(word: str) -> None:
    """Names of tenants and logins, and a page's address with identifiers in it, are no secrets."""
    assert not looks_secret(word)
