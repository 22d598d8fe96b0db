"""Durations and sizes as people write them: ``7d``, ``90s``, ``10GB``, ``512MiB``.

Option models use the types :data:`Duration` (seconds) and :data:`Size` (bytes); a plain number is taken
as it is.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")


def parse_duration(text: object) -> object:
    """Seconds: ``"7d"`` is 604800.0; what is not a str is left to pydantic. Raises ValueError."""
    return _parse(text, _SECONDS, "s", "a duration such as 90s, 15m, 12h or 7d")


def parse_size(text: object) -> object:
    """Bytes: ``"10GB"`` is 10000000000, ``"1GiB"`` 1073741824. Raises ValueError."""
    size = _parse(text, _BYTES, "b", "a size such as 500MB, 10GB or 1GiB")
    return int(size) if isinstance(size, float) else size


def _parse(text: object, units: dict[str, float] | dict[str, int], plain: str, example: str) -> object:
    if not isinstance(text, str):
        return text
    found = _QUANTITY.fullmatch(text)
    unit = units.get((found[2] or plain).lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f"must be {example}")
    return float(found[1]) * unit


#: Seconds, from a number or a text such as ``7d``.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    WithJsonSchema({"type": ["number", "string"], "format": "duration", "minimum": 0}),
]
#: Bytes, from a number or a text such as ``10GB``.
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(ge=0),
    WithJsonSchema({"type": ["integer", "string"], "format": "size", "minimum": 0}),
]
