"""The order of the proofs of one image, with a prover whose reach and times are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import torch
from linear_models import linear_classifier

from robcert.certify.verification.outcome import CertifiedRadius, Decision, Method, Open
from robcert.certify.verification.procedure import RADIUS_SHARE, Adversarial, Procedure, Record
from robcert.certify.verification.schema import Status
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.core import Ball, Norm

CHEAP, LINES, BRANCH = Method.CROWN_IBP, Method.ALPHA, Method.BRANCH
IMAGE = torch.full((1, 4, 5), 0.5)


@dataclass
class Clock:
    """Seconds that pass only while something is proved."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class ScriptedProver:
    """Proves radii up to the reach of each method, each in its seconds.

    Attributes:
        clock: advanced by every question.
        reach: largest radius that a method proves.
        seconds: time of one answer.
        broken_beyond: radius from which on there is a counterexample.
        asked: questions as ``(radius, method)``.
        searched: searches for the largest radius as ``(known, limit, method, seconds left)``.
    """

    clock: Clock
    reach: dict[Method, float]
    seconds: dict[Method, float] = field(default_factory=dict)
    broken_beyond: float = math.inf
    operations: tuple[str, ...] = ("input", "convolution", "relu")
    asked: list[tuple[float, Method]] = field(default_factory=list)
    searched: list[tuple[float, float, Method, float]] = field(default_factory=list)

    def decide(
        self,
        x: Tensor,
        y: int,
        ball: Ball,
        *,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
    ) -> Decision:
        epsilon = float(ball.epsilon)
        self.asked.append((epsilon, method))
        if self._late(method, deadline):
            return Decision(False, -9.0, CHEAP, reason=Open.TIME, stopped_at=1)
        bound = self.reach[method] - epsilon
        if bound > 0:
            return Decision(True, bound, method)
        if epsilon > self.broken_beyond and method is not CHEAP:
            return Decision(False, bound, method, reason=Open.REFUTED, counterexample=x)
        return Decision(False, bound, method, reason=Open.LOOSE)

    def largest_radius(  # noqa: PLR0913  as the protocol asks
        self,
        x: Tensor,
        y: int,
        norm: Norm,
        *,
        limit: float,
        known: float = 0.0,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
    ) -> CertifiedRadius:
        self.searched.append((known, limit, method, deadline - self.clock.now))
        if self._late(method, deadline):
            return CertifiedRadius(known, method, reason=Open.TIME, stopped_at=1)
        best = min(self.reach[method], math.nextafter(limit, 0))
        return CertifiedRadius(max(known, best), method, reason=Open.LOOSE)

    def _late(self, method: Method, deadline: float) -> bool:
        """Whether the time of one answer passes the deadline; lets it pass."""
        end = self.clock.now + self.seconds.get(method, 0.001)
        self.clock.now = min(end, deadline)
        return end > deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("robcert.certify.verification.procedure.time", found)
    return found


def proved(
    prover: ScriptedProver,
    *radii: float,
    distance: float = math.inf,
    seconds: float = 10.0,
    method: Method = Method.AUTO,
) -> Record:
    settings = VerificationSettings(epsilons=radii, seconds=seconds, method=method)
    model = linear_classifier(3)
    y = int(model.logits(IMAGE[None]).argmax())
    return Procedure(prover, model, settings).run(IMAGE, y, Adversarial(distance))


def statuses(record: Record, *radii: float) -> list[Status]:
    return [record.status(at) for at in radii]


def test_methods_take_turns_and_only_at_what_the_last_one_left(clock: Clock) -> None:
    prover = ScriptedProver(clock, {CHEAP: 0.015, LINES: 0.035, BRANCH: 0.045})
    record = proved(prover, 0.03, 0.01, 0.02, 0.04, 0.05)
    by_method = {m: [at for at, used in prover.asked if used is m] for m in (CHEAP, LINES, BRANCH)}
    assert by_method[CHEAP] == [0.01, 0.03, 0.02]
    assert by_method[LINES] == [0.02, 0.04, 0.03]
    assert by_method[BRANCH] == [0.04, 0.05]
    assert [used for _, used in prover.asked] == sorted(
        (used for _, used in prover.asked), key=list(Method).index
    )
    assert statuses(record, 0.04, 0.05) == [Status.CERTIFIED, Status.OPEN]
    assert record.why_open(0.05) is Open.LOOSE
    assert record.radius == 0.045
    assert record.method is BRANCH


def test_a_proof_at_a_large_radius_needs_none_at_smaller_ones(clock: Clock) -> None:
    prover = ScriptedProver(clock, dict.fromkeys((CHEAP, LINES, BRANCH), 1.0))
    radii = [k / 100 for k in range(1, 17)]
    record = proved(prover, *radii)
    assert {record.status(at) for at in radii} == {Status.CERTIFIED}
    assert len(prover.asked) <= 6


def test_the_certified_radius_covers_radii_that_nobody_asked_about(clock: Clock) -> None:
    prover = ScriptedProver(clock, {CHEAP: 0.03, LINES: 0.03, BRANCH: 0.03})
    record = proved(prover, 0.01, 0.2, distance=0.1)
    assert record.status(0.025) is Status.CERTIFIED
    assert statuses(record, 0.1, 0.2) == [Status.REFUTED] * 2
    assert [at for at, _ in prover.asked] == [0.01]  # the other one is refuted


def test_the_budget_is_one_and_no_share_of_a_radius(clock: Clock) -> None:
    """Branch and bound takes 6 of 10 seconds at the first radius, and then the rest."""
    reach = {CHEAP: 0.001, LINES: 0.002, BRANCH: 0.02}
    prover = ScriptedProver(clock, reach, {BRANCH: 6.0})
    record = proved(prover, 0.01, 0.03, 0.05)
    assert record.status(0.01) is Status.CERTIFIED
    assert [at for at, used in prover.asked if used is BRANCH] == [0.01, 0.03]
    assert clock.now == pytest.approx(10.0)
    assert [record.why_open(at) for at in (0.03, 0.05)] == [Open.TIME] * 2


def test_the_search_for_the_radius_leaves_time_while_radii_are_open(clock: Clock) -> None:
    reach = {CHEAP: 0.001, LINES: 0.002, BRANCH: 0.02}
    prover = ScriptedProver(clock, reach, {BRANCH: 1.0})
    proved(prover, 0.01)
    left = {method: seconds for _, _, method, seconds in prover.searched}
    for cheap in (CHEAP, LINES):
        assert left[cheap] <= RADIUS_SHARE[cheap] * 10 < 10
    assert left[BRANCH] == pytest.approx(9, abs=0.1)  # nothing is open any more
    alone = ScriptedProver(clock, reach)
    proved(alone, 0.01, distance=0.005)
    assert all(seconds > 9.9 for *_, seconds in alone.searched)


def test_where_the_time_ended_is_known(clock: Clock) -> None:
    reach = {CHEAP: 0.001, LINES: 0.02, BRANCH: 0.02}
    slow = proved(ScriptedProver(clock, reach, {LINES: 20.0}), 0.01, 0.03)
    assert slow.radius == 0.001
    assert slow.limiting is not None
    assert (slow.limiting.method, slow.limiting.reason, slow.stopped_at) == (CHEAP, Open.TIME, 1)
    assert [slow.why_open(at) for at in (0.01, 0.03)] == [Open.TIME] * 2
    branching = proved(ScriptedProver(clock, reach | {LINES: 0.002}, {BRANCH: 20.0}), 0.01)
    assert branching.limiting is not None
    assert branching.limiting.method is LINES  # its bounds are the best ones
    assert branching.limiting.bound == pytest.approx(0.002 - 0.01)
    assert branching.stopped_at == -1


@pytest.mark.parametrize(
    ("method", "rounds"),
    [
        (Method.INTERVAL, [Method.INTERVAL]),
        (CHEAP, [CHEAP]),
        (Method.CROWN, [CHEAP, Method.CROWN]),
        (LINES, [CHEAP, LINES]),
        (BRANCH, [CHEAP, LINES, BRANCH]),
    ],
)
def test_no_method_goes_beyond_the_requested_one(
    clock: Clock, method: Method, rounds: list[Method]
) -> None:
    prover = ScriptedProver(clock, dict.fromkeys(Method, 0.001))
    record = proved(prover, 0.01, method=method)
    assert [used for _, used in prover.asked] == rounds
    assert [used for _, _, used, _ in prover.searched] == rounds
    assert record.why_open(0.01) is Open.LOOSE


def test_a_counterexample_that_the_runtime_denies_ends_the_proofs_there(clock: Clock) -> None:
    reach = {CHEAP: 0.001, LINES: 0.002, BRANCH: 0.02}
    prover = ScriptedProver(clock, reach, broken_beyond=0.005)
    record = proved(prover, 0.01, 0.03)
    assert [at for at, used in prover.asked if used is BRANCH] == []
    assert [record.why_open(at) for at in (0.01, 0.03)] == [Open.ROUNDING] * 2
    assert prover.searched[-1][1] == 0.01
