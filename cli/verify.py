"""`robcert verify`: certificates of the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from .proof_saving import proof_plan, save_proofs
from .property_check import PropertyOptions, answer_property, require_no_answers
from .shell import checks, values
from .shell.options import AnalysisOptions, EveryGroup, analysis_options
from .shell.run import report_groups
from .shell.session import command_context, note, typed_epsilons
from .shell.values import either


@analysis_options(*EveryGroup)
def verify(
    options: AnalysisOptions,
    *,
    invocation: typer.Context,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Time per image, such as 10s or 2m [default: 2s, 10s or 60s by --profile]; of a "
            "--property as a whole [default: 60s].",
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "interval", "crown-ibp", "crown", "alpha", "branch"],
        typer.Option(
            "--method",
            help="interval: interval arithmetic; crown-ibp: linear bounds over intervals; crown: "
            "linear bounds throughout; alpha: the same with optimised slopes; branch: branch and "
            "bound; auto: all in turn within --budget.",
        ),
    ] = "auto",
    arithmetic: Annotated[
        Literal["float32", "real"],
        typer.Option(
            "--arithmetic",
            help="float32: certificates hold for every evaluation in float32, in any order of its "
            "sums; real: in exact arithmetic for the stored weights.",
        ),
    ] = "float32",
    save_images: Annotated[
        bool,
        typer.Option("--save-images", help="Keep the adversarial examples in the results file."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Figure of accuracy from both sides and of the bracket of each image: PNG, PDF "
            "or SVG.",
        ),
    ] = None,
    property_file: Annotated[
        Path | None,
        typer.Option(
            "--property",
            help="Check this property instead (VNN-LIB, .vnnlib or .vnnlib.gz), whose inputs are "
            "those of the model file and not images. Exits with 0 if it holds, with 1 if it is "
            "violated or undecided.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            help="With --property: write the answer to this file in the format of the "
            "verification competition, a counterexample included.",
        ),
    ] = None,
    save_proof: Annotated[
        Path | None,
        typer.Option(
            "--save-proof",
            help="File for a proof of each certified image, at the largest --eps that is "
            "certified, else at its radius; robcert check-proof proves it again. Networks of "
            "ReLUs and max pooling only.",
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            help="Exit with 1 if the certified share is lower, or if --time-budget leaves it "
            "undecided: verified_accuracy=0.4, verified_accuracy@8/255=40%. Without a radius: that "
            "of the first --eps.",
        ),
    ] = None,
) -> None:
    """Certify the model itself: largest proven radius and robust accuracy from both sides.

    A quick suite of attacks runs first; what it breaks is not proved. Prints certified numbers,
    which hold without probability, beside attacked ones: the robust accuracy at each --eps lies
    between the two. An image that the budget or the method leaves open is listed with the reason.

    Example: robcert verify --model model.onnx --data images.npz --eps 2/255 --eps 8/255

    Example: robcert verify --model model.onnx --property claim.vnnlib --budget 60s
    """
    if property_file is not None:
        asked = PropertyOptions(property_file, answers, budget, method, arithmetic)
        answer_property(invocation, options, asked)
        return
    require_no_answers(answers)
    from robcert.certify.tables import require_picture
    from robcert.certify.verification import (
        Arithmetic,
        Method,
        VerificationSettings,
        analyse,
        save_brackets,
    )

    base = VerificationSettings.of_profile(options.profile)
    settings = replace(
        base,
        norm=options.norm,
        epsilons=typed_epsilons(options),
        seconds=either(None if budget is None else values.seconds(budget), base.seconds),
        method=Method(method),
        arithmetic=Arithmetic(arithmetic),
        save_images=save_images,
    )
    gates = checks.gates_of(fail_under, "verify", checks.of_verification(settings))
    if plot is not None:
        require_picture(plot)
    with command_context(options) as context:
        plan = proof_plan(context, settings, save_proof)
        path = analyse(context.session, settings)
        save_proofs(context, plan, path)
        reading = report_groups(context, "verify", "verify", (path,))
        if plot is not None and len(reading.group.indices):
            save_brackets(plot, context.session.store, path)
            note(options, f"picture: {plot}")
        found = checks.findings_of_verification(context, reading)
    checks.enforce(gates, found)
