"""Avro schemas made from table schemas, and table schemas found again in them.

The idea: a table's row is one record type whose every column outside the key is ``["null", T]`` with
default null, so that a newer schema reads older data and the reverse, whatever columns come and go. The
table's own description rides along in the attribute ``liberator`` (of the row: the table; of each field:
the column), so that the registered text alone gives the :class:`~liberator.schema.TableSchema` back.

The schema of the key says nothing but names and types of the key columns: it must not change, and with
it the bytes of every key, when some other column does.

How values become bytes lives in ``avro_value``, ``avro_write`` and ``avro_read``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from liberator.codec import EnvelopeName, Producer
from liberator.codec.envelope import LAYOUT, check_layout
from liberator.errors import SchemaError
from liberator.schema import ESCAPABLE, Column, Kind, LogicalType, TableSchema

#: The attribute that carries what Avro has no word for.
ATTRIBUTE = "liberator"
Branch = Literal["null", "value", "text"]

_INVALID = re.compile(r"[^A-Za-z0-9_]")

_PLAIN: dict[Kind, Any] = {
    Kind.BOOL: "boolean",
    Kind.INT16: "int",
    Kind.INT32: "int",
    Kind.INT64: "long",
    Kind.UINT64: {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0},
    Kind.FLOAT32: "float",
    Kind.FLOAT64: "double",
    Kind.STRING: "string",
    Kind.BYTES: "bytes",
    Kind.DATE: {"type": "int", "logicalType": "date"},
    Kind.TIME: {"type": "long", "logicalType": "time-micros"},
    Kind.TIMESTAMP: {"type": "long", "logicalType": "local-timestamp-micros"},
    Kind.TIMESTAMPTZ: {"type": "long", "logicalType": "timestamp-micros"},
    Kind.UUID: {"type": "string", "logicalType": "uuid"},
}

#: Named types of our own; Avro wants a definition at the first use and the name after it.
_RECORDS: dict[Kind, dict[str, Any]] = {
    Kind.DECIMAL: {
        "type": "record",
        "name": "liberator.Decimal",
        "doc": "a decimal of any scale: unscaled (big endian two's complement) times 10 to the minus scale",
        "fields": [{"name": "scale", "type": "int"}, {"name": "unscaled", "type": "bytes"}],
    },
    Kind.INTERVAL: {
        "type": "record",
        "name": "liberator.Interval",
        "fields": [
            {"name": "months", "type": "int"},
            {"name": "days", "type": "int"},
            {"name": "micros", "type": "long"},
        ],
    },
    Kind.GEOMETRY: {
        "type": "record",
        "name": "liberator.Geometry",
        "fields": [{"name": "wkb", "type": "bytes"}, {"name": "srid", "type": ["null", "int"]}],
    },
}


#: An escape. Not a mere string: to Avro's rules of resolution that is as good as bytes, and a decimal's NaN
#: would be read as its bytes.
_TEXT: dict[str, Any] = {
    "type": "record",
    "name": "liberator.Text",
    "doc": "the database's own text, for a value that the type beside cannot say",
    "fields": [{"name": "text", "type": "string"}],
}


def fixed_scale(type: LogicalType) -> bool:  # noqa: A002
    """Whether a decimal is Avro's own: its scale is declared, and is one that Avro can state."""
    return type.scale is not None and type.scale >= 0


def avro_type(type: LogicalType, defined: set[str]) -> Any:  # noqa: A002
    """The Avro type of one logical type; ``defined`` collects the named types already written out."""
    kind = type.kind
    if kind is Kind.DECIMAL and fixed_scale(type):
        precision, scale = type.precision or 0, type.scale or 0
        return {
            "type": "bytes",
            "logicalType": "decimal",
            "precision": max(precision, scale, 1),  # some databases allow a scale above the precision
            "scale": scale,
        }
    if kind in _RECORDS:
        return _named(_RECORDS[kind], defined)
    if kind is Kind.ARRAY:
        if type.item is None:
            raise SchemaError("an array type without a type of its items cannot be written as avro")
        return {"type": "array", "items": union(type.item, defined, nullable=True)}
    if kind in _PLAIN:
        plain = _PLAIN[kind]
        return dict(plain) if isinstance(plain, dict) else plain
    return {"type": "string", ATTRIBUTE: str(type)}  # json, enum, bits, native


def _named(record: dict[str, Any], defined: set[str]) -> Any:
    if record["name"] in defined:
        return record["name"]
    defined.add(record["name"])
    return record


def branches(type: LogicalType, nullable: bool) -> tuple[Branch, ...]:  # noqa: A002
    """What a value of this type may be, in the order of the union; one branch: no union at all."""
    out: list[Branch] = ["null"] if nullable else []
    out.append("value")
    if type.kind in ESCAPABLE:
        out.append("text")
    return tuple(out)


def union(type: LogicalType, defined: set[str], *, nullable: bool) -> Any:  # noqa: A002
    """The Avro type of a value that may be null, or the database's own text."""
    made: dict[Branch, Any] = {"null": "null", "value": avro_type(type, defined)}
    order = branches(type, nullable)
    if "text" in order:
        made["text"] = _named(_TEXT, defined)
    return [made[branch] for branch in order] if len(order) > 1 else made[order[0]]


def column_branches(column: Column) -> tuple[Branch, ...]:
    """The branches of one column: only a key column that cannot be null is never null."""
    return branches(column.type, column.key is None or column.nullable)


def names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The Avro field names of some columns, in order: letters, digits, underscores.

    A name that is valid and free stays; else its other characters become ``_``; where that is taken by
    an earlier column, a hash of the column's own name is added. The order decides, so that a column
    that is added behind the others never takes the field of one that was there.
    """
    taken: set[str] = set()
    out = []
    for column in columns:
        name = sanitised(column.name)
        if name in taken:
            digest = hashlib.sha256(column.name.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name}_{digest[:8]}"
        while name in taken:  # somebody has named a column like the hash of another
            name += "_"
        taken.add(name)
        out.append(name)
    return tuple(out)


def sanitised(name: str) -> str:
    """``name`` with everything that Avro allows in no name replaced by ``_``."""
    made = _INVALID.sub("_", name) or "_"
    return "_" + made if made[0].isdigit() else made


def namespace(topic: str) -> str:
    """The Avro namespace of a topic: its dotted parts, each sanitised."""
    return ".".join(sanitised(part) for part in topic.split("."))


def key_schema(table: TableSchema, topic: str) -> dict[str, Any] | None:
    """The schema of the records' keys: a record of the key columns in key order; None without a key."""
    if not table.key:
        return None
    return _key_record(table, namespace(topic) + ".Key", set())


def _key_record(table: TableSchema, name: str, defined: set[str]) -> dict[str, Any]:
    field = names(table.columns)
    return {
        "type": "record",
        "name": name,
        "fields": [
            {
                "name": field[i],
                "type": union(table.columns[i].type, defined, nullable=table.columns[i].nullable),
            }
            for i in table.key
        ],
    }


def row_schema(table: TableSchema, topic: str, defined: set[str]) -> dict[str, Any]:
    """The record type of a row: the value itself in ``entity``, before and after in ``change``."""
    fields = []
    for column, name in zip(table.columns, names(table.columns), strict=True):
        nullable = "null" in column_branches(column)
        field: dict[str, Any] = {"name": name, "type": union(column.type, defined, nullable=nullable)}
        if nullable:
            field["default"] = None
        fields.append(field | {ATTRIBUTE: column.to_json()})
    about = {k: v for k, v in table.to_json().items() if k != "columns"}
    return {"type": "record", "name": namespace(topic) + ".Value", "fields": fields, ATTRIBUTE: about}


def change_schema(table: TableSchema, topic: str, producer: Producer) -> dict[str, Any]:
    """The schema of a value in the envelope ``change``.

    What is equal for all events of a batch, of a table and of a transaction stands first, in this order:
    an encoder writes it, and a decoder recognises it, in one piece.
    """
    defined: set[str] = set()
    space = namespace(topic)
    fields: list[dict[str, Any]] = [
        {"name": "ts_ms", "type": "long"},
        {"name": "source", "type": _source_record(space, producer)},
        {
            "name": "transaction",
            "type": {
                "type": "record",
                "name": f"{space}.Transaction",
                "fields": [
                    {"name": "id", "type": "string"},
                    {"name": "total_order", "type": "long"},
                    {"name": "data_collection_order", "type": "long"},
                ],
            },
        },
        {"name": "op", "type": "string"},
        {"name": "unavailable", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "unavailable_before", "type": {"type": "array", "items": "string"}, "default": []},
    ]
    if table.key:
        key = _key_record(table, f"{space}.MovedKey", defined)
        fields.append({"name": "moved", "type": ["null", key], "default": None})
    row = row_schema(table, topic, defined)
    fields += [
        {"name": "before", "type": ["null", row], "default": None},
        {"name": "after", "type": ["null", row["name"]], "default": None},
    ]
    return {
        "type": "record",
        "name": f"{space}.Envelope",
        "fields": fields,
        ATTRIBUTE: {"envelope": "change", "layout": LAYOUT},
    }


#: The fields of ``source`` before those of the producer's own (``origin_fields``).
SOURCE_FIELDS = (
    ("version", "string"),
    ("connector", "string"),
    ("name", "string"),
    ("db", "string"),
    ("schema", "string"),
    ("table", "string"),
    ("snapshot", "string"),
    ("ts_ms", "long"),
    ("ts_us", "long"),
    ("epoch", "long"),
    ("major", "long"),
)


def check_origin(producer: Producer) -> None:
    """Raise SchemaError for a producer whose own fields cannot stand beside the others in ``source``."""
    known = {name for name, _ in SOURCE_FIELDS}
    for name, type_ in producer.origin_fields:
        if name in known or sanitised(name) != name or type_ not in ("long", "string"):
            raise SchemaError(f"source {producer.name}: origin field {name} cannot stand in the envelope")
        known.add(name)


def _source_record(space: str, producer: Producer) -> dict[str, Any]:
    fields: list[dict[str, Any]] = [{"name": name, "type": type_} for name, type_ in SOURCE_FIELDS]
    for name, type_ in producer.origin_fields:
        fields.append({"name": name, "type": ["null", type_], "default": None})
    return {"type": "record", "name": f"{space}.Source", "fields": fields}


def shared_part(origin_fields: Sequence[tuple[str, str]]) -> TableSchema:
    """The part of a value that the events of a transaction share, as if it were a table: the last fields
    of ``source``, and the transaction's id."""
    kinds = {"string": LogicalType(Kind.STRING), "long": LogicalType(Kind.INT64)}
    own = [Column(name, kinds[kind]) for name, kind in origin_fields]
    fixed = [Column(name, kinds[kind], nullable=False, key=0) for name, kind in SOURCE_FIELDS[6:]]
    return TableSchema("", "", "", "", (*fixed, *own, Column("transaction.id", kinds["string"], False, 0)))


def entity_schema(table: TableSchema, topic: str) -> dict[str, Any]:
    """The schema of a value in the envelope ``entity``: the row, and nothing else."""
    schema = row_schema(table, topic, set())
    schema[ATTRIBUTE] |= {"envelope": "entity", "layout": LAYOUT}
    return schema


def text(schema: dict[str, Any]) -> str:
    """The text that is registered; equal schemas give equal text."""
    return json.dumps(schema, separators=(",", ":"))


def understand(text: str) -> tuple[EnvelopeName, TableSchema, tuple[tuple[str, str], ...]]:
    """Envelope, table, and the producer's own source fields, from a registered text of ours.

    Raises SchemaError for any other.
    """
    try:
        schema = json.loads(text)
        envelope: EnvelopeName = schema[ATTRIBUTE]["envelope"]
        check_layout(schema[ATTRIBUTE].get("layout"))
        origin: tuple[tuple[str, str], ...] = ()
        row = schema
        if envelope == "change":
            fields = {field["name"]: field["type"] for field in schema["fields"]}
            row = fields["before"][1]
            own = fields["source"]["fields"][len(SOURCE_FIELDS) :]
            origin = tuple((field["name"], field["type"][1]) for field in own)
        elif envelope != "entity":
            raise SchemaError(f"envelope {envelope} is unknown")
        columns = [field[ATTRIBUTE] for field in row["fields"]]
        return envelope, TableSchema.from_json(row[ATTRIBUTE] | {"columns": columns}), origin
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
        raise SchemaError(
            "the schema is not one that liberator writes", hint="only topics written by liberator can be read"
        ) from exc
