"""What is drawn for one image, and what comes of it, as a conversation with the sampler.

A procedure is a generator: it asks for draws (``Draws``), is sent their class counts ``(k,)``, and
returns an ``Outcome``. It knows neither the model nor the noise, so that the same procedure
runs on a network, on stored counts, or on simulated ones.
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
"""Names of the noise streams. The class is never chosen from the draws that certify it."""


@dataclass(frozen=True, slots=True)
class Draws:
    """A request: the draws ``start`` to ``stop`` of a noise stream.

    Attributes:
        stream: name of the stream.
        start: first draw, a multiple of the noise block.
        stop: one past the last draw.
        so_far: what is known before these draws; what is left if time runs out.
    """

    stream: str
    start: int
    stop: int
    so_far: Outcome | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one image got.

    Attributes:
        selected: class that was tested.
        verdict: what the rule said of it.
        path: class counts at each look ``(j, k)``.
    """

    selected: int
    verdict: TestDecision
    path: Counts

    @property
    def prediction(self) -> int:
        """Class that is certified, or ABSTAIN."""
        return self.selected if self.verdict.certified else ABSTAIN


Procedure = Generator[Draws, "Counts", Outcome]


def certification(rule_for: Callable[[Counts], Rule], *, n_select: int) -> Procedure:
    """Choose the class with ``n_select`` draws, then test it with fresh ones.

    Args:
        rule_for: the rule, which may depend on the counts of the selection (two-stage designs).
        n_select: draws that choose the class.
    """
    counts = yield Draws(SELECTION, 0, n_select)
    return (yield from label_certification(rule_for(counts), int(counts.argmax())))


def label_certification(rule: Rule, selected: int) -> Procedure:
    """Test the class ``selected``, which was not chosen by draws of this stream."""
    return (yield from _looks(rule, ESTIMATION, lambda _: selected))


def sequential_prediction(rule: Rule, *, stream: str = PREDICTION) -> Procedure:
    """Draw from ``stream`` until the leading class is established."""
    return (yield from _looks(rule, stream, lambda counts: top_two(counts)[0]))


def _looks(rule: Rule, stream: str, class_of: Callable[[Counts], int]) -> Procedure:
    outcome: Outcome | None = None
    drawn = 0
    for look in rule.schedule.looks:
        counts = (yield Draws(stream, drawn, look, outcome))[None]
        path = (
            counts if outcome is None else np.concatenate([outcome.path, outcome.path[-1] + counts])
        )
        selected = class_of(path[-1])
        outcome = Outcome(selected, rule.judge(path, selected), path)
        if outcome.verdict.done:
            break
        drawn = look
    assert outcome is not None  # a schedule has at least one look
    return outcome
