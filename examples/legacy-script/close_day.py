"""A plain script, as it runs every night in many places: PyMySQL, one transaction, no framework.

    pip install pymysql
    python close_day.py mysql://user:password@localhost:3306/shop

It closes the orders of the day. The two marked lines publish an event for each of them; outbox.py is
liberator/outbox.py, copied beside this file or installed.
"""

import sys
from urllib.parse import unquote, urlsplit

import pymysql

try:
    from outbox import Outbox  # the copy beside this file
except ImportError:
    from liberator.outbox import Outbox

outbox = Outbox()  # 1


def close_day(connection):
    """Close what was placed; return how many orders these were."""
    with connection.cursor() as cursor:
        cursor.execute("select id, total from orders where state = 'placed' order by id for update")
        orders = cursor.fetchall()
        for order, total in orders:
            cursor.execute("update orders set state = 'closed' where id = %s", [order])
            outbox.publish(  # 2
                cursor,
                aggregate_type="order",
                aggregate_id=order,
                event_type="OrderClosed",
                payload={"total": str(total)},
            )
    connection.commit()
    return len(orders)


def main(url):
    """Connect and close the day."""
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=parts.path.strip("/"),
    )
    try:
        print(close_day(connection), "orders closed")
    finally:
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
