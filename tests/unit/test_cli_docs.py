"""The pages about the command line and the configuration say what the program does, option by option.

``python -m tests.unit.test_cli_docs`` writes the option tables of docs/configuration.md anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

from connectors.sql.sink.options import SqlSinkOptions
from liberator import cli
from liberator.cli.config_schema import compose
from liberator.cli.connectors import options, spell_default
from liberator.options import SinkOptions, SourceOptions
from liberator.plugins import installed, load

ROOT = Path(__file__).parent.parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
CLI = ROOT / "docs" / "cli.md"
SAMPLES = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "connectors").rglob("*.yaml")])
COMMANDS = {name: cli.cli.get_command(click.Context(cli.cli), name) for name in cli.COMMANDS}


def section(name):
    """What docs/cli.md says of one command."""
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", CLI.read_text(), re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_an_example(name):
    assert f"$ liberator {name}" in section(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_its_commands_section(name):
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden and parameter.name != "config":
            for spelling in parameter.opts:
                assert f"`{spelling}" in section(name), f"{name} {spelling}"


def test_no_section_is_about_a_command_that_does_not_exist():
    assert re.findall(r"^## (.*)$", CLI.read_text(), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example(name, capsys):
    assert cli.invoke([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"liberator {name}" in out.partition("Example:")[2]


def table(model, *without):
    """A Markdown table of a model's options that are not those of the models ``without``."""
    known = {option.name for base in without for option in options(base)}
    lines = ["| option | value | default | |", "|---|---|---|---|"]
    for option in options(model):
        if option.name not in known:
            default = "required" if option.required else spell_default(option.default)
            default = default if default in ("required", "not set") else f"`{default}`"
            value = option.type.replace("|", "\\|")
            lines.append(f"| `{option.name}` | {value} | {default} | {option.description} |")
    return "\n".join(lines) if len(lines) > 2 else "No options of its own."


def tables():
    """Heading to table, for everything that is installed with liberator itself."""
    ours = {
        group: [name for name, entry in installed(group).items() if entry.dist.name == "liberator-cdc"]
        for group in ("logs", "sources", "sinks")
    }
    found = {}
    for name in ours["logs"]:
        found[f"Log `{name}`"] = table(load("logs", name).Config)
    found["Every source"] = table(SourceOptions)
    for name in ours["sources"]:
        found[f"Source `{name}`"] = table(load("sources", name).Config, SourceOptions)
    found["Every sink"] = table(SinkOptions)
    found["Every SQL sink"] = table(SqlSinkOptions, SinkOptions)
    for name in ours["sinks"]:
        found[f"Sink `{name}`"] = table(load("sinks", name).Config, SinkOptions, SqlSinkOptions)
    return found


def options_part():
    return "\n\n".join(f"### {heading}\n\n{body}" for heading, body in tables().items()) + "\n"


def test_every_option_of_every_connector_is_documented_as_it_is():
    written = CONFIGURATION.read_text().partition("\n## Options\n\n")[2]
    assert written == options_part(), "run python -m tests.unit.test_cli_docs"


def test_every_option_says_what_it_means_and_what_it_takes():
    for group in ("logs", "sources", "sinks"):
        for name in installed(group):
            for option in options(load(group, name).Config):
                assert option.description, f"{name}.{option.name}"
                assert option.type != "anything", f"{name}.{option.name}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_is_right_in_an_editor(sample):
    jsonschema.Draft202012Validator(compose()).validate(yaml.safe_load(sample.read_text()))


if __name__ == "__main__":
    before = CONFIGURATION.read_text().partition("\n## Options\n")[0]
    CONFIGURATION.write_text(f"{before}\n## Options\n\n{options_part()}")
