What the sink asks SQLite about a table; ?1 is the table's name.

-- name: columns
select name, type, "notnull", dflt_value, pk, hidden
  from pragma_table_xinfo(?1)
 where hidden in (0, 2, 3)
 order by cid;

-- name: unique
-- The columns of its unique indexes; a partial one does not hold for every row.
select i.name, c.name
  from pragma_index_list(?1) as i, pragma_index_info(i.name) as c
 where i."unique" and not i.partial;

-- name: parents
select distinct "table" from pragma_foreign_key_list(?1);

-- name: referenced
select 1
  from sqlite_master as m, pragma_foreign_key_list(m.name) as f
 where m.type = 'table' and lower(f."table") = lower(?1)
 limit 1;
