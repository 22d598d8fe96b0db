"""The arrow of dependencies holds, and the core names no connector; read from the source with ast.

What is forbidden is found in identifiers, imports and string constants. Docstrings are prose for people
and may name a database as an example.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "liberator"
CONNECTORS = ROOT / "connectors"
MODULES = sorted([*CORE.rglob("*.py"), *CONNECTORS.rglob("*.py")])
CORE_MODULES = [path for path in MODULES if path.is_relative_to(CORE)]

#: Names of connectors and of their drivers, in the spelling of code.
CONNECTOR_NAMES = ("postgres", "psycopg", "pgoutput", "mysql", "mariadb", "binlog", "sqlite")
#: The embedded log is a SQLite file: SQLite is its storage there, not a database to read or write.
STORED_IN_SQLITE = {
    *(CORE / "log").glob("embedded*.py"),
    *(CORE / "log").glob("storage*.py"),
    *(CORE / "registry").glob("embedded*.py"),
}
#: The helper that applications import or copy: one file, which has to know the drivers they use. It is not
#: part of the core, and the core does not use it; only its command does.
HELPER = CORE / "outbox.py"
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc"}
MOST_LINES = 450
#: What the helper imports is old enough.
STDLIB_OF_38 = {
    "__future__", "base64", "collections", "io", "json", "os", "pathlib", "re", "sys", "threading", "time",
    "typing",
}  # fmt: skip


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(ROOT).parts)


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, absolute, wherever in the file; type checking blocks included."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package_of(path).split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] in ("liberator", "connectors")}


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of the constants that are docstrings, attribute docstrings too: strings that stand alone."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Every identifier, imported name and constant of a file with its line; docstrings are left out."""
    tree = parse(path)
    prose = docstrings(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield line, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield line, name
            case ast.alias(name=name, asname=alias):
                yield line, name
                yield line, alias or ""
            case ast.ImportFrom(module=str(name)):
                yield line, name
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield line, text
            case ast.Constant(value=bytes(data)):
                yield line, data.decode("latin-1")


def named_connectors(path: Path) -> list[str]:
    allowed = {"sqlite"} if path in STORED_IN_SQLITE else set()
    return [
        f"{relative(path)}:{line}: {name}"
        for line, word in words(path)
        for name in CONNECTOR_NAMES
        if name not in allowed and name in word.lower()
    ]


def test_the_core_never_imports_a_connector():
    assert [
        relative(p) for p in CORE_MODULES if any(n.split(".")[0] == "connectors" for n in imports(p))
    ] == []


def test_no_connector_is_named_in_the_core():
    assert [place for path in CORE_MODULES if path != HELPER for place in named_connectors(path)] == []


def test_only_its_own_command_knows_the_outbox_helper():
    users = [relative(p) for p in MODULES if "liberator.outbox" in ours(p)]
    assert users in ([], ["liberator/cli/outbox.py"])


@pytest.mark.parametrize(
    "code",
    [
        "import psycopg",
        "from connectors.postgres import wal",
        "def f():\n    'doc'\n    return kind == 'mysql'",
        "PostgresThing = 1",
        "x.postgresql_only()",
        "f(sqlite=True)",
        "MAGIC = b'SQLite format 3'",
    ],
)
def test_the_search_for_connector_names_finds_one(tmp_path, monkeypatch, code):
    path = tmp_path / "module.py"
    path.write_text(code)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert named_connectors(path)


def test_events_schemas_and_errors_know_nobody():
    assert ours(CORE / "errors.py") == set()
    below = {"liberator.errors", "liberator.errors.SchemaError", "liberator.errors.LiberatorError"}
    assert ours(CORE / "schema.py") <= below
    # The event's only word of ours is the schema it carries, and only for the type checker.
    assert ours(CORE / "event.py") <= {"liberator.schema", "liberator.schema.TableSchema"}
    assert not any(
        isinstance(node, ast.ImportFrom) and (node.module or "").startswith("liberator")
        for node in parse(CORE / "event.py").body
    )


def test_the_pumps_know_only_the_contracts():
    rooms = [path for room in ("log", "codec", "registry", "cli") for path in (CORE / room).glob("*.py")]
    concrete = {module_name(path) for path in rooms if path.name != "__init__.py"}
    concrete |= {"liberator.cli", "liberator.runner", "liberator.plugins", "liberator.config"}
    for pump in (CORE / "capture.py", CORE / "apply.py"):
        assert ours(pump) & concrete == set()


def test_only_the_command_line_and_the_runner_look_up_plugins():
    know_all = ("cli", "runner.py", "worker.py", "plugins.py", "config.py")
    others = [p for p in CORE_MODULES if p.relative_to(CORE).parts[0] not in know_all]
    assert [relative(p) for p in others if "liberator.plugins" in ours(p)] == []


def test_sources_and_sinks_of_one_database_do_not_import_another_database():
    databases = {
        p.name for p in CONNECTORS.iterdir() if p.is_dir() and p.name not in ("sql", "demo", "__pycache__")
    }
    crossings = [
        f"{relative(path)}: {name}"
        for path in MODULES
        if path.is_relative_to(CONNECTORS)
        and (home := path.relative_to(CONNECTORS).parts[0]) in {*databases, "sql"}
        for name in ours(path)
        if name.split(".")[0] == "connectors"
        and name.split(".")[1:2]
        and name.split(".")[1] in databases - {home}
    ]
    assert crossings == []


def test_every_module_is_named_after_what_it_holds():
    assert [relative(p) for p in MODULES if NAMELESS & set(p.relative_to(ROOT).with_suffix("").parts)] == []


def test_every_module_says_what_lives_in_it():
    assert [relative(p) for p in MODULES if p.stat().st_size and not ast.get_docstring(parse(p))] == []


def test_no_module_outgrows_its_reader():
    sizes = {relative(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES if p != HELPER}
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}


def test_every_sql_file_lives_beside_a_module():
    assert [relative(p) for p in CORE.rglob("*.sql") if not list(p.parent.glob("*.py"))] == []


def test_the_outbox_helper_can_be_copied_into_an_old_application():
    """Python 3.8's grammar, its standard library, and nothing of ours."""
    text = HELPER.read_text(encoding="utf-8")
    ast.parse(text, str(HELPER), feature_version=(3, 8))
    assert {name.split(".")[0] for name in imports(HELPER)} - {"fastavro"} <= STDLIB_OF_38
    assert not {"removeprefix", "removesuffix", "pairwise", "to_thread", "bit_count"} & {
        word for _, word in words(HELPER)
    }
