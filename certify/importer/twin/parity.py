"""Parity: does the twin compute the runtime's logits, and is its gradient the runtime's slope?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.failures import in_parts
from robcert.certify.model import Parity
from robcert.certify.numerics import classes_of, generator, targeted_margin, value_and_gradient

from ..runtime.batching import relative_spread_error

if TYPE_CHECKING:
    from robcert.certify.model import InputGrid, Logits

JITTER = 0.01
"""Noise on the points where slopes are compared; it breaks ties of max-pooling on flat areas."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The two functions to compare.

    Attributes:
        runtime: pixels ``(b, c, h, w)`` to logits ``(b, k)`` as shipped.
        twin: the same with a gradient.
        image_shape: (c, h, w).
        device: where both expect their images.
        grid: the images that an integer input can hold, on which both must agree.
    """

    runtime: Logits
    twin: Logits
    image_shape: tuple[int, int, int]
    device: torch.device
    grid: InputGrid | None = None

    def seen(self, x: Tensor) -> Tensor:
        """The images that the model sees in place of ``x``, on the device."""
        x = x.to(self.device)
        return x if self.grid is None else self.grid.nearest(x)


@dataclass(frozen=True, slots=True)
class ParityPlan:
    """How much is compared.

    Attributes:
        noise: number of noise images in addition to the real ones.
        points: number of points where slopes are compared.
        directions: number of random directions at each, besides that of the twin's gradient.
        steps: half-widths of the central differences in pixel units; the best agreement counts,
            because rounding in float32 impairs small steps and kinks impair large ones.
    """

    noise: int
    points: int
    directions: int
    steps: tuple[float, ...]

    @classmethod
    def for_pixels(cls, pixels: int) -> ParityPlan:
        """A plan that costs about the same for small and for large images."""
        if pixels > 20_000:
            return cls(noise=4, points=3, directions=1, steps=(1e-3, 3e-4))
        return cls(noise=16, points=8, directions=2, steps=(1e-3, 3e-4))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Thresholds of parity.

    Attributes:
        top1_agreement: minimum.
        relative_logit_error: maximum.
        gradient_correlation: minimum; None where slopes are not compared.
    """

    top1_agreement: float
    relative_logit_error: float
    gradient_correlation: float | None

    @classmethod
    def of(cls, *, half_precision: bool, discontinuous: bool, smooth_gradient: bool) -> Tolerance:
        """Tolerance for a model with float16 arithmetic or with steps (quantised, sign, ...).

        A step turns a rounding error of 1e-7 into one quantum, a fraction of a logit.
        """
        correlation = (0.5 if half_precision else 0.95) if smooth_gradient else None
        if discontinuous:
            return cls(0.9, 0.25, correlation)
        return cls(0.95, 0.05, correlation) if half_precision else cls(0.97, 1e-3, correlation)

    def broken_by(self, parity: Parity) -> str:
        """The first threshold that ``parity`` violates, in one line; empty if it violates none."""
        if not parity.max_relative_logit_error <= self.relative_logit_error:
            if not math.isfinite(parity.max_relative_logit_error):
                return "it gives scores that are infinite or NaN where the runtime gives others"
            return (
                f"its logits differ from the runtime's by {parity.max_relative_logit_error:.2g} of "
                f"their range (allowed: {self.relative_logit_error:g})"
            )
        if parity.top1_agreement < self.top1_agreement:
            return (
                f"it predicts the runtime's class on {parity.top1_agreement:.1%} of the images "
                f"(required: {self.top1_agreement:.0%})"
            )
        correlation, least = parity.gradient_correlation, self.gradient_correlation
        if least is not None and correlation is not None and correlation < least:
            return (
                f"its gradient and the runtime's central differences correlate at "
                f"{correlation:.3f} (required: {least})"
            )
        return ""


def measure_parity(subject: Subject, images: Tensor | None, *, step_scale: float) -> Parity:
    """Parity on ``images (b, c, h, w)`` and on noise; deterministic.

    Args:
        subject: runtime and twin.
        images: real images; None if there are none.
        step_scale: factor on the plan's steps; half precision needs larger ones.
    """
    plan = ParityPlan.for_pixels(torch.Size(subject.image_shape).numel())
    source = generator(0, "parity", 0)
    noise = torch.rand(plan.noise, *subject.image_shape, generator=source)
    x = noise if images is None else torch.cat([images.cpu(), noise])
    x, runtime = _answered(subject.runtime, subject.seen(x))
    with torch.no_grad():
        twin = subject.twin(x)
    return Parity(
        images=len(x),
        top1_agreement=float((classes_of(runtime) == classes_of(twin)).double().mean()),
        max_relative_logit_error=float(relative_spread_error(twin, runtime).max()),
        gradient_correlation=_gradient_correlation(subject, x, plan, source, step_scale),
    )


def _answered(runtime: Logits, x: Tensor) -> tuple[Tensor, Tensor]:
    """The images of ``x`` on which the runtime does not fail, and its logits.

    Raises:
        ModelFileError: it fails on all of them.
    """
    failed: dict[int, Exception] = {}
    asked = in_parts(lambda at: runtime(x[at]), np.arange(len(x)), failed)
    found = [(x[at], logits) for at, logits in asked]
    if not found:
        raise failed[0]
    images, logits = zip(*found, strict=True)
    return torch.cat(images), torch.cat(logits)


def _gradient_correlation(
    subject: Subject,
    x: Tensor,
    plan: ParityPlan,
    source: torch.Generator,
    step_scale: float,
) -> float | None:
    """Correlation of slopes of the margin between the runtime's first two classes."""
    every = max(1, len(x) // plan.points)
    points = x[::every][: plan.points]
    jitter = torch.randn(points.shape, generator=source).to(points.device) * JITTER
    points = subject.seen((points + jitter).clamp(0.02, 0.98))
    first, second = subject.runtime(points).topk(2, dim=1).indices.unbind(1)

    def margin(at: Tensor) -> Tensor:
        return targeted_margin(subject.twin(at), first, second)

    _, gradient = value_and_gradient(margin, points)
    signs = torch.randint(0, 2, (plan.directions, *points.shape), generator=source) * 2.0 - 1.0
    directions = torch.cat([signs.to(points.device), gradient.sign().unsqueeze(0)])
    steps = plan.steps
    if subject.grid is not None:  # smaller steps than a level would be rounded
        directions, steps = directions * subject.grid.steps(points), (1.0,)
    expected = (directions * gradient).flatten(2).sum(2).double()
    best: float | None = None
    for step in steps:
        measured = _slopes(subject.runtime, points, directions, first, second, step * step_scale)
        correlation = _correlation(expected.flatten(), measured.flatten())
        if correlation is not None and (best is None or correlation > best):
            best = correlation
    return best


def _slopes(
    runtime: Logits,
    points: Tensor,
    directions: Tensor,
    first: Tensor,
    second: Tensor,
    step: float,
) -> Tensor:
    """Central differences ``(directions, b)`` of the runtime's margin."""
    rows = []
    for direction in directions:
        above = runtime(points + step * direction).double()
        below = runtime(points - step * direction).double()
        rise = targeted_margin(above, first, second) - targeted_margin(below, first, second)
        rows.append(rise / (2 * step))
    return torch.stack(rows)


def _correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson correlation over finite pairs; None where one of them is constant."""
    known = a.isfinite() & b.isfinite()
    if not known.any():
        return None
    a, b = a[known], b[known]
    a, b = a - a.mean(), b - b.mean()
    product = a.norm() * b.norm()
    if not bool(product > 0) or not bool(product.isfinite()):
        return None
    return float((a * b).sum() / product)
