"""`robcert smoothing`: certificates and predictions of the smoothed classifier."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import values
from .options import AnalysisOptions, analysis_options
from .run import given, run_analysis
from .session import Opened

smoothing = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Randomized smoothing: certified numbers, of the smoothed classifier.",
)

Sigma = Annotated[
    float | None,
    typer.Option("--sigma", help="Noise level, pixel units of [0, 1].", show_default="0.25"),
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Probability that a statement is wrong.", show_default="0.001"),
]
Draws = Annotated[
    int | None,
    typer.Option("--n", help="Most noisy draws an image.", show_default="100000"),
]


@smoothing.command()
@analysis_options
def certify(
    options: AnalysisOptions,
    *,
    sigma: Sigma = None,
    n0: Annotated[
        int | None,
        typer.Option("--n0", help="Draws that choose the class.", show_default="100"),
    ] = None,
    n: Draws = None,
    alpha: Alpha = None,
    mode: Annotated[
        Literal["grid", "radius", "cohen"] | None,
        typer.Option(
            "--mode",
            help="grid: draw until each radius is decided; radius: as many as the radius needs; "
            "cohen: always n, as in the paper.",
            show_default="grid",
        ),
    ] = None,
    radii: Annotated[
        str | None, typer.Option("--radii", help="l2 radii to decide, such as 0.25,0.5,1.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Group-sequential boundaries: fewer draws.")
    ] = False,
    runner_up: Annotated[
        bool, typer.Option("--runner-up", help="Limit the second class too (p_B < 1 - p_A).")
    ] = False,
    label_mode: Annotated[
        bool, typer.Option("--label-mode", help="Test the label itself: certified accuracy only.")
    ] = False,
    familywise: Annotated[
        bool, typer.Option("--familywise", help="One alpha for all images together.")
    ] = False,
) -> None:
    """Certified l2 radii of the smoothed classifier (Cohen et al. 2019).

    Prints certified numbers: each radius holds with probability at least 1 - alpha over the noise
    that robcert draws. They speak of the smoothed classifier, not of the model itself.

    Example: robcert smoothing certify --model gaussian.onnx --sigma 0.25 --limit 100
    """
    from robcert.certify.analyses import smoothing as analysis
    from robcert.certify.profiles import settings_of

    numbers = values.numbers(radii) if radii else None
    kind = analysis.Mode(mode) if mode else None
    chosen = given(sigma=sigma, n0=n0, n=n, alpha=alpha, mode=kind, radii=numbers)
    switches = given(
        exact=exact or None, runner_up=runner_up or None, label_mode=label_mode or None
    )

    def analyse(context: Opened) -> list[str]:
        family = given(family=len(context.session.indices) if familywise else None)
        settings = settings_of("smoothing", options.profile, **chosen, **switches, **family)
        return [analysis.analyse(context.session, settings)]

    run_analysis(options, "smoothing certify", "smoothing", analyse)


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
    from robcert.certify.analyses import smoothing_prediction as analysis
    from robcert.certify.profiles import settings_of

    chosen = given(sigma=sigma, n=n, alpha=alpha)
    settings = settings_of("smoothing_prediction", options.profile, **chosen)
    run_analysis(
        options,
        "smoothing predict",
        "smoothing_prediction",
        lambda context: [analysis.analyse(context.session, settings)],
    )
