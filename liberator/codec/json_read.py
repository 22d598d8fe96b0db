"""JSON records back to events, per registered schema: rows, keys and the envelope ``change``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from json.scanner import make_scanner
from typing import Any, NoReturn, cast

from liberator.codec.avro_generate import Namespace, function
from liberator.codec.envelope import OPERATIONS, PHASES, Append, Gone, Item, frame, with_absent
from liberator.codec.json_value import BOUNDS, TEXTS, nullable
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Position, Row, Transaction
from liberator.schema import Kind, TableSchema


def _refuse(_: str) -> NoReturn:
    raise ValueError("not JSON")


_scan = make_scanner(cast(Any, json.JSONDecoder(parse_constant=_refuse)))


def parse(data: bytes) -> Any:
    """The document behind a frame. Raises DecodeError."""
    try:
        text = data[5:].decode()
        found, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration):
        raise DecodeError("a record's document is not JSON") from None
    if end != len(text):
        raise DecodeError("a record does not end where its document does")
    return found


def _compile_row(
    schema: TableSchema, places: tuple[int, ...], read: list[Any]
) -> Callable[[dict[str, Any]], Row]:
    """A function from an object's members to some columns of a row; raises KeyError or DecodeError."""
    names: Namespace = {}
    lines = []
    for i in places:
        names[f"n{i}"], names[f"r{i}"] = schema.names[i], read[i]
        lines.append(f"v{i} = members[n{i}]")
        kind = schema.columns[i].type.kind
        if kind in TEXTS:
            lines.append(f"if v{i}.__class__ is not str: v{i} = r{i}(v{i})")
        elif kind in BOUNDS:
            low, high = BOUNDS[kind]
            lines.append(f"if v{i}.__class__ is not int or not {low} <= v{i} <= {high}: v{i} = r{i}(v{i})")
        elif kind is Kind.BOOL:
            lines.append(f"if v{i}.__class__ is not bool: v{i} = r{i}(v{i})")
        else:
            lines.append(f"v{i} = r{i}(v{i})")
    return function("row members", [*lines, f"return ({''.join(f'v{i}, ' for i in places)})"], names, {})


class JsonRowReader:
    """The rows and keys of one table version, from JSON."""

    def __init__(self, schema: TableSchema):
        self.schema = schema
        self.fields = schema.names
        read = [nullable(column.type)[1] for column in schema.columns]
        self._row = _compile_row(schema, tuple(range(len(read))), read)
        self._key = _compile_row(schema, schema.key, read)

    def row(self, members: Any) -> Row:
        """A row from its members. Raises DecodeError."""
        if members.__class__ is not dict or len(members) != len(self.fields):
            raise DecodeError("a row in the record does not have the columns of its schema")
        try:
            return self._row(members)
        except KeyError:
            raise DecodeError("a row in the record does not have the columns of its schema") from None

    def key(self, members: Any) -> Row:
        """The values of the key columns, in key order, from their members. Raises DecodeError."""
        if members.__class__ is not dict or len(members) != len(self.schema.key):
            raise DecodeError("a key in the record does not have the columns of its schema")
        try:
            return self._key(members)
        except KeyError:
            raise DecodeError("a key in the record does not have the columns of its schema") from None

    def parsed_row(self, value: bytes) -> Row:
        """The row that is a record's value. Raises DecodeError."""
        return self.row(parse(value))

    def parsed_key(self, key: bytes) -> Row:
        """The values of the key columns that are a record's key. Raises DecodeError."""
        return self.key(parse(key))


class JsonChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(self, number: int, schema: TableSchema, origin: tuple[tuple[str, str], ...], gone: Gone):
        self._frame = frame(number)
        self._gone = gone
        self._rows = JsonRowReader(schema)
        self._origin = tuple((name, int if kind == "long" else str) for name, kind in origin)
        self._last: tuple[Any, Any, Transaction] | None = None

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """See :class:`liberator.codec.decoder.Reader`."""
        framed = self._frame
        for item in items:
            topic, key, value, _ = item
            if value is None or not value.startswith(framed):
                return item
            event = self.read(topic, value)
            self._gone.note(topic, key, event)
            append(event)
        return None

    def read(self, topic: str, data: bytes) -> ChangeEvent:
        """The event in ``data``, which begins with the frame. Raises DecodeError."""
        rows = self._rows
        found = parse(data)
        try:
            source, place, moved = found["source"], found["transaction"], found["moved"]
            before, after = found["before"], found["after"]
            return ChangeEvent(
                OPERATIONS[found["op"]],
                topic,
                rows.schema,
                None if before is None else self._row(before, found["unavailable_before"]),
                None if after is None else self._row(after, found["unavailable"]),
                self._transaction(source, place["id"]),
                _whole(place["total_order"]),
                _whole(place["data_collection_order"]),
                PHASES[source["snapshot"]],
                None if moved is None else rows.key(moved),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DecodeError("a record's document is not an event") from None

    def _row(self, members: Any, missing: Any) -> Row:
        row = self._rows.row(members)
        if missing == []:
            return row
        if not isinstance(missing, list):
            raise DecodeError("a record's list of columns that were not sent is not a list")
        return with_absent(row, self._rows.fields, missing)

    def _transaction(self, source: dict[str, Any], id_: Any) -> Transaction:
        """The transaction that ``source`` tells of; events of one transaction have it in common."""
        if self._last is not None and self._last[0] == source and self._last[1] == id_:
            return self._last[2]
        origin = tuple([source[name] for name, _ in self._origin])
        for value, (_, kind) in zip(origin, self._origin, strict=True):
            if value is not None and type(value) is not kind:
                raise DecodeError("a record's source has a field of a wrong type")
        if not isinstance(id_, str):
            raise DecodeError("a record's transaction has no id")
        position = Position(_whole(source["epoch"]), _whole(source["major"]))
        made = Transaction(id_, position, _whole(source["ts_us"]), origin)
        self._last = (source, id_, made)
        return made


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise DecodeError("a record has something else where a whole number belongs")
    return value
