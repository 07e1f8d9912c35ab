"""The figure of certified accuracy of Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918."""

from __future__ import annotations

from .analyses import Smoothing
from .item import Column, Curves, Item, Model, Row

LEVELS = (0.12, 0.25, 0.5, 1.0)
RADII = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)

CERTIFIED = Item(
    name="Cohen-certified",
    title="CIFAR-10: certified accuracy of the smoothed classifier against the l2 radius",
    source="Cohen, Rosenfeld, Kolter 2019 (arXiv:1902.02918), figure of CIFAR-10",
    data="cifar10",
    training=50_000,
    images=500,
    models=tuple(
        Model(
            f"σ = {sigma:g}",
            f"cohen-{sigma:g}",
            own=(Smoothing("smoothing", sigma, RADII),),
        )
        for sigma in LEVELS
    ),
    analyses=(),
    columns=tuple(Column(f"at {r:g}", "certified", "smoothing", f"certified@{r:g}") for r in RADII),
    rows=tuple(Row(f"σ = {s:g}", f"σ = {s:g}", (None,) * len(RADII)) for s in LEVELS),
    choices=(
        "The figure prints no numbers.",
        "The first 500 images; the paper takes every twentieth of the 10,000.",
    ),
    figures=(
        Curves(
            "certified accuracy against radius",
            "certified",
            "smoothing",
            "certified",
            "l2 radius",
            "certified accuracy",
        ),
    ),
)

ITEMS = (CERTIFIED,)
