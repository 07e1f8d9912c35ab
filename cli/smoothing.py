"""`robcert smoothing`: certificates and predictions of the smoothed classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from robcert.certify.errors import InvalidParameterError

from .shell import values
from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given, run_analysis
from .shell.session import CommandContext, note

smoothing = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Randomized smoothing: certified numbers, of the smoothed classifier.",
)

Sigma = Annotated[
    float | None,
    typer.Option("--sigma", help="Noise level, pixel units of [0, 1].", show_default="0.25"),
]
Sigmas = Annotated[
    list[float] | None,
    typer.Option(
        "--sigma",
        help="Noise level, pixel units of [0, 1]; may be given again.",
        show_default="0.25",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Probability that a statement is wrong.", show_default="0.001"),
]
Draws = Annotated[
    int | None,
    typer.Option("--n", help="Most noisy draws an image.", show_default="100000"),
]


SelectionDraws = Annotated[
    int | None,
    typer.Option("--n0", help="Draws that choose the class.", show_default="100"),
]
ModeName = Annotated[
    Literal["grid", "radius", "cohen"] | None,
    typer.Option(
        "--mode",
        help="grid: draw until each radius is decided; radius: as many as the radius needs; "
        "cohen: always n, as in the paper.",
        show_default="grid",
    ),
]
Radii = Annotated[
    str | None, typer.Option("--radii", help="l2 radii to decide, such as 0.25,0.5,1.")
]
Exact = Annotated[bool, typer.Option("--exact", help="Group-sequential boundaries: fewer draws.")]
RunnerUp = Annotated[
    bool, typer.Option("--runner-up", help="Limit the second class too (p_B < 1 - p_A).")
]
LabelMode = Annotated[
    bool, typer.Option("--label-mode", help="Test the label itself: certified accuracy only.")
]
Familywise = Annotated[
    bool, typer.Option("--familywise", help="One alpha for all images together.")
]
OpenEnded = Annotated[
    bool, typer.Option("--open-ended", help="Spend alpha so that a larger --n may follow.")
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        help="Share of the radius that --mode radius may lose.",
        show_default="0.01",
    ),
]
PrecisionName = Annotated[
    Literal["float32", "bfloat16", "int8"] | None,
    typer.Option(
        "--precision",
        help="Certify the model as computed in these numbers: another function.",
        show_default="float32",
    ),
]
Tsv = Annotated[
    Path | None,
    typer.Option("--tsv", help="Write the certificates as Cohen's scripts read them, too."),
]


@smoothing.command()
@analysis_options
def certify(
    options: AnalysisOptions,
    *,
    sigma: Sigmas = None,
    n0: SelectionDraws = None,
    n: Draws = None,
    alpha: Alpha = None,
    mode: ModeName = None,
    radii: Radii = None,
    exact: Exact = False,
    runner_up: RunnerUp = False,
    label_mode: LabelMode = False,
    familywise: Familywise = False,
    open_ended: OpenEnded = False,
    tolerance: Tolerance = None,
    precision: PrecisionName = None,
    tsv: Tsv = None,
) -> None:
    """Certified l2 radii of the smoothed classifier (Cohen et al. 2019).

    Prints certified numbers: each radius holds with probability at least 1 - alpha over the noise
    that robcert draws. They speak of the smoothed classifier, not of the model itself.

    Example: robcert smoothing certify --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.smoothing import Mode, Precision

    numbers = values.numbers(radii) if radii else None
    kind = Mode(mode) if mode else None
    bits = Precision(precision) if precision else None
    chosen = given(n0=n0, n=n, alpha=alpha, mode=kind, radii=numbers, tolerance=tolerance)
    chosen |= given(exact=exact or None, runner_up=runner_up or None, precision=bits)
    chosen |= given(label_mode=label_mode or None, open_ended=open_ended or None)
    levels = [{"sigma": level} for level in sigma or ()] or [{}]
    require_one_table(tsv, levels)

    def analyse(context: CommandContext) -> list[str]:
        family = given(family=len(context.session.indices) if familywise else None)
        paths = certificates(context, [{**chosen, **family, **level} for level in levels])
        write_table(context, paths[0], tsv)
        return paths

    run_analysis(options, "smoothing certify", "smoothing", analyse)


def certificates(context: CommandContext, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Paths of the tables of ``runs``, each made with what it sets; its forecast is told first."""
    from robcert.certify.auditing import settings_of
    from robcert.certify.smoothing import analyse, forecast, in_precision

    options, paths = context.options, []
    batch = values.batch_size(options.batch_size)
    for settings in [settings_of("smoothing", options.profile, **run) for run in runs]:
        session = in_precision(context.session, settings)
        if not options.quiet:
            note(options, forecast(session, settings, batch_size=batch).sentence())
        paths.append(analyse(session, settings, batch_size=batch))
    return paths


def require_one_table(tsv: Path | None, levels: Sequence[object]) -> None:
    """Raise unless a table that was asked for would hold the certificates of one sigma."""
    if tsv is not None and len(levels) > 1:
        message = "--tsv holds the certificates of one --sigma"
        raise InvalidParameterError(message, hint="run the command once for each")


def write_table(context: CommandContext, path: str, tsv: Path | None) -> None:
    """Write the certificates at ``path`` of the results file to ``tsv``, if it is asked for."""
    from robcert.certify.report import cohen_lines

    if tsv is not None:
        lines = cohen_lines(context.session.store, path)
        tsv.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@smoothing.command()
@analysis_options
def predict(
    options: AnalysisOptions, *, sigma: Sigma = None, n: Draws = None, alpha: Alpha = None
) -> None:
    """Predictions of the smoothed classifier, with as few draws as each image needs.

    Prints certified numbers: a class that is returned is the smoothed classifier's with
    probability at least 1 - alpha; where the draws do not decide it abstains.

    Example: robcert smoothing predict --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.auditing import settings_of
    from robcert.certify.smoothing import analyse_prediction

    chosen = given(sigma=sigma, n=n, alpha=alpha)
    settings = settings_of("smoothing_prediction", options.profile, **chosen)
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


@smoothing.command()
@analysis_options
def attack(
    options: AnalysisOptions,
    *,
    sigma: Sigma = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Gradient steps.", show_default="60")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option("--draws", help="Noisy copies in each step, up to 64.", show_default="16"),
    ] = None,
    alpha: Alpha = None,
) -> None:
    """Nearest images that the smoothed classifier puts in another class (SmoothAdv, l2).

    Prints attacked numbers: each distance is one at which another class was established by fresh
    noise, with probability at least 1 - alpha. Certified radii must lie below them.

    Example: robcert smoothing attack --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.auditing import settings_of
    from robcert.certify.smoothing import analyse_attack

    chosen = given(sigma=sigma, steps=steps, draws=draws, alpha=alpha)
    settings = settings_of("smoothing_attack", options.profile, **chosen)
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
