"""``liberator topics``: what the log holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, json_option, settings


@click.command()
@config_option
@json_option
def command(config: Path, as_json: bool) -> None:
    """List the log's topics with their sizes.

    Offsets count over all topics of a log, so a topic's first and last offset are further apart than its
    number of records.

    \b
    Example:
        liberator topics --config shop.yaml
    """
    with settings(config).open_log(create=False) as log:
        topics = log.topics()
    if as_json:
        output.as_json([asdict(topic) for topic in topics])
        return
    output.table(
        ("topic", "records", "first", "last", "size", "newest"),
        [
            (t.topic, t.records, t.first, t.last, output.size(t.bytes), output.moment(t.timestamp))
            for t in topics
        ],
    )
