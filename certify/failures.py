"""Isolation of images on which the model fails, so that the other images are still processed.

A runtime can fail on an input of the right shape: an index computed from the pixels is out of
range, or the batch does not fit into memory. The batch is then split in half, and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Result = TypeVar("Result")

FAILURES = (ModelFileError, RuntimeError, IndexError)
"""Errors raised by a model's operators, in the runtime or in the PyTorch twin."""

MOST_FAILURES = 8
"""After this many failures and no result, the error is taken to be the model's and is raised."""


def require_progress(failed: dict[int, Exception], *, done: bool, requested: int) -> None:
    """Raise the first error if all of the first ``MOST_FAILURES`` images (or of fewer) failed.

    Raises:
        Exception: the error that the model raised.
    """
    if not done and len(failed) >= min(MOST_FAILURES, max(1, requested)):
        raise next(iter(failed.values()))


def in_parts(
    work: Callable[[NDArray[np.int64]], Result],
    indices: NDArray[np.int64],
    failed: dict[int, Exception],
) -> Iterator[tuple[NDArray[np.int64], Result]]:
    """Results of ``work`` on ``indices``; where it fails, on both halves separately, recursively.

    A single image on which ``work`` fails is skipped, and its error is entered into ``failed``.
    """
    try:
        result = work(indices)
    except FAILURES as error:
        if len(indices) == 1:
            failed[int(indices[0])] = error
            return
    else:
        yield indices, result
        return
    for half in np.array_split(indices, 2):
        yield from in_parts(work, half, failed)


def outcomes(
    work: Callable[[NDArray[np.int64]], Result], indices: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Result | Exception]]:
    """The same with the errors at the end: of a single image on which it fails, its error."""
    failed: dict[int, Exception] = {}
    yield from in_parts(work, indices, failed)
    for index, error in failed.items():
        yield np.array([index]), error
