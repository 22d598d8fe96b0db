"""JSON Schemas made from table schemas, and table schemas found again in them.

The documents describe for people and tools what ``json`` writes; the table itself rides along in the
attribute ``liberator``. As with Avro, the schema of the key says nothing that could change while the key
does not.
"""

from __future__ import annotations

import json
from typing import Any

from liberator.codec import EnvelopeName, Producer
from liberator.codec.envelope import LAYOUT, check_layout
from liberator.errors import SchemaError
from liberator.schema import ESCAPABLE, Kind, LogicalType, TableSchema

ATTRIBUTE = "liberator"
_DRAFT = "http://json-schema.org/draft-07/schema#"
_INTEGER: dict[str, Any] = {"type": "integer"}
_STRING: dict[str, Any] = {"type": "string"}
_BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
_FLOAT: dict[str, Any] = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_TEXT: dict[str, Any] = {
    "type": "object",
    "properties": {"text": _STRING},
    "required": ["text"],
    "additionalProperties": False,
}


def _record(members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.BOOL: {"type": "boolean"},
    Kind.INT16: _INTEGER,
    Kind.INT32: _INTEGER,
    Kind.INT64: _INTEGER,
    Kind.UINT64: _INTEGER,
    Kind.FLOAT32: _FLOAT,
    Kind.FLOAT64: _FLOAT,
    Kind.DECIMAL: _STRING,
    Kind.BYTES: _BASE64,
    Kind.DATE: _INTEGER,
    Kind.TIME: _INTEGER,
    Kind.TIMESTAMP: _INTEGER,
    Kind.TIMESTAMPTZ: _INTEGER,
    Kind.INTERVAL: _record({"months": _INTEGER, "days": _INTEGER, "micros": _INTEGER}),
    Kind.GEOMETRY: _record({"wkb": _BASE64, "srid": {"type": ["integer", "null"]}}),
}


def json_type(type: LogicalType) -> dict[str, Any]:  # noqa: A002
    """The schema of a value of this type, null and escape included."""
    if type.kind is Kind.ARRAY and type.item is not None:
        plain: dict[str, Any] = {"type": "array", "items": json_type(type.item)}
    else:
        plain = _TYPES.get(type.kind, _STRING)
    choices = [{"type": "null"}, plain]
    if type.kind in ESCAPABLE:
        choices.append(_TEXT)
    return {"anyOf": choices, "title": str(type)}


def key_schema(table: TableSchema, topic: str) -> dict[str, Any] | None:
    """The schema of the records' keys; None without a key."""
    if not table.key:
        return None
    members = {column.name: json_type(column.type) for column in table.key_columns}
    return {"$schema": _DRAFT, "title": f"{topic} key", **_record(members)}


def row_schema(table: TableSchema) -> dict[str, Any]:
    """The schema of a row; no column is required, for columns come and go."""
    members = {column.name: json_type(column.type) for column in table.columns}
    return {"type": "object", "properties": members}


def value_schema(
    table: TableSchema, topic: str, envelope: EnvelopeName, producer: Producer
) -> dict[str, Any]:
    """The schema of the records' values."""
    about: dict[str, Any] = {"envelope": envelope, "layout": LAYOUT, "table": table.to_json()}
    head = {"$schema": _DRAFT, "title": f"{topic} value"}
    row = row_schema(table)
    if envelope == "entity":
        return {**head, **row, ATTRIBUTE: about}
    about["origin"] = [list(field) for field in producer.origin_fields]
    either = {"anyOf": [{"type": "null"}, row]}
    names = {"type": "array", "items": _STRING}
    own = {
        name: {"type": ["null", "integer" if kind == "long" else "string"]}
        for name, kind in producer.origin_fields
    }
    return {
        **head,
        "type": "object",
        "properties": {
            "before": either,
            "after": either,
            "unavailable": names,
            "unavailable_before": names,
            "source": {
                "type": "object",
                "properties": {
                    **dict.fromkeys(
                        ("version", "connector", "name", "db", "schema", "table", "snapshot"), _STRING
                    ),
                    **dict.fromkeys(("ts_ms", "ts_us", "epoch", "major"), _INTEGER),
                    **own,
                },
            },
            "op": {"enum": ["r", "c", "u", "d", "t"]},
            "ts_ms": _INTEGER,
            "transaction": _record(
                {"id": _STRING, "total_order": _INTEGER, "data_collection_order": _INTEGER}
            ),
            "moved": {"type": ["null", "object"]},
        },
        "required": ["before", "after", "source", "op", "transaction"],
        ATTRIBUTE: about,
    }


def text(schema: dict[str, Any]) -> str:
    """The text that is registered; equal schemas give equal text."""
    return json.dumps(schema, separators=(",", ":"))


def understand(text: str) -> tuple[EnvelopeName, TableSchema, tuple[tuple[str, str], ...]]:
    """Envelope, table, and the producer's own source fields, from a registered text of ours.

    Raises SchemaError for any other.
    """
    try:
        about = json.loads(text)[ATTRIBUTE]
        envelope = about["envelope"]
        check_layout(about.get("layout"))
        if envelope not in ("change", "entity"):
            raise SchemaError(f"envelope {envelope} is unknown")
        origin = tuple((str(name), str(kind)) for name, kind in about.get("origin", ()))
        return envelope, TableSchema.from_json(about["table"]), origin
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise SchemaError(
            "the schema is not one that liberator writes", hint="only topics written by liberator can be read"
        ) from exc
