"""`robcert plan`: what an analysis or audit will take, before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from .commands import COMMANDS
from .shell import values
from .shell.command_group import LazyCommand, LazyGroup
from .shell.planning import Wish, planned_next

if TYPE_CHECKING:
    # Typer's own copy of click; importing click would add a dependency.
    from typer._click import Command

PLANNED = (
    *("audit", "attack", "linearity", "bounds", "verify", "smoothing", "masking-check"),
    *("corruption", "surface", "taylor"),
)
"""Commands that compute rows of images."""

BUDGET, WITHIN = "--budget", "--within"
"""The option of a plan; `verify` has another one of the first name."""


@dataclass(frozen=True, slots=True)
class PlannedCommand(LazyCommand):
    """A command whose plan is printed in place of running it; its options are its own."""

    def build(self, name: str) -> Command:
        """The command under ``name``."""
        return _planned(LazyCommand.build(self, name), name)


ENTRIES = {name: PlannedCommand(COMMANDS[name].doc, COMMANDS[name].load) for name in PLANNED}


class PlannedCommands(LazyGroup):
    """The commands that can be planned."""

    entries = ENTRIES


plan = typer.Typer(cls=PlannedCommands, add_completion=False, rich_markup_mode=None)


@plan.callback()
def of_command() -> None:
    """Say what an analysis or audit will take: passes, time, file; nothing is saved.

    Takes all options of the command. A pilot runs it on a few images for some seconds; that takes
    longer for the more thorough profiles, which --all-profiles measures too. Prints estimated
    numbers: the time has a range, and other programs on the machine change it. --budget says which
    profile and how many images fit into a time (for verify, whose --budget is the time per image:
    --within).

    Example: robcert plan audit --model model.onnx --data images.npz --budget 2h

    Example: robcert plan verify --model model.onnx --eps 2/255 --budget 10s --within 1h
    """


def _planned(command: Any, words: str) -> Command:
    """``command``, or each command of a group, as its plan; ``words`` name it."""
    for name, child in getattr(command, "commands", {}).items():
        _planned(child, f"{words} {name}")
    if not hasattr(command, "commands"):
        taken = {spelling for option in command.params for spelling in option.opts}
        names = [WITHIN] if BUDGET in taken else [BUDGET, WITHIN]
        options = _options(names)
        command.params += options if "--profile" in taken else options[:1]
        command.callback = _as_plan(command.callback, words, names[0])
        command.help = _help(command.help, words)
    found: Command = command
    return found


def _help(text: str, words: str) -> str:
    """Help of the plan of a command, with the first example of its help ``text``."""
    examples = (part for part in text.split("\n\n") if part.startswith("Example: "))
    example = next(examples).replace("Example: robcert", "Example: robcert plan", 1)
    return (
        f"Say what robcert {words} with the same options will take: passes, time, file.\n\n"
        "Prints estimated numbers, from a pilot on a few images. Nothing is saved, and options of "
        f"files that the command writes have no effect.\n\n{example}"
    )


def _options(names: list[str]) -> list[Any]:
    """The option of the budget and the flag, which Typer makes of the parameters of a function.

    Args:
        names: of the budget.
    """
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    budget = typer.Option(
        None,
        *names,
        help="Time that is available, such as 90s, 10m or 2h: which profile and how many images "
        "fit into it.",
    )
    every = typer.Option(
        False, "--all-profiles", help="Measure the other profiles too; this can take minutes."
    )

    @alone.command()
    def only(available: str | None = budget, all_profiles: bool = every) -> None:
        """Nothing."""

    found: list[Any] = typer.main.get_command(alone).params
    return found


def _as_plan(command: Callable[..., object], words: str, option: str) -> Callable[..., object]:
    """The function of a command, which prints its plan."""

    def planned(
        *, available: str | None = None, all_profiles: bool = False, **typed: Any
    ) -> object:
        seconds = values.positive_seconds(available, option, 0.0) or None
        with planned_next(Wish(words, seconds, all_profiles)):
            return command(**typed)

    return planned
