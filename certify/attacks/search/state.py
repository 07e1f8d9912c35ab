"""State that all attacks share: the nearest adversarial image of each image of a batch so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import classes_of, finite, per_row, value_and_gradient

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier, InputGrid

Score = Callable[[Tensor, Tensor], Tensor]
"""Objective ``(r,)`` of an attack, from logits ``(r, k)`` and their rows of the batch ``(r,)``."""

ACTIVE_BATCH_SIZE = 64
"""Images in one gradient batch; a finished image is replaced by the next one."""

RESOLUTION = 2.0**-11
"""Error of a distance after shrinking, as a share of it."""

_FIRST_GAP, _GAP_GROWTH = 2.0**-9, 8.0  # shares of the length by which shrinking first goes inwards
_SHRINKINGS = 40  # most trials; reached only where all of the segment is adversarial
_OVERSHOOTS = (1.0, 1.001, 1.01, 1.05)
_TO_NEXT_LEVEL = (1.2, 1.5, 2.0, 3.0, 5.0)  # where rounding brings an image back to the boundary


@dataclass(frozen=True, slots=True)
class Found:
    """Adversarial images that an attack found.

    Attributes:
        x_adv: nearest adversarial image ``(b, c, h, w)``; the image itself where there is none.
        found: whether the runtime, at batch size one, gives ``x_adv`` another class than y.
        distance: norm of ``x_adv - x`` in pixel units; 0 where the clean image is misclassified,
            inf where nothing was found.
        prediction: class of ``x_adv``, -1 where nothing was found or its scores name no class.
        n_forward: forward passes spent on each image.
        n_backward: backward passes spent on each image.
        n_lost: successes in the twin that the runtime did not confirm.
        losses: loss before every step and after the last ``(b, steps + 1)``, if requested.
    """

    x_adv: Tensor
    found: Tensor
    distance: Tensor
    prediction: Tensor
    n_forward: Tensor
    n_backward: Tensor
    n_lost: Tensor
    losses: Tensor | None = None


@dataclass(slots=True)
class Boundaries:
    """Nearest class boundaries by the tangents at the clean images.

    Attributes:
        nearest: class of the nearest boundary ``(b,)``.
        distance: its distance ``(b,)``.
        known: rows that are filled in ``(b,)``.
    """

    nearest: Tensor
    distance: Tensor
    known: Tensor


@dataclass(slots=True)
class SearchState:
    """State of the search on one batch: the nearest image so far, and the passes spent on it.

    Methods take rows of the batch; results of one row never depend on the others.

    An integer input holds images on its levels only. Then the clean images are those that the model
    sees, and every candidate is rounded to the levels before the runtime classifies it and its
    distance is computed. Gradients are those of the function before rounding.

    Attributes:
        seed: seed of the run; random numbers come from each image's own streams.
        active_batch_size: see :data:`ACTIVE_BATCH_SIZE`; changes speed only.
        attack_name: name of the attack that runs now.
        attack_names: attack that found each row's nearest image, "" where none did.
        target: classes ``(b,)`` of a targeted attack; while they are set, only an image of that
            class counts as a success.
        target_distance: distance of the nearest image of that class ``(b,)``, inf for none.
        grid: the images that the model's input can hold; None where it holds every image.
        clean: logits of the clean images ``(b, k)``.
        boundaries: by number of classes, what the tangents at the clean images gave so far.
    """

    classifier: Classifier
    batch: Batch
    norm: Norm
    seed: int = 0
    active_batch_size: int = ACTIVE_BATCH_SIZE
    attack_name: str = ""
    attack_names: list[str] = field(init=False)
    x_adv: Tensor = field(init=False)
    distance: Tensor = field(init=False)
    prediction: Tensor = field(init=False)
    n_forward: Tensor = field(init=False)
    n_backward: Tensor = field(init=False)
    n_lost: Tensor = field(init=False)
    target: Tensor | None = None
    target_distance: Tensor = field(init=False)
    grid: InputGrid | None = field(init=False)
    clean: Tensor = field(init=False)
    boundaries: dict[int, Boundaries] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Classify the clean images: the misclassified ones are at distance 0."""
        self.grid = self.classifier.grid
        if self.grid is not None:
            self.batch = replace(self.batch, x=self.grid.nearest(self.batch.x))
        count, device = len(self.batch), self.batch.x.device
        self.attack_names = [""] * count
        self.x_adv = self.batch.x.clone()
        self.n_forward = torch.zeros(count, dtype=torch.int64, device=device)
        self.n_backward, self.n_lost = self.n_forward.clone(), self.n_forward.clone()
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64, device=device)
        self.prediction = torch.full((count,), -1, dtype=torch.int64, device=device)
        self.target_distance = self.distance.clone()
        self.clean = self.logits(self.all_rows, self.batch.x)
        wrong = adversarial(self.clean, self.batch.y)
        self.distance[wrong] = 0.0
        self.prediction[wrong] = classes_of(self.clean)[wrong]

    @property
    def all_rows(self) -> Tensor:
        """All rows."""
        return torch.arange(len(self.batch), device=self.batch.x.device)

    @property
    def correct(self) -> Tensor:
        """Rows whose clean image is classified as y."""
        return self.all_rows[self.distance > 0]

    def within(self, epsilon: Tensor) -> Tensor:
        """Which rows have an adversarial image within ``epsilon (b,)``, up to rounding of pixels.

        The error of ``(x + delta) - x`` is up to 2^-24 per pixel in float32.
        """
        rounding = 2.0**-24 * box_diameter(self.norm, tuple(self.batch.x.shape[1:]))
        return self.distance <= epsilon.double() * (1 + 1e-6) + rounding

    def attainable(self, radius: Tensor) -> Tensor:
        """Largest distances of inputs within ``radius (b,)``; 0 where there is no other input."""
        return radius if self.grid is None else self.grid.attainable(radius, self.norm)

    def equivalent(self, radius: Tensor) -> Tensor:
        """Radii of the largest balls that hold the same inputs as those of ``radius (b,)``."""
        return radius if self.grid is None else self.grid.equivalent(radius, self.norm)

    def ranked_classes(self, rows: Tensor, count: int | None) -> Tensor:
        """The other classes with the largest clean logits, largest first ``(b, count)``.

        Only ``rows`` are filled in. If ``count`` is None or too large: all other classes.
        """
        classes = self.classifier.num_classes
        ranked = torch.zeros(len(self.batch), classes, dtype=torch.int64, device=rows.device)
        ranked[rows] = self.clean[rows].argsort(dim=1, descending=True, stable=True)
        return ranked[:, 1 : min(count or classes, classes - 1) + 1]

    def x(self, rows: Tensor) -> Tensor:
        """Clean images."""
        return self.batch.x[rows]

    def y(self, rows: Tensor) -> Tensor:
        """Classes."""
        return self.batch.y[rows]

    def logits(self, rows: Tensor, x: Tensor) -> Tensor:
        """Logits of ``x (r, ...)`` by the runtime."""
        self.n_forward[rows] += 1
        if not len(rows):
            return x.new_zeros(0, self.classifier.num_classes)
        return torch.cat(
            [self.classifier.logits(part) for part in torch.split(x, self.active_batch_size)]
        )

    def twin_logits(self, rows: Tensor, x: Tensor) -> Tensor:
        """Logits of ``x (r, ...)`` by the twin, without gradient."""
        self.n_forward[rows] += 1
        if not len(rows):  # a twin that reshapes may fail on an empty batch
            return x.new_zeros(0, self.classifier.num_classes)
        with torch.no_grad():
            return torch.cat(
                [
                    self.classifier.twin_logits(part)
                    for part in torch.split(x, self.active_batch_size)
                ]
            )

    def gradient(self, rows: Tensor, x: Tensor, score: Score) -> tuple[Tensor, Tensor]:
        """Logits ``(r, k)`` by the twin at ``x (r, ...)`` and the gradients of ``score`` there."""
        self.n_forward[rows] += 1
        self.n_backward[rows] += 1
        if not len(rows):
            return x.new_zeros(0, self.classifier.num_classes), x
        seen: list[Tensor] = []

        def values(part_rows: Tensor) -> Callable[[Tensor], Tensor]:
            def value(pixels: Tensor) -> Tensor:
                seen.append(self.classifier.twin_logits(pixels))
                return score(seen[-1], part_rows)

            return value

        parts = [
            value_and_gradient(values(part_rows), part)[1]
            for part_rows, part in zip(
                torch.split(rows, self.active_batch_size),
                torch.split(x, self.active_batch_size),
                strict=True,
            )
        ]
        gradient = torch.cat(parts)
        return torch.cat(seen).detach(), finite(gradient)

    def verify_candidates(
        self, rows: Tensor, x: Tensor, logits: Tensor, radius: Tensor | None = None
    ) -> Tensor:
        """Which of ``x`` the runtime confirms as adversarial ``(r,)``; the nearer ones are kept.

        Candidates are those that ``logits`` misclassify; the runtime classifies each at batch size
        one. With a ``target``: which of them the runtime assigns to that class.

        Args:
            rows: rows of the batch ``(r,)``.
            x: images ``(r, c, h, w)``.
            logits: their logits by twin or runtime.
            radius: radii ``(r,)`` that hold ``x``; an image that is rounded to the levels of an
                integer input stays within them.
        """
        confirmed = adversarial(logits, self.y(rows))
        for at in confirmed.nonzero().flatten().tolist():
            row, point = int(rows[at]), x[at : at + 1]
            if self.grid is not None and radius is not None:
                clean, most = self.batch.x[row : row + 1], radius[at : at + 1]
                point = self.grid.within(point, clean, self.norm, most)
            predicted = self._confirm(row, point)
            confirmed[at] = predicted is not None
            if self.target is not None:
                confirmed[at] = predicted == self.target[row]
                if confirmed[at]:
                    self.target_distance[row] = min(
                        self.target_distance[row], self._length(row, point)
                    )
        return confirmed

    def shrink_and_verify(self, rows: Tensor, x: Tensor, *, resolution: float = RESOLUTION) -> None:
        """Keep the adversarial images ``x`` after shrinking each towards its clean image.

        An image that the runtime does not confirm is moved away from the clean one by up to 5 %, or
        up to five times as far on the levels of an integer input; if that does not help it is lost.
        The boundary on the segment is found to ``resolution``, a share of its distance: by growing
        steps inwards, since most images lie close to it, then by bisection.
        """
        clean, length = self.x(rows), torch.full((len(rows),), torch.nan, device=x.device)
        for factor in _OVERSHOOTS if self.grid is None else _OVERSHOOTS + _TO_NEXT_LEVEL:
            remaining = length.isnan().nonzero().flatten()
            if len(remaining):
                point = self._along(clean[remaining], x[remaining], factor)
                hit = adversarial(self.logits(rows[remaining], point), self.y(rows[remaining]))
                length[remaining[hit]] = factor
        self.n_lost[rows[length.isnan()]] += 1
        good = (~length.isnan()).nonzero().flatten()
        self._shrink(rows[good], x[good], length[good], resolution)

    def _shrink(self, rows: Tensor, x: Tensor, high: Tensor, resolution: float) -> None:
        clean, outer, high = self.x(rows), high, high.clone()
        low, gap = torch.zeros_like(high), torch.full_like(high, max(_FIRST_GAP, resolution))
        for _ in range(_SHRINKINGS):
            remaining = (high - low > 1.01 * resolution * high).nonzero().flatten()
            if not len(remaining):
                break
            near, far = low[remaining], high[remaining]
            inwards = torch.maximum(far - gap[remaining], far / 2)
            middle = torch.where(near > 0, (near + far) / 2, inwards)
            point = self._along(clean[remaining], x[remaining], middle)
            hit = adversarial(self.logits(rows[remaining], point), self.y(rows[remaining]))
            low[remaining], high[remaining] = (
                torch.where(hit, near, middle),
                torch.where(hit, middle, far),
            )
            gap[remaining] *= _GAP_GROWTH
        for at, row in enumerate(rows.tolist()):
            part, far = clean[at : at + 1], x[at : at + 1]
            if self._confirm(row, self._along(part, far, high[at : at + 1])) is None:
                self._confirm(row, self._along(part, far, outer[at : at + 1]))

    def _confirm(self, row: int, x: Tensor) -> int | None:
        """Class of one image ``(1, c, h, w)`` by the runtime, None if it is y.

        An adversarial image is kept if it is the nearest so far. On the levels of an integer input
        it is the image that the runtime sees in place of ``x``.
        """
        x = x if self.grid is None else self.grid.nearest(x)
        logits = self.classifier.logits(x)
        self.n_forward[row] += 1
        if not bool(adversarial(logits, self.batch.y[row : row + 1])):
            self.n_lost[row] += 1
            return None
        predicted, distance = int(classes_of(logits)), self._length(row, x)
        if distance < self.distance[row]:
            self.distance[row], self.x_adv[row] = distance, x[0]
            self.prediction[row] = predicted
            self.attack_names[row] = self.attack_name
        return predicted

    def _along(self, clean: Tensor, x: Tensor, factor: float | Tensor) -> Tensor:
        """Images at ``factor`` times the distance of ``x`` from ``clean``, in its direction."""
        point = (clean + (x - clean) * per_row(factor, x)).clamp(0, 1)
        if self.grid is None or self.norm is Norm.LINF:
            return point
        return self.grid.within(point, clean, self.norm, factor * self.norm.of(x - clean))

    def _length(self, row: int, x: Tensor) -> Tensor:
        clean = self.batch.x[row : row + 1]
        return self.norm.of(
            (x - clean).double() if self.grid is None else self.grid.difference(x, clean)
        )[0]

    def result(self, losses: Tensor | None = None) -> Found:
        """The nearest adversarial images found so far."""
        return Found(
            x_adv=self.x_adv,
            found=self.distance.isfinite(),
            distance=self.distance,
            prediction=self.prediction,
            n_forward=self.n_forward,
            n_backward=self.n_backward,
            n_lost=self.n_lost,
            losses=losses,
        )


def verified(classifier: Classifier, batch: Batch, norm: Norm, x: Tensor) -> Found:
    """The images ``x (b, c, h, w)`` as results: those that the runtime misclassifies are found."""
    state = SearchState(classifier, batch, norm)
    rows = state.correct
    state.verify_candidates(rows, x[rows], state.logits(rows, x[rows]))
    return state.result()


def box_diameter(norm: Norm, shape: tuple[int, ...]) -> float:
    """Largest distance between two images of ``shape`` in pixel units."""
    pixels = math.prod(shape)
    return {Norm.LINF: 1.0, Norm.L2: math.sqrt(pixels), Norm.L1: float(pixels)}[norm]


def adversarial(logits: Tensor, y: Tensor) -> Tensor:
    """Where ``logits (b, k)`` name another class than ``y (b,)``, or none because of NaN."""
    return classes_of(logits) != y
