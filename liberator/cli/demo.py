"""``liberator demo``: the whole way on one's own machine, with a real server."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default="shop", metavar="[NAME]")
def command(name: str) -> int:
    """Run a demo: shop, unless NAME says otherwise.

    A database server is started, changed under load, captured, copied, killed and compared row by row.
    Everything happens in a temporary directory that is removed at the end.

    \b
    Example:
        liberator demo
    """
    from liberator.plugins import demo

    result = demo(name)()
    return result if isinstance(result, int) else 0
