"""``copy … to stdout`` at libpq: begin, take lines, end, or give it up in the middle.

Lines are asked for without waiting, and waited for by :func:`wait`: while ``get_copy_data`` itself waits, it
keeps the interpreter, and with it every other thread and the signals.
"""

from __future__ import annotations

import select
import sys
from typing import NamedTuple

import psycopg
from psycopg import pq


class Lines(NamedTuple):
    """Lines of a copy, in text format with their newlines; ``whole``: all of them."""

    lines: list[bytes]
    whole: bool


def start(pgconn: pq.abc.PGconn, query: str) -> None:
    """Have the server begin to send what ``query`` gives. Raises psycopg's error if it refuses."""
    result = pgconn.exec_(f"copy ({query}) to stdout".encode())
    if result.status != pq.ExecStatus.COPY_OUT:
        raise psycopg.errors.error_from_result(result)


def take(pgconn: pq.abc.PGconn, budget: int) -> Lines:
    """All lines of the copy that was begun, or as many as have about ``budget`` bytes; it has ended then."""
    lines: list[bytes] = []
    _, ended = gather(pgconn, lines, budget)
    if ended:
        finish(pgconn)
    else:
        drop(pgconn)
    return Lines(lines, ended)


def gather(
    pgconn: pq.abc.PGconn, lines: list[bytes], budget: int, rows: int = sys.maxsize, *, waiting: bool = True
) -> tuple[int, bool]:
    """Append lines to ``lines`` until they are ``rows``, or those that came have more than ``budget`` bytes;
    without ``waiting`` only such as have come. Returns the bytes, and whether that was the last line."""
    append, get = lines.append, pgconn.get_copy_data
    size = 0
    while size <= budget and len(lines) < rows:
        count, data = get(1)
        if count > 0:
            append(data.tobytes())
            size += count
        elif count < 0:
            return size, True
        elif waiting:
            wait(pgconn)
        else:
            break
    return size, False


def wait(pgconn: pq.abc.PGconn) -> None:
    """Wait until the server has sent more, and take it off the line."""
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    poll.poll()
    pgconn.consume_input()


def finish(pgconn: pq.abc.PGconn) -> None:
    """End a copy whose lines were all taken. Raises psycopg's error if it failed at the server."""
    failed = None
    while (result := pgconn.get_result()) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            failed = psycopg.errors.error_from_result(result)
    if failed is not None:
        raise failed


def drop(pgconn: pq.abc.PGconn) -> None:
    """Cancel a copy and read off what has been sent of it."""
    pgconn.get_cancel().cancel()
    while pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
        count, _ = pgconn.get_copy_data(1)
        if count == 0:
            wait(pgconn)
        elif count < 0:
            while pgconn.get_result() is not None:
                pass
