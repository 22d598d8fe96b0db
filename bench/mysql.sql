-- The orders of workload.sql, as MySQL has them, and the procedure that writes them.

-- name: schema
create table orders (
    id          bigint primary key,
    customer    int not null,
    status      varchar(20) not null,
    amount      decimal(12, 2) not null,
    note        text,
    paid        boolean not null,
    created_at  timestamp(6) not null
);
create table numbers (n int primary key);

-- name: numbers
insert into numbers
with recursive n (n) as (select 0 union all select n + 1 from n where n < 9999)
select /*+ set_var(cte_max_recursion_depth = 10000) */ n from n;

-- name: procedure
create procedure write_orders(first bigint, last bigint, per_transaction int)
begin
    while first <= last do
        insert into orders
        select i, (i * 7919) % 100000, elt(1 + i % 4, 'new', 'paid', 'packed', 'shipped'), (i % 100000) * 1.01,
               case when i % 5 > 0 then concat('please ring twice, order ', i) end, i % 3 = 0, sysdate(6)
        from (select first + n as i from numbers where n < per_transaction and first + n <= last) as some;
        commit;
        set first = first + per_transaction;
    end while;
end
