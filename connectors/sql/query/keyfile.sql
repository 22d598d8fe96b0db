What a query source remembers of the rows that it has read: one SQLite file for each source.

-- name: schema
create table if not exists about (name text primary key, value) without rowid;
create table if not exists rows (
  place integer not null,  -- which table
  key not null,            -- an integer, or the key's text
  digest integer,          -- the sum of these says whether two sets of keys differ
  hash blob,               -- of the whole row
  primary key (place, key)
) without rowid;
create table if not exists before (
  serial integer not null,  -- the batch that changed the row
  place integer not null,
  key not null,
  existed integer not null,
  digest integer,
  hash blob
);
create index if not exists before_serial on before (serial);
-- The keys that the pass which is under way has met; in a temporary file, which nobody has to wait for.
create temporary table if not exists seen (key primary key) without rowid;

-- name: note
-- Take note of how rows were before batch ?1 changes them: those of place ?2 with the keys in ?3.
insert into before (serial, place, key, existed, digest, hash)
select ?1, ?2, j.value, r.key is not null, r.digest, r.hash
  from json_each(?3) as j
  left join rows as r on r.place = ?2 and r.key = j.value;

-- name: note_all
insert into before (serial, place, key, existed, digest, hash)
select ?1, place, key, 1, digest, hash from rows where place = ?2;

-- name: restore
-- Undo batch ?1.
insert or replace into rows (place, key, digest, hash)
select place, key, digest, hash from before where serial = ?1 and existed;

-- name: remove
delete from rows
 where (place, key) in (select b.place, b.key from before as b where b.serial = ?1 and not b.existed);

-- name: known
-- "cross join" has the keys looked up one by one; otherwise all rows might be gone through for each.
select r.key, r.hash
  from json_each(?2) as j
 cross join rows as r on r.place = ?1 and r.key = j.value;

-- name: see
insert or ignore into temp.seen (key) select value from json_each(?1);

-- name: unseen
select r.key
  from rows as r
 where r.place = ?1 and r.key > ?2 and not exists (select 1 from temp.seen as s where s.key = r.key)
 order by r.key
 limit ?3;

-- name: range
-- The ?3-th key behind ?2, or the last one.
select max(key), count(*)
  from (select key from rows where place = ?1 and key > ?2 order by key limit ?3);

-- name: sum
select count(*), coalesce(sum(digest), 0) from rows where place = ?1 and key > ?2 and key <= ?3;

-- name: keys
select key from rows where place = ?1 and key > ?2 and key <= ?3 order by key;
