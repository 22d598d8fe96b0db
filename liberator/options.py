"""Options that every source and every sink has, whatever its connector.

A connector's ``Config`` subclasses one of these and adds its own; a field's description is its
documentation. Models are data: nothing here connects or derives.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Codec = Literal["avro", "json"]
Envelope = Literal["change", "entity"]


class Options(BaseModel):
    """Base of all option models: unknown keys are errors, values are read-only, and an error never
    repeats the value that caused it (it may be a secret)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SourceOptions(Options):
    """What every source can be told."""

    type: str = Field(description="The connector, as `liberator connectors` lists it.")
    codec: Codec = Field("avro", description="How events are written: avro or json.")
    envelope: Envelope = Field(
        "change",
        description="change: before, after and metadata, as Debezium lays them out; "
        "entity: the row itself, metadata in headers, a delete is a tombstone.",
    )


class SinkOptions(Options):
    """What every sink can be told."""

    type: str = Field(description="The connector, as `liberator connectors` lists it.")
    topics: list[str] = Field(
        default=["*"], description="Topics to write, as patterns; one that begins with ! leaves out."
    )
    apply: Literal["transaction", "batch"] = Field(
        "transaction",
        description="transaction: source transactions become visible whole or not at all; "
        "batch: a transaction larger than a batch becomes visible in parts.",
    )
    batch: int = Field(5000, ge=1, le=1_000_000, description="About how many events to write at once.")
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a sink without a cursor begins in the log."
    )


def redact(url: str) -> str:
    """``url`` without its password, for messages: ``postgresql://app:***@db/shop``."""
    url = re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", url)
    return re.sub(r"(?i)((?:password|sslpassword|passwd|pwd)=)('[^']*'|[^\s&]+)", r"\1***", url)


def _no_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("must not be empty")
    return value


#: A database URL. It may hold a password: print it through :func:`redact` only.
Url = Annotated[str, BeforeValidator(_no_blank)]
