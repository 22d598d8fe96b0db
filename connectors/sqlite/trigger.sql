What the source "trigger" keeps in a SQLite file. $… stand for quoted names; python puts them in.

-- name: changes
-- Behind these columns come o0, n0, o1, n1 …: the old and the new row, each value as it is stored.
create table $changes (
    id      integer primary key autoincrement,
    tx      integer not null,
    at      integer not null,
    version integer not null,
    op      text not null,
    origin  text
)

-- name: versions
create table $versions (
    id        integer primary key,
    relation  text not null,
    described text not null,
    at        integer not null
)

-- name: now
-- One row. Changes with the same number were committed between two looks of the source, and a look is never in
-- the middle of a transaction. A writer may set an origin, and takes it back before it commits.
create table $now (
    number integer not null,
    origin text
)

-- name: record
insert into $changes (tx, at, version, op, origin, $columns)
    select number, cast((julianday('now') - 2440587.5) * 86400000 + 0.5 as integer) * 1000, $version, '$op', origin,
           $values
      from $now;
