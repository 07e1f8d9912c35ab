"""`robcert audit`: every analysis in one results file, and the report beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shell import checks, names
from .shell.check_files import CheckPlan, require_check_files, write_check_files
from .shell.echo import echo
from .shell.invocation import command_line
from .shell.options import AnalysisOptions, CheckedGroup, analysis_options
from .shell.render import print_tables, print_verdict
from .shell.run import print_outcome
from .shell.session import command_context, epsilons, note

if TYPE_CHECKING:
    from robcert.certify.auditing import AuditSettings, AuditSummary

    from .shell.session import CommandContext


@analysis_options(*CheckedGroup)
def audit(
    options: AnalysisOptions,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Run this part only (inspect, attack, …); may be repeated.",
            autocompletion=names.completing(names.AUDIT_PARTS),
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip",
            help="Do not run this part; may be repeated.",
            autocompletion=names.completing(names.AUDIT_PARTS),
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            help="Exit with 1 if a number is lower, or if --time-budget leaves it undecided: "
            "robust_accuracy=0.4, robust_accuracy@8/255=40%, clean_accuracy=0.9, "
            "verified_accuracy@8/255=0.3, certified_accuracy@0.25=0.5 (smoothed), "
            "median_distance=4/255. Without a radius: the number of "
            "the headline.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 unless the masking check's verdict is clear."),
    ] = False,
) -> None:
    """Run every analysis on a model and write the report.

    The parts are inspect, attack, linearity, bounds, verify, smoothing and masking. Prints the
    verdict and the numbers of each part, marked certified, estimated, attacked or measured; writes
    the results file and `<results>.html` beside it.

    Example: robcert audit --model model.onnx --data images.npz --limit 100 --profile quick

    Example: robcert audit --fail-under robust_accuracy=0.4 --junit checks.xml --sarif checks.sarif
    """
    from robcert.certify.auditing import AuditSettings, findings_of, selected

    settings = AuditSettings.of_profile(
        options.profile,
        norm=options.norm,
        epsilon=epsilons(options)[0],
        epsilons=epsilons(options) if options.eps else (),
        parts=selected(tuple(only or ()), tuple(skip or ())),
    )
    gates = checks.gates_of(fail_under, "audit", checks.of_audit(settings))
    checks.require_checked(settings, strict=strict)
    require_check_files(options)
    with command_context(options) as context:
        checks.require_labels(gates, context)
        summary = run_audit(context, settings)
        found = findings_of(context.session.store)
        page = write_page(context)
        write_check_files(context, CheckPlan("audit", gates, strict), found)
        _print(context, summary, page)
    checks.enforce(gates, found)
    if strict:
        checks.enforce_clear(found)


def run_audit(context: CommandContext, settings: AuditSettings) -> AuditSummary:
    """Run the audit and return its summary."""
    from robcert.certify import auditing

    session = context.session
    began = time.monotonic()
    path = auditing.analyse(session, settings, command=command_line())
    summary = auditing.summarise(session.store, path)
    for line in summary.warnings:
        context.warn(line)
    note(context.options, f"audited in {time.monotonic() - began:.0f} s")
    return summary


def write_page(context: CommandContext) -> Path:
    """Write the report beside the results file; its path."""
    from robcert.certify.report import write_report

    context.session.store.publish()
    context.session.store.fold_images()
    return write_report(context.session.store.path)


def _print(context: CommandContext, summary: AuditSummary, page: Path) -> None:
    from robcert.certify.auditing import labelled, violations_table
    from robcert.certify.store import ledger, plain

    store = context.session.store
    violations = ledger(store)
    if context.options.as_json:
        groups = {group.path: group.settings for group in store.existing("audit")}
        print_outcome(context, "audit", groups, dict(plain(summary.to_json())), violations)
    else:
        print_tables(summary.tables(labelled=labelled(store)))
        print_tables([violations_table(violations)])
        print_verdict(summary.verdict)
        echo(f"results: {store.path}")
        echo(f"report:  {page}")
    violations.require_sound()
