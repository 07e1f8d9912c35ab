"""Convolutions, and their transposes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .weights import Weighted
from .window import Window, cut, narrowed, widened, window_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .nodes import Shape


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(Weighted):
    """A convolution without bias of ``(n, c, ...)`` by ``weight``.

    Attributes:
        weight: ``(m, c / groups, ...)``; ``(c, m / groups, ...)`` if transposed.
        stride: and so on: as torch's ``convolution`` takes them.
        source: shape of the argument.
        phases: the kernel in parts, in types that were requested; see :meth:`_phases`.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    source: Shape
    phases: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        images = x.reshape(-1, *self.source[1:])
        found = torch.convolution(
            images,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )
        return found.reshape(len(x), *self.shape)

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return self._convolve(x, self.weight.to(x.dtype))

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return self._convolve(x, self.weight.to(x.dtype, absolute=True))

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        if window is None or self.transposed:
            return (None,)
        ranges = [
            (max(0, low), min(n, high))
            for (low, high), n in zip(self._reached(window), self.source[2:], strict=True)
        ]
        if any(low >= high for low, high in ranges):  # nothing but padding
            return (None,)
        batch, channels = ((0, n) for n in self.source[:2])
        return (narrowed((batch, channels, *ranges), self.source),)

    def _reached(self, window: Window) -> list[tuple[int, int]]:
        """Ranges of the argument's places that a window of the output reads, padding included."""
        return [
            (first * s - p, (last - 1) * s - p + d * (k - 1) + 1)
            for (first, last), p, d, k, s in zip(
                window[2:],
                self.padding,
                self.dilation,
                self.weight.exact.shape[2:],
                self.stride,
                strict=True,
            )
        ]

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        (read,) = self.reads(window)
        if window is None or read is None:
            images = widened(rows, window, None, self.shape).reshape(-1, *self.shape[1:])
            found = self._back(images, self.padding, self.source[2:])
            # one copy here in place of one at every reader: convolutions may return channels last
            return (found.contiguous().view(len(rows), *self.source),)
        batch, channels = ((0, n) for n in self.shape[:2])
        rows = widened(rows, window, (batch, channels, *window[2:]), self.shape)
        images = rows.reshape(-1, *rows.shape[2:])
        n = len(images)
        missing = _few_sizes(n) - n
        if missing:
            images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
        starts = [
            first - start
            for (first, _), (start, _) in zip(read[2:], self._reached(window), strict=True)
        ]
        found = self._back(images, starts, [last - first for first, last in read[2:]])[:n]
        return (found.reshape(len(rows), *window_shape(read, self.source)),)

    def _back(self, images: Tensor, starts: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """The transposed map of ``images`` at places from ``starts`` on.

        Places are counted from the first that the kernel reaches, in the padding if there is one.
        """
        if self.transposed:  # always the whole output
            none = [0] * len(sizes)
            return torch.convolution(
                images,
                self.weight.to(images.dtype),
                None,
                self.stride,
                self.padding,
                self.dilation,
                False,
                none,
                self.groups,
            )
        if max(self.stride) > 1 and max(self.dilation) == 1:
            return self._by_phases(images, starts, sizes)
        weight = self.weight.to(images.dtype)
        padding, extra, inside = [], [], [(0, self.source[1])]
        for n, k, d, s, start, size in zip(
            images.shape[2:],
            weight.shape[2:],
            self.dilation,
            self.stride,
            starts,
            sizes,
            strict=True,
        ):
            reached = (n - 1) * s + d * (k - 1) + 1
            padding.append(max(0, min(start, reached - start - size)))
            extra.append(max(0, start + size - reached))
            inside.append((start - padding[-1], start - padding[-1] + size))
        found = torch.convolution(
            images, weight, None, self.stride, padding, self.dilation, True, extra, self.groups
        )
        return cut(found, tuple(inside))

    def _by_phases(self, images: Tensor, starts: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """:meth:`_back` with a kernel of stride 1."""
        ones, none = [1] * len(sizes), [0] * len(sizes)
        kernel = self._phases(images.dtype)
        found = torch.convolution(images, kernel, None, ones, none, ones, True, none, self.groups)
        parts = (self.groups, *self.stride, self.source[1] // self.groups)
        found = found.view(len(images), *parts, *found.shape[2:])
        return _woven(found, self.stride, starts, sizes).flatten(1, 2)

    def _phases(self, dtype: torch.dtype) -> Tensor:
        """The kernel, split by the places modulo the stride that its elements reach.

        Libraries are slow at transposed convolutions with a stride. This kernel has stride 1 and
        gives the outputs of each remainder as channels of their own.

        Returns:
            ``(m, strides * c / groups, ...)``.
        """
        if dtype not in self.phases:
            weight = self.weight.to(dtype)
            n_taps = [-(-k // s) for k, s in zip(weight.shape[2:], self.stride, strict=True)]
            missing: list[int] = []
            for k, s, n in zip(weight.shape[2:], self.stride, n_taps, strict=True):
                missing = [0, s * n - k, *missing]
            split = [n for pair in zip(n_taps, self.stride, strict=True) for n in pair]
            padded = torch.nn.functional.pad(weight, missing).view(*weight.shape[:2], *split)
            taps, remainders = range(2, padded.ndim, 2), range(3, padded.ndim, 2)
            ordered = padded.permute(0, *remainders, 1, *taps)
            self.phases[dtype] = ordered.reshape(len(weight), -1, *n_taps)
        return self.phases[dtype]


def _woven(
    parts: Tensor, strides: Sequence[int], starts: Sequence[int], sizes: Sequence[int]
) -> Tensor:
    """Places ``starts`` to ``starts + sizes`` of images whose places are sorted by remainder.

    Args:
        parts: ``(n, g, *strides, c, ...)``: remainders modulo the strides, and quotients last.
        strides: of the axes that are still to be put together, the last ones.
        starts: first place of each of them.
        sizes: number of its places.

    Returns:
        ``(n, g, c, ..., *sizes)``.
    """
    if not strides:
        return parts
    stride, start, size = strides[0], starts[0], sizes[0]
    n = -(-size // stride)
    found = []
    for place in range(start, start + stride):
        part = _woven(parts.select(2, place % stride), strides[1:], starts[1:], sizes[1:])
        axis = part.ndim - len(strides)
        first = min(place // stride, part.shape[axis])
        part = part.narrow(axis, first, min(n, part.shape[axis] - first))
        missing = n - part.shape[axis]
        if missing:  # places that no element reaches
            part = torch.nn.functional.pad(part, [0, 0] * (len(strides) - 1) + [0, missing])
        found.append(part)
    if stride == 1:
        return found[0]
    return torch.stack(found, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, size)


def _few_sizes(n: int) -> int:
    """The next number of the form 2^k or 3 * 2^k; a convolution is compiled for each batch size.

    >>> [_few_sizes(n) for n in (1, 5, 9, 13, 17, 33)]
    [8, 8, 12, 16, 24, 48]
    """
    size = 8
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
