"""Those who read a binlog beside us, each as a process of its own.

``python -m bench.mysql_peers KIND URL FILE ROWS DIRECTORY PROGRAM``, from the beginning of the binlog FILE.

* ``raw``: PROGRAM, the server's own ``mysqlbinlog``, with ``--read-from-remote-server --raw``: everything
  received and written to a file in DIRECTORY, nothing decoded.
* ``replication``: the bare loop of python-mysql-replication.
* ``stream``: mysql-event-stream, whose core is C++; it decodes, and that is all.
* ``copy``: the whole table ``orders`` by an unbuffered cursor that hands the packets over unread.

Each says ``first`` when it has the first rows and ``done`` when it has so many, and stays until it is told to
end, so that it can be measured. ``copy`` says ``ready`` and waits for a line before.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pymysql

#: Of what ``mysqlbinlog`` writes before any row: the file's head.
HEAD = 4096


def main() -> None:
    """The process."""
    kind, url, file, rows, *rest = sys.argv[1:]
    parts = urlsplit(url)
    where = {"host": parts.hostname or "", "port": parts.port or 0, "user": parts.username or ""}
    match kind:
        case "raw":
            raw(where, file, rest[0], rest[1])
        case "replication":
            replication(where, file, int(rows))
        case "stream":
            asyncio.run(stream(where, file, int(rows)))
        case "copy":
            copy(where, parts.path.strip("/"))
    print("done", flush=True)
    signal.pause()


def raw(where: dict[str, str | int], file: str, directory: str, program: str) -> None:
    """Let ``mysqlbinlog`` fetch the file."""
    out = Path(directory) / "raw-"
    command = [
        program, "--no-defaults", "--read-from-remote-server", "--raw", "--to-last-log",
        f"--result-file={out}", *(f"--{name}={value}" for name, value in where.items()), file,
    ]  # fmt: skip
    process = subprocess.Popen(command)
    written = Path(f"{out}{file}")
    while process.poll() is None and not (written.exists() and written.stat().st_size > HEAD):
        time.sleep(0.001)
    print("first", flush=True)
    if process.wait():
        raise RuntimeError("mysqlbinlog failed")
    written.unlink()


def replication(where: dict[str, str | int], file: str, rows: int) -> None:
    """Receive so many inserts."""
    from pymysqlreplication import BinLogStreamReader
    from pymysqlreplication.row_event import WriteRowsEvent

    reader = BinLogStreamReader(
        where, server_id=4_000_001, log_file=file, log_pos=4, resume_stream=True, blocking=True,
        only_events=[WriteRowsEvent],
    )  # fmt: skip
    seen = 0
    for event in reader:
        for _row in event.rows:
            seen += 1
        if seen and seen <= len(event.rows):
            print("first", flush=True)
        if seen >= rows:
            break


async def stream(where: dict[str, str | int], file: str, rows: int) -> None:
    """Receive so many inserts."""
    from mysql_event_stream import CdcStream

    seen = 0
    options = {"server_id": 4_000_002, "start_binlog_file": file, "start_binlog_position": 4, **where}
    async with CdcStream(**options, include_tables=["source.orders"]) as events:
        async for _event in events:
            if not seen:
                print("first", flush=True)
            seen += 1
            if seen >= rows:
                break


def copy(where: dict[str, str | int], database: str) -> None:
    """Read the table, once a line says so."""
    conn = pymysql.connect(**where, database=database)  # type: ignore[arg-type]
    conn.query("select 1")
    print("ready", flush=True)
    sys.stdin.readline()
    with conn.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("select * from orders")
        read = conn._read_packet
        print("first", flush=True)
        while not read().is_eof_packet():
            pass
        cursor._result.unbuffered_active = False


if __name__ == "__main__":
    main()
