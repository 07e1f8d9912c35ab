"""Parity of graphs with random outputs: do twin and runtime have the same mean?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from .parity import Subject


DRAWS = 32
_IMAGES = 4
_ERRORS = 6.0  # standard errors of a mean; exceeded by chance once in 10^8
_SLACK = 0.01  # of the logits' range, in addition to what chance allows


def mean_mismatch(subject: Subject, images: Tensor | None) -> str:
    """How the mean logits of twin and runtime differ, in one line; empty if they agree.

    Means of ``DRAWS`` draws of every logit may differ by six standard errors plus a hundredth of
    the range (max - min) of the runtime's means. Only means are compared: a twin with the same mean
    and another variance passes.
    """
    if images is None:
        shape = (_IMAGES, *subject.image_shape)
        images = torch.rand(shape, generator=generator(0, "parity/random", 0))
    x = subject.seen(images[:_IMAGES])
    with torch.no_grad():
        runtime = torch.stack([subject.runtime(x) for _ in range(DRAWS)]).double()
        twin = torch.stack([subject.twin(x) for _ in range(DRAWS)]).double()
    ruled_out = ((runtime == -torch.inf) & (twin == -torch.inf)).all(0)
    runtime, twin = (torch.where(ruled_out, 0.0, draws) for draws in (runtime, twin))
    distance = (runtime.mean(0) - twin.mean(0)).abs()
    error = ((runtime.var(0) + twin.var(0)) / DRAWS).sqrt()
    means = runtime.mean(0)
    spread = (means.amax(1) - means.amin(1)).median().clamp_min(torch.finfo(torch.float32).tiny)
    if bool((distance <= _ERRORS * error + _SLACK * spread).all()):
        return ""
    return (
        f"its logits, averaged over {DRAWS} draws, differ from the runtime's by "
        f"{float((distance / spread).max()):.2g} of their range"
    )
