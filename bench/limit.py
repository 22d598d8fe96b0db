"""The raw limit of reading: take everything that the server sends, decode nothing.

A process of its own, ``python -m bench.limit URL ROWS stream|copy [FILE]``. ``stream`` reads the slot
``bench_limit``; it says ``first`` when it has seen an insert, and ``done`` when it has seen so many; with
FILE it notes for every commit when it was committed and when it arrived. ``copy`` says ``ready``, waits for a
line, and reads the whole table. Both stay until they are told to end, so that they can be measured.
"""

from __future__ import annotations

import select
import signal
import struct
import sys
import time
from pathlib import Path

import psycopg
from psycopg import pq

EPOCH = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970


def main() -> None:
    """The process."""
    url, rows, what, *rest = sys.argv[1:]
    done = stream(url, int(rows), bool(rest)) if what == "stream" else copy(url)
    print("done", flush=True)
    if rest:
        Path(rest[0]).write_text("\n".join(f"{committed} {arrived}" for committed, arrived in done))
        print("written", flush=True)
    signal.pause()


def stream(url: str, rows: int, timed: bool) -> list[tuple[int, int]]:
    """Receive so many inserts; when commits were made and arrived, in microseconds, if asked for."""
    conn = pq.PGconn.connect(f"{url}?replication=database".encode())
    _run(
        conn, b"START_REPLICATION SLOT bench_limit LOGICAL 0/0 (proto_version '1', publication_names 'bench')"
    )
    return _drain(conn, rows, timed)


def copy(url: str) -> list[tuple[int, int]]:
    """Read the table by ``copy``, once a line says so."""
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        print("ready", flush=True)
        sys.stdin.readline()
        with cursor.copy("copy orders to stdout") as data:
            next(iter(data))
            print("first", flush=True)
            for _ in data:
                pass
    return []


def _run(conn: pq.PGconn, command: bytes) -> None:
    result = conn.exec_(command)
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_BOTH):
        raise RuntimeError(result.error_message.decode())


def _drain(conn: pq.PGconn, rows: int, timed: bool) -> list[tuple[int, int]]:
    seen, times = 0, []
    insert, commit = ord("I"), ord("C")
    while seen < rows:
        size, data = conn.get_copy_data(1)
        if size == 0:
            select.select([conn.socket], [], [], 1.0)
            conn.consume_input()
        elif size < 0:
            raise RuntimeError("the server ended the stream")
        elif size > 25:  # 25 bytes stand before a message of pgoutput; a keepalive is shorter
            kind = data[25]
            if kind == insert:
                if not seen:
                    print("first", flush=True)
                seen += 1
            elif timed and kind == commit:
                (committed,) = struct.unpack_from("!q", data, 25 + 18)
                times.append((committed + EPOCH, int(time.time() * 1e6)))
    return times


if __name__ == "__main__":
    main()
