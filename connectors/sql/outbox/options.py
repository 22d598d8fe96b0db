"""The options of the source ``outbox``."""

from __future__ import annotations

import re
import string
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from liberator.options import SourceOptions, Url, resolve_file_url
from liberator.units import Duration

#: What the source looks for in the table, and the names that a column has if the options do not say. The
#: second ones are those of Debezium's outbox table.
COLUMNS: dict[str, tuple[str, ...]] = {
    "event_id": ("event_id", "id"),
    "aggregate_type": ("aggregate_type", "aggregatetype"),
    "aggregate_id": ("aggregate_id", "aggregateid"),
    "event_type": ("event_type", "type"),
    "payload": ("payload",),
    "payload_schema": ("payload_schema",),
    "headers": ("headers",),
    "version": ("version", "aggregate_version"),
    "created_at": ("created_at", "timestamp"),
    "published_at": ("published_at",),
    "id": ("id",),
}
_PART = re.compile(r"([1-9][0-9]?)/([1-9][0-9]?)")
#: Aggregates are parted by a hash of so many values; parts are made of whole ones.
SLOTS = 64


def _template(template: str) -> str:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        raise ValueError(f"not a template: {exc}") from None
    if any(field == "" or spec or conversion for _, field, spec, conversion in parts):
        raise ValueError("a template names columns in braces, and nothing else: {aggregate_type}")
    if not template.strip():
        raise ValueError("must not be empty")
    return template


def _known(columns: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise ValueError(f"there is no {', '.join(unknown)}; there are {', '.join(COLUMNS)}")
    return columns


def _part(part: str) -> str:
    found = _PART.fullmatch(part)
    if found is None or not int(found[1]) <= int(found[2]) <= SLOTS:
        raise ValueError(f"must be such as 1/4: the first of four parts; there are at most {SLOTS}")
    return part


def _url(url: str, info: ValidationInfo) -> str:
    return resolve_file_url(url, info) if url.startswith("sqlite:") else url


class OutboxOptions(SourceOptions):
    """Publishes the events that applications write into a table of theirs, in their own transactions."""

    url: Annotated[Url, AfterValidator(_url)] = Field(
        description="The database: postgresql://…, mysql://…, mariadb://… or sqlite:///…."
    )
    table: str = Field("outbox", description="The outbox table, with its schema if it is not the usual one.")
    capture: Literal["poll", "log"] = Field(
        "poll",
        description="poll: the table is asked again and again; log: its inserts are read from the "
        "database's log (Postgres, MySQL, MariaDB).",
    )
    drain: Literal["mark", "delete", "cursor"] = Field(
        "mark",
        description="What polling does with a row that is in our log. mark: sets its published_at; delete: "
        "deletes it; cursor: nothing, and goes on behind it.",
    )
    topic: Annotated[str, AfterValidator(_template)] = Field(
        "{aggregate_type}",
        description="The topic, a template over columns: events.{aggregate_type}, or a column of its own.",
    )
    columns: Annotated[dict[str, str], AfterValidator(_known)] = Field(
        default_factory=dict,
        description="What columns are called, where not as usual: event_id, aggregate_type, aggregate_id, "
        "event_type, payload, payload_schema, headers, version, created_at, published_at, id. Debezium's "
        "names are known.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Further headers of the record, by the column that each holds."
    )
    messages: str | None = Field(
        None,
        description="capture: log on Postgres: publish logical messages with this prefix too, which "
        "applications write in place of rows.",
    )
    invalid: Literal["stop", "pass"] = Field(
        "stop",
        description="A payload without a schema that is no JSON. stop: say which, and go no further; pass: "
        "hand its bytes on.",
    )
    poll_interval: Duration = Field(
        1.0, gt=0, description="How often the table is asked, at least, when it is quiet."
    )
    batch: int = Field(2000, ge=1, le=50_000, description="About how many rows to read at once.")
    keep: Duration | None = Field(
        None,
        description="How long rows stay that were published, such as 7d, until they are deleted; not set: "
        "for ever.",
    )
    part: Annotated[str, AfterValidator(_part)] = Field(
        "1/1",
        description="Which part of the aggregates to poll: sources with 1/3, 2/3 and 3/3 share the work.",
    )
    stream: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Options of the source that reads the log, such as slot, for capture: log.",
    )

    @model_validator(mode="after")
    def _belong_together(self) -> OutboxOptions:
        if self.capture == "poll" and (self.messages or self.stream):
            raise ValueError("messages and stream belong to capture: log")
        if self.capture == "log" and (self.drain != "mark" or self.part != "1/1"):
            raise ValueError("drain and part belong to capture: poll; the log is read as a whole")
        return self

    @property
    def slots(self) -> list[int]:
        """The values of the hash that belong to this part."""
        number, of = map(int, self.part.split("/"))
        return [slot for slot in range(SLOTS) if slot % of == number - 1]
