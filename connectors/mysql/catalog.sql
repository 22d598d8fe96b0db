The catalog of a source server: what can be captured, how its rows are identified, how its binlog is set up.

-- name: tables
-- Ordinary tables with rows of their own. "keyed": whether there is a primary key. MariaDB shows constraints to
-- nobody who may only select, and would look at all tables for each one in a subquery that depends on it.
select t.table_schema,
       t.table_name,
       t.engine,
       coalesce(t.table_rows, 0),
       (t.table_schema, t.table_name) in (select s.table_schema, s.table_name
                                            from information_schema.statistics as s
                                           where s.index_name = 'PRIMARY') as keyed
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
-- The columns of one table, in order, with their place in the primary key from 0. The table is named twice:
-- else MariaDB looks for the key in all tables.
select c.column_name,
       c.column_type,
       c.character_set_name,
       c.is_nullable = 'YES',
       (select k.ordinal_position - 1
          from information_schema.key_column_usage as k
         where k.constraint_name = 'PRIMARY'
           and k.table_schema = %(schema)s
           and k.table_name = %(table)s
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

-- name: references
-- Tables with foreign keys. What these do, MariaDB tells here to nobody who may only select.
select distinct table_schema,
       table_name
  from information_schema.key_column_usage
 where referenced_table_name is not null
 order by 1, 2;

-- name: committing
-- MySQL: who is between the beginning of a commit and its end, where its changes become visible; and the lock of
-- this very query, without which no locks are noted at all.
select owner_thread_id, owner_event_id, object_type = 'COMMIT'
  from performance_schema.metadata_locks
 where lock_status = 'GRANTED'
   and (object_type = 'COMMIT'
        or object_schema = 'performance_schema' and object_name = 'metadata_locks');
