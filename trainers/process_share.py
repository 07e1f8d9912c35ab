"""Which rows of a batch a process has, where several share the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """The ``rank``-th of ``count`` equal parts, in order.

    Random numbers are drawn for the whole batch and cut, so that they do not depend on how many
    processes there are.
    """

    rank: int = 0
    count: int = 1

    def whole(self, shape: Sequence[int], axis: int = 0) -> list[int]:
        """Shape of the whole batch whose part along ``axis`` has ``shape``."""
        return [size * self.count if i == axis else size for i, size in enumerate(shape)]

    def part(self, whole: Tensor, axis: int = 0) -> Tensor:
        """This part of ``whole`` along ``axis``.

        >>> import torch
        >>> Share(1, 2).part(torch.arange(6))
        tensor([3, 4, 5])
        """
        if self.count == 1:
            return whole
        rows = whole.shape[axis] // self.count
        return whole.narrow(axis, self.rank * rows, rows)


WHOLE = Share()
"""All rows: one process."""
