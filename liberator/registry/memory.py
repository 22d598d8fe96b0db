"""A registry in a dict: for tests, and for the in-memory log. What it holds dies with the process."""

from __future__ import annotations

from liberator.errors import SchemaError
from liberator.registry import RegisteredSchema, Registry, SchemaType


class MemoryRegistry(Registry):
    """Numbers schemas from 1, as the servers do; one id for equal texts under any number of subjects."""

    def __init__(self) -> None:
        self._ids: dict[tuple[SchemaType, str], int] = {}
        self._by_id: dict[int, RegisteredSchema] = {}
        self._subjects: dict[str, list[RegisteredSchema]] = {}

    def register(self, subject: str, text: str, type: SchemaType) -> RegisteredSchema:  # noqa: A002
        """Store ``text`` as the newest version of ``subject``; equal text, equal id."""
        versions = self._subjects.setdefault(subject, [])
        for known in versions:
            if known.text == text and known.type == type:
                return known
        number = self._ids.setdefault((type, text), len(self._ids) + 1)
        made = RegisteredSchema(subject, len(versions) + 1, number, type, text)
        versions.append(made)
        self._by_id.setdefault(number, made)
        return made

    def get(self, id: int) -> RegisteredSchema:  # noqa: A002
        """The schema with this id. Raises SchemaError for an id that was never given out."""
        try:
            return self._by_id[id]
        except KeyError:
            raise SchemaError(
                f"schema {id} is not in the registry",
                hint="the record was written with another log's registry, or is damaged",
            ) from None

    def subjects(self) -> list[str]:
        """All subjects by name."""
        return sorted(self._subjects)

    def versions(self, subject: str) -> list[RegisteredSchema]:
        """All versions of ``subject``, oldest first; empty for an unknown subject."""
        return list(self._subjects.get(subject, ()))
