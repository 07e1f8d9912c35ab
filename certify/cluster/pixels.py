"""The images of a session in the object store, in blocks that reach each node once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from .unpacking import as_float

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet
    from robcert.certify.workers import Rows

    from .unpacking import Block

BLOCK_BYTES = 2**23
"""Bytes of the pixels of a block, in float32."""

MOST_IMAGES = 64
"""Images of a block, so that a batch takes few that it does not need."""


@dataclass(slots=True)
class StoredImages:
    """Images of a set, put into the object store when a batch first needs them.

    Attributes:
        images: the set.
    """

    images: ImageSet
    _block_of: dict[int, int] = field(default_factory=dict)
    _positions: list[Rows] = field(default_factory=list)
    _references: dict[int, Any] = field(default_factory=dict)

    def blocks(self, indices: Rows) -> list[Block]:
        """The blocks that hold ``indices``."""
        wanted = list(dict.fromkeys(indices.tolist()))
        fresh = np.array([index for index in wanted if index not in self._block_of], np.int64)
        size = min(MOST_IMAGES, max(1, BLOCK_BYTES // (4 * int(np.prod(self.images.shape)))))
        for first in range(0, len(fresh), size):
            positions = fresh[first : first + size]
            self._block_of |= dict.fromkeys(positions.tolist(), len(self._positions))
            self._positions.append(positions)
        numbers = sorted({self._block_of[index] for index in wanted})
        return [(self._reference(number), self._positions[number]) for number in numbers]

    def _reference(self, number: int) -> Any:
        if number not in self._references:
            pixels = self.images.source.read(self._positions[number])
            self._references[number] = ray.put(_narrow(pixels))
        return self._references[number]


def _narrow(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """The same pixels in 8 bits where no bit is lost."""
    levels = np.rint(pixels * np.float32(255)).astype(np.uint8)
    return levels if as_float(levels).tobytes() == pixels.tobytes() else pixels
