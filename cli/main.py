"""The program `robcert`: its commands, and the conversion of errors into an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import RobcertError
from robcert.certify.whole_file import FULL

from .commands import COMMANDS
from .shell.command_group import LazyGroup
from .shell.echo import echo, echo_text
from .shell.interrupt import end_after_interrupt, end_now, interrupt_told
from .shell.invocation import command_line, continuation, remember, something_saved

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
"""Exit status that a shell reports for a program ended by SIGPIPE, as in `robcert … | head`."""

SPINS = "2000"
"""Rounds for which a thread of torch waits in a loop before it sleeps. By default it is 300,000,
which keeps cores that are shared with other programs from the threads that are waited for."""


class Commands(LazyGroup):
    """The commands of robcert."""

    entries = COMMANDS


app = typer.Typer(
    name="robcert",
    cls=Commands,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        echo(f"robcert {version('robcert')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """How robust is this image classifier, how do you know, and is it only hiding its gradients?

    Every number has a kind of claim: certified (proven, or holds with the stated probability),
    estimated (may be wrong), attacked (an adversarial example was found at that distance and
    re-checked) or measured (a fact). Distances are in pixel units of [0, 1].

    Start with: robcert demo

    Then: robcert audit --model yours.onnx --data images.npz
    """


def main() -> None:
    """Run the program on the command line's arguments and exit with its status."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    remember(tuple(sys.argv[1:]))
    end_after_interrupt(continuation(), EXIT_INTERRUPTED)
    status = run(sys.argv[1:])
    if status == EXIT_INTERRUPTED and sys.argv[1:2] != ["train"]:  # it has processes to end
        end_now(status)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Exit status of `robcert ARGUMENTS`: 0 done, 1 check failed, 2 bad input, 130 interrupted.

    It is 141, without a message, if stdout is closed, because 1 would mean a failed check. With
    `--debug` errors keep their traceback; otherwise each is one line on stderr.
    """
    debug = "--debug" in arguments
    remember(tuple(arguments))
    if not debug:
        warnings.simplefilter("ignore")  # third-party ones; robcert's are part of the results
    try:
        status = app(args=list(arguments), prog_name="robcert", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = EXIT_INTERRUPTED
    except SystemExit as ended:
        if not ended.code:  # Typer ends completion with this exception
            return 0
        _write_no_more()  # on a broken pipe Typer and rich exit with 1
        return EXIT_CLOSED_PIPE
    except Exception as error:  # users get one line and no traceback for any error
        if debug:
            import traceback

            echo_text(traceback.format_exc().rstrip(), err=True)
        return _report_error(error, arguments)
    if status == EXIT_INTERRUPTED:
        interrupt_told()
        _say(_interrupted(arguments))
    return status if isinstance(status, int) else 0


def _interrupted(arguments: Sequence[str]) -> str:
    """Message on what an interrupted command has saved, and how to continue."""
    if not something_saved():
        return f"interrupted: this run has saved nothing yet; to start again, run: {command_line()}"
    resume = " --resume" if arguments[0] == "train" and "--resume" not in arguments else ""
    return f"interrupted: finished work is saved; to continue, run: {continuation()}{resume}"


def _write_no_more() -> None:
    """Discard output that the interpreter has not flushed to stdout yet."""
    with contextlib.suppress(OSError):  # a stdout that is not a file has nothing to flush
        target = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


def _report_error(error: Exception, arguments: Sequence[str]) -> int:
    """Print the error on stderr in one line, and a hint in a second one if there is one."""
    message, hint = _explained(error, arguments)
    _say(f"error: {' '.join(message.split())}")
    if hint:
        _say(f"hint: {' '.join(hint.split())}")
    return EXIT_BAD_INPUT


def _explained(error: Exception, arguments: Sequence[str]) -> tuple[str, str]:
    """Message and hint for ``error``."""
    if isinstance(error, RobcertError):
        return str(error), error.hint
    if isinstance(error, typer.TyperException):
        if unused := _unused_option(error):
            return unused
        message = error.format_message().replace("Value error, ", "")  # pydantic's, inside Typer
        return message, f"robcert {_command_of(arguments)}--help lists the options"
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        if not where and error.errno in FULL:  # files of output are named by their writers
            where = " for standard output or temporary files"
        return f"{error.strerror}{where}", ""
    if _no_memory(error):
        return "out of memory", "pass a smaller --batch-size, or a larger --memory-limit"
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        message = f"this process may not have the memory that its libraries need: {error}"
        return message, "raise the limit on its address space (ulimit -v), or remove it"
    return (
        f"{type(error).__name__}: {error} (this is a bug in robcert)",
        "run the same command with --debug for the traceback, and report it",
    )


def _unused_option(error: typer.TyperException) -> tuple[str, str] | None:
    """Message and hint for an option that only other commands have; None for other errors."""
    from .shell.options import shared_options

    option, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    if context is None or "No such option" not in error.message:
        return None
    if option not in shared_options():
        return None
    command = context.command_path
    message = f"{command} has no option {option}: it would have no effect"
    return message, f"{command} --help lists its options"


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out; torch has a separate error class for this on a GPU only."""
    named = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, MemoryError) or named


def _command_of(arguments: Sequence[str]) -> str:
    """The command among ``arguments``, followed by a blank; empty if there is none."""
    return next((f"{word} " for word in arguments if word in COMMANDS), "")


def _say(line: str) -> None:
    echo(line, err=True)


if __name__ == "__main__":
    main()
