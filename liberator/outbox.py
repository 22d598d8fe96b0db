"""The transactional outbox, for the application that has the data: one file, standard library only.

    from liberator.outbox import Outbox

    outbox = Outbox()
    with connection:                                      # the transaction that you have already
        cursor.execute("update orders set state = 'placed' where id = 42")
        outbox.publish(connection, aggregate_type="order", aggregate_id="42",
                       event_type="OrderPlaced", payload={"total": "12.30"})

The event is a row of a table of yours, written by your transaction: it is published if and only if that
commits. ``connection`` is what you have: a connection or cursor of psycopg 3, psycopg2, PyMySQL, mysqlclient,
mysql-connector or sqlite3, a SQLAlchemy Session or Connection, Django's connection. With asyncio, write
``await outbox.publish_async(…)``: SQLAlchemy's AsyncSession and AsyncConnection, psycopg's AsyncConnection,
asyncpg, aiosqlite. ``outbox.ddl("postgresql")`` is the table. Copy this file if you would rather not install
anything: it needs Python 3.8 and nothing else.

Statements are written once, as generators that yield them and get their results; who executes them, a driver
or an event loop's driver, is the business of the small classes at the end. Nothing is read here.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing below is looked up when Python 3.8 runs this
    from collections.abc import Callable, Generator, Mapping

    #: One statement, ``?`` for each parameter; answered with the rows and how many rows were affected.
    Statement = tuple[str, tuple[Any, ...]]
    Answer = tuple[list[Any], int]
    Plan = Generator[Statement, Answer, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")
_LONGEST = 255


class OutboxError(Exception):
    """The event was not published; the message says what to do. Roll the transaction back."""


class NotInTransaction(OutboxError):
    """The connection commits every statement by itself: the event could not depend on anything."""


class InvalidPayload(OutboxError):
    """The payload cannot be serialized, or is not what its schema says."""


class VersionConflict(OutboxError):
    """Somebody else has published this version of the aggregate, or one before it is missing."""


class Outbox:
    """Publishes events through the table ``table``, or on Postgres through its log alone.

    ``schemas`` maps event types to Avro schemas (a dict, JSON text, or the path of a file; None: JSON): then
    payloads are Avro, checked and serialized in ``publish``, which needs fastavro. Otherwise they are JSON;
    ``default`` is that of ``json.dumps``, for values that JSON does not know. ``versions``: number the events
    of an aggregate 1, 2, 3, …, which also puts concurrent transactions of one aggregate into an order.
    ``transport="message"``, Postgres only: no table; the event is a logical message with ``prefix``.
    """

    def __init__(
        self,
        table: str = "outbox",
        schemas: Mapping[str, Any] | None = None,
        *,
        versions: bool = False,
        default: Callable[[Any], Any] | None = None,
        transport: str = "table",
        prefix: str = "liberator.outbox",
    ):
        self.table = _checked_name(table)
        if transport not in ("table", "message"):
            raise OutboxError('transport is "table" or "message"')
        self._schemas = None if schemas is None else {k: _Avro.load(k, v) for k, v in schemas.items()}
        self._versions = versions
        self._default = default
        self._prefix = prefix if transport == "message" else None

    def publish(self, connection: Any, **event: Any) -> str:
        """Write one event into the transaction that ``connection`` is in; return its id (a UUIDv7).

        ``aggregate_type``, ``aggregate_id``: what it is about; events of one aggregate stay in order.
        ``event_type``: what happened. ``payload``: what the event says. ``headers``: more about it, as plain
        data. ``version``: with ``versions``, the one that this must be; it is counted up if left out.
        ``event_id``: if you have made one yourself. Raises OutboxError, and whatever the driver raises.
        """
        target = _target(connection)
        if isinstance(target, _Waiting):
            raise OutboxError("this is an asyncio connection: write `await outbox.publish_async(…)`")
        return str(_run(target, self._publishing(target.dialect, **event)))

    async def publish_async(self, connection: Any, **event: Any) -> str:
        """:meth:`publish` for a connection or session of asyncio."""
        return str(await _run_async(connection, lambda dialect: self._publishing(dialect, **event)))

    def _publishing(
        self,
        dialect: str,
        *,
        aggregate_type: str,
        aggregate_id: Any,
        event_type: str,
        payload: Any,
        headers: Mapping[str, Any] | None = None,
        version: int | None = None,
        event_id: Any = None,
    ) -> Plan:
        names = (str(aggregate_type), str(aggregate_id), str(event_type))
        if not all(0 < len(name) <= _LONGEST for name in names):
            raise OutboxError(f"aggregate_type, aggregate_id and event_type have 1 to {_LONGEST} characters")
        content, schema = self._serialized(names[2], payload)
        identity = str(event_id or uuid7())
        if self._versions:
            version = yield from self._next_version(dialect, names[0], names[1], version)
        elif version is not None:
            raise OutboxError("versions are not kept: make Outbox(versions=True), and its table")
        row: dict[str, Any] = {
            "event_id": identity,
            "aggregate_type": names[0],
            "aggregate_id": names[1],
            "event_type": names[2],
            "version": version,
            "payload": content,
            "payload_schema": schema,
            "headers": None if headers is None else self._json("headers", headers),
        }
        row = {name: value for name, value in row.items() if value is not None}
        if self._prefix is None:
            marks = ", ".join("?" * len(row))
            columns = ", ".join(row)
            into = _quote(dialect, self.table)
            yield f"insert into {into} ({columns}) values ({marks})", tuple(row.values())
        else:
            if dialect != "postgresql":
                raise OutboxError("only Postgres has a log to write messages to: use the table")
            if isinstance(content, bytes):
                row["payload"] = base64.b64encode(content).decode()
            emit = "select pg_logical_emit_message(true, ?, cast(? as text))"
            yield emit, (self._prefix, json.dumps(row, ensure_ascii=False))
        return identity

    def _next_version(self, dialect: str, kind: str, identity: str, wanted: int | None) -> Plan:
        """Count up, which also locks the aggregate until the transaction ends: its events cannot overtake
        each other between here and the commit."""
        table = _quote(dialect, self.table + "_version")
        old = _quote(dialect, self.table.rpartition(".")[2] + "_version") + ".version"
        update = (
            "duplicate key update"
            if dialect == "mysql"
            else "conflict (aggregate_type, aggregate_id) do update set"
        )
        yield (
            f"insert into {table} (aggregate_type, aggregate_id, version) values (?, ?, ?)"
            f" on {update} version = {old} + 1",
            (kind, identity, 1 if wanted is None else wanted),
        )
        where = "where aggregate_type = ? and aggregate_id = ?"
        rows, _ = yield f"select version from {table} {where}", (kind, identity)
        version = _first(rows[0])
        if wanted is not None and version != wanted:
            raise VersionConflict(
                f"the next version of this {kind} is {version}, not {wanted}: read it again and retry"
            )
        return version

    def _serialized(self, event_type: str, payload: Any) -> tuple[Any, str | None]:
        """The payload as the column holds it, and its schema's text."""
        if self._schemas is None:
            return self._json("payload", payload, event_type), None
        if event_type not in self._schemas:
            known = ", ".join(sorted(self._schemas)) or "none"
            raise InvalidPayload(f"event {event_type} has no schema; there are schemas for: {known}")
        avro = self._schemas[event_type]
        if avro is None:
            return self._json("payload", payload, event_type).encode(), None
        return avro.dump(payload), avro.text

    def _json(self, what: str, value: Any, event_type: str = "") -> str:
        """JSON text; bytes are taken for JSON that is serialized already."""
        of = f"{what} of event {event_type}" if event_type else what
        try:
            if isinstance(value, bytes):
                text = value.decode()
                json.loads(text)
                return text
            text = json.dumps(
                value, default=self._default, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            text.encode()
            return text
        except (ValueError, TypeError, RecursionError) as exc:
            # Messages of ValueError may repeat the value.
            reason = str(exc) if isinstance(exc, TypeError) else "text that is no Unicode, NaN, or not JSON"
            raise InvalidPayload(f"the {of} is not JSON: {reason}") from None

    def ddl(self, dialect: str, *, drain: str = "mark", notify: bool = False) -> str:
        """The statements that make the table for ``postgresql``, ``mysql`` (and MariaDB) or ``sqlite``.

        ``drain`` is how it will be read, ``mark``, ``delete``, ``cursor`` or ``log``, and decides about a
        column and an index. ``notify``, Postgres: wake the reader at each commit.
        """
        if dialect not in _TYPES or drain not in ("mark", "delete", "cursor", "log"):
            raise OutboxError(
                "the dialect is one of postgresql, mysql, sqlite; drain is one of mark, delete, cursor, log"
            )
        types = dict(_TYPES[dialect], payload=_TYPES[dialect]["json" if self._schemas is None else "bytes"])
        table = _quote(dialect, self.table)
        name = self.table.rpartition(".")[2]
        out = []
        if self._prefix is None:
            columns = _COLUMNS.format(**types)
            index = ""
            if drain == "mark":
                columns += ",\n    published_at {time}".format(**types)
                place, where = (
                    ("published_at, id", "") if dialect == "mysql" else ("id", " where published_at is null")
                )
                index = f"create index {name}_unpublished on {table} ({place}){where}"
            out.append(f"create table {table} (\n{columns}\n){types['options']}")
            out += [index] if index else []
            if notify and dialect == "postgresql":
                out.append(
                    _NOTIFY.format(table=table, name=name, function=_quote(dialect, self.table + "_notify"))
                )
        if self._versions:
            versions = _VERSIONS.format(table=_quote(dialect, self.table + "_version"), **types)
            out.append(versions + types["options"])
        return ";\n".join([*out, ""])


class Inbox:
    """The consumer's side: an event that arrives twice is processed once.

    ``consumer`` names who processes, where several share the table.
    """

    def __init__(self, table: str = "inbox", consumer: str = "default"):
        self.table = _checked_name(table)
        self.consumer = consumer

    def process_once(self, connection: Any, event_id: Any) -> bool:
        """Whether this event is new here; if so it is noted, in the transaction in which you process it.

        A second transaction with the same event waits for the first, and gets False if that commits.
        """
        target = _target(connection)
        if isinstance(target, _Waiting):
            raise OutboxError("this is an asyncio connection: write `await inbox.process_once_async(…)`")
        return bool(_run(target, self._processing(target.dialect, str(event_id))))

    async def process_once_async(self, connection: Any, event_id: Any) -> bool:
        """:meth:`process_once` for a connection or session of asyncio."""
        return bool(await _run_async(connection, lambda dialect: self._processing(dialect, str(event_id))))

    def _processing(self, dialect: str, event_id: str) -> Plan:
        if not 0 < len(event_id) <= _LONGEST:
            raise OutboxError(f"an event's id has 1 to {_LONGEST} characters")
        insert, end = ("insert ignore", "") if dialect == "mysql" else ("insert", " on conflict do nothing")
        into = _quote(dialect, self.table)
        _, count = yield (
            f"{insert} into {into} (consumer, event_id) values (?, ?){end}",
            (self.consumer, event_id),
        )
        return count == 1

    def ddl(self, dialect: str) -> str:
        """The statements that make the table; rows are yours to delete once an event cannot come again."""
        if dialect not in _TYPES:
            raise OutboxError("the dialect is one of postgresql, mysql, sqlite")
        types = _TYPES[dialect]
        return _INBOX.format(table=_quote(dialect, self.table), **types) + types["options"] + ";\n"


class _Uuid7:
    """UUIDs of version 7 (RFC 9562) that grow, also within a millisecond and when the clock goes back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = self._pid = 0

    def __call__(self) -> str:
        with self._lock:
            tail = int.from_bytes(os.urandom(10), "big") >> 6  # 74 bits
            milliseconds = time.time_ns() // 1_000_000
            number = milliseconds << 74 | tail >> 1
            # After a fork both processes would count on from the same number.
            if self._pid == os.getpid() and milliseconds <= self._last >> 74:
                number = self._last + 1 + (tail & 0xFFFFFFFF)
            self._last, self._pid = number, os.getpid()
        high, low = number >> 62, number & (1 << 62) - 1
        text = "%032x" % (high >> 12 << 80 | 7 << 76 | (high & 0xFFF) << 64 | 2 << 62 | low)
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


uuid7 = _Uuid7()


class _Avro:
    """One Avro schema: what fits it becomes bytes, what does not is refused."""

    def __init__(self, event_type: str, schema: Any, fastavro: Any):
        self.text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
        self._event_type = event_type
        self._fastavro = fastavro
        self._parsed = fastavro.parse_schema(schema)

    @classmethod
    def load(cls, event_type: str, given: Any) -> _Avro | None:
        """A schema from a dict, from JSON text, or from a file."""
        if given is None:
            return None
        try:
            import fastavro
        except ImportError:
            raise OutboxError("Avro schemas need fastavro: pip install fastavro") from None
        if isinstance(given, (str, os.PathLike)):
            text = str(given)
            given = json.loads(
                text if text.lstrip()[:1] in ("{", "[", '"') else Path(text).read_text("utf-8")
            )
        return cls(event_type, given, fastavro)

    def dump(self, payload: Any) -> bytes:
        """Avro's binary encoding, without a frame. Fields too many or too few are errors."""
        import fastavro.validation

        fields: list[str] = []
        out = io.BytesIO()
        try:
            fastavro.validation.validate(payload, self._parsed, raise_errors=True, strict=False)
            self._fastavro.schemaless_writer(out, self._parsed, payload, strict_allow_default=True)
            return out.getvalue()
        except fastavro.validation.ValidationError as exc:
            fields = [str(getattr(error, "field", "")) for error in exc.errors]
        except Exception:  # values of any kind may raise anything
            pass
        where = f" at {', '.join(filter(None, fields))}" if any(fields) else ": a field too many, or missing"
        raise InvalidPayload(f"the payload of event {self._event_type} does not fit its schema{where}")


def _checked_name(name: str) -> str:
    if not _NAME.match(name):
        raise OutboxError("a table's name is made of letters, digits and _, with a schema: schema.table")
    return name


def _quote(dialect: str, name: str) -> str:
    mark = "`" if dialect == "mysql" else '"'
    return ".".join(mark + part + mark for part in name.split("."))


def _first(row: Any) -> Any:
    """The first column, whatever the application's rows are made of."""
    return next(iter(row.values())) if hasattr(row, "values") and callable(row.values) else row[0]


# -- the tables -----------------------------------------------------------------------------------------

_TYPES = {
    "postgresql": {
        "id": "bigint generated always as identity primary key",
        "uuid": "uuid",
        "name": "text",
        "json": "json",
        "bytes": "bytea",
        "text": "text",
        "time": "timestamptz",
        "now": "now()",
        "options": "",
    },
    "mysql": {
        "id": "bigint not null auto_increment primary key",
        "uuid": "char(36) character set ascii",
        "name": "varchar(255) character set utf8mb4 collate utf8mb4_bin",
        "json": "longtext character set utf8mb4",
        "bytes": "longblob",
        "text": "longtext character set utf8mb4",
        "time": "timestamp(6) null",
        "now": "now(6)",
        "options": " engine=InnoDB",
    },
    "sqlite": {
        "id": "integer primary key autoincrement",
        "uuid": "text",
        "name": "text",
        "json": "text",
        "bytes": "blob",
        "text": "text",
        "time": "text",
        "now": "(strftime('%Y-%m-%d %H:%M:%f', 'now'))",
        "options": "",
    },
}
_COLUMNS = """\
    id {id},
    event_id {uuid} not null unique,
    aggregate_type {name} not null,
    aggregate_id {name} not null,
    version bigint,
    event_type {name} not null,
    payload {payload} not null,
    payload_schema {text},
    headers {json},
    created_at {time} default {now}"""
_VERSIONS = """\
create table {table} (
    aggregate_type {name} not null,
    aggregate_id {name} not null,
    version bigint not null,
    primary key (aggregate_type, aggregate_id)
)"""
_INBOX = """\
create table {table} (
    consumer {name} not null,
    event_id {name} not null,
    processed_at {time} default {now},
    primary key (consumer, event_id)
)"""
_NOTIFY = """\
create function {function}() returns trigger language plpgsql as
    $$begin perform pg_notify('liberator_{name}', ''); return null; end$$;
create trigger {name}_notify after insert on {table} for each statement execute function {function}()"""


# -- who executes the statements ------------------------------------------------------------------------


class _Driver:
    """A connection of one driver. ``outside``: whether a statement would be committed by itself."""

    dialect = ""
    mark = "%s"
    advice = "begin a transaction first"

    def __init__(self, connection: Any):
        self.connection = connection

    def outside(self) -> bool:
        raise NotImplementedError

    def cursor(self) -> Any:
        return self.connection.cursor()

    def execute(self, statement: Statement) -> Any:
        cursor = self.cursor()
        try:
            cursor.execute(_marked(statement[0], self.mark), statement[1])
            return (cursor.fetchall() if cursor.description else []), cursor.rowcount
        finally:
            cursor.close()


class _Waiting(_Driver):
    """A driver of asyncio: ``execute`` is awaited."""


class _Psycopg(_Driver):
    dialect = "postgresql"
    advice = "write `with connection.transaction():` around it, or connect without autocommit"

    def outside(self) -> bool:
        return bool(self.connection.autocommit) and self.connection.info.transaction_status == 0

    def cursor(self) -> Any:
        # The connection's own cursors may want another kind of placeholders.
        return sys.modules["psycopg"].Cursor(self.connection)


class _AsyncPsycopg(_Psycopg, _Waiting):
    async def execute(self, statement: Statement) -> Any:
        async with sys.modules["psycopg"].AsyncCursor(self.connection) as cursor:
            await cursor.execute(_marked(statement[0], self.mark), statement[1])
            return (await cursor.fetchall() if cursor.description else []), cursor.rowcount


class _Psycopg2(_Driver):
    dialect = "postgresql"
    advice = "set connection.autocommit = False"

    def outside(self) -> bool:
        return bool(self.connection.autocommit) and self.connection.get_transaction_status() == 0


class _Asyncpg(_Waiting):
    dialect = "postgresql"
    advice = "write `async with connection.transaction():` around it"

    def outside(self) -> bool:
        return not self.connection.is_in_transaction()

    async def execute(self, statement: Statement) -> Any:
        prepared = await self.connection.prepare(_marked(statement[0], "$"))
        rows = await prepared.fetch(*statement[1])
        return rows, int((prepared.get_statusmsg() or "0").split()[-1])


class _PyMySql(_Driver):
    dialect = "mysql"
    advice = "call connection.begin(), or connect without autocommit"

    def outside(self) -> bool:
        return bool(self.connection.get_autocommit()) and not self.connection.server_status & 1


class _MySqlClient(_Driver):
    dialect = "mysql"
    advice = "call connection.begin(), or connection.autocommit(False)"

    def outside(self) -> bool:
        """The driver does not tell whether a transaction is open: a savepoint lasts only in one."""
        if not self.connection.get_autocommit():
            return False
        try:
            self.execute(("savepoint liberator_outbox", ()))
            self.execute(("release savepoint liberator_outbox", ()))
            return False
        except self.connection.Error as exc:
            if exc.args[0] == 1305:  # ER_SP_DOES_NOT_EXIST
                return True
            raise


class _MySqlConnector(_Driver):
    dialect = "mysql"
    advice = "call connection.start_transaction(), or set connection.autocommit = False"

    def outside(self) -> bool:
        return not self.connection.in_transaction and bool(self.connection.autocommit)


class _Sqlite(_Driver):
    dialect = "sqlite"
    mark = "?"
    advice = 'execute "begin" first, or connect without autocommit (isolation_level=None)'

    def outside(self) -> bool:
        raw = self.connection
        return not raw.in_transaction and (
            raw.isolation_level is None or getattr(raw, "autocommit", None) is True
        )


class _Aiosqlite(_Sqlite, _Waiting):
    async def execute(self, statement: Statement) -> Any:
        async with self.connection.execute(*statement) as cursor:
            return (await cursor.fetchall() if cursor.description else []), cursor.rowcount


class _Django(_Driver):
    advice = "write `with transaction.atomic():` around it"

    def __init__(self, connection: Any):
        super().__init__(connection)
        self.dialect = connection.vendor

    def outside(self) -> bool:
        return not self.connection.in_atomic_block and bool(self.connection.get_autocommit())


class _SqlAlchemy(_Driver):
    advice = "use a connection whose isolation_level is not AUTOCOMMIT"

    def __init__(self, connection: Any):
        super().__init__(connection)
        self.dialect = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
        styles = {"qmark": "?", "numeric_dollar": "$"}
        self.mark = styles.get(connection.dialect.paramstyle, "%s")

    def outside(self) -> bool:
        if sys.modules["sqlalchemy"].__version__.startswith("1.") and not self.connection.in_transaction():
            return True  # before 2.0 a connection commits by itself until it is told to begin
        pooled = self.connection.connection
        raw = _family(pooled.driver_connection)
        detect = getattr(self.connection.dialect, "detect_autocommit_setting", None)
        alone = self.connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        if not alone and detect is not None:
            alone = bool(detect(pooled.dbapi_connection))
        elif not alone:
            alone = raw is not None and not issubclass(raw, _Waiting)
        return alone and (raw is None or raw(pooled.driver_connection).outside())

    def execute(self, statement: Statement) -> Any:
        result = self.connection.exec_driver_sql(_marked(statement[0], self.mark), statement[1])
        return (result.fetchall() if result.returns_rows else []), result.rowcount


_FAMILIES: dict[str, Any] = {
    "psycopg": _Psycopg,
    "psycopg2": _Psycopg2,
    "asyncpg": _Asyncpg,
    "pymysql": _PyMySql,
    "MySQLdb": _MySqlClient,
    "mysql": _MySqlConnector,
    "sqlite3": _Sqlite,
    "aiosqlite": _Aiosqlite,
    "django": _Django,
    "sqlalchemy": _SqlAlchemy,
}


def _marked(sql: str, mark: str) -> str:
    """``sql`` with the driver's own placeholders; there is no other ``?`` in it."""
    first, *rest = sql.split("?")
    return first + "".join(f"${i}{part}" if mark == "$" else mark + part for i, part in enumerate(rest, 1))


def _family(connection: Any) -> Any:
    """The class for this connection or cursor; None for one of a driver that we do not know."""
    classes = connection.__class__.__mro__
    family = next((f for c in classes if (f := _FAMILIES.get(c.__module__.partition(".")[0]))), None)
    if family is _Psycopg and any(c.__name__.startswith(("AsyncConnection", "AsyncCursor")) for c in classes):
        return _AsyncPsycopg
    return family


def _target(connection: Any) -> _Driver:
    """The driver behind what the application has. Raises OutboxError."""
    family = _family(connection)
    if family is _SqlAlchemy:
        connection, family = _unwrapped(connection)
    elif family is not None and not hasattr(connection, "commit") and family is not _Asyncpg:
        # It is a cursor; each driver calls its connection something else, and Django's pass on their own.
        links = ("db",) if family is _Django else ("connection", "_conn", "_connection", "_cnx")
        found = (getattr(connection, link, None) for link in links)
        connection = next((c for c in found if c is not None), None)
    if family is None or connection is None:
        raise OutboxError(
            f"a {type(connection).__name__} is no connection that liberator knows: pass the connection or"
            " cursor of the database driver, or a Session or Connection of SQLAlchemy"
        )
    target: _Driver = family(connection)
    if target.dialect not in _TYPES and family is not _Waiting:
        raise OutboxError("the database is none of PostgreSQL, MySQL, MariaDB and SQLite")
    return target


def _unwrapped(connection: Any) -> tuple[Any, Any]:
    """The Connection of a Session, what a Session holds back being written; or a pool's own connection."""
    if hasattr(connection, "registry") and hasattr(connection, "remove"):
        connection = connection()  # scoped_session
    if hasattr(connection, "run_sync"):
        return connection, _Waiting
    if hasattr(connection, "driver_connection"):
        return connection.driver_connection, _family(connection.driver_connection)
    if hasattr(connection, "flush"):
        # The application's own rows come first: their locks put the events of an aggregate into an order.
        connection.flush()
        connection = connection.connection()
    return (connection, _SqlAlchemy) if hasattr(connection, "exec_driver_sql") else (None, None)


def _refuse_autocommit(target: _Driver) -> None:
    if target.outside():
        raise NotInTransaction(
            "nothing was published: this connection commits every statement by itself, so the event would not"
            f" depend on your transaction; {target.advice}"
        )


def _run(target: _Driver, plan: Plan) -> Any:
    _refuse_autocommit(target)
    try:
        statement = next(plan)
        while True:
            statement = plan.send(target.execute(statement))
    except StopIteration as end:
        return end.value


async def _run_async(connection: Any, plan: Callable[[str], Plan]) -> Any:
    if _family(connection) is _SqlAlchemy and hasattr(connection, "registry"):
        connection = connection()  # async_scoped_session
    if _family(connection) is _SqlAlchemy and hasattr(connection, "run_sync"):

        def work(inner: Any) -> Any:
            found = _target(inner)
            return _run(found, plan(found.dialect))

        return await connection.run_sync(work)
    target = _target(connection)
    if not isinstance(target, _Waiting):
        raise OutboxError("this is not an asyncio connection: call it without `await`, and without _async")
    _refuse_autocommit(target)
    steps = plan(target.dialect)
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await target.execute(statement))
    except StopIteration as end:
        return end.value
