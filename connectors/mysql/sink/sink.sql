What the sink asks MySQL and MariaDB; ?1 is a database, ?2 a table.

-- name: home
select database();

-- name: database
select 1 from information_schema.schemata where schema_name = ?1;

-- name: table
select t.table_name, t.engine, e.transactions
  from information_schema.tables as t
  left join information_schema.engines as e on e.engine = t.engine
 where t.table_schema = ?1 and t.table_name = ?2;

-- name: columns
select table_name, column_name, column_type, is_nullable, column_default, extra,
       character_set_name, collation_name, column_comment, column_key
  from information_schema.columns
 where table_schema = ?1 and table_name = ?2
 order by ordinal_position;

-- name: indexes
-- The columns of unique indexes; a part of a column, or an expression, is none that a key could use.
select table_name, index_name, column_name, sub_part
  from information_schema.statistics
 where table_schema = ?1 and table_name = ?2 and non_unique = 0
 order by index_name, seq_in_index;

-- name: parents
select distinct table_name, referenced_table_schema, referenced_table_name
  from information_schema.key_column_usage
 where table_schema = ?1 and table_name = ?2 and referenced_table_name is not null;

-- name: referenced
select referenced_table_name
  from information_schema.key_column_usage
 where referenced_table_schema = ?1 and referenced_table_name = ?2
 limit 1;

-- name: check
select current_user(), database(), @@global.read_only, @@max_allowed_packet, @@log_bin, @@binlog_format,
       @@innodb_page_size;
