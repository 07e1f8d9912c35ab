"""Groups of commands; without a command they print their help. Commands are imported lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from .configured_command import ConfiguredCommand
from .echo import echo_text

if TYPE_CHECKING:
    # Typer's own copy of click; importing click would add a dependency.
    from typer._click import Command, Context, HelpFormatter


class CommandGroup(TyperGroup):
    """A group that prints its help and exits with 0 if no command is given."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Remaining arguments, for the command."""
        if not args and not ctx.resilient_parsing:
            echo_text(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command, or group of commands, whose module is imported when it is used.

    Attributes:
        doc: line in the list of commands: the first sentence of its help.
        load: function that imports it.
    """

    doc: str
    load: Callable[[], Callable[..., None] | typer.Typer]

    def build(self, name: str) -> Command:
        """The command under ``name``."""
        found = self.load()
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name, cls=ConfiguredCommand)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command


class LazyCommands(Mapping[str, "Command"]):
    """Commands by name; access to one imports it."""

    def __init__(self, entries: Mapping[str, LazyCommand]) -> None:
        self.entries = entries
        self._built = cache(lambda name: entries[name].build(name))

    def __getitem__(self, name: str) -> Command:
        return self._built(name)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class LazyGroup(CommandGroup):
    """A group of the commands in ``entries``, whose list is printed without importing them."""

    entries: Mapping[str, LazyCommand] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": LazyCommands(self.entries)})

    def list_commands(self, ctx: Context) -> list[str]:
        """Names in the order of the help."""
        return list(self.entries)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.doc) for name, entry in self.entries.items()])
