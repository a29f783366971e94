"""What every command has in common: options, exit codes, output, documentation."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from analect.cli.app import app
from analect.cli.filters import moment, record_filter
from analect.cli.output import Output, brief, clean, plain
from analect.cli.restoring import notes_of
from analect.cli.session import Session, command
from analect.lifecycle.backup.restore import Restored
from analect.model.errors import InvalidInput, StoreUnavailable
from analect.model.ids import RecordId
from analect.model.query import Node, RecordFilter

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def commands(group=None, path=()):
    """(words, command) of every command."""
    for name, one in (group or get_command(app)).commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, (*path, name))
        else:
            yield " ".join((*path, name)), one


ALL = dict(commands())
GROUPS = sorted({words.rpartition(" ")[0] for words in ALL if " " in words})


def test_the_contracts_commands_are_there():
    expected = (
        "serve list show thread search tail process status daemon export import migrate rebuild "
        "verify"
    )
    assert set(expected.split()) <= ALL.keys()
    assert {"erase subject", "erase session", "erase thread", "erase record"} <= ALL.keys()
    assert {"keys status", "keys api-key new"} <= ALL.keys()


@pytest.mark.parametrize("words", ["", *GROUPS])
def test_a_group_alone_shows_what_there_is(words):
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert "Commands:" in result.stdout
    assert CliRunner().invoke(app, [*words.split(), "no-such-command"]).exit_code == 2


def test_it_says_its_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"analect {version('analect')}\n")


@pytest.mark.parametrize("words", ALL)
def test_every_command_speaks_json_and_has_a_sentence(words):
    one = ALL[words]
    options = {option for parameter in one.params for option in parameter.opts}
    assert {"--json", "--home", "--debug"} <= options
    assert one.help
    assert one.help.rstrip().endswith(".")
    assert " " in words or "..." not in one.get_short_help_str(66)  # as `analect` shows it
    assert [p.name for p in one.params if not p.help] == []


def test_a_person_is_never_an_argument():
    erase_subject = ALL["erase subject"]
    assert not [p for p in erase_subject.params if p.param_type_name == "argument"]


@pytest.mark.parametrize("words", ALL)
def test_every_command_and_option_is_documented(words):
    text = DOCS.read_text("utf-8")
    section = re.split(rf"^### `analect {re.escape(words)}[ `]", text, flags=re.MULTILINE)
    assert len(section) == 2, f"docs/reference/cli.md has no section for {words}"
    body = re.split(r"^##", section[1], flags=re.MULTILINE)[0]
    common = {"--json", "--home", "--debug", "--url", "--help", "-h"}
    for parameter in ALL[words].params:
        for option in parameter.opts:
            if option.startswith("--") and option not in common:
                assert option in body, f"{words} {option} is not documented"


def failing(error):
    probe = typer.Typer()
    probe.callback()(lambda: None)

    def fail(session: Session) -> None:
        """Fail."""
        raise error

    command(probe, "fail")(fail)
    return probe


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("the store is away"), 3),
        (InvalidInput("that will not do"), 4),
        (typer.BadParameter("no such thing"), 2),
        (RuntimeError("secret"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_end_in_one_line_and_a_code(error, code):
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert "secret" not in result.stderr
    if code in {3, 4}:
        assert result.stderr == f"analect: {error}\n"


def test_debug_shows_where_it_happened():
    result = CliRunner().invoke(failing(InvalidInput("that")), ["fail", "--debug"])
    assert isinstance(result.exception, InvalidInput)


def test_a_missing_store_says_how_to_name_one(tmp_path):
    runner = CliRunner()
    for words in (["export", "-"], ["list"], ["search", "x"], ["status"], ["verify"]):
        result = runner.invoke(app, [*words, "--home", str(tmp_path / "absent")])
        assert result.exit_code == 4
        assert "ANALECT_HOME" in result.stderr
    assert not (tmp_path / "absent").exists()


def test_help_starts_quickly_because_it_imports_little():
    program = (
        "import sys; from analect.cli.app import app; "
        "print([name for name in ('sqlalchemy', 'pydantic', 'numpy', 'httpx', 'rich.markdown', "
        "'fastapi', 'pyarrow') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-06-30", 1_751_241_600_000_000),
        ("2025-06-30T12:00:00Z", 1_751_284_800_000_000),
        ("2025-06-30T14:00:00+02:00", 1_751_284_800_000_000),
    ],
)
def test_times_as_people_write_them(text, at):
    assert moment(text) == at


def test_a_time_ago():
    assert 0 < moment("1d") - moment("86401s") < 30_000_000


@pytest.mark.parametrize("text", ["yesterday", "2025-06-30T12:00:00", "2025-02-30", "7y", ""])
def test_other_times_are_wrong_usage(text):
    with pytest.raises(typer.BadParameter):
        moment(text)


def test_filters():
    found = record_filter(
        kind="task",
        service=None,
        tags=["a,b", "c"],
        where=["thread_id=t=1", "dim.language=de"],
        success=True,
        since=1,
        until=2,
    )
    assert found == RecordFilter(
        equals={"kind": "task", "thread_id": "t=1"},
        tags=("a", "b", "c"),
        dimensions={"language": "de"},
        success=True,
        since=1,
        until=2,
    )


@pytest.mark.parametrize("condition", ["colour=red", "thread_id", "kind="])
def test_wrong_conditions_are_wrong_usage(condition):
    with pytest.raises(typer.BadParameter):
        record_filter(where=[condition])


def test_stored_text_does_not_steer_the_terminal(capsys):
    assert clean("a\x1b[2Jb\x9bc\td\ne") == "a[2Jbc\td\ne"
    Output(json=False).table({"x": "x"}, [{"x": "[bold]\x1b]0;owned\x07"}])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]" in out


def test_values_as_people_and_machines_read_them(capsys):
    value = {"node": Node("thread", "t1", (RecordId("r"),)), "created_at": 1_751_284_800_000_000}
    assert plain(value)["created_at"] == "2025-06-30T12:00:00.000000Z"
    Output(json=True).value(value)
    assert json.loads(capsys.readouterr().out)["node"]["records"] == ["r"]
    Output(json=False).value({"a": {"b": None}, "c": [], "d": [{"e": 1}, 2]})
    assert capsys.readouterr().out == "a:\n  b: -\nc: -\nd:\n  - e: 1\n  - 2\n"
    assert brief("two\nlines " + "x" * 80, 12) == "two lines x…"


def test_what_callers_named_like_a_time_stays_what_it_is():
    record = {
        "occurred_at": "2025-06-30T12:00:00.000000Z",
        "output": {"created_at": 1_700_000_000, "steps": [{"done_at": 7}]},
        "measures": {"paid_at": 3},
    }
    assert plain({"items": [record], "at": 0}) == {
        "items": [record],
        "at": "1970-01-01T00:00:00.000000Z",
    }


def test_a_restore_says_how_many_as_people_do():
    done = Restored("b", "b", 0, {}, {}, 0, ("0003", "0003"))
    assert list(notes_of(done)) == []
    one, more = (list(notes_of(replace(done, erased=n, unfiled=n))) for n in (1, 2))
    assert [note.split(" made")[0] for note in one[:1]] == ["1 erasure was"]
    assert [note.split(" taken")[0] for note in one[1:]] == ["1 record was"]
    assert [note.split()[0:3] for note in more] == [
        ["2", "erasures", "were"],
        ["2", "records", "were"],
    ]
