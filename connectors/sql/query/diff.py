"""Comparing a whole table with what was read of it before, by a hash of every row.

A pass reads the table in the order of its key, a batch at a time, and looks every row's key up in the file of
keys (:mod:`.keyfile`): one that is not there is new, one whose hash differs was changed. Rows
that the pass has not met are looked for by their key once more, and then they are gone. Memory is that of a
batch, whatever the table. A pass that is broken off begins anew: what it had found is in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from connectors.sql.query.follow import Follower
from connectors.sql.query.keyfile import LOWEST, Key, KeyFile, Remembered, key_text
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.reconcile import LISTED, Reconciler
from connectors.sql.query.target import Target
from connectors.sql.reader import Reader
from liberator.errors import SourceError
from liberator.event import Row


@dataclass(slots=True)
class Difference:
    """What a piece of the table differs in: new and changed rows in key order with whether they are new,
    keys that are gone; ``met`` counts the rows that were looked at. ``moment``: when, by the database's
    clock."""

    rows: list[tuple[Row, bool]] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    met: int = 0
    moment: int = 0


def differences(
    reader: Reader, options: QueryOptions, target: Target, keys: KeyFile, every: bool
) -> Iterator[Difference]:
    """One pass; each difference is in the file already. ``every``: all rows count as changed."""
    keys.look()
    for piece in Follower(reader, options, target, ()).pieces(None):
        place = target.schema.key
        found = [key_text(tuple(row[i] for i in place)) for row in piece.rows]
        if len(set(found)) < len(found):
            raise SourceError(
                f"{target.name} has several rows of one key",
                hint="name columns in `key` by which every row can be told from the others",
            )
        known = keys.known(target.place, found)
        difference = Difference(met=len(found), moment=piece.moment)
        remember: list[Remembered] = []
        for key, row in zip(found, piece.rows, strict=True):
            hash_ = row_hash(row)
            if every or known.get(key, b"") != hash_:
                difference.rows.append((row, key not in known))
                remember.append((key, None, hash_))
        if remember:
            keys.change(target.place, remember)
        keys.see(found)
        yield difference
    reconciler = Reconciler(reader, options, target, keys)
    after: Key = LOWEST
    while unseen := keys.unseen(target.place, after, LISTED):
        after = unseen[-1]
        gone = reconciler.absent(unseen)
        if gone:
            keys.change(target.place, [], gone)
            yield Difference(gone=gone, moment=reader.now())


def row_hash(row: Row) -> bytes:
    """128 bits of a row's values, without nulls at the end: a column that was just added changes nothing."""
    end = len(row)
    while end and row[end - 1] is None:
        end -= 1
    return hashlib.blake2b(repr(row[:end]).encode("utf-8", "surrogatepass"), digest_size=16).digest()
