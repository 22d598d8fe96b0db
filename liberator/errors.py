"""Every error that liberator raises on purpose.

A shallow tree: the family says where it went wrong, ``retryable`` says whether trying again can help,
``hint`` says what a person can do. Messages are lower case, name the table and the position, never a
cell value and never a secret. Connectors translate their driver's errors into these, ``raise … from``.

    LiberatorError
    ├── ConfigError          wrong use or configuration (exit code 2)
    ├── SourceError          reading a database
    │   └── PositionLost     the source no longer has what we have not read yet
    ├── LogError             the durable log
    ├── SchemaError          a schema that cannot be read, written or mapped
    │   └── DecodeError      bytes that are not what they claim to be
    └── SinkError            writing a database
"""

from __future__ import annotations


class LiberatorError(Exception):
    """Base of all errors: a message, a hint for the operator, and whether a retry can help.

    ``retryable`` is a class attribute that an instance may override: a broken connection can be
    retried, a missing privilege cannot.
    """

    retryable: bool = False
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool | None = None):
        super().__init__(message)
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable


class ConfigError(LiberatorError):
    """Wrong use or configuration; carries every problem found, each with its path in the file."""

    exit_code = 2

    def __init__(self, problems: str | list[str], *, hint: str | None = None):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems), hint=hint)


class SourceError(LiberatorError):
    """A source database could not be read."""


class PositionLost(SourceError):
    """The source cannot go on from where we were: changes between are gone or unknowable."""


class LogError(LiberatorError):
    """The durable log could not be read or written."""


class SchemaError(LiberatorError):
    """A schema cannot be mapped, registered or understood."""


class DecodeError(SchemaError):
    """Bytes that are not what they claim to be: truncated, damaged, or of an unknown kind."""


class SinkError(LiberatorError):
    """A target database could not be written."""
