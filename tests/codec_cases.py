"""Any table, any row, any event: hypothesis strategies for the tests of the codecs."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import strategies as st

from liberator.codec import Producer
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Position, Transaction
from liberator.schema import ESCAPABLE, Column, Kind, LogicalType, TableSchema

PRODUCER = Producer("shop", "postgresql", "1.2", (("txId", "long"), ("lsn", "long"), ("note", "string")))

HOSTILE = [
    "order id",
    "order_id",
    "order-id",
    "Größe",
    '"',
    "'; drop",
    "1st",
    "",
    "a.b",
    "class",
    "é" * 40,
    "\n",
]
names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
#: Where the generated code changes its way.
EDGES = sorted(
    {
        s * (2**p) + d
        for p in (0, 6, 7, 13, 14, 15, 20, 21, 27, 28, 31, 34, 35, 41, 42, 48, 49, 55, 56, 62)
        for s in (1, -1)
        for d in (-1, 0, 1)
    }
)
NOW = st.integers(1_700_000_000_000_000, 1_700_000_900_000_000)


def numbers(low: int, high: int) -> st.SearchStrategy:
    return st.one_of(st.integers(low, high), st.sampled_from([e for e in EDGES if low <= e <= high]))


def float32s() -> st.SearchStrategy:
    return st.floats(width=32)


texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "new", "paid", "x" * 63, "x" * 64, "é" * 4096, "\0"])
)


@st.composite
def decimals(draw):
    if draw(st.booleans()):
        return LogicalType(Kind.DECIMAL)
    precision = draw(st.integers(1, 40))
    return LogicalType(Kind.DECIMAL, precision, draw(st.integers(-5, 45)))


PLAIN = [kind for kind in Kind if kind not in (Kind.DECIMAL, Kind.ARRAY, Kind.ENUM, Kind.NATIVE)]
scalars = st.one_of(
    st.sampled_from(PLAIN).map(LogicalType),
    decimals(),
    st.lists(texts, max_size=3, unique=True).map(lambda values: LogicalType(Kind.ENUM, values=tuple(values))),
    names.map(lambda name: LogicalType(Kind.NATIVE, name=name)),
)
types = st.recursive(scalars, lambda item: item.map(lambda t: LogicalType(Kind.ARRAY, item=t)), max_leaves=2)

_VALUES = {
    Kind.BOOL: st.booleans(),
    Kind.INT16: numbers(-(2**15), 2**15 - 1),
    Kind.INT32: numbers(-(2**31), 2**31 - 1),
    Kind.INT64: numbers(-(2**63), 2**63 - 1),
    Kind.UINT64: numbers(0, 2**64 - 1),
    Kind.FLOAT32: float32s(),
    Kind.FLOAT64: st.floats(),
    Kind.STRING: texts,
    Kind.BYTES: st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 63, b"x" * 64, b"x" * 20000])),
    Kind.DATE: numbers(-(2**31), 2**31 - 1),
    Kind.TIME: numbers(0, 86_400_000_000 - 1),
    Kind.TIMESTAMP: st.one_of(NOW, numbers(-(2**63), 2**63 - 1)),
    Kind.TIMESTAMPTZ: st.one_of(NOW, numbers(-(2**63), 2**63 - 1)),
    Kind.INTERVAL: st.tuples(INT32, INT32, INT64),
    Kind.UUID: st.uuids().map(str),
    Kind.JSON: texts,
    Kind.ENUM: texts,
    Kind.BITS: st.text("01", max_size=9),
    Kind.GEOMETRY: st.tuples(st.binary(max_size=20), st.none() | INT32),
    Kind.NATIVE: texts,
}


def physical(type_: LogicalType) -> st.SearchStrategy:
    """Physical values of a type: neither null nor escaped."""
    if type_.kind is Kind.ARRAY:
        item = values(type_.item) if type_.item.kind in ESCAPABLE else st.none() | physical(type_.item)
        return st.lists(item, max_size=4).map(tuple)
    if type_.kind is Kind.DECIMAL:
        if type_.precision is None:
            return st.tuples(
                st.integers() | st.just(-(10**600)), st.integers(-(2**31), 2**31 - 1) | st.integers(0, 20)
            )
        return numbers(1 - 10**type_.precision, 10**type_.precision - 1)
    return _VALUES[type_.kind]


def values(type_: LogicalType, nullable: bool = True) -> st.SearchStrategy:
    """Anything that a column of a type may hold."""
    out = physical(type_)
    if type_.kind in ESCAPABLE:
        out = st.one_of(out, texts)
    return st.one_of(st.none(), out) if nullable else out


@st.composite
def tables(draw, most=5, column_types=types):
    columns = draw(st.lists(st.tuples(names, column_types), max_size=most, unique_by=lambda c: c[0]))
    key = draw(st.permutations(range(len(columns))))[: draw(st.integers(0, 2))]
    return TableSchema(
        "test",
        draw(names),
        draw(names),
        draw(names),
        tuple(
            Column(
                name,
                type_,
                nullable=draw(st.booleans()),
                key=key.index(i) if i in key else None,
                native=draw(st.sampled_from(["", "int4", "número"])),
                default=draw(st.none() | st.just("'x'::text")),
                generated=draw(st.booleans()),
            )
            for i, (name, type_) in enumerate(columns)
        ),
    )


@st.composite
def rows(draw, schema, sent=1.0):
    """A row; key columns are always there, others may be absent unless ``sent`` is 1."""
    out = []
    for column in schema.columns:
        keyed = column.key is not None
        if sent < 1 and not keyed and draw(st.booleans()):
            out.append(ABSENT)
        else:
            out.append(draw(values(column.type, nullable=column.nullable or not keyed)))
    return tuple(out)


transactions = st.builds(
    Transaction,
    texts,
    st.builds(Position, st.integers(0, 5) | INT64, INT64, st.just(0)),
    st.one_of(NOW, INT64),
    st.tuples(st.none() | INT64, st.none() | st.integers(0, 2**40), st.none() | texts),
)


@st.composite
def events(draw, schema, transaction=transactions, topic="shop.public.orders"):
    operation = draw(st.sampled_from(Operation))
    before = after = moved = None
    if operation in (Operation.CREATE, Operation.READ):
        after = draw(rows(schema, draw(st.sampled_from([1, 1, 0]))))
    elif operation is Operation.UPDATE:
        after = draw(rows(schema, draw(st.sampled_from([1, 0]))))
        before = draw(st.none() | rows(schema, draw(st.sampled_from([1, 0]))))
    elif operation is Operation.DELETE:
        before = draw(rows(schema, draw(st.sampled_from([1, 0]))))
    if schema.key and operation in (Operation.CREATE, Operation.DELETE) and draw(st.booleans()):
        whole = draw(rows(schema))
        moved = tuple(whole[i] for i in schema.key)
    ordinal = 0 if operation is Operation.READ else draw(numbers(1, 2**40))
    table_ordinal = draw(st.one_of(st.just(ordinal), numbers(0, 2**30)))
    return ChangeEvent(
        operation, topic, schema, before, after, draw(transaction), ordinal, table_ordinal,
        draw(st.sampled_from(Phase)), moved,
    )  # fmt: skip


@st.composite
def histories(draw, most=8, column_types=types):
    """Events of up to three table versions, some of them sharing transactions and some schemas."""
    schemas = draw(st.lists(tables(column_types=column_types), min_size=1, max_size=3))
    shared = draw(st.lists(transactions, min_size=1, max_size=2))
    out = []
    for _ in range(draw(st.integers(1, most))):
        schema = draw(st.sampled_from(schemas))
        if draw(st.integers(0, 5)) == 0:
            schema = replace(schema)  # equal, and another object
        topic = draw(st.sampled_from(["shop.public.orders", 'shop.1st table."x"']))
        out.append(draw(events(schema, st.sampled_from(shared) | transactions, topic)))
    return out


def exact(events_: list[ChangeEvent]) -> list[str]:
    """Events as text in which everything shows: NaN equals itself, 0 is neither False nor -0.0."""
    return [repr(event) for event in events_]


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]
