"""A worker on a node of the cluster: a process that computes rows and writes nothing."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from ray.util import get_node_ip_address

from robcert.certify.errors import RobcertError, WorkerError
from robcert.certify.numerics import keep_freed_memory, limited_memory
from robcert.certify.session import BATCH_SECONDS
from robcert.certify.time_budget import abandoned_after
from robcert.certify.workers import become_worker, portable

from .facts import Facts, facts_here
from .unpacking import Block, hold, new_task, set_clock, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.workers import Part, Rows, Work


class Actor:
    """What the driver calls.

    Args:
        memory: bytes that the model may use; None for the memory of the node.
    """

    def __init__(self, memory: int | None) -> None:
        become_worker()
        keep_freed_memory()
        self._limit = limited_memory(memory)
        self._limit.__enter__()
        self._task: Any = None
        self._work: Work | None = None

    def greeting(
        self, expected: Facts, probe: list[Any], blocks: list[Block]
    ) -> tuple[Facts, str, str]:
        """Facts of this node, what the model gives on some images, and the address.

        Args:
            expected: facts of the driver; nothing else is read where the versions differ.
            probe: reference to the function that computes it.
            blocks: these images.
        """
        facts, node = facts_here(), get_node_ip_address()
        if any(facts.get(name) != value for name, value in expected.items() if name != "GPU"):
            return facts, "", node
        hold(blocks)
        return facts, unpacked(probe[0])(), node

    def compute(
        self, task: list[Any], rows: Rows, left: float, blocks: list[Block]
    ) -> Iterator[Part | Exception | None]:
        """Parts of ``rows``, then the error that ended the work, or None.

        Args:
            task: reference to the work.
            rows: what to compute.
            left: seconds after which the work is abandoned; infinite for no limit.
            blocks: the images of the rows.
        """
        answer: Exception | None = None
        try:
            work = self._of_task(task[0])
            hold(blocks)
            set_clock(None if math.isinf(left) else left - BATCH_SECONDS)
            with abandoned_after(time.monotonic() + left):
                for indices, found in work(rows):
                    yield indices, portable(found) if isinstance(found, Exception) else found
        except Exception as error:  # the driver raises it, as if it had computed the rows
            answer = portable(error)
        yield answer

    def _of_task(self, task: Any) -> Work:
        """The work that ``task`` refers to."""
        if self._work is None or task != self._task:
            new_task()
            try:
                self._task, self._work = task, unpacked(task)
            except RobcertError:
                raise
            except Exception as error:
                message = f"a Ray worker cannot read its task: {type(error).__name__}: {error}"
                raise WorkerError(message) from error
        return self._work
