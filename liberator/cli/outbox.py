"""``liberator outbox``: what the owner of an application needs to begin with an outbox."""

from __future__ import annotations

import click

from liberator.errors import ConfigError


@click.group()
def command() -> None:
    """Help an application to publish events in its own transactions.

    The helper that it imports is liberator.outbox; a copy of that one file does as well.

    \b
    Example:
        liberator outbox ddl postgresql --notify | psql shop
    """


@command.command()
@click.argument("dialect", metavar="DIALECT")
@click.option("--table", default="outbox", show_default=True, help="The table's name.")
@click.option(
    "--drain",
    default="mark",
    show_default=True,
    metavar="mark|delete|cursor|log",
    help="How the table will be read: see the source's options capture and drain.",
)
@click.option("--avro", is_flag=True, help="For payloads in Avro: a column that holds bytes.")
@click.option("--notify", is_flag=True, help="Wake the reader at each commit, if the database can.")
@click.option("--versions", is_flag=True, help="With the table that numbers the events of an aggregate.")
@click.option("--inbox", is_flag=True, help="With the table in which a consumer notes what it has processed.")
def ddl(dialect: str, table: str, drain: str, avro: bool, notify: bool, versions: bool, inbox: bool) -> None:
    """Print the SQL that makes an outbox table for DIALECT: postgresql, mysql or sqlite.

    \b
    Example:
        liberator outbox ddl mysql --drain delete --versions | mysql shop
    """
    from liberator.outbox import Inbox, Outbox, OutboxError

    try:
        outbox = Outbox(table, schemas={} if avro else None, versions=versions)
        text = outbox.ddl(dialect, drain=drain, notify=notify)
        text += Inbox().ddl(dialect) if inbox else ""
    except OutboxError as exc:
        raise ConfigError(str(exc)) from exc
    click.echo(text, nl=False)
