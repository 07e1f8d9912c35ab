"""Noisy draws that vote for no class because the model's scores are NaN there, and why.

Gaussian noise is not clipped, so the model is evaluated at pixel values below 0 and above 1. A
model that computes a root, a logarithm or a power of its pixels gives NaN there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.numerics import NO_CLASS, NOISE_BLOCK, classes_of, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup

MOST_BLOCKS = 8
"""Noise blocks of an image that are drawn again to find the reason."""

RULE = "no vote"
"""What a draw without a class counts for; part of the settings, because rows depend on it."""


def undefined_draws(group: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Estimation draws of each of ``indices`` that voted for no class ``(b,)``."""
    counts = group.column("counts", indices).astype(np.int64)
    return np.asarray(group.column("n_used", indices).astype(np.int64) - counts.sum(1))


def note_reason(session: Session, group: AnalysisGroup, *, sigma: float, stream: str) -> None:
    """Store whether clipping the noisy pixels to [0, 1] gives the undefined draws a class.

    It is tried on the image with the most undefined draws, with the same noise. Nothing is stored
    where every draw has a class.
    """
    known = session.indices[group.computed(session.indices)]
    lacking = undefined_draws(group, known) if len(known) else np.empty(0, np.int64)
    if not lacking.any():
        return
    index = int(known[lacking.argmax()])
    x = session.pixels(np.array([index]))
    for block in range(MOST_BLOCKS):
        noise = torch.empty((NOISE_BLOCK, *x.shape[1:]), device=x.device)
        noise.normal_(0, sigma, generator=generator(session.seed, stream, index, block))
        undefined = classes_of(session.classifier.logits(x + noise)) == NO_CLASS
        if undefined.any():
            clipped = (x + noise)[undefined].clamp(0, 1)
            still = classes_of(session.classifier.logits(clipped)) == NO_CLASS
            tried = {"image": index, "undefined": int(undefined.sum()), "clipped": int(still.sum())}
            group.set_attributes(undefined_tried=tried)
            return


def undefined_warnings(group: AnalysisGroup, indices: NDArray[np.int64]) -> tuple[str, ...]:
    """One sentence if draws of ``indices`` voted for no class; from the file alone."""
    if not len(indices) or not (lacking := undefined_draws(group, indices)).any():
        return ()
    total = int(group.column("n_used", indices).astype(np.int64).sum())
    found = (
        f"the model's scores are NaN on {lacking.sum() / total:.2%} of the noisy draws, on "
        f"{int((lacking > 0).sum())} of {len(indices)} images; such a draw votes for no class"
    )
    return (found + _reason(group.attribute("undefined_tried")),)


def _reason(tried: dict[str, int] | None) -> str:
    if tried is None or tried["clipped"] == tried["undefined"]:
        return ""
    left = f"{tried['clipped']} of them" if tried["clipped"] else "none of them"
    return (
        f". The cause is pixel values below 0 or above 1, which the noise produces: on "
        f"{tried['undefined']} such draws of image {tried['image']}, {left} "
        f"{'is' if tried['clipped'] == 0 else 'are'} NaN once the pixels are clipped to [0, 1]"
    )
