"""The options of the source ``trigger``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connectors.sql.reader import ZeroDates
from liberator.options import PatternList, SourceOptions, Url


class TriggerOptions(SourceOptions):
    """Reads a change table that triggers fill: Postgres, MySQL, MariaDB, SQLite; no access to a log
    needed."""

    url: Url = Field(description="The database: postgresql://…, mysql://…, mariadb://… or sqlite:///….")
    tables: PatternList = Field(
        description="Tables to capture, as patterns over schema.table; one that begins with ! leaves out.",
        min_length=1,
    )
    snapshot: Literal["initial", "none"] = Field(
        "initial",
        description="initial: read what is there, then go on with changes; none: changes only.",
    )
    before: Literal["key", "full"] = Field(
        "key",
        description="What an update's trigger keeps of the old row. key: the row, where its key changed; "
        "full: always. Deletes, and tables without a key, always keep it.",
    )
    cascades: Literal["refuse", "ignore"] = Field(
        "refuse",
        description="Tables whose rows a foreign key deletes or changes by itself, which MySQL and MariaDB "
        "tell no trigger of: refuse, or ignore these changes, which are lost.",
    )
    zero_dates: ZeroDates = Field(
        "null",
        description="On MySQL and MariaDB, what 0000-00-00 and dates with a zero part become: null; string: "
        "the database's own text; error: stop.",
    )
    skip_origins: list[str] = Field(
        default_factory=list,
        description="Leave out changes whose transaction set one of these as its origin "
        "(liberator.origin, @liberator_origin): the way out of a loop between two databases.",
    )
    purge: bool = Field(
        True,
        description="Delete from the change table what is durably in the log, in small batches; false: "
        "somebody else does it.",
    )
    poll: float = Field(0.1, gt=0, le=3600, description="Seconds between two looks at an idle change table.")
    batch: int = Field(4000, ge=1, le=100_000, description="About how many changes to take at once.")
    batch_bytes: int = Field(16_000_000, ge=1, description="Bytes after which a batch ends early.")
    chunk: int = Field(10_000, ge=1, le=1_000_000, description="Rows to read per snapshot chunk.")
    chunk_bytes: int = Field(16_000_000, ge=1, description="Bytes after which a snapshot chunk ends early.")
    reread_after_ddl: bool = Field(
        True,
        description="Read a table again after DDL that gave existing rows values which no row change "
        "tells of.",
    )
