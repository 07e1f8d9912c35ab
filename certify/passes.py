"""Count of the passes of a model: images through it, forward and backward."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Passes:
    """Passes of one image each.

    Attributes:
        forward: through the runtime or the twin.
        backward: gradients of the twin.
    """

    forward: int = 0
    backward: int = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)


@dataclass(slots=True)
class _Counting:
    """The counts so far, and how many blocks of code are counted now."""

    passes: Passes = field(default_factory=Passes)
    depth: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_counting = _Counting()  # of the process: threads of the sampler count too


@contextmanager
def counting() -> Iterator[None]:
    """Count the passes inside; without it nothing is counted, and no time is spent on it."""
    _counting.depth += 1
    try:
        yield
    finally:
        _counting.depth -= 1


def is_counting() -> bool:
    """Whether passes are counted now."""
    return _counting.depth > 0


def passes_so_far() -> Passes:
    """The passes that this process has counted."""
    with _counting.lock:
        return _counting.passes + Passes()


def count(*, forward: int = 0, backward: int = 0) -> None:
    """Add passes to the count, if they are counted."""
    if _counting.depth:
        with _counting.lock:
            _counting.passes = _counting.passes + Passes(forward, backward)
