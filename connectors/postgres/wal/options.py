"""The options of the source ``postgres-wal``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from liberator.options import SourceOptions, Url


class WalOptions(SourceOptions):
    """Reads the write-ahead log of a Postgres database (13 to 18) through the plugin pgoutput."""

    url: Url = Field(description="The database: postgresql://user@host:5432/database.")
    tables: list[str] = Field(
        description="Tables to capture, as patterns over schema.table; one that begins with ! leaves out.",
        min_length=1,
    )
    snapshot: Literal["initial", "none", "only"] = Field(
        "initial",
        description="initial: read what is there, then go on with changes; none: changes only; "
        "only: read what is there, remove slot and publication, and end.",
    )
    where: dict[str, str] = Field(
        default_factory=dict,
        description="A condition per table (schema.table: SQL) that limits what its snapshot reads.",
    )
    columns: dict[str, list[str]] = Field(
        default_factory=dict,
        description="The columns to capture per table (schema.table: names); needs Postgres 15.",
    )
    filter: dict[str, str] = Field(
        default_factory=dict,
        description="A row filter per table (schema.table: SQL), kept in the publication and applied to "
        "the snapshot; needs Postgres 15.",
    )
    slot: str | None = Field(
        None,
        description="The replication slot's name; liberator_<source> if not given.",
        pattern=r"^[a-z0-9_]{1,63}$",
    )
    publication: str | None = Field(
        None,
        description="The publication's name; liberator_<source> if not given.",
        min_length=1,
        max_length=55,
    )
    without_identity: Literal["refuse", "insert_only"] = Field(
        "refuse",
        description="Tables without a replica identity: refuse them, or capture their inserts only.",
    )
    messages: list[str] = Field(
        default_factory=list,
        description="Prefixes of logical messages (pg_logical_emit_message) to capture as events.",
    )
    skip_origins: list[str] = Field(
        default_factory=list,
        description="Leave out changes whose transaction says, before them, that it has one of these origins "
        "(a transactional logical message with the prefix liberator.origin; sinks with the option origin "
        "write it): the way out of a loop between two databases.",
    )
    heartbeat: float = Field(
        10.0,
        ge=0,
        description="Seconds between heartbeat messages written to the WAL, so that lag is known and the "
        "slot moves on a quiet database; 0: none.",
    )
    batch: int = Field(4000, ge=1, le=100_000, description="About how many events to take at once.")
    chunk: int = Field(50_000, ge=1, le=1_000_000, description="Rows to read per snapshot chunk.")
    chunk_bytes: int = Field(
        16_000_000, ge=1, description="Bytes after which a snapshot chunk ends early, whatever its rows."
    )
    second_process: bool = Field(
        True,
        description="Decode the rows of large snapshots in a second process, where there is a second "
        "processor.",
    )
    reread_after_ddl: bool = Field(
        True,
        description="Read a table again after DDL that gave existing rows values which no row change "
        "tells of: a column with a default, a converted type, a renamed column.",
    )
    failover: bool = Field(
        False,
        description="Make the slot a failover slot, kept on standbys (Postgres 17 and later).",
    )
    slot_timeout: float = Field(
        60.0, gt=0, description="Seconds to wait for open transactions when the slot is created."
    )
