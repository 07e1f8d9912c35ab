"""Does the twin compute what the runtime computes, and is its gradient the runtime's slope?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.failures import in_parts
from robcert.certify.model import Parity
from robcert.certify.numerics import generator, targeted_margin, value_and_gradient

from ..runtime.batching import relative_spread_error

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

JITTER = 0.01
"""Noise on the points where slopes are compared: max-pool ties on flat backgrounds dissolve."""


@dataclass(frozen=True, slots=True)
class ParityPlan:
    """How much is compared.

    Attributes:
        noise: noise images beside the real ones.
        points: points where slopes are compared.
        directions: random directions at each, one more along the twin's gradient.
        steps: half-widths of the central differences in pixel units; the one that agrees best
            counts, for float32 rounding spoils the small ones and kinks the large ones.
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
    """What parity must reach.

    Attributes:
        top1_agreement: at least.
        relative_logit_error: at most.
        gradient_correlation: at least; None where slopes decide nothing.
    """

    top1_agreement: float
    relative_logit_error: float
    gradient_correlation: float | None

    @classmethod
    def of(cls, *, half_precision: bool, discontinuous: bool, smooth_gradient: bool) -> Tolerance:
        """Tolerance for a model with float16 arithmetic or with steps (quantised, sign, ...).

        Through a step, rounding errors of 1e-7 grow to one quantum, a fraction of a logit.
        """
        correlation = (0.5 if half_precision else 0.95) if smooth_gradient else None
        if discontinuous:
            return cls(0.9, 0.25, correlation)
        return cls(0.95, 0.05, correlation) if half_precision else cls(0.97, 1e-3, correlation)

    def broken_by(self, parity: Parity) -> str:
        """Which part of ``parity`` is beyond tolerance, in one line; empty if none."""
        if not parity.max_relative_logit_error <= self.relative_logit_error:
            return (
                f"its logits differ from the runtime's by {parity.max_relative_logit_error:.2g} of "
                f"their spread (at most {self.relative_logit_error:g})"
            )
        if parity.top1_agreement < self.top1_agreement:
            return (
                f"it names the runtime's class on {parity.top1_agreement:.1%} of the images "
                f"(at least {self.top1_agreement:.0%})"
            )
        correlation, least = parity.gradient_correlation, self.gradient_correlation
        if least is not None and correlation is not None and correlation < least:
            return (
                f"its gradient and the runtime's central differences correlate at "
                f"{correlation:.3f} (at least {least})"
            )
        return ""


def measure_parity(classifier: Classifier, images: Tensor | None, *, step_scale: float) -> Parity:
    """Parity on ``images (b, c, h, w)`` and on noise; the same every time.

    Args:
        classifier: has a twin.
        images: real images; None if there are none.
        step_scale: factor of the plan's steps; half precision needs larger ones.
    """
    plan = ParityPlan.for_pixels(torch.Size(classifier.image_shape).numel())
    source = generator(0, "parity", 0)
    noise = torch.rand(plan.noise, *classifier.image_shape, generator=source)
    x = noise if images is None else torch.cat([images.cpu(), noise])
    x = x.to(classifier.device)
    x, runtime = _answered(classifier, x)
    with torch.no_grad():
        twin = classifier.twin_logits(x)
    error = relative_spread_error(twin, runtime)
    same_nan = (twin.isnan() == runtime.isnan()).all(1)
    error = torch.where(error.isnan() & same_nan, torch.zeros_like(error), error)
    return Parity(
        images=len(x),
        top1_agreement=float((runtime.argmax(1) == twin.argmax(1)).double().mean()),
        max_relative_logit_error=float(error.nan_to_num(torch.inf).max()),
        gradient_correlation=_gradient_correlation(classifier, x, plan, source, step_scale),
    )


def _answered(classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Those of ``x`` that the runtime does not fail on, and its logits.

    Raises:
        ModelFileError: it fails on all of them.
    """
    failed: dict[int, Exception] = {}
    asked = in_parts(lambda at: classifier.logits(x[at]), np.arange(len(x)), failed)
    found = [(x[at], logits) for at, logits in asked]
    if not found:
        raise failed[0]
    images, logits = zip(*found, strict=True)
    return torch.cat(images), torch.cat(logits)


def _gradient_correlation(
    classifier: Classifier,
    x: Tensor,
    plan: ParityPlan,
    source: torch.Generator,
    step_scale: float,
) -> float | None:
    """Correlation of slopes of the margin between the runtime's first two classes."""
    every = max(1, len(x) // plan.points)
    points = x[::every][: plan.points]
    jitter = torch.randn(points.shape, generator=source).to(points.device) * JITTER
    points = (points + jitter).clamp(0.02, 0.98)
    first, second = classifier.logits(points).topk(2, dim=1).indices.unbind(1)

    def margin(at: Tensor) -> Tensor:
        return targeted_margin(classifier.twin_logits(at), first, second)

    _, gradient = value_and_gradient(margin, points)
    signs = torch.randint(0, 2, (plan.directions, *points.shape), generator=source) * 2.0 - 1.0
    directions = torch.cat([signs.to(points.device), gradient.sign().unsqueeze(0)])
    expected = (directions * gradient).flatten(2).sum(2).double()
    best: float | None = None
    for step in plan.steps:
        measured = _slopes(classifier, points, directions, first, second, step * step_scale)
        correlation = _correlation(expected.flatten(), measured.flatten())
        if correlation is not None and (best is None or correlation > best):
            best = correlation
    return best


def _slopes(
    classifier: Classifier,
    points: Tensor,
    directions: Tensor,
    first: Tensor,
    second: Tensor,
    step: float,
) -> Tensor:
    """Central differences ``(directions, b)`` of the runtime's margin."""
    rows = []
    for direction in directions:
        above = classifier.logits(points + step * direction).double()
        below = classifier.logits(points - step * direction).double()
        rise = targeted_margin(above, first, second) - targeted_margin(below, first, second)
        rows.append(rise / (2 * step))
    return torch.stack(rows)


def _correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson correlation; None where one of them is constant or not a number."""
    a, b = a - a.mean(), b - b.mean()
    product = a.norm() * b.norm()
    if not bool(product > 0) or not bool(product.isfinite()):
        return None
    return float((a * b).sum() / product)
