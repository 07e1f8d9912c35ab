"""Whether a graph computes each image of a batch without the others, and at any place alike.

The graph is cut at every tensor of numbers, so that each node is asked alone: its results for an
image must stay where the numbers of other images are replaced, where all images change places, and
where the image is alone. So a maximum over the batch is found also where a node before it is 0 on
most images.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from .matching import values_of
from .samples import KINDS, drawn, perturbed, repeated_kinds
from .sides import OUTPUT, Side, TensorType, computed, session_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    import onnxruntime
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .comparison import ImageInput
    from .samples import Kind
    from .sides import Values

    Images = NDArray[np.bool_]

CHANGE, OF_CHANGE = 1e-4, 10.0
"""Change of a result, relative to the largest, that no other order of sums explains; and more, in
units of what a few roundings of the numbers before it change."""

READS_OTHERS = "reads several images of a batch"
READS_PLACES = "depends on the size of the batch, or on an image's place in it"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a tensor holds each image of a batch.

    Attributes:
        axis: along which the images are stored.
        entries: those of each image ``(n, m)``.
    """

    axis: int
    entries: NDArray[np.int64]

    def of_first(self, x: NDArray[Any]) -> NDArray[Any]:
        """The part of ``x`` with the first image."""
        return np.take(x, self.entries[0], self.axis)

    def held(self, images: Images, ndim: int) -> Images:
        """Where a tensor with ``ndim`` axes holds any of ``images``, broadcastable."""
        found = np.zeros(self.entries.size, dtype=bool)
        found[self.entries[images]] = True
        return found.reshape([-1 if axis == self.axis else 1 for axis in range(ndim)])

    def turned(self, x: NDArray[Any], by: int) -> NDArray[Any]:
        """``x`` with the numbers of each image ``by`` places later, cyclically."""
        source = np.empty(self.entries.size, np.int64)
        source[self.entries] = np.roll(self.entries, by, 0)
        return np.take(x, source, self.axis)


def mixing(model: onnx.ModelProto, image: ImageInput, sizes: Sequence[int]) -> str:
    """The first node whose results for an image depend on the batch, in words; empty if none do.

    Args:
        model: a graph with a batch axis. What fails on several images, where the axis is free,
            takes them one by one.
        image: its input, with a batch of one, or of the only size that the graph takes.
        sizes: of the batches.
    """
    side = Side.of(model, image.name)
    for size in sizes:
        told = _told_of_batch(side, image, size)
        if told:
            return told
    return ""


def _told_of_batch(side: Side, image: ImageInput, size: int) -> str:
    """:func:`mixing` in a batch of ``size`` images."""
    draw, is_free = np.random.default_rng(0), image.shape[0] != size
    whole = replace(image, shape=(size, *image.shape[1:]))
    first, second = (drawn(draw, KINDS[0], whole.shape, whole.dtype) for _ in range(2))
    second[0] = first[0]
    alone = values_of(side, [first[:1]]) if is_free else {}
    try:
        together = values_of(side, [first, second])
    except Exception:  # onnxruntime's classes share no base but Exception
        if is_free:
            return ""
        raise
    places_of, types, one_image = {image.name: _in_blocks(0, size, size, 1)}, {}, {}
    for name, (one, other) in together.items():
        if is_free and name not in alone:
            return _described(side, name, READS_OTHERS)
        axes = _axes_of(one.shape, alone[name][0].shape if is_free else None, size)
        if not is_free and name in side.graph.outputs:
            axes = [axis for axis in axes if axis == 0]
        places = _places_of(axes, one, other, size)
        if places is None:
            return _described(side, name, READS_OTHERS)
        places_of[name], types[name] = places, TensorType.of(one)
        if is_free:
            one_image[name] = TensorType.of(alone[name][0])
    session = session_of(side.cut(types))
    single = session_of(side.cut(one_image)) if is_free else None
    return _Batch(side, whole, session, single, places_of, types, draw).difference()


def _described(side: Side, name: str, why: str) -> str:
    node = side.producers[name]
    return f"node {node.label!r} ({node.proto.op_type}) {why}"


def _axes_of(shape: tuple[int, ...], alone: tuple[int, ...] | None, size: int) -> list[int]:
    """Axes along which a tensor of this shape may hold the images of a batch.

    Args:
        shape: of the tensor.
        alone: its shape for one image, if the graph takes one.
        size: of the batch.
    """
    if alone is None:
        return [axis for axis, n in enumerate(shape) if n % size == 0]
    if len(alone) != len(shape):
        return []
    grown = [axis for axis, (n, m) in enumerate(zip(alone, shape, strict=True)) if n != m]
    return grown if len(grown) == 1 and shape[grown[0]] == size * alone[grown[0]] else []


def _places_of(
    axes: Sequence[int], one: NDArray[Any], other: NDArray[Any], size: int
) -> Places | None:
    """Where a tensor may hold the images of a batch; None where it does not hold them apart.

    Any places will do: where all nodes keep them apart, from input to output, none reads others.

    Args:
        axes: along which it may hold them.
        one: its values.
        other: its values where all images but the first are others.
        size: of the batch.
    """
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    for axis in axes:
        length = one.shape[axis]
        kept = same.all(axis=tuple(each for each in range(one.ndim) if each != axis))
        for block in range(length // size, 0, -1):  # images are stored in blocks of so many entries
            if (length // size) % block:
                continue
            places = _in_blocks(axis, length, size, block)
            if kept[places.entries[0]].all():
                return places
    return None


def _in_blocks(axis: int, length: int, size: int, block: int) -> Places:
    """The places where images take turns, ``block`` entries each."""
    entries = np.arange(length).reshape(-1, size, block).swapaxes(0, 1)
    return Places(axis, entries.reshape(size, -1))


@dataclass(frozen=True, slots=True)
class _Batch:
    """A graph cut at the tensors of a batch.

    Attributes:
        side: the graph.
        image: its input, with the whole batch.
        session: runs the cut graph.
        single: runs it for one image; None where it takes no other batch.
        places: of the images, by the name of a tensor; also in the input.
        types: of the tensors at which it is cut.
        draw: random numbers.
    """

    side: Side
    image: ImageInput
    session: onnxruntime.InferenceSession
    single: onnxruntime.InferenceSession | None
    places: dict[str, Places]
    types: dict[str, TensorType]
    draw: Generator

    def difference(self) -> str:
        """The first node whose results for an image depend on the batch, in words."""
        differing: dict[str, str] = {}
        count = sum(math.prod(one.shape) for one in self.types.values())
        for kind in repeated_kinds(count, self.side.constants()):
            for name, why in self._differing(kind):
                differing.setdefault(name, why)
        first = next((name for name in self.types if name in differing), None)
        return "" if first is None else _described(self.side, first, differing[first])

    def _differing(self, kind: Kind) -> Iterator[tuple[str, str]]:
        """Tensors whose results for an image depend on the batch, and how."""
        given = self._numbers(kind)
        expected, doubtful = self._results(given), []
        for why, found, images in chain(self._mixed(given, kind), self._placed(given, expected)):
            for name in self.types:
                own = self.places[name].held(images, expected[name].ndim)
                if _differs(expected[name], found[name], own):
                    doubtful.append((why, name, found[name], own))
        if not doubtful:
            return
        moved = self._results({name: perturbed(self.draw, x) for name, x in given.items()})
        for why, name, found_here, own in doubtful:
            if _differs(expected[name], found_here, own, moved[name]):
                yield name, why

    def _numbers(self, kind: Kind) -> Values:
        """Random numbers for the images and every tensor."""
        image = drawn(self.draw, kind, self.image.shape, self.image.dtype)
        return {n: drawn(self.draw, kind, *one) for n, one in self.types.items()} | {
            self.image.name: image
        }

    def _results(self, numbers: Values) -> Values:
        found = computed(self.session, numbers)
        return {name: found[name + OUTPUT] for name in self.types}

    def _mixed(self, given: Values, kind: Kind) -> Iterator[tuple[str, Values, Images]]:
        """Results where some of the images are replaced, and the others."""
        size, others = self.image.shape[0], self._numbers(kind)
        half: Images = self.draw.permutation(size) < (size + 1) // 2
        for kept in (half, ~half):
            numbers = {
                name: np.where(self.places[name].held(kept, x.ndim), x, others[name])
                for name, x in given.items()
            }
            yield READS_OTHERS, self._results(numbers), kept

    def _placed(self, given: Values, expected: Values) -> Iterator[tuple[str, Values, Images]]:
        """Results where the images change places, put back, and where the first one is alone."""
        size = self.image.shape[0]
        turned = self._results({n: self.places[n].turned(x, 1) for n, x in given.items()})
        back = {name: self.places[name].turned(x, -1) for name, x in turned.items()}
        yield READS_PLACES, back, np.ones(size, dtype=bool)
        if self.single is None:
            return
        found = computed(self.single, {n: self.places[n].of_first(x) for n, x in given.items()})
        whole = {name: expected[name].copy() for name in self.types}
        for name, x in whole.items():
            at = (slice(None),) * self.places[name].axis
            x[(*at, self.places[name].entries[0])] = found[name + OUTPUT]
        yield READS_PLACES, whole, np.arange(size) == 0


def _differs(
    expected: NDArray[Any], found: NDArray[Any], own: Images, moved: NDArray[Any] | None = None
) -> bool:
    """Whether numbers of some images differ by more than rounding.

    Args:
        expected: the numbers.
        found: those in comparison.
        own: where the tensor holds these images.
        moved: the numbers where all that they are computed from changes by a few roundings.
    """
    size = np.abs(expected).max(initial=0.0, where=np.isfinite(expected) & own)
    near = np.isclose(found, expected, rtol=CHANGE, atol=CHANGE * size, equal_nan=True)
    if moved is not None:
        with np.errstate(invalid="ignore"):
            near |= np.abs(found - expected) <= OF_CHANGE * np.abs(moved - expected)
    return not bool((near | ~own).all())
