-- The row that everybody moves, and the procedures that write it.

-- name: schema
create table orders (
    id          bigint primary key,
    customer    integer not null,
    status      text not null,
    amount      numeric(12, 2) not null,
    note        text,
    paid        boolean not null,
    created_at  timestamptz not null
);
-- Rows first .. last, in transactions of so many; commits are not waited for, to keep the writer short.
create procedure write_orders(first bigint, last bigint, per_transaction integer) language plpgsql as $$
begin
    set synchronous_commit = off;
    while first <= last loop
        insert into orders
        select i, (i * 7919) % 100000, (array['new', 'paid', 'packed', 'shipped'])[1 + i % 4], (i % 100000) * 1.01,
               case when i % 5 > 0 then 'please ring twice, order ' || i end, i % 3 = 0, clock_timestamp()
        from generate_series(first, least(last, first + per_transaction - 1)) as i;
        commit;
        first := first + per_transaction;
    end loop;
end $$;

-- name: merge
-- What a careful hand-written loader does with a batch.
insert into orders
select * from staged
on conflict (id) do update set
    customer = excluded.customer, status = excluded.status, amount = excluded.amount,
    note = excluded.note, paid = excluded.paid, created_at = excluded.created_at;

-- name: commits
-- When each order was committed, in microseconds since 1970.
select id, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint from orders;
