"""The options of the source ``mysql-binlog``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connectors.mysql.types import TypeOptions
from liberator.options import PatternList, SourceOptions, Url

#: What gh-ost (``_t_gho``, ``_t_ghc``, ``_t_del``) and pt-online-schema-change (``_t_new``, ``_t_old``) make
#: beside a table; the digits are those of an optional time stamp.
GHOSTS = ["*._*_gho", "*._*_ghc", "*._*_del", "*._*_new", "*._*_old"]


class BinlogOptions(SourceOptions):
    """Reads the binary log of a MySQL server (8.0 to 9.x) or a MariaDB server (10.6 to 11.x)."""

    url: Url = Field(description="The server: mysql://user@host:3306. MariaDB is recognised by itself.")
    tables: list[str] = Field(
        description="Tables to capture, as patterns over database.table; one that begins with ! leaves out.",
        min_length=1,
    )
    snapshot: Literal["initial", "none", "only"] = Field(
        "initial",
        description="initial: read what is there, then go on with changes; none: changes only; "
        "only: read what is there, and end.",
    )
    where: dict[str, str] = Field(
        default_factory=dict,
        description="A condition per table (database.table: SQL) that limits what its snapshot reads.",
    )
    ghosts: PatternList = Field(
        default=GHOSTS,
        description="Helper tables of online schema changes, as patterns over database.table: they are not "
        "captured, and when one takes a captured table's place its rows count as the same rows.",
    )
    server_id: int | None = Field(
        None,
        ge=1,
        le=4_294_967_295,
        description="Our id as a replica, unique among all servers and replicas of the topology; "
        "derived from "
        "the source's name, the url and this host if not given.",
    )
    gtid: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether positions are GTIDs: auto where the server has them; on: an error where it has "
        "not; off: file and position only, so that a failover to another server stops us.",
    )
    zero_dates: Literal["null", "string", "error"] = Field(
        "null",
        description="What 0000-00-00 and dates with a zero part become: null; string: the database's own "
        "text; error: stop.",
    )
    tinyint1: Literal["int", "bool"] = Field("int", description="What tinyint(1) is: a number, or a boolean.")
    missing: Literal["reread", "error"] = Field(
        "reread",
        description="A row event that does not hold what it must (a JSON diff without the document it "
        "changes, "
        "an insert without its defaults; both through row images that are not full): reread: read the "
        "row from "
        "the table; error: stop.",
    )
    unlogged: Literal["reread", "error", "ignore"] = Field(
        "reread",
        description="Rows of a table came or went and the binlog does not say which (partitions dropped, "
        "truncated or exchanged, another table under its name, an XA transaction that was prepared before we "
        "began): reread: empty the table in the sinks and read it again, whatever `snapshot` says; error: "
        "stop; ignore: leave the sinks as they are.",
    )
    heartbeat: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds after which an idle server speaks; after three of them in silence the "
        "connection "
        "counts as lost.",
    )
    batch: int = Field(4000, ge=1, le=100_000, description="About how many events to take at once.")
    chunk: int = Field(50_000, ge=1, le=1_000_000, description="Rows to read per snapshot chunk.")
    chunk_bytes: int = Field(
        16_000_000, ge=1, description="Bytes after which a snapshot chunk ends early, whatever its rows."
    )
    reread_after_ddl: bool = Field(
        True,
        description="Read a table again after DDL that gave existing rows values which no row change "
        "tells of: a column with a default, a converted type, a renamed column.",
    )

    @property
    def types(self) -> TypeOptions:
        """What is decided about types."""
        return TypeOptions(self.zero_dates, self.tinyint1)
