"""The directory beside an embedded log, ``<log>.d``: locks between processes, and the workers' status.

Nothing in it is needed to read the log: it may be deleted while no process uses the log, and need not be
in a backup. Locks are ``flock`` on files that stay where they are; the operating system lets go of them
when a process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from liberator.errors import LogError


class Lock:
    """An exclusive lock between processes, and between instances within one process."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise LogError(
                f"cannot open the lock {path}: {exc.strerror}",
                hint="this user must be able to write to the log's directory and to what is in it",
            ) from exc

    def take(self) -> bool:
        """Take the lock if it is free; False where another has it. Taking it again changes nothing."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise LogError(
                f"cannot lock {self._path}: {exc.strerror}",
                hint="the log's directory must be on a local disk, whose file system knows locks",
            ) from exc
        return True

    def release(self) -> None:
        """Let another one take it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def sign(self) -> None:
        """Leave our process id in the file, for people who wonder who has the lock."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def signature(self) -> str:
        """The process id that the last owner left; empty if there is none."""
        return os.pread(self._file, 20, 0).decode("ascii", "replace")

    def close(self) -> None:
        """Release the lock and forget the file. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Beside:
    """The directory beside the log at ``path``; it is made where it is missing."""

    def __init__(self, path: Path):
        self._log = path
        self._directory = path.with_name(path.name + ".d")
        self._claims: dict[str, Lock] = {}
        self._said: set[str] = set()
        try:
            for name in ("claims", "status"):
                (self._directory / name).mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise LogError(
                f"cannot make the directory {self._directory} beside the log: {exc.strerror}",
                hint="the log's directory must exist and be writable for this user",
            ) from exc
        #: Who holds it is the next to write; see liberator.log.storage.
        self.turn = Lock(self._directory / "turn")

    @property
    def draft(self) -> Path:
        """Where a new log is made before it gets its name."""
        return self._directory / "draft"

    def claim(self, name: str) -> None:
        """Hold ``name`` until ``close``; holding it already is fine. Raises a retryable LogError."""
        if name in self._claims:
            return
        lock = Lock(self._directory / "claims" / f"{_file_name(name)}.lock")
        if not lock.take():
            owner = lock.signature()
            lock.close()
            raise LogError(
                f"{name} of log {self._log} is already at work in process {owner or '?'}",
                hint="only one process at a time may work for it; end the other one first",
                retryable=True,
            )
        lock.sign()
        self._claims[name] = lock

    def claims(self, name: str) -> bool:
        """Claim ``name`` if it is free; whether we hold it now."""
        with contextlib.suppress(LogError):
            self.claim(name)
        return name in self._claims

    def put_status(self, worker: str, body: Mapping[str, Any]) -> None:
        """Replace what ``worker`` said; a reader sees the old or the new, never a part."""
        path = self._directory / "status" / f"{_file_name(worker)}.json"
        draft = path.with_suffix(f".{os.getpid()}.draft")
        try:
            if worker not in self._said:
                self._said.add(worker)
                _clear_drafts(path)
            draft.write_text(json.dumps({"worker": worker, "body": body}), encoding="utf-8")
            draft.replace(path)
        except OSError as exc:
            raise LogError(
                f"cannot write the status of {worker} to {path}: {exc.strerror}",
                hint="is the disk full, or the directory not writable?",
                retryable=True,
            ) from exc

    def statuses(self) -> dict[str, Mapping[str, Any]]:
        """What every worker last said."""
        found: dict[str, Mapping[str, Any]] = {}
        for path in sorted((self._directory / "status").glob("*.json")):
            # a file that was torn by a crash of the machine, or removed just now, says nothing
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                said = json.loads(path.read_text(encoding="utf-8"))
                found[said["worker"]] = said["body"]
        return found

    def close(self) -> None:
        """Let go of all locks. Safe to call twice."""
        while self._claims:
            self._claims.popitem()[1].close()
        self.turn.close()


def _clear_drafts(path: Path) -> None:
    """Remove what a worker that was killed while it wrote its status left; not what one is writing now."""
    for draft in path.parent.glob(glob.escape(path.stem) + ".*.draft"):
        if time.time() - draft.stat().st_mtime > 60:
            draft.unlink(missing_ok=True)


def _file_name(name: str) -> str:
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= 200 else hashlib.sha256(name.encode()).hexdigest()
