The commit column: the transaction of a row's last change, by which rows are read in an order that is settled.
$names are quoted.

-- name: add
-- One transaction: no change may come between the column and its trigger. Existing rows are not rewritten; all
-- have the number of this transaction. The trigger fires for replicated and restored rows too.
begin;
alter table $table add column if not exists $column xid8 not null default pg_catalog.pg_current_xact_id();
create or replace function $function() returns trigger language plpgsql set search_path = pg_catalog as
$$begin new.$column := pg_catalog.pg_current_xact_id(); return new; end$$;
create or replace trigger $trigger before insert or update on $table
  for each row execute function $function();
alter table $table enable always trigger $trigger;
commit;

-- name: drop
begin;
drop trigger if exists $trigger on $table;
drop function if exists $function();
alter table $table drop column if exists $column;
commit;

-- name: add_13
-- Postgres 13 has no "create or replace trigger".
begin;
alter table $table add column if not exists $column xid8 not null default pg_catalog.pg_current_xact_id();
create or replace function $function() returns trigger language plpgsql set search_path = pg_catalog as
$$begin new.$column := pg_catalog.pg_current_xact_id(); return new; end$$;
drop trigger if exists $trigger on $table;
create trigger $trigger before insert or update on $table
  for each row execute function $function();
alter table $table enable always trigger $trigger;
commit;

-- name: present
-- Whether table $text has the column, the trigger, the index.
select exists (select from pg_catalog.pg_attribute as a
                where a.attrelid = t.oid and a.attname = $column_text and a.atttypid = 'xid8'::regtype
                  and not a.attisdropped),
       exists (select from pg_catalog.pg_trigger as g
                where g.tgrelid = t.oid and g.tgname = $trigger_text and g.tgenabled = 'A'),
       exists (select from pg_catalog.pg_class as c
                where c.relname = $index_text and c.relnamespace = t.relnamespace)
  from pg_catalog.pg_class as t
 where t.oid = $text::regclass;
