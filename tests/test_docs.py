"""The documentation is true: its configurations load, its code runs, its commands and files exist."""

from __future__ import annotations

import configparser
import functools
import json
import re
import shlex

import click
import pytest
import yaml

from liberator import config, plugins
from liberator.cli import COMMANDS, cli
from liberator.errors import ConfigError
from tests.documents import PAGES, ROOT, Block, blocks, links

#: What documents take for granted in the environment.
ENVIRONMENT = {
    "SHOP_URL": "postgresql://liberator:secret@localhost/shop",
    "WAREHOUSE_URL": "postgresql://liberator:secret@localhost/warehouse",
}
#: Words at the beginning of a line of shell that are not ours.
OTHER_PROGRAMS = {"pip", "export", "docker", "psql", "jq", "sqlite3", "python", "echo", "head"}
TESTED_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]


def each(*languages):
    found = blocks(*languages)
    return pytest.mark.parametrize("block", found, ids=[str(block) for block in found])


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@functools.cache
def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: cli.get_command(context, name) for name in COMMANDS if (ROOT / module(name)).exists()}


def module(command: str) -> str:
    return f"liberator/cli/{COMMANDS[command]}.py"


def options(command: click.Command) -> set[str]:
    return {
        "--help",
        *(o for p in command.params if isinstance(p, click.Option) for o in p.opts + p.secondary_opts),
    }


@each("yaml")
def test_a_configuration_loads(block: Block, tmp_path):
    text = block.text
    if not re.search(r"^log:", text, re.MULTILINE):  # a part: the rest is what any file has
        text = "log: {type: embedded, path: ./part.log}\n" + text
    if not re.search(r"^(sources|sinks):", text, re.MULTILINE):
        text += "sources: {shop: {type: postgres-wal, url: '${SHOP_URL}', tables: ['*']}}\n"
    path = tmp_path / "part.yaml"
    path.write_text(text, encoding="utf-8")
    assert not config.load(path).warnings


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.name)
def test_a_sample_loads_and_says_in_its_first_line_what_it_is_for(path):
    settings = config.load(path)
    assert settings.sources
    assert not settings.warnings
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_a_wrong_configuration_would_be_noticed(tmp_path):
    block = next(b for b in blocks("yaml") if "tables:" in b.text)
    with pytest.raises(ConfigError):
        test_a_configuration_loads(
            Block(block.page, 1, "yaml", block.text.replace("tables:", "tabels:")), tmp_path
        )


@each("json")
def test_an_example_in_json_is_json(block: Block):
    for part in re.split(r"\n(?=\{)", block.text.strip()):
        assert json.loads(part)


@each("ini")
def test_entry_points_are_in_groups_that_exist(block: Block):
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    groups = set(parser["options.entry_points"])
    assert groups
    for group in groups:
        assert plugins.installed(group.removeprefix("liberator.")), group


def invocations():
    """Every command of every shell block, as words; where its output goes is left out."""
    for block in blocks("sh", "bash", "console", ""):
        lines = block.text.replace("\\\n", " ").splitlines()
        for line in lines if block.language in ("sh", "bash") else [x for x in lines if x.startswith("$ ")]:
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word in ("|", "&&", ";"):
                    if words:
                        yield pytest.param(words, id=f"{block}: {' '.join(words)[:50]}")
                    words = []
                elif not words or words[-1] != ">":
                    words.append(word)
                else:
                    words.pop()


@pytest.mark.parametrize("words", list(invocations()))
def test_a_command_exists_with_these_options(words):
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    elif program == "liberator":
        check_liberator(rest)
    else:
        assert program in OTHER_PROGRAMS, f"neither ours nor known: {program}"


def check_liberator(words):
    name, *arguments = words
    known = commands()
    assert name in known or name in ("--help", "--version"), f"no command {name}"
    if name in known:
        try:
            known[name].make_context(name, list(arguments), resilient_parsing=False)
        except click.exceptions.Exit:  # --help
            pass
        except click.BadParameter as exc:
            # A file that is not there is the reader's; everything else about the call must be right.
            assert "exist" in exc.format_message().lower() or "config" in str(exc.param), exc.format_message()


def test_a_command_that_does_not_exist_would_be_noticed():
    for wrong in (["rum"], ["run", "--untill-current"], ["snapshot"]):
        with pytest.raises((AssertionError, click.UsageError)):
            check_liberator(wrong)


def test_every_command_and_option_has_help_and_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in commands().items():
        if command.hidden:
            continue
        assert command.help, name
        row = next((line for line in readme.splitlines() if line.startswith(f"| `liberator {name}")), "")
        assert row, f"the README does not list {name}"
        shared = {"--help", "--config", "-c", "--debug"}
        missing = {option for option in options(command) - shared if f"`{option}`" not in row}
        assert not missing, f"{name}: the README lacks {missing}"
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    targets = [link.replace("\\", "") for link in links(page)]
    assert [link for link in targets if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", TESTED_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:liberator|connectors|tests|docs|configs|bench|docker)/[\w./*-]*)", text)
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_every_guarantee_names_tests_that_exist():
    text = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    promised = [part for part in text.split("\n## ")[1:] if not part.startswith("What is not promised")]
    for part in promised:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", part)
        assert named, f"no test shows: {part.splitlines()[0]}"
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_the_readme_begins_with_what_it_is_and_the_two_commands():
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:12]
    assert any("make demo" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)


def test_the_project_speaks_of_itself_alone():
    """No path of a machine, no issue number, nothing about how it was written."""
    tracked = [
        p for p in ROOT.rglob("*") if p.suffix in (".md", ".py", ".cfg", ".toml", ".yaml", ".sql", ".sh")
    ]
    tracked += [ROOT / "Makefile", ROOT / ".ci/run"]
    own = [
        p for p in tracked if not {".venv", ".git", "build", "node_modules"} & set(p.relative_to(ROOT).parts)
    ]
    pattern = re.compile(r"/work/|/tmp/v\b|/root/|issue #?\d+|\bLLM\b|language model", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own
        if path != ROOT / "tests/test_docs.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_makefile_lists_its_targets():
    import subprocess

    said = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "bench", "clean"):
        assert f"make {target}" in said


def test_the_container_runs_what_exists(tmp_path):
    """The Dockerfile copies what is there, with an extra that there is; compose's file loads."""
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    copied = [
        word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    ]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = re.search(r"/src\[([\w,]+)\]", dockerfile)[1].split(",")
    assert set(extras) <= set(metadata["options.extras_require"])
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))
    build = compose["services"]["liberator"]["build"]
    assert (ROOT / "docker" / build["context"] / build["dockerfile"]).exists()
    path = tmp_path / "liberator.yaml"
    path.write_text(compose["configs"]["pipeline"]["content"].replace("$$", "$"), encoding="utf-8")
    assert set(config.load(path).sources) == {"shop"}
