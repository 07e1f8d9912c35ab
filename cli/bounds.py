"""`robcert bounds`: radii from extreme-value estimates of L and ω."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from .shell.options import AnalysisOptions, EveryGroup, analysis_options
from .shell.run import run_analysis
from .shell.session import CommandContext, note, one_epsilon
from .shell.values import either, epsilon

MarginName = Annotated[
    Literal["logit", "prob"] | None,
    typer.Option(
        "--margin", help="Margin that is bounded; the papers use prob.", show_default="logit"
    ),
]
Blocks = Annotated[
    int | None, typer.Option("--blocks", help="Blocks of images in the fit.", show_default="100")
]
BlockSize = Annotated[
    int | None, typer.Option("--block-size", help="Images per block.", show_default="100")
]
Exceedance = Annotated[
    float | None,
    typer.Option(
        "--exceedance", help="Share of blocks that exceed the estimate.", show_default="0.001"
    ),
]
Evt = Annotated[
    Literal["gev", "reverse-weibull", "max"] | None,
    typer.Option("--evt", help="Estimator of the supremum.", show_default="gev"),
]
RegionName = Annotated[
    Literal["data", "ball"] | None,
    typer.Option("--region", help="Points at which gradients are sampled.", show_default="data"),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        help="Count an image as correct if its class is among the top K classes.",
        show_default="1",
    ),
]
Clever = Annotated[
    int | None,
    typer.Option(
        "--clever",
        help="Also CLEVER: blocks of 64 random points around each image, at least 30.",
        show_default="0",
    ),
]
Points = Annotated[
    int | None,
    typer.Option(
        "--points",
        help="Radii of the grid of ω, from ε/8 to 2 ε. A bound uses ω at the next larger one: "
        "more of them give larger radii and take more searches.",
        show_default="9",
    ),
]
ErrorAt = Annotated[
    list[str] | None,
    typer.Option(
        "--error-at",
        help="Also state the error by each bound at this radius, up to 2 ε; may be repeated.",
    ),
]
Refit = Annotated[
    bool, typer.Option("--refit", help="Repeat the fit with the stored sample, without sampling.")
]


@analysis_options(*EveryGroup)
def bounds(
    options: AnalysisOptions,
    *,
    margin: MarginName = None,
    blocks: Blocks = None,
    block_size: BlockSize = None,
    exceedance: Exceedance = None,
    evt: Evt = None,
    region: RegionName = None,
    top_k: TopK = None,
    clever_blocks: Clever = None,
    points: Points = None,
    error_at: ErrorAt = None,
    refit: Refit = False,
) -> None:
    """Radii from extreme-value estimates: ρ-, L-, ω-, γ- and curvature bounds.

    Prints estimated numbers: extreme-value fits to sampled gradients, with their upper limits. The
    ρ-bound needs only how far the loss rises above its steepest tangent; the γ-bound uses the
    residuals of each image in place of ω; the curvature bound (l2, smooth models) uses the largest
    eigenvalue of the Hessian. A fit takes 30 blocks; without one there is no radius. Attacked
    distances of the same norm in the results file are printed beside them; the ledger lists the
    images where one proves an estimate wrong.

    Example: robcert bounds --model model.onnx --data images.npz --limit 100

    Example: robcert bounds --norm l2 --eps 0.75 --points 17 --error-at 0.25 --error-at 1.5
    """
    from robcert.certify.radius_bounds import BoundsSettings, Margin, Region
    from robcert.certify.radius_bounds import analyse as analyse_bounds
    from robcert.certify.stats import Method

    base = BoundsSettings.of_profile(options.profile)
    settings = replace(
        base,
        norm=options.norm,
        epsilon=one_epsilon(options),
        margin=Margin(either(margin, base.margin)),
        blocks=either(blocks, base.blocks),
        block_size=either(block_size, base.block_size),
        exceedance=either(exceedance, base.exceedance),
        evt=Method(either(evt, base.evt)),
        region=Region(either(region, base.region)),
        top_k=either(top_k, base.top_k),
        clever_blocks=either(clever_blocks, base.clever_blocks),
        points=either(points, base.points),
    )
    errors_at = tuple(epsilon(text, options.norm) for text in error_at or ())

    def analyse(context: CommandContext) -> list[str]:
        session = context.session
        sampled = settings.blocks_of(session.images, session.seed)
        apart = len(set(session.indices.tolist()) - set(sampled.ravel().tolist()))
        passes = settings.gradient_passes(sampled.size, len(session.indices), apart)
        if not refit:
            note(options, f"L, ω and ρ are sampled at {sampled.size} images: {passes:,} gradients")
        return [analyse_bounds(session, settings, refit=refit, errors_at=errors_at)]

    run_analysis(options, "bounds", "bounds", analyse)
