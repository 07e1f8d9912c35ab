"""What a pool of workers needs to know of them, wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Images, or other rows, by their numbers."""

Part = tuple[Rows, Any]
"""Rows that are done, and what was computed for them, or the error that it ended with."""

Work = Callable[[Rows], Iterable[Part]]
"""Parts of the rows that it is given, as they are done."""


class Link(Protocol):
    """The connection to one worker."""

    def send(self, rows: Rows, end: float) -> None:
        """Let the worker compute ``rows``; it abandons them at ``end`` of ``time.monotonic()``."""

    def received(self) -> Part | Exception | None:
        """The next part, then the error that ended the batch, or None where none did.

        Raises:
            EOFError: the worker has ended.
        """

    def end(self) -> None:
        """End the worker: it writes no file, so nothing is lost but what it computes."""

    def release(self) -> None:
        """Give back a worker that has no batch."""

    @property
    def cause(self) -> str:
        """How the worker ended."""

    @property
    def used(self) -> float:
        """Processor time of the worker, seconds; one that hangs uses none."""


class Transport(Protocol):
    """How workers are started and heard."""

    def started(self) -> Link | None:
        """A new worker; None while it is on its way.

        Raises:
            WorkerError: there can be none.
        """

    def ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        """Those of ``links`` that have something to receive.

        Waits for at most ``seconds`` for the first, or for a worker that is on its way.
        """


class Crew(Protocol):
    """Workers that compute one task after the other, on machines that share no memory."""

    def transport(self, work: Work, images: Callable[[Rows], Rows]) -> Transport:
        """To workers that do ``work``.

        Args:
            work: what they do with rows.
            images: the images that rows are about, by their positions in the data set.
        """
