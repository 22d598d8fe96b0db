"""Connections to Postgres: session settings, error translation, LSNs as text.

Every connection of ours has the same session settings, because the type functions rely on them: a date
or an interval has one spelling, and it is the same in a snapshot, in the stream and in a sink.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import conninfo

from liberator.errors import LiberatorError, SourceError

#: What the type functions expect of a session (https://www.postgresql.org/docs/current/runtime-config-client.html).
SESSION = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "timezone": "UTC",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "xmloption": "content",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    # Rows that a policy hides from us must be an error, not be missing.
    "row_security": "off",
    # Types in public are spelled without their schema, whatever the role's own path is.
    "search_path": "public",
}

#: SQLSTATE classes, or whole codes, after which trying again can help: connection trouble, shutdown,
#: too many connections, object in use, lock not available, serialization failure, deadlock, canceled.
RETRYABLE = ("08", "57P", "53", "55006", "55P03", "40", "57014")

#: What a transaction says of where its changes come from: in a setting of this name, for triggers, and in a
#: logical message with this prefix before its first change, for readers of the WAL.
ORIGIN: Final = "liberator.origin"

Connection = psycopg.Connection[Any]

#: A server that is gone without a word (power, network) is noticed within a minute, not after the two hours
#: that TCP waits by itself; what the URL says wins. Seconds, but tcp_user_timeout: milliseconds.
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "4",
    "tcp_user_timeout": "60000",
}


def dsn(url: str, application: str, **extra: str) -> str:
    """``url`` as a libpq connection string with our session settings; the user's own options come
    first, so that ours win."""
    try:
        params = conninfo.conninfo_to_dict(url)
    except psycopg.Error as exc:
        # The driver's message repeats the URL, which may hold a password.
        raise SourceError(
            "the url is not a connection URL that libpq understands",
            hint="write postgresql://user@host:5432/database",
        ) from exc.with_traceback(None).__cause__
    settings = " ".join(f"-c {name}={_escape(value)}" for name, value in SESSION.items())
    params["options"] = f"{params.get('options') or ''} {settings}".strip()
    params.setdefault("application_name", application)
    for name, value in _PATIENCE.items():
        params.setdefault(name, value)
    params.update(extra)
    return conninfo.make_conninfo("", **params)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def connect(url: str, application: str = "liberator") -> Connection:
    """An autocommit connection. Raises a retryable SourceError if the server cannot be reached."""
    with translate("connect to postgres"):
        return psycopg.connect(dsn(url, application), autocommit=True, prepare_threshold=None)


@contextmanager
def translate(action: str, error: type[LiberatorError] = SourceError) -> Iterator[None]:
    """Turn the driver's errors into ours: ``action`` says what was attempted, in the infinitive."""
    try:
        yield
    except psycopg.Error as exc:
        raise error(f"cannot {action}: {reason(exc)}", retryable=is_retryable(exc)) from exc


def is_retryable(exc: psycopg.Error) -> bool:
    """Whether the same attempt can succeed later."""
    if exc.sqlstate is None:
        # A connection that breaks in the middle of a copy comes as the bare base class.
        return isinstance(exc, psycopg.OperationalError) or type(exc) is psycopg.DatabaseError
    return exc.sqlstate.startswith(RETRYABLE)


def reason(exc: psycopg.Error) -> str:
    """The cause in one line, without values: data exceptions quote them, so only their code is told."""
    state = exc.sqlstate
    if state is None:
        return " ".join(str(exc).split()) or type(exc).__name__
    if state.startswith(("22", "23")):
        return f"{type(exc).__name__} (sqlstate {state})"
    return f"{exc.diag.message_primary} (sqlstate {state})"


def quote(*names: str) -> str:
    """An identifier, always quoted: ``quote("public", "orders")`` is ``"public"."orders"``."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """``text`` as a string literal, whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def parse_lsn(text: str) -> int:
    """``16/B374D848`` as an integer."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(lsn: int) -> str:
    """An integer as Postgres spells an LSN."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
