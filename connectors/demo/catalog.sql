-- What there is to compare, from the source's catalog.

-- name: tables
-- Ordinary tables that have a primary key, with its columns in order.
select c.relname,
       array(select a.attname::text
             from unnest(i.indkey) with ordinality as k (attnum, place)
             join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
             order by place)
from pg_class c
join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = %s::regnamespace
order by 1;

-- name: columns
-- A table's columns and their types, those of the key first.
select attname, format_type(atttypid, null)
from pg_attribute
where attrelid = format('%%I.%%I', %s::text, %s::text)::regclass and attnum > 0 and not attisdropped
order by array_position(%s::text[], attname::text), attnum;

-- name: litter
-- What a source of ours would leave behind at the server.
select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication);
