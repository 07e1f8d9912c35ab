"""What two processes print: how far shared batch norm is from the whole batch's, in float64."""

from __future__ import annotations

import copy
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robcert.certify.numerics.losses import cross_entropy
from robcert.trainers.networks.batchnorm import NominalStatistics, prepare_batch_norm


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 3), (3, 4)):
        layers += [nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.Softplus()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)).double()


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Gradients of cross-entropy, its squared input gradient, and a pass with kept statistics."""
    point = x.clone().requires_grad_()
    statistics = NominalStatistics(model)
    with statistics.recorded():
        loss = cross_entropy(model(point), y)
    (slope,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
    with statistics.replayed(detached=False):
        moved = cross_entropy(model(x + 0.1), y)
    torch.autograd.backward((loss + slope.flatten(1).square().sum(1) + moved).mean())
    return [p.grad for p in model.parameters() if p.grad is not None]


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    whole = network()
    shared = copy.deepcopy(whole)
    prepare_batch_norm(shared, shared=True)
    x, y = torch.rand(8, 1, 8, 8).double(), torch.arange(8) % 3
    rows = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4)
    expected, got = gradients(whole, x, y), gradients(shared, x[rows], y[rows])
    for gradient in got:
        dist.all_reduce(gradient)
    pairs = [*zip(expected, [g / 2 for g in got], strict=True)]
    pairs += zip(whole.buffers(), shared.buffers(), strict=True)
    if dist.get_rank() == 0:
        largest = max(float((one - other).abs().max()) for one, other in pairs)
        sys.stdout.write(f"{largest}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
