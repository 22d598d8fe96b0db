"""Writers that change tables in every way an application can, for tests of what survives a kill.

Every table begins with ``id bigint primary key, version integer``; ``version`` counts a row's changes, so
that two changes of one row are never alike.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from types import TracebackType

import psycopg

SCHEMA = """
create table accounts (
    id bigint primary key, version integer not null default 1, owner text not null,
    balance numeric(14, 2) not null default 0, tags text[], details jsonb, note text,
    touched timestamptz not null default clock_timestamp()
);
alter table accounts alter column note set storage external;
create table transfers (
    id bigint generated always as identity primary key, version integer not null default 1,
    source bigint not null, target bigint not null, amount numeric(14, 2) not null,
    at timestamptz not null default now()
);
create table scratch (id bigint primary key, version integer not null default 1, word text);
"""
FILL = """
insert into accounts (id, owner, balance, tags, details, note)
select i, 'owner ' || i, i * 1.01, array['a', null, 'b ' || i % 10], jsonb_build_object('n', i),
       case when i % 10 = 0 then (select string_agg(md5(i || '/' || k), '') from generate_series(1, 90) k) end
from generate_series(1, %s) i
"""


class Load:
    """Some writers at work, each in a thread with its own connection; use as a context manager.

    ``accounts`` is how many rows there were at the beginning. A writer whose connection breaks waits and
    connects again: the server may be killed. ``pace`` is the pause between transactions in seconds;
    it may be changed at any time.
    """

    def __init__(self, url: str, accounts: int, seed: int, writers: int = 3, pace: float = 0.03):
        self._url, self._accounts, self.pace = url, accounts, pace
        self._over = threading.Event()
        self.committed = 0
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed + i), i), daemon=True)
            for i in range(writers)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all writers behind a whole transaction."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer hangs"
        if self.failures:
            raise self.failures[0]

    def _work(self, rng: random.Random, number: int) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as conn:
                    # One writer's commits are seen before they are durable.
                    conn.execute(f"set synchronous_commit = {'off' if number == 0 else 'on'}".encode())
                    while not self._over.is_set():
                        self._transaction(conn, rng, number)
            except psycopg.OperationalError:
                time.sleep(0.1)
            except BaseException as exc:
                self.failures.append(exc)
                return

    def _transaction(self, conn: psycopg.Connection, rng: random.Random, number: int) -> None:
        action = rng.choices(
            [
                self._transfer,
                self._annotate,
                self._replace,
                self._move,
                self._scribble,
                self._bulk,
                self._regret,
            ],
            [100, 30, 20, 10, 16, 1, 10],
        )[0]
        # Deadlocks and lost races between the writers are their own affair.
        with contextlib.suppress(psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation, Regret):
            with conn.transaction():
                action(conn, rng, number)
                if rng.random() < 0.1:
                    time.sleep(rng.random() * 0.05)  # others commit meanwhile: begun first, committed later
            self.committed += 1
        time.sleep(self.pace)

    def _account(self, rng: random.Random) -> int:
        return rng.randint(1, self._accounts)

    def _transfer(self, conn: psycopg.Connection, rng: random.Random, _number: int) -> None:
        pair = sorted({self._account(rng), self._account(rng)})
        for account in pair:
            conn.execute(
                "update accounts set version = version + 1, balance = balance - 1.5 where id = %s", [account]
            )
        conn.execute(
            "insert into transfers (source, target, amount) values (%s, %s, 1.5)", [pair[0], pair[-1]]
        )

    def _annotate(self, conn: psycopg.Connection, rng: random.Random, _number: int) -> None:
        """A text that is stored out of line; often followed by a change that leaves it alone."""
        account = self._account(rng)
        note = rng.randbytes(1500).hex() if rng.random() < 0.7 else None
        conn.execute("update accounts set version = version + 1, note = %s where id = %s", [note, account])
        conn.execute("update accounts set version = version + 1, touched = now() where id = %s", [account])

    def _replace(self, conn: psycopg.Connection, rng: random.Random, _number: int) -> None:
        """Gone and perhaps back again, in one transaction."""
        account = self._account(rng)
        row = conn.execute("delete from accounts where id = %s returning version", [account]).fetchone()
        if row is None or rng.random() < 0.7:
            conn.execute(
                "insert into accounts (id, version, owner, details) values (%s, %s, 'again', '{}')",
                [account, 1 if row is None else row[0] + 1],
            )

    def _move(self, conn: psycopg.Connection, rng: random.Random, _number: int) -> None:
        """The key changes, the out-of-line text with it unsent; and sometimes it changes back."""
        account = self._account(rng)
        far = account + 10_000_000
        if rng.random() < 0.5:
            account, far = far, account
        conn.execute("update accounts set id = %s, version = version + 1 where id = %s", [far, account])

    def _scribble(self, conn: psycopg.Connection, rng: random.Random, number: int) -> None:
        """Rows come and go; now and then all go at once."""
        if rng.random() < 0.1:
            conn.execute("truncate scratch")
        first = rng.randint(0, 1000) * 10 + number * 1_000_000
        conn.execute(
            "insert into scratch (id, word) select i, 'w' || i from generate_series(%s::bigint, %s) i"
            " on conflict (id) do update set version = scratch.version + 1",
            [first, first + 9],
        )
        conn.execute("delete from scratch where id = %s", [first + rng.randint(0, 9)])

    def _bulk(self, conn: psycopg.Connection, rng: random.Random, _number: int) -> None:
        """A transaction that is larger than a batch."""
        first = rng.randint(1, max(1, self._accounts - 3000))
        conn.execute(
            "update accounts set version = version + 1, balance = balance + 1 where id between %s and %s",
            [first, first + 2999],
        )

    def _regret(self, conn: psycopg.Connection, rng: random.Random, number: int) -> None:
        """Rolled back: to a savepoint, or wholly."""
        with contextlib.suppress(Regret), conn.transaction():
            self._transfer(conn, rng, number)
            raise Regret
        self._annotate(conn, rng, number)
        if rng.random() < 0.5:
            raise Regret


class Regret(Exception):
    """This should not have happened, and did not."""
