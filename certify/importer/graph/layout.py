"""Which axes of a model's input are batch, channels, height and width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.errors import DataError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.model import Layout

ImageShape = tuple[int, int, int]
Dimensions = tuple[int | str, ...]

SMALLEST_SIDE = 8
"""A bare vector is taken for a square image only from this side on."""


@dataclass(frozen=True, slots=True)
class InputLayout:
    """How images are laid out in an input.

    Attributes:
        layout: order of the axes.
        shape: shape of one input without the batch axis.
        image: (c, h, w).
        batched: whether there is a batch axis.
        notes: what was decided where the file leaves it open.
    """

    layout: Layout
    shape: tuple[int, ...]
    image: ImageShape
    batched: bool = True
    notes: tuple[str, ...] = ()


def layout_for_images(
    name: str, dims: Dimensions, image: ImageShape, wanted: Layout | None
) -> InputLayout:
    """Layout in which images of shape ``image`` fit the input ``name`` of shape ``dims``.

    Tried in this order: NCHW, NHWC, one vector; first with a batch axis, then without; first axis
    by axis, then without axes of length 1. ``wanted`` settles it.

    Raises:
        DataError: they do not fit.
    """
    orders: tuple[Layout, ...] = (wanted,) if wanted else ("NCHW", "NHWC", "flat")
    for rest, batched in ((dims[1:], True), (dims, False)):
        for fits in (_same, _same_without_ones):
            for order in orders:
                shape = fits(rest, _ordered(image, order))
                if shape:
                    return InputLayout(order, shape, image, batched, _vector_note(order, image))
    # A stated layout may also be the order inside a flat input.
    vector = _same_without_ones(dims[1:], (math.prod(image),))
    if wanted and vector:
        return InputLayout(wanted, vector, image)
    hint = "give images of that shape" + (", or another layout" if wanted else "")
    raise DataError(_misfit(name, dims, image, wanted), hint=hint)


def layout_without_images(name: str, dims: Dimensions, wanted: Layout | None) -> InputLayout:
    """Most plausible layout of the input ``name`` when no images are given.

    Raises:
        ModelFileError: the shape is not that of an image.
    """
    rest = dims[1:]
    sizes = [size for size in rest if isinstance(size, int)]
    if len(sizes) == len(rest):
        image = _image_of(sizes, wanted)
        if image:
            found = layout_for_images(name, dims, image, wanted)
            note = f"no images given: input {name!r} {shown(dims)} is taken for {found.layout}"
            return InputLayout(found.layout, found.shape, image, True, (note, *found.notes))
    message = f"input {name!r} of shape {shown(dims)} is not an image"
    if sizes and all(isinstance(size, int) for size in rest):
        message = f"input {name!r} is a vector of {math.prod(sizes)} numbers, not an image"
    hint = "give images that it takes (--data)"
    raise ModelFileError(message, hint=hint)


def shown(dims: Sequence[int | str]) -> str:
    """A shape as text; free axes by name."""
    return "[" + ", ".join(str(size) if size != "" else "?" for size in dims) + "]"


def _ordered(image: ImageShape, order: Layout) -> tuple[int, ...]:
    c, h, w = image
    return {"NCHW": (c, h, w), "NHWC": (h, w, c), "flat": (c * h * w,)}[order]


def _same(dims: Dimensions, target: tuple[int, ...]) -> tuple[int, ...]:
    """``target`` if the axes agree one by one; free axes agree with anything."""
    agree = len(dims) == len(target) and all(
        isinstance(size, str) or size == wanted for size, wanted in zip(dims, target, strict=True)
    )
    return target if agree else ()


def _same_without_ones(dims: Dimensions, target: tuple[int, ...]) -> tuple[int, ...]:
    """``dims`` if they equal ``target`` up to axes of length 1, such as [784, 1] and [28, 28]."""
    sizes = tuple(size for size in dims if isinstance(size, int))
    if len(sizes) < len(dims):
        return ()
    agree = [size for size in sizes if size > 1] == [size for size in target if size > 1]
    return sizes if agree else ()


def _vector_note(order: Layout, image: ImageShape) -> tuple[str, ...]:
    if order != "flat":
        return ()
    rows = "row by row" if image[0] == 1 else "one whole channel after the other, row by row"
    return (f"the input is one vector: pixels {rows}, unless said otherwise",)


def _image_of(sizes: list[int], wanted: Layout | None) -> ImageShape | None:
    """(c, h, w) of an input without batch axis; None if it does not look like an image."""
    if len(sizes) == 3 and wanted != "flat":
        first, middle, last = sizes
        channels_last = wanted == "NHWC" or (
            wanted is None and last in (1, 3) and first not in (1, 3)
        )
        return (last, first, middle) if channels_last else (first, middle, last)
    sizes = [size for size in sizes if size > 1]
    if len(sizes) == 2:
        return (1, sizes[0], sizes[1])
    if len(sizes) == 1:
        for channels in (1, 3):
            side = math.isqrt(sizes[0] // channels)
            if side >= SMALLEST_SIDE and channels * side * side == sizes[0]:
                return (channels, side, side)
    return None


def _misfit(name: str, dims: Dimensions, image: ImageShape, wanted: Layout | None) -> str:
    images = "x".join(map(str, image))
    rest = [size for size in dims[1:] if isinstance(size, int) and size > 1]
    if len(rest) == 1 and len(dims) > 1:
        return (
            f"input {name!r} is a vector of {rest[0]} numbers, not an image of the data given "
            f"({images}, {math.prod(image)} numbers)"
        )
    order = f" as {wanted}" if wanted else ""
    return (
        f"images of shape {images} (channels, height, width) do not fit input {name!r} "
        f"of shape {shown(dims)}{order}"
    )
