"""The command ``inferometer``: one subcommand for each file of ``inferometer.commands``.

The exit code says who has to act: 0 done; 1 a fault of ours, with its traceback; 2 a mistake of the user, in
one sentence; 3 done, but the verdict abstains; 130 stopped with Ctrl-C; 141 the reader of the output went away.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import inferometer
from analyzer.wording import plain
from collector.errors import UserError
from collector.plugins import discover
from inferometer import commands
from inferometer._extras import MissingExtraError

_MISTAKE = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141

#: What typer raises for a wrong option or argument: it has no public name of its own.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name; taken from ``sys.argv`` unless told.
    """
    _print_anything()
    try:
        code = _outcome(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; that must find somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except SystemExit as leave:
        # rich ends the program itself when it finds the pipe closed.
        if not isinstance(leave.__context__, BrokenPipeError):
            raise
        return _PIPE_CLOSED
    return code


def _outcome(arguments: Sequence[str]) -> int:
    """Run a command; a mistake of the user becomes a sentence and a code."""
    try:
        _run(arguments)
    except typer.Exit as leave:
        return leave.exit_code
    except (UserError, MissingExtraError) as mistake:
        return _refuse(str(mistake))
    except _UsageError as mistake:
        return _refuse(getattr(mistake, "format_message", mistake.__str__)())
    return 0


def _run(arguments: Sequence[str]) -> None:
    command = typer.main.get_command(application())
    # Not ``command()``, which would decide on messages and exit codes itself.
    with command.make_context("inferometer", list(arguments)) as context:
        command.invoke(context)


def _refuse(sentence: str) -> int:
    """Say what was wrong, in one line: names in it may come from anywhere."""
    print(f"inferometer: {plain(sentence, 1000)}", file=sys.stderr)  # noqa: T201
    return _MISTAKE


def _print_anything() -> None:
    """Let a terminal that lacks a character show a question mark instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def application() -> typer.Typer:
    """The command line with every command there is."""
    app = typer.Typer(
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for name, module in discover(commands).items():
        app.command(name)(module.run)
    return app


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if asked:
        typer.echo(f"inferometer {inferometer.__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    *,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Why is this GPU not earning its money?

    Measures a running inference server and its GPUs, names what holds them back with evidence, and says what a
    thousand inferences cost. Start with `inferometer demo`: no GPU, no network.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
