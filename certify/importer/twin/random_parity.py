"""Graphs that draw: how they are known, and whether the twin draws as the runtime does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from robcert.certify.model import Classifier


DRAWS = 32
_IMAGES = 4
_ERRORS = 6.0  # standard errors of a mean: by chance once in 10^8
_SLACK = 0.01  # of the logits' spread, beside what chance allows


def mean_mismatch(classifier: Classifier, images: Tensor | None) -> str:
    """In one line, that twin and runtime differ on the average; empty if they agree.

    Means of ``DRAWS`` draws of every logit may differ by six standard errors and a hundredth of the
    spread of the runtime's means. Draws of the same distribution have the same mean; a twin with
    the same mean and another spread passes.
    """
    if images is None:
        shape = (_IMAGES, *classifier.image_shape)
        images = torch.rand(shape, generator=generator(0, "parity/random", 0))
    x = images[:_IMAGES].to(classifier.device)
    with torch.no_grad():
        runtime = torch.stack([classifier.logits(x) for _ in range(DRAWS)]).double()
        twin = torch.stack([classifier.twin_logits(x) for _ in range(DRAWS)]).double()
    distance = (runtime.mean(0) - twin.mean(0)).abs()
    error = ((runtime.var(0) + twin.var(0)) / DRAWS).sqrt()
    means = runtime.mean(0)
    spread = (means.amax(1) - means.amin(1)).median().clamp_min(torch.finfo(torch.float32).tiny)
    if bool((distance <= _ERRORS * error + _SLACK * spread).all()):
        return ""
    return (
        f"on the average of {DRAWS} draws its logits differ from the runtime's by "
        f"{float((distance / spread).max()):.2g} of their spread"
    )
