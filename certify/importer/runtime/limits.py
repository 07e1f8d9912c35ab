"""What a model file may use while it runs: time of a call and memory.

This module is imported by the child process that tries an untrusted file: it must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from robcert.certify.errors import require_between, require_seconds

SECONDS, SECONDS_PER_IMAGE = 60.0, 5.0
"""Time that a call may take by default, and further time for each image of its batch."""

MEMORY, MEMORY_PER_BYTE = 3 * 2**30, 8
"""Bytes of address space that a process with an untrusted file may have by default, and further
ones a byte of the file; parsing, serialising and optimising each hold a copy of the weights."""

MOST_MEMORY = 2**60
"""Bytes; the system takes limits below 2^63."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits that the user sets; None for the defaults.

    Attributes:
        seconds: longest time of one call of the model, whatever its batch.
        memory: bytes that the model may use.
    """

    seconds: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.seconds is not None:
            require_seconds("call_limit", self.seconds)
        if self.memory is not None:
            require_between("memory_limit", self.memory, 1, MOST_MEMORY)

    def call_seconds(self, rows: int) -> float:
        """Longest time of a call on ``rows`` images."""
        return SECONDS + SECONDS_PER_IMAGE * rows if self.seconds is None else self.seconds

    @property
    def allowed(self) -> int:
        """Bytes that the model may use beside its file."""
        return MEMORY if self.memory is None else self.memory

    def address_space(self, size: int) -> int:
        """Bytes of address space of a process that runs a file of ``size`` bytes."""
        return self.allowed + MEMORY_PER_BYTE * size


UNLIMITED_ROWS = 2**31
"""More images than any batch has."""


def most_rows(memory: int, each: int) -> int:
    """Largest batch that fits into ``memory`` bytes where an image takes ``each``; at least 1."""
    return max(1, memory // each) if each > 0 else UNLIMITED_ROWS


def gibibytes(size: float) -> str:
    """``size`` bytes in words, such as ``3.0 GiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
