"""Many short texts in two objects, which forks of a process can read without copying them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class PackedText(Sequence[str]):
    """A sequence of texts in one block of bytes.

    A million Python strings take 100 MB, and a fork that reads them copies their pages, since each
    has its count of references beside it.

    >>> PackedText(["ant", "", "bee"])[2]
    'bee'
    """

    def __init__(self, texts: Iterable[str]) -> None:
        parts = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        self._bytes = b"".join(parts)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> PackedText: ...

    def __getitem__(self, at: int | slice) -> str | PackedText:
        if isinstance(at, slice):
            return PackedText(self[i] for i in range(*at.indices(len(self))))
        first, last = self._ends[range(len(self))[at] + np.arange(2)]
        return self._bytes[first:last].decode("utf-8", "surrogateescape")
