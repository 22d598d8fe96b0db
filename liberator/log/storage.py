"""The file of an embedded log: making it, opening it, transactions, and SQLite's errors in plain words.

What is written in one ``with storage.write(…)`` is one atomic step and on the disk when the block ends:
WAL mode with ``synchronous=full`` syncs the write-ahead file at each commit. Readers never wait for
writers. Writers queue: whoever wants to write takes the *turn*, a lock beside the file, waits for the
file itself, and passes the turn on; so a process that writes without pause cannot keep others out.
What the tables mean is in schema.sql and :mod:`liberator.log.embedded`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from liberator.errors import LogError
from liberator.log.beside import Beside

#: "lbrt": says that a SQLite file is a log of ours.
APPLICATION = 0x6C627274
OLDEST = (3, 35, 0)
#: The version of schema.sql that this program reads and writes.
FORMAT = 1
PAGE = 4096
#: Pages in the write-ahead file at which a commit copies them into the main file.
CHECKPOINT = 2000
#: Bytes of the write-ahead file at which a commit waits for readers, so that it can begin anew.
MOST_WAL = 64 << 20
#: How long such a commit waits for readers, and how long after it the next one waits again, in seconds.
WAIT_FOR_READERS, PATIENCE = 0.2, 1.0
#: How long to wait for another process's write, in seconds, and how often to look.
TIMEOUT = 30.0
LOOK = 0.0003

_CREATES = "`liberator run` creates it; check the path in the configuration"


class Storage:
    """One connection to the file at ``path``; for one thread of one process.

    ``create``: make the file where it is missing, whole or not at all, however many processes try.
    Raises LogError where there is no log, or something that is not a log that this program can use.
    """

    def __init__(self, path: Path, *, create: bool, timeout: float = TIMEOUT):
        if sqlite3.sqlite_version_info < OLDEST:
            raise LogError(
                f"the embedded log needs SQLite {'.'.join(map(str, OLDEST))} or newer, and this Python has "
                f"{sqlite3.sqlite_version}",
                hint="use a newer Python, or one that is linked with a newer SQLite",
            )
        self.path = path.absolute()
        self.timeout = timeout
        self._wal = f"{self.path}-wal"
        self._patience = 0.0
        if create:
            self._make_directory()
        elif not self.path.exists():
            raise LogError(f"there is no log at {path}", hint=_CREATES)
        if self.path.is_dir():
            raise LogError(f"{path} is a directory, not a log", hint="give the path of a file")
        self.beside = Beside(self.path)
        try:
            with self._errors("create"):
                if not self.path.exists():
                    self._create()
            with self._errors("open"):
                self.connection = self._connect()
            self._place = self._find()
        except BaseException:
            self.beside.close()
            raise

    @contextlib.contextmanager
    def read(self, attempt: str) -> Iterator[sqlite3.Connection]:
        """One view of the file for the block; keep it short: the write-ahead file grows meanwhile."""
        with self._errors(attempt):
            connection = self.connection
            connection.execute("begin")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("rollback")

    @contextlib.contextmanager
    def write(self, attempt: str) -> Iterator[sqlite3.Connection]:
        """One atomic, durable step: what the block wrote is on the disk when it has ended, or undone
        if it raised. ``attempt`` says for error messages what is being done."""
        with self._errors(attempt):
            connection = self.connection
            self._begin(connection)
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
            self._bound_wal(connection)

    def version(self) -> int:
        """A number that changes when another connection has written; cheap enough to ask all the time."""
        try:
            return int(self.connection.execute("pragma data_version").fetchone()[0])
        except sqlite3.Error as exc:
            raise self._explain(exc, "look for news in") from exc

    def close(self) -> None:
        """Let go of the file and of everything claimed. Safe to call twice."""
        self.connection.close()
        self.beside.close()

    def check_place(self) -> None:
        """Raise LogError if the file is no longer at its path: what is written now would be lost."""
        if self._find() != self._place:
            raise LogError(
                f"log {self.path} was removed or replaced while it was in use",
                hint="put it back if you can, and start again; what is at the path now is another log",
            )

    def _find(self) -> tuple[int, int] | None:
        """Which file is at the path."""
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write. SQLite's own waiting doubles its sleeps and is unfair; ours is short and queues."""
        self.check_place()
        deadline = 0.0
        turn = self.beside.turn
        while not turn.take():
            deadline = self._pause(deadline)
        try:
            connection.execute("pragma busy_timeout=0")
            while True:
                try:
                    connection.execute("begin immediate")
                    return
                except sqlite3.OperationalError as exc:
                    if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    deadline = self._pause(deadline)
        finally:
            turn.release()
            connection.execute(f"pragma busy_timeout={int(self.timeout * 1000)}")

    def _pause(self, deadline: float) -> float:
        now = time.monotonic()
        if deadline and now > deadline:
            raise LogError(
                f"log {self.path} is being written by another process for more than {self.timeout:g} seconds",
                hint="find the process that holds it, with `fuser` or `lsof`, and end it",
                retryable=True,
            )
        time.sleep(LOOK)
        return deadline or now + self.timeout

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        """Keep the write-ahead file from growing while there is always some reader: wait for them once.

        The commit before this is done, so nothing that goes wrong here may look as if it had failed.
        """
        with contextlib.suppress(sqlite3.Error, OSError):
            if os.stat(self._wal).st_size <= MOST_WAL + PAGE or time.monotonic() < self._patience:  # noqa: PTH116
                return
            self._patience = time.monotonic() + PATIENCE
            connection.execute(f"pragma busy_timeout={int(WAIT_FOR_READERS * 1000)}")
            connection.execute("pragma wal_checkpoint(restart)").fetchall()
        connection.execute(f"pragma busy_timeout={int(self.timeout * 1000)}")

    def _make_directory(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise LogError(
                f"cannot make the directory {self.path.parent} for the log: {exc.strerror}",
                hint="choose another path, or let this user write there",
            ) from exc

    def _create(self) -> None:
        """Make the log under another name and give it its own when it is complete."""
        deadline = 0.0
        while not self.beside.turn.take():
            deadline = self._pause(deadline)
        try:
            if self.path.exists():
                return
            wal = Path(self._wal)
            if wal.exists() and wal.stat().st_size:
                raise LogError(
                    f"log {self.path} is gone, but its write-ahead file {wal.name} is still there",
                    hint=f"put the log back; or, to begin anew, remove {wal.name} too",
                )
            draft = self.beside.draft
            for leftover in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
                leftover.unlink(missing_ok=True)
            connection = sqlite3.connect(draft, isolation_level=None)
            with contextlib.closing(connection):
                connection.execute(f"pragma page_size={PAGE}")
                connection.execute("pragma auto_vacuum=incremental")
                if connection.execute("pragma journal_mode=wal").fetchone()[0] != "wal":
                    raise LogError(
                        f"the file system of {self.path} cannot hold a log (no shared memory)",
                        hint="choose a path on a local disk, not on a network share",
                    )
                connection.execute("pragma synchronous=full")
                schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
                connection.executescript(f"begin;{schema}")
                connection.execute("insert into log values (1, ?, 0, 0, 0, '', 0, 0, 0)", (uuid.uuid4().hex,))
                connection.execute(f"pragma application_id={APPLICATION}")
                connection.execute(f"pragma user_version={FORMAT}")
                connection.execute("commit")
            draft.rename(self.path)
            _sync(self.path.parent)
        finally:
            self.beside.turn.release()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=self.timeout
        )
        try:
            application = connection.execute("pragma application_id").fetchone()[0]
            version = connection.execute("pragma user_version").fetchone()[0]
            if application != APPLICATION:
                raise LogError(
                    f"{self.path} is not a log of liberator", hint="choose another path for the log"
                )
            if version != FORMAT:
                raise LogError(
                    f"log {self.path} has format {version}, and this program uses format {FORMAT}",
                    hint="use the version of liberator that wrote it, or a newer one",
                )
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=full")
            # pages that are freed would be overwritten with zeros first where SQLite was built so
            connection.execute("pragma secure_delete=fast")
            connection.execute(f"pragma wal_autocheckpoint={CHECKPOINT}")
            connection.execute(f"pragma journal_size_limit={MOST_WAL}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _errors(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._explain(exc, attempt) from exc

    def _explain(self, exc: sqlite3.Error, attempt: str) -> LogError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        what = f"cannot {attempt} log {self.path}"
        match code:
            case sqlite3.SQLITE_NOTADB:
                return LogError(
                    f"{self.path} is not a log of liberator", hint="choose another path for the log"
                )
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                hint = "another process holds it; find that process with `fuser` or `lsof`"
                return LogError(f"{what}: it is locked", hint=hint, retryable=True)
            case sqlite3.SQLITE_FULL:
                hint = "make room on the disk, or set `retention` in the log's configuration"
                return LogError(f"{what}: the disk is full", hint=hint, retryable=True)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                hint = "this user must be able to write the file, and to make files in its directory"
                return LogError(f"{what}: {exc}", hint=hint)
            case sqlite3.SQLITE_CORRUPT:
                hint = "the file is damaged: restore it from a backup"
                return LogError(f"{what}: {exc}", hint=hint)
            case sqlite3.SQLITE_IOERR:
                hint = "the disk reports errors; look at the kernel's messages"
                return LogError(f"{what}: {exc}", hint=hint, retryable=True)
            case _:
                return LogError(f"{what}: {exc}")


def _sync(directory: Path) -> None:
    """Make a file's new name durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
