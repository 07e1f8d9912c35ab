"""A few images with their nearest adversarial ones, stored for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.core import Kind

if TYPE_CHECKING:
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup


MOST = 6
"""Number of images that a report shows."""


def save_examples(session: Session, group: AnalysisGroup) -> None:
    """Store a few images with their nearest adversarial ones in the group of an attack.

    Evenly spaced in the order of distance among the images with an adversarial one. Nothing is
    stored if the attack kept no images.
    """
    if "adversarial" not in group.columns or "examples/index" in group:
        return
    indices = session.indices
    distance = np.asarray(group.column("distance", indices), dtype=np.float64)
    found = np.flatnonzero(np.isfinite(distance) & (distance > 0))
    order = found[np.argsort(distance[found], kind="stable")]
    if len(order) == 0:
        return
    chosen = indices[
        order[np.linspace(0, len(order) - 1, min(MOST, len(order))).round().astype(int)]
    ]
    clean = session.pixels(chosen).cpu().numpy()
    adversarial = np.asarray(group.column("adversarial", chosen), dtype=np.float32)
    arrays = (
        ("index", chosen, Kind.MEASURED, "positions of the example images in the data set", ""),
        ("clean", clean, Kind.MEASURED, "the images as they are", "pixel"),
        (
            "adversarial",
            adversarial,
            Kind.ATTACKED,
            "nearest adversarial images found",
            "pixel",
        ),
    )
    group.save_arrays(
        {f"examples/{name}": (array, kind, doc, units) for name, array, kind, doc, units in arrays}
    )
