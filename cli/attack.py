"""`robcert attack`: the nearest adversarial example of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .attack_plan import (
    ExtraTests,
    SuiteOptions,
    draw_accuracy,
    plan_attack,
    require_plot,
    run_plan,
)
from .corruption import Corruption
from .shell import checks, names
from .shell.check_files import on_contradiction, require_check_files, write_check_files
from .shell.old_spellings import note_new_spelling, old_option
from .shell.options import AnalysisOptions, CheckedGroup, analysis_options
from .shell.run import report_parts
from .shell.session import command_context

SuiteName = Annotated[
    Literal["quick", "standard", "thorough"] | None,
    typer.Option(
        "--suite",
        help="Which attacks run and how many steps each takes.",
        show_default="that of --profile",
    ),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="Run this attack (see robcert attacks) in place of the suite's; may be repeated. The "
        "suite still sets the number of steps.",
        autocompletion=names.completing(names.ATTACKS),
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option("--restarts", help="Random starts of PGD, and of the attacks of LLR and SOAR."),
]
NoEarlyStopping = Annotated[
    bool,
    typer.Option(
        "--no-early-stopping",
        help="Disable early stopping. By default PGD and multi-targeted stop on an image after a "
        "third of the steps if the linearised margin cannot reach the boundary (safety factor 3).",
    ),
]
SaveImages = Annotated[
    bool,
    typer.Option(
        "--save-images",
        help="Keep the adversarial examples in the results file; the report shows some.",
    ),
]
Round = Annotated[
    bool,
    typer.Option(
        "--round-8-bit",
        help="Also count the adversarial examples that survive rounding to 8 bits.",
    ),
]
FixedRadius = Annotated[
    bool,
    typer.Option(
        "--fixed-radius",
        help="Attacks with a radius run at each --eps, as in papers, and do not search for the "
        "smallest one; fmn, cw and others without a radius are not affected.",
    ),
]
PerAttack = Annotated[
    bool,
    typer.Option(
        "--per-attack",
        help="Also give the accuracy under each attack alone, in columns. Each attack then runs on "
        "every image, whatever the others found, and takes as long as in a run of its own.",
    ),
]
Source = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        help="Another model for the same images: adversarial examples of PGD on it, at each --eps, "
        "are tried on the model; may be repeated. Replaces the suite unless options of it are "
        "given.",
    ),
]
SourceAttack = Annotated[
    Literal["pgd", "pgd-ce", "soar-pgd7", "soar-pgd20", "soar-l2-pgd100"] | None,
    typer.Option("--source-attack", help="Attack on the sources.", show_default="pgd"),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Figure of accuracy against distance: PNG, PDF or SVG."),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        help="Exit with 1 if a number is lower, or if --time-budget leaves it undecided: "
        "robust_accuracy=0.4, robust_accuracy@8/255=40%, clean_accuracy=0.9, "
        "median_distance=4/255. Without a radius: that of the first --eps.",
    ),
]
OldEveryStep = Annotated[bool, old_option("--every-step", new="--no-early-stopping")]
OldSpatial = Annotated[list[str] | None, old_option("--spatial", new="robcert corruption")]
OldGaussian = Annotated[list[str] | None, old_option("--gaussian", new="robcert corruption")]
OldDraws = Annotated[int | None, old_option("--draws", new="robcert corruption --draws")]
OldClip = Annotated[bool, old_option("--clip-noise", new="robcert corruption --clip")]


@analysis_options(*CheckedGroup)
def attack(
    options: AnalysisOptions,
    *,
    suite: SuiteName = None,
    attacks: Attacks = None,
    restarts: Restarts = None,
    no_early_stopping: NoEarlyStopping = False,
    save_images: SaveImages = False,
    round_8_bit: Round = False,
    fixed_radius: FixedRadius = False,
    per_attack: PerAttack = False,
    source: Source = None,
    source_attack: SourceAttack = None,
    plot: Plot = None,
    fail_under: FailUnder = None,
    every_step: OldEveryStep = False,
    spatial: OldSpatial = None,
    gaussian: OldGaussian = None,
    draws: OldDraws = None,
    clip_noise: OldClip = False,
) -> None:
    """Find the nearest adversarial example of each image by a suite of attacks.

    Prints attacked numbers: an adversarial example was found at that distance and re-checked in the
    runtime. An image for which none was found is not proven robust.

    Example: robcert attack --model model.onnx --data images.npz --norm l2 --eps 0.5

    Example: robcert attack --attack fgsm --attack pgd --per-attack --fixed-radius --eps 8/255

    Example: robcert attack --source other.onnx --source third.onnx --eps 4/255 --eps 8/255
    """
    from robcert.certify.gates import of_attack, require_possible

    if every_step:
        note_new_spelling(options, "--every-step", "--no-early-stopping")
    corruption = Corruption(spatial, gaussian, draws, clip_noise)
    if corruption.wanted:
        note_new_spelling(options, corruption.typed, f"robcert corruption {corruption.typed}")
    plan = plan_attack(
        options,
        SuiteOptions(
            suite=suite,
            attacks=attacks,
            restarts=restarts,
            no_early_stopping=no_early_stopping or every_step,
            save_images=save_images,
            round_8_bit=round_8_bit,
            fixed_radius=fixed_radius,
            per_attack=per_attack,
        ),
        ExtraTests(source, source_attack, corruption),
        suite_wanted=bool(fail_under),
    )
    checks.left_to_all_images(options, {"fail-under": fail_under})
    gates = checks.fail_under_gates(fail_under, of_attack(options.norm, plan.epsilons))
    require_plot(plot, plan)
    require_check_files(options)
    with command_context(options) as context:
        require_possible(gates, context.session)
        done = run_plan(context, plan)
        with on_contradiction(context, "attack", gates):
            readings = report_parts(context, "attack", done)
        if plot is not None:
            draw_accuracy(context, plot, done)
        found = checks.findings_of_attack(context, readings)
        decisions = checks.decided(gates, found)
        write_check_files(context, "attack", found, decisions)
    checks.enforce(decisions)
