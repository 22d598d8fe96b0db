"""The registry that lives in the embedded log's file: what the log holds and what describes it stay together.

Registering is a durable step of its own, before the first record that needs it. Ids are never given
twice, also by processes that register at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liberator.errors import SchemaError
from liberator.registry import RegisteredSchema, Registry, SchemaType

if TYPE_CHECKING:
    from liberator.log.storage import Storage

_VERSIONS = (
    "select subject, version, schemas.id, type, text from subjects join schemas on schema = schemas.id where "
)


class EmbeddedRegistry(Registry):
    """Subjects and schemas in the file of ``storage``. What was once read is kept: it never changes."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._by_id: dict[int, RegisteredSchema] = {}
        self._known: dict[tuple[str, SchemaType, str], RegisteredSchema] = {}

    def register(self, subject: str, text: str, type: SchemaType) -> RegisteredSchema:  # noqa: A002
        """Store ``text`` as the newest version of ``subject``, durably; equal text, equal id."""
        known = self._known.get((subject, type, text)) or self._find(subject, text, type)
        if known is None:
            known = self._add(subject, text, type)
        self._known[subject, type, text] = known
        return known

    def get(self, id: int) -> RegisteredSchema:  # noqa: A002
        """The schema with this id; of several subjects that have it, the first that had it."""
        known = self._by_id.get(id)
        if known is None:
            found = self._select("schemas.id = ? order by subjects.id limit 1", id)
            if not found:
                raise SchemaError(
                    f"schema {id} is not in the registry of log {self._storage.path}",
                    hint="the record was written with another log's registry, or is damaged",
                )
            known = self._by_id[id] = found[0]
        return known

    def subjects(self) -> list[str]:
        """All subjects by name."""
        with self._storage.read("list the subjects in") as connection:
            return [row[0] for row in connection.execute("select distinct subject from subjects order by 1")]

    def versions(self, subject: str) -> list[RegisteredSchema]:
        """All versions of ``subject``, oldest first; empty for an unknown subject."""
        return self._select("subject = ? order by version", subject)

    def _find(self, subject: str, text: str, type: SchemaType) -> RegisteredSchema | None:  # noqa: A002
        found = self._select("subject = ? and type = ? and text = ?", subject, type, text)
        return found[0] if found else None

    def _add(self, subject: str, text: str, type: SchemaType) -> RegisteredSchema:  # noqa: A002
        with self._storage.write(f"register a schema of {subject} in") as connection:
            one = "select id from schemas where type = ? and text = ?"
            row = connection.execute(one, (type, text)).fetchone()
            if row is None:
                put = "insert into schemas (type, text) values (?, ?) returning id"
                row = connection.execute(put, (type, text)).fetchone()
            number = int(row[0])
            # another process may have been quicker; then this adds nothing
            connection.execute(
                "insert or ignore into subjects (subject, version, schema) "
                "select ?1, coalesce(max(version), 0) + 1, ?2 from subjects where subject = ?1",
                (subject, number),
            )
            one = "select version from subjects where subject = ? and schema = ?"
            (version,) = connection.execute(one, (subject, number)).fetchone()
        return RegisteredSchema(subject, version, number, type, text)

    def _select(self, where: str, *values: object) -> list[RegisteredSchema]:
        with self._storage.read("read the registry of") as connection:
            rows = connection.execute(_VERSIONS + where, values).fetchall()
        return [RegisteredSchema(*row) for row in rows]
