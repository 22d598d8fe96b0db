"""The binlog streams of real servers: every kind of event they can be made to write, every way to ask."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pymysql
import pytest

from connectors.mysql.connection import connect
from connectors.mysql.wire import events, gtid_events, kinds
from connectors.mysql.wire.blocks import Block
from connectors.mysql.wire.compressed import uncompress_query, uncompress_rows
from connectors.mysql.wire.dump import BinlogStream
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from connectors.mysql.wire.payload import payload_blocks
from connectors.mysql.wire.query import is_begin, parse_query
from liberator.errors import PositionLost, SourceError
from tests import binlogs
from tests.fix_mysql import connected

NOBODY = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


def run(url, *statements):
    """The rows of the last one."""
    with connected(url) as conn, conn.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall()


def is_maria(url):
    return "MariaDB" in run(url, "select version()")[0][0]


def files(url):
    return [(row[0], row[1]) for row in run(url, "show binary logs")]


def head(url):
    """Where the binlog ends now."""
    return files(url)[-1]


def since(url, position, **options):
    return binlogs.until_the_end(url, lambda stream: stream.start_file(*position), **options)


def executed(url):
    return run(url, "select @@gtid_executed")[0][0].replace("\n", "")


def statement(event):
    return parse_query(event.body, 0, len(event.body)).statement


def written(url, *statements, **options):
    """The events that statements cause, without what begins a stream."""
    start = head(url)
    run(url, *statements)
    found = since(url, start, **options)
    return [e for e in found if not e.flags & kinds.FLAG_ARTIFICIAL and e.kind != kinds.FORMAT_DESCRIPTION]


def names(found):
    return [kinds.name(e.kind) for e in found if e.kind not in (kinds.BINLOG_CHECKPOINT, kinds.TABLE_MAP)]


def maria_gtids(found):
    return [
        gtid_events.parse_maria_gtid(e.body, 0, len(e.body), e.server_id)
        for e in found
        if e.kind == kinds.MARIA_GTID
    ]


@pytest.fixture
def url(mysqls_database):
    run(mysqls_database, "create table t (id int primary key, a varchar(50), b longblob)")
    return mysqls_database


@pytest.fixture
def mysql_url(mysql_database):
    run(mysql_database, "create table t (id int primary key, a varchar(50), b longblob)")
    return mysql_database


@pytest.fixture
def mariadb_url(mariadb_database):
    run(mariadb_database, "create table t (id int primary key, a varchar(50), b longblob)")
    return mariadb_database


@contextlib.contextmanager
def setting(url, name, value):
    """A global variable of the session's server, for the block."""
    before = run(url, f"select @@global.{name}")[0][0]
    run(url, f"set global {name} = {value}")
    try:
        yield
    finally:
        run(url, f"set global {name} = {before!r}")


# -- kinds of events -------------------------------------------------------------------------------


def test_transactions_are_framed_by_gtid_and_xid(url):
    found = written(url, "insert into t values (1, 'a', null)", "update t set a = 'b'", "delete from t")
    if is_maria(url):
        expected = [["maria_gtid", f"{kind}_rows_v1", "xid"] for kind in ("write", "update", "delete")]
    else:
        expected = [["gtid", "query", f"{kind}_rows", "xid"] for kind in ("write", "update", "delete")]
        assert all(is_begin(e.body, 0, len(e.body)) for e in found if e.kind == kinds.QUERY)
    assert names(found) == [name for one in expected for name in one]
    assert len({events.parse_xid(e.body, 0, len(e.body)) for e in found if e.kind == kinds.XID}) == 3


def test_savepoints_and_xa_are_told(url):
    found = written(
        url,
        "begin",
        "insert into t values (1, 'a', null)",
        "savepoint s",
        "insert into t values (2, 'a', null)",
        "rollback to s",
        "commit",
        "xa start 'one', 'b', 7",
        "insert into t values (3, 'a', null)",
        "xa end 'one', 'b', 7",
        "xa prepare 'one', 'b', 7",
        "xa commit 'one', 'b', 7",
        "xa start 'two'",
        "insert into t values (4, 'a', null)",
        "xa end 'two'",
        "xa commit 'two' one phase",
    )
    said = [statement(e) for e in found if e.kind == kinds.QUERY]
    xid = "X'6f6e65',X'62',7"
    assert "SAVEPOINT `s`" in said
    assert f"XA END {xid}" in said
    assert f"XA COMMIT {xid}" in said
    prepared = [events.parse_xa_prepare(e.body, 0, len(e.body)) for e in found if e.kind == kinds.XA_PREPARE]
    assert prepared[0] == events.XaPrepare(False, xid)
    if is_maria(url):
        gtids = maria_gtids(found)
        assert [(g.xid, g.flags & 192) for g in gtids if g.xid] == [
            (xid, gtid_events.PREPARED_XA),
            (xid, gtid_events.COMPLETED_XA),
        ]
    else:
        assert prepared[1] == events.XaPrepare(True, "X'74776f',X'',1")


def test_statements_are_read_in_the_sessions_charset(url):
    start = head(url)
    parts = urlsplit(url)
    settings = {"host": parts.hostname, "port": parts.port, "user": "root", "database": parts.path[1:]}
    with contextlib.closing(pymysql.connect(**settings, charset="latin1")) as conn, conn.cursor() as cursor:
        cursor.execute("set sql_mode = 'ANSI_QUOTES'")
        cursor.execute("create table \"café\" (id int comment 'Größe')")
        cursor.execute('create database if not exists "été"')
        cursor.execute('use "été"')
        cursor.execute('create table "x" (id int)')
        cursor.execute('drop database "été"')
    parsed = [parse_query(e.body, 0, len(e.body)) for e in since(url, start) if e.kind == kinds.QUERY]
    assert parsed[0].statement == "create table \"café\" (id int comment 'Größe')"
    assert [q.database for q in parsed] == [settings["database"], "été", "été", "été"]
    assert all(q.ansi_quotes and not q.no_backslash_escapes for q in parsed)


def test_tagged_gtids_are_read(mysql_url):
    before = GtidSet(executed(mysql_url))
    found = written(
        mysql_url,
        "set gtid_next = 'AUTOMATIC:tag_1'",
        "insert into t values (1, 'a', null)",
        "set gtid_next = 'AUTOMATIC'",
        "insert into t values (2, 'a', null)",
    )
    tagged = [
        gtid_events.parse_tagged_gtid(e.body, 0, len(e.body)) for e in found if e.kind == kinds.TAGGED_GTID
    ]
    plain = [gtid_events.parse_gtid(e.body, 0, len(e.body)) for e in found if e.kind == kinds.GTID]
    assert [g.sid.partition(":")[2] for g in tagged] == ["tag_1"]
    assert tagged[0].committed > 1_600_000_000_000_000
    after = before.copy()
    for gtid in tagged + plain:
        after.add(gtid.sid, gtid.number)
    assert str(after) == executed(mysql_url)


def test_the_length_of_a_transaction_is_that_of_its_events(mysql_url):
    for size in (10, 200, 70_000):
        found = written(mysql_url, f"replace into t values (1, 'a', repeat('x', {size}))")
        gtid = gtid_events.parse_gtid(found[0].body, 0, len(found[0].body))
        assert gtid.length == sum(e.size for e in found)


def test_compressed_transactions_of_mysql_are_unpacked(mysql_url):
    found = written(
        mysql_url,
        "set binlog_transaction_compression = on",
        "begin",
        "insert into t values (1, 'a', repeat('x', 3000000)), (2, 'b', null)",
        "update t set a = 'c'",
        "commit",
    )
    assert names(found) == ["gtid", "transaction_payload"]
    body = found[1].body
    event = (found[1].kind, 0, len(body), found[1].size, found[1].position, 0, 0, 0)
    inner = [e for block in payload_blocks(body, event) for e in binlogs.seen(block)]
    assert names(inner) == ["query", "write_rows", "write_rows", "update_rows", "update_rows", "xid"]
    assert any(b"x" * 3_000_000 in e.body for e in inner)


def test_compressed_events_of_mariadb_are_what_they_are_uncompressed(mariadb_url):
    changes = [
        "insert into t values (1, repeat('a', 40), repeat('x', 3000)), (2, repeat('b', 40), null)",
        "update t set a = repeat('c', 40)",
        "delete from t",
        "create table u (id int comment 'a long comment, which is worth the trouble')",
        "drop table u",
    ]
    plain = written(mariadb_url, *changes)
    with setting(mariadb_url, "log_bin_compress", 1), setting(mariadb_url, "log_bin_compress_min_len", 10):
        packed = written(mariadb_url, *changes)
    assert {kinds.QUERY_COMPRESSED, *list(kinds.COMPRESSED_ROWS)[:3]} <= {e.kind for e in packed}
    unpacked = []
    for e in packed:
        if e.kind == kinds.QUERY_COMPRESSED:
            unpacked.append((kinds.QUERY, uncompress_query(e.body, 0, len(e.body))))
        elif e.kind in kinds.COMPRESSED_ROWS:
            unpacked.append((kinds.COMPRESSED_ROWS[e.kind], uncompress_rows(e.kind, e.body, 0, len(e.body))))
        else:
            unpacked.append((e.kind, e.body))
    assert [comparable(*one) for one in unpacked] == [comparable(e.kind, e.body) for e in plain]


def comparable(kind, body):
    """Without numbers that every transaction has for itself."""
    if kind == kinds.QUERY:
        return kind, parse_query(body, 0, len(body)).statement
    rows = {kinds.WRITE_ROWS_V1, kinds.UPDATE_ROWS_V1, kinds.DELETE_ROWS_V1}
    return kind, body[6:] if kind in rows else b""


def test_the_statements_behind_rows_are_told_on_request(url):
    text = "insert into t values (1, 'é', null)"
    if is_maria(url):
        found = written(url, text, annotate=True)
        (note,) = [e for e in found if e.kind == kinds.ANNOTATE_ROWS]
        assert events.parse_annotate_rows(note.body, 0, len(note.body)) == text
        assert kinds.ANNOTATE_ROWS not in {e.kind for e in written(url, "delete from t")}
    else:
        found = written(url, "set binlog_rows_query_log_events = on", text)
        (note,) = [e for e in found if e.kind == kinds.ROWS_QUERY]
        assert events.parse_rows_query(note.body, 0, len(note.body)) == text


def test_an_alter_of_mariadb_in_two_phases_says_so(mariadb_url):
    found = written(mariadb_url, "set binlog_alter_two_phase = 1", "alter table t add column c int")
    gtids = maria_gtids(found)
    phases = gtid_events.START_ALTER | gtid_events.COMMIT_ALTER  # newer servers set others beside them
    assert [g.extra & phases for g in gtids] == [gtid_events.START_ALTER, gtid_events.COMMIT_ALTER]
    assert [statement(e) for e in found if e.kind == kinds.QUERY] == ["alter table t add column c int"] * 2


def test_a_table_made_from_a_query_says_that_rows_follow(mysql_url):
    found = written(mysql_url, "create table u select 1 as x")
    assert names(found) == ["gtid", "query", "query", "write_rows", "xid"]
    assert statement(found[2]).endswith("START TRANSACTION")


def test_statement_format_is_seen(url):
    found = written(url, "set binlog_format = 'STATEMENT'", "insert into t values (1, 'x', null)")
    assert "insert into t values (1, 'x', null)" in [statement(e) for e in found if e.kind == kinds.QUERY]


@pytest.mark.parametrize("size", [16_777_150, 33_000_000])
def test_rows_larger_than_a_packet_come_whole(url, size):
    allowed = run(url, "select @@global.max_allowed_packet")[0][0]
    with setting(url, "max_allowed_packet", max(allowed, 64 << 20)):
        found = written(
            url,
            "insert into t values (1, 'a', null)",
            f"update t set b = repeat('x', {size})",
            "delete from t",
        )
    rows = next(e for e in found if e.kind in (kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1))
    assert rows.body.endswith(size.to_bytes(4, "little") + b"x" * size)
    assert found[-1].kind == kinds.XID


# -- ways to ask -----------------------------------------------------------------------------------


def test_files_without_checksums_and_with_them_follow_each_other(url):
    start = head(url)
    stream = BinlogStream(connect(url), 4712)
    with contextlib.closing(stream):
        stream.start_file(*start)
        before = run(url, "select @@global.binlog_checksum")[0][0]
        try:
            run(url, "set global binlog_checksum = none", "insert into t values (1, 'a', null)")
            run(url, "set global binlog_checksum = crc32", "insert into t values (2, 'a', null)")
            run(
                url,
                "set global binlog_checksum = none",
                "flush binary logs",
                "insert into t values (3, 'a', null)",
            )
            live: list[binlogs.Seen] = []
            while sum(e.kind == kinds.XID for e in live) < 3:
                live += binlogs.seen(stream.read(10) or Block(b"", []))
            again = since(url, start)  # asked by a session whose server has none now
        finally:
            run(url, f"set global binlog_checksum = {before}", "flush binary logs")
    assert [(e.kind, e.body) for e in again[: len(live)]][1:] == [(e.kind, e.body) for e in live][1:]
    told = [events.parse_format_description(e.body, 0, len(e.body)).checksum for e in live if e.kind == 15]
    assert {True, False} <= set(told)


def test_a_stream_by_gtid_leaves_out_what_one_has(mysql_url):
    run(mysql_url, "flush binary logs", "insert into t values (1, 'a', null)")
    have = GtidSet(executed(mysql_url))
    run(
        mysql_url, "insert into t values (2, 'a', null)", "set gtid_next = 'AUTOMATIC:other'", "delete from t"
    )
    found = binlogs.until_the_end(mysql_url, lambda stream: stream.start_gtids(have))
    assert sum(e.kind == kinds.WRITE_ROWS for e in found) == 1
    gtids = [gtid_events.parse_gtid(e.body, 0, len(e.body)) for e in found if e.kind == kinds.GTID]
    assert not any(have.has(g.sid, g.number) for g in gtids)
    after = GtidSet(executed(mysql_url))
    nothing = binlogs.until_the_end(mysql_url, lambda stream: stream.start_gtids(after))
    assert kinds.WRITE_ROWS not in {e.kind for e in nothing}
    (previous,) = [e for e in nothing if e.kind == kinds.PREVIOUS_GTIDS]
    assert after.contains(gtid_events.parse_previous_gtids(previous.body, 0, len(previous.body)))


def test_a_stream_of_mariadb_goes_on_behind_a_position_of_every_domain(mariadb_url):
    run(mariadb_url, "insert into t values (1, 'a', null)")
    have = MariaPosition(run(mariadb_url, "select @@gtid_binlog_pos")[0][0])
    run(
        mariadb_url,
        "insert into t values (2, 'a', null)",
        "set gtid_domain_id = 7",
        "insert into t values (3, 'a', null)",
        "flush binary logs",
        "insert into t values (4, 'a', null)",
    )
    found = binlogs.until_the_end(mariadb_url, lambda stream: stream.start_maria(have))
    gtids = maria_gtids(found)
    assert sorted({g.domain for g in gtids}) == [0, 7]
    assert sum(e.kind == kinds.WRITE_ROWS_V1 for e in found) == 3
    for gtid in gtids:
        have.add(gtid.domain, gtid.server_id, gtid.sequence)
    assert have.contains(MariaPosition(run(mariadb_url, "select @@gtid_binlog_pos")[0][0]))
    listed = [e for e in found if e.kind == kinds.MARIA_GTID_LIST and not e.flags & kinds.FLAG_ARTIFICIAL]
    assert gtid_events.parse_maria_gtid_list(listed[-1].body, 0, len(listed[-1].body)).has(0, 1)


def test_an_idle_server_is_heard(url):
    stream = BinlogStream(connect(url), 4713, heartbeat=0.2)
    with contextlib.closing(stream):
        stream.start_file(*head(url))
        kinds_seen = Counter()
        while sum(kinds_seen[kind] for kind in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2)) < 2:
            block = stream.read(10)
            assert block is not None
            for event in block.events:
                kinds_seen[event[0]] += 1
                if event[0] in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2):
                    beat = events.parse_heartbeat(event[0], block.data, event[1], event[2], event[4])
                    assert (beat.file, beat.position) == (stream.file, stream.position)


def test_a_server_that_falls_silent_is_noticed(url):
    with relay(url) as (port, silence):
        parts = urlsplit(url)
        through = parts._replace(netloc=f"root@127.0.0.1:{port}", query="ssl-mode=disabled").geturl()
        stream = BinlogStream(connect(through), 4714, heartbeat=0.2)
        with contextlib.closing(stream):
            stream.start_file(*head(url))
            while stream.read(10).events[-1][0] not in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2):
                pass
            silence.set()
            with pytest.raises(SourceError, match="has not been heard") as caught:
                while True:
                    stream.read(0.1)
            assert caught.value.retryable


@contextlib.contextmanager
def relay(url):
    """A port that leads to the server until ``silence`` is set; then it stays open, and nothing comes."""
    parts = urlsplit(url)
    silence, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve():
            near, _ = door.accept()
            far = socket.create_connection((parts.hostname, parts.port))
            with near, far:
                back = threading.Thread(target=pump, args=(far, near, silence))
                back.start()
                pump(near, far, silence)
                over.wait()
                far.close()
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield door.getsockname()[1], silence
        finally:
            silence.set()
            over.set()
            thread.join()


def pump(source, target, silence):
    source.settimeout(0.05)
    while not silence.is_set():
        with contextlib.suppress(TimeoutError):
            try:
                data = source.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            target.sendall(data)


def test_a_stream_over_tls_brings_the_same(url):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    start = head(url)
    run(url, "insert into t values (1, 'a', repeat('x', 600000))", "delete from t", "flush binary logs")
    plain = since(url, start)
    try:
        connection = pymysql.connect(
            host="127.0.0.1", port=urlsplit(url).port, user="root", ssl=context, autocommit=True
        )
        encrypted = isinstance(connection._sock, ssl.SSLSocket)
    except pymysql.err.OperationalError:
        encrypted = False
    if not encrypted:
        pytest.skip("this server has no certificate")
    stream = BinlogStream(connection, 4715, wait=False)
    with contextlib.closing(stream):
        stream.start_file(*start)
        found = []
        while not stream.ended:
            found += binlogs.seen(stream.read(10) or Block(b"", []))
    assert found == plain


# -- refusals --------------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_a_lost_position(url):
    run(url, "flush binary logs")
    run(url, f"purge binary logs to '{head(url)[0]}'")
    with pytest.raises(PositionLost) as caught:
        since(url, ("binlog.000000", 4))
    assert "binlog_expire_logs_seconds" in caught.value.hint
    file, size = head(url)
    with pytest.raises(PositionLost) as caught:
        since(url, (file, size + 100_000))
    assert "restored" in caught.value.hint


def test_gtids_that_are_purged_or_unknown_to_the_server_are_lost_positions(mysql_url):
    run(mysql_url, "flush binary logs")
    run(mysql_url, f"purge binary logs to '{head(mysql_url)[0]}'")
    with pytest.raises(PositionLost, match="purged"):
        binlogs.until_the_end(mysql_url, lambda stream: stream.start_gtids(GtidSet(f"{NOBODY}:1-5")))
    ours = run(mysql_url, "select @@server_uuid")[0][0]
    ahead = GtidSet(executed(mysql_url)).union(GtidSet(f"{ours}:1-99999999"))
    with pytest.raises(PositionLost) as caught:
        binlogs.until_the_end(mysql_url, lambda stream: stream.start_gtids(ahead))
    assert "failover" in caught.value.hint


def test_a_position_that_mariadb_does_not_have_is_lost(mariadb_url):
    now = MariaPosition(run(mariadb_url, "select @@gtid_binlog_pos")[0][0])
    server, sequence = now.domains[0]
    for have in ((server, sequence + 1000), (server + 1, sequence)):
        wrong = now.copy()
        wrong.add(0, *have)
        with pytest.raises(PositionLost) as caught:
            binlogs.until_the_end(mariadb_url, lambda stream, wrong=wrong: stream.start_maria(wrong))
        assert "snapshot" in caught.value.hint


def test_two_readers_with_one_server_id_are_told(url):
    first, second = (BinlogStream(connect(url), 4716, heartbeat=0.5) for _ in range(2))
    with contextlib.closing(first), contextlib.closing(second):
        first.start_file(*head(url))
        assert first.read(10) is not None
        second.start_file(*head(url))
        with pytest.raises(SourceError) as caught:
            while True:
                for stream in (second, first):
                    stream.read(0.1)
    assert "server_id" in caught.value.hint
    assert not caught.value.retryable


def test_a_killed_stream_can_be_retried(url):
    connection = connect(url)
    stream = BinlogStream(connection, 4717, heartbeat=30)
    with contextlib.closing(stream):
        stream.start_file(*head(url))
        assert stream.read(10) is not None
        run(url, f"kill {connection.thread_id()}")
        with pytest.raises(SourceError) as caught:
            while True:
                stream.read(1)
    assert caught.value.retryable


def test_a_user_who_may_not_read_the_binlog_is_told_which_grant_is_missing(url):
    name = urlsplit(url).path[1:]
    run(url, f"create user {name} identified by 'secret'")
    try:
        asked = (
            urlsplit(url)._replace(netloc=f"{name}:secret@127.0.0.1:{urlsplit(url).port}", path="").geturl()
        )
        with pytest.raises(SourceError) as caught:
            since(asked, ("", 4))
    finally:
        run(url, f"drop user {name}")
    assert "replication slave" in caught.value.hint
    assert "secret" not in str(caught.value)


# -- compared with the servers' own reader ---------------------------------------------------------

LINE = re.compile(
    r"^#\d{6} +\d+:\d\d:\d\d server id (\d+)  end_log_pos (\d+) CRC32 0x([0-9a-f]{8})", re.MULTILINE
)


def test_the_servers_own_reader_sees_the_same_events(url, mysqls):
    program = own_reader(mysqls, "mariadb-binlog" if is_maria(url) else "mysqlbinlog")
    run(url, "flush binary logs")
    file = head(url)[0]
    run(
        url,
        "insert into t values (1, 'a', repeat('x', 20000))",
        "begin",
        "update t set a = 'b'",
        "savepoint s",
        "delete from t",
        "commit",
        "truncate t",
        "alter table t add column c int",
        "flush binary logs",
    )
    parts = urlsplit(url)
    text = subprocess.run(
        [
            program,
            "--no-defaults",
            "--read-from-remote-server",
            f"--host={parts.hostname}",
            f"--port={parts.port}",
            "--user=root",
            "--skip-ssl" if is_maria(url) else "--get-server-public-key",
            file,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = [(int(server), int(end)) for server, end, _ in LINE.findall(text)]
    ours = [
        (e.server_id, e.position)
        for e in since(url, (file, 4), annotate=True)
        if not e.flags & kinds.FLAG_ARTIFICIAL
    ]
    last = next(i for i, (_, end) in enumerate(ours) if i and end < ours[i - 1][1])
    assert ours[:last] == [one for one in theirs if one[1]]
    assert last > 12


def own_reader(server, name):
    """The program of the server's own makers: MariaDB installs its own under MySQL's name, too."""
    beside = getattr(server, "binary", None)
    for path in ([str(beside.parent)] if beside else []) + [None]:
        found = shutil.which(name, path=path)
        if found and Path(found).resolve().name == name:
            return found
    pytest.skip(f"no {name} on this machine")
