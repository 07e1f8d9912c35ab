"""`robcert audit`: every analysis in one results file, and the report beside it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import InvalidParameterError

from .fleet import audit_fleet
from .shell import checks, names
from .shell.check_files import require_check_files, write_check_files
from .shell.echo import echo
from .shell.invocation import command_line, source_of
from .shell.options import AnalysisOptions, CheckedGroup, analysis_options
from .shell.planning import refuse_in_plan
from .shell.render import print_tables, print_verdict
from .shell.run import print_outcome
from .shell.session import command_context, epsilons, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.auditing import AuditSettings, AuditSummary, Stage
    from robcert.certify.gates import Decision
    from robcert.certify.planning import Measuring
    from robcert.certify.session import Session

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
    gate: Annotated[
        list[str] | None,
        typer.Option(
            "--gate",
            help="Exit with 1 unless this holds, also if --time-budget leaves it undecided: "
            "'robust_accuracy@8/255 >= 0.4 (lower)', 'verified_accuracy >= 0.3', "
            "'median_distance >= 4/255', 'masking == clear', 'violations == 0', 'regression from "
            "baseline.h5 (level 0.05)'; may be repeated. (lower), (point) or (upper) is the end of "
            "the 95 % interval that is compared [default: lower for >=, upper for <=]. Without a "
            "radius: the number of the headline.",
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            help="Short for --gate 'NAME >= VALUE (point)': robust_accuracy@8/255=40%.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Short for --gate 'masking == clear'.")
    ] = False,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="ONNX file, checkpoint or run folder [default: the demo model]. Several models: "
            "repeat it, or name a folder of models, or a .txt file with a path in each line.",
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Of several models, stop those that are beaten under attack before they have all "
            "images; audit the others.",
        ),
    ] = False,
    race_alpha: Annotated[
        float,
        typer.Option("--race-alpha", help="Largest probability that --race stops the best model."),
    ] = 0.05,
) -> None:
    """Run every analysis on a model and write the report.

    The parts are inspect, attack, linearity, bounds, verify, smoothing and masking. Prints the
    verdict and the numbers of each part, marked certified, estimated, attacked or measured; writes
    the results file and `<results>.html` beside it.

    Several models are ranked, in one table and one page, with paired differences to the first. Each
    has a process and a results file of its own; one that fails has a row with the reason. --out is
    then the folder of the results, --workers the number of models at a time, and --time-budget is
    shared among the models.

    Example: robcert audit --model model.onnx --data images.npz --limit 100 --profile quick

    Example: robcert audit --model models/ --data images.npz --out results --workers 2

    Example: robcert audit --fail-under robust_accuracy=0.4 --junit checks.xml --sarif checks.sarif
    """
    from robcert.certify.auditing import AuditSettings, findings_of, selected
    from robcert.certify.fleet import is_fleet
    from robcert.certify.gates import decide_audit, require_baselines, require_possible

    settings = AuditSettings.of_profile(
        options.profile,
        norm=options.norm,
        epsilon=epsilons(options)[0],
        epsilons=epsilons(options) if options.eps else (),
        parts=selected(tuple(only or ()), tuple(skip or ())),
    )
    typed = checks.TypedGates(gate or (), fail_under or (), strict, source_of("gates"))
    given = {"gates": gate, "fail-under": fail_under, "strict": strict}
    left = checks.left_to_all_images(options, given)
    gates = () if left else checks.gates_of_audit(typed, settings)
    if is_fleet(model or ()):
        refuse_in_plan("several models")
        audit_fleet(options, model or (), settings, gates, race_alpha if race else None)
        return
    if race:
        message = "--race needs several models"
        raise InvalidParameterError(message, hint="repeat --model, or name a folder of models")
    options = replace(options, model=model[0] if model else None)
    require_check_files(options)
    with command_context(options) as context:
        require_possible(gates, context.session)
        require_baselines(gates, context.session, settings)
        summary = run_audit(context, settings)
        decisions = decide_audit(gates, context.session.store, summary)
        page = write_page(context)
        write_check_files(context, "audit", findings_of(context.session.store), decisions)
        _print(context, summary, page, decisions)
    checks.enforce(decisions)


def run_audit(context: CommandContext, settings: AuditSettings) -> AuditSummary:
    """Run the audit and return its summary."""
    from robcert.certify import auditing

    session = context.session
    began = time.monotonic()
    path = auditing.analyse(session, settings, command=command_line(), on_stage=context.start_stage)
    context.end_pilot()
    context.progress.end_stages()
    summary = auditing.summarise(session.store, path)
    for line in summary.warnings:
        context.warn(line)
    note(context.options, f"audited in {time.monotonic() - began:.0f} s")
    return summary


def _expected(context: CommandContext, settings: AuditSettings) -> dict[str, float]:
    """Seconds that each part will take; empty where that is not worth a pilot."""
    from robcert.certify import auditing
    from robcert.certify.planning import expected_parts

    def run(some: Session, pilot: Measuring) -> None:
        def begin(stage: Stage) -> None:
            pilot.part = stage.name

        auditing.analyse(some, settings, on_stage=begin)

    return expected_parts(context.session, run)


def write_page(context: CommandContext) -> Path:
    """Write the report beside the results file; its path."""
    from robcert.certify.report import write_report

    context.session.store.publish()
    context.session.store.fold_images()
    return write_report(context.session.store.path)


def _print(
    context: CommandContext, summary: AuditSummary, page: Path, decisions: Sequence[Decision]
) -> None:
    """Print the result, the gates last.

    Raises:
        ContradictionError: an adversarial image lies within a certified radius.
    """
    from robcert.certify.auditing import labelled, violations_table
    from robcert.certify.gates import gates_table
    from robcert.certify.store import ledger, plain

    store = context.session.store
    violations = ledger(store)
    if context.options.as_json:
        groups = {group.path: group.settings for group in store.existing("audit")}
        numbers = {**summary.to_json(), "gates": [one.to_json() for one in decisions]}
        print_outcome(context, "audit", groups, dict(plain(numbers)), violations)
    else:
        print_tables(summary.tables(labelled=labelled(store)))
        print_tables([violations_table(violations)])
        print_verdict(summary.verdict)
        print_tables([gates_table(decisions)] if decisions else [])
        echo(f"results: {store.path}")
        echo(f"report:  {page}")
    violations.require_sound()
