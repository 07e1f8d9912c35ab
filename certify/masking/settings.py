"""Settings of `robcert masking-check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from robcert.certify.attacks import NO_CLASS_IS, SEARCH
from robcert.certify.core import Norm, Profile

from .schema import JUDGED

ORDER = 3
"""In 1 every attack ran on every image. Since 3 random models get rounds, and waves inside a graph
a surrogate slope."""


@dataclass(frozen=True, slots=True)
class MaskingSettings:
    """Settings of the masking check.

    Attributes:
        norm: norm of the ball of the attacks.
        epsilon: radius of the ball, in pixel units.
        steps: gradient steps of PGD.
        restarts: runs of PGD on the margin.
        targets: target classes of the multi-targeted attack.
        unbounded_steps: steps of the attack that only the pixel box bounds.
        noise_draws: random points per image.
        queries: model queries per image of the score search, and of the label-only search.
        long_queries: model queries per image of each long search.
        decision_queries: model queries per image of HopSkipJump; 0 disables it.
        strengths: radii of the accuracy curve, in units of epsilon.
        noisy_copies: noisy copies whose gradients are averaged, an even number.
        surrogate_queries: model queries that train a surrogate if no other source fits; 0 for none.
        draws: outputs that are averaged for a model whose outputs differ between calls.
        gradient_draws: draws whose mean is the gradient of such a model.
        judging_draws: fresh draws that judge where each attack on such a model ended, an even
            number.
        sources: SHA-256 of the source models of transfer attacks; set by the run.
        no_class: what an image counts for whose scores are NaN.
        rounds: most rounds of further attacks on selected images; they end with the first that
            gains less than one image.
        search: number of the attacks' search; it rises when they would find other images.
        order: number of the order of the attacks; it rises when they would run on other images, or
            along other slopes inside the graph.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    steps: int = 40
    restarts: int = 3
    targets: int = 3
    unbounded_steps: int = 100
    noise_draws: int = 100
    queries: int = 500
    long_queries: int = 2000
    decision_queries: int = 1000
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    noisy_copies: int = 8
    surrogate_queries: int = 2000
    draws: int = 8
    gradient_draws: int = 4
    judging_draws: int = 40
    sources: tuple[str, ...] = ()
    no_class: str = NO_CLASS_IS
    rounds: int = 10
    search: int = SEARCH
    order: int = ORDER

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(
                steps=20,
                restarts=2,
                queries=200,
                long_queries=1000,
                unbounded_steps=50,
                decision_queries=0,
                noisy_copies=4,
                surrogate_queries=1000,
                rounds=5,
            ),
            "thorough": cls(
                steps=100, restarts=10, queries=2000, long_queries=5000, decision_queries=5000
            ),
        }
        return changed.get(profile, cls())


def axes(settings: MaskingSettings) -> dict[str, int]:
    """Lengths of the table's axes after the first."""
    return {
        "step": settings.steps + 1,
        "strength": len(settings.strengths),
        "judged": len(JUDGED),
        "half": 2,
    }
