"""Local linearity against closed forms, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import OneRuledOut, TwoLogits, flat_batch, quadratic, two_logits
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.local_linearity.deviation import (
    Deviation,
    Search,
    Sided,
    adam_rule,
    halving_rule,
    largest_deviation,
    tangent,
)
from robcert.certify.local_linearity.multistart import Multistart
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import Loss

DIAGONAL = torch.tensor([3, -1, 0.5, -4, 0, 2, 1, -0.2])


def searching(
    norm: Norm, sided: Sided = Sided.TWO, *, steps: int = 50, restarts: int = 3, box: bool = False
) -> Search:
    rule = adam_rule() if norm is Norm.LINF else halving_rule(norm, steps)
    return Search(norm, sided, steps, rule, restarts, box)


def deviation(
    classifier: Classifier,
    batch: Batch,
    search: Search | Multistart,
    *,
    epsilon: float,
    loss: Loss = Loss.MARGIN,
) -> Deviation:
    tangents = tangent(classifier, batch.x, batch.y, loss)
    return search.largest(tangents, batch, epsilon=epsilon, seed=0, stream="test")


def linear(weight: list[list[float]], bias: list[float] | None = None) -> Classifier:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight = nn.Parameter(torch.tensor(weight))
    layer.bias = nn.Parameter(torch.tensor(bias or [0.0] * len(weight)))
    return Classifier.from_module(
        nn.Sequential(nn.Flatten(), layer),
        image_shape=(1, 1, len(weight[0])),
        num_classes=len(weight),
    )


def test_a_class_that_is_ruled_out_changes_neither_deviation_nor_rounding() -> None:
    module = TwoLogits(quadratic(torch.diag(DIAGONAL)))
    batch = flat_batch(torch.full((2, 8), 0.5))
    found = []
    for whole, classes in ((module, 2), (OneRuledOut(module), 3)):
        model = Classifier.from_module(whole, image_shape=(1, 1, 8), num_classes=classes)
        search = searching(Norm.LINF)
        one = deviation(model, batch, search, epsilon=0.1, loss=Loss.CE)
        floor = tangent(model, batch.x, batch.y, Loss.CE).floor(one.delta)
        assert (one.value > 100 * floor).all()
        found.append(torch.stack([one.value, floor]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("sided", Sided)
def test_binary_linear_margin_has_no_deviation(norm: Norm, sided: Sided) -> None:
    """F2: affine, so 0 up to rounding, which the floor names."""
    classifier = linear([[3.0, -4.0], [0.0, 0.0]])
    batch = flat_batch(torch.tensor([[1.0, 0.0], [0.3, 0.6]]))
    found = deviation(classifier, batch, searching(norm, sided), epsilon=0.1)
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    assert (found.value <= tangents.floor(found.delta)).all()
    assert (tangents.floor(found.delta) < 2e-5).all()


@pytest.mark.parametrize(
    ("norm", "epsilon", "expected"),
    [(Norm.LINF, 0.1, 0.18), (Norm.L2, 0.1, 0.18), (Norm.L1, 0.2, 0.38)],
)
def test_multi_class_linear_margin_deviates(norm: Norm, epsilon: float, expected: float) -> None:
    """F3: the runner-up switches; (z_j - z_i)(x) + eps ‖w_j - w_i‖_q = -0.02 + 2 eps.

    Elsewhere the margin is affine and its residual flat, so several starts are needed.
    """
    classifier = linear([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    batch = flat_batch(torch.tensor([[1.0, 0.01]]))
    found = deviation(classifier, batch, searching(norm, restarts=8), epsilon=epsilon)
    assert found.value.item() == pytest.approx(expected, rel=1e-4)


def test_logistic_loss_at_the_best_vertex() -> None:
    """F4: max over s = ±eps‖w‖₁ of l(m + s) - l(m) - l'(m) s, at most (eps‖w‖₁)²/8."""
    weight = torch.tensor([0.8, -1.1, 0.4, 2.0])
    classifier = two_logits(lambda x: -(x @ weight), 4)
    x = torch.tensor([[0.2, 0.4, 0.3, 0.35]])
    margin, epsilon = float(x[0] @ weight), 0.3
    reach = epsilon * float(weight.abs().sum())
    slope = -1 / (1 + np.exp(margin))
    here = np.log1p(np.exp(-margin))
    exact = max(np.log1p(np.exp(-margin - s)) - here - slope * s for s in (-reach, reach))
    found = deviation(
        classifier, flat_batch(x), searching(Norm.LINF), epsilon=epsilon, loss=Loss.CE
    )
    assert found.value.item() == pytest.approx(exact, rel=1e-4)
    assert found.value.item() <= reach**2 / 8


@pytest.mark.parametrize("several", [False, True], ids=["random starts", "multistart"])
@pytest.mark.parametrize(
    ("norm", "sided", "expected"),
    [
        (Norm.L2, Sided.UPPER, 1.5),
        (Norm.L2, Sided.LOWER, 2.0),
        (Norm.L2, Sided.TWO, 2.0),
        (Norm.LINF, Sided.UPPER, 3.25),
        (Norm.LINF, Sided.LOWER, 2.6),
        (Norm.LINF, Sided.TWO, 3.25),
        (Norm.L1, Sided.UPPER, 1.5),
        (Norm.L1, Sided.TWO, 2.0),
    ],
)
def test_diagonal_quadratic(norm: Norm, sided: Sided, expected: float, several: bool) -> None:
    """F6, F6b: ½eps²λ in l2 (and l1: at an axis), ½eps²Σa⁺ or Σa⁻ in linf; the same anywhere."""
    classifier = two_logits(quadratic(torch.diag(DIAGONAL), torch.ones(8), 0.3), 8)
    batch = flat_batch(torch.rand(3, 8, generator=torch.Generator().manual_seed(0)))
    search = (
        Multistart(norm, sided, 50, 8, box=False)
        if several
        else searching(norm, sided, restarts=20)
    )
    found = deviation(classifier, batch, search, epsilon=1.0)
    assert found.value.tolist() == pytest.approx([expected] * 3, rel=5e-3 if several else 2e-3)


def test_dense_convex_quadratic_reaches_the_best_vertex() -> None:
    """F6c: a positive matrix has its linf maximum at a vertex; 2⁸ of them are tried."""
    root = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    matrix = root @ root.T
    vertices = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 8)
    exact = (0.5 * ((vertices @ matrix) * vertices).sum(1)).max().item()
    classifier = two_logits(quadratic(matrix), 8)
    found = deviation(
        classifier,
        flat_batch(torch.full((1, 8), 0.5)),
        searching(Norm.LINF, restarts=10),
        epsilon=0.5,
    )
    assert found.value.item() == pytest.approx(exact, rel=1e-4)


def test_one_sided_search_of_a_concave_loss_finds_nothing() -> None:
    classifier = two_logits(quadratic(-torch.eye(4)), 4)
    batch = flat_batch(torch.full((1, 4), 0.5))
    found = deviation(classifier, batch, searching(Norm.L2, Sided.UPPER), epsilon=0.5)
    assert found.value.item() == 0
    assert found.delta.abs().max() == 0
    assert found.last.item() == 0


def test_ascent_finds_what_random_draws_miss() -> None:
    """½v₁² in 784 dimensions: 20 steps reach 0.4999, random directions 0.05 at most."""
    curved = torch.zeros(784)
    curved[0] = 1.0
    classifier = two_logits(lambda x: 0.5 * (x * x) @ curved, 784)
    batch = flat_batch(torch.full((2, 784), 0.5))
    found = deviation(
        classifier, batch, searching(Norm.L2, Sided.UPPER, steps=20, restarts=1), epsilon=1.0
    )
    assert (found.value >= 0.499).all()
    directions = torch.randn(2000, 784, generator=torch.Generator().manual_seed(0))
    directions /= directions.norm(dim=1, keepdim=True)
    assert (0.5 * directions[:, 0] ** 2).max() <= 0.05


def test_box_keeps_images_valid_and_lowers_the_deviation() -> None:
    classifier = two_logits(quadratic(torch.eye(4)), 4)
    batch = flat_batch(torch.tensor([[0.0, 1.0, 0.5, 0.1]]))
    inside = deviation(classifier, batch, searching(Norm.LINF, box=True), epsilon=0.2)
    moved = batch.x + inside.delta
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert inside.value.item() == pytest.approx(0.5 * 4 * 0.04, rel=1e-4)
    lower = two_logits(lambda x: (x - 0.9).relu().sum(1), 1)
    at_edge = flat_batch(torch.tensor([[0.85]]))
    free = deviation(lower, at_edge, searching(Norm.LINF), epsilon=0.3)
    boxed = deviation(lower, at_edge, searching(Norm.LINF, box=True), epsilon=0.3)
    assert (free.value.item(), boxed.value.item()) == pytest.approx((0.25, 0.1), rel=1e-4)


class Small(nn.Sequential):
    def __init__(self, activation: nn.Module, seed: int) -> None:
        torch.manual_seed(seed)
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), activation, nn.Flatten(), nn.Linear(144, 3))


def small(seed: int = 0) -> Classifier:
    return Classifier.from_module(Small(nn.Softplus(), seed), image_shape=(1, 6, 6), num_classes=3)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from(list(Norm)),
    loss=st.sampled_from(list(Loss)),
)
@settings(max_examples=25)
def test_proposition_4_1(seed: int, norm: Norm, loss: Loss) -> None:
    """|l(x + d) - l(x)| <= |<d, g>| + gamma at the d of gamma, up to rounding; d is in the ball."""
    classifier = small(seed)
    batch = Batch(np.arange(3), images(3, seed), torch.tensor([0, 1, 2]))
    tangents = tangent(classifier, batch.x, batch.y, loss)
    search = Search(norm, Sided.TWO, 5, halving_rule(norm, 5))
    found = largest_deviation(tangents, batch, search, epsilon=0.3, seed=seed, stream="test")
    change = (tangents.residual(found.delta) + tangents.linear_term(found.delta)).abs()
    limit = tangents.linear_term(found.delta).abs() + found.value + tangents.floor(found.delta)
    assert (change <= limit).all()
    assert (norm.of(found.delta) <= 0.3 * (1 + 1e-5)).all()
    assert (found.last <= found.value).all()


def test_sides_make_up_the_two_sided_deviation() -> None:
    batch = Batch(np.arange(4), images(4), torch.tensor([0, 1, 2, 0]))
    both, upper, lower = (
        deviation(
            small(),
            batch,
            searching(Norm.LINF, sided, steps=20, restarts=8),
            epsilon=0.2,
            loss=Loss.CE,
        ).value
        for sided in (Sided.TWO, Sided.UPPER, Sided.LOWER)
    )
    assert torch.allclose(both, torch.maximum(upper, lower), rtol=0.02)


def test_rows_do_not_depend_on_their_batch() -> None:
    x, y = images(9), torch.arange(9) % 3
    whole = deviation(small(), Batch(np.arange(9), x, y), searching(Norm.LINF), epsilon=0.1)
    order = np.array([7, 2, 5])
    part = deviation(small(), Batch(order, x[order], y[order]), searching(Norm.LINF), epsilon=0.1)
    assert torch.equal(whole.value[order], part.value)
    assert torch.equal(whole.restart[order], part.restart)
    assert torch.equal(whole.delta[order], part.delta)


def test_affine_surroundings_do_not_end_the_search() -> None:
    """F3 further out: the runner-up changes 0.15 away, and up to there nothing deviates.

    Then -0.3 + 2 epsilon, in every norm. A climb that stays where it is flat finds 1 of 32 in linf.
    """
    model = linear([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0, -0.35, 0.35])
    batch = flat_batch(torch.full((32, 2), 0.5))
    for norm in Norm:
        found = deviation(model, batch, searching(norm, restarts=1), epsilon=0.2).value
        assert found.max() <= 0.1 + 1e-6
        assert (found >= 0.098).double().mean() >= 0.75
        again = deviation(model, batch, searching(norm, restarts=1), epsilon=0.2).value
        assert torch.equal(found, again)


def test_more_restarts_never_find_less() -> None:
    batch = Batch(np.arange(4), images(4), torch.tensor([0, 1, 2, 0]))
    one = deviation(small(), batch, searching(Norm.L1, restarts=1), epsilon=2.0)
    five = deviation(small(), batch, searching(Norm.L1, restarts=5), epsilon=2.0)
    assert (five.value >= one.value).all()
    assert (five.last >= one.last).all()
