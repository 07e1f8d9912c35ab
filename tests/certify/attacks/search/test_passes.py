"""Passes are not spent twice: tangents and clean logits are kept, shrinking begins at the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robcert.certify.attacks.search.boundary_tangents import nearest_class_boundary
from robcert.certify.attacks.search.state import RESOLUTION, SearchState
from robcert.certify.core import Batch, Norm
from robcert.certify.model.classifier import Classifier


class Linear(nn.Module):
    """Logits ``x @ slopes + shifts``."""

    def __init__(self, slopes: torch.Tensor, shifts: torch.Tensor) -> None:
        super().__init__()
        self.slopes, self.shifts = slopes, shifts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.slopes.T + self.shifts


SLOPES = torch.tensor([[0.0, 0.0], [1.0, 0.5], [3.0, -1.0]])


def linear() -> SearchState:
    """Three classes, linear in two pixels; all images are of class 0."""
    module = Linear(SLOPES, -torch.tensor([0.0, 1.0, 2.0]))
    model = Classifier.from_module(module, image_shape=(1, 1, 2), num_classes=3)
    x = torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.2, 0.6]]).view(3, 1, 1, 2)
    return SearchState(model, Batch(np.arange(3), x, torch.zeros(3, dtype=torch.int64)), Norm.L2)


def test_the_tangents_at_an_image_are_computed_once() -> None:
    state = linear()
    nearest_class_boundary(state, torch.tensor([0, 2]), 2)
    spent = state.n_backward.tolist()
    nearest, distance = nearest_class_boundary(state, state.all_rows, 2)
    assert spent == [2, 0, 2]
    assert state.n_backward.tolist() == [2, 2, 2]
    assert state.n_forward.tolist() == [3, 3, 3]  # one of them for the clean logits
    margins = state.batch.x.flatten(1) @ SLOPES[1:].T - torch.tensor([1.0, 2.0])
    lengths = margins.abs() / SLOPES[1:].norm(dim=1)
    assert torch.equal(nearest, lengths.argmin(1) + 1)
    assert torch.allclose(distance, lengths.amin(1).double())


@pytest.mark.parametrize(("beyond", "passes"), [(1e-4, 5), (0.01, 10), (0.3, 17)])
def test_shrinking_finds_the_boundary_with_fewer_passes_the_closer_it_is(
    beyond: float, passes: int
) -> None:
    state = linear()
    boundary = (2 + 0.2) / 3 - 0.1  # of class 2 along the first pixel
    far = torch.tensor([0.1 + boundary * (1 + beyond), 0.2]).view(1, 1, 1, 2)
    before = state.n_forward.clone()
    state.shrink_and_verify(torch.tensor([0]), far)
    assert boundary <= state.distance[0] <= boundary * (1 + 2 * RESOLUTION)
    assert (state.n_forward - before)[0] <= passes


def test_an_image_far_beyond_the_boundary_is_shrunk_to_a_share_of_its_distance() -> None:
    module = Linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -1e-4]))
    model = Classifier.from_module(module, image_shape=(1, 1, 1), num_classes=2)
    batch = Batch(np.arange(1), torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64))
    state = SearchState(model, batch, Norm.LINF)
    state.shrink_and_verify(state.all_rows, torch.ones(1, 1, 1, 1))
    assert 1e-4 <= state.distance[0] <= 1.001e-4
