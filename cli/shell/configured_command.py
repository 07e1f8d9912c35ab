"""Commands whose options have defaults in a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from typer.core import TyperCommand, TyperOption

from robcert.certify.errors import ConfigurationError, InvalidParameterError

from .configuration import COMMAND_LINE_ONLY, TOGETHER, defaults_of, key_of
from .configuration_file import found_upwards, read_configuration
from .invocation import Configured, remember_configured

if TYPE_CHECKING:
    # Typer's own copy of click; importing click would add a dependency.
    from typer._click import Command, Context

    from .configuration_file import ConfigurationFile

SOURCE = "audit"
"""The command that has every option which a file may set."""


class ConfiguredCommand(TyperCommand):
    """A command that reads a configuration file if it has the option `--config`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Remaining arguments; options that are not typed get the values of the file."""
        if "config" not in {param.name for param in self.params} or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        opts, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        file = _file(opts.get("config"), unwanted=bool(opts.get("no_config")))
        if file is None:
            return super().parse_args(ctx, args)
        known = _options(_source(ctx) or self)
        defaults = defaults_of(file, known, ctx)
        own = {key: option for key, option in _options(self).items() if key in defaults.typed}
        typed = {key_of(cast("TyperOption", p)) for p in self.params if p.name in opts}
        taken = {key: option for key, option in own.items() if not _replaced(key, typed)}
        values = {key: _fitting(file, option, defaults.typed[key]) for key, option in taken.items()}
        ctx.default_map = {option.name: _default(values[key]) for key, option in taken.items()}
        words = {
            key: _words(option, values[key])
            for key, option in taken.items()
            if values[key] is not False
        }
        remember_configured(Configured(str(file.path), words))
        return super().parse_args(ctx, args)


def _file(config: str | None, *, unwanted: bool) -> ConfigurationFile | None:
    """The file of `--config`, or the nearest one; None with `--no-config`.

    Raises:
        RobcertError: both options are given, or the file cannot be read.
    """
    if config is not None and unwanted:
        message = "--config and --no-config contradict each other"
        raise InvalidParameterError(message, hint="omit one of them")
    if unwanted:
        return None
    return found_upwards(Path.cwd()) if config is None else read_configuration(Path(config))


def _source(ctx: Context) -> Command | None:
    """The command `audit` of the program; None if a command is called alone."""
    commands = getattr(ctx.find_root().command, "commands", {})
    return commands.get(SOURCE)


def _options(command: Command) -> dict[str, TyperOption]:
    """Options of ``command`` that a file may set, by key."""
    found = [one for one in command.params if isinstance(one, TyperOption) and one.name != "help"]
    return {key: one for one in found if (key := key_of(one)) not in COMMAND_LINE_ONLY}


def _replaced(key: str, typed: set[str]) -> bool:
    """Whether the command line has the option ``key``, or another that belongs to it."""
    if key == "eps" and "norm" in typed:  # a distance of another norm
        return True
    return key in typed or any(key in group and group & typed for group in TOGETHER)


def _fitting(
    file: ConfigurationFile, option: TyperOption, value: str | list[str] | bool
) -> str | list[str] | bool:
    """``value`` as this command takes it: of a list the only entry where it takes no list.

    Raises:
        ConfigurationError: there are several entries.
    """
    if option.multiple or not isinstance(value, list):
        return value
    if len(value) != 1:
        name = key_of(option)
        message = f"{file.path}: {name}: {len(value)} values, and this command takes one"
        raise ConfigurationError(message, hint=f"pass --{name} on the command line")
    return value[0]


def _default(value: str | list[str] | bool) -> str | tuple[str, ...] | bool:
    return tuple(value) if isinstance(value, list) else value


def _words(option: TyperOption, value: str | list[str] | bool) -> tuple[str, ...]:
    """The words of the command line that say the same."""
    name = next(one for one in option.opts if one.startswith("--"))
    if isinstance(value, bool):
        return (name,)
    entries = value if isinstance(value, list) else [value]
    return tuple(word for entry in entries for word in (name, entry))
