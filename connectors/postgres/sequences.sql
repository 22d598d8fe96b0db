Which sequences fill a column, or whether a table's rows are written elsewhere. $table and $column are literals, $oid and $number are numbers.

-- name: filled
-- Those that are an identity column's, owned by the column, or named by its default; of tables that inherit,
-- and partitions, too.
with recursive family (oid) as (
     select $table::regclass::oid
     union
     select i.inhrelid from pg_catalog.pg_inherits as i join family as f on f.oid = i.inhparent),
places (attrelid, attnum) as (
     select a.attrelid, a.attnum
       from family as f
       join pg_catalog.pg_attribute as a on a.attrelid = f.oid and a.attname = $column),
filled (oid) as (
     select d.objid
       from places as p
       join pg_catalog.pg_depend as d on d.refobjid = p.attrelid and d.refobjsubid = p.attnum
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
     union
     select d.refobjid
       from places as p
       join pg_catalog.pg_attrdef as x on x.adrelid = p.attrelid and x.adnum = p.attnum
       join pg_catalog.pg_depend as d on d.objid = x.oid
      where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass)
select format('%I.%I', n.nspname, c.relname), s.seqcache, s.seqincrement,
       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
  from filled as f
  join pg_catalog.pg_sequence as s on s.seqrelid = f.oid
  join pg_catalog.pg_class as c on c.oid = f.oid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace;

-- name: foreign
-- Whether rows are written elsewhere, and how they come here.
with recursive family (oid) as (
     select $table::regclass::oid
     union
     select i.inhrelid from pg_catalog.pg_inherits as i join family as f on f.oid = i.inhparent)
select c.oid::regclass::text,
       case c.relkind when 'f' then 'from a foreign server'
                      when 'm' then 'when it is refreshed'
                      else 'by logical replication' end
  from family as f
  join pg_catalog.pg_class as c on c.oid = f.oid
 where c.relkind in ('f', 'm')
    or exists (select from pg_catalog.pg_subscription_rel as s where s.srrelid = f.oid)
 limit 1;

-- name: origin
-- The name of a column, and what its relation selects if that is a view.
select a.attname, case when c.relkind = 'v' then pg_catalog.pg_get_viewdef(c.oid) end
  from pg_catalog.pg_class as c
  join pg_catalog.pg_attribute as a on a.attrelid = c.oid
 where c.oid = $oid and a.attnum = $number;
