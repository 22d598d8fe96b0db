Who is writing at a Postgres server, and what has ended. Each list is of: the transaction's number, which no
other will have while the server lives; whether it is a prepared one; process, user, application; the
transaction's age in seconds.

-- name: snapshot
-- The time is that of the statement's beginning, which lies before its snapshot.
select pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text,
       (extract(epoch from statement_timestamp()) * 1000000)::int8
  from pg_current_snapshot() as s;

-- name: lockers
-- Those who hold a lock under which rows of $relations, or of their partitions, are written.
with recursive family (oid) as (
     select c.oid
       from pg_catalog.pg_class as c
       join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
      where (n.nspname, c.relname) in ($relations)
      union
     select i.inhrelid from pg_catalog.pg_inherits as i join family as f on f.oid = i.inhparent)
select distinct l.virtualtransaction, l.virtualtransaction like '-1/%' or l.pid is null,
       l.pid, a.usename, a.application_name, extract(epoch from clock_timestamp() - a.xact_start)::float8
  from pg_catalog.pg_locks as l
  left join pg_catalog.pg_stat_activity as a on a.pid = l.pid
 where l.locktype = 'relation'
   and l.granted
   and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   and l.database = (select d.oid from pg_catalog.pg_database as d where d.datname = current_database())
   and l.relation in (select f.oid from family as f);

-- name: everybody
-- Every open transaction but our own: each holds the lock of its own virtual number. A prepared one has no
-- such lock any more, but is in its own list.
select l.virtualtransaction, false,
       l.pid, a.usename, a.application_name, extract(epoch from clock_timestamp() - a.xact_start)::float8
  from pg_catalog.pg_locks as l
  left join pg_catalog.pg_stat_activity as a on a.pid = l.pid
 where l.locktype = 'virtualxid'
   and l.granted
   and l.mode = 'ExclusiveLock'
   and l.pid <> pg_backend_pid()
   and (a.datname is null or a.datname = current_database())
   and coalesce(a.backend_type, '') not in ('walsender', 'autovacuum worker', 'logical replication launcher')
union all
select '-1/' || p.transaction::text, true,
       null, p.owner, 'prepared transaction ' || p.gid, extract(epoch from clock_timestamp() - p.prepared)::float8
  from pg_catalog.pg_prepared_xacts as p
 where p.database = current_database();

-- name: mark
-- A commit is seen before it is flushed, but not before it is written.
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text;

-- name: behind
select coalesce(pg_last_wal_replay_lsn() < $mark::pg_lsn, true);

-- name: sees_all
select pg_has_role(current_user, 'pg_read_all_stats', 'usage'), current_user::text;
