"""Where a record of the envelope ``change`` says that it came from, all fields by name, for people to read.

An event carries its source's own fields as a bare tuple; their names stand in the schema of the record alone.
"""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

from fastavro import parse_schema, schemaless_reader

from liberator.registry import Registry

#: The fields of the envelope that a decoded event does not know.
_FIELDS = ("source", "ts_ms")


def provenance(registry: Registry, value: bytes) -> dict[str, Any]:
    """``source`` as it is stored, and ``ts_ms``, when the event was encoded. ``value`` is a record's."""
    schema = registry.get(int.from_bytes(value[1:5], "big"))
    if schema.type == "AVRO":
        stored: Any = schemaless_reader(io.BytesIO(value[5:]), _parsed(schema.text), None)
    else:
        stored = json.loads(value[5:])
    return {name: stored[name] for name in _FIELDS}


@lru_cache(maxsize=1000)
def _parsed(text: str) -> Any:
    return parse_schema(json.loads(text))
