"""The driver's side: workers on the nodes, kept from one task to the next.

A worker whose process or node dies is replaced like any other: its rows that have not come back
are computed again. The driver alone writes the results file.
"""

from __future__ import annotations

import pickle
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from robcert.certify.errors import WorkerError

from .actor import Actor
from .facts import Facts, bits_of, require_same
from .packing import Packer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.model import Classifier
    from robcert.certify.workers import Link, Part, Rows, Work

    from .pixels import StoredImages
    from .request import RayRequest

START_SECONDS = 300.0
"""Seconds within which one worker must have been started."""

_COLOUR = re.compile(r"\x1b\[\d*m")

MOST_STARTS = 5
"""Workers in a row that may die before they have computed anything."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a node must agree with.

    Attributes:
        facts: versions and processor of the driver.
        bits: hash of what the model gives on the images ``at``; empty where it may vary.
        at: positions of these images.
        gpu: whether the model is on a GPU.
    """

    facts: Facts
    bits: str
    at: Rows
    gpu: bool


@dataclass(slots=True, eq=False)
class RayLink:
    """One worker.

    Attributes:
        crew: the workers that it is one of.
        actor: its handle.
        task: the task that it computes.
        answers: what its batch yields.
        cause: how it ended.
    """

    crew: RayCrew
    actor: Any
    task: RayTask | None = None
    answers: Any = None
    cause: str = ""

    def send(self, rows: Rows, end: float) -> None:
        """Let the worker compute ``rows``."""
        if self.task is not None:
            blocks = self.crew.stored.blocks(self.task.images(rows))
            left = end - time.monotonic()
            self.answers = self.actor.compute.remote([self.task.packed], rows, left, blocks)

    def received(self) -> Part | Exception | None:
        """The next answer.

        Raises:
            EOFError: the worker has ended.
        """
        try:
            found: Part | Exception | None = ray.get(next(self.answers))
        except RayTaskError as error:
            message = f"a Ray worker failed: {_reason(error)}"
            return WorkerError(message)
        except (RayError, StopIteration) as error:
            self.cause = _reason(error)
            raise EOFError from error
        return found

    def end(self) -> None:
        """Kill the worker."""
        self.crew.alive.discard(self)
        ray.kill(self.actor)

    def release(self) -> None:
        """Keep it for the next task."""
        self.crew.idle.append(self)

    @property
    def used(self) -> float:
        """Time, which always passes: Ray itself tells a node that has ended."""
        return time.monotonic()


@dataclass(slots=True)
class RayCrew:
    """Workers on the nodes of a cluster.

    Attributes:
        request: what each of them requests.
        classifier: the model.
        stored: the images.
        reference: what the nodes must agree with.
        count: largest number of workers.
        memory: bytes that the model may use.
        alive: the workers.
        idle: those of them without a task.
        packer: puts tasks into the object store.
    """

    request: RayRequest
    classifier: Classifier
    stored: StoredImages
    reference: Reference
    count: int
    memory: int | None
    alive: set[RayLink] = field(default_factory=set)
    idle: list[RayLink] = field(default_factory=list)
    packer: Packer = field(default_factory=Packer)
    _probe: Any = None
    _coming: dict[Any, RayLink] = field(default_factory=dict)
    _deaths: int = 0
    _since: float = 0.0

    def transport(self, work: Work, images: Callable[[Rows], Rows]) -> RayTask:
        """To workers that do ``work``."""
        return RayTask(self, work, images)

    def close(self) -> None:
        """End all workers."""
        for link in list(self.alive):
            link.end()
        self.idle.clear()
        self._coming.clear()

    def next_idle(self) -> RayLink | None:
        """A worker without a task; None while all are on their way.

        Raises:
            WorkerError: none can be started, or a node computes other rows.
        """
        self._greet(0.0)
        if self.idle:
            return self.idle.pop()
        while len(self.alive) < self.count:
            self._start()
        return None

    def sent(self, value: object) -> Any:
        """Reference to ``value`` in the object store.

        Raises:
            WorkerError: it holds something that cannot be sent.
        """
        try:
            return self.packer.put(value)
        except (TypeError, AttributeError, pickle.PicklingError, ValueError) as error:
            message = f"the model cannot be sent to the Ray workers: {_reason(error)}"
            raise WorkerError(message, hint="leave out ray, or save the model as a file") from error

    def references(self) -> list[Any]:
        """What becomes ready when a worker that is on its way arrives."""
        return list(self._coming)

    def _start(self) -> None:
        reference = self.reference
        if self._probe is None:
            subject = (self.classifier, self.stored.images, reference.at)
            self._probe = self.sent(partial(bits_of, *subject) if reference.bits else str)
        if not self._coming:
            self._since = time.monotonic()
        actor = _remote_actor(self.request).remote(self.memory)
        blocks = self.stored.blocks(reference.at)
        greeting = actor.greeting.remote(reference.facts, [self._probe], blocks)
        self._coming[greeting] = link = RayLink(self, actor)
        self.alive.add(link)

    def _greet(self, seconds: float) -> None:
        """Check the workers that have arrived, and let them be idle."""
        if not self._coming:
            return
        coming = list(self._coming)
        arrived, _ = ray.wait(coming, num_returns=len(coming), timeout=seconds)
        for greeting in arrived:
            link = self._coming.pop(greeting)
            try:
                facts, bits, node = ray.get(greeting)
            except RayTaskError as error:
                message = f"a Ray worker cannot be started: {_reason(error)}"
                hint = "every node needs robcert with the same versions as here"
                raise WorkerError(message, hint=hint) from None
            except RayError as error:
                self._not_started(link, error)
                continue
            self._deaths = 0
            self._require_agreement(facts, bits, node)
            self.idle.append(link)
        if len(self.alive) == len(self._coming) and time.monotonic() > self._since + START_SECONDS:
            message = (
                f"no node of the Ray cluster had room for a worker ({self.request.shown}) within "
                f"{START_SECONDS:g} s"
            )
            raise WorkerError(message, hint="other programs may use the cluster; try again later")

    def _not_started(self, link: RayLink, error: RayError) -> None:
        self.alive.discard(link)
        self._deaths += 1
        if self._deaths >= MOST_STARTS:
            message = f"{MOST_STARTS} Ray workers ended while they started: {_reason(error)}"
            hint = "memory of the nodes may not suffice: request more for each, as in memory=4G"
            raise WorkerError(message, hint=hint)

    def _require_agreement(self, facts: Facts, bits: str, node: str) -> None:
        """Raise a WorkerError if the worker on ``node`` would compute other rows."""
        reference = self.reference
        require_same(reference.facts, facts, node, gpu=reference.gpu)
        if bits != reference.bits:
            message = (
                f"the Ray node {node} would compute other rows: the model's scores or gradients "
                "differ there in their last bits"
            )
            hint = "run on nodes with one kind of processor; --ray-resources can choose them"
            raise WorkerError(message, hint=hint)


@dataclass(slots=True)
class RayTask:
    """One task for the workers of a crew.

    Attributes:
        crew: the workers.
        work: what they do with rows.
        images: the images that rows are about.
        packed: reference to the work in the object store, once a worker needs it.
    """

    crew: RayCrew
    work: Work
    images: Callable[[Rows], Rows]
    packed: Any = None

    def started(self) -> RayLink | None:
        """A worker; None while all are on their way."""
        link = self.crew.next_idle()
        if link is None:
            return None
        if self.packed is None:
            self.packed = self.crew.sent(self.work)
        link.task = self
        return link

    def ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        """Those of ``links`` that have answered or ended, waiting for ``seconds`` at most."""
        by_answers = {link.answers: link for link in links if isinstance(link, RayLink)}
        awaited = [*by_answers, *self.crew.references()]
        ray.wait(awaited, num_returns=1, timeout=seconds)
        arrived, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)
        return [by_answers[one] for one in arrived if one in by_answers]


def _remote_actor(request: RayRequest) -> Any:
    """The class of the workers, with what each requests; none is started again by Ray."""
    needs = dict(request.needs)
    options = {"num_cpus": needs.pop("CPU"), "num_gpus": needs.pop("GPU", 0.0)}
    if "memory" in needs:
        options["memory"] = needs.pop("memory")
    how = {**options, "resources": needs, "max_restarts": 0, "max_task_retries": 0}
    return ray.remote(**how)(Actor)


def _reason(error: BaseException) -> str:
    """The error in one line: the cause where a worker could not be made, else what Ray says."""
    text = _COLOUR.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    last = "creation task" in lines[0] or isinstance(error, RayTaskError)
    return lines[-1 if last else 0].rstrip(".")
