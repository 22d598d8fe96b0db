"""``liberator tail``: a topic's records as JSON lines, decoded."""

from __future__ import annotations

import base64
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liberator.cli.arguments import config_option, settings
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.log import Cursor, Headers, Log, Record, Records, Topics
    from liberator.registry import Registry

#: How many records to read at once.
_SLICE = 1000


class Start(click.ParamType):  # type: ignore[type-arg]
    """``earliest``, ``latest``, or an offset."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if value in ("earliest", "latest"):
            return str(value)
        try:
            offset = int(value)
        except ValueError:
            offset = -1
        if offset < 0:
            self.fail("must be earliest, latest or an offset", param, ctx)
        return offset


@click.command()
@click.argument("topic")
@config_option
@click.option(
    "--from",
    "start",
    type=Start(),
    default="earliest",
    show_default=True,
    metavar="earliest|latest|OFFSET",
    help="Where to begin.",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more at the end of the log.")
def command(topic: str, config: Path, start: str | int, limit: int | None, follow: bool) -> None:
    """Print the records of TOPIC, one JSON object per line.

    TOPIC may be a pattern such as 'shop.*'. A line has topic, offset, timestamp (milliseconds since 1970),
    key, value and headers; the value is null for a tombstone. Works while `liberator run` is running.

    \b
    Example:
        liberator tail --config shop.yaml shop.public.orders --from latest --follow
        liberator tail --config shop.yaml shop.public.orders --limit 10 | jq .value.after
    """
    with settings(config).open_log(create=False) as log:
        wanted = _wanted(log, topic, follow)
        printer = Printer(log.registry)
        records = _read(log, _begin(log, start), wanted, follow)
        for record in itertools.islice(records, limit):
            sys.stdout.write(json.dumps(printer.plain(record), ensure_ascii=False) + "\n")
            if follow:  # somebody watches: nothing may wait in a buffer
                sys.stdout.flush()


def _wanted(log: Log, topic: str, follow: bool) -> Topics:
    """A predicate for the topic of that very name, else for a pattern."""
    from liberator.patterns import Patterns
    from liberator.spelling import suggest

    names = [info.topic for info in log.topics()]
    if topic in names:
        return topic.__eq__
    try:
        wanted = Patterns([topic])
    except ValueError as exc:
        raise ConfigError(f"topic pattern {topic}: {exc}") from exc
    if not follow and not any(map(wanted, names)):
        raise ConfigError(
            f"no topic {topic} in this log{suggest(topic, names)}", hint="`liberator topics` lists them"
        )
    return wanted


def _begin(log: Log, start: str | int) -> Cursor:
    from liberator.log import Cursor

    if start == "latest":
        return log.end()
    begin = log.begin()
    if start == "earliest":
        return begin
    return Cursor(begin.log, {part: max(int(start), first) for part, first in begin.offsets.items()})


def _read(log: Log, cursor: Cursor, wanted: Topics, follow: bool) -> Iterator[Records]:
    """Every record by itself, up to what is now the end of the log or for ever."""
    from liberator.apply import covers

    end = log.end()
    while follow or not covers(cursor, end):
        part = log.read(cursor, wanted, _SLICE)
        for index in range(len(part.records)):
            yield part.records[index : index + 1]
        if part.cursor == cursor:
            log.wait(cursor, 1.0)
        cursor = part.cursor


class Printer:
    """Records of one log as plain data."""

    def __init__(self, registry: Registry):
        from liberator.codec.decoder import RecordDecoder

        self._registry = registry
        self._events = RecordDecoder(registry)
        # A decoder passes over a tombstone whose delete it has seen; this one never sees any.
        self._tombstones = RecordDecoder(registry)

    def plain(self, records: Records) -> dict[str, Any]:
        """One record as a dict; ``records`` holds just that one."""
        (record,) = records
        out: dict[str, Any] = {"topic": record.topic, "offset": record.offset}
        if record.partition:
            out["partition"] = record.partition
        key, value = self._decode(record, records)
        return out | {
            "timestamp": record.timestamp,
            "key": key,
            "value": value,
            "headers": {name: _text(data) for name, data in record.headers},
        }

    def _decode(self, record: Record, records: Records) -> tuple[Any, Any]:
        from liberator.codec.message import is_message, plain_message
        from liberator.codec.plain import plain_key, plain_row, to_plain
        from liberator.codec.provenance import provenance

        decoder = self._tombstones if record.value is None else self._events
        (event,) = decoder.decode(records)
        if is_message(record.headers):
            return plain_message(event)
        key = plain_key(event)
        if record.value is None:
            return key, None
        if _is_entity(record.headers):
            return key, None if event.after is None else plain_row(event.schema, event.after)
        return key, to_plain(event) | provenance(self._registry, record.value)


def _is_entity(headers: Headers) -> bool:
    """Whether the value is the row itself and the operation stands in the headers."""
    return any(name == "op" for name, _ in headers)


def _text(data: bytes | None) -> str | None:
    """Bytes as text; in base64 where they are none."""
    if data is None:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text else base64.b64encode(data).decode("ascii")
