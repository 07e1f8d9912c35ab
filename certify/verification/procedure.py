"""The proofs of one image within its budget: at the given radii, then the largest radius."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from robcert.certify.core import Ball, Norm
from robcert.certify.numerics import classes_of

from .outcome import CertifiedRadius, Decision, Method, Open
from .schema import Status

if TYPE_CHECKING:
    from torch import Tensor

    from robcert.certify.model import Classifier

    from .settings import VerificationSettings


class Proves(Protocol):
    """What proves statements about one model."""

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
        """The largest radius in (known, limit) that is proved."""


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
        radius: the largest certified one.
        method: what proved it; None if nothing was.
        reason: why no larger one was proved.
        branches: regions of unit signs that were bounded.
        seconds: time of the proofs.
    """

    adversarial: Adversarial
    decisions: dict[float, Decision] = field(default_factory=dict)
    radius: float = 0.0
    method: Method | None = None
    reason: Open = Open.REFUTED
    branches: int = 0
    seconds: float = 0.0

    def status(self, epsilon: float) -> Status:
        """What is known at ``epsilon``."""
        if self.adversarial.distance == 0:
            return Status.MISCLASSIFIED
        if self.adversarial.distance <= epsilon:
            return Status.REFUTED
        return Status.CERTIFIED if self.radius >= epsilon else Status.OPEN

    def why_open(self, epsilon: float) -> Open:
        """Why ``epsilon`` is not certified; ``Open.NO`` if it is."""
        status = self.status(epsilon)
        if status is Status.CERTIFIED:
            return Open.NO
        if status in (Status.REFUTED, Status.MISCLASSIFIED):
            return Open.REFUTED
        decision = self.decisions.get(epsilon)
        return Open.TIME if decision is None else decision.reason

    def margin_lower(self, epsilon: float) -> float:
        """Certified lower bound of the margin within ``epsilon``, NaN if there is none.

        A bound over a larger ball holds over a smaller one.
        """
        bounds = [one.bound for at, one in self.decisions.items() if at >= epsilon]
        return max(bounds, default=math.nan)


@dataclass(frozen=True, slots=True)
class Procedure:
    """The proofs of one image.

    The radii are decided from the largest to the smallest, since a proof covers all smaller ones;
    each gets an equal share of the time that is left, and so does the search for the largest
    radius, which comes last. That search ends below the nearest adversarial image and below the
    smallest radius that was not proved: a proof beyond would have covered it.

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
        self._decide(record, x, y, deadline)
        self._enlarge(record, x, y, deadline)
        record.seconds = time.monotonic() - began
        return record

    def _decide(self, record: Record, x: Tensor, y: int, deadline: float) -> None:
        """Decide the radii that are not refuted until one is proved."""
        radii = sorted(self.settings.radii, reverse=True)
        for place, epsilon in enumerate(radii):
            if record.adversarial.distance <= epsilon:
                continue
            now = time.monotonic()
            share = (deadline - now) / (len(radii) - place + 1)
            decision = self.prover.decide(
                x,
                y,
                Ball(self.settings.norm, epsilon),
                method=self.settings.method,
                deadline=now + share,
            )
            record.branches += decision.branches
            record.decisions[epsilon] = decision
            if decision.proved:
                record.radius, record.method = epsilon, decision.method
                return
            self._note_counterexample(record, x, y, epsilon)

    def _note_counterexample(self, record: Record, x: Tensor, y: int, epsilon: float) -> None:
        """Keep the counterexample at ``epsilon`` if the runtime confirms it.

        One that only the twin confirms leaves the radius open for the rounding that decides there.
        """
        decision = record.decisions[epsilon]
        if decision.counterexample is not None:
            met = confirmed(self.classifier, x, y, decision.counterexample, self.settings.norm)
            if met is not None and met.distance < record.adversarial.distance:
                record.adversarial = met
        if decision.reason is Open.REFUTED and record.adversarial.distance > epsilon:
            record.decisions[epsilon] = Decision(
                proved=False,
                bound=decision.bound,
                method=decision.method,
                branches=decision.branches,
                reason=Open.ROUNDING,
            )

    def _enlarge(self, record: Record, x: Tensor, y: int, deadline: float) -> None:
        """Search for the largest radius."""
        norm, known = self.settings.norm, record.radius
        open_radii = [at for at, decision in record.decisions.items() if not decision.proved]
        limit = min(record.adversarial.distance, diameter(norm, x), *open_radii)
        if limit <= known:
            return
        if time.monotonic() >= deadline:
            record.reason = Open.TIME
            return
        found = self.prover.largest_radius(
            x,
            y,
            norm,
            limit=limit,
            known=known,
            method=self.settings.method,
            deadline=deadline,
        )
        record.branches += found.branches
        record.reason = found.reason
        if found.radius > known:
            record.radius, record.method = found.radius, found.method


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
