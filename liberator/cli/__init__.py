"""The command ``liberator``: one file per command beside this one; here is what all of them share.

A command module holds one click command named ``command`` and imports what it needs when it runs, so that
``--help`` is quick. Exit codes: 0 fine, 1 failed, 2 wrong use or configuration, 130 interrupted. Errors
are lines on stderr (``error: …``, ``hint: …``); a traceback is shown only on ``--debug``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import liberator
from liberator.cli import output
from liberator.errors import ConfigError, LiberatorError

#: Every command and the module that holds it, in the order of ``--help``.
COMMANDS = {
    "init": "init",
    "check": "check",
    "setup": "setup",
    "run": "run",
    "status": "status",
    "topics": "topics",
    "tail": "tail",
    "schemas": "schemas",
    "snapshot": "snapshot",
    "teardown": "teardown",
    "outbox": "outbox",
    "connectors": "connectors",
    "config-schema": "config_schema",
    "demo": "demo",
}
INTERRUPTED = 130


class Commands(click.Group):
    """Finds a command by importing its module, and tells which one was meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(f"liberator.cli.{module}").command
        if not any(parameter.name == "debug" for parameter in command.params):
            command.params.append(_debug_option(hidden=True))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from liberator.spelling import suggest

            raise click.UsageError(f"no such command '{args[0]}'{suggest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. One whose reader has gone away (``| head``) has done what was wanted."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # Python would complain once more when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _debug_option(hidden: bool) -> click.Option:
    """``--debug`` is understood before and after the command's name."""

    def remember(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            os.environ["LIBERATOR_DEBUG"] = "1"  # for the workers too

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        hidden=hidden,
        callback=remember,
        help="Show the traceback of an error (or set LIBERATOR_DEBUG=1).",
    )


@click.command(cls=Commands, params=[_debug_option(hidden=False)])
@click.version_option(liberator.__version__, message="liberator %(version)s")
def cli() -> None:
    """Free the data locked inside databases.

    Row changes become schematized, replayable event streams, and tables again.

    \b
    Begin with a real server and a table that is copied before your eyes:
        liberator demo
    or with your own database:
        liberator init URL > shop.yaml
        liberator check --config shop.yaml
        liberator run --config shop.yaml
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; ``arguments`` None means those of the process."""
    sys.exit(invoke(sys.argv[1:] if arguments is None else arguments))


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    try:
        result = cli.main(args=list(arguments), prog_name="liberator", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as exc:
        return _misuse(exc)
    except LiberatorError as exc:
        if _debugging():
            raise
        output.error(exc.problems if isinstance(exc, ConfigError) else str(exc), exc.hint)
        return exc.exit_code
    except Exception as exc:
        if _debugging():
            raise
        output.error(f"unexpected {type(exc).__name__} {_raised_at(exc)}", "--debug shows the traceback")
        return 1


def _debugging() -> bool:
    return os.environ.get("LIBERATOR_DEBUG", "") not in ("", "0")


def _misuse(exc: click.ClickException) -> int:
    """What click found wrong with the arguments, in our form."""
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        exc.show()
        return exc.exit_code
    hint = None
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        hint = f"{exc.ctx.command_path} --help"
    message = exc.format_message().rstrip(".").replace(". Did you mean", "; did you mean")
    output.error(message[:1].lower() + message[1:], hint)
    return exc.exit_code


def _raised_at(exc: BaseException) -> str:
    """Where a defect showed. Its message is left out: it may quote a value."""
    trace: Any = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"in {trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}" if trace else ""
