"""Asks a child process how the graph that ONNX Runtime executes differs from the file's."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from robcert.certify.children import run_module

from ..runtime.frames import packed
from ..runtime.limits import gibibytes
from ..runtime.sandbox import SECONDS, SECONDS_PER_GIGABYTE
from .nodes import node_difference

if TYPE_CHECKING:
    from robcert.certify.children import Ended

    from ..runtime.worker_session import WorkerSource
    from .comparison import ImageInput

_CHILD = "robcert.certify.importer.executed.child"

MOST_RUNS = 480
"""Evaluations of one image that a comparison takes at most, rounded up."""


@dataclass(frozen=True, slots=True)
class ShippedFile:
    """A file as others open it: its own outputs, declared shapes and batch size.

    ONNX Runtime may make another graph of it than of the edited copy that robcert runs.

    Attributes:
        model: the file.
        output: the one of its outputs that holds the scores.
        shape: of its input, with the batch axis if it has one.
        batches: numbers of images in the batches that the copy is asked with.
    """

    model: onnx.ModelProto
    output: str
    shape: tuple[int, ...]
    batches: tuple[int, ...] = ()


def difference(source: WorkerSource, image: ImageInput, shipped: ShippedFile | None = None) -> str:
    """How what the runtime executes differs from what certificates are about; empty if it does not.

    First the executed graph is compared with the file's, in a process of its own, then the file's
    nodes with the twin's.

    Args:
        source: the graph as it is given to the runtime, and its limits.
        image: its input.
        shipped: the file that it is a copy of; None if that is the same.
    """
    told = executed_difference(source, image, shipped)
    return told or node_difference(onnx.load_from_string(source.content), image)


def executed_difference(
    source: WorkerSource, image: ImageInput, shipped: ShippedFile | None = None
) -> str:
    """How the graph that the runtime executes differs from the file's, in words; empty if not.

    The child process has the memory and, for each evaluation, the time that a model may use. It
    writes into a temporary folder only.

    Args:
        source: the graph as it is given to the runtime, and its limits.
        image: its input.
        shipped: the file that it is a copy of; None if that is the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "path": str(source.path),
            "threads": source.threads,
            "memory": source.memory,
            "folder": folder,
            "input": image.name,
            "shape": image.shape,
            "dtype": image.dtype,
            "shipped": shipped is not None,
            "batches": () if shipped is None else shipped.batches,
        }
        message = packed(request, source.content)
        if shipped is not None:
            more = {"output": shipped.output, "shape": shipped.shape}
            message += packed(more, shipped.model.SerializeToString())
        seconds = max(SECONDS, source.limits.call_seconds(MOST_RUNS))
        seconds += SECONDS_PER_GIGABYTE * source.size / 2**30
        ended = run_module(_CHILD, b"".join(message), seconds=seconds)
    if ended.status is None:
        return f"the graph that the runtime executes was not compared within {seconds:.0f} s"
    return _told(ended, source)


def _told(ended: Ended, source: WorkerSource) -> str:
    """What a process that has ended answered."""
    try:
        answer = json.loads(ended.stdout)
    except ValueError:
        return f"the process that compares the executed graph with the file's died ({ended.cause})"
    if "out_of_memory" in answer:
        allowed = gibibytes(source.limits.allowed)
        return f"comparing the executed graph with the file's takes more than {allowed} of memory"
    if "error" in answer:
        return f"the executed graph cannot be compared with the file's: {answer['error']}"
    return str(answer["difference"])
