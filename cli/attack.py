"""`robcert attack`: the nearest adversarial image of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .attack_parts import Others, draw, fill, parts_of, require_plot
from .shell import checks
from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given, report_parts
from .shell.session import opened

SuiteName = Annotated[
    Literal["quick", "standard", "thorough"] | None,
    typer.Option("--suite", help="Which attacks run.", show_default="that of --profile"),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="One attack by name (see robcert attacks), instead of a suite; may be given again.",
    ),
]
Restarts = Annotated[int | None, typer.Option("--restarts", help="Random starts of PGD.")]
EveryStep = Annotated[
    bool,
    typer.Option(
        "--every-step",
        help="PGD and multi-targeted take all of their steps. Else, after a third of them, an "
        "image is left as standing where three times what its gradient still promises stays short "
        "of the boundary.",
    ),
]
SaveImages = Annotated[
    bool, typer.Option("--save-images", help="Keep the adversarial images; the report shows some.")
]
Round = Annotated[
    bool, typer.Option("--round-8-bit", help="Ask again after rounding to 8 bits; count the lost.")
]
FixedRadius = Annotated[
    bool,
    typer.Option(
        "--fixed-radius",
        help="Attacks at a radius search at each --eps, as papers do, not for the smallest; fmn, "
        "cw and others without a radius search for the smallest distance all the same.",
    ),
]
Source = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        help="Another model for the same images: PGD on it at each --eps, tried on this one; may "
        "be given again. Alone it replaces the suite.",
    ),
]
SourceAttack = Annotated[
    Literal["pgd", "pgd-ce", "soar-pgd7", "soar-pgd20", "soar-l2-pgd100"] | None,
    typer.Option("--source-attack", help="How sources are attacked.", show_default="pgd"),
]
Spatial = Annotated[
    list[str] | None,
    typer.Option(
        "--spatial",
        help="DEGREES,SHIFT: random rotation by up to so many degrees and shift by up to that "
        "share of the side, such as 30,0.1; may be given again. Alone it replaces the suite.",
    ),
]
Gaussian = Annotated[
    list[str] | None,
    typer.Option(
        "--gaussian",
        help="Gaussian noise of this standard deviation; may be given again. Alone it replaces "
        "the suite.",
    ),
]
Draws = Annotated[
    int | None,
    typer.Option("--draws", help="Draws of --spatial and --gaussian.", show_default="10"),
]
ClipNoise = Annotated[
    bool, typer.Option("--clip-noise", help="Keep the pixels of --gaussian in [0, 1].")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Picture of accuracy against distance: PNG, PDF or SVG."),
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
    every_step: EveryStep = False,
    save_images: SaveImages = False,
    round_8_bit: Round = False,
    fixed_radius: FixedRadius = False,
    source: Source = None,
    source_attack: SourceAttack = None,
    spatial: Spatial = None,
    gaussian: Gaussian = None,
    draws: Draws = None,
    clip_noise: ClipNoise = False,
    plot: Plot = None,
    fail_under: FailUnder = None,
) -> None:
    """Attack each image by a suite; the nearest adversarial image counts.

    Prints attacked numbers: an adversarial image was found at that distance and re-checked in the
    runtime. An image that withstands is not proven robust.

    Example: robcert attack --model model.onnx --data images.npz --norm l2 --eps 0.5

    Example: robcert attack --source other.onnx --source third.onnx --eps 4/255 --eps 8/255
    """
    from robcert.certify.attacks import Suite

    bars = checks.parsed(fail_under, "attack")
    named = given(
        suite=Suite(suite) if suite else None,
        attacks=tuple(attacks) if attacks else None,
        restarts=restarts,
        every_step=every_step or None,
        save_images=save_images or None,
        round_8_bit=round_8_bit or None,
    )
    others = Others(source, source_attack, spatial, gaussian, draws, clip_noise)
    parts = parts_of(options, named, others, fixed_radius=fixed_radius, suite_wanted=bool(bars))
    require_plot(plot, parts)
    with opened(options) as context:
        done = fill(context, parts)
        readings = report_parts(context, "attack", done)
        if plot is not None:
            draw(context, plot, done)
    checks.enforce(bars, checks.Numbers.of_readings(readings))
