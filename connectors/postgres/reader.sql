What a source that asks wants to know of a Postgres database, beside its tables.

-- name: views
-- Views, materialized views and foreign tables that can be selected from.
select c.oid::int8, n.nspname, c.relname
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where c.relkind in ('v', 'm', 'f')
   and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
   and n.nspname !~ '^pg_(temp|toast_temp)_'
 order by n.nspname, c.relname;
