"""Steps of every analysis command before and after its library call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .invocation import command_line
from .render import print_json, print_tables
from .session import command_context, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.auditing import Reading, Summary
    from robcert.certify.store import Ledger
    from robcert.certify.tables import Table

    from .options import AnalysisOptions
    from .session import CommandContext


def run_analysis(
    options: AnalysisOptions,
    command: str,
    analysis: str,
    analyse: Callable[[CommandContext], Sequence[str]],
) -> Reading[Summary]:
    """Open model and images of the options, analyse, print; the summaries of the tables.

    Args:
        options: the shared options.
        command: name of the command, for the output.
        analysis: name of the analysis in the registry.
        analyse: function that fills groups of the results file and returns their paths.
    """
    with command_context(options) as context:
        paths = tuple(analyse(context))
        return report_groups(context, command, analysis, paths)


def report_groups(
    context: CommandContext, command: str, analysis: str, paths: tuple[str, ...]
) -> Reading[Summary]:
    """Print the summaries of the groups at ``paths``, with the ledger."""
    return report_parts(context, command, [("", analysis, paths)])[0]


def report_parts(
    context: CommandContext, command: str, parts: Sequence[tuple[str, str, Sequence[str]]]
) -> list[Reading[Summary]]:
    """Print the summaries of several analyses of one command.

    Args:
        context: the open session and the options.
        command: name of the command.
        parts: for each part its key in the summary (empty for the keys of the summary itself), its
            analysis, and the paths of its groups.
    """
    from robcert.certify.auditing import analysis_named, labelled

    context.end_pilot()
    store = context.session.store
    summary: dict[str, Any] = {}
    shown: list[Table] = []
    readings = []
    for key, name, paths in parts:
        _remember_command(context, paths)
        reading = analysis_named(name).read(store, *paths)
        readings.append(reading)
        shown += reading.tables_for(labelled=labelled(store))
        for line in reading.warnings:
            context.warn(line)
        summary |= {key: reading.to_json()} if key else reading.to_json()
    _print(context, command, [path for _, _, paths in parts for path in paths], summary, shown)
    return readings


def _remember_command(context: CommandContext, paths: Sequence[str]) -> None:
    for path in paths:
        context.session.store.at(path).set_attributes(command=command_line())


def _print(
    context: CommandContext,
    command: str,
    paths: Sequence[str],
    summary: dict[str, Any],
    shown: Sequence[Table],
) -> None:
    """Print the summary as tables or as JSON, with the ledger.

    Raises:
        ContradictionError: an adversarial image lies within a certified radius.
    """
    from robcert.certify.auditing import violations_table
    from robcert.certify.store import ledger

    store, options = context.session.store, context.options
    for path in paths:
        context.session_context.warn_unfinished(path)
    violations = ledger(store)
    if options.as_json:
        settings = {path: store.at(path).settings for path in paths}
        print_outcome(context, command, settings, summary, violations)
    else:
        print_tables(shown)
        if violations.compared:
            print_tables([violations_table(violations)])
        note(options, f"results: {store.path}")
    violations.require_sound()


def print_outcome(
    context: CommandContext,
    command: str,
    settings: dict[str, Any],
    summary: dict[str, Any],
    violations: Ledger | None,
) -> None:
    """Print the JSON object of a command."""
    from robcert.certify.store import Outcome

    session = context.session
    reported = {"images": len(session.indices), "indices": session.indices}
    print_json(
        Outcome(
            command=command,
            model=session.store.model,
            data={**session.store.data, **reported},
            settings={"seed": session.seed, "norm": context.options.norm, "groups": settings},
            summary=summary,
            violations=violations.to_json() if violations else {},
            warnings=tuple(context.warnings),
            results=str(session.store.path),
        )
    )
