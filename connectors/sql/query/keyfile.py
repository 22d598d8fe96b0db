"""Which rows were read, on disk: per row its key, and a hash of its values where they are compared.

A state must stay small, so this lies in a file of its own beside the log; yet both must say the same, or an
event would be lost or come twice. The file is therefore a little ahead of the state, and can go back:
every batch has a serial number, which its state carries; before a batch is given to the log, its changes are
committed to the file together with how the rows were before. After a crash the log may lack the last
batches: opened with a state, the file undoes all batches behind the state's serial. What the log has
confirmed cannot be undone any more and need not be. A file that is older than the state, or another
one, is refused: what it does not know would be taken for new.

Keys are integers, or texts that :func:`key_text` makes of the physical values; both sort alike here and
nowhere else.
"""

from __future__ import annotations

import ast
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.sql.statements import load
from liberator.errors import PositionLost, SourceError
from liberator.event import Row

SQL = load("connectors.sql.query", "keyfile.sql")
#: A key as the file has it.
Key = int | str
#: A row to remember: its key, the digest of the key, the hash of the row.
Remembered = tuple[Key, int | None, bytes | None]
#: Less than every key: integers sort before texts.
LOWEST = -(1 << 63)


def key_text(key: Row) -> Key:
    """A key as the file has it."""
    if len(key) == 1 and type(key[0]) is int and -(1 << 63) < key[0] < 1 << 63:
        return key[0]
    return repr(key)


def key_row(key: Key) -> Row:
    """The physical values of a key."""
    row: Row = (key,) if isinstance(key, int) else ast.literal_eval(key)
    return row


class KeyFile:
    """The file at ``path``; ``source`` is the name for messages."""

    def __init__(self, path: Path, source: str):
        self.path = path
        self._source = source
        self._conn: sqlite3.Connection | None = None
        self.serial = 0
        self.identity = ""
        self._given: list[tuple[Any, int]] = []
        self._kept = 0

    def open(self, version: Sequence[Any] | None) -> None:
        """Open the file as it was at ``version``, what :attr:`version` was then; None: begin anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated("open"):
            self._conn = conn = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            conn.execute("pragma journal_mode = wal")
            conn.execute("pragma synchronous = full")
            conn.execute("pragma cache_size = -16000")
            conn.executescript(SQL["schema"])
            about = dict(conn.execute("select name, value from about"))
        if version is None:
            self._begin_anew()
        else:
            self._go_back(about, list(version))

    @property
    def version(self) -> list[Any]:
        """What a state needs to carry."""
        return [self.identity, self.serial]

    def _begin_anew(self) -> None:
        self.identity, self.serial = uuid.uuid4().hex, 0
        self._given, self._kept = [], 0
        with self._changing() as conn:
            conn.execute("delete from about")
            conn.execute("delete from rows")
            conn.execute("delete from before")

    def _go_back(self, about: dict[str, Any], version: list[Any]) -> None:
        identity, serial = version
        known, reached, kept = about.get("identity"), about.get("serial", 0), about.get("kept", 0)
        if identity != known or reached < serial or kept > serial:
            raise PositionLost(
                f"source {self._source}: {self.path} is not the file in which this source remembered what it "
                "has read, or not of the same time",
                hint=f"put it back, or `liberator snapshot --config FILE --recover {self._source}` to read "
                "all tables anew",
            )
        self.identity, self.serial = identity, serial
        self._given, self._kept = [], kept
        with self._changing() as conn:
            for number in range(reached, serial, -1):
                conn.execute(SQL["restore"], [number])
                conn.execute(SQL["remove"], [number])
                conn.execute("delete from before where serial = ?", [number])

    def close(self) -> None:
        """Close the file."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    # -- batches -----------------------------------------------------------------------------------

    def change(self, place: int, rows: Sequence[Remembered], gone: Sequence[Key] = ()) -> None:
        """The next batch: ``rows`` are as said now, those with the keys ``gone`` are no more. Durable."""
        self.serial += 1
        keys = json.dumps([*(row[0] for row in rows), *gone])
        with self._changing() as conn:
            conn.execute(SQL["note"], [self.serial, place, keys])
            conn.executemany(
                "insert or replace into rows (place, key, digest, hash) values (?, ?, ?, ?)",
                [(place, *row) for row in rows],
            )
            conn.executemany("delete from rows where place = ? and key = ?", [(place, key) for key in gone])

    def empty(self, place: int) -> None:
        """The next batch: no row of this place is known any more. Durable."""
        self.serial += 1
        with self._changing() as conn:
            conn.execute(SQL["note_all"], [self.serial, place])
            conn.execute("delete from rows where place = ?", [place])

    def give(self, position: Any) -> None:
        """The state with this position carries the present version."""
        if not self._given or self._given[-1] != (position, self.serial):
            self._given.append((position, self.serial))

    def confirm(self, position: Any) -> None:
        """The log has everything up to ``position``. States of one position cannot be told apart: the last
        ones of it may still be on their way."""
        passed = [serial for given, serial in self._given if given < position]
        if not passed:
            return
        del self._given[: len(passed)]
        if passed[-1] == self._kept:
            return
        self._kept = passed[-1]
        with self._translated("write"):
            conn = self.conn
            conn.execute("begin immediate")
            conn.execute("insert or replace into about values ('kept', ?)", [passed[-1]])
            conn.execute("delete from before where serial <= ?", [passed[-1]])
            conn.execute("commit")

    # -- looking -----------------------------------------------------------------------------------

    @property
    def conn(self) -> sqlite3.Connection:
        """The open file."""
        assert self._conn is not None, "not open"
        return self._conn

    def known(self, place: int, keys: Sequence[Key]) -> dict[Key, bytes | None]:
        """Those of ``keys`` that are known, with their rows' hashes."""
        with self._translated("read"):
            return dict(self.conn.execute(SQL["known"], [place, json.dumps(keys)]))

    def look(self) -> None:
        """A pass over one place begins: nothing has been met yet. Not part of any version."""
        with self._translated("write"):
            self.conn.execute("delete from temp.seen")

    def see(self, keys: Sequence[Key]) -> None:
        """The pass has met these rows."""
        with self._translated("write"):
            self.conn.execute(SQL["see"], [json.dumps(keys)])

    def unseen(self, place: int, after: Key, limit: int) -> list[Key]:
        """Rows that the pass has not met, in order behind ``after``."""
        with self._translated("read"):
            return [k for (k,) in self.conn.execute(SQL["unseen"], [place, after, limit])]

    def range(self, place: int, after: Key, count: int) -> tuple[Key | None, int]:
        """The last of the next ``count`` keys behind ``after``, and how many there are."""
        with self._translated("read"):
            last, found = self.conn.execute(SQL["range"], [place, after, count]).fetchone()
            return last, found

    def sum(self, place: int, after: Key, last: Key) -> tuple[int, int]:
        """How many keys lie behind ``after`` up to ``last``, and the sum of their digests."""
        with self._translated("read"):
            count, total = self.conn.execute(SQL["sum"], [place, after, last]).fetchone()
            return count, total

    def keys(self, place: int, after: Key, last: Key) -> list[Key]:
        """The keys behind ``after`` up to ``last``, in order."""
        with self._translated("read"):
            return [k for (k,) in self.conn.execute(SQL["keys"], [place, after, last])]

    # -- the file ----------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._translated("write"):
            conn = self.conn
            conn.execute("begin immediate")
            try:
                yield conn
                conn.executemany(
                    "insert or replace into about values (?, ?)",
                    [("identity", self.identity), ("serial", self.serial)],
                )
                conn.execute("commit")
            except BaseException:
                if conn.in_transaction:
                    conn.execute("rollback")
                raise

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise SourceError(
                f"source {self._source}: cannot {action} {self.path}: {exc}", retryable=True
            ) from exc
