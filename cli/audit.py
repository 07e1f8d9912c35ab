"""`robcert audit`: every analysis into one file, and the report beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shell import checks
from .shell.invocation import command_line
from .shell.options import AnalysisOptions, analysis_options
from .shell.render import print_tables, print_verdict
from .shell.run import print_outcome
from .shell.session import epsilons, note, opened

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditSettings
    from robcert.certify.tables import Summary

    from .shell.session import CommandContext


@analysis_options
def audit(
    options: AnalysisOptions,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="This part only (inspect, attack, …); may be repeated."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", help="Not this part; may be repeated.")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            help="Exit with 1 if a number is below: robust_accuracy=0.4, clean_accuracy=0.9, "
            "certified_accuracy@0.25=0.5.",
        ),
    ] = None,
) -> None:
    """Audit a model: inspect, attack, linearity, bounds, smoothing, masking, and the report.

    Prints the verdict and numbers of all kinds, each named certified, estimated, attacked or
    measured; writes the results file and `<results>.html` beside it.

    Example: robcert audit --model model.onnx --data images.npz --limit 100 --profile quick
    """
    from robcert.certify.auditing import AuditSettings, selected
    from robcert.certify.core import Norm

    bars = checks.parsed(fail_under, "audit")
    settings = AuditSettings.of_profile(
        options.profile,
        norm=Norm(options.norm),
        epsilon=epsilons(options)[0],
        epsilons=epsilons(options) if options.eps else (),
        parts=selected(tuple(only or ()), tuple(skip or ())),
    )
    with opened(options) as context:
        summary = run_audit(context, settings)
        page = write_page(context)
        _print(context, summary, page)
    checks.enforce(bars, summary)


def run_audit(context: CommandContext, settings: AuditSettings) -> Summary:
    """Run the audit and return its summary as JSON."""
    from robcert.certify import auditing
    from robcert.certify.store import plain

    session = context.session
    began = time.monotonic()
    path = auditing.analyse(session, settings, command=command_line())
    summary = dict(plain(auditing.summarise(session.store, path).to_json()))
    for part in auditing.PARTS:
        for line in summary[part].get("warnings") or ():
            context.warn(str(line))
    if cut_off := auditing.incomplete(session.store.at(path).attribute("record", {})):
        context.warn(cut_off)
    note(context.options, f"audited in {time.monotonic() - began:.0f} s")
    return summary


def write_page(context: CommandContext) -> Path:
    """The report beside the results file."""
    from robcert.certify.report import write_report

    context.session.store.publish()
    context.session.store.fold_images()
    return write_report(context.session.store.path)


def _print(context: CommandContext, summary: Summary, page: Path) -> None:
    from robcert.certify.auditing import PARTS, Verdict, labelled, tables, violations_table
    from robcert.certify.store import ledger

    store = context.session.store
    violations = ledger(store)
    if context.options.as_json:
        groups = {group.path: group.settings for group in store.existing("audit")}
        print_outcome(context, "audit", groups, summary, violations)
        return
    for part in PARTS:
        print_tables(tables(part, summary[part], labelled=labelled(store)))
    print_tables([violations_table(violations)])
    print_verdict(Verdict(**summary["verdict"]))
    typer.echo(f"results: {store.path}")
    typer.echo(f"report:  {page}")
