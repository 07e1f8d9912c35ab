"""Forecast of a smoothing run: its cost and the radii it can certify."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.failures import require_progress
from robcert.certify.numerics import generator

from .analysis import in_precision
from .procedures import sequential_prediction
from .rules import PredictionRule, RunnerUpRule, UnionBoundRule
from .sampler import ImageTask, Sampler
from .sequential import Schedule, decide
from .settings import Mode, SmoothingSettings, attainable_radii, certification_rule, two_stage_rule
from .summary import largest_certifiable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.session import Session

PILOT = "smoothing/pilot"
PILOT_DRAWS = 256
PILOT_IMAGES = 16
PATHS = 50
"""Simulated runs per image of the pilot."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected cost and attainable radii of a run.

    Attributes:
        largest_radius: largest l2 radius that n and alpha can certify.
        unattainable: radii of the grid that they cannot.
        images: images of the run.
        mean_samples: expected draws per image, from the pilot.
        samples_per_second: rate of the pilot.
    """

    largest_radius: float
    unattainable: tuple[float, ...]
    images: int
    mean_samples: float
    samples_per_second: float

    @property
    def seconds(self) -> float:
        """Expected time of the whole run, in seconds."""
        return self.images * self.mean_samples / self.samples_per_second

    def sentence(self) -> str:
        """The forecast in words."""
        text = (
            f"largest radius that can be certified: {self.largest_radius:.3g}; expected: about "
            f"{self.mean_samples:,.0f} draws per image for {self.images} images, "
            f"{_duration(self.seconds)} at {self.samples_per_second:,.0f} draws per second"
        )
        if self.unattainable:
            text += f"; not attainable: {', '.join(f'{r:g}' for r in self.unattainable)}"
        return text


def forecast(
    session: Session, settings: SmoothingSettings, *, batch_size: int | None = None
) -> Forecast:
    """Forecast from a pilot on a few images, whose draws the run itself never uses."""
    session = in_precision(session, settings)
    indices = session.indices[:: max(1, len(session.indices) // PILOT_IMAGES)][:PILOT_IMAGES]
    sampler = Sampler(
        session.classifier, sigma=settings.sigma, seed=session.seed, batch_size=batch_size
    )
    rule = PredictionRule(Schedule((PILOT_DRAWS,), (0.5,)))
    pixels = session.pixels(indices)
    tasks = [
        ImageTask(index, x, sequential_prediction(rule, stream=PILOT))
        for index, x in zip(indices.tolist(), pixels, strict=True)
    ]
    start = time.perf_counter()
    counts = [o.path[-1] for finished in sampler.run(tasks) for o in finished.outcomes]
    require_progress(sampler.failed, done=bool(counts), requested=len(indices))
    rate = sampler.drawn / (time.perf_counter() - start)
    attainable = attainable_radii(settings)
    return Forecast(
        largest_radius=largest_certifiable(settings),
        unattainable=tuple(r for r in settings.radii if r not in attainable),
        images=len(session.indices),
        mean_samples=float(np.mean([_expected(settings, c, session.seed) for c in counts])),
        samples_per_second=rate,
    )


def _expected(settings: SmoothingSettings, counts: NDArray[np.int64], seed: int) -> float:
    """Draws that an image with these pilot ``counts`` will need, by simulation."""
    if settings.mode is Mode.RADIUS:
        return settings.pilot + two_stage_rule(settings, counts).schedule.last
    if settings.mode is Mode.COHEN:
        return settings.n0 + settings.n
    rule = certification_rule(settings)
    if isinstance(rule, RunnerUpRule):  # needs about as many draws
        rule = UnionBoundRule(rule.schedule, rule.radii, rule.sigma)
    top, n = int(counts.max()), int(counts.sum())
    rng = np.random.default_rng(generator(seed, PILOT, top).initial_seed())
    p = rng.beta(top + 0.5, n - top + 0.5, size=PATHS)
    steps = np.diff(rule.schedule.analyses, prepend=0)
    paths = np.cumsum(rng.binomial(steps, p[:, None], size=(PATHS, len(steps))), axis=1)
    analyses = decide(rule.boundaries, paths).analyses
    return settings.n0 + float(np.array(rule.schedule.analyses)[analyses - 1].mean())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
