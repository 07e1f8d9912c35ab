"""Random streams that depend on seed and image alone, not on batch, order or resumption."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm

from .batch_invariant import sums

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def points_in_ball(
    norm: Norm, radius: float, n: int, shape: tuple[int, ...], *, generator: torch.Generator
) -> Tensor:
    r"""``n`` points ``(n, *shape)``, independent and uniform in the ball :math:`\|v\|_p \le r`.

    linf: independent uniforms. l2: a Gaussian direction times :math:`r u^{1/d}`.
    l1: :math:`d + 1` exponentials with random signs, divided by their sum
    (Barthe, Guédon, Mendelson, Naor 2005, arXiv:math/0503650, Theorem 1 with p = 1).
    """
    return _placed(norm, radius, *_draws(norm, n, shape, generator))


def point_of_each(
    norm: Norm, radius: float, shape: tuple[int, ...], generators: Iterable[torch.Generator]
) -> Tensor:
    r"""Points ``(n, *shape)``, one of each generator, uniform in the ball :math:`\|v\|_p \le r`.

    Each is that of `points_in_ball` with n = 1, at a fraction of the time.
    """
    draws = [_draws(norm, 1, shape, generator) for generator in generators]
    if not draws:
        return torch.zeros(0, *shape)
    return _placed(norm, radius, *map(torch.cat, zip(*draws, strict=True)))


def _draws(
    norm: Norm, n: int, shape: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Random numbers of ``n`` points."""
    device, shape = generator.device, (n, *shape)
    if norm is Norm.LINF:
        return (torch.rand(shape, generator=generator, device=device),)
    if norm is Norm.L2:
        direction = torch.randn(shape, generator=generator, device=device)
        share = torch.rand(n, generator=generator, device=device) ** (1 / direction[0].numel())
        return direction, share
    exponentials = torch.empty(shape, device=device).exponential_(generator=generator)
    extra = torch.empty(n, device=device).exponential_(generator=generator)
    signs = torch.rand(shape, generator=generator, device=device)
    return exponentials, extra, signs


def _placed(norm: Norm, radius: float, *draws: Tensor) -> Tensor:
    if norm is Norm.LINF:
        (uniform,) = draws
        return (uniform * 2 - 1) * radius
    if norm is Norm.L2:
        direction, share = draws
        length = norm.of(direction).clamp_min(torch.finfo(direction.dtype).tiny)
        return direction * _rows(radius * share / length, direction)
    exponentials, extra, uniform = draws
    total = sums(exponentials) + extra
    signs = uniform.lt(0.5).float() * 2 - 1
    return signs * exponentials * _rows(radius / total, exponentials)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
