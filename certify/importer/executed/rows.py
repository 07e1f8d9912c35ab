"""Whether a graph computes each image of a batch without the others.

The graph is cut at every float32 tensor, so that each node is asked alone: numbers of one of two
images are replaced, and the results of the other must stay. So a maximum over the batch is found
also where a node before it is 0 on most images.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .matching import values_of
from .samples import KINDS, drawn, repeated_kinds
from .sides import OUTPUT, Side, computed, session_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from .comparison import ImageInput

CHANGE = 1e-4
"""Change of a result, relative to the largest, that no other order of sums explains."""


def mixing(model: onnx.ModelProto, image: ImageInput) -> str:
    """The first node that reads more than one image of a batch, in words; empty if none does.

    Args:
        model: a graph with a free batch axis; what fails on two images takes them one by one.
        image: its input, with a batch of one.
    """
    side, draw = Side.of(model, image.name), np.random.default_rng(0)
    pair = replace(image, shape=(2, *image.shape[1:]))
    images = [drawn(draw, KINDS[0], pair.shape, pair.dtype) for _ in range(2)]
    own = {image.name: np.arange(2).reshape(2, *[1] * (len(pair.shape) - 1)) == 0}
    images[1] = np.where(own[image.name], images[0], images[1])
    alone = values_of(side, [images[0][:1]])
    try:
        together = values_of(side, images)
    except Exception:  # onnxruntime's classes share no base but Exception
        return ""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (first, second) in together.items():
        mask = _first_image(alone[name][0].shape, first, second) if name in alone else None
        if mask is None:
            return _described(side, name)
        own[name], shapes[name] = mask, first.shape
    session, differing = session_of(side.cut(shapes)), set[str]()
    for kind in repeated_kinds(sum(map(math.prod, shapes.values())), side.constants()):
        given, others = (
            {name: drawn(draw, kind, shape, "float32") for name, shape in shapes.items()}
            | {image.name: drawn(draw, kind, pair.shape, pair.dtype)}
            for _ in range(2)
        )
        expected = computed(session, given)
        for kept in (own, {name: ~mask for name, mask in own.items()}):
            mixed = {name: np.where(mask, given[name], others[name]) for name, mask in kept.items()}
            found = computed(session, mixed)
            for name in shapes:
                if _differs(expected[name + OUTPUT], found[name + OUTPUT], kept[name]):
                    differing.add(name)
    return _described(side, next(name for name in shapes if name in differing)) if differing else ""


def _described(side: Side, name: str) -> str:
    node = side.producers[name]
    return f"node {node.label!r} ({node.proto.op_type}) reads several images of a batch"


def _first_image(
    alone: tuple[int, ...], first: NDArray[Any], second: NDArray[Any]
) -> NDArray[np.bool_] | None:
    """Where a tensor of two images holds the first, broadcastable; None where it holds both.

    Args:
        alone: its shape for one image.
        first: its values.
        second: its values where the second image is another one.
    """
    if len(alone) != first.ndim:
        return None
    doubled = [
        axis for axis, (n, both) in enumerate(zip(alone, first.shape, strict=True)) if n != both
    ]
    if len(doubled) != 1 or first.shape[doubled[0]] != 2 * alone[doubled[0]]:
        return None
    (axis,), size = doubled, alone[doubled[0]]
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    kept = same.all(axis=tuple(other for other in range(first.ndim) if other != axis))
    for block in range(size, 0, -1):  # images are stored in blocks of so many entries
        mask = np.arange(2 * size) // block % 2 == 0
        if size % block == 0 and kept[mask].all():
            return mask.reshape([-1 if other == axis else 1 for other in range(first.ndim)])
    return None


def _differs(expected: NDArray[Any], found: NDArray[Any], own: NDArray[np.bool_]) -> bool:
    """Whether numbers of one image differ by more than rounding."""
    size = np.abs(expected).max(initial=0.0, where=np.isfinite(expected) & own)
    near = np.isclose(found, expected, rtol=CHANGE, atol=CHANGE * size, equal_nan=True)
    return not bool((near | ~own).all())
