"""%labauth in a real ipykernel: what a person types, and reads."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.core import completer
from kernels import Kernel

from labauth_nb import InvalidInput
from labauth_nb.notebook import options
from labauth_nb.notebook.lines import _clean_lines
from labauth_nb.notebook.magic import seconds_in
from labauth_nb.notebook.options import TEACH, VERBS, choices, verbs
from labauth_nb.providers import PLAIN_FIELDS, PROVIDERS


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    it = Kernel(folder, {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")})
    # No page says hello to this kernel; that the prompt comes after 3 s is tested with the panel.
    it.run(
        "%load_ext labauth_nb\nimport labauth_nb.notebook.panel;"
        " labauth_nb.notebook.panel.HELLO_SECONDS = 0.1"
    )
    yield it
    it.stop()


def test_the_straight_path(kernel: Kernel) -> None:
    """Load, log in, session, data, expiry, renewal, log out: each cell prints what the README
    shows."""
    assert (
        kernel.text("%labauth login benchling --tenant sandbox")
        == "SANDBOX: Signed in to Benchling (sandbox), method app; time left: 15 min; credentials"
        " from the sandbox."
    )
    assert (
        kernel.text(
            "lab = %labauth session benchling\nlab.get('plates').json()['plates'][0]['name']"
        )
        == "'Cell viability plate 001'"
    )
    kernel.run("%labauth sandbox advance 16m")
    assert "expired  0 min; renews on next request" in kernel.text("%labauth status")
    assert kernel.text("lab.get('plates')") == "<Response [200]>"
    assert "valid   15 min" in kernel.text("%labauth status benchling")
    assert "Signed out of Benchling (sandbox)." in kernel.text("%labauth logout benchling")
    assert kernel.text("lab.get('plates')").startswith("NotSignedIn: benchling is signed out.")


@pytest.mark.parametrize("cell", ["%labauth login benchlin", "await pause(0)"])
def test_each_cell_ends_as_itself(kernel: Kernel, cell: str) -> None:
    """Of cells that await and are run at once, with a page's hellos between, the kernel says of
    each that it has ended."""
    client = kernel.client
    kernel.run("import time\nfrom asyncio import sleep as pause")
    sent = [client.execute("time.sleep(0.2)")]
    for hellos in range(20):
        sent.append(client.execute(cell, stop_on_error=False))
        for _ in range(hellos % 4):
            client.shell_channel.send(
                client.session.msg("comm_msg", {"comm_id": "a panel's", "data": {}})
            )
    ended: list[str] = []
    for message in kernel.watch("1"):
        if message["content"].get("execution_state") == "idle":
            ended.append(message["parent_header"]["msg_id"])
        if kernel.ended(message):
            break
    sent.append(kernel.sent)
    assert [each for each in ended if each in sent] == sent


def test_side_by_side(kernel: Kernel) -> None:
    """--as keeps several logins of one provider side by side, each with its own session."""
    kernel.run(
        "%labauth login dnanexus --tenant sandbox --as one\n%labauth login dnanexus --tenant"
        " sandbox --method password --as two"
    )
    assert (
        kernel.text(
            "[row['login'] + ' ' + row['method'] for row in __import__('labauth_nb').status()]"
        )
        == "['one api-token', 'two password']"
    )
    assert "revoked at DNAnexus" in kernel.text("%labauth logout two")
    assert "was not revoked, as it was not made here" in kernel.text("%labauth logout one")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "%labauth logn",
            "There is no verb 'logn'. Did you mean login? Choose one of: login, session, status",
        ),
        (
            "%labauth login benchlin",
            "no provider 'benchlin'. Did you mean benchling? Choose one of: benchling, qbench",
        ),
        (
            "%labauth login benchling --method ap-key",
            "Did you mean api-key? Choose one of: app, api-key, id-token, oidc.",
        ),
        ("%labauth login", "Which provider? Type %labauth login benchling | qbench"),
        (
            "%labauth login benchling-warehouse",
            "The Benchling Warehouse is a separate PostgreSQL database",
        ),
        (
            "%labauth login benchling --metod app",
            (
                "Unknown option or argument (not shown, in case it is a secret). Type %labauth"
                " login PROVIDER"
            ),
        ),
        ("%labauth login benchling --tenant", "Argument --tenant: expected one argument"),
        (
            "%labauth login dnanexus --tenant platform.dnanexus.com",
            "is a web page, not DNAnexus's API: use api.dnanexus.com",
        ),
        ("%labauth login 'benchling", "A quote is open at the end of the line"),
        ("%labauth session nowhere", "NotSignedIn: There is no"),
        (
            "%labauth sandbox advance soon",
            "That is not a length of time: write 90s, 15m, 2h or 1d.",
        ),
        ("%labauth sandbox advance", "Missing duration. Type %labauth sandbox advance 15m"),
        ("%labauth sandbox halt", "There is no sandbox verb 'halt'"),
        ("%labauth logout", "NotSignedIn: There are no logins."),
        ("%labauth providers x", "There is no provider 'x'"),
    ],
)
def test_bad_words(kernel: Kernel, cell: str, said: str) -> None:
    """A word that is not known is one line that lists the choices or names what to type, and a real
    error output."""
    (output,) = kernel.run(cell)
    assert output["output_type"] == "error"
    assert said in "\n".join(output["traceback"])
    assert len(output["traceback"]) == 1
    assert "\n" not in output["traceback"][0]


@pytest.mark.old
def test_run_all(kernel: Kernel) -> None:
    """Where nobody can answer, a login fails without waiting, with what is missing and how to
    supply it."""
    began = time.monotonic()
    (output,) = kernel.run("%labauth login qbench --tenant acme --wait 60s")
    assert time.monotonic() - began < 20
    assert output["ename"] == "MissingCredentials"
    for part in (
        "Client ID",
        "Client secret",
        "QBENCH_CLIENT_ID",
        "QBENCH_CLIENT_SECRET",
        "%labauth login qbench --tenant acme",
    ):
        assert part in output["evalue"]


@pytest.mark.old
def test_prompts(kernel: Kernel) -> None:
    """Where somebody can answer, each missing field is asked for with its hint, the secret ones
    without echo."""
    kernel.run("from labauth_nb.sandbox import running; lab_ = running()")
    origin = kernel.text("print(lab_.origin('qbench'))").strip()
    kernel.prompts.clear()
    fields = ["sandbox-qbench-client", "sandbox-qbench-client-secret-0001"]
    text = kernel.text("%labauth login qbench", [origin, *fields])
    assert "Signed in to QBench" in text
    assert "credentials typed here." in text
    assert [p["password"] for p in kernel.prompts] == [False, False, True]
    assert "acme.qbench.net" in kernel.prompts[0]["prompt"]
    kernel.run("%labauth logout qbench")
    assert "No Client secret was given" in kernel.text(
        f"%labauth login qbench --tenant {origin}", ["x", ""]
    )


def test_one_time_code(kernel: Kernel) -> None:
    """With two-factor sign-in the code is asked for when DNAnexus wants it, and a wrong one is a
    message."""
    kernel.run(
        "from labauth_nb.sandbox import running; lab_ = running(); lab_.set('dnanexus',"
        " otp='246810')"
    )
    login = "%labauth login dnanexus --method password --tenant sandbox"
    assert "OTPRequiredError" in kernel.text(login)
    kernel.prompts.clear()
    assert "Give the newest 6 digits" in kernel.text(login, ["111111"])
    assert "Signed in to DNAnexus" in kernel.text(login, ["246810"])
    assert [p["password"] for p in kernel.prompts] == [True, True]
    kernel.run(
        "lab_.set('dnanexus', otp=''); get_ipython().run_line_magic('labauth', 'logout --all')"
    )


def test_progress(kernel: Kernel) -> None:
    """A frame that takes long shows a progress bar while it does, and one that does not
    shows none."""
    kernel.run("%labauth login benchling --tenant sandbox\nlab = %labauth session benchling")
    assert len(kernel.run("len(lab.frame('plates'))")) == 1
    kernel.run("import labauth_nb.sessions.pages as p_; p_.PROGRESS_AFTER_SECONDS = 0.2")
    bar, result = kernel.run(
        "running().next('benchling', 'slow', seconds=0.5, path='plates')\nlen(lab.frame('plates'))"
    )
    assert "records" in bar["data"]["text/plain"]
    assert result["data"]["text/plain"] == "120"
    kernel.run("s_.PROGRESS_AFTER_SECONDS = 2.0\n%labauth logout --all")


@pytest.mark.old
def test_destroying_a_pasted_token_asks(kernel: Kernel) -> None:
    """Logging out of a pasted DNAnexus token asks first, and destroys it only on yes; one from
    elsewhere is left alone."""
    kernel.run("from labauth_nb.sandbox import running; lab_ = running()")
    origin = kernel.text("print(lab_.origin('dnanexus'), end='')")
    kernel.run("token = lab_.credentials('dnanexus', 'api-token')['token']")
    line, token = f"%labauth login dnanexus --tenant {origin}", "sandboxDNAnexusApiToken0001"
    for answer, said in (
        ("n", "was not revoked"),
        ("", "was not revoked"),
        ("y", "The token was revoked at DNAnexus"),
    ):
        assert "Signed in" in kernel.text(line, [token])
        kernel.prompts.clear()
        assert said in kernel.text("%labauth logout dnanexus", [answer])
        assert (
            kernel.prompts[0]["prompt"]
            == "Destroy the pasted API token at DNAnexus for good? [y/N] "
        )
    kernel.run("%labauth login dnanexus --tenant sandbox")
    kernel.prompts.clear()
    assert "was not revoked" in kernel.text("%labauth logout dnanexus", [])
    assert not kernel.prompts


@pytest.mark.parametrize(
    "rest",
    [
        "kanariCANARY99",
        "--clientSekret kanariCANARY99",
        "-x kanariCANARY99",
        "--method sk_kanariCANARY99",
        "--x=kanariCANARY99",
    ],
)
def test_unknown_words_are_not_repeated(kernel: Kernel, rest: str) -> None:
    """A word that labauth does not know may be a secret: it is not repeated, and is in
    no history."""
    text = kernel.text(f"%labauth login benchling --tenant acme {rest}  # a comment")
    assert text.startswith("InvalidInput: ")
    assert "kanari" not in text
    assert kernel.text("'kanari' 'CANARY99' in repr((In, _ih, _i, _ii))") == "False"


@pytest.mark.parametrize(
    "words",
    [
        "Kanari99!",
        "login Kanari99!",
        "login benchling --method Kanari99!",
        "login benchling --as 'Kanari 99!'",
        "login benchling --tenant Kanari99!",
        "login benchling --tenant https://ada:Kan/ari@acme.benchling.com",
        "login benchling --wait Kanari99!",
        "login benchling --ask=Kanari99!",
        "login qbench --tenant sandbox --store Kanari99! --remember",
        "session Kanari99!",
        "providers Kanari99!",
        "sandbox Kanari99!",
        "sandbox status Kanari99!",
        "sandbox advance Kanari99!",
    ],
)
def test_an_unknown_word_may_be_a_password(kernel: Kernel, words: str) -> None:
    """A word that cannot be used is repeated only if it is close to a known one, or plain."""
    text = kernel.text(f"%labauth {words}", [])
    assert re.match("(InvalidInput|NotSignedIn): ", text)
    assert not re.search("kan|ari", text, re.I)


KEY, MIX, JWT = "sk_kanariCANARY98", "kanari1f8Q2z7Lp0Xw9CANARY98", "eyJkanari0001.eyJCANARY98.x"
ADDRESS = "https://kanari:CANARY98@acme.benchling.com"
OPTIONS = ("tenant", "method", "as", "wait", "store")


@pytest.mark.parametrize(
    "words",
    [
        *(f"{verb} {MIX}" for verb in ("", *VERBS)),
        *(f"login benchling --{flag} {MIX}" for flag in OPTIONS),
        *(f"login benchling --{flag}={ADDRESS}" for flag in (*OPTIONS, "remember", "ask")),
        *(f"login benchling --{flag.replace('_', '-')} {KEY}" for flag in PLAIN_FIELDS),
        *(f"login benchling --{flag.replace('_', '-')} {JWT}" for flag in PLAIN_FIELDS),
        f"login benchling --redirect-uri {ADDRESS}",
        f"sandbox advance {MIX}",
        f"session benchling {MIX}",
        f"logout --all {MIX} --help",
    ],
)
def test_what_looks_like_a_secret_is_refused(kernel: Kernel, words: str) -> None:
    """A word that looks like a secret is refused, is in no message, and not in the history."""
    since = len(kernel.messages)
    for line in (f"%labauth {words}", f"get_ipython().run_line_magic('labauth', '{words}')"):
        text = kernel.text(line)
        assert "looks like a secret, so it was refused and nothing was sent" in text
        assert "CANARY98" not in text
    sent = [m for m in kernel.messages[since:] if '"execute_input"' not in m]
    assert "CANARY98" not in "".join(sent)
    assert kernel.text("'CANARY' '98' in repr((In, _ih, _i, _ii, _iii))") == "False"
    kernel.run("manager = get_ipython().history_manager; manager.writeout_cache()")
    assert kernel.text("b'CANARY' b'98' in open(manager.hist_file, 'rb').read()") == "False"


@pytest.mark.parametrize(
    "words",
    [
        "foundry --tenant acme.usw-16.palantirfoundry.com",
        "foundry --tenant http://127.0.0.1:43211 --client-id=Zk3jW9qLx7Tb2Vn8Rm4Yp6Hc1Df5Gs0A",
        "foundry --tenant acme --client-id 0f9c2b7e-4d1a-4c55-9e21-7a60c1d2e3f4",
        "benchling --tenant https://acme.benchling.com/plates/1",
        "benchling --tenant acme-biotech-sandbox-2 --as benchling-production-eu-west-1",
    ],
)
def test_no_false_alarm(kernel: Kernel, words: str) -> None:
    """Names, addresses and client IDs are no secrets: they are taken, and stay in the history."""
    assert "MissingCredentials" in kernel.text(f"%labauth login {words}")
    assert words in kernel.text("_ih[-2]")


@pytest.mark.parametrize("word", ["$pasted", "{pasted}"])
def test_variables_stay_off_the_line(kernel: Kernel, word: str) -> None:
    """On this line a variable's name stands for itself: what it holds may be a secret."""
    said = kernel.text(f"pasted = 'kanari'\n%labauth {word}")
    assert said.startswith("InvalidInput: There is no verb '…'")
    assert "kanari" not in said


def test_a_pasted_page_in_the_history(kernel: Kernel) -> None:
    """What looks like a secret in a pasted page's address is in no message or history."""
    text = kernel.text(f"%labauth login qbench --tenant https://acme.qbench.net/order?key={MIX}")
    assert text.endswith("%labauth login qbench --tenant https://acme.qbench.net")
    assert "--tenant https://acme.qbench.net/order?key=***" in kernel.text("_ih[-2]")
    assert kernel.text("'CANARY' '98' in repr((In, _ih, _i, _ii, _iii))") == "False"


def test_comment(kernel: Kernel) -> None:
    """A comment behind the magic is one, as in the README's first example."""
    line = (
        "%labauth login benchling --tenant sandbox      # the sandbox; put your own address here,"
        " such as acme"
    )
    assert "Signed in to Benchling" in kernel.text(line)
    assert "such as acme" in kernel.text("_ih[-2]")
    kernel.run("%labauth logout --all")


@pytest.mark.parametrize(
    "flag",
    [
        "--client-secret",
        "--clientSecret",
        "--Client-Secret",
        "--apikey",
        "--pass",
        "-s",
        "--secret",
        "--api-key",
        "--token",
        "--password",
        "--id-token",
        "--otp",
        "--client_secret",
    ],
)
@pytest.mark.parametrize("joint", [" ", "="])
def test_secret_on_the_line(kernel: Kernel, flag: str, joint: str) -> None:
    """A secret on the magic line is refused, with why, and is in no history."""
    kernel.run(f"%labauth login benchling --tenant acme {flag}{joint}kanariCANARY77")
    text = kernel.text(f"%labauth login benchling --tenant acme {flag}{joint}kanariCANARY77")
    assert (
        "is refused: a secret on this line would be saved in the notebook and in the history"
        in text
    )
    assert "kanari" not in text
    searched = kernel.text(
        "'kanari' 'CANARY77' in repr((In, _ih, _i, _ii, _iii)), '%history -g' and _i"
    )
    assert searched.startswith("(False")
    kernel.run("get_ipython().history_manager.writeout_cache()")
    found = kernel.text(
        "import glob; paths = glob.glob(get_ipython().profile_dir.location + '/history.sqlite')\n"
        "[p for p in paths if b'kanari' b'CANARY77' in open(p, 'rb').read()]"
    )
    assert found == "[]"


@pytest.mark.old
def test_secret_in_a_call(kernel: Kernel) -> None:
    """A secret written into a Python call works, and is taken out of the history."""
    call = "labauth_nb.login('benchling', tenant='sandbox', client_secret='kanariCANARY78')"
    kernel.run(f"import labauth_nb\ntry:\n    {call}\nexcept Exception: pass")
    assert kernel.text("'kanari' 'CANARY78' in repr((In, _ih, _i, _ii))") == "False"


BENCHLING = [
    option.name
    for option in verbs()["login"].options
    if option.flag and option.name != "--username"
]
"""All options of a login to Benchling, which has no user name."""


@pytest.mark.old
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%labauth lo", ["login", "logout"]),
        ("%labauth login ", [*PROVIDERS]),
        ("%labauth login qb", ["qbench"]),
        ("%labauth login benchling --m", ["--method"]),
        ("%labauth login benchling --", [*BENCHLING]),
        ("%labauth login benchling --ask --w", ["--wait"]),
        ("%labauth login qbench --store ", ["keyring", "file"]),
        ("%labauth login benchling --method ap", ["api-key", "app"]),
        ("%labauth login benchling --tenant s", ["sandbox"]),
        ("%labauth sandbox ad", ["advance"]),
        ("x = %labauth session my", ["my-foundry"]),
    ],
)
def test_tab(kernel: Kernel, line: str, expected: list[str]) -> None:
    """Tab completes verbs, providers, options, methods and login names."""
    kernel.run("%labauth login foundry --tenant sandbox --as my-foundry")
    content = kernel.reply(kernel.client.complete(line))
    if hasattr(completer, "context_matcher"):
        assert sorted(content["matches"]) == sorted(expected)
    assert set(expected) <= set(content["matches"])  # before IPython 8.6 beside its own words
    assert (
        line[: content["cursor_start"]] + expected[0]
        == line[: len(line) - len(line.split(" ")[-1])] + expected[0]
    )


def test_teaching(kernel: Kernel) -> None:
    """%labauth alone, %labauth? and each verb's --help teach."""
    assert kernel.text("%labauth").strip() == TEACH.strip()
    assert (
        "embedded sandbox" in kernel.reply(kernel.client.inspect("%labauth"))["data"]["text/plain"]
    )
    for verb in VERBS:
        assert kernel.text(f"%labauth {verb} --help").startswith(f"%labauth {verb}")


@pytest.mark.old
def test_load_twice_and_unload(kernel: Kernel) -> None:
    """Loading twice is loading once; unloading takes the magic away."""
    kernel.run("%reload_ext labauth_nb\n%reload_ext labauth_nb")
    assert kernel.reply(kernel.client.complete("%labauth lo"))["matches"] == ["login", "logout"]
    kernel.run("%unload_ext labauth_nb")
    assert "not found" in kernel.text("%labauth")
    kernel.run("%load_ext labauth_nb")


HOOKED = """
def hooked():
    from labauth_nb import masking
    from labauth_nb.credentials import presets
    ip = get_ipython()
    tab = ip.strdispatchers["complete_command"].regexs
    lists = (ip.Completer.custom_matchers, ip.input_transformers_post, ip.configurables)
    sizes = [len(each) for each in (*lists, masking.listeners, tab)]
    magic = "labauth" in ip.magics_manager.magics["line"]
    return sizes, ip.history_manager.store_inputs.__name__, presets.presets is None, magic
"""
STORES = "get_ipython().history_manager.store_inputs.__module__"


@pytest.mark.old
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            "ipywidgets.__version__ = '7.6.5'",
            "needs ipywidgets 7.7 or later, and 7.6.5 is installed here. ",
        ),
        (
            "ipykernel.__version__ = '5.5.6'",
            "needs ipykernel 6.17 or later, and 5.5.6 is installed here. ",
        ),
        (
            "IPython.__version__ = '7.33.0'",
            'Run %pip install -U "ipython>=7.34", then restart the kernel.',
        ),
        (
            "magic.NEEDED['no_widgets'] = (1, 0)",
            "needs no_widgets 1.0 or later, and none is installed here. ",
        ),
    ],
)
def test_too_old(kernel: Kernel, spoil: str, said: str) -> None:
    """A package that is missing or too old is one line with the remedy, and nothing is
    registered."""
    kernel.run(
        f"{HOOKED}import IPython, ipykernel, ipywidgets\nfrom labauth_nb.notebook import magic"
    )
    kernel.run("%unload_ext labauth_nb")
    kernel.run("names = IPython, ipykernel, ipywidgets\nbefore = hooked()")
    kernel.run(f"kept, was = [each.__version__ for each in names], dict(magic.NEEDED)\n{spoil}")
    (output,) = kernel.run("%load_ext labauth_nb")
    after = kernel.text("hooked() == before and not hooked()[-1]")
    kernel.run(
        "for each, version in zip(names, kept): each.__version__ = version\nmagic.NEEDED = was"
    )
    assert output["ename"] == "LabauthError"
    assert len(output["traceback"]) == 1
    assert said in output["evalue"]
    assert after == "True"
    assert not kernel.run("%load_ext labauth_nb")
    assert kernel.text(STORES) == "'labauth_nb.notebook.lines'"


@pytest.mark.old
@pytest.mark.parametrize("part", ["clean_stored", "awaiting", "_completing", "LabauthMagics"])
def test_load_all_or_nothing(kernel: Kernel, part: str) -> None:
    """Whatever fails while the extension is loaded, nothing of it stays, and it can be loaded
    later."""
    kernel.run(f"{HOOKED}from labauth_nb.notebook import magic")
    kernel.run("%unload_ext labauth_nb")
    kernel.run(f"before, kept = hooked(), magic.{part}\nmagic.{part} = lambda *_: 1 / 0")
    assert kernel.run("%load_ext labauth_nb")[0]["ename"] in ("ZeroDivisionError", "AttributeError")
    assert kernel.text("hooked() == before and not hooked()[-1]") == "True"
    assert "not loaded" in kernel.text("%unload_ext labauth_nb")
    kernel.run(f"magic.{part} = kept\n%reload_ext labauth_nb")
    assert kernel.text(STORES) == "'labauth_nb.notebook.lines'"


def test_completion_needs_no_kernel() -> None:
    """What may come next is data: every verb has an answer, and nothing raises."""
    for verb in VERBS:
        assert isinstance(list(choices([verb])), list)
    assert list(choices(["login", "benchling"])) == BENCHLING


@pytest.mark.parametrize(
    ("amount", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5d", 129600)]
)
def test_seconds_in(amount: str, seconds: float) -> None:
    """A length of time is a number and s, m, h or d."""
    assert seconds_in(amount) == seconds
    with pytest.raises(InvalidInput):
        seconds_in("-" + amount)


@pytest.mark.slow
def test_papermill_and_nbconvert(tmp_path: Path) -> None:
    """Papermill and nbconvert run a notebook that signs in, and stop in it where a credential is
    missing."""
    import nbformat
    import papermill
    from nbclient.exceptions import CellExecutionError
    from nbconvert.preprocessors import ExecutePreprocessor

    def book(line: str) -> nbformat.NotebookNode:
        cells = ["%load_ext labauth_nb", line, "print('after')"]
        return nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )

    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    nbformat.write(book("%labauth login foundry --tenant sandbox"), good)
    nbformat.write(book("%labauth login foundry --tenant acme"), bad)
    done = papermill.execute_notebook(str(good), str(tmp_path / "out.ipynb"), progress_bar=False)
    assert "Signed in to Foundry" in str(done.cells[1].outputs)
    with pytest.raises(papermill.PapermillExecutionError, match="FOUNDRY_CLIENT_SECRET"):
        papermill.execute_notebook(str(bad), str(tmp_path / "out.ipynb"), progress_bar=False)
    with pytest.raises(CellExecutionError, match="FOUNDRY_CLIENT_SECRET"):
        ExecutePreprocessor(timeout=60).preprocess(book("%labauth login foundry --tenant acme"), {})


def test_cleaned_history_is_still_code(kernel: Kernel) -> None:
    """A masked line is still code (IPython reads it again for the cell's last value), and a
    method's name is no secret."""
    text = kernel.text(
        '%labauth login foundry --tenant sandbox --as scoped --scopes "api:ontologies-read'
        ' api:admin-read"\n40 + 2'
    )
    assert "Signed in to Foundry" in text
    assert text.endswith("42")
    kernel.run("%labauth login benchling --method api-key --tenant sandbox --as keyed\nfiles = 1")
    assert kernel.text("print(_ih[-2])").splitlines()[-1] == "files = 1"


def test_a_new_option_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row added to the table of options is in the usage and the help, is parsed, offered by Tab,
    and kept in the history."""
    line = "%labauth login qbench --tint red --other red"
    options.known.cache_clear()
    assert _clean_lines(line) == "%labauth login qbench *** *** *** ***"
    row = options.Option("--tint", "COLOR", "the panel's color", offers=lambda _: ["red", "blue"])
    login = replace(verbs()["login"], options=(*verbs()["login"].options, row))
    monkeypatch.setattr(options, "verbs", lambda: {**VERBS, "login": login})
    options.known.cache_clear()
    assert "[--tint COLOR]" in login.usage
    assert "the panel's color" in options.help_of("login")
    assert options.parsed("login", ["qbench", "--tint", "red"])["tint"] == "red"
    assert "--tint" in choices(["login", "qbench"])
    assert list(choices(["login", "qbench", "--tint"])) == ["red", "blue"]
    assert _clean_lines(line) == "%labauth login qbench --tint red *** ***"
    options.known.cache_clear()


def test_what_a_cell_awaits_is_no_option(kernel: Kernel) -> None:
    """How a cell awaits its login is nobody's option: it is neither known nor offered."""
    assert "Unknown option or argument" in kernel.text("%labauth login qbench --awaited")
    assert "--awaited" not in kernel.text("%labauth login --help")
