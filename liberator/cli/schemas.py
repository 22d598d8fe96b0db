"""``liberator schemas``: the subjects and schema versions that the log keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, json_option, settings
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.registry import RegisteredSchema, Registry


@click.command()
@click.argument("subject", required=False)
@config_option
@json_option
def command(subject: str | None, config: Path, as_json: bool) -> None:
    """List the subjects, or show every schema version of SUBJECT.

    A topic's keys and values are the subjects TOPIC-key and TOPIC-value.

    \b
    Example:
        liberator schemas --config shop.yaml
        liberator schemas --config shop.yaml shop.public.orders-value
    """
    with settings(config).open_log(create=False) as log:
        if subject is None:
            _list(log.registry, as_json)
        else:
            _show(log.registry, subject, as_json)


def _list(registry: Registry, as_json: bool) -> None:
    newest = [registry.versions(subject) for subject in registry.subjects()]
    rows = [(v[-1].subject, len(v), v[-1].id, v[-1].type) for v in newest if v]
    if as_json:
        output.as_json([dict(zip(("subject", "versions", "id", "type"), row, strict=True)) for row in rows])
    else:
        output.table(("subject", "versions", "newest id", "type"), rows)


def _show(registry: Registry, subject: str, as_json: bool) -> None:
    from liberator.spelling import suggest

    versions = registry.versions(subject)
    if not versions:
        raise ConfigError(
            f"no subject {subject} in this log{suggest(subject, registry.subjects())}",
            hint="`liberator schemas` lists the subjects",
        )
    if as_json:
        output.as_json([_plain(version) for version in versions])
        return
    for version in versions:
        output.line(f"{version.subject} version {version.version}, id {version.id}, {version.type}")
        output.as_json(json.loads(version.text))


def _plain(version: RegisteredSchema) -> dict[str, Any]:
    return {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        "type": version.type,
        "schema": json.loads(version.text),
    }
