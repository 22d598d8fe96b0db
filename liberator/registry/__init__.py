"""The contract of the registry: subjects, and their numbered schema versions.

Numbers and framing are those of the schema registries that people already run: a schema has one id for
the whole registry, a subject has versions 1, 2, 3, …, and a record begins with a zero byte and the
id in four bytes, big endian (Confluent's wire format).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

SchemaType = Literal["AVRO", "JSON"]


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One version of one subject; ``text`` is the schema itself, in the language of ``type``."""

    subject: str
    version: int
    id: int
    type: SchemaType
    text: str


class Registry(ABC):
    """Finds and stores schemas. Registering what is there already returns it and changes nothing."""

    @abstractmethod
    def register(self, subject: str, text: str, type: SchemaType) -> RegisteredSchema:  # noqa: A002
        """Store ``text`` as the newest version of ``subject``, durably; equal text, equal id."""

    @abstractmethod
    def get(self, id: int) -> RegisteredSchema:  # noqa: A002
        """The schema with this id. Raises SchemaError for an id that was never given out."""

    @abstractmethod
    def subjects(self) -> list[str]:
        """All subjects by name."""

    @abstractmethod
    def versions(self, subject: str) -> list[RegisteredSchema]:
        """All versions of ``subject``, oldest first; empty for an unknown subject."""
