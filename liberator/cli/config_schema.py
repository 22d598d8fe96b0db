"""``liberator config-schema``: a JSON Schema of the configuration file, for editors.

Composed of the option models of everything that is installed; a connector whose driver is missing is
allowed by name and not looked into.
"""

from __future__ import annotations

import json
from typing import Any

import click

from liberator.cli import output
from liberator.plugins import MissingDriver, installed, load

#: Any option may be a reference in place of its value: ``batch: ${BATCH}``.
_REFERENCE = {"type": "string", "pattern": r"\$\{.*\}"}


@click.command()
def command() -> None:
    """Print a JSON Schema of the configuration file.

    Editors check and complete YAML with it; the comment in the example's second line tells an editor
    with the YAML language server where it is.

    \b
    Example:
        liberator config-schema > liberator.schema.json
        # yaml-language-server: $schema=liberator.schema.json
    """
    output.as_json(compose())


def compose() -> dict[str, Any]:
    """The schema of the whole file."""
    definitions: dict[str, Any] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "liberator configuration",
        "type": "object",
        "properties": {
            "log": _choice("logs", definitions) | {"description": "Where the events are kept."},
            "sources": _named("sources", definitions, "The databases to capture, by name."),
            "sinks": _named("sinks", definitions, "The databases to write, by name."),
        },
        "patternProperties": {"^x-": {"description": "Left alone: a place for YAML anchors."}},
        "additionalProperties": False,
        "required": ["log"],
        "$defs": definitions,
    }


def _named(group: str, definitions: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": description,
        "propertyNames": {"pattern": "^[a-z0-9_-]+$"},
        "additionalProperties": _choice(group, definitions),
    }


def _choice(group: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Options whose ``type`` decides about all the others. One ``if`` per type, because an editor then
    complains about the options of the type that was meant, and not about every type."""
    names = list(installed(group))
    rules = []
    for name in names:
        try:
            model = load(group, name).Config
        except MissingDriver:
            continue
        key = f"{group}.{name}"
        definitions[key] = _definition(model, key, definitions)
        rules.append(
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{key}"},
            }
        )
    kind: dict[str, Any] = {"enum": names, "description": "The connector."}
    return {"type": "object", "properties": {"type": kind}, "required": ["type"], "allOf": rules}


def _definition(model: Any, key: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one option model; models inside it become definitions of their own."""
    schema: dict[str, Any] = model.model_json_schema(ref_template=f"#/$defs/{key}.{{model}}")
    for name, inner in schema.pop("$defs", {}).items():
        definitions[f"{key}.{name}"] = _with_references(inner)
    schema.pop("title", None)
    return _with_references(schema)


def _with_references(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with a reference allowed wherever a number, a truth or a choice is asked for."""
    schema = json.loads(json.dumps(schema))
    for name, part in schema.get("properties", {}).items():
        part.pop("title", None)
        if name != "type" and (part.get("type") in ("integer", "number", "boolean") or "enum" in part):
            described = {k: part.pop(k) for k in ("description", "default") if k in part}
            schema["properties"][name] = {**described, "anyOf": [part, _REFERENCE]}
    return schema
