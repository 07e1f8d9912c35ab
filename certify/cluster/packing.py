"""Tasks as bytes for the nodes: what an analysis computes with, without files and sessions.

Parts that hold a model's weights travel by themselves: they reach each node once, however many
tasks use them. Only robcert's own processes read these bytes.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import ray
from ray import cloudpickle
from torch import fx

from robcert.certify.core import silent
from robcert.certify.data import ImageSet
from robcert.certify.importer import HEAVY_PARTS
from robcert.certify.session import Session
from robcert.certify.store import AnalysisGroup, ResultStore, packed_table, unpacked_table

from . import unpacking

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(slots=True)
class Packer:
    """Puts tasks into the object store of the cluster.

    Attributes:
        parts: references to the parts so far, by number.
    """

    parts: dict[int, Any] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)  # an address stays that of one object

    def put(self, value: object) -> Any:
        """Reference to ``value`` in the object store."""
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, self, value)
        pickler.dump(value)
        parts = {number: self.parts[number] for number in pickler.used}
        return ray.put((np.frombuffer(buffer.getbuffer(), np.uint8), parts))

    def number_of(self, part: object) -> int:
        """Number of a part of a model, which is put into the store at its first use."""
        number = self._numbers.get(id(part))
        if number is None:
            number = len(self.parts)
            reference = self.put(part)
            number = len(self.parts)  # parts of the part come first
            self._kept.append(part)
            self._numbers[id(part)], self.parts[number] = number, reference
        return number


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickler of one value.

    Attributes:
        used: numbers of the parts that the value refers to.
    """

    def __init__(self, buffer: io.BytesIO, packer: Packer, root: object) -> None:
        super().__init__(buffer, protocol=5)
        self._packer, self._root = packer, root
        self.used: set[int] = set()

    def reducer_override(self, item: Any) -> Any:
        """How ``item`` becomes bytes."""
        if item is not self._root and isinstance(item, HEAVY_PARTS):
            number = self._packer.number_of(item)
            self.used.add(number)
            return unpacking.part, (number,)
        for kind, reduced in _REDUCERS:
            if isinstance(item, kind):
                found = reduced(item)
                if found is not None:
                    return found
        return super().reducer_override(item)


def _graph_module(module: fx.GraphModule) -> Reduced:
    """Its nodes as they are; torch would trace the code again, through robcert's operators."""
    numbers = {node: number for number, node in enumerate(module.graph.nodes)}

    def number(node: fx.Node) -> Any:
        return unpacking.NodeNumber(numbers[node])

    def numbered(value: Any) -> Any:
        return fx.node.map_arg(value, number)

    nodes = [
        (node.name, node.op, node.target, numbered(node.args), numbered(node.kwargs))
        for node in module.graph.nodes
    ]
    held = {
        name: value
        for name, value in module.__dict__.items()
        if name in _OF_MODULE or not (name.startswith("_") or name in {"training", "meta"})
    }
    return unpacking.graph_module, (held, nodes, module.training)


_OF_MODULE = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})


def _cached(function: Any) -> Reduced | None:
    """What a function of no arguments has found, or the function to be called there."""
    path = getattr(function, "__qualname__", "<locals>")
    if "<locals>" not in path:
        found: Any = importlib.import_module(function.__module__)
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is function:
            return None  # by its name
    if function.cache_info().currsize and not inspect.signature(function).parameters:
        return unpacking.known, (function(),)
    return functools.cache, (function.__wrapped__,)


def _session(session: Session) -> Reduced:
    """All but what belongs to the driver: the file, its progress, its workers and its clock."""
    values = {entry.name: getattr(session, entry.name) for entry in fields(session)}
    timed = session.deadline is not None
    values |= {"progress": silent, "deadline": None, "processes": 0, "crew": None, "pilot": None}
    return unpacking.session, (values, timed)


def _images(images: ImageSet) -> Reduced:
    """Labels and names; the pixels come with each batch."""
    values = {entry.name: getattr(images, entry.name) for entry in fields(images)}
    del values["source"], values["other_order"]
    return unpacking.images, (values, images.shape, len(images))


_REDUCERS: tuple[tuple[Any, Callable[[Any], Reduced | None]], ...] = (
    (fx.GraphModule, _graph_module),
    (functools._lru_cache_wrapper, _cached),
    (Session, _session),
    (ImageSet, _images),
    (AnalysisGroup, lambda group: (unpacked_table, packed_table(group))),
    (ResultStore, lambda _: (unpacking.no_file, ())),
)
