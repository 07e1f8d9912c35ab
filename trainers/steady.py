"""Trainings that give the same weights each time, on processors without AVX-512 too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def steady_convolutions() -> Iterator[None]:
    """Leave oneDNN out on processors with AVX2 and without AVX-512.

    There its gradients of convolutions with few channels differed from run to run (torch 2.14), or
    the process died; torch's own do not, and are slower.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        yield
        return
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        yield
