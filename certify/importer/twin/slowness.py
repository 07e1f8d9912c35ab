"""Whether a twin computes a gradient within the time that a call of its model may take.

A call of torch cannot be ended from outside. It need not be: a graph whose cost depends on the
pixels without limit has no twin, so that what one image takes tells what every image takes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.model import Twin

    from ..runtime.limits import RunLimits


def slowness(
    twin: Twin, image_shape: Sequence[int], device: torch.device, limits: RunLimits
) -> str:
    """Why ``twin`` is too slow on a black image; empty if it is not.

    Args:
        twin: pixels to logits.
        image_shape: ``(c, h, w)``.
        device: where it computes.
        limits: time of a call.
    """
    x = torch.zeros(1, *image_shape, device=device, requires_grad=True)
    begin = time.monotonic()
    score = twin(x).sum()
    if score.requires_grad:
        (gradient,) = torch.autograd.grad(score, x, materialize_grads=True)
        score = gradient.sum()
    score.item()  # what a GPU still has to do
    seconds, allowed = time.monotonic() - begin, limits.call_seconds(1)
    if seconds <= allowed:
        return ""
    return (
        f"one gradient of one image takes {seconds:.3g} s, more than the {allowed:.3g} s of a call "
        "(--call-limit)"
    )
