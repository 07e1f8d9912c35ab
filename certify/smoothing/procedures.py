"""Sampling procedures of one image, as coroutines of the sampler.

A procedure is a generator: it yields requests (``DrawRequest``), is sent the class counts ``(k,)``
of the draws, and returns an ``Outcome``. It has no access to the model or the noise, so the same
procedure runs on a network, on stored counts, or on simulated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .certificate import ABSTAIN, top_two

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Rule, TestDecision

    Counts = NDArray[np.int64]

SELECTION = "smoothing/select"
ESTIMATION = "smoothing/estimate"
PREDICTION = "smoothing/predict"
"""Names of the noise streams; selection and certification never share draws."""


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """A request: the draws ``start`` to ``stop`` of a noise stream.

    Attributes:
        stream: name of the stream.
        start: first draw, a multiple of the noise block.
        stop: one past the last draw.
        so_far: outcome before these draws, which is kept if time runs out.
    """

    stream: str
    start: int
    stop: int
    so_far: Outcome | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Result of the procedure for one image.

    Attributes:
        selected: class that was tested.
        verdict: result of the rule for it.
        path: class counts at each analysis ``(j, k)``.
    """

    selected: int
    verdict: TestDecision
    path: Counts

    @property
    def prediction(self) -> int:
        """The certified class, or ABSTAIN."""
        return self.selected if self.verdict.certified else ABSTAIN


Procedure = Generator[DrawRequest, "Counts", Outcome]


def certification(rule_for: Callable[[Counts], Rule], *, n_select: int) -> Procedure:
    """Procedure that selects the class with ``n_select`` draws, then tests it with fresh ones.

    Args:
        rule_for: the rule, which may depend on the counts of the selection (two-stage designs).
        n_select: draws that choose the class.
    """
    counts = yield DrawRequest(SELECTION, 0, n_select)
    return (yield from label_certification(rule_for(counts), int(counts.argmax())))


def label_certification(rule: Rule, selected: int) -> Procedure:
    """Procedure that tests the class ``selected``, which must not depend on this stream."""
    return (yield from _interim_analyses(rule, ESTIMATION, lambda _: selected))


def sequential_prediction(rule: Rule, *, stream: str = PREDICTION) -> Procedure:
    """Procedure that draws from ``stream`` until the leading class is established."""
    return (yield from _interim_analyses(rule, stream, lambda counts: top_two(counts)[0]))


def _interim_analyses(rule: Rule, stream: str, class_of: Callable[[Counts], int]) -> Procedure:
    outcome: Outcome | None = None
    drawn = 0
    for stop in rule.schedule.analyses:
        counts = (yield DrawRequest(stream, drawn, stop, outcome))[None]
        path = (
            counts if outcome is None else np.concatenate([outcome.path, outcome.path[-1] + counts])
        )
        selected = class_of(path[-1])
        outcome = Outcome(selected, rule.judge(path, selected), path)
        if outcome.verdict.done:
            break
        drawn = stop
    assert outcome is not None  # a schedule has at least one analysis
    return outcome
