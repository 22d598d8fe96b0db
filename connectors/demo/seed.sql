-- What the shop holds before anybody captures it; every number follows from the row's own.

insert into customers (email, name, credit, preferences, tags, born, created_at)
select 'customer' || i || '@example.com',
       (array['Ana', 'Björn', 'Chloé', 'Đorđe', 'Εύα', '藤井'])[1 + i % 6] || ' ' || i,
       (i % 1000) * 1.37,
       jsonb_build_object('newsletter', i % 3 = 0, 'language', (array['en', 'de', 'fr'])[1 + i % 3]),
       case when i % 4 = 0 then '{}' else array['tag' || i % 7, 'a "quoted", one', null] end,
       case when i % 5 > 0 then date '1950-01-01' + i % 20000 end,
       timestamptz '2024-01-01 00:00:00+00' + i * interval '1 minute 1.000001 seconds'
from generate_series(1, 20000) as i;

insert into products (sku, title, price, weight, attributes, sizes, manual)
select 'SKU-' || lpad(i::text, 5, '0'),
       'Product ' || i,
       (i % 500) + 0.99,
       case when i % 3 > 0 then i / 7.0 end,
       case when i % 2 = 0 then jsonb_build_object('colour', i % 16, 'parts', jsonb_build_array(i, i + 1, null)) end,
       case when i % 4 > 0 then array[i % 40, null, i % 50] end,
       (select string_agg(sha256((i || '/' || part)::bytea)::text, '') from generate_series(1, 60) as part)
from generate_series(1, 1000) as i;

insert into orders (customer_id, status, total, note, placed_at, shipped_at)
select 1 + (i * 7919::bigint) % 20000,
       (enum_range(null::order_status))[1 + i % 5],
       (i % 900) * 3.01,
       case when i % 10 = 0 then E'please ring twice\n\tthank you — ' || i end,
       timestamptz '2025-01-01 00:00:00+00' + i * interval '3 minutes',
       case when i % 5 > 2 then timestamptz '2025-01-03 00:00:00+00' + i * interval '3 minutes' end
from generate_series(1, 60000) as i;

insert into order_items (order_id, line, sku, quantity, unit_price, discount, gift)
select o, line, 'SKU-' || lpad((1 + (o * 31 + line * 17) % 1000)::text, 5, '0'),
       1 + (o + line) % 9, ((o * line) % 500) + 0.99,
       case when (o + line) % 3 = 0 then (o % 40) / 7.0 end,
       (o + line) % 11 = 0
from generate_series(1, 60000) as o, generate_series(1, 2) as line;

analyze;
