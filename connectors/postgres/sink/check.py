"""What ``liberator check`` looks at before a sink writes to Postgres."""

from __future__ import annotations

from connectors.postgres.connection import connect
from connectors.sql.statements import load
from liberator.errors import LiberatorError
from liberator.preflight import Finding

SQL = load("connectors.postgres.sink", "sink.sql")
OLDEST = 13


def findings(url: str, schema: str | None) -> list[Finding]:
    """Whether the server can be reached, is one that we know, and lets our role create and write."""
    try:
        conn = connect(url, "liberator check")
    except LiberatorError as exc:
        return [Finding("error", "connection", str(exc), exc.hint or "check the sink's url", option="url")]
    with conn:
        row = conn.execute(
            SQL["check"].replace("$1", "%(schema)s::text").encode(), {"schema": schema}
        ).fetchone()
    assert row is not None
    version, recovering, home, role, may_create_schema, may_stage, may_create = row
    out = [Finding("ok", "connection", f"connected as {role}")]
    if version // 10_000 < OLDEST:
        out.append(
            Finding(
                "error",
                "version",
                f"Postgres {version // 10_000} is too old",
                f"upgrade to {OLDEST} or newer",
            )
        )
    if recovering:
        out.append(
            Finding("error", "read only", "the server is a standby", "use the URL of the primary server")
        )
    if not may_stage:
        out.append(
            Finding(
                "error",
                "privileges",
                f"role {role} may not create temporary tables",
                f"grant temporary on database … to {role}",
            )
        )
    out += _schema_findings(home, role, may_create, may_create_schema)
    return out


def _schema_findings(
    home: str | None, role: str, may_create: bool | None, may_create_schema: bool
) -> list[Finding]:
    if home is None:
        return [
            Finding("error", "schema", "no schema of the search path exists", "set the sink's option schema")
        ]
    if may_create is None:
        if may_create_schema:
            return [Finding("ok", "schema", f"schema {home} will be created")]
        return [
            Finding(
                "error",
                "schema",
                f"there is no schema {home}, and role {role} may not create it",
                f'create schema "{home}" authorization "{role}"',
            )
        ]
    if not may_create:
        return [
            Finding(
                "error",
                "privileges",
                f"role {role} may not create tables in schema {home}, which the cursor needs at least",
                f'grant create, usage on schema "{home}" to "{role}"',
            )
        ]
    return [Finding("ok", "schema", f"role {role} may create tables in schema {home}")]
