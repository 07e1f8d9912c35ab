"""`robcert attack`: the nearest adversarial image of each image."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import checks
from .options import AnalysisOptions, analysis_options
from .run import given, run_analysis
from .session import epsilons

SuiteName = Annotated[
    Literal["quick", "standard", "thorough"] | None,
    typer.Option("--suite", help="Which attacks run.", show_default="that of --profile"),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option("--attack", help="One attack by name, instead of a suite; may be repeated."),
]
Restarts = Annotated[int | None, typer.Option("--restarts", help="Random starts of PGD.")]
SaveImages = Annotated[bool, typer.Option("--save-images", help="Keep the adversarial images.")]
Round = Annotated[
    bool, typer.Option("--round-8-bit", help="Ask again after rounding to 8 bits; count the lost.")
]
FixedRadius = Annotated[
    bool,
    typer.Option(
        "--fixed-radius",
        help="Attacks at a radius search at each --eps, as papers do, not for the smallest.",
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option("--fail-under", help="Exit with 1 if a number is below, as robust_accuracy=0.4."),
]


@analysis_options
def attack(
    options: AnalysisOptions,
    *,
    suite: SuiteName = None,
    attacks: Attacks = None,
    restarts: Restarts = None,
    save_images: SaveImages = False,
    round_8_bit: Round = False,
    fixed_radius: FixedRadius = False,
    fail_under: FailUnder = None,
) -> None:
    """Attack each image by a suite; the nearest adversarial image counts.

    Prints attacked numbers: an adversarial image was found at that distance and re-checked in the
    runtime. An image that withstands is not proven robust.

    Example: robcert attack --model model.onnx --data images.npz --norm l2 --eps 0.5
    """
    from robcert.certify.analyses import attack as analysis
    from robcert.certify.attacks.suites import Suite
    from robcert.certify.core import Norm
    from robcert.certify.profiles import settings_of

    bars = checks.parsed(fail_under, "attack")
    settings = settings_of(
        "attack",
        options.profile,
        norm=Norm(options.norm),
        **given(
            suite=Suite(suite) if suite else None,
            attacks=tuple(attacks) if attacks else None,
            restarts=restarts,
            save_images=save_images or None,
            round_8_bit=round_8_bit or None,
            radii=epsilons(options) if fixed_radius else None,
        ),
    )
    radii = epsilons(options) if options.eps or fixed_radius else ()
    summary = run_analysis(
        options,
        "attack",
        "attack",
        lambda context: [analysis.analyse(context.session, settings, epsilons=radii)],
    )
    checks.enforce(bars, {"attack": summary})
