What the sink asks a target about its tables and types. Parameters are numbered.

-- name: home
-- The schema for tables whose name has none.
select current_schema();

-- name: table
-- The table called $2 in schema $1.
select c.oid::int8
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'f', 'v');

-- name: columns
-- The columns of table $1. Types outside of pg_catalog are spelled with their schema, whatever the
-- search path is.
select a.attname,
       case when coalesce(en.nspname, n.nspname) = 'pg_catalog' then format_type(a.atttypid, a.atttypmod)
            else quote_ident(coalesce(en.nspname, n.nspname)) || '.' || quote_ident(coalesce(e.typname, t.typname))
                 || substr(format_type(coalesce(e.oid, t.oid), a.atttypmod),
                           length(format_type(coalesce(e.oid, t.oid), -1)) + 1)
                 || case when e.oid is null then '' else '[]' end
       end,
       a.attnotnull,
       a.atthasdef or a.attidentity <> '',
       a.attgenerated <> ''
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_type as t on t.oid = a.atttypid
  join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
  left join pg_catalog.pg_type as e on e.oid = t.typelem and t.typcategory = 'A'
  left join pg_catalog.pg_namespace as en on en.oid = e.typnamespace
 where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
 order by a.attnum;

-- name: indexes
-- The unique indexes of table $1: whether primary, whether insert-or-update can rely on it, its columns.
select i.indisprimary,
       i.indimmediate,
       array(select a.attname::text
               from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) as k (attnum)
               join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum)
  from pg_catalog.pg_index as i
 where i.indrelid = $1::oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null;

-- name: parents
-- The tables that foreign keys of table $1 point to.
select distinct n.nspname, c.relname
  from pg_catalog.pg_constraint as k
  join pg_catalog.pg_class as c on c.oid = k.confrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where k.conrelid = $1::oid and k.contype = 'f';

-- name: referenced
-- Whether foreign keys point to table $1.
select exists (select from pg_catalog.pg_constraint as k where k.confrelid = $1::oid and k.contype = 'f');

-- name: builtin
-- The names of the types that this server has.
select t.typname::text
  from pg_catalog.pg_type as t
 where t.typnamespace = 'pg_catalog'::regnamespace;

-- name: named
-- The types called $2: those in schema $1 first, then those in the target's schema $3, then in public.
select n.nspname,
       t.typtype::text,
       quote_ident(n.nspname) || '.' || quote_ident(t.typname),
       array(select l.enumlabel::text
               from pg_catalog.pg_enum as l
              where l.enumtypid = t.oid
              order by l.enumsortorder)
  from pg_catalog.pg_type as t
  join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
 where t.typname = $2 and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname !~ '^pg_(temp|toast)'
 order by n.nspname is not distinct from $1 desc, n.nspname = $3 desc, n.nspname = 'public' desc, n.nspname;

-- name: captures
-- Whether a publication that liberator made for a source, called $3 or like it, publishes table $2 of schema $1.
select exists (select from pg_catalog.pg_publication as p
                 join pg_catalog.pg_publication_tables as t on t.pubname = p.pubname
                where p.pubname in ($3::text, $3::text || '_inserts') and t.schemaname = $1 and t.tablename = $2
                  and pg_catalog.obj_description(p.oid, 'pg_publication') like 'liberator %');

-- name: schema
-- Whether there is a schema $1.
select exists (select from pg_catalog.pg_namespace where nspname = $1);

-- name: may_truncate
select has_table_privilege($1::oid, 'truncate');

-- name: check
-- What a sink needs to know of the server and of schema $1 (null: the current one).
select current_setting('server_version_num')::int,
       pg_catalog.pg_is_in_recovery(),
       coalesce($1, current_schema()),
       current_user::text,
       has_database_privilege(current_database(), 'create'),
       has_database_privilege(current_database(), 'temporary'),
       (select has_schema_privilege(n.oid, 'create')
          from pg_catalog.pg_namespace as n where n.nspname = coalesce($1, current_schema()));
