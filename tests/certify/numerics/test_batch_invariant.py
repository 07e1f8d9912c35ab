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


@pytest.mark.parametrize("threads", [1, 2])
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
    one, stack, matrix = torch.randn(12), torch.randn(5, 12, 7), torch.randn(5, 3, 12)
    assert torch.equal(rows.matmul(one, stack[0]), torch.matmul(one, stack[0]))
    assert torch.equal(rows.matmul(matrix, stack), torch.matmul(matrix, stack))


@pytest.mark.parametrize("count", [1, 17, 100])
def test_a_module_uses_them_while_asked_to(count: int) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 10), torch.randn(count, 300)
    with rows.SameRows():
        inside = layer(x)
    assert torch.equal(inside, rows.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(inside, layer(x))
