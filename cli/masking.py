"""`robcert masking-check`: whether the gradient-based numbers of a model are meaningful."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .shell import checks
from .shell.check_files import on_contradiction, require_check_files, write_check_files
from .shell.options import AnalysisOptions, CheckedGroup, analysis_options
from .shell.run import report_groups
from .shell.session import command_context, one_epsilon


@analysis_options(*CheckedGroup)
def masking_check(
    options: AnalysisOptions,
    *,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            help="Another model for the same images, whose adversarial examples are tried on the "
            "model; may be repeated [default: bundled models that fit, else a surrogate].",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 unless the verdict is clear.")
    ] = False,
) -> None:
    """Gradient masking: is the model robust, or does it only hide its gradients?

    Prints a verdict (clear, suspect, masked, unknown) from measured and attacked evidence.

    Example: robcert masking-check --model model.onnx --data images.npz --strict
    """
    from robcert.certify.auditing import load_sources
    from robcert.certify.gates import masking_gate
    from robcert.certify.masking import MaskingSettings, analyse

    settings = replace(
        MaskingSettings.of_profile(options.profile),
        norm=options.norm,
        epsilon=one_epsilon(options),
    )
    left = checks.left_to_all_images(options, {"strict": strict})
    gates = (masking_gate(),) if strict and not left else ()
    require_check_files(options)
    with command_context(options) as context:
        session, request = context.session, context.session_context.request
        sources = load_sources(request, source, session) if source else None
        path = analyse(session, settings, sources=sources)
        with on_contradiction(context, "masking-check", gates):
            reading = report_groups(context, "masking-check", "masking", (path,))
        found = checks.findings_of_masking(context, reading)
        decisions = checks.decided(gates, found)
        write_check_files(context, "masking-check", found, decisions)
    checks.enforce(decisions)
