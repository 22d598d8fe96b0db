"""``liberator init``: a commented configuration, written from what a database holds.

What is in it is the connector's matter (:meth:`liberator.source.Source.init`), found by the URL's scheme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from liberator.cli import output
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.source import Source


@click.command()
@click.argument("url")
def command(url: str) -> None:
    """Write a configuration for the database at URL to stdout.

    Looks at the database and changes nothing. The password does not get into the file: it refers to an
    environment variable.

    \b
    Example:
        liberator init postgresql://app:secret@localhost/shop > shop.yaml
    """
    kind = _connector(url)
    try:
        text = kind.init(url)
    except NotImplementedError as exc:
        raise ConfigError(f"the connector for URLs of this kind has nothing to say: {exc}") from exc
    output.line(text.rstrip())


def _connector(url: str) -> type[Source]:
    """The source that reads such URLs, by the scheme."""
    from liberator.plugins import installed, load

    scheme = urlsplit(url).scheme
    if scheme not in installed("schemes"):
        known = ", ".join(f"{name}://" for name in installed("schemes")) or "none"
        raise ConfigError(f"no installed connector reads URLs of this kind; known are: {known}")
    kind: type[Source] = load("schemes", scheme)
    return kind
