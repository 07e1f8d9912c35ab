"""`robcert masking-check`: whether the gradient-based numbers of a model are meaningful."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .shell.options import AnalysisOptions, EveryGroup, analysis_options
from .shell.run import run_analysis
from .shell.session import one_epsilon


@analysis_options(*EveryGroup)
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
    from robcert.certify.masking import MaskingSettings, MaskingSummary, analyse

    settings = replace(
        MaskingSettings.of_profile(options.profile),
        norm=options.norm,
        epsilon=one_epsilon(options),
    )
    reading = run_analysis(
        options,
        "masking-check",
        "masking",
        lambda context: [
            analyse(
                context.session,
                settings,
                sources=load_sources(context.session_context.request, source, context.session)
                if source
                else None,
            )
        ],
    )
    summary = reading.summary
    if strict and not (isinstance(summary, MaskingSummary) and summary.verdict == "clear"):
        raise typer.Exit(1)
