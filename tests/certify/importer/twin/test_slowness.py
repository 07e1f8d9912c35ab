"""A twin that takes longer than a call may is not used, whatever makes it slow."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.twin.slowness import slowness
from robcert.certify.model import Twin

LIMITS = RunLimits(seconds=0.2)
CPU = torch.device("cpu")


class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.3)
        return gradient


def slow_forward(x: Tensor) -> Tensor:
    time.sleep(0.3)
    return x.flatten(1)


def slow_backward(x: Tensor) -> Tensor:
    slow: Tensor = SlowBackward.apply(x)
    return slow.flatten(1)


def constant(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3)


def unrelated(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3, requires_grad=True) * 2


@pytest.mark.parametrize("function", [slow_forward, slow_backward])
def test_a_slow_twin_is_named(function: Any) -> None:
    found = slowness(Twin(function), (1, 2, 2), CPU, LIMITS)
    assert found.startswith("one gradient of one image takes 0.3")
    assert "more than the 0.2 s of a call (--call-limit)" in found
    assert slowness(Twin(function), (1, 2, 2), CPU, RunLimits(seconds=60)) == ""


@pytest.mark.parametrize("function", [lambda x: x.flatten(1), constant, unrelated])
def test_a_fast_twin_is_not(function: Any) -> None:
    assert slowness(Twin(function), (1, 2, 2), CPU, RunLimits(seconds=60)) == ""
