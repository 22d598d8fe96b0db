"""The options of every SQL sink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from connectors.sql.sink.naming import check_template
from liberator.options import SinkOptions


class SqlSinkOptions(SinkOptions):
    """What every SQL sink can be told; the ``url`` is each database's own."""

    mode: Literal["upsert", "append", "history"] = Field(
        "upsert",
        description="upsert: the table mirrors its source; append: every event becomes a row; "
        "history: every version of a row becomes a row, with the time from and to which it was valid.",
    )
    delete: Literal["hard", "soft", "ignore"] = Field(
        "hard",
        description="What a delete does in mode upsert. hard: deletes the row; soft: sets its "
        "column _deleted_at; ignore: leaves it. In mode history, ignore leaves the version open.",
    )
    truncate: Literal["apply", "ignore"] = Field(
        "apply", description="apply: a truncated source table is emptied here too; ignore: it is not."
    )
    table: Annotated[str, AfterValidator(check_template)] = Field(
        "{table}",
        description="What a table is called here, made of {source}, {schema} and {table}; where the "
        "database has schemas, a dot parts schema and table.",
    )
    create: bool = Field(
        True, description="Create tables and add columns as the streams need them; false: report them."
    )
    allow_lossy: bool = Field(
        False, description="Write columns whose type here cannot hold every value of the source's."
    )

    @model_validator(mode="after")
    def _delete_belongs_to_a_mode(self) -> SqlSinkOptions:
        if self.delete == "soft" and self.mode != "upsert":
            raise ValueError(
                f"delete: soft belongs to mode upsert; mode {self.mode} keeps deleted rows anyway"
            )
        return self
