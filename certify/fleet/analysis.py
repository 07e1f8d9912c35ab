"""The audits of several models: one process each, as many at a time as there are workers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from .member import AuditOrder, audit_member
from .outcome import MemberOutcome
from .processes import ModelProcesses, ModelTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robcert.certify.auditing import SessionRequest

    from .models import FleetModel
    from .processes import Answer, Ending, Work


@dataclass(frozen=True, slots=True)
class Share:
    """How the audits of several models use the machine.

    Attributes:
        slots: models that are audited at the same time, in processes of one thread; 0 for one model
            with the threads of its request.
        each: workers of each audit, where there are more workers than models.
    """

    slots: int
    each: int = 1

    @classmethod
    def of(cls, request: SessionRequest, models: int) -> Share:
        """The share of each of so many models in the workers that ``request`` asks for.

        ``auto`` is one worker for each processor core: unlike the images of one model, models need
        no trial, because they never wait for one another.
        """
        if request.workers is None or not models:
            return cls(0)
        workers = cores() if request.workers == "auto" else request.workers
        return cls(workers, max(1, workers // models))

    def request(self, request: SessionRequest) -> SessionRequest:
        """``request`` with threads and workers of one model."""
        if not self.slots:
            return request
        if self.each > 1:
            return replace(request, workers=self.each)
        return replace(request, workers=None, threads=request.threads or 1)


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(slots=True)
class _Clock:
    """The time budget, of which every model gets an equal share of the rest.

    Attributes:
        end: ``time.monotonic()`` at the end; None for no limit.
        slots: models at the same time.
        left: models that are not started.
    """

    end: float | None
    slots: int
    left: int

    def next(self) -> float | None:
        """Seconds of the next model; negative where there is no time."""
        self.left -= 1
        if self.end is None:
            return None
        now = self.end - time.monotonic()
        return min(now, now * max(1, self.slots) / (self.left + 1))


def audit_models(
    order: AuditOrder, models: Sequence[FleetModel], *, debug: bool = False
) -> Iterator[tuple[int, MemberOutcome]]:
    """Audit ``models`` in processes of their own; number and outcome of each, as they end.

    Whatever happens to one of them, the others are audited. Leaving the iterator ends the
    processes.

    Args:
        order: what is done with every model.
        models: the models.
        debug: let the processes print the tracebacks of errors.
    """
    for place, ending in run_tasks(order, models, audit_member, debug=debug):
        yield place, MemberOutcome.of(models[place], ending)


def run_tasks(
    order: AuditOrder,
    models: Sequence[FleetModel],
    work: Callable[[AuditOrder, SessionRequest], Answer],
    *,
    requests: Sequence[SessionRequest] = (),
    debug: bool = False,
) -> Iterator[tuple[int, Ending]]:
    """Do ``work`` with each model in a process of its own; how it ended, as they end.

    Args:
        order: what is done with every model.
        models: the models.
        work: a function of the order and of a request for one model.
        requests: one for each model; empty for that of the order.
        debug: let the processes print the tracebacks of errors.
    """
    share = Share.of(order.request, len(models))
    seconds = order.request.seconds
    end = None if seconds is None else time.monotonic() + seconds
    clock = _Clock(end, share.slots // share.each, len(models))

    def started(model: FleetModel, request: SessionRequest) -> Work | None:
        left = clock.next()
        if left is not None and left < 0:
            return None
        own = share.request(replace(request, model=model.path, seconds=left))
        return partial(work, order, own)

    each = requests or [order.request] * len(models)
    tasks = [
        ModelTask(partial(started, model, request), model.key, share.each)
        for model, request in zip(models, each, strict=True)
    ]
    with ModelProcesses(max(1, share.slots), show_errors=debug) as pool:
        yield from pool.run(tasks)
