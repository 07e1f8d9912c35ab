"""`robcert smoothing`: certificates and predictions of the smoothed classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import values
from .shell.command_group import CommandGroup
from .shell.configured_command import ConfiguredCommand
from .shell.old_spellings import note_new_spelling, old_option
from .shell.options import (
    AnalysisOptions,
    ModelAndData,
    ProfileOptions,
    Run,
    SelectionOptions,
    analysis_options,
)
from .shell.run import run_analysis
from .shell.session import CommandContext, note
from .shell.values import either

if TYPE_CHECKING:
    from robcert.certify.smoothing import SmoothingSettings

smoothing = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    help="Randomized smoothing: certified numbers for the smoothed classifier.",
)

GROUPS = (*ModelAndData, SelectionOptions, ProfileOptions, *Run)
"""Shared options of smoothing, which is always in l2 and has no epsilon."""


class Design(StrEnum):
    """Statistical design: the number of noisy draws per image, and the test."""

    SEQUENTIAL = "sequential"  # until each radius is decided, union bound over interim analyses
    GROUP_SEQUENTIAL = "group-sequential"  # exact boundaries, fewer draws
    RUNNER_UP = "runner-up"  # sequential, and an upper limit for the second class
    OPEN_ENDED = "open-ended"  # sequential, a larger --n may follow
    TWO_STAGE = "two-stage"  # a pilot chooses the number of draws
    COHEN = "cohen"  # always n, as in the paper
    COHEN_RUNNER_UP = "cohen-runner-up"  # always n, and an upper limit for the second class


FIXED = (Design.TWO_STAGE, Design.COHEN, Design.COHEN_RUNNER_UP)
"""Designs that do not decide the radii of a grid."""

Sigma = Annotated[
    float | None,
    typer.Option("--sigma", help="Noise level in pixel units of [0, 1].", show_default="0.25"),
]
Sigmas = Annotated[
    list[float] | None,
    typer.Option(
        "--sigma",
        help="Noise level in pixel units of [0, 1]; may be repeated.",
        show_default="0.25",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Probability that a statement is wrong.", show_default="0.001"),
]
Draws = Annotated[
    int | None,
    typer.Option("--n", help="Maximum number of noisy draws per image.", show_default="100000"),
]


SelectionDraws = Annotated[
    int | None,
    typer.Option("--n0", help="Draws that choose the class.", show_default="100"),
]
DesignName = Annotated[
    Design | None,
    typer.Option(
        "--design",
        help="Statistical design. sequential: draw until each radius is decided; group-sequential: "
        "the same with exact boundaries and fewer draws; runner-up: sequential, with a limit for "
        "the second class too (p_B < 1 - p_A); open-ended: sequential, and a run with a larger --n "
        "may follow; two-stage: a pilot chooses the number of draws; cohen: always n, as in the "
        "paper; cohen-runner-up: always n, with a limit for the second class too.",
        metavar="DESIGN",
        show_default="sequential",
    ),
]
Radii = Annotated[
    str | None,
    typer.Option("--radii", help="l2 radii that sequential designs decide, such as 0.25,0.5,1."),
]
LabelMode = Annotated[
    bool,
    typer.Option(
        "--label-mode",
        help="Test the label itself, in sequential designs: certified accuracy only.",
    ),
]
Familywise = Annotated[
    bool, typer.Option("--familywise", help="Use one alpha for all images together.")
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        help="Largest share of the radius that --design two-stage may lose.",
        show_default="0.01",
    ),
]
PrecisionName = Annotated[
    Literal["float32", "bfloat16", "int8"] | None,
    typer.Option(
        "--precision",
        help="Number format in which the model is computed and certified; each format is a "
        "different function.",
        show_default="float32",
    ),
]
OldMode = Annotated[Literal["grid", "radius", "cohen"] | None, old_option("--mode", new="--design")]
OldExact = Annotated[bool, old_option("--exact", new="--design group-sequential")]
OldRunnerUp = Annotated[bool, old_option("--runner-up", new="--design runner-up")]
OldOpenEnded = Annotated[bool, old_option("--open-ended", new="--design open-ended")]
Tsv = Annotated[
    Path | None,
    typer.Option("--tsv", help="Also write the certificates in the format of Cohen's scripts."),
]


@dataclass(frozen=True, slots=True)
class OldDesign:
    """The old flags that ``--design`` replaces."""

    mode: Literal["grid", "radius", "cohen"] | None = None
    exact: bool = False
    runner_up: bool = False
    open_ended: bool = False

    @property
    def typed(self) -> str:
        """The flags as typed; empty if none was given."""
        flags = (
            f"--mode {self.mode}" if self.mode else "",
            "--exact" if self.exact else "",
            "--runner-up" if self.runner_up else "",
            "--open-ended" if self.open_ended else "",
        )
        return " ".join(flag for flag in flags if flag)

    def design(self) -> Design:
        """The design that these flags select.

        Raises:
            InvalidParameterError: they contradict one another.
        """
        found = {
            OldDesign("grid"): Design.SEQUENTIAL,
            OldDesign("grid", exact=True): Design.GROUP_SEQUENTIAL,
            OldDesign("grid", runner_up=True): Design.RUNNER_UP,
            OldDesign("grid", open_ended=True): Design.OPEN_ENDED,
            OldDesign("radius"): Design.TWO_STAGE,
            OldDesign("cohen"): Design.COHEN,
            OldDesign("cohen", runner_up=True): Design.COHEN_RUNNER_UP,
        }.get(replace(self, mode=self.mode or "grid"))
        if found is None:
            message = f"{self.typed} cannot be combined"
            raise InvalidParameterError(message, hint="choose one --design")
        return found


def chosen_design(options: AnalysisOptions, typed: Design | None, old: OldDesign) -> Design | None:
    """The design, None if it was not given; old flags are accepted, with a note.

    Raises:
        InvalidParameterError: several designs were given.
    """
    if not old.typed:
        return typed
    if typed is not None:
        message = f"{old.typed} cannot be combined with --design"
        raise InvalidParameterError(message)
    found = old.design()
    note_new_spelling(options, old.typed, f"--design {found}")
    return found


def with_design(settings: SmoothingSettings, design: Design | None) -> SmoothingSettings:
    """``settings`` with the fields that ``design`` sets; unchanged for None.

    Raises:
        InvalidParameterError: label mode is set and the design is not sequential.
    """
    from robcert.certify.smoothing import Mode

    if design is None:
        return settings
    if settings.label_mode and design in FIXED:
        message = f"--label-mode needs a sequential design, got --design {design}"
        raise InvalidParameterError(message)
    return replace(
        settings,
        mode={Design.TWO_STAGE: Mode.RADIUS}.get(
            design, Mode.COHEN if design in FIXED else Mode.GRID
        ),
        exact=design is Design.GROUP_SEQUENTIAL,
        runner_up=design in (Design.RUNNER_UP, Design.COHEN_RUNNER_UP),
        open_ended=design is Design.OPEN_ENDED,
    )


@smoothing.command(cls=ConfiguredCommand)
@analysis_options(*GROUPS)
def certify(
    options: AnalysisOptions,
    *,
    sigma: Sigmas = None,
    n0: SelectionDraws = None,
    n: Draws = None,
    alpha: Alpha = None,
    design: DesignName = None,
    radii: Radii = None,
    label_mode: LabelMode = False,
    familywise: Familywise = False,
    tolerance: Tolerance = None,
    precision: PrecisionName = None,
    tsv: Tsv = None,
    mode: OldMode = None,
    exact: OldExact = False,
    runner_up: OldRunnerUp = False,
    open_ended: OldOpenEnded = False,
) -> None:
    """Certified l2 radii of the smoothed classifier.

    Prints certified numbers: each radius holds with probability at least 1 - alpha over the noise
    that robcert draws. They refer to the smoothed classifier, not to the model itself.

    Example: robcert smoothing certify --model gaussian.onnx --sigma 0.25 --limit 100

    Example: robcert smoothing certify --model gaussian.onnx --design group-sequential --limit 100
    """
    from robcert.certify.smoothing import Precision, SmoothingSettings

    base = SmoothingSettings.of_profile(options.profile)
    settings = replace(
        base,
        n0=either(n0, base.n0),
        n=either(n, base.n),
        alpha=either(alpha, base.alpha),
        radii=values.of_option("--radii", values.numbers, radii)
        if radii is not None
        else base.radii,
        label_mode=label_mode or base.label_mode,
        tolerance=either(tolerance, base.tolerance),
        precision=Precision(either(precision, base.precision)),
    )
    old = OldDesign(mode, exact, runner_up, open_ended)
    settings = with_design(settings, chosen_design(options, design, old))
    runs = [replace(settings, sigma=level) for level in sigma or (base.sigma,)]
    require_one_table(tsv, runs)

    def analyse(context: CommandContext) -> list[str]:
        family = len(context.session.indices) if familywise else base.family
        paths = certificates(context, [replace(run, family=family) for run in runs])
        write_table(context, paths[0], tsv)
        return paths

    run_analysis(options, "smoothing certify", "smoothing", analyse)


def certificates(context: CommandContext, runs: Sequence[SmoothingSettings]) -> list[str]:
    """Paths of the tables of ``runs``; the forecast of each is printed first."""
    from robcert.certify.smoothing import analyse, forecast, in_precision

    options, paths = context.options, []
    batch = values.batch_size(options.batch_size)
    for settings in runs:
        session = in_precision(context.session, settings)
        if not options.quiet:  # a pilot has its own
            note(options, forecast(session, settings, batch_size=batch).sentence())
        paths.append(analyse(session, settings, batch_size=batch))
    return paths


def require_one_table(tsv: Path | None, runs: Sequence[SmoothingSettings]) -> None:
    """Raise if the table ``tsv`` is requested and there are several sigmas."""
    if tsv is not None and len(runs) > 1:
        message = "--tsv takes the certificates of one --sigma"
        raise InvalidParameterError(message, hint="run the command once for each")


def write_table(context: CommandContext, path: str, tsv: Path | None) -> None:
    """Write the certificates at ``path`` of the results file to ``tsv``, unless that is None."""
    from robcert.certify.exports import cohen_lines
    from robcert.certify.whole_file import write_whole

    context.end_pilot()
    if tsv is not None:
        lines = cohen_lines(context.session.store, path)
        write_whole(tsv, "".join(f"{line}\n" for line in lines).encode())


@smoothing.command(cls=ConfiguredCommand)
@analysis_options(*GROUPS)
def predict(
    options: AnalysisOptions, *, sigma: Sigma = None, n: Draws = None, alpha: Alpha = None
) -> None:
    """Predictions of the smoothed classifier, with as few draws as each image needs.

    Prints certified numbers: a returned class is that of the smoothed classifier with probability
    at least 1 - alpha; robcert abstains where the draws do not decide.

    Example: robcert smoothing predict --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.smoothing import PredictionSettings, analyse_prediction

    base = PredictionSettings.of_profile(options.profile)
    settings = replace(
        base,
        sigma=either(sigma, base.sigma),
        n=either(n, base.n),
        alpha=either(alpha, base.alpha),
    )
    run_analysis(
        options,
        "smoothing predict",
        "smoothing_prediction",
        lambda context: [
            analyse_prediction(
                context.session, settings, batch_size=values.batch_size(options.batch_size)
            )
        ],
    )


@smoothing.command(cls=ConfiguredCommand)
@analysis_options(*GROUPS)
def attack(
    options: AnalysisOptions,
    *,
    sigma: Sigma = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Gradient steps.", show_default="60")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option("--draws", help="Noisy copies per step, at most 64.", show_default="16"),
    ] = None,
    alpha: Alpha = None,
) -> None:
    """Find the nearest adversarial examples of the smoothed classifier (SmoothAdv, l2).

    Prints attacked numbers: at each distance fresh noise established another class with probability
    at least 1 - alpha. Certified radii must be smaller.

    Example: robcert smoothing attack --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.smoothing import SmoothingAttackSettings, analyse_attack

    base = SmoothingAttackSettings.of_profile(options.profile)
    settings = replace(
        base,
        sigma=either(sigma, base.sigma),
        steps=either(steps, base.steps),
        draws=either(draws, base.draws),
        alpha=either(alpha, base.alpha),
    )
    run_analysis(
        options,
        "smoothing attack",
        "smoothing_attack",
        lambda context: [
            analyse_attack(
                context.session, settings, batch_size=values.batch_size(options.batch_size)
            )
        ],
    )
