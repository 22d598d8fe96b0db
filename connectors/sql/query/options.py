"""The options of the source ``query``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from connectors.sql.query.schedule import check_cron
from connectors.sql.reader import ZeroDates
from liberator.options import LocalPath, Options, SourceOptions, Url, resolve
from liberator.units import Duration, parse_duration

_DELAY = re.compile(r"delay\((.*)\)")

Mode = Literal["bulk", "incrementing", "timestamp", "timestamp+incrementing", "diff"]


def delay_of(horizon: str) -> float | None:
    """The seconds of ``delay(30s)``; None for ``auto``. Raises ValueError for anything else."""
    if horizon == "auto":
        return None
    match = _DELAY.fullmatch(horizon)
    seconds = parse_duration(match[1]) if match else None
    if not isinstance(seconds, float):
        raise ValueError("must be auto, or a delay such as delay(30s)")
    return seconds


def _horizon(text: str) -> str:
    delay_of(text)
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone such as UTC or Europe/Berlin") from None
    return name


def _url(url: str, info: Any) -> str:
    scheme, separator, path = url.partition(":///")
    return f"{scheme}{separator}{resolve(Path(path), info)}" if scheme == "sqlite" and path else url


class Reconcile(Options):
    """Deletes are found by comparing which keys there are."""

    reconcile: Duration = Field(description="How often to look for rows that are gone: 1h.", gt=0)


class QueryOptions(SourceOptions):
    """Reads tables, views and queries of any SQL database again and again, each time what is new."""

    url: Annotated[Url, AfterValidator(_url)] = Field(
        description="The database: postgresql://user@host:5432/database, mysql://user@host:3306/database or "
        "sqlite:///file.db."
    )
    tables: list[str] = Field(
        default_factory=list,
        description="Tables and views to read, as patterns over schema.table; one that begins with ! leaves "
        "out.",
    )
    queries: dict[str, str] = Field(
        default_factory=dict, description="Selects to read, by the name that each is to have as a table."
    )
    key: list[str] | dict[str, list[str]] = Field(
        default_factory=list,
        description="The columns that identify a row of the queries and of tables without a primary key: "
        "for all of them, or by name.",
    )
    mode: Mode = Field(
        description="bulk: everything at every poll; incrementing: rows with new ids; timestamp: rows with "
        "new times; timestamp+incrementing: the same, and new ids where there is no time; diff: whatever "
        "differs from what was read before."
    )
    incrementing_column: str | None = Field(
        None, description="The column whose values only grow from row to row, given out by the database."
    )
    timestamp_column: str | None = Field(
        None, description="The column with the time of a row's last change, taken from the database's clock."
    )
    commit_column: str = Field(
        "liberator_tx",
        min_length=1,
        description="On Postgres, the column of type xid8 with the transaction of a row's last change; where "
        "a table has it, rows are read in its order. `liberator setup --add-commit-column` adds it.",
    )
    poll_interval: Duration = Field(5.0, description="How long to wait between two polls.")
    cron: Annotated[str, AfterValidator(check_cron)] | None = Field(
        None, description="When to poll instead, in UTC, as five fields of cron: '*/15 * * * *'."
    )
    deletes: Literal["none"] | Reconcile = Field(
        "none",
        description="none: deletes are not seen (diff sees them anyway); {reconcile: 1h}: look every hour "
        "for rows that are gone.",
    )
    horizon: Annotated[str, AfterValidator(_horizon)] = Field(
        "auto",
        description="auto: read only what no open transaction can add to any more; delay(30s): trust that "
        "transactions commit within 30 seconds, and lose rows of those that do not.",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="The time zone in which a timestamp column without one is written."
    )
    zero_dates: ZeroDates = Field(
        "null",
        description="On MySQL and MariaDB, what 0000-00-00 and dates with a zero part become: null; string: "
        "the database's own text; error: stop.",
    )
    batch: int = Field(10_000, ge=1, le=1_000_000, description="How many rows to read with one statement.")
    batch_bytes: int = Field(
        16_000_000, ge=1, description="Bytes after which a batch ends early, whatever its rows."
    )
    statement_timeout: Duration = Field(
        300.0, description="How long a statement may take before it fails and is tried again; 0: for ever."
    )
    state_directory: LocalPath = Field(
        Path("liberator-state"),
        validate_default=True,
        description="Where `deletes: reconcile` and `mode: diff` keep which rows were read: a file for each "
        "source.",
    )

    @field_validator("queries")
    @classmethod
    def _one_statement(cls, queries: dict[str, str]) -> dict[str, str]:
        return {name: sql.strip().rstrip(";") for name, sql in queries.items()}

    @model_validator(mode="after")
    def _complete(self) -> QueryOptions:
        if not self.tables and not self.queries:
            raise ValueError("needs tables or queries")
        if "incrementing" in self.mode and self.incrementing_column is None:
            raise ValueError(f"mode {self.mode} needs incrementing_column")
        if "timestamp" in self.mode and self.timestamp_column is None:
            raise ValueError(f"mode {self.mode} needs timestamp_column")
        if self.deletes != "none" and self.mode in ("bulk", "diff"):
            raise ValueError(
                "deletes belong to the modes that follow a column; "
                + ("diff sees them anyway" if self.mode == "diff" else "bulk sees none: use diff")
            )
        return self

    @property
    def delay(self) -> float | None:
        """The seconds of ``horizon: delay(…)``; None where the horizon is looked at."""
        return delay_of(self.horizon)

    @property
    def reconcile(self) -> float | None:
        """Seconds between two searches for deleted rows; None: there are none."""
        return self.deletes.reconcile if isinstance(self.deletes, Reconcile) else None

    @property
    def remembers(self) -> bool:
        """Whether it is kept which rows were read."""
        return self.mode == "diff" or self.reconcile is not None

    def key_of(self, name: str) -> list[str]:
        """The key that was given for a table or query; empty: none was."""
        return self.key.get(name, []) if isinstance(self.key, dict) else self.key
