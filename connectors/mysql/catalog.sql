The catalog of a source server: what can be captured, how its rows are identified, how its binlog is set up.

-- name: tables
-- Ordinary tables with rows of their own. "keyed": whether there is a primary key.
select t.table_schema,
       t.table_name,
       t.engine,
       coalesce(t.table_rows, 0),
       exists (select 1
                 from information_schema.table_constraints as c
                where c.table_schema = t.table_schema
                  and c.table_name = t.table_name
                  and c.constraint_type = 'PRIMARY KEY') as keyed
  from information_schema.tables as t
 where t.table_type = 'BASE TABLE'
   and t.table_schema not in ('mysql', 'sys', 'information_schema', 'performance_schema')
 order by t.table_schema, t.table_name;

-- name: special
-- MariaDB: tables that are not ordinary ones, and yet have rows in the binlog.
select t.table_schema,
       t.table_name,
       t.table_type
  from information_schema.tables as t
 where t.table_type in ('SYSTEM VERSIONED', 'SEQUENCE')
 order by t.table_schema, t.table_name;

-- name: type
select table_type
  from information_schema.tables
 where table_schema = %(schema)s
   and table_name = %(table)s;

-- name: columns
-- The columns of one table, in order, with their place in the primary key from 0.
select c.column_name,
       c.column_type,
       c.character_set_name,
       c.is_nullable = 'YES',
       (select k.ordinal_position - 1
          from information_schema.key_column_usage as k
         where k.constraint_name = 'PRIMARY'
           and k.table_schema = c.table_schema
           and k.table_name = c.table_name
           and k.column_name = c.column_name) as in_key,
       c.column_default,
       c.extra
  from information_schema.columns as c
 where c.table_schema = %(schema)s
   and c.table_name = %(table)s
 order by c.ordinal_position;

-- name: checks
-- MariaDB: the check constraints of one table; json_valid of a column makes it a JSON column.
select check_clause
  from information_schema.check_constraints
 where constraint_schema = %(schema)s
   and table_name = %(table)s;

-- name: cascades
-- Foreign keys through which a change of one table changes rows of another.
select constraint_schema,
       table_name,
       constraint_name,
       concat_ws(', ', if(delete_rule in ('NO ACTION', 'RESTRICT'), null, concat('on delete ', lower(delete_rule))),
                       if(update_rule in ('NO ACTION', 'RESTRICT'), null, concat('on update ', lower(update_rule))))
  from information_schema.referential_constraints
 where delete_rule not in ('NO ACTION', 'RESTRICT')
    or update_rule not in ('NO ACTION', 'RESTRICT')
 order by 1, 2, 3;

-- name: committing
-- MySQL: who is between the beginning of a commit and its end, where its changes become visible.
select owner_thread_id, owner_event_id
  from performance_schema.metadata_locks
 where object_type = 'COMMIT'
   and lock_status = 'GRANTED';
