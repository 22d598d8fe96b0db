"""A small shop with Flask and SQLAlchemy that publishes an event for every order.

    pip install flask sqlalchemy
    python app.py        # makes shop.db beside this file, and listens on port 5000

Look for the two lines with ``outbox`` in ``place_order``: that is all that publishing needs.
"""

import os
from decimal import Decimal
from pathlib import Path

import flask
from sqlalchemy import Integer, Numeric, String, create_engine
from sqlalchemy.orm import Session, declarative_base, mapped_column

from liberator.outbox import Outbox

URL = os.environ.get("SHOP_DATABASE", f"sqlite:///{Path(__file__).with_name('shop.db')}")
engine = create_engine(URL)
outbox = Outbox(versions=True)
app = flask.Flask(__name__)
Base = declarative_base()


class Order(Base):
    """What a customer has ordered."""

    __tablename__ = "orders"
    id = mapped_column(Integer, primary_key=True)
    customer = mapped_column(String(100), nullable=False)
    total = mapped_column(Numeric(12, 2), nullable=False)
    state = mapped_column(String(20), nullable=False)


def create_tables():
    """Make the shop's table, and the outbox beside it."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        for statement in outbox.ddl(engine.dialect.name).split(";\n"):
            if statement:
                connection.exec_driver_sql(statement)


@app.post("/orders")
def place_order():
    """Store an order and publish that it was placed: both, or neither."""
    body = flask.request.get_json()
    with Session(engine) as session, session.begin():
        order = Order(customer=body["customer"], total=Decimal(body["total"]), state="placed")
        session.add(order)
        session.flush()  # the order gets its id
        outbox.publish(
            session,
            aggregate_type="order",
            aggregate_id=order.id,
            event_type="OrderPlaced",
            payload={"customer": order.customer, "total": str(order.total)},
        )
        if order.total <= 0:
            flask.abort(422)  # rolls back: the order is not there, and the event is not either
        return {"id": order.id}, 201


if __name__ == "__main__":
    create_tables()
    app.run()
