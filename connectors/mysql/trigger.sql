What the source "trigger" keeps at a MySQL or MariaDB server. $… stand for quoted names; python puts them in.

-- name: changes
create table $changes (
    id      bigint unsigned not null auto_increment primary key,
    tx      varchar(100) character set ascii collate ascii_bin not null,
    at      bigint not null,
    version int not null,
    op      char(1) character set ascii not null,
    origin  varchar(255) character set utf8mb4 collate utf8mb4_bin,
    old     longtext character set utf8mb4 collate utf8mb4_bin,
    new     longtext character set utf8mb4 collate utf8mb4_bin
) engine = InnoDB

-- name: versions
create table $versions (
    id        int not null auto_increment primary key,
    relation  varchar(200) character set utf8mb4 collate utf8mb4_bin not null,
    described longtext character set utf8mb4 collate utf8mb4_bin not null,
    at        bigint not null
) engine = InnoDB

-- name: record
-- A user variable lasts as long as the session does, and uuid_short() never comes twice.
create trigger $trigger after $event on $table for each row
begin
    set @liberator_session = coalesce(@liberator_session, uuid_short());
    insert into $changes (tx, at, version, op, origin, old, new)
    values ($transaction, timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)), $version, '$op',
            left(@liberator_origin, 255), $old, $new);
end

-- name: performance_schema
-- The number of the session's transaction; uuid_short() where it is not instrumented.
coalesce(
        (select concat(@liberator_session, ':', t.event_id)
           from performance_schema.events_transactions_current as t
          where t.thread_id = ps_current_thread_id() and t.state = 'ACTIVE'),
        uuid_short())

-- name: last_gtid
-- What the session has written to the binlog last: it stays the same until this transaction commits.
if(@@session.sql_log_bin, concat(@liberator_session, ':', @@session.last_gtid), uuid_short())

-- name: instrumented
select (select count(*) from performance_schema.setup_consumers
         where name in ('events_transactions_current', 'global_instrumentation', 'thread_instrumentation')
           and enabled = 'YES') = 3
       and (select count(*) from performance_schema.setup_instruments
             where name = 'transaction' and enabled = 'YES') = 1;

-- name: triggers
select event_object_schema, event_object_table, trigger_schema, trigger_name
  from information_schema.triggers
 where trigger_name like $like escape '!'
 order by 1, 2, 4;

-- name: shapes
-- Changes whenever a column or a trigger does.
select (select coalesce(sum(crc32(concat_ws('/', table_schema, table_name, column_name, ordinal_position, column_type,
                                            is_nullable, column_key, column_default, extra))), 0)
          from information_schema.columns
         where table_schema in ($schemas)),
       (select coalesce(sum(crc32(concat_ws('/', event_object_table, trigger_name))), 0)
          from information_schema.triggers
         where trigger_schema in ($schemas));

-- name: engines
select table_schema, table_name, engine
  from information_schema.tables
 where table_schema in ($schemas) and table_type = 'BASE TABLE';

-- name: cascades
select constraint_schema, table_name, constraint_name, delete_rule, update_rule
  from information_schema.referential_constraints
 where constraint_schema in ($schemas)
   and (delete_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT') or update_rule in (
           'CASCADE', 'SET NULL', 'SET DEFAULT'));

-- name: size
select (select data_length + index_length from information_schema.tables
         where table_schema = $schema_text and table_name = $changes_text),
       (select count(*) from (select 1 from $changes limit 1000001) as counted),
       (select at from $changes order by id limit 1);
