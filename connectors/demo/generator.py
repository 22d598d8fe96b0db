"""Customers and clerks of the demo's shop: keeps changing every table until it is told to stop.

A process of its own (``python -m connectors.demo.generator URL [--rate N] [--seed N]``), because the demo
must not slow down its writers. Every transaction mixes tables, as an application's would; some roll back,
wholly or to a savepoint, and must never be seen by anybody. SIGTERM ends it behind a whole transaction; it
also ends when the process that started it is gone. The last line on stdout is a JSON object of counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import psycopg

Connection = psycopg.Connection[tuple[int, ...]]


class Rollback(Exception):
    """The customer changed their mind: the transaction leaves no trace."""


class Shop:
    """One session at the shop's database; every public method is the body of one transaction."""

    def __init__(self, conn: Connection, seed: int):
        self.conn = conn
        self.random = random.Random(seed)
        self.orders = self._highest("orders")
        # Not the new ones: whoever came in a transaction that was rolled back is not there.
        self.customers = self._highest("customers")

    def _highest(self, table: str) -> int:
        row = self.conn.execute(f"select coalesce(max(id), 0) from {table}".encode()).fetchone()
        assert row is not None
        return row[0]

    def _order(self) -> int:
        # Old orders and fresh ones alike: the fresh are the ones that a snapshot and a stream both see.
        newest = self.random.random() < 0.5
        return self.random.randint(max(1, self.orders - 200) if newest else 1, max(1, self.orders))

    def _sku(self) -> str:
        return f"SKU-{self.random.randint(1, 1000):05}"

    def _money(self) -> Decimal:
        return Decimal(self.random.randint(1, 99_999)) / 100

    def place_order(self) -> None:
        """A new order with its lines; one in five by a new customer."""
        customer = self.random.randint(1, self.customers)
        if self.random.random() < 0.2:
            customer = self._inserted(
                "insert into customers (email, name, tags)"
                " values (gen_random_uuid() || '@example.org', 'New customer', %s) returning id",
                [["new", None]],
            )
        order = self._inserted("insert into orders (customer_id) values (%s) returning id", [customer])
        lines = [
            (order, line, self._sku(), self.random.randint(1, 9), self._money())
            for line in range(1, self.random.randint(2, 6))
        ]
        with self.conn.cursor() as cursor:
            cursor.executemany(
                "insert into order_items (order_id, line, sku, quantity, unit_price)"
                " values (%s, %s, %s, %s, %s)",
                lines,
            )
        total = sum(line[3] * line[4] for line in lines)
        self.conn.execute("update orders set total = %s where id = %s", [total, order])
        self.conn.execute("update customers set credit = credit - %s where id = %s", [total, customer])
        self.orders = max(self.orders, order)

    def _inserted(self, statement: str, values: list[object]) -> int:
        row = self.conn.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def ship_orders(self) -> None:
        """A few orders go on, in one transaction."""
        orders = sorted({self._order() for _ in range(3)})
        self.conn.execute(
            "update orders set status = 'shipped', shipped_at = clock_timestamp() where id = any(%s)",
            [orders],
        )

    def reprice(self) -> None:
        """A price changes; the long manual, stored out of line, does not and is therefore not sent."""
        self.conn.execute(
            "update products set price = %s, changed_at = now() where sku = %s", [self._money(), self._sku()]
        )

    def rewrite_manual(self) -> None:
        """A new manual, long enough for out-of-line storage; or none at all."""
        text = self.random.randbytes(1500).hex() if self.random.random() < 0.8 else None
        self.conn.execute(
            "update products set manual = %s, attributes = attributes || '{\"edition\": 2}' where sku = %s",
            [text, self._sku()],
        )

    def renumber_lines(self) -> None:
        """The keys of some rows change, to numbers that were free."""
        order = self._order()
        self.conn.execute(
            "update order_items set line = line + (select max(line) from order_items where order_id = %s)"
            " where order_id = %s",
            [order, order],
        )

    def cancel_order(self) -> None:
        """An order goes, and its lines with it."""
        self.conn.execute("delete from orders where id = %s", [self._order()])

    def move_first_line(self) -> None:
        """A row is deleted and comes again under the same key, within one transaction."""
        order = self._order()
        self.conn.execute(
            "with gone as (delete from order_items where order_id = %s and line = 1 returning sku)"
            " insert into orders (customer_id, note) select 1, 'instead of ' || sku from gone",
            [order],
        )
        self.conn.execute(
            "insert into order_items (order_id, line, sku, quantity, unit_price)"
            " select id, 1, %s, 1, 1.10 from orders where id = %s on conflict do nothing",
            [self._sku(), order],
        )

    def change_preferences(self) -> None:
        """Documents and arrays change; a savepoint is rolled back on the way."""
        customer = self.random.randint(1, self.customers)
        try:
            with self.conn.transaction():
                self.conn.execute("update customers set name = 'never seen' where id = %s", [customer])
                raise Rollback
        except Rollback:
            pass
        self.conn.execute(
            "update customers set preferences = preferences || %s::jsonb, tags = tags || %s::text"
            " where id = %s",
            [json.dumps({"seen": self.random.randint(1, 99)}), "back", customer],
        )

    def change_mind(self) -> None:
        """Everything is rolled back."""
        self.conn.execute("delete from orders where id = %s", [self._order()])
        self.place_order()
        raise Rollback


#: What happens how often.
WEIGHTS: dict[Callable[[Shop], None], int] = {
    Shop.place_order: 30,
    Shop.ship_orders: 20,
    Shop.reprice: 15,
    Shop.rewrite_manual: 5,
    Shop.renumber_lines: 5,
    Shop.cancel_order: 8,
    Shop.move_first_line: 5,
    Shop.change_preferences: 8,
    Shop.change_mind: 4,
}


def keep_changing(url: str, rate: float, seed: int, going: Callable[[], bool]) -> Counter[str]:
    """Run transactions, about ``rate`` a second, while ``going()``; return how many of each kind."""
    done: Counter[str] = Counter()
    actions, weights = list(WEIGHTS), list(WEIGHTS.values())
    with psycopg.connect(url, autocommit=True, application_name="shop") as conn:
        shop = Shop(conn, seed)
        due = time.monotonic()
        while going():
            action = shop.random.choices(actions, weights)[0]
            try:
                with conn.transaction():
                    action(shop)
                done[action.__name__] += 1
            except Rollback:
                done["rolled_back"] += 1
            due = max(due + 1 / rate, time.monotonic() - 1)  # a slow moment is made good, up to a second
            time.sleep(max(0.0, due - time.monotonic()))
    return done


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    parent, told = os.getppid(), []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    counts = keep_changing(
        options.url, options.rate, options.seed, lambda: not told and os.getppid() == parent
    )
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
