The events that an outbox is filled with: a small JSON object each, of 10,000 aggregates.

-- name: postgres
insert into outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
select gen_random_uuid(), 'order', n %% 10000, 'OrderPlaced',
       json_build_object('order', n, 'total', n * 1.01, 'note', 'please ring twice'), '{"trace":"4bf92f3577b34da6"}'
from generate_series(1, %s) n;

-- name: mysql
insert into outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < %s)
select uuid(), 'order', n %% 10000, 'OrderPlaced',
       json_object('order', n, 'total', n * 1.01, 'note', 'please ring twice'), '{"trace":"4bf92f3577b34da6"}'
from numbers;
