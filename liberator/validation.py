"""What pydantic says about options, in plain words.

A message names what was expected, never the value that was found: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from liberator.spelling import suggest

_Context = Mapping[str, Any]

#: pydantic's error type to words; what is missing here falls back on its own message.
_WORDS: Mapping[str, Callable[[_Context], str]] = {
    "missing": lambda _: "required option is missing",
    "string_type": lambda _: "must be text; put it in quotes",
    "string_sub_type": lambda _: "must be text",
    "string_too_short": lambda c: _at_least(c["min_length"]),
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "string_pattern_mismatch": lambda c: f"must look like {c['pattern']}",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "is too large a number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "decimal_type": lambda _: "must be a number",
    "decimal_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "set_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping",
    "model_type": lambda _: "must be a mapping",
    "model_attributes_type": lambda _: "must be a mapping",
    "dataclass_type": lambda _: "must be a mapping",
    "path_type": lambda _: "must be a path",
    "none_required": lambda _: "must be empty",
    "literal_error": lambda c: f"must be {c['expected']}",
    "enum": lambda c: f"must be {c['expected']}",
    "greater_than": lambda c: f"must be more than {c['gt']}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "multiple_of": lambda c: f"must be a multiple of {c['multiple_of']}",
    "too_short": lambda c: f"must have at least {_count(c['min_length'])}",
    "too_long": lambda c: f"must have at most {_count(c['max_length'])}",
    "value_error": lambda c: str(c["error"]),
    "assertion_error": lambda c: str(c["error"]),
}


def in_words(error: ValidationError, model: type[BaseModel], data: Any) -> dict[tuple[str | int, ...], str]:
    """Place in ``data`` to what is wrong there; several complaints about one place become one."""
    found: dict[tuple[str | int, ...], list[str]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        place = _place(detail["loc"], data)
        if detail["type"] == "extra_forbidden":
            text = "unknown option" + suggest(str(place[-1]), _siblings(model, place))
        elif detail["type"] in _WORDS:
            text = _WORDS[detail["type"]](detail.get("ctx", {}))
        else:
            text = _generic(detail["msg"])
        texts = found.setdefault(place, [])
        if text not in texts:
            texts.append(text)
    return {place: _join(texts) for place, texts in found.items()}


def _place(loc: tuple[str | int, ...], data: Any) -> tuple[str | int, ...]:
    """``loc`` without what pydantic adds for members of unions: only what the data has counts."""
    place: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(data, dict):
            known = part in data or index == len(loc) - 1
            data = data.get(part)
        else:
            known = isinstance(data, list) and isinstance(part, int) and part < len(data)
            data = data[part] if known else data
        if known:
            place.append(part)
    return tuple(place)


def _siblings(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """The options that exist where ``place`` ends, as far as plain nested models tell."""
    fields = _by_name(model)
    for part in place[:-1]:
        field = fields.get(str(part))
        fields = _by_name(field.annotation) if field else {}
    return list(fields)


def _by_name(model: Any) -> dict[str, FieldInfo]:
    """The fields of a model by the names that a file uses; none for what is not a model."""
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def _join(texts: list[str]) -> str:
    if len(texts) > 1 and all(text.startswith("must be ") for text in texts):
        return "must be " + ", or ".join(text.removeprefix("must be ") for text in texts)
    return "; ".join(texts)


def _generic(message: str) -> str:
    """pydantic's own sentence where it speaks of what it wants, as it does in nearly all of them."""
    wanted = re.match(r"Input should (be .*)", message)
    return f"must {wanted[1]}" if wanted else "is not valid"


def _at_least(length: int) -> str:
    return "must not be empty" if length == 1 else f"must have at least {length} characters"


def _count(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"
