"""The runtime's scores of a few images against what any evaluation in float32 may give.

Runtimes replace groups of operations by others. Where one of these computes another function, its
scores lie outside the bounds of the network at single images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.failures import in_parts

from .bounds import Region, propagate
from .bounds.intervals import UnboundedError
from .outcome import Method
from .relaxations import InvalidIntervalError, OutsideDomainError
from .requirements import ANY_ARITHMETIC, NO_FLOAT32

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

    from .bounds import Rounding
    from .network import Network

GREYS = (0.0, 0.3)
"""Pixels of the images without contrast."""

CONTRASTS = (1.0, 0.05)
"""Ranges of the random ones."""


def require_scores_of_runtime(
    network: Network, rounding: Rounding, classifier: Classifier, level_error: float
) -> None:
    """Raise if the runtime gives scores that no evaluation of the network in float32 can give.

    Args:
        network: the classifier's, from pixels to logits.
        rounding: of an evaluation in float32.
        classifier: runs the images.
        level_error: distance of a pixel from the one that it stands for.

    Raises:
        UnsupportedOperatorError: it does.
    """
    images = _images(classifier.image_shape)
    images = images if classifier.grid is None else classifier.grid.nearest(images)

    def scores(at: np.ndarray) -> Tensor:
        return classifier.logits(images[at].to(classifier.device)).cpu().double()

    for at, found in in_parts(scores, np.arange(len(images)), {}):
        for x, row in zip(images[at], found, strict=True):
            region = Region.of_ball(x, Ball(Norm.LINF, level_error))
            try:
                bounds = propagate(network, region, rounding, method=Method.INTERVAL)
            except (UnboundedError, OutsideDomainError, InvalidIntervalError):
                continue
            lower, upper = bounds.lower[network.output], bounds.upper[network.output]
            given = row.view(lower.shape)
            if not bool(((lower <= given) & (given <= upper)).all()):
                message = f"{NO_FLOAT32}the runtime computes other scores than the file states"
                raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)


def _images(shape: tuple[int, int, int]) -> Tensor:
    """Random images of several contrasts, and some without any ``(n, *shape)``."""
    generator = torch.Generator().manual_seed(3)
    noise = [0.5 + c * (torch.rand(shape, generator=generator) - 0.5) for c in CONTRASTS]
    return torch.stack([*noise, *(torch.full(shape, grey) for grey in GREYS)])
