"""The configuration file: what it becomes, and every line that is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from liberator.config import examine, load
from liberator.errors import ConfigError
from liberator.log import Log

SHOP = """\
log: {type: embedded, path: ./var/shop.log}
sources:
  shop:
    type: postgres-wal
    url: ${SHOP_URL}
    tables: [public.*, "!public.tmp_*"]
    snapshot: initial
sinks:
  replica:
    type: sqlite
    url: sqlite:///replica.db
    topics: [shop.*]
    mode: upsert
"""
URL = "postgresql://app:hunter2@localhost/shop"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes shop.yaml; the variable SHOP_URL is set, others of that name are not."""
    monkeypatch.setenv("SHOP_URL", URL)

    def write(text: str) -> Path:
        path = tmp_path / "shop.yaml"
        path.write_text(text)
        return path

    return write


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_a_file_becomes_the_connectors_own_models(write):
    settings = load(write(SHOP))
    assert settings.sources["shop"].url == URL
    assert settings.sources["shop"].tables == ["public.*", "!public.tmp_*"]
    assert settings.sinks["replica"].mode == "upsert"
    assert settings.log.type == "embedded"
    assert settings.warnings == ()


def test_settings_make_instances(write):
    settings = load(write(SHOP))
    with settings.open_log() as log:
        assert isinstance(log, Log)
    source, sink = settings.source("shop"), settings.sink("replica")
    assert (source.name, source.config) == ("shop", settings.sources["shop"])
    assert (sink.name, sink.config) == ("replica", settings.sinks["replica"])


def test_an_unknown_name_gets_a_suggestion(write):
    with pytest.raises(ConfigError) as caught:
        load(write(SHOP)).source("shap")
    assert str(caught.value) == "no source of this name; did you mean 'shop'?; there are: shop"


def test_settings_cannot_be_changed(write):
    settings = load(write(SHOP))
    with pytest.raises(ValidationError):
        settings.sources["shop"].url = "other"


def test_relative_paths_are_seen_from_the_files_directory(write, tmp_path, monkeypatch):
    path = write(SHOP)
    monkeypatch.chdir("/")
    settings = load(path)
    assert settings.log.path == tmp_path / "var/shop.log"
    assert settings.sinks["replica"].url == f"sqlite:///{tmp_path}/replica.db"


def test_absolute_paths_stay(write):
    settings = load(
        write(SHOP.replace("./var/shop.log", "/var/shop.log").replace("///replica.db", "////data/replica.db"))
    )
    assert settings.log.path == Path("/var/shop.log")
    assert settings.sinks["replica"].url == "sqlite:////data/replica.db"


def test_all_errors_are_told_at_once_each_with_its_place(write):
    text = SHOP.replace("tables:", "tabels:").replace("snapshot: initial", "snapshot: always")
    text = text.replace("SHOP_URL", "NO_SUCH_URL").replace("mode: upsert", "mode: 5\n    batch: many")
    text = text.replace("sinks:", "sniks: {}\nsinks:").replace("type: sqlite", "type: sqlight")
    assert problems(write(text)) == [
        "sources.shop.url: environment variable NO_SUCH_URL is not set (shop.yaml:5)",
        "sniks: unknown option; did you mean 'sinks'? (shop.yaml:8)",
        "sources.shop.tables: required option is missing (shop.yaml:3)",
        "sources.shop.snapshot: must be 'initial', 'none' or 'only' (shop.yaml:7)",
        "sources.shop.tabels: unknown option; did you mean 'tables'? (shop.yaml:6)",
        "sinks.replica.type: unknown sink type; did you mean 'sqlite'?; installed: mysql, postgres, sqlite,"
        " stdout (shop.yaml:11)",
    ]


SINK = "log: {type: embedded, path: x}\nsinks:\n  replica:\n    type: sqlite\n    url: sqlite:///x\n    "
SOURCE = "log: {type: embedded, path: x}\nsources:\n  shop:\n    type: postgres-wal\n    url: x\n    "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SINK + "batch: many", "sinks.replica.batch: must be a whole number"),
        (SINK + "batch: 1.5", "sinks.replica.batch: must be a whole number"),
        (SINK + "batch: 0", "sinks.replica.batch: must be at least 1"),
        (SINK + "batch: 1000001", "sinks.replica.batch: must be at most 1000000"),
        (SINK + "batch:", "sinks.replica.batch: must be a whole number"),
        (SINK + "create: perhaps", "sinks.replica.create: must be true or false"),
        (SINK + "start: never", "sinks.replica.start: must be 'earliest' or 'latest'"),
        (SINK + "topics: shop.*", "sinks.replica.topics: must be a list"),
        (SINK + "topics: [1]", "sinks.replica.topics[0]: must be text; put it in quotes"),
        (
            SINK + "topics: ['!shop.*']",
            "sinks.replica.topics: needs at least one pattern that takes something, such as '*'",
        ),
        (SINK + "topics: [a, 'b\"']", 'sinks.replica.topics: has an opening " without a closing one'),
        (SOURCE + "tables: []", "sources.shop.tables: must have at least 1 entry"),
        (SOURCE + "tables: [a.b]\n    where: [1]", "sources.shop.where: must be a mapping"),
        (SOURCE + "tables: [a.b]\n    slot: UPPER", "sources.shop.slot: must look like ^[a-z0-9_]{1,63}$"),
        (SOURCE + "tables: [a.b]\n    publication: ''", "sources.shop.publication: must not be empty"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(write, text, problem):
    (found,) = problems(write(text))
    assert found.startswith(problem + " (shop.yaml:")


def test_an_empty_url_is_refused(write):
    text = SHOP.replace("${SHOP_URL}", "' '")
    assert problems(write(text)) == ["sources.shop.url: must not be empty (shop.yaml:5)"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "shop.yaml: must be a mapping with log, sources and sinks"),
        ("[1]", "shop.yaml: must be a mapping with log, sources and sinks"),
        ("sources: {}", "log: required option is missing (shop.yaml)"),
        ("log: 5", "log: must be a mapping of options (shop.yaml:1)"),
        ("log: {path: x}", "log.type: required option is missing; installed: embedded, memory (shop.yaml:1)"),
        ("log: {type: 5}", "log.type: must be text; installed: embedded, memory (shop.yaml:1)"),
        ("log: {type: x}\nsources: [1]", "sources: must be a mapping of names to options (shop.yaml:2)"),
        ("log: {type: x}\nsinks: {a: }", "sinks.a: must be a mapping of options (shop.yaml:2)"),
        ("log: {type: x}\nsinks: {A b: {}}", "sinks.A b: a name is made of a-z, 0-9, _ and - (shop.yaml:2)"),
        ("log: {type: x}\nsinks: {a: {}, a: {}}", "sinks.a: given twice (shop.yaml:2)"),
        ("log: {type: x}\nlog: {type: x}", "log: given twice (shop.yaml:2)"),
        ("5: x", "5: unknown option (shop.yaml:1)"),
        ("log: {type: embedded, path: x}", "shop.yaml: names neither a source nor a sink"),
    ],
)
def test_a_wrong_shape_is_told(write, text, problem):
    assert problem in problems(write(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("log: {type: x\nsinks: [", "shop.yaml:2: expected ',' or '}', but got ':'"),
        ("log: x\n\tsinks: y", "shop.yaml:2: a tab where only spaces may stand"),
        ("sinks:\n  a: {topics: [*]}", "shop.yaml:2: a value that begins with * must be in quotes"),
        ("sinks:\n  a: {topics: [*.b]}", "shop.yaml:2: a value that begins with * must be in quotes"),
        (
            "sinks:\n  a: {topics: [*shop]}",
            "shop.yaml:2: a value that begins with * is an alias, which must be defined; put a pattern in"
            " quotes",
        ),
        ("sinks:\n  a: {topics: [b, !shop.*]}", "shop.yaml:2: a value that begins with ! must be in quotes"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "shop.yaml:1: a value that begins with ! must be in quotes",
        ),
        ("a: &a [*a]", "shop.yaml:1: an alias stands for too much"),
    ],
)
def test_a_file_that_is_not_yaml_says_where_and_why(write, text, problem):
    assert problems(write(text)) == [problem]


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert problems(tmp_path / "no.yaml") == [
        f"cannot read configuration file {tmp_path}/no.yaml: no such file or directory"
    ]


def test_a_file_that_is_not_text_is_told(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_bytes(b"log: \xff\xfe")
    assert problems(path) == [f"configuration file {path} is not text in utf-8"]


def test_aliases_of_aliases_do_not_eat_the_memory(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = problems(write("\n".join(lines)))
    assert problem.endswith("an alias stands for too much")


def test_anchors_and_merges_are_fine_and_x_keys_hold_them(write):
    text = "x-common: &common {topics: [shop.*], batch: 7}\n" + SHOP.replace(
        "topics: [shop.*]", "<<: *common"
    ).replace("SHOP_URL", "SHOP_URL")
    assert load(write(text)).sinks["replica"].batch == 7


def test_a_topic_pattern_that_fits_no_source_is_a_warning(write):
    settings = load(write(SHOP.replace("[shop.*]", "[shop.*, shpo.*, '!crm.*']")))
    assert settings.warnings == (
        "sinks.replica.topics[1]: fits no topic of any source in this file (shop.yaml:12)",
    )


def test_a_file_that_only_applies_what_others_capture_has_no_idle_patterns(write):
    text = SHOP[: SHOP.index("sources")] + SHOP[SHOP.index("sinks") :]
    assert load(write(text)).warnings == ()


def test_no_value_of_the_file_appears_in_any_message(write):
    secret = "hunter2secret"
    text = (
        f"log: {{type: {secret}, path: {secret}}}\n"
        f"sources:\n  a: {{type: postgres-wal, url: [{secret}], tables: {secret}, snapshot: {secret},"
        f" where: {secret}, columns: {{x: {secret}}}, heartbeat: {secret}, slot: '{secret}!',"
        f" filter: {{x: [{secret}]}}, codec: {secret}, publication: {{a: {secret}}}}}\n"
        f"  b: {secret}\n"
        f"  c: {{type: {secret}}}\n"
        f"sinks:\n  d: {{type: sqlite, url: sqlite:///x, topics: ['{secret}\"'], batch: {secret},"
        f" mode: {secret}}}\n"
    )
    found = problems(write(text))
    assert len(found) > 12
    assert secret not in "\n".join(found)


def test_the_parts_that_are_right_can_be_used_while_others_are_wrong(write):
    draft = examine(write(SHOP.replace("mode: upsert", "mode: sideways")))
    assert list(draft.sources) == ["shop"]
    assert draft.sinks == {}
    assert len(draft.problems) == 1


def test_options_with_a_failed_reference_are_not_used(write):
    draft = examine(write(SHOP.replace("SHOP_URL", "NO_SUCH_URL")))
    assert draft.sources == {}
    assert draft.problems == ["sources.shop.url: environment variable NO_SUCH_URL is not set (shop.yaml:5)"]
