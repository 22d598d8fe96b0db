"""What all commands share: exit codes, errors, hints, quick help, quiet ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

import liberator
from liberator import cli
from liberator.cli import output
from liberator.errors import ConfigError, SinkError
from tests.acting import act, desk  # noqa: F401


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["stauts"], "no such command 'stauts'; did you mean 'status'?", "liberator --help"),
        (["zzz"], "no such command 'zzz'", "liberator --help"),
        (["tail"], "missing argument 'TOPIC'", "liberator tail --help"),
        (
            ["run", "--confg", "x"],
            "no such option '--confg'; did you mean '--config'?",
            "liberator run --help",
        ),
        (
            ["tail", "x", "--from", "middle"],
            "invalid value for '--from': must be earliest, latest or an offset",
            "liberator tail --help",
        ),
        (
            ["tail", "x", "--limit", "0"],
            "invalid value for '-n' / '--limit': 0 is not in the range x>=1",
            "liberator tail --help",
        ),
        (["topics", "more"], "got unexpected extra argument (more)", "liberator topics --help"),
    ],
)
def test_wrong_use_ends_with_2_and_a_hint(arguments, error, hint, capsys):
    assert cli.invoke(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {error}\nhint: {hint}\n"


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.invoke([]) == 2
    out, err = capsys.readouterr()
    assert "Usage: liberator" in out + err
    assert cli.invoke(["--help"]) == 0
    assert "config-schema" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    assert cli.invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"liberator {liberator.__version__}\n"


def test_every_problem_is_a_line_then_comes_the_hint(desk, monkeypatch):  # noqa: F811
    def fail(path):
        raise ConfigError(["one", "two"], hint="do this")

    monkeypatch.setattr("liberator.config.load", fail)
    answer = desk("topics")
    assert (answer.code, answer.err) == (2, "error: one\nerror: two\nhint: do this\n")


def test_an_error_of_ours_ends_with_1(desk):  # noqa: F811
    answer = desk("topics")
    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err


def test_a_defect_tells_where_and_not_what_it_was_about(desk, monkeypatch):  # noqa: F811
    def fail(path):
        raise ValueError("the password is hunter2")

    monkeypatch.setattr("liberator.config.load", fail)
    answer = desk("topics")
    assert answer.code == 1
    assert answer.err.startswith("error: unexpected ValueError in tests.unit.test_cli, line ")
    assert answer.err.endswith("\nhint: --debug shows the traceback\n")


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_wherever_it_stands(desk, monkeypatch, before):  # noqa: F811
    def fail(path):
        raise SinkError("no")

    monkeypatch.setenv("LIBERATOR_DEBUG", "")
    monkeypatch.setattr("liberator.config.load", fail)
    with pytest.raises(SinkError):
        desk(*(["--debug", "topics"] if before else ["topics", "--debug"]))


def test_an_interrupt_ends_quietly_with_130(desk, monkeypatch):  # noqa: F811
    def fail(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("liberator.config.load", fail)
    answer = desk("topics")
    assert (answer.code, answer.out, answer.err.strip()) == (130, "", "")


def test_the_configuration_is_named_by_the_environment_or_called_liberator_yaml(
    desk,  # noqa: F811
    monkeypatch,
):
    with desk.log():
        pass
    monkeypatch.setenv("LIBERATOR_CONFIG", str(desk.config))
    assert desk("topics", config=False).code == 0
    monkeypatch.delenv("LIBERATOR_CONFIG")
    monkeypatch.chdir(desk.directory)
    answer = desk("topics", config=False)
    assert answer.code == 2
    assert answer.err == "error: cannot read configuration file liberator.yaml: no such file or directory\n"
    desk.config.rename(desk.directory / "liberator.yaml")
    assert desk("topics", config=False).code == 0


def test_warnings_about_the_configuration_go_to_stderr(desk):  # noqa: F811
    desk.config.write_text(desk.config.read_text().replace("[shop.*]", "[shpo.*]"))
    with desk.log():
        pass
    answer = desk("topics", "--json")
    assert answer.json == []
    assert answer.err == (
        "warning: sinks.replica.topics[0]: fits no topic of any source in this file (shop.yaml:5)\n"
    )


def test_help_imports_nothing_heavy():
    heavy = ("pydantic", "rich", "yaml", "importlib.metadata", "sqlite3", "difflib", "connectors")
    program = (
        "import sys; from liberator import cli; code = cli.invoke(['--help'])\n"
        f"assert code == 0 and [m for m in {heavy} if m in sys.modules] == [], sys.modules.keys()"
    )
    # -S: site imports things of its own for editable installs.
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-S", "-c", path + program], check=True, capture_output=True)


def test_colors_are_left_out_where_nobody_sees_them(capsys, monkeypatch):
    output.error("no", "yes")
    output.warning("perhaps")
    assert capsys.readouterr().err == "error: no\nhint: yes\nwarning: perhaps\n"


def test_a_table_without_a_terminal_is_plain_aligned_lines(capsys, monkeypatch):
    monkeypatch.setattr(output, "terminal", lambda stream=None: False)
    output.table(("name", "rows", "note"), [("a", 1234567, None), ("long name", 5, "x")])
    assert capsys.readouterr().out == (
        "name            rows  note\n"
        "a          1,234,567\n"
        "long name          5  x\n"
    )  # fmt: skip


def test_a_table_on_a_terminal_holds_the_same(capsys, monkeypatch):
    monkeypatch.setattr(output, "terminal", lambda stream=None: True)
    output.table(("name", "rows"), [("[red]a", 1234567)])
    out = capsys.readouterr().out
    assert "[red]a" in out
    assert "1,234,567" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations_are_readable(seconds, text):
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, None),
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (64_000_000, "64.0 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_are_readable(count, text):
    assert output.size(count) == text


def test_an_unknown_name_of_a_source_is_wrong_use(desk):  # noqa: F811
    act("shop")
    answer = desk("setup", "shap")
    assert (answer.code, answer.err) == (2, "error: no source or sink called shap; did you mean 'shop'?\n")
