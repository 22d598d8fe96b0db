"""A first configuration, written from a server: ``liberator init mysql://…``."""

from __future__ import annotations

from connectors.mysql import catalog
from connectors.mysql.connection import arguments, connect, translate
from liberator.patterns import escape

_TEMPLATE = """\
# liberator: what to capture from where, and where to write it.
# `liberator check --config FILE` looks at everything; `liberator run --config FILE` does it.

log: {{type: embedded, path: ./var/{name}.log}}

sources:
  {name}:
    type: mysql-binlog
    url: ${{{variable}}}          # {url}
    tables:                       # {count} in {schemas}
{tables}
    snapshot: initial             # read what is there, then go on with changes

sinks:
  replica:
    type: sqlite                  # or mysql, postgres, stdout
    url: sqlite:///{name}.db
    topics: [{name}.*]
    mode: upsert                  # the tables mirror the source
"""


def configuration(url: str) -> str:
    """YAML text for the server at ``url``; the password, if any, is left to the environment."""
    from liberator.options import redact

    database = arguments(url).get("database")
    with connect(url, "liberator init") as conn, translate("read the catalog"):
        tables = catalog.all_tables(conn)
    if database:
        tables = [t for t in tables if t.schema == database]
    schemas = sorted({t.schema for t in tables})
    chosen = database or (schemas[0] if len(schemas) == 1 else "db")
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in chosen.lower()).strip("_") or "db"
    lines = [f"      - {_quoted(escape(s) + '.*')}" for s in schemas] or ['      - "*.*"']
    return _TEMPLATE.format(
        name=name, variable=f"{name.upper()}_URL", url=redact(url), count=len(tables),
        schemas=", ".join(schemas) or "no database yet", tables="\n".join(lines),
    )  # fmt: skip


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
