"""A prover of linear classifiers by the closed form, and a session for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from linear_models import exact_distance, linear_classifier, linear_module, near_grey

from robcert.certify.core import Norm
from robcert.certify.data.load import from_arrays
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.outcome import CertifiedRadius, Decision, Method, Open

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Ball
    from robcert.certify.model.classifier import Classifier
    from robcert.certify.verification.outcome import Arithmetic

SEED, COUNT = 3, 10
"""The linear model of the session, and its number of images."""

BELOW = 1 - 1e-9
"""Share of the exact distance that is proved."""


@dataclass
class LinearProver:
    """Exact answers about ``linear_module(seed)``, images far from the edges of the pixel box.

    Attributes:
        seed: seed of the module.
        gives_up_beyond: radius beyond which the time is over.
        boast: factor by which radii are exaggerated, for tests of the safety net.
        asked: the questions, in their order: ("decide", ε) or ("largest", limit).
    """

    seed: int
    gives_up_beyond: float = math.inf
    boast: float = 1.0
    asked: list[tuple[str, float]] = field(default_factory=list)
    operations: tuple[str, ...] = ("sum",)

    def of(self, classifier: Classifier, arithmetic: Arithmetic) -> LinearProver:
        """The prover itself, as the prover of any model."""
        del classifier, arithmetic
        return self

    def decide(
        self,
        x: Tensor,
        y: int,
        ball: Ball,
        *,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
    ) -> Decision:
        del deadline
        epsilon = float(ball.epsilon)
        self.asked.append(("decide", epsilon))
        margins, slopes = self._margins(x, y, ball.norm)
        bound = float((margins - epsilon * slopes).min())
        method = Method.CROWN if method is Method.AUTO else method
        if epsilon > self.gives_up_beyond:
            return Decision(False, -math.inf, method, 7, Open.TIME)
        if bound > 0 or self.boast > 1:
            return Decision(True, bound, method, 1)
        nearest = int((margins / slopes).argmin())
        return Decision(
            False, bound, method, 3, Open.REFUTED, self._step(x, y, ball.norm, nearest, epsilon)
        )

    def largest_radius(  # noqa: PLR0913
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
        del deadline
        self.asked.append(("largest", limit))
        margins, slopes = self._margins(x, y, norm)
        exact = float((margins / slopes).min()) * BELOW * self.boast
        if self.boast == 1:
            exact = min(exact, math.nextafter(limit, 0.0))
        method = Method.CROWN if method is Method.AUTO else method
        return CertifiedRadius(max(known, exact), method, 5, Open.LOOSE)

    def _weights(self) -> tuple[Tensor, Tensor]:
        weight, bias = (p.detach().double() for p in linear_module(self.seed)[1].parameters())
        return weight, bias

    def _margins(self, x: Tensor, y: int, norm: Norm) -> tuple[Tensor, Tensor]:
        """Margins against every other class and how fast each can fall."""
        weight, bias = self._weights()
        logits = weight @ x.flatten().double() + bias
        others = [k for k in range(len(weight)) if k != y]
        return (logits[y] - logits)[others], norm.dual.of(weight[y] - weight[others])

    def _step(self, x: Tensor, y: int, norm: Norm, nearest: int, epsilon: float) -> Tensor:
        """The steepest step of length epsilon in linf; the image itself in other norms."""
        weight, _ = self._weights()
        others = [k for k in range(len(weight)) if k != y]
        if norm.value != "linf":
            return x
        step = -epsilon * torch.sign(weight[y] - weight[others[nearest]])
        return (x.double() + step.reshape(x.shape)).float()


def session(
    path: Path,
    *,
    classifier: Classifier | None = None,
    labelled: bool = True,
    indices: tuple[int, ...] = tuple(range(COUNT)),
) -> Session:
    """Ten images near grey; the second is misclassified."""
    model = linear_classifier(SEED)
    batch = near_grey(model, COUNT)
    labels = batch.y.numpy().copy()
    labels[1] = (labels[1] + 1) % 4  # misclassified as it is
    images = from_arrays("grey", batch.x.numpy(), labels if labelled else None)
    used = classifier or model
    store = ResultStore.open(path, model=used.info, data=images.info)
    return Session(used, images, np.array(indices), store, seed=5)


def exact(norm: Norm = Norm.LINF) -> NDArray[np.float64]:
    """Exact distances; 0 for the misclassified image."""
    found = exact_distance(SEED, near_grey(linear_classifier(SEED), COUNT), norm).numpy()
    found[1] = 0.0
    return found
