"""Options that several commands have, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liberator.cli import output

if TYPE_CHECKING:
    from liberator.config import Settings

_DEFAULT = "liberator.yaml"


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--config FILE``."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        envvar="LIBERATOR_CONFIG",
        default=_DEFAULT,
        show_default=True,
        metavar="FILE",
        help="The configuration file (or set LIBERATOR_CONFIG).",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)


def settings(path: Path) -> Settings:
    """The settings in ``path``, with the warnings about them printed. Raises ConfigError."""
    from liberator.config import load

    loaded = load(path)
    for warning in loaded.warnings:
        output.warning(warning)
    return loaded
