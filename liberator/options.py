"""Options that every source, sink and log has, whatever its connector, and the types they are made of.

A connector's ``Config`` subclasses one of these and adds its own; a field's description is its
documentation. Models are data: nothing here connects or derives. Reading them from a file is the
business of :mod:`liberator.config`, which passes the file's directory as validation context
(``{"base": Path}``) so that relative paths mean the same wherever a command is started.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from liberator.patterns import Patterns

Codec = Literal["avro", "json"]
Envelope = Literal["change", "entity"]

_SECRET_PARAMETER = re.compile(
    r"((?:password|passwd|pwd|secret|token)\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE
)


def redact(url: str) -> str:
    """``url`` without its password, for messages: ``postgresql://app:***@db/shop``.

    Takes out too much rather than too little: a password may hold an unescaped @ or /.
    """
    url = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", url)
    return _SECRET_PARAMETER.sub(r"\1***", url)


def resolve(path: Path, info: ValidationInfo) -> Path:
    """``path`` as seen from the configuration file's directory; unchanged where there is no file."""
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path.expanduser()


def _no_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("must not be empty")
    return value


def resolve_file_url(url: str, info: ValidationInfo) -> str:
    """The URL of a file, its path as :func:`resolve` sees it; another URL unchanged."""
    scheme, separator, path = url.partition(":///")
    return f"{scheme}{separator}{resolve(Path(path), info)}" if separator and path else url


def _patterns(patterns: list[str]) -> list[str]:
    Patterns(patterns)
    return patterns


#: A database URL. It may hold a password: print it through :func:`redact` only.
Url = Annotated[str, BeforeValidator(_no_blank)]
#: The URL of a file, ``scheme:///relative.db`` or ``scheme:////absolute.db``; a relative one is resolved
#: against the configuration file's directory.
FileUrl = Annotated[str, BeforeValidator(_no_blank), AfterValidator(resolve_file_url)]
#: A path; a relative one is resolved against the configuration file's directory.
LocalPath = Annotated[Path, BeforeValidator(_no_blank), AfterValidator(resolve)]
#: Patterns as :mod:`liberator.patterns` reads them; compile with ``Patterns(...)`` where they are used.
PatternList = Annotated[list[str], AfterValidator(_patterns)]


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
    topics: PatternList = Field(
        default=["*"], description="Topics to write, as patterns; one that begins with ! leaves out."
    )
    apply: Literal["transaction", "batch"] = Field(
        "transaction",
        description="transaction: source transactions become visible whole or not at all; "
        "batch: a transaction larger than a batch becomes visible in parts.",
    )
    batch: int = Field(5000, ge=1, le=1_000_000, description="About how many events to write at once.")
    start: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where a sink without a cursor begins in the log: at its oldest record, or at what comes "
        "from now on, with the whole of a source transaction that is being written.",
    )


class LogOptions(Options):
    """What every log can be told."""

    type: str = Field(description="The log, as `liberator connectors` lists it.")
