"""How many worker processes compute rows: as requested, or by a trial on the model (``auto``).

A network's operators can share the cores by threads, or each core can compute images of its own in
a process. Threads wait for one another at every operator, which small networks spend most of their
time with; processes take memory each. The trial times both, in turn, on the same images.
"""

from __future__ import annotations

import contextlib
import time
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from robcert.certify.cluster import Subject, opened_crew
from robcert.certify.errors import (
    InvalidParameterError,
    WorkerError,
    require_at_least,
    require_between,
)
from robcert.certify.failures import FAILURES
from robcert.certify.importer import available_cores
from robcert.certify.workers import WorkerPool, why_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier
    from robcert.certify.workers import Crew, Part, Rows

    from .open import SessionRequest

Workers = int | Literal["auto"]
"""Number of worker processes, or ``auto`` for the result of a trial."""

TRIAL_IMAGES = 32
"""Images of one pass of the trial."""

ROUND_SECONDS = 0.4
ROUNDS = 3
"""Threads and processes are timed in turn, because other programs may use the cores meanwhile."""

WORKERS_PER_CORE, LEAST_LIMIT = 4, 16
"""Limit of the number of workers, for each core of this machine and for any."""

LEAST_GAIN = 1.1
"""Speed of processes in units of that of threads from which on they are worth their memory."""


def require_workers(workers: Workers, *, here: bool = True) -> None:
    """Raise an InvalidParameterError unless ``workers`` is ``auto`` or a number from 1.

    On this machine (``here``) also if there are many more than cores: each takes memory, and none
    makes the others faster.
    """
    if workers == "auto":
        return
    if here:
        most = max(LEAST_LIMIT, WORKERS_PER_CORE * available_cores())
        require_between("workers", workers, 1, most)
    else:
        require_at_least("workers", workers, 1)


@contextlib.contextmanager
def opened_workers(
    request: SessionRequest,
    classifier: Classifier,
    images: ImageSet,
    indices: Rows,
    on_note: Callable[[str], None],
) -> Iterator[tuple[int, Crew | None]]:
    """Number of worker processes, and the machines on which they are; they end with the context.

    Raises:
        InvalidParameterError: workers were requested where there can be none.
        WorkerError: the cluster cannot be used.
    """
    if request.ray is None:
        yield processes_of(request.workers, classifier, images, on_note), None
        return
    if reason := _why_not(classifier):
        raise InvalidParameterError(reason, hint="leave out --ray")
    most = None if request.workers == "auto" else request.workers
    subject = Subject(classifier, images, indices, most, request.limits.memory)
    with opened_crew(request.ray, subject, on_note) as crew:
        yield crew.count, crew


def processes_of(
    workers: Workers | None,
    classifier: Classifier,
    images: ImageSet,
    on_note: Callable[[str], None],
) -> int:
    """Number of worker processes; 0 where this process computes the rows with its threads.

    Args:
        workers: as requested; None for threads.
        classifier: the model.
        images: some of them are used in the trial.
        on_note: is told what the trial decided, and why.

    Raises:
        InvalidParameterError: worker processes were requested where there can be none.
    """
    if workers is None:
        return 0
    reason = why_unavailable(str(classifier.device)) or _why_not(classifier)
    if workers != "auto":
        if reason:
            raise InvalidParameterError(reason, hint="leave out --workers")
        return workers
    cores = classifier.runtime.cores
    if reason or cores == 1:
        on_note(f"workers: none, {reason or 'there is one core'}")
        return 0
    try:
        gain = _gain(classifier, images, cores)
    except (WorkerError, *FAILURES) as error:
        on_note(f"workers: none, the trial failed: {error}")
        return 0
    chosen = cores if gain >= LEAST_GAIN else 0
    decision = f"{cores} processes of one thread" if chosen else f"one process of {cores} threads"
    on_note(
        f"workers: {decision}; in a trial {cores} processes were {gain:.2g} times as fast as "
        f"{cores} threads"
    )
    return chosen


def _why_not(classifier: Classifier) -> str:
    """Why the rows of this model are not for workers; empty if they are."""
    if not classifier.info.random:
        return ""
    return "the model draws random numbers, and workers would draw the same, or others each time"


def _gain(classifier: Classifier, images: ImageSet, cores: int) -> float:
    """Speed of ``cores`` processes in units of that of as many threads; median over rounds."""
    x = images.pixels(np.arange(min(TRIAL_IMAGES, len(images)))).to(classifier.device)

    def passes(rows: Rows) -> Iterator[Part]:
        """One part: how many passes there were."""
        _once(classifier, x)  # memory is taken at the first
        end, done = time.monotonic() + ROUND_SECONDS, 0
        while time.monotonic() < end:
            _once(classifier, x)
            done += 1
        yield rows, done

    classifier.many_calls()  # opened here once rather than in each worker
    found = []
    with WorkerPool(passes, cores, "trial of worker processes") as pool:
        for _ in range(ROUNDS):
            by_threads = sum(done for _, done in passes(np.arange(1)))
            by_processes = sum(done for _, done in pool.run(np.arange(cores), lambda _: 1))
            found.append(by_processes / max(1, by_threads))
    return median(found)


def _once(classifier: Classifier, x: torch.Tensor) -> None:
    """A pass with the gradient, of which most analyses are made; without a twin a forward pass."""
    if not classifier.differentiable:
        classifier.logits(x)
        return
    inputs = x.clone().requires_grad_()
    torch.autograd.grad(classifier.twin_logits(inputs).sum(), inputs)
