-- The tables of an embedded log, format 1. Readers in other processes rely on these columns.

-- one row: where the log stands
create table log (
    id integer primary key check (id = 1),
    identity text not null,          -- names this history for ever
    next integer not null,           -- the offset that the next record gets
    trimmed integer not null,        -- offsets below were removed by retention
    bytes integer not null,          -- sum of length(batches.data)
    open text not null,              -- as in batches, now
    packed integer not null,         -- small batches below this offset were put together
    compacted integer not null,      -- when compaction was last done, in milliseconds since 1970
    tombstones integer not null      -- how many tombstones it left
);

-- what was appended together; rows are rewritten by compaction only
create table batches (
    next integer primary key,        -- the offset behind the last record
    base integer not null,           -- the offset of the first record, when the batch was appended
    stored integer not null,         -- when it was appended, in milliseconds since 1970
    open text not null,              -- source transactions that go on behind it: {"source": [topic, …]} or ''
    topics text not null,            -- ids of its topics, with commas, in the order in which data numbers them
    sizes text not null,             -- for each of these topics: records:bytes
    crc integer not null,            -- CRC-32 of data, continued over base, next, open and topics
    data blob not null               -- see liberator/log/batch.py
);

create table topics (
    id integer primary key,
    name text not null unique,
    records integer not null default 0,
    bytes integer not null default 0,
    last integer not null default -1,
    timestamp integer not null default 0,
    cleaned integer not null default 0,    -- compaction has seen everything below this offset
    clean integer not null default 0       -- and has left so many records
);

-- a coarse index: topic has had records among the offsets span * 65536 …
create table spans (
    topic integer not null,
    span integer not null,
    primary key (topic, span)
) without rowid;

create table sources (
    id integer primary key,
    name text not null unique,
    position text not null
);

-- the parts of a source's state that change seldom, as JSON
create table parts (
    source integer not null,
    part text not null,
    body text not null,
    primary key (source, part)
) without rowid;

create table cursors (
    sink text primary key,
    body text not null
) without rowid;

create table signals (
    id integer primary key autoincrement,
    source text not null,
    body text not null
);

create table schemas (
    id integer primary key autoincrement,
    type text not null,
    text text not null,
    unique (type, text)
);

create table subjects (
    id integer primary key,          -- grows, so that the first subject of a schema can be told
    subject text not null,
    version integer not null,
    schema integer not null references schemas (id),
    unique (subject, version),
    unique (schema, subject)
);
