"""Forecast of a smoothing run: its cost and the radii it can certify."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from robcert.certify.failures import require_progress
from robcert.certify.numerics import generator

from .precision import in_precision
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
PILOT_DRAWS = 1024
GROUP = 4
"""Images of the pilot that are drawn together."""

MOST_GROUPS = 32
PILOT_SECONDS = 1.5
"""Of elapsed or processor time, whichever is less."""

PATIENCE = 5
"""Elapsed time of the pilot in units of that where other programs take the processors."""
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
        standard_error: of ``mean_samples``, over the images of the pilot.
        busy: processor seconds of the pilot in each of its seconds.
    """

    largest_radius: float
    unattainable: tuple[float, ...]
    images: int
    mean_samples: float
    samples_per_second: float
    standard_error: float = 0.0
    busy: float = 1.0

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
    """Forecast from a pilot on images spread over the run, whose draws the run itself never uses.

    The pilot takes images in groups until ``PILOT_SECONDS`` have passed, the first in any case.
    """
    session = in_precision(session, settings)
    counts, rate, busy = _pilot(session, settings, batch_size)
    prior = _prior(counts)
    attainable = attainable_radii(settings)
    expected = [_expected(settings, c, prior, session.seed) for c in counts]
    return Forecast(
        largest_radius=largest_certifiable(settings),
        unattainable=tuple(r for r in settings.radii if r not in attainable),
        images=len(session.indices),
        mean_samples=float(np.mean(expected)),
        standard_error=float(np.std(expected) / np.sqrt(len(expected))),
        samples_per_second=rate,
        busy=busy,
    )


def _pilot(
    session: Session, settings: SmoothingSettings, batch_size: int | None
) -> tuple[list[NDArray[np.int64]], float, float]:
    """Votes by class of each image of the pilot, draws per second, and processor time per second.

    Both rates leave out the first group where there are others: it waits for memory, and its
    batches are smaller.
    """
    sampler = Sampler(
        session.classifier, sigma=settings.sigma, seed=session.seed, batch_size=batch_size
    )
    rule = PredictionRule(Schedule((PILOT_DRAWS,), (0.5,)))
    count = min(len(session.indices), GROUP * MOST_GROUPS)
    spread = session.indices[np.linspace(0, len(session.indices) - 1, count).astype(np.int64)]
    counts: list[NDArray[np.int64]] = []
    began = time.perf_counter()
    times, computed, drawn = [began], [time.process_time()], [0]
    for place in range(-(-count // GROUP)):
        indices = spread[place :: -(-count // GROUP)]
        tasks = [
            ImageTask(index, x, sequential_prediction(rule, stream=PILOT))
            for index, x in zip(indices.tolist(), session.pixels(indices), strict=True)
        ]
        counts += [o.path[-1] for finished in sampler.run(tasks) for o in finished.outcomes]
        require_progress(sampler.failed, done=bool(counts), requested=len(indices))
        times.append(time.perf_counter())
        computed.append(time.process_time())
        drawn.append(sampler.drawn)
        elapsed, busy = times[-1] - began, computed[-1] - computed[0]
        if min(elapsed, busy) > PILOT_SECONDS or elapsed > PATIENCE * PILOT_SECONDS:
            break
    first = 1 if len(times) > 2 else 0
    seconds = times[-1] - times[first]
    rates = ((drawn[-1] - drawn[first]) / seconds, (computed[-1] - computed[first]) / seconds)
    return counts, *rates


def _prior(counts: list[NDArray[np.int64]]) -> tuple[float, float]:
    """Beta distribution of the share of the top class over images: the likeliest of a grid.

    A flat prior would make images with all votes for one class look as if their share were near
    1 - 1 / votes, where a sequential test takes longest.
    """
    top, n = np.array([(c.max(), c.sum()) for c in counts], float).T
    shapes = np.geomspace(0.02, 20.0, 31)
    a, b = (one[..., None] for one in np.meshgrid(shapes, shapes))
    likelihood = (special.betaln(top + a, n - top + b) - special.betaln(a, b)).sum(-1)
    best = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
    return float(a[best][0]), float(b[best][0])


def _expected(
    settings: SmoothingSettings,
    counts: NDArray[np.int64],
    prior: tuple[float, float],
    seed: int,
) -> float:
    """Draws that an image with these pilot ``counts`` will need, by simulation."""
    if settings.mode is Mode.RADIUS:
        votes = counts * settings.pilot // PILOT_DRAWS
        return settings.pilot + two_stage_rule(settings, votes).schedule.last
    if settings.mode is Mode.COHEN:
        return settings.n0 + settings.n
    rule = certification_rule(settings)
    if isinstance(rule, RunnerUpRule):  # needs about as many draws
        rule = UnionBoundRule(rule.schedule, rule.radii, rule.sigma)
    top, n = int(counts.max()), int(counts.sum())
    rng = np.random.default_rng(generator(seed, PILOT, top).initial_seed())
    p = rng.beta(top + prior[0], n - top + prior[1], size=PATHS)
    steps = np.diff(rule.schedule.analyses, prepend=0)
    paths = np.cumsum(rng.binomial(steps, p[:, None], size=(PATHS, len(steps))), axis=1)
    analyses = decide(rule.boundaries, paths).analyses
    return settings.n0 + float(np.array(rule.schedule.analyses)[analyses - 1].mean())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
