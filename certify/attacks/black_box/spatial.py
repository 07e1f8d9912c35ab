"""Rotations and translations (Engstrom et al. 2019, arXiv:1712.02779): the worst of k random ones.

The image found is adversarial by a small motion, not by a small norm; its distance in pixel units
is stored nevertheless and is usually large.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import generator

from ..search.state import Found, SearchState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.model import Classifier


def spatial(
    classifier: Classifier,
    batch: Batch,
    *,
    degrees: float = 30.0,
    shift: float = 0.1,
    draws: int = 10,
    seed: int = 0,
) -> Found:
    """For each image the misclassified random motion that is nearest in linf.

    Args:
        classifier: the model.
        batch: images.
        degrees: largest rotation in either direction.
        shift: largest translation, as a share of the image's side.
        draws: k; 1 is the random attack, more is the worst of k.
        seed: seed of the draws, which come from each image's own stream.
    """
    state = SearchState(classifier, batch, Norm.LINF, seed)
    run_spatial(state, state.correct, degrees=degrees, shift=shift, draws=draws)
    return state.result()


def run_spatial(
    state: SearchState, rows: Tensor, *, degrees: float = 30.0, shift: float = 0.1, draws: int = 10
) -> None:
    """The worst of k motions on a search state; every draw is tried on every row."""
    if not len(rows):
        return
    motions = unit_motions(state.batch.index[rows.cpu().numpy()], draws, state.seed)
    for motion in motions.to(state.batch.x).unbind(1):
        moved = transformed(state.x(rows), motion[:, 0] * degrees, motion[:, 1:] * shift)
        state.verify_candidates(rows, moved, state.logits(rows, moved))


def unit_motions(indices: NDArray[np.int64], draws: int, seed: int) -> Tensor:
    """Rotation and two shifts, uniform in [-1, 1], from each image's own stream ``(b, k, 3)``."""
    numbers = [
        torch.rand(draws, 3, generator=generator(seed, "attack/spatial", int(index)))
        for index in indices
    ]
    return torch.stack(numbers) * 2 - 1


def transformed(x: Tensor, degrees: Tensor, shift: Tensor) -> Tensor:
    """``x (b, c, h, w)`` rotated by ``degrees (b,)`` and moved by ``shift (b, 2)`` sides.

    Bilinear interpolation; pixels from outside the image are black.
    """
    angle, (height, width) = degrees * (math.pi / 180), x.shape[2:]
    cosine, sine = angle.cos(), angle.sin()
    # affine_grid has coordinates in [-1, 1] along both axes, so a rotation needs the aspect ratio
    row_right = torch.stack([cosine, -sine * height / width, 2 * shift[:, 0]], dim=1)
    row_down = torch.stack([sine * width / height, cosine, 2 * shift[:, 1]], dim=1)
    grid = functional.affine_grid(
        torch.stack([row_right, row_down], dim=1), list(x.shape), align_corners=False
    )
    return functional.grid_sample(x, grid, align_corners=False).clamp(0, 1)
