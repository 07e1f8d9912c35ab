"""Items of seconds: linear networks, few images, one attack each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.reproduction.analyses import Attack, Bounds, Linearity, Smoothing, Transfer
from robcert.reproduction.confidence import Confidence
from robcert.reproduction.item import Column, Curves, Item, Model, Row

if TYPE_CHECKING:
    from pathlib import Path

SMALL = (("arch", "linear"),)

PGD = Attack("PGD", ("llr-pgd50",), restarts=4, cost=50.0)

TINY = Item(
    name="Tiny-Tab1",
    title="two linear networks",
    source="a test",
    data="cifar10",
    training=600,
    images=40,
    models=(
        Model("plain", "soar-standard", SMALL),
        Model("noisy", "soar-adv1-pretrain", (*SMALL, ("steps", 2)), start="plain"),
    ),
    analyses=(PGD,),
    columns=(
        Column("clean", "measured", "PGD", "clean"),
        Column("PGD error", "attacked", "PGD", "robust@8/255", "error"),
    ),
    rows=(
        Row("theirs", "", (91.0, 12.5), "weights of its authors"),
        Row("plain", "plain", (90.0, 50.0)),
        Row("noisy", "noisy", (80.0, None)),
    ),
    errata=("E-1: a misprint.",),
    choices=("Everything is small.",),
)

EVERY_KIND = Item(
    name="Tiny-Fig1",
    title="every kind of analysis",
    source="a test",
    data="cifar10",
    training=600,
    images=16,
    models=(
        Model("source", "soar-standard", SMALL, apart=5),
        Model("plain", "soar-standard", SMALL),
    ),
    analyses=(
        Linearity("along", along=True, training=True),
        Bounds("bounds", PGD.norm, 8 / 255, radii=(2 / 255,), blocks=100, block_size=100),
        Smoothing("smoothing", 0.25, (0.25, 0.5)),
        Transfer("transfer", ("source",)),
    ),
    columns=(
        Column("γ", "estimated", "along", "mean", "value"),
        Column("ω-bound", "estimated", "bounds", "omega@2/255", "error"),
        Column("certified", "certified", "smoothing", "certified@0.25"),
        Column("black box", "attacked", "transfer", "source"),
    ),
    rows=(Row("plain", "plain", (None, None, 40.0, 60.0)),),
    figures=(
        Curves("γ by epoch", "estimated", "along", "course", "epoch", "γ", percent=False),
        Curves("certified", "certified", "smoothing", "certified", "radius", "accuracy"),
    ),
    keep_every=1,
)

CONFIDENT = Item(
    name="Tiny-Tab5",
    title="mean confidence",
    source="a test",
    data="cifar10",
    training=600,
    images=16,
    models=(Model("plain", "soar-standard", SMALL),),
    analyses=(Confidence("confidence"),),
    columns=tuple(
        Column(name, "measured", "confidence", name) for name in ("clean", "random", "PGD1")
    ),
    rows=(Row("plain", "plain", (94.9, 94.2, 94.7)),),
)


def halves(path: Path, count: int = 400) -> Path:
    """File of grey images of 8 by 8 pixels, bright above (class 0) or below (class 1)."""
    draws = np.random.default_rng(3)
    labels = draws.integers(0, 2, count)
    images = draws.uniform(0.0, 0.2, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 0.7
    np.savez(path, images=(255 * images).astype(np.uint8), labels=labels)
    return path
