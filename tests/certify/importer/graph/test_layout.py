from __future__ import annotations

import pytest

from robcert.certify.errors import DataError, ModelFileError
from robcert.certify.importer.graph.layout import (
    InputLayout,
    layout_for_images,
    layout_without_images,
)

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def found(layout: InputLayout) -> tuple[str, tuple[int, ...], bool]:
    return layout.layout, layout.shape, layout.batched


@pytest.mark.parametrize(
    ("dims", "image", "expected"),
    [
        ((1, 3, 32, 32), COLOUR, ("NCHW", (3, 32, 32), True)),
        (("n", 32, 32, 3), COLOUR, ("NHWC", (32, 32, 3), True)),
        (("n", 3, "h", "w"), COLOUR, ("NCHW", (3, 32, 32), True)),
        (("n", "h", "w", 3), (3, 20, 30), ("NHWC", (20, 30, 3), True)),
        ((1, 28, 28, 1), GREY, ("NHWC", (28, 28, 1), True)),
        (("n", 28, 28), GREY, ("NCHW", (28, 28), True)),
        ((1, 784), GREY, ("flat", (784,), True)),
        ((1, 784, 1), GREY, ("flat", (784, 1), True)),
        ((1, 1, 1, 784), GREY, ("flat", (1, 1, 784), True)),
        (("n", 3072), COLOUR, ("flat", (3072,), True)),
        ((3, 32, 32), COLOUR, ("NCHW", (3, 32, 32), False)),
        ((784,), GREY, ("flat", (784,), False)),
        (("", "", "", ""), COLOUR, ("NCHW", (3, 32, 32), True)),
    ],
)
def test_images_settle_the_layout(
    dims: tuple[int | str, ...], image: tuple[int, int, int], expected: tuple[object, ...]
) -> None:
    assert found(layout_for_images("x", dims, image, None)) == expected


def test_a_layout_that_is_said_decides_the_order_inside_a_vector() -> None:
    assert found(layout_for_images("x", (1, 3072), COLOUR, "NHWC")) == ("NHWC", (3072,), True)
    assert found(layout_for_images("x", (1, 3, 3, 3), (3, 3, 3), "NHWC")) == (
        "NHWC",
        (3, 3, 3),
        True,
    )


@pytest.mark.parametrize(
    ("dims", "reason"),
    [
        ((1, 16), "a vector of 16 numbers, not an image of the data given .3x32x32"),
        (
            (1, 1, 28, 28),
            r"images of shape 3x32x32 .* do not fit input 'x' of shape \[1, 1, 28",
        ),
    ],
)
def test_what_does_not_fit_is_named(dims: tuple[int, ...], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        layout_for_images("x", dims, COLOUR, None)


def test_a_layout_that_contradicts_the_input_is_named() -> None:
    with pytest.raises(DataError, match=r"of shape \[1, 3, 32, 32\] as NHWC"):
        layout_for_images("x", (1, 3, 32, 32), COLOUR, "NHWC")


@pytest.mark.parametrize(
    ("dims", "layout", "image"),
    [
        ((1, 3, 32, 32), "NCHW", (3, 32, 32)),
        (("n", 50, 155, 3), "NHWC", (3, 50, 155)),
        (("n", 28, 28), "NCHW", (1, 28, 28)),
        ((1, 784), "flat", (1, 28, 28)),
        ((1, 3072), "flat", (3, 32, 32)),
    ],
)
def test_without_images_the_shape_is_read(
    dims: tuple[int | str, ...], layout: str, image: tuple[int, int, int]
) -> None:
    guess = layout_without_images("x", dims, None)
    assert (guess.layout, guess.image) == (layout, image)
    assert "no images given" in guess.notes[0]


@pytest.mark.parametrize("dims", [(1, 16), (3, 2), (1, 785), ("n", 3, "h", "w")])
def test_without_images_other_shapes_are_no_image(dims: tuple[int | str, ...]) -> None:
    with pytest.raises(ModelFileError, match="not an image"):
        layout_without_images("x", dims, None)
