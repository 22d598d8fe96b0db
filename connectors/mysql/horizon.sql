Who is at work at a server: a number that no other has, connection, user, host or program, age in seconds.

-- name: statements_mysql
-- Statements that have not ended, the outermost of each connection; threads that are not instrumented count
-- as long as they do anything. This one is among them, or the list cannot be trusted.
select concat(t.thread_id, ':', coalesce(s.event_id, 'any')),
       t.processlist_id, t.processlist_user,
       coalesce(a.attr_value, t.processlist_host), coalesce(s.timer_wait / 1e12, t.processlist_time),
       t.processlist_id = connection_id()
  from performance_schema.threads as t
  left join performance_schema.events_statements_current as s
    on s.thread_id = t.thread_id and s.nesting_event_level = 0
  left join performance_schema.session_connect_attrs as a
    on a.processlist_id = t.processlist_id and a.attr_name = 'program_name'
 where t.type = 'FOREGROUND'
   and t.processlist_id is not null
   and coalesce(t.processlist_command, '') not in ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')
   and (s.event_id is not null and s.end_event_id is null
        or t.instrumented = 'NO' and coalesce(t.processlist_command, '') <> 'Sleep');

-- name: statements_mariadb
select concat(p.id, ':', p.query_id), p.id, p.user, p.host, p.time_ms / 1000, p.id = connection_id()
  from information_schema.processlist as p
 where p.command not in ('Sleep', 'Daemon', 'Binlog Dump', 'Slave_IO');

-- name: switched_off
-- What keeps statements of others out of the list above.
select name
  from performance_schema.setup_consumers
 where name in ('events_statements_current', 'global_instrumentation', 'thread_instrumentation')
   and enabled = 'NO'
union all
select name
  from performance_schema.setup_instruments
 where name like 'statement/sql/%' and enabled = 'NO'
 limit 1;

-- name: given
-- An auto_increment column's next number.
select t.auto_increment
  from information_schema.tables as t
  join information_schema.columns as c on c.table_schema = t.table_schema and c.table_name = t.table_name
 where t.table_schema = $schema and t.table_name = $table
   and c.column_name = $column and c.extra like '%auto_increment%';

-- name: transactions
-- A transaction is known by its connection and its beginning: its own number changes when it begins to write.
-- One without a connection is a prepared one.
select /* liberator $token */
       if(t.trx_mysql_thread_id = 0, t.trx_id, concat(t.trx_mysql_thread_id, '@', t.trx_started)),
       t.trx_mysql_thread_id,
       t.trx_mysql_thread_id = connection_id(),
       t.trx_query,
       p.user, p.host,
       timestampdiff(second, t.trx_started, now())
  from information_schema.innodb_trx as t
  left join information_schema.processlist as p on p.id = t.trx_mysql_thread_id
 where not t.trx_is_read_only or t.trx_mysql_thread_id = connection_id();
