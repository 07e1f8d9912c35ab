"""The worker's side of tasks: what :mod:`.packing` sent, and the pixels of the current batch."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from torch import fx, nn

from robcert.certify.data import ImageSet
from robcert.certify.errors import WorkerError
from robcert.certify.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robcert.certify.workers import Rows

Block = tuple[Any, "Rows"]
"""Reference to images in the object store, and their positions in the data set."""


@dataclass(slots=True)
class _Here:
    """What this worker has received.

    Attributes:
        references: to parts of models, by number.
        parts: those that were used.
        sessions: of the task, whose clock is set with each batch.
    """

    references: dict[int, Any] = field(default_factory=dict)
    parts: dict[int, Any] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)


_here = _Here()


def unpacked(packed: Any) -> Any:
    """The value that was put into the object store, by its reference."""
    content, references = ray.get(packed)
    _here.references.update(references)
    return pickle.loads(content)  # noqa: S301 - bytes of the driver, whose program this is


def new_task() -> None:
    """Forget the sessions of the task before."""
    _here.sessions.clear()


def set_clock(seconds: float | None) -> None:
    """Let the sessions of the task start nothing after ``seconds`` from now; None: no limit."""
    for session in _here.sessions:
        session.deadline = None if seconds is None else time.monotonic() + seconds


def part(number: int) -> Any:
    """A part of a model."""
    if number not in _here.parts:
        _here.parts[number] = unpacked(_here.references[number])
    return _here.parts[number]


def session(values: dict[str, Any], timed: bool) -> Session:
    """A session without a file."""
    made = object.__new__(Session)
    for name, value in values.items():
        setattr(made, name, value)
    if timed:
        _here.sessions.append(made)
    return made


def images(values: dict[str, Any], shape: tuple[int, int, int], count: int) -> ImageSet:
    """A set of images whose pixels come with each batch."""
    return ImageSet(source=SentPixels(shape, count), **values)


def no_file() -> None:
    """In the place of the results file, which the driver alone reads and writes."""


def known(value: Any) -> Callable[[], Any]:
    """Function that returns what was computed before."""
    return partial(_itself, value)


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class NodeNumber:
    """Stands for a node of a graph among the arguments of another."""

    number: int


def graph_module(held: dict[str, Any], nodes: list[Any], training: bool) -> fx.GraphModule:
    """The module with these attributes and nodes."""
    root = nn.Module()
    root.__dict__.update(held)
    graph, made = fx.Graph(), list[fx.Node]()

    def placed(value: Any) -> Any:
        if isinstance(value, NodeNumber):
            return made[value.number]
        if isinstance(value, tuple | list):
            items = map(placed, value)
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, dict):
            return {key: placed(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(placed(value.start), placed(value.stop), placed(value.step))
        return value

    for name, op, target, args, kwargs in nodes:
        made.append(graph.create_node(op, target, placed(args), placed(kwargs), name))
    module = fx.GraphModule(root, graph)
    return module.train(training)


_sent: dict[int, tuple[NDArray[Any], int]] = {}


def hold(blocks: list[Block]) -> None:
    """Take the images of a batch from the object store of this node."""
    _sent.clear()
    for reference, positions in blocks:
        pixels = ray.get(reference)
        _sent.update((int(at), (pixels, row)) for row, at in enumerate(positions))


@dataclass(frozen=True, slots=True)
class SentPixels:
    """The images of the current batch, by their positions in the data set.

    Attributes:
        shape: (c, h, w) of every image.
        count: size of the data set.
    """

    shape: tuple[int, int, int]
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels ``(b, c, h, w)`` in [0, 1]."""
        found = np.empty((len(indices), *self.shape), np.float32)
        for row, index in enumerate(indices.tolist()):
            if index not in _sent:
                message = f"image {index} was not sent to this worker"
                raise WorkerError(message)
            block, at = _sent[index]
            found[row] = as_float(block[at])
        return found

    def check(self, _: object) -> tuple[str, ...]:
        """No reason for doubt: the driver has checked the images."""
        return ()


def as_float(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels in [0, 1] of stored ones, which may be levels of 8 bits."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return np.asarray(pixels, np.float32)
