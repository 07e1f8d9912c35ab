"""What every analysis command does around its one library call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .invocation import command_line
from .render import print_json, print_tables
from .session import note, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.tables import Summary, Table

    from .options import AnalysisOptions
    from .session import CommandContext


def run_analysis(
    options: AnalysisOptions,
    command: str,
    analysis: str,
    analyse: Callable[[CommandContext], Sequence[str]],
) -> Summary:
    """Open what the options name, analyse, print; the summary as JSON.

    Args:
        options: the shared options.
        command: its name, for the output.
        analysis: module of `analyses` that summarises the groups.
        analyse: fills groups of the results file and returns their paths.
    """
    with opened(options) as context:
        paths = tuple(analyse(context))
        return report_groups(context, command, analysis, paths)


def report_groups(
    context: CommandContext, command: str, analysis: str, paths: tuple[str, ...]
) -> Summary:
    """Print what the groups at ``paths`` say, with the ledger; the summary as JSON."""
    from robcert.certify.auditing import combined, labelled, summary_of, tables

    store = context.session.store
    _remember_command(context, paths)
    summary = combined(analysis, [summary_of(store, analysis, path) for path in paths])
    shown = tables(analysis, summary, labelled=labelled(store))
    _warn(context, summary)
    _print(context, command, paths, summary, shown)
    return summary


def report_parts(
    context: CommandContext, command: str, parts: list[tuple[str, str, str]]
) -> Summary:
    """Print what several analyses of one command found; one summary as JSON.

    Args:
        context: what was opened.
        command: its name.
        parts: for each part its key in the summary (empty for the keys of the summary itself), its
            analysis and the path of its group.
    """
    from robcert.certify.auditing import labelled, summary_of, tables

    store = context.session.store
    summary: Summary = {}
    paths = tuple(path for _, _, path in parts)
    _remember_command(context, paths)
    shown: list[Table] = []
    for key, analysis, path in parts:
        one = summary_of(store, analysis, path)
        shown += tables(analysis, one, labelled=labelled(store))
        _warn(context, one)
        summary |= {key: one} if key else one
    _print(context, command, paths, summary, shown)
    return summary


def _remember_command(context: CommandContext, paths: tuple[str, ...]) -> None:
    for path in paths:
        context.session.store.at(path).set_attributes(command=command_line())


def _warn(context: CommandContext, summary: Summary) -> None:
    for line in summary.get("warnings") or ():
        context.warn(str(line))


def _print(
    context: CommandContext,
    command: str,
    paths: tuple[str, ...],
    summary: Summary,
    shown: Sequence[Table],
) -> None:
    """The summary as tables or as JSON, with the ledger."""
    from robcert.certify.auditing import violations_table
    from robcert.certify.store import ledger

    store, options = context.session.store, context.options
    _warn_unfinished(context, paths)
    violations = ledger(store)
    if options.as_json:
        settings = {path: store.at(path).settings for path in paths}
        print_outcome(context, command, settings, summary, violations)
        return
    print_tables(shown)
    if violations["compared"]:
        print_tables([violations_table(violations)])
    note(options, f"results: {store.path}")


def print_outcome(
    context: CommandContext,
    command: str,
    settings: dict[str, Any],
    summary: Summary,
    violations: dict[str, Any],
) -> None:
    """The JSON object of a command."""
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
            violations=violations,
            warnings=tuple(context.warnings),
            results=str(session.store.path),
        )
    )


def given(**options: Any) -> dict[str, Any]:
    """Those of ``options`` that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def _warn_unfinished(context: CommandContext, paths: tuple[str, ...]) -> None:
    """Say how far a time budget let the analyses get, and which images the model failed on."""
    session = context.session
    total = len(session.indices)
    for path in paths:
        group = session.store.at(path)
        left = [int(index) for index in group.missing(session.indices)]
        if left and session.out_of_time:
            context.warn(
                f"incomplete: the time budget ended with {total - len(left)} of {total} images "
                f"done in {path}; the same command with more time continues"
            )
        elif left:
            reasons = group.attribute("failed", {})
            context.warn(
                f"the model failed on {len(left)} of {total} images, which are left out of {path}; "
                f"the first is image {left[0]}: {reasons.get(str(left[0]), 'no reason recorded')}"
            )
