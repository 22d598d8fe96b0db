"""The helper publishes with every driver that it names: into the application's transaction, only there."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import sys
import uuid
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from liberator.outbox import (
    Inbox,
    InvalidPayload,
    NotInTransaction,
    Outbox,
    OutboxError,
    VersionConflict,
    uuid7,
)
from tests.fix_mysql import connected

EVENT = {
    "aggregate_type": "order",
    "aggregate_id": "42",
    "event_type": "OrderPlaced",
    "payload": {"total": "12.30", "note": "naïve 100% '?' \\ \""},
    "headers": {"trace": "abc"},
}


def execute(connection, *statements):
    cursor = connection.cursor()
    for statement in statements:
        for one in filter(str.strip, statement.split(";\n")):
            cursor.execute(one)


class Shop:
    """A database with the tables of the helper, for one driver."""

    def __init__(self, url, dialect):
        self.url, self.dialect = url, dialect
        self.outbox, self.inbox = Outbox(versions=True), Inbox()

    @property
    def ddl(self):
        return [self.outbox.ddl(self.dialect), self.inbox.ddl(self.dialect), "create table work (id int)"]

    @property
    def parts(self):
        if self.dialect == "postgresql":
            found = psycopg.conninfo.conninfo_to_dict(self.url)
            return {"database": found.pop("dbname"), **found}
        parts = urlsplit(self.url)
        return {
            "host": parts.hostname,
            "port": parts.port,
            "user": parts.username,
            "password": parts.password or "",
            "database": parts.path.strip("/"),
        }


@pytest.fixture
def on_postgres(database):
    shop = Shop(database, "postgresql")
    with psycopg.connect(database) as db:
        execute(db, *shop.ddl)
    shop.rows = lambda: _rows(psycopg.connect(database))
    return shop


@pytest.fixture
def on_mysql(mysql_database):
    return mysql_shop(mysql_database)


@pytest.fixture
def on_mariadb(mariadb_database):
    return mysql_shop(mariadb_database)


def mysql_shop(url):
    shop = Shop(url, "mysql")
    with connected(url) as db:
        execute(db, *shop.ddl)
    shop.rows = lambda: _rows(connected(url).thing)
    return shop


@pytest.fixture
def on_sqlite(tmp_path):
    shop = Shop(str(tmp_path / "shop.db"), "sqlite")
    with closing(sqlite3.connect(shop.url)) as db:
        execute(db, *shop.ddl)
    shop.rows = lambda: _rows(sqlite3.connect(shop.url))
    return shop


def _rows(connection):
    with closing(connection):
        cursor = connection.cursor()
        cursor.execute(
            "select aggregate_type, aggregate_id, event_type, payload, headers, version"
            " from outbox order by id"
        )
        return [
            (kind, id_, type_, *(json.loads(v) if isinstance(v, str) else v for v in rest))
            for kind, id_, type_, *rest in cursor.fetchall()
        ]


def expected(*versions):
    return [("order", "42", "OrderPlaced", EVENT["payload"], {"trace": "abc"}, n) for n in versions]


def psycopg_3(shop):
    return psycopg.connect(shop.url)


def psycopg_3_with_other_rows_and_marks(shop):
    return psycopg.connect(shop.url, row_factory=psycopg.rows.dict_row, cursor_factory=psycopg.RawCursor)


def psycopg_2(shop):
    import psycopg2

    return psycopg2.connect(shop.url)


def psycopg_2_with_dicts(shop):
    import psycopg2
    import psycopg2.extras

    return psycopg2.connect(shop.url, cursor_factory=psycopg2.extras.RealDictCursor)


def pymysql_(shop):
    import pymysql

    return pymysql.connect(**shop.parts)


def pymysql_with_dicts(shop):
    import pymysql

    return pymysql.connect(**shop.parts, cursorclass=pymysql.cursors.DictCursor)


def mysqlclient(shop):
    mysqldb = pytest.importorskip("MySQLdb")
    return mysqldb.connect(**shop.parts)


def mysql_connector(shop):
    import mysql.connector

    return mysql.connector.connect(**shop.parts, use_pure=True)


def mysql_connector_in_c(shop):
    import mysql.connector

    return mysql.connector.connect(**shop.parts)


def sqlite_(shop):
    return sqlite3.connect(shop.url)


def sqlite_with_rows(shop):
    connection = sqlite3.connect(shop.url)
    connection.row_factory = sqlite3.Row
    return connection


POSTGRES = [psycopg_3, psycopg_3_with_other_rows_and_marks, psycopg_2, psycopg_2_with_dicts]
MYSQL = [pymysql_, pymysql_with_dicts, mysqlclient, mysql_connector, mysql_connector_in_c]
SQLITE = [sqlite_, sqlite_with_rows]
DRIVERS = [
    *(("on_postgres", connect) for connect in POSTGRES),
    *(("on_mysql", connect) for connect in MYSQL),
    *(("on_mariadb", connect) for connect in (pymysql_, mysqlclient, mysql_connector)),
    *(("on_sqlite", connect) for connect in SQLITE),
]


@pytest.fixture(params=DRIVERS, ids=lambda pair: f"{pair[0]}-{pair[1].__name__}")
def driver(request):
    shop = request.getfixturevalue(request.param[0])
    with closing(request.param[1](shop)) as connection:
        shop.connection = connection
        yield shop


def test_an_event_is_published_if_and_only_if_the_transaction_commits(driver):
    driver.outbox.publish(driver.connection, **EVENT)
    assert driver.rows() == []
    driver.connection.rollback()
    driver.outbox.publish(driver.connection, **EVENT)
    driver.outbox.publish(driver.connection.cursor(), **EVENT)
    driver.connection.commit()
    assert driver.rows() == expected(1, 2)


def set_autocommit(connection):
    name = type(connection).__module__.partition(".")[0]
    if name in ("pymysql", "MySQLdb"):
        connection.autocommit(True)
    elif name == "sqlite3":
        connection.isolation_level = None
    else:
        connection.autocommit = True


def test_publishing_in_autocommit_is_refused_unless_a_transaction_was_begun(driver):
    connection = driver.connection
    set_autocommit(connection)
    for target in (connection, connection.cursor()):
        with pytest.raises(NotInTransaction, match="commits every statement by itself"):
            driver.outbox.publish(target, **EVENT)
        with pytest.raises(NotInTransaction):
            driver.inbox.process_once(target, "e")
    execute(connection, "begin")
    driver.outbox.publish(connection, **EVENT)
    assert driver.inbox.process_once(connection, "e")
    assert driver.rows() == []
    execute(connection, "commit")
    assert driver.rows() == expected(1)


def test_an_event_is_processed_once(driver):
    inbox, other = driver.inbox, Inbox(consumer="other")
    assert inbox.process_once(driver.connection, "e-1")
    driver.connection.rollback()
    assert [inbox.process_once(driver.connection, "e-1") for _ in range(3)] == [True, False, False]
    driver.connection.commit()
    assert not inbox.process_once(driver.connection, "e-1")
    assert other.process_once(driver.connection, "e-1")
    assert inbox.process_once(driver.connection, uuid.UUID(uuid7()))
    driver.connection.commit()


def test_a_version_that_is_not_the_next_is_refused(driver):
    driver.outbox.publish(driver.connection, **EVENT, version=7)
    driver.outbox.publish(driver.connection, **EVENT, version=8)
    driver.connection.commit()
    for wrong in (8, 10):
        with pytest.raises(VersionConflict, match="the next version of this order is 9"):
            driver.outbox.publish(driver.connection, **EVENT, version=wrong)
        driver.connection.rollback()
    driver.outbox.publish(driver.connection, **EVENT)
    driver.connection.commit()
    assert driver.rows() == expected(7, 8, 9)


AVRO = {
    "type": "record",
    "name": "OrderPlaced",
    "fields": [
        {"name": "total", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


def test_an_avro_payload_is_serialized_before_it_is_inserted(driver, tmp_path):
    import fastavro

    path = tmp_path / "OrderPlaced.avsc"
    path.write_text(json.dumps(AVRO))
    for number, schema in enumerate((AVRO, json.dumps(AVRO), path)):
        outbox = Outbox(f"avro_{number}", schemas={"OrderPlaced": schema, "Ping": None})
        execute(driver.connection, outbox.ddl(driver.dialect))
        for payload in ({"total": "12"}, {}, {"total": 1, "naughty": 2}, {"total": 1 << 70}):
            with pytest.raises(InvalidPayload, match="does not fit its schema"):
                outbox.publish(driver.connection, **{**EVENT, "payload": payload})
        outbox.publish(driver.connection, **{**EVENT, "payload": {"total": 5}})
        outbox.publish(driver.connection, **{**EVENT, "event_type": "Ping", "payload": 1})
        with pytest.raises(InvalidPayload, match="there are schemas for: OrderPlaced, Ping"):
            outbox.publish(driver.connection, **{**EVENT, "event_type": "Pong"})
        cursor = driver.connection.cursor()
        cursor.execute(f"select payload, payload_schema from avro_{number} order by id")
        first, second = (tuple(r.values()) if hasattr(r, "values") else tuple(r) for r in cursor.fetchall())
        parsed = fastavro.parse_schema(json.loads(first[1]))
        assert fastavro.schemaless_reader(io.BytesIO(bytes(first[0])), parsed, None) == {
            "total": 5,
            "note": None,
        }
        assert (bytes(second[0]), second[1]) == (b"1", None)
        driver.connection.rollback()


# -- SQLAlchemy -----------------------------------------------------------------------------------------


def alchemy_url(shop, driver):
    if shop.dialect == "sqlite":
        return f"sqlite+{driver}:///{shop.url}"
    return f"{shop.dialect}+{driver}://{shop.url.partition('://')[2]}"


ALCHEMY = [
    ("on_postgres", "psycopg"),
    ("on_postgres", "psycopg2"),
    ("on_mysql", "pymysql"),
    ("on_mysql", "mysqlconnector"),
    ("on_mysql", "mysqldb"),
    ("on_mariadb", "pymysql"),
    ("on_sqlite", "pysqlite"),
]
ALCHEMY_ASYNC = [("on_postgres", "psycopg"), ("on_postgres", "asyncpg"), ("on_sqlite", "aiosqlite")]


@pytest.fixture(params=ALCHEMY, ids=lambda pair: pair[1])
def alchemy(request):
    import sqlalchemy

    shop = request.getfixturevalue(request.param[0])
    if request.param[1] == "mysqldb":
        pytest.importorskip("MySQLdb")
    shop.engine = sqlalchemy.create_engine(alchemy_url(shop, request.param[1]))
    yield shop
    shop.engine.dispose()


def test_a_session_of_sqlalchemy_writes_the_event_behind_its_own_rows(alchemy):
    from sqlalchemy.orm import Session, declarative_base, mapped_column, scoped_session, sessionmaker
    from sqlalchemy.types import Integer

    base = declarative_base()
    work = type("Work", (base,), {"__tablename__": "work", "id": mapped_column(Integer, primary_key=True)})
    with Session(alchemy.engine) as session:
        session.add(work(id=1))
        alchemy.outbox.publish(session, **EVENT)
        assert not session.new, "what the application has added is written first"
        session.rollback()
        assert alchemy.rows() == []
        with session.begin():
            alchemy.outbox.publish(session, **EVENT)
            assert alchemy.inbox.process_once(session, "e-1")
            assert not alchemy.inbox.process_once(session, "e-1")
    scoped = scoped_session(sessionmaker(alchemy.engine))
    alchemy.outbox.publish(scoped, **EVENT)
    scoped.commit()
    scoped.remove()
    assert alchemy.rows() == expected(1, 2)


def test_a_connection_of_sqlalchemy_publishes(alchemy):
    with alchemy.engine.begin() as connection:
        alchemy.outbox.publish(connection, **EVENT)
    with closing(alchemy.engine.raw_connection()) as raw:
        alchemy.outbox.publish(raw, **EVENT)
        raw.commit()
    assert alchemy.rows() == expected(1, 2)
    with pytest.raises(OutboxError, match="is no connection"):
        alchemy.outbox.publish(alchemy.engine, **EVENT)


def test_sqlalchemy_in_autocommit_is_refused(alchemy):
    import sqlalchemy
    from sqlalchemy.orm import Session

    always = sqlalchemy.create_engine(alchemy.engine.url, isolation_level="AUTOCOMMIT")
    for engine in (alchemy.engine.execution_options(isolation_level="AUTOCOMMIT"), always):
        with engine.connect() as connection, pytest.raises(NotInTransaction):
            alchemy.outbox.publish(connection, **EVENT)
        with Session(engine) as session, pytest.raises(NotInTransaction):
            alchemy.outbox.publish(session, **EVENT)
    always.dispose()
    assert alchemy.rows() == []


@pytest.mark.parametrize("pair", ALCHEMY_ASYNC, ids=lambda pair: pair[1])
def test_sqlalchemys_asyncio_is_awaited(request, pair):
    from sqlalchemy.ext.asyncio import (
        AsyncSession,
        async_scoped_session,
        async_sessionmaker,
        create_async_engine,
    )

    shop = request.getfixturevalue(pair[0])

    async def work():
        engine = create_async_engine(alchemy_url(shop, pair[1]))
        async with AsyncSession(engine) as session:
            await shop.outbox.publish_async(session, **EVENT)
            await session.rollback()
            assert shop.rows() == []
            await shop.outbox.publish_async(session, **EVENT)
            assert await shop.inbox.process_once_async(session, "e-1")
            assert not await shop.inbox.process_once_async(session, "e-1")
            with pytest.raises(OutboxError, match="await"):
                shop.outbox.publish(session, **EVENT)
            await session.commit()
        async with engine.begin() as connection:
            await shop.outbox.publish_async(connection, **EVENT)
        scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        await shop.outbox.publish_async(scoped, **EVENT)
        await scoped.commit()
        await scoped.remove()
        alone = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with alone.connect() as connection:
            with pytest.raises(NotInTransaction):
                await shop.outbox.publish_async(connection, **EVENT)
        await engine.dispose()

    asyncio.run(work())
    assert shop.rows() == expected(1, 2, 3)


# -- asyncio without SQLAlchemy -------------------------------------------------------------------------


def test_psycopgs_asyncio_is_awaited(on_postgres):
    async def work():
        async with await psycopg.AsyncConnection.connect(on_postgres.url) as connection:
            await on_postgres.outbox.publish_async(connection, **EVENT)
            await on_postgres.outbox.publish_async(connection.cursor(), **EVENT)
            assert await on_postgres.inbox.process_once_async(connection, "e-1")
            assert not await on_postgres.inbox.process_once_async(connection, "e-1")
            with pytest.raises(OutboxError, match="await"):
                on_postgres.outbox.publish(connection, **EVENT)
            with pytest.raises(OutboxError, match="await"):
                on_postgres.inbox.process_once(connection, "e")
            await connection.commit()
            await connection.set_autocommit(True)
            with pytest.raises(NotInTransaction):
                await on_postgres.outbox.publish_async(connection, **EVENT)
            async with connection.transaction():
                await on_postgres.outbox.publish_async(connection, **EVENT)

    asyncio.run(work())
    assert on_postgres.rows() == expected(1, 2, 3)


def test_asyncpg_is_awaited(on_postgres):
    import asyncpg

    async def work():
        connection = await asyncpg.connect(on_postgres.url)
        with pytest.raises(NotInTransaction):
            await on_postgres.outbox.publish_async(connection, **EVENT)
        async with connection.transaction():
            await on_postgres.outbox.publish_async(connection, **EVENT)
            assert await on_postgres.inbox.process_once_async(connection, "e-1")
            assert not await on_postgres.inbox.process_once_async(connection, "e-1")
        await connection.close()

    asyncio.run(work())
    assert on_postgres.rows() == expected(1)


def test_aiosqlite_is_awaited(on_sqlite):
    import aiosqlite

    async def work():
        async with aiosqlite.connect(on_sqlite.url) as connection:
            await on_sqlite.outbox.publish_async(connection, **EVENT)
            assert await on_sqlite.inbox.process_once_async(connection, "e-1")
            assert not await on_sqlite.inbox.process_once_async(connection, "e-1")
            await connection.commit()
        async with aiosqlite.connect(on_sqlite.url, isolation_level=None) as connection:
            with pytest.raises(NotInTransaction):
                await on_sqlite.outbox.publish_async(connection, **EVENT)

    asyncio.run(work())
    assert on_sqlite.rows() == expected(1)


def test_what_is_not_asynchronous_is_not_awaited(on_sqlite):
    with closing(sqlite3.connect(on_sqlite.url)) as db, pytest.raises(OutboxError, match="without `await`"):
        asyncio.run(on_sqlite.outbox.publish_async(db, **EVENT))


# -- Django ---------------------------------------------------------------------------------------------


DJANGO = {"on_postgres": "postgresql", "on_mariadb": "mysql", "on_sqlite": "sqlite3"}


@pytest.mark.parametrize("shop", DJANGO)
def test_djangos_connection_publishes_inside_atomic(request, shop):
    import django
    from django.conf import settings
    from django.db import connections, transaction
    from django.db.utils import ConnectionHandler

    kind, shop = DJANGO[shop], request.getfixturevalue(shop)
    if kind == "mysql":
        pytest.importorskip("MySQLdb")
    if not settings.configured:
        settings.configure(USE_TZ=True)
        django.setup()
    parts = shop.parts if shop.dialect != "sqlite" else {"database": shop.url}
    named = {"NAME": parts.pop("database"), **{name.upper(): str(value) for name, value in parts.items()}}
    handler = ConnectionHandler({"default": {"ENGINE": f"django.db.backends.{kind}", **named}})
    connections["default"] = connection = handler["default"]
    try:
        with pytest.raises(NotInTransaction, match="atomic"):
            shop.outbox.publish(connection, **EVENT)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            shop.outbox.publish(connection, **EVENT)
            raise ZeroDivisionError
        with transaction.atomic():
            from django.db import connection as proxy

            shop.outbox.publish(proxy, **EVENT)
            with connection.cursor() as cursor:
                shop.outbox.publish(cursor, **EVENT)
            assert shop.inbox.process_once(connection, "e-1")
            assert not shop.inbox.process_once(connection, "e-1")
    finally:
        connection.close()
        del connections["default"]
    assert shop.rows() == expected(1, 2)


# -- Postgres's log in place of a table -----------------------------------------------------------------


def test_a_message_needs_no_table_and_postgres(on_postgres, on_sqlite):
    outbox = Outbox(transport="message")
    assert outbox.ddl("postgresql") == ""
    with psycopg.connect(on_postgres.url) as db:
        outbox.publish(db, **EVENT)
    with closing(sqlite3.connect(on_sqlite.url)) as db, pytest.raises(OutboxError, match="only Postgres"):
        outbox.publish(db, **EVENT)


def test_two_transactions_of_one_aggregate_take_turns(on_postgres):
    """The second gets its version only once the first has committed: it cannot overtake it."""
    with psycopg.connect(on_postgres.url) as first, psycopg.connect(on_postgres.url) as second:
        on_postgres.outbox.publish(first, **EVENT)
        second.execute("set lock_timeout = '50ms'")
        second.commit()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            on_postgres.outbox.publish(second, **EVENT)
        second.rollback()
        first.commit()
        on_postgres.outbox.publish(second, **EVENT)
    assert on_postgres.rows() == expected(1, 2)


def test_the_helper_alone_brings_nothing_else_along(tmp_path):
    """Importing it imports neither a driver nor the rest of liberator."""
    import subprocess

    code = "import sys, liberator.outbox; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    ours = {name for name in out.split() if name.partition(".")[0] in ("liberator", "connectors")}
    assert ours == {"liberator", "liberator.outbox"}
    assert not {"psycopg", "sqlalchemy", "fastavro", "pydantic", "click"} & set(out.split())


def test_the_file_alone_publishes_with_an_old_python(tmp_path):
    """Copied into an application of Python 3.8, or of the oldest that is here."""
    import shutil
    import subprocess

    import liberator.outbox

    names = ("python3.8", "python3.9", "python3.10", sys.executable)
    found = [p for name in names if (p := shutil.which(name)) and not subprocess.call([p, "-c", ""])]
    shutil.copy(liberator.outbox.__file__, tmp_path / "outbox.py")
    (tmp_path / "shop.py").write_text(
        "import sqlite3, outbox\n"
        "box, db = outbox.Outbox(versions=True), sqlite3.connect(':memory:')\n"
        "db.executescript(box.ddl('sqlite') + outbox.Inbox().ddl('sqlite'))\n"
        "with db:\n"
        "    id_ = box.publish(db, aggregate_type='t', aggregate_id=1, event_type='E', payload={'a': 1})\n"
        "    assert outbox.Inbox().process_once(db, id_) and not outbox.Inbox().process_once(db, id_)\n"
        "print(*db.execute('select payload, version from outbox').fetchone())\n"
    )
    ran = subprocess.run([found[0], "shop.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == '{"a":1} 1\n'
