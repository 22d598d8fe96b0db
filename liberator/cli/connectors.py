"""``liberator connectors``: what is installed, and what it can be told."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from liberator.cli import output
from liberator.cli.arguments import json_option
from liberator.errors import ConfigError
from liberator.plugins import MissingDriver, installed, load
from liberator.spelling import suggest

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_SHOWN = ("sources", "sinks", "logs")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a connector; ``default`` is None where the option is ``required``."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class Connector:
    """A source, sink or log that is installed; ``missing`` tells how to install its driver."""

    kind: str
    name: str
    package: str
    description: str
    missing: str | None
    options: list[Option]


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the sources, sinks and logs that are installed, or the options of NAME.

    \b
    Example:
        liberator connectors
        liberator connectors stdout
    """
    found = [describe(group, entry) for group in _SHOWN for entry in installed(group)]
    if name is not None:
        found = [connector for connector in found if connector.name == name]
        if not found:
            known = [entry for group in _SHOWN for entry in installed(group)]
            raise ConfigError(
                f"no connector {name} is installed{suggest(name, known)}",
                hint="`liberator connectors` lists what is",
            )
    if as_json:
        output.as_json([asdict(connector) for connector in found])
    elif name is None:
        rows = [(c.kind, c.name, c.package, c.missing or c.description) for c in found]
        output.table(("kind", "name", "package", "description"), rows)
    else:
        for connector in found:
            _print(connector)


def describe(group: str, name: str) -> Connector:
    """What ``name`` in ``group`` is and what its ``Config`` says about itself."""
    distribution = installed(group)[name].dist
    package = f"{distribution.name} {distribution.version}" if distribution else ""
    try:
        found = load(group, name)
    except MissingDriver as exc:
        return Connector(group.removesuffix("s"), name, package, "", exc.hint or str(exc), [])
    summary = (inspect.getdoc(found) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
    return Connector(group.removesuffix("s"), name, package, summary, None, options(found.Config))


def options(model: type[BaseModel], prefix: str = "") -> list[Option]:
    """The options of a pydantic model in the order of their declaration, ``type`` left out; those of a
    model inside it follow it as ``retention.age``."""
    from pydantic import BaseModel

    schema = model.model_json_schema()
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    found = []
    for name, part in schema.get("properties", {}).items():
        if name == "type":
            continue
        field = fields[name]
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += options(inner, f"{prefix}{name}.")
            continue
        text = spell(part, schema.get("$defs", {}))
        found.append(
            Option(prefix + name, text, field.is_required(), _default(field), part.get("description", ""))
        )
    return found


def _default(field: FieldInfo) -> Any:
    """The default as one could write it in a file."""
    from pydantic_core import to_jsonable_python

    return None if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))


def spell(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema as a person says it: ``list of text``, ``initial | none | only``, ``number >= 0``."""
    if "$ref" in part:
        return spell(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "allOf" in part and len(part["allOf"]) == 1:
        return spell(part["allOf"][0], definitions)
    if "anyOf" in part:
        members = dict.fromkeys(spell(member, definitions) for member in part["anyOf"])
        return " | ".join(member for member in members if member != "nothing")
    if part.get("format") in ("duration", "size", "path"):
        return str(part["format"])
    if "enum" in part:
        return " | ".join(map(str, part["enum"]))
    if "const" in part:
        return str(part["const"])
    return _spell_type(part, definitions)


def _spell_type(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    match part.get("type"):
        case "string":
            return "text"
        case "boolean":
            return "true | false"
        case "integer" | "number" as number:
            limits = "".join(f" {sign} {part[key]}" for key, sign in _LIMITS.items() if key in part)
            return ("whole number" if number == "integer" else "number") + limits
        case "array":
            return f"list of {spell(part.get('items', {}), definitions)}"
        case "object":
            inner = part.get("additionalProperties")
            return f"mapping to {spell(inner, definitions)}" if isinstance(inner, dict) else "mapping"
        case "null":
            return "nothing"
        case _:
            return "anything"


def _print(connector: Connector) -> None:
    output.line(f"{connector.kind} {connector.name} ({connector.package})")
    if connector.missing:
        output.line(f"  its driver is missing: {connector.missing}")
        return
    output.line(f"  {connector.description}")
    for option in connector.options:
        standard = "required" if option.required else f"default: {spell_default(option.default)}"
        output.line()
        output.line(f"  {option.name}: {option.type} ({standard})")
        if option.description:
            output.line(f"      {option.description}")
    output.line()


def spell_default(value: Any) -> str:
    """A default as one would write it in the file; ``not set`` for none."""
    import yaml

    if value is None:
        return "not set"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
