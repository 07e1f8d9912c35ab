"""The proofs of one image within its budget: at the given radii, and of the largest radius."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from robcert.certify.core import Ball, Norm
from robcert.certify.numerics import classes_of

from .outcome import CertifiedRadius, Decision, Method, Open
from .schema import Status

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.model import Classifier

    from .settings import VerificationSettings

RADIUS_SHARE = {Method.CROWN_IBP: 0.5, Method.CROWN: 0.5, Method.ALPHA: 0.25}
"""Part of the remaining time that the search for the largest radius by a method may take while
radii are open that a further method may decide."""


class Proves(Protocol):
    """What proves statements about one model."""

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the network's operations, by position."""

    def decide(
        self,
        x: Tensor,
        y: int,
        ball: Ball,
        *,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
    ) -> Decision:
        """Whether every input of ``ball`` around ``x (c, h, w)`` has the class ``y``."""

    def largest_radius(  # noqa: PLR0913  each is a part of the question
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
        """The largest radius in (known, limit) that is proved by ``method``."""


@dataclass(frozen=True, slots=True)
class Adversarial:
    """The nearest adversarial image that is known, re-checked in the runtime.

    Attributes:
        distance: pixel units; 0 where the image itself is misclassified, inf if none is known.
        prediction: its class, -1 if none is known or its scores name none.
        image: the image ``(c, h, w)``; None if none is known, or it was not kept.
    """

    distance: float
    prediction: int = -1
    image: Tensor | None = None


@dataclass(slots=True)
class Record:
    """What is known of one image; radii in pixel units.

    Attributes:
        adversarial: the nearest adversarial image.
        decisions: answers by radius, of the radii that were asked about.
        last: the smallest radius that the last method asked about could not prove, inf for none:
            no larger one is tried.
        radius: the largest certified one.
        method: what proved it; None if nothing was.
        reason: why no larger one was proved.
        branches: regions of unit signs that were bounded.
        seconds: time of the proofs.
        radius_seconds: the part of it that the search for the largest radius took.
        stopped_at: position of the operation whose bounds the budget cut off; -1 for none.
    """

    adversarial: Adversarial
    decisions: dict[float, Decision] = field(default_factory=dict)
    last: float = math.inf
    radius: float = 0.0
    method: Method | None = None
    reason: Open = Open.REFUTED
    branches: int = 0
    seconds: float = 0.0
    radius_seconds: float = 0.0
    stopped_at: int = -1

    def status(self, epsilon: float) -> Status:
        """What is known at ``epsilon``."""
        if self.adversarial.distance == 0:
            return Status.MISCLASSIFIED
        if self.adversarial.distance <= epsilon:
            return Status.REFUTED
        return Status.CERTIFIED if self.radius >= epsilon else Status.OPEN

    def why_open(self, epsilon: float) -> Open:
        """Why ``epsilon`` is not certified; ``Open.NO`` if it is.

        What ended the proofs at a smaller radius ended them here, too.
        """
        status = self.status(epsilon)
        if status is Status.CERTIFIED:
            return Open.NO
        if status in (Status.REFUTED, Status.MISCLASSIFIED):
            return Open.REFUTED
        return self.decisions[self.last].reason if self.last <= epsilon else Open.TIME

    @property
    def limiting(self) -> Decision | None:
        """The answer at the smallest radius that stayed open; None if none was given there."""
        open_at = [at for at in self.decisions if self.status(at) is Status.OPEN]
        return self.decisions[min(open_at)] if open_at else None

    def margin_lower(self, epsilon: float) -> float:
        """Certified lower bound of the margin within ``epsilon``, NaN if there is none.

        A bound over a larger ball holds over a smaller one.
        """
        bounds = [one.bound for at, one in self.decisions.items() if at >= epsilon]
        return max(bounds, default=math.nan)

    def add(self, epsilon: float, decision: Decision) -> None:
        """Enter an answer; of an earlier one at the same radius the better bound stays."""
        self.branches += decision.branches
        before = self.decisions.get(epsilon)
        if before is not None and before.bound > decision.bound:
            complete = before.method not in (Method.INTERVAL, Method.CROWN_IBP)
            decision = replace(
                decision,
                bound=before.bound,
                method=before.method,
                stopped_at=-1 if complete else decision.stopped_at,
            )
        self.decisions[epsilon] = decision
        self.stopped_at = decision.stopped_at
        if decision.proved and epsilon > self.radius:
            self.radius, self.method = epsilon, decision.method


@dataclass(frozen=True, slots=True)
class Procedure:
    """The proofs of one image within one budget: cheap methods first, at all radii.

    Each method decides the radii that are neither certified nor refuted, and then looks for the
    largest radius; the next method has what is left of them and of the time. A proof covers all
    smaller radii, and a radius that a method could not prove ends its attempts at larger ones.
    Linear bounds decide the smallest radius first, then the middle of the others; branch and bound,
    whose time has no limit of its own, ascends. While radii are open the search for the largest one
    may take :data:`RADIUS_SHARE` of the remaining time.

    Attributes:
        prover: proves statements about the model.
        classifier: the model, whose runtime re-checks counterexamples.
        settings: radii, method, budget.
        spent: seconds of the budget that attacks used.
    """

    prover: Proves
    classifier: Classifier
    settings: VerificationSettings
    spent: float = 0.0

    def run(self, x: Tensor, y: int, adversarial: Adversarial) -> Record:
        """Proofs of the image ``x (c, h, w)`` with class ``y``; ``adversarial`` is known of it."""
        record, began = Record(adversarial), time.monotonic()
        if adversarial.distance == 0:
            return record
        deadline = began + self.settings.seconds - self.spent
        _Proofs(self, x, y, record, deadline).run()
        record.seconds = time.monotonic() - began
        return record


@dataclass(frozen=True, slots=True)
class _Proofs:
    """The proofs of one image in work.

    Attributes:
        procedure: what is asked.
        x: the image ``(c, h, w)``.
        y: its class.
        record: what is known.
        deadline: ``time.monotonic()`` at which the budget ends.
    """

    procedure: Procedure
    x: Tensor
    y: int
    record: Record
    deadline: float

    def run(self) -> None:
        """All methods in turn."""
        methods = rounds_of(self.procedure.settings.method)
        for method in methods:
            if self._late:
                self.record.reason = Open.TIME
                return
            final = method is methods[-1]
            failed = self._decide(method, final=final)
            self._enlarge(method, failed, final=final)

    @property
    def _late(self) -> bool:
        return time.monotonic() >= self.deadline

    def _open(self) -> list[float]:
        """Radii that are still to be decided, ascending."""
        record = self.record
        end = min(record.adversarial.distance, record.last)
        return sorted(at for at in self.procedure.settings.radii if record.radius < at < end)

    def _decide(self, method: Method, *, final: bool) -> float:
        """Decide open radii by one method; the smallest that it did not prove, inf for none."""
        failed, ascending = math.inf, True
        while not self._late:
            candidates = [at for at in self._open() if at < failed]
            if not candidates:
                break
            epsilon = candidates[0 if ascending else (len(candidates) - 1) // 2]
            decision = self._answer(epsilon, method)
            self.record.add(epsilon, decision)
            if decision.proved:
                ascending = method is Method.BRANCH
                continue
            failed = epsilon
            if final or decision.reason is Open.ROUNDING:
                self.record.last = epsilon
        return failed

    def _answer(self, epsilon: float, method: Method) -> Decision:
        """The answer at ``epsilon``; a counterexample counts if the runtime confirms it.

        One that only the twin confirms leaves the radius open for the rounding that decides there.
        """
        procedure = self.procedure
        norm = procedure.settings.norm
        decision = procedure.prover.decide(
            self.x, self.y, Ball(norm, epsilon), method=method, deadline=self.deadline
        )
        if decision.counterexample is not None:
            met = confirmed(procedure.classifier, self.x, self.y, decision.counterexample, norm)
            if met is not None and met.distance < self.record.adversarial.distance:
                self.record.adversarial = met
        if decision.reason is Open.REFUTED and self.record.adversarial.distance > epsilon:
            return replace(decision, reason=Open.ROUNDING, counterexample=None)
        return decision

    def _enlarge(self, method: Method, failed: float, *, final: bool) -> None:
        """Search for the largest radius by one method, which failed at the radius ``failed``."""
        record, norm = self.record, self.procedure.settings.norm
        limit = min(record.adversarial.distance, diameter(norm, self.x), failed, record.last)
        now = time.monotonic()
        if limit <= record.radius:
            return
        if now >= self.deadline:
            record.reason = Open.TIME
            return
        share = RADIUS_SHARE[method] if self._open() and not final else 1.0
        found = self.procedure.prover.largest_radius(
            self.x,
            self.y,
            norm,
            limit=limit,
            known=record.radius,
            method=method,
            deadline=now + share * (self.deadline - now),
        )
        record.radius_seconds += time.monotonic() - now
        record.branches += found.branches
        record.reason = found.reason
        if record.limiting is None and method is not Method.BRANCH:  # its bounds were complete
            record.stopped_at = found.stopped_at
        if found.radius > record.radius:
            record.radius, record.method = found.radius, found.method


def rounds_of(method: Method) -> list[Method]:
    """The methods that are applied in turn, each to what those before it left open."""
    if method in (Method.INTERVAL, Method.CROWN_IBP):
        return [method]
    if method in (Method.CROWN, Method.ALPHA):
        return [Method.CROWN_IBP, method]
    return [Method.CROWN_IBP, Method.ALPHA, Method.BRANCH]


def diameter(norm: Norm, x: Tensor) -> float:
    """Largest distance of two images of the size of ``x (c, h, w)``, pixel units."""
    pixels = x.numel()
    return {Norm.LINF: 1.0, Norm.L2: math.sqrt(pixels), Norm.L1: float(pixels)}[norm]


def confirmed(
    classifier: Classifier, x: Tensor, y: int, point: Tensor, norm: Norm
) -> Adversarial | None:
    """The counterexample ``point (c, h, w)`` if the runtime gives it another class than ``y``.

    It is classified at batch size one, on the levels of an integer input where the model has one.
    """
    clean, image = x[None], point[None].to(x).clamp(0, 1)
    grid = classifier.grid
    image = image if grid is None else grid.nearest(image)
    predicted = int(classes_of(classifier.logits(image)))
    if predicted == y:
        return None
    change = (image - clean).double() if grid is None else grid.difference(image, clean)
    distance = float(norm.of(change))
    return Adversarial(distance, predicted, image[0]) if distance > 0 else None
