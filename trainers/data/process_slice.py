"""The rows of each batch that one of several training processes works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ProcessSlice:
    """Slice ``rank`` of a batch that is cut into ``count`` equal slices, in order.

    Random numbers are drawn for the whole batch and then cut, so that they do not depend on the
    number of processes.
    """

    rank: int = 0
    count: int = 1

    def whole_shape(self, shape: Sequence[int], axis: int = 0) -> list[int]:
        """Shape of the whole batch whose slice along ``axis`` has ``shape``."""
        return [size * self.count if i == axis else size for i, size in enumerate(shape)]

    def of(self, whole: Tensor, axis: int = 0) -> Tensor:
        """This process's slice of the tensor ``whole`` along ``axis``.

        >>> import torch
        >>> ProcessSlice(1, 2).of(torch.arange(6))
        tensor([3, 4, 5])
        """
        if self.count == 1:
            return whole
        rows = whole.shape[axis] // self.count
        return whole.narrow(axis, self.rank * rows, rows)


WHOLE_BATCH = ProcessSlice()
"""All rows: the slice of a process that trains alone."""
