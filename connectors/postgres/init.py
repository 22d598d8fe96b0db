"""A first configuration, written from a database: ``liberator init postgresql://…``."""

from __future__ import annotations

from connectors.postgres import catalog
from connectors.postgres.catalog import Table
from connectors.postgres.connection import connect
from liberator.patterns import escape

_TEMPLATE = """\
# liberator: what to capture from where, and where to write it.
# `liberator check --config FILE` looks at everything; `liberator run --config FILE` does it.

log: {{type: embedded, path: ./var/{name}.log}}

sources:
  {name}:
    type: postgres-wal
    url: ${{{variable}}}          # {url}
    tables:                       # {count} in {schemas}
{tables}
    snapshot: initial             # read what is there, then go on with changes
{identity}
sinks:
  replica:
    type: sqlite                  # or postgres, stdout
    url: sqlite:///{name}.db
    topics: [{name}.*]
    mode: upsert                  # the tables mirror the source
"""


def configuration(url: str) -> str:
    """YAML text for the database at ``url``; the password, if any, is left to the environment."""
    from liberator.options import redact

    with connect(url, "liberator init") as conn:
        tables = catalog.all_tables(conn)
        database = catalog.server(conn)["database"]
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in database.lower()).strip("_") or "db"
    roots = [t for t in tables if not t.ancestors]
    schemas = sorted({t.schema for t in roots})
    lines = [f"      - {_quoted(escape(s) + '.*')}" for s in schemas] or ["      - public.*"]
    bare = [t for t in roots if not t.identified]
    lines += [_left_out(t) for t in bare]
    identity = ""
    if bare:
        identity = (
            "    # Tables without a replica identity are left out above: publishing them would make the\n"
            "    # application's updates fail. Give them a primary key, or `replica identity full`, or\n"
            "    # without_identity: insert_only\n"
        )
    return _TEMPLATE.format(
        name=name, variable=f"{name.upper()}_URL", url=redact(url), count=len(roots),
        schemas=", ".join(schemas) or "no schema yet", tables="\n".join(lines), identity=identity,
    )  # fmt: skip


def _left_out(table: Table) -> str:
    return f"      - {_quoted(f'!{escape(table.schema)}.{escape(table.name)}')}   # no replica identity"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
