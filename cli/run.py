"""What every analysis command does around its one library call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .invocation import command_line
from .render import print_json, print_tables
from .session import note, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.wording import Summary

    from .options import AnalysisOptions
    from .session import Opened


def run_analysis(
    options: AnalysisOptions,
    command: str,
    analysis: str,
    analyse: Callable[[Opened], Sequence[str]],
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


def report_groups(context: Opened, command: str, analysis: str, paths: tuple[str, ...]) -> Summary:
    """Print what the groups at ``paths`` say, with the ledger; the summary as JSON."""
    from robcert.certify.ledger import ledger
    from robcert.certify.summaries import combined, labelled, summary_of
    from robcert.certify.tables import tables, violations_table

    store, options = context.session.store, context.options
    for path in paths:
        store.at(path).set_attributes(command=command_line())
    summary = combined(analysis, [summary_of(store, analysis, path) for path in paths])
    for line in summary.get("warnings") or ():
        context.warn(str(line))
    _warn_unfinished(context, paths)
    settings = {path: store.at(path).settings for path in paths}
    violations = ledger(store)
    if options.as_json:
        print_outcome(context, command, settings, summary, violations)
    else:
        print_tables(tables(analysis, summary, labelled=labelled(store)))
        if violations["compared"]:
            print_tables([violations_table(violations)])
        note(options, f"results: {store.path}")
    return summary


def print_outcome(
    context: Opened,
    command: str,
    settings: dict[str, Any],
    summary: Summary,
    violations: dict[str, Any],
) -> None:
    """The JSON object of a command."""
    from robcert.certify.results_json import Outcome

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


def _warn_unfinished(context: Opened, paths: tuple[str, ...]) -> None:
    """Say how far a time budget let the analyses get."""
    session = context.session
    total = len(session.indices)
    for path in paths:
        left = len(session.store.at(path).missing(session.indices))
        if left and session.out_of_time:
            context.warn(
                f"incomplete: the time budget ended with {total - left} of {total} images done in "
                f"{path}; the same command with more time continues"
            )
