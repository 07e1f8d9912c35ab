"""`robcert bounds`: radii from extreme-value estimates of L and omega."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .shell.options import AnalysisOptions, analysis_options
from .shell.run import given, run_analysis
from .shell.session import CommandContext, note, one_epsilon

MarginName = Annotated[
    Literal["logit", "prob"] | None,
    typer.Option(
        "--margin", help="Margin that is bounded; prob as in the papers.", show_default="logit"
    ),
]
Blocks = Annotated[
    int | None, typer.Option("--blocks", help="Blocks of the fit.", show_default="100")
]
BlockSize = Annotated[
    int | None, typer.Option("--block-size", help="Images a block.", show_default="100")
]
Exceedance = Annotated[
    float | None,
    typer.Option("--exceedance", help="Share of blocks above the quantile.", show_default="0.001"),
]
Evt = Annotated[
    Literal["gev", "reverse-weibull", "max"] | None,
    typer.Option("--evt", help="How a supremum is read off.", show_default="gev"),
]
RegionName = Annotated[
    Literal["data", "ball"] | None,
    typer.Option("--region", help="Where gradients are sampled.", show_default="data"),
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", help="Right: y is among so many first classes.", show_default="1"),
]
Clever = Annotated[
    int | None,
    typer.Option(
        "--clever", help="Blocks of 64 random points around each image.", show_default="0"
    ),
]
Refit = Annotated[
    bool, typer.Option("--refit", help="Fit again from stored block maxima; no sampling.")
]


@analysis_options
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
    refit: Refit = False,
) -> None:
    """L-bound, ω-bound and their kin: radii from extreme-value estimates.

    Prints estimated numbers: a fit to sampled gradients, with its upper limit; the γ-bound takes
    each image's own residuals for ω, the curvature bound (l2, smooth models) the Hessian's largest
    eigenvalue. Attacks of the same norm in the file stand beside them, and the ledger lists the
    images where one proves an estimate wrong.

    Example: robcert bounds --model model.onnx --data images.npz --limit 100
    """
    from robcert.certify.auditing import settings_of
    from robcert.certify.core import Norm
    from robcert.certify.radius_bounds import Margin, Region
    from robcert.certify.radius_bounds import analyse as analyse_bounds
    from robcert.certify.stats import Method

    settings = settings_of(
        "bounds",
        options.profile,
        norm=Norm(options.norm),
        epsilon=one_epsilon(options),
        **given(
            margin=Margin(margin) if margin else None,
            blocks=blocks,
            block_size=block_size,
            exceedance=exceedance,
            evt=Method(evt) if evt else None,
            region=Region(region) if region else None,
            top_k=top_k,
            clever_blocks=clever_blocks,
        ),
    )

    def analyse(context: CommandContext) -> list[str]:
        session = context.session
        sampled = settings.blocks_of(session.images, session.seed)
        apart = len(set(session.indices.tolist()) - set(sampled.ravel().tolist()))
        passes = settings.gradient_passes(sampled.size, len(session.indices), apart)
        if not refit:
            note(options, f"L and ω are fitted on {sampled.size} images: {passes:,} gradients")
        return [analyse_bounds(session, settings, refit=refit)]

    run_analysis(options, "bounds", "bounds", analyse)
