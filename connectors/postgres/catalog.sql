The catalog of a source database: what can be captured, and how its rows are identified.

-- name: tables
-- Ordinary and partitioned tables that outlive a crash (WAL is written for them), with the root that
-- a partition belongs to. "leaves" are the tables that hold the rows.
select c.oid::int8,
       n.nspname,
       c.relname,
       c.relkind::text,
       c.relreplident::text,
       array(select a.relid::oid::int8
               from pg_catalog.pg_partition_ancestors(c.oid) as a(relid)
              where a.relid <> c.oid and c.relispartition) as ancestors,
       case when c.relkind = 'p'
            then array(select t.relid::oid::int8
                         from pg_catalog.pg_partition_tree(c.oid) as t
                        where t.isleaf and t.relid <> c.oid)
            else array[c.oid::int8] end as leaves,
       greatest(0, case when c.relkind = 'p'
            then (select coalesce(sum(greatest(l.reltuples, 0)), 0)
                    from pg_catalog.pg_partition_tree(c.oid) as t
                    join pg_catalog.pg_class as l on l.oid = t.relid
                   where t.isleaf)
            else c.reltuples end)::int8 as estimate,
       exists (select from pg_catalog.pg_index as i
                where i.indrelid = c.oid and i.indisprimary) as has_primary,
       exists (select from pg_catalog.pg_index as i
                where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as has_identity_index
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and c.relpersistence = 'p'
   and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
   and n.nspname !~ '^pg_(temp|toast_temp)_'
 order by n.nspname, c.relname;

-- name: columns
-- The columns of the tables in %(oids)s, in order. "key" is the column's place in the key by which the
-- stream identifies rows: the replica identity's index where one is chosen, else the primary key.
select a.attrelid::int8,
       a.attname,
       a.atttypid::int8,
       a.atttypmod,
       a.attnotnull,
       a.attgenerated::text,
       case when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as "default",
       a.attidentity <> '' as identity,
       array_position(i.indkey::int2[], a.attnum) as key
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_class as c on c.oid = a.attrelid
  left join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join lateral (
       select i.indkey
         from pg_catalog.pg_index as i
        where i.indrelid = c.oid
          and case when c.relreplident = 'i' then i.indisreplident else i.indisprimary end
       ) as i on true
 where a.attrelid = any(%(oids)s::oid[])
   and a.attnum > 0
   and not a.attisdropped
 order by a.attrelid, a.attnum;

-- name: leaves_without_identity
-- The partitions of %(oid)s on which updates would fail once they are published.
select n.nspname, c.relname
  from pg_catalog.pg_partition_tree(%(oid)s::oid::regclass) as t
  join pg_catalog.pg_class as c on c.oid = t.relid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where t.isleaf
   and not case c.relreplident
             when 'f' then true
             when 'n' then false
             when 'i' then exists (select from pg_catalog.pg_index as i
                                    where i.indrelid = c.oid and i.indisreplident and i.indisvalid)
             else exists (select from pg_catalog.pg_index as i
                           where i.indrelid = c.oid and i.indisprimary) end;

-- name: partition
-- The partition %(oid)s, for how many transactions it has been where it is (since it, or one that it is part of,
-- was made as a partition or attached), and whether it had been a table before.
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name,
       m.age,
       age(t.xmin) > m.age as older
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  join pg_catalog.pg_type as t on t.oid = c.reltype
 cross join lateral (
       select min(age(i.xmin)) as age
         from pg_catalog.pg_partition_ancestors(c.oid) as a
         join pg_catalog.pg_inherits as i on i.inhrelid = a.relid) as m
 where c.oid = %(oid)s::oid and c.relkind = 'r' and c.relispartition;

-- name: column
-- Whether the table %(oid)s has a column %(name)s.
select a.attnum
  from pg_catalog.pg_attribute as a
 where a.attrelid = %(oid)s::oid and a.attname = %(name)s and a.attnum > 0 and not a.attisdropped;

-- name: harmful
-- Tables of the publication %(name)s whose updates and deletes the server refuses: "unlisted" are columns of
-- the replica identity that the column list lacks, "foreign" are others that the row filter looks at. Which
-- columns that are, only the parsed expression tells. Postgres 15 and later.
with member as (
     select r.prrelid, r.prattrs::int2[] as listed, r.prqual::text as condition
       from pg_catalog.pg_publication_rel as r
       join pg_catalog.pg_publication as p on p.oid = r.prpubid
      where p.pubname = %(name)s and (p.pubupdate or p.pubdelete)),
identifying as (
     select c.oid as relid, a.attnum, a.attname
       from member as m
       join pg_catalog.pg_class as c on c.oid = m.prrelid
       join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relreplident = 'f'
         or exists (select from pg_catalog.pg_index as i
                     where i.indrelid = c.oid and a.attnum = any(i.indkey::int2[])
                       and case when c.relreplident = 'i' then i.indisreplident else i.indisprimary end)),
harmed as (
     select n.nspname || '.' || c.relname as name,
            array(select i.attname::text from identifying as i
                   where i.relid = m.prrelid and i.attnum <> all(m.listed) order by i.attnum) as unlisted,
            array(select a.attname::text from pg_catalog.pg_attribute as a
                   where a.attrelid = m.prrelid
                     and a.attnum in (select v[1]::int2
                                        from regexp_matches(m.condition, ':varattno (\d+)', 'g') as v)
                     and not exists (select from identifying as i
                                      where i.relid = m.prrelid and i.attnum = a.attnum)
                   order by a.attnum) as "foreign"
       from member as m
       join pg_catalog.pg_class as c on c.oid = m.prrelid
       join pg_catalog.pg_namespace as n on n.oid = c.relnamespace)
select * from harmed where unlisted <> '{}' or "foreign" <> '{}' order by name;

-- name: server
-- Facts about the server and our role, in one row.
select current_setting('server_version_num')::int as version,
       current_setting('wal_level') as wal_level,
       pg_catalog.pg_is_in_recovery() as in_recovery,
       current_database() as database,
       getdatabaseencoding() as encoding,
       current_user as role,
       (select r.rolreplication or r.rolsuper
          from pg_catalog.pg_roles as r where r.rolname = current_user) as can_replicate,
       has_database_privilege(current_database(), 'create') as can_create,
       current_setting('max_replication_slots')::int as max_slots,
       (select count(*) from pg_catalog.pg_replication_slots)::int as used_slots,
       current_setting('max_wal_senders')::int as max_senders,
       (select count(*) from pg_catalog.pg_stat_replication)::int as used_senders,
       current_setting('max_slot_wal_keep_size', true) as keep_size,
       current_setting('idle_replication_slot_timeout', true) as idle_timeout,
       current_setting('synchronized_standby_slots', true) as standby_slots;

-- name: slot
-- The slot %(slot)s as it stands; null where this version has no such column. "horizon_age": for how many
-- transactions it has kept dead rows of the catalog from being removed.
select to_jsonb(s) || jsonb_build_object('horizon_age', age(s.catalog_xmin)) as slot
  from pg_catalog.pg_replication_slots as s
 where s.slot_name = %(slot)s;

-- name: blockers
-- Transactions with a transaction id, oldest first: a new slot waits for all of them.
select a.pid, a.usename, a.application_name,
       extract(epoch from clock_timestamp() - a.xact_start)::int as seconds
  from pg_catalog.pg_stat_activity as a
 where a.backend_xid is not null and a.pid <> pg_backend_pid()
 order by a.xact_start
 limit 5;

-- name: prepared
select gid, extract(epoch from clock_timestamp() - prepared)::int as seconds
  from pg_catalog.pg_prepared_xacts
 order by prepared
 limit 5;

-- name: publication
-- A publication and the oids of its tables.
select p.puballtables,
       p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
       pg_catalog.obj_description(p.oid, 'pg_publication') as comment,
       array(select r.prrelid::int8 from pg_catalog.pg_publication_rel as r
              where r.prpubid = p.oid order by 1) as tables
  from pg_catalog.pg_publication as p
 where p.pubname = %(name)s;

-- name: leftovers
-- Inactive logical slots that look like ours.
select slot_name, pg_catalog.pg_size_pretty(
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)) as retained
  from pg_catalog.pg_replication_slots
 where slot_type = 'logical' and not active and database = current_database()
   and slot_name like 'liberator\_%%' and slot_name <> %(slot)s;

-- name: readable
select has_table_privilege(%(oid)s::oid, 'select') as readable,
       has_schema_privilege(c.relnamespace, 'usage') as usable
  from pg_catalog.pg_class as c
 where c.oid = %(oid)s::oid;
