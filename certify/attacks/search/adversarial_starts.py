"""Adversarial images of several classes, from which walks along the decision boundary start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.numerics import NO_CLASS, classes_of, generator

if TYPE_CHECKING:
    from .state import SearchState


PATCHWORKS = 40
"""Random patchworks that are tried as a start."""


GAUSSIAN_STEPS = 12
"""Noise levels of the Gaussian search: 2^-6 to 2^-0.5 of the pixel range, half an octave apart."""


MORE_TRIES = GAUSSIAN_STEPS + 8
"""Noise levels and patchworks that are tried to find further classes."""


_ALL_CLASSES, _SOME_CLASSES = 11, 3


def run_gaussian(state: SearchState, rows: Tensor, *, draws: int = 5) -> None:
    """Gaussian noise of growing size until it is misclassified, then shrunk; clipped to the box."""
    found = torch.zeros(len(state.batch), dtype=torch.bool, device=rows.device)
    for level in range(GAUSSIAN_STEPS):
        sigma = _sigma(level)
        for draw in range(draws):
            remaining = rows[~found[rows]]
            if not len(remaining):
                return
            point = (
                state.x(remaining) + sigma * _normal(state, remaining, level * draws + draw)
            ).clamp(0, 1)
            hit = state.verify_candidates(remaining, point, state.logits(remaining, point))
            state.shrink_and_verify(remaining[hit], point[hit])
            found[remaining[hit]] = True


def run_noise_and_patchworks(state: SearchState, rows: Tensor) -> None:
    """An adversarial image at any distance: Gaussian noise, else a patchwork of random greys.

    Many models assign all fine noise to one class, so it cannot start a search of images of that
    class.
    """
    run_gaussian(state, rows)
    for draw in range(PATCHWORKS):
        remaining = rows[state.distance[rows].isinf()]
        if not len(remaining):
            return
        point = _patchwork(state, remaining, draw)
        state.verify_candidates(remaining, point, state.logits(remaining, point))


def start_class_count(state: SearchState) -> int:
    """Number of classes in which label-only searches start: all others, or three of many."""
    others = state.classifier.num_classes - 1
    return others if others <= _ALL_CLASSES else _SOME_CLASSES


def adversarial_starts(
    state: SearchState, rows: Tensor, *, most: int = 3
) -> list[tuple[Tensor, Tensor]]:
    """Adversarial images of up to ``most`` classes: pairs of rows and images ``(r, c, h, w)``.

    A search that walks along the boundary of one class can end far from the nearest boundary, even
    on a linear model. The first pair holds each row's nearest known adversarial image, or what
    :func:`run_noise_and_patchworks` finds. For rows of the latter kind each further pair holds an
    image of another class: the finest noise, else the first patchwork, of that class.
    """
    unknown = rows[state.distance[rows].isinf()]
    with state.classifier.forward_only():
        run_noise_and_patchworks(state, unknown)
        reached = rows[state.distance[rows].isfinite()]
        kept = [(reached, state.x_adv[reached].clone())]
        seen = torch.zeros(len(state.batch), state.classifier.num_classes, dtype=torch.bool)
        seen = seen.to(rows.device)
        seen[rows, state.y(rows)] = True
        named = reached[state.prediction[reached] != NO_CLASS]
        seen[named, state.prediction[named]] = True
        unknown = unknown[state.distance[unknown].isfinite()]
        others = _of_other_classes(state, unknown, seen, most - 1)
    return kept + [pair for pair in others if len(pair[0])]


def _of_other_classes(
    state: SearchState, rows: Tensor, seen: Tensor, most: int
) -> list[tuple[Tensor, Tensor]]:
    """Up to ``most`` images per row, of classes that are not ``seen (b, k)``, which is updated."""
    count = torch.zeros(len(state.batch), dtype=torch.int64, device=rows.device)
    images = torch.zeros(most, *state.batch.x.shape).to(state.batch.x)
    for draw in range(MORE_TRIES):
        remaining = rows[(count[rows] < most) & ~seen[rows].all(1)]
        if not len(remaining):
            break
        if draw < GAUSSIAN_STEPS:
            noise = _normal(state, remaining, GAUSSIAN_STEPS * PATCHWORKS + draw)
            point = (state.x(remaining) + _sigma(draw) * noise).clamp(0, 1)
        else:
            point = _patchwork(state, remaining, draw - GAUSSIAN_STEPS)
        logits = state.logits(remaining, point)
        predicted = classes_of(logits)
        new = ~seen[remaining, predicted] & (predicted != NO_CLASS)
        hit = remaining[new]
        images[count[hit], hit] = point[new]
        seen[hit, predicted[new]] = True
        count[hit] += 1
    return [(rows[count[rows] > at], images[at][rows[count[rows] > at]]) for at in range(most)]


def _sigma(level: int) -> float:
    return 2.0 ** (-6 + level / 2)


def _patchwork(state: SearchState, rows: Tensor, draw: int) -> Tensor:
    """Images ``(r, c, h, w)`` of a few rectangles of random greys."""
    shape = (state.batch.x.shape[1], 2 + draw % 4, 2 + draw % 4)
    coarse = torch.stack(
        [
            torch.rand(shape, generator=generator(state.seed, "attack/patchwork", int(i), draw))
            for i in state.batch.index[rows.cpu().numpy()]
        ]
    ).to(state.batch.x)
    size = list(state.batch.x.shape[2:])
    return functional.interpolate(coarse, size=size, mode="nearest")


def _normal(state: SearchState, rows: Tensor, block: int) -> Tensor:
    shape = tuple(state.batch.x.shape[1:])
    draws = [
        torch.randn(shape, generator=generator(state.seed, "attack/gaussian", int(index), block))
        for index in state.batch.index[rows.cpu().numpy()]
    ]
    return torch.stack(draws).to(state.batch.x)
