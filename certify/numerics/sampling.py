"""Random streams that depend on seed and image alone, not on batch, order or resumption."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from robcert.certify.core import Norm

NOISE_BLOCK = 64
"""Number of draws of smoothing noise in a block; blocks are never split."""


def stream_seed(seed: int, analysis: str, index: int, block: int = 0) -> int:
    """Seed of 63 bits of the stream (seed, analysis, image index, block)."""
    text = f"{seed}/{analysis}/{index}/{block}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(
    seed: int, analysis: str, index: int, block: int = 0, *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Generator of the stream (seed, analysis, image index, block)."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, analysis, index, block))


def point_in_ball(
    norm: Norm, radius: float, shape: tuple[int, ...], *, generator: torch.Generator
) -> Tensor:
    r"""One point ``shape``, uniform in the ball :math:`\|v\|_p \le r` (radius in pixel units)."""
    return points_in_ball(norm, radius, 1, shape, generator=generator)[0]


def points_in_ball(
    norm: Norm, radius: float, n: int, shape: tuple[int, ...], *, generator: torch.Generator
) -> Tensor:
    r"""``n`` points ``(n, *shape)``, independent and uniform in the ball :math:`\|v\|_p \le r`.

    linf: independent uniforms. l2: a Gaussian direction times :math:`r u^{1/d}`.
    l1: :math:`d + 1` exponentials with random signs, divided by their sum
    (Barthe, Guédon, Mendelson, Naor 2005, arXiv:math/0503650, Theorem 1 with p = 1).
    """
    device, shape = generator.device, (n, *shape)
    if norm is Norm.LINF:
        return (torch.rand(shape, generator=generator, device=device) * 2 - 1) * radius
    if norm is Norm.L2:
        direction = torch.randn(shape, generator=generator, device=device)
        length = direction.flatten(1).norm(dim=1).clamp_min(torch.finfo(direction.dtype).tiny)
        scale = torch.rand(n, generator=generator, device=device) ** (1 / direction[0].numel())
        return direction * _rows(radius * scale / length, direction)
    exponentials = torch.empty(shape, device=device).exponential_(generator=generator)
    extra = torch.empty(n, device=device).exponential_(generator=generator)
    signs = torch.rand(shape, generator=generator, device=device).lt(0.5).float() * 2 - 1
    total = exponentials.flatten(1).sum(1) + extra
    return signs * exponentials * _rows(radius / total, exponentials)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
