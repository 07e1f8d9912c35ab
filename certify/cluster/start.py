"""Opening a cluster: the checks that need Ray, and the one that is started here."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import InvalidParameterError, WorkerError
from robcert.certify.importer import available_cores
from robcert.certify.numerics import unlimited_memory

from .request import require_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier
    from robcert.certify.workers import Rows

    from .crew import RayCrew
    from .request import RayRequest

ANSWER_SECONDS = 10.0
"""Seconds within which the head of a cluster must accept a connection."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the workers of a crew compute with.

    Attributes:
        classifier: the model.
        images: the images.
        indices: positions of those that are reported on.
        workers: largest number of workers; None for as many as the nodes have room for.
        memory: bytes that the model may use; None for the memory of the node.
    """

    classifier: Classifier
    images: ImageSet
    indices: Rows
    workers: int | None = None
    memory: int | None = None


@contextlib.contextmanager
def opened_crew(
    request: RayRequest, subject: Subject, on_note: Callable[[str], None]
) -> Iterator[RayCrew]:
    """Workers on the cluster of ``request``, which end with the context.

    Raises:
        InvalidParameterError: Ray is not installed, or the request does not fit the model.
        WorkerError: there is no such cluster, or none of its nodes has what is requested.
    """
    require_ray()
    _require_device(request, subject.classifier)
    from .crew import RayCrew, Reference
    from .facts import PROBES, bits_here, facts_here
    from .pixels import StoredImages

    at = subject.indices[:PROBES]
    classifier, images = subject.classifier, subject.images
    bits = bits_here(classifier, images, at)  # before Ray has threads, which a fork lacks
    with _connected(request, subject.workers or 1) as ray:
        rooms = rooms_of(ray.nodes(), request)
        if not sum(rooms.values()):
            message = f"no node of the Ray cluster has {request.shown} for a worker"
            hint = "ray status shows what they have; --ray-resources says what a worker requests"
            raise WorkerError(message, hint=hint)
        count = subject.workers or sum(rooms.values())
        on_note(f"ray: up to {count} workers ({request.shown} each) on {_listed(rooms)}")
        reference = Reference(facts_here(), bits, at, gpu=classifier.device.type == "cuda")
        crew = RayCrew(request, classifier, StoredImages(images), reference, count, subject.memory)
        try:
            yield crew
        finally:
            crew.close()


def _require_device(request: RayRequest, classifier: Classifier) -> None:
    """Raise an InvalidParameterError unless workers request a GPU just where the model is on one.

    Rows that a GPU computes differ in their last bits, so every worker must do as the driver does.
    """
    gpus, device = request.needs.get("GPU", 0.0), classifier.device
    if device.type == "cuda" and not gpus:
        message = f"the model is on {device}, but the Ray workers request no GPU"
        raise InvalidParameterError(message, hint="pass --ray-resources gpu=1, or --device cpu")
    if device.type == "cuda" and device.index:
        message = f"the model is on {device}: with Ray it must be on the first GPU of a process"
        raise InvalidParameterError(message, hint="pass --device cuda")
    if device.type != "cuda" and gpus:
        message = f"the Ray workers request a GPU, but the model is on {device} here"
        hint = "run the command on a node with a GPU, or leave gpu out of --ray-resources"
        raise InvalidParameterError(message, hint=hint)


@contextlib.contextmanager
def _connected(request: RayRequest, workers: int) -> Iterator[Any]:
    """Ray, connected to the cluster; an existing connection of the program is kept as it is.

    Args:
        request: which cluster.
        workers: workers for which a cluster of this machine has room at least.

    Raises:
        WorkerError: there is no such cluster, or it runs another version of Ray or Python.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    import ray

    if ray.is_initialized():
        yield ray
        return
    how: dict[str, Any] = {}
    if request.local:
        cpus = math.ceil(workers * request.needs["CPU"])
        how = {"num_cpus": max(available_cores(), cpus), "include_dashboard": False}
        os.environ.setdefault("RAY_worker_niceness", "0")  # as other processes of the command
    require_answer(request)
    logging.getLogger("ray").setLevel(logging.ERROR)
    _keep_from_stdout()
    try:
        with unlimited_memory(), _same_signals():
            ray.init(
                address=request.address,
                log_to_driver=False,
                configure_logging=False,
                **how,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        message = f"cannot reach the Ray cluster {request.address}: {reason}"
        hint = "pass local, auto on a node of a cluster, or HOST:PORT of its head"
        raise WorkerError(message, hint=hint) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def require_answer(request: RayRequest) -> None:
    """Raise a WorkerError where nothing answers at HOST:PORT; Ray would try for minutes."""
    host, _, port = request.address.rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        message = f"nothing answers at the Ray address {request.address}: {error}"
        hint = "pass HOST:PORT of the cluster's head (often port 6379), or auto on a node"
        raise WorkerError(message, hint=hint) from None


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """Context after which SIGTERM does what it did; Ray has an idea of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # as it is where the handler is not Python's
            signal.signal(signal.SIGTERM, before)


def _keep_from_stdout() -> None:
    """Silence Ray's messages about dead workers, which it prints where the result is printed."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def rooms_of(nodes: list[dict[str, Any]], request: RayRequest) -> dict[str, int]:
    """Workers for which each living node has room, by its address."""
    needs = {name: amount for name, amount in request.needs.items() if amount}
    rooms: dict[str, int] = {}
    for node in nodes:
        if node["Alive"]:
            has = node["Resources"]
            room = [math.floor(has.get(name, 0.0) / amount) for name, amount in needs.items()]
            name = node["NodeManagerAddress"]
            rooms[name] = rooms.get(name, 0) + (min(room) if room else available_cores())
    return rooms


def _listed(rooms: dict[str, int]) -> str:
    """The nodes with room, in a note."""
    nodes = [f"{name} ({room})" for name, room in rooms.items() if room]
    return ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
