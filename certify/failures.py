"""One image's failure never stops the others.

A runtime can fail on an input that it was fine with in shape: an index that the pixels lead out of
range, a step too large for the memory. What is asked of many images is then asked of fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Found = TypeVar("Found")

FAILURES = (ModelFileError, RuntimeError, IndexError)
"""What a model's operators raise: the runtime's errors, and torch's of the twin."""


HOPELESS = 8
"""When so many images fail before one has a row it is the model's fault, not the images'."""


def require_hope(failed: dict[int, Exception], *, done: bool, asked: int) -> None:
    """Raise the first error where nothing has come of ``asked`` images and it is no use to go on.

    Raises:
        Exception: what the model raised.
    """
    if not done and len(failed) >= min(HOPELESS, max(1, asked)):
        raise next(iter(failed.values()))


def in_parts(
    work: Callable[[NDArray[np.int64]], Found],
    indices: NDArray[np.int64],
    failed: dict[int, Exception],
) -> Iterator[tuple[NDArray[np.int64], Found]]:
    """``work`` of ``indices``, of both halves where it fails on the whole, and so on.

    An image that fails by itself is left out and goes to ``failed`` with its error.
    """
    try:
        found = work(indices)
    except FAILURES as error:
        if len(indices) == 1:
            failed[int(indices[0])] = error
            return
    else:
        yield indices, found
        return
    for half in np.array_split(indices, 2):
        yield from in_parts(work, half, failed)
