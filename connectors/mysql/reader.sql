What a source that asks wants to know of a server, beside its tables.

-- name: views
select table_schema, table_name
  from information_schema.views
 where table_schema not in ('mysql', 'sys', 'information_schema', 'performance_schema')
 order by table_schema, table_name;
