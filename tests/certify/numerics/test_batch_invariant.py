"""A row has the same bits in every batch, on every kind of processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from robcert.certify.numerics import batch_invariant as rows

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Makes the libraries below torch take the kernels of processors without AVX-512."""

EVERY_BATCH = """
import torch
from torch import nn
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.gradients import value_and_gradient

torch.manual_seed(0)
torch.set_num_threads({threads})
module = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
    nn.Flatten(), nn.Linear(576, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
)
model = Classifier.from_module(module, image_shape=(3, 16, 16), num_classes=10)
x = torch.rand(64, 3, 16, 16)
value, gradient = value_and_gradient(lambda z: model.twin_logits(z).logsumexp(1), x)
for count in (1, 2, 5, 16, 17, 30, 31, 33, 47, 50, 63):
    some, slope = value_and_gradient(lambda z: model.twin_logits(z).logsumexp(1), x[-count:])
    if not torch.equal(some, value[-count:]) or not torch.equal(slope, gradient[-count:]):
        print(count)
"""

EVERY_ADDRESS = """
import itertools
import torch
from robcert.certify.numerics.batch_invariant import matmul

torch.manual_seed(0)
torch.set_num_threads({threads})

def results(left, right, order):
    factors = [(f[order] if len(f) == 24 else f).requires_grad_() for f in (left, right)]
    product = matmul(*factors)
    slopes = torch.autograd.grad(product.square().sum(), factors)
    return product, *(slope for f, slope in zip((left, right), slopes) if len(f) == 24)

sizes = [*itertools.product((1, 5, 17), (10, 16, 17, 64), (3, 10, 65)), (1, 30000, 10)]
for rows, n, k in sizes:
    weights, images = torch.randn(n, k), torch.randn(24, rows, n)
    factors = [(images, weights)]
    if n < 100:
        turned = torch.randn(24, k, n).transpose(1, 2)
        several = torch.randn(24, n, 2, k).transpose(1, 2)
        factors += [(images, turned), (torch.randn(rows, n), turned), (images[:, None], several)]
    if rows == 1:
        factors += [(images[:, 0], weights)]
    for left, right in factors:
        whole = results(left, right, list(range(24)))
        for order in ([7, 1, 4], list(range(8, 24)), list(range(24))[::-1]):
            some = results(left, right, order)
            if any(not torch.equal(one, all[order]) for one, all in zip(some, whole)):
                print(list(left.shape), list(right.shape), len(order), sep="x")
"""


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kernels", [{}, PLAIN], ids=["own", "plain"])
def test_products_have_the_same_bits_wherever_a_matrix_begins(
    kernels: dict[str, str], threads: int
) -> None:
    """Also those of attention. Batches of one image, which threads would share, are never made."""
    run = subprocess.run(
        [sys.executable, "-c", EVERY_ADDRESS.format(threads=threads)],
        env=os.environ | kernels,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == []


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("kernels", [{}, PLAIN], ids=["own", "plain"])
def test_gradients_have_the_same_bits_in_every_batch(kernels: dict[str, str], threads: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", EVERY_BATCH.format(threads=threads)],
        env=os.environ | kernels,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == []


@pytest.mark.parametrize("shape", [(1, 12), (95, 12), (96, 12), (130, 12), (0, 12), (5, 3, 4, 12)])
@pytest.mark.parametrize("small", [0, rows.SMALL])
def test_products_are_those_of_torch(
    shape: tuple[int, ...], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SMALL", small)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(7, 12), torch.randn(7)
    torch.testing.assert_close(rows.linear(x, weight, bias), functional.linear(x, weight, bias))
    torch.testing.assert_close(rows.linear(x, weight), functional.linear(x, weight))
    torch.testing.assert_close(rows.matmul(x, weight.t()), torch.matmul(x, weight.t()))


def test_products_that_are_not_of_a_batch_are_left_alone() -> None:
    torch.manual_seed(0)
    one, stack = torch.randn(12), torch.randn(5, 12, 7)
    assert torch.equal(rows.matmul(one, stack[0]), torch.matmul(one, stack[0]))
    assert torch.equal(rows.matmul(one, stack), torch.matmul(one, stack))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5, 3, 12), (5, 12, 7)),
        ((3, 12), (5, 12, 7)),
        ((5, 2, 3, 12), (2, 12, 7)),
        ((1, 2, 3, 12), (5, 1, 12, 7)),
        ((5, 3, 16), (5, 16, 32)),
        ((0, 3, 12), (0, 12, 7)),
    ],
)
def test_products_of_batches_are_those_of_torch(
    left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(left), torch.randn(right)
    torch.testing.assert_close(rows.matmul(x, y), torch.matmul(x, y))


@pytest.mark.parametrize("count", [1, 17, 100])
def test_a_module_uses_them_while_asked_to(count: int) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 10), torch.randn(count, 300)
    with rows.SameRows():
        inside = layer(x)
    assert torch.equal(inside, rows.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(inside, layer(x))
