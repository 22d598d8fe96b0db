What a source that asks wants to know of a SQLite file; $table is the table's name as a literal.

-- name: tables
select name, type
  from sqlite_master
 where type in ('table', 'view') and name not like 'sqlite\_%' escape '\'
   and sql not like 'create virtual table%'
 order by name;

-- name: columns
select name, type, "notnull", dflt_value, pk, hidden
  from pragma_table_xinfo($table)
 where hidden in (0, 2, 3)
 order by cid;
