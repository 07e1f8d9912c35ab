"""`robcert verify`: certificates of the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .proof_saving import proof_plan, require_proof_file, save_proofs
from .property_check import PropertyOptions, answer_property, require_no_answers
from .shell import checks, values
from .shell.check_files import on_contradiction, require_check_files, write_check_files
from .shell.options import AnalysisOptions, CheckedGroup, analysis_options
from .shell.planning import refuse_in_plan
from .shell.run import report_groups
from .shell.session import command_context, note, typed_epsilons

if TYPE_CHECKING:
    from robcert.certify.gates import Decision, Gate
    from robcert.certify.verification import VerificationSettings

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Time per image for attacks and proofs, such as 10s or 2m [default: 2s, 10s or 60s by "
        "--profile]; of a --property for its search and proofs [default: 60s]. Loading the model "
        "and preparing it for proofs, some seconds in all, are not counted.",
    ),
]
MethodName = Annotated[
    Literal["auto", "interval", "crown-ibp", "crown", "alpha", "branch"],
    typer.Option(
        "--method",
        help="interval: interval arithmetic; crown-ibp: linear bounds over intervals; crown: "
        "linear bounds throughout; alpha: the same with optimised slopes; branch: branch and "
        "bound; auto: all in turn within --budget.",
    ),
]
ArithmeticName = Annotated[
    Literal["float32", "real"],
    typer.Option(
        "--arithmetic",
        help="float32: certificates hold for every evaluation in float32, in any order of its "
        "sums; real: in exact arithmetic for the stored weights.",
    ),
]
SaveImages = Annotated[
    bool,
    typer.Option("--save-images", help="Keep the adversarial examples in the results file."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Figure of accuracy from both sides and of the bracket of each image: PNG, PDF or "
        "SVG.",
    ),
]
PropertyFile = Annotated[
    Path | None,
    typer.Option(
        "--property",
        help="Check this property instead (VNN-LIB, .vnnlib or .vnnlib.gz), whose inputs are those "
        "of the model file and not images. Exits with 0 if it holds, with 1 if it is violated or "
        "undecided.",
    ),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        "--answers",
        help="With --property: write the answer to this file in the format of the verification "
        "competition, a counterexample included.",
    ),
]
SaveProof = Annotated[
    Path | None,
    typer.Option(
        "--save-proof",
        help="File for a proof of each certified image, at the largest --eps that is certified, "
        "else at its radius; robcert check-proof proves it again. Networks of ReLUs and max "
        "pooling only.",
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        help="Exit with 1 if the certified share is lower, or if --time-budget leaves it "
        "undecided: verified_accuracy=0.4, verified_accuracy@8/255=40%. Without a radius: that of "
        "the first --eps.",
    ),
]


@analysis_options(*CheckedGroup)
def verify(
    options: AnalysisOptions,
    *,
    invocation: typer.Context,
    budget: Budget = None,
    method: MethodName = "auto",
    arithmetic: ArithmeticName = "float32",
    save_images: SaveImages = False,
    plot: Plot = None,
    property_file: PropertyFile = None,
    answers: Answers = None,
    save_proof: SaveProof = None,
    fail_under: FailUnder = None,
) -> None:
    """Certify the model itself: largest proven radius and robust accuracy from both sides.

    A quick suite of attacks runs first; what it breaks is not proved. Prints certified numbers,
    which hold without probability, beside attacked ones: the robust accuracy at each --eps lies
    between the two. An image that the budget or the method leaves open is listed with the reason.

    Example: robcert verify --model model.onnx --data images.npz --eps 2/255 --eps 8/255

    Example: robcert verify --model model.onnx --property claim.vnnlib --budget 60s
    """
    from robcert.certify.gates import of_verification

    if property_file is not None:
        refuse_in_plan("--property")
        asked = PropertyOptions(property_file, answers, budget, method, arithmetic)
        answer_property(invocation, options, asked)
        return
    require_no_answers(answers)
    require_proof_file(options, save_proof)
    settings = _settings(options, budget, method, arithmetic, save_images=save_images)
    checks.left_to_all_images(options, {"fail-under": fail_under})
    gates = checks.fail_under_gates(fail_under, of_verification(settings))
    require_check_files(options)
    checks.enforce(_verified(options, settings, gates, plot, save_proof))


def _settings(
    options: AnalysisOptions,
    budget: str | None,
    method: str,
    arithmetic: str,
    *,
    save_images: bool,
) -> VerificationSettings:
    """Settings of the certificates.

    Raises:
        InvalidParameterError: an option has no valid value.
    """
    from robcert.certify.verification import Arithmetic, Method, VerificationSettings

    base = VerificationSettings.of_profile(options.profile)
    return replace(
        base,
        norm=options.norm,
        epsilons=typed_epsilons(options),
        seconds=values.positive_seconds(budget, "--budget", base.seconds),
        method=Method(method),
        arithmetic=Arithmetic(arithmetic),
        save_images=save_images,
    )


def _verified(
    options: AnalysisOptions,
    settings: VerificationSettings,
    gates: tuple[Gate, ...],
    plot: Path | None,
    save_proof: Path | None,
) -> tuple[Decision, ...]:
    """Certify the images and print the result; the decisions on gates.

    Raises:
        RobcertError: model, images or a file to be written are not as they must be.
    """
    from robcert.certify.tables import require_picture
    from robcert.certify.verification import analyse, save_brackets

    if plot is not None:
        require_picture(plot)
    with command_context(options) as context:
        plan = proof_plan(context, settings, save_proof)
        path = analyse(context.session, settings)
        context.end_pilot()
        save_proofs(context, plan, path)
        with on_contradiction(context, "verify", gates):
            reading = report_groups(context, "verify", "verify", (path,))
        if plot is not None and len(reading.group.indices):
            save_brackets(plot, context.session.store, path)
            note(options, f"picture: {plot}")
        found = checks.findings_of_verification(context, reading)
        decisions = checks.decided(gates, found)
        write_check_files(context, "verify", found, decisions)
        return decisions
