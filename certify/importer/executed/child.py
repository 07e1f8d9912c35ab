"""Compares the graph that the runtime executes with the file's, in a process of its own.

Run by `process` through `certify/children/`: a message on stdin with the model, and one with the
file where the model is an edited copy of it; an answer in JSON on stdout. It imports numpy, onnx
and onnxruntime, never torch.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx

from robcert.certify.errors import RobcertError

from ..graph.graph_edits import restricted
from ..runtime.frames import unpacked
from ..runtime.process_memory import limit_address_space
from ..runtime.runtime_session import describe_failure, open_session, out_of_memory
from .comparison import Comparison, ImageInput
from .operators import uncovered
from .rows import mixing
from .sides import same_graph


def main() -> None:
    """Answer the message on stdin."""
    # The runtime's own messages go to stderr: stdout carries the answer and nothing else.
    reply = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    header, content = unpacked(sys.stdin.buffer.read)
    import_module("onnxruntime")  # before its libraries count
    limit_address_space(header["memory"])
    answer: dict[str, Any]
    try:
        answer = {"difference": _difference(header, content)}
    except MemoryError:
        answer = {"out_of_memory": True}
    except RobcertError as error:
        answer = {"error": str(error)}
    except Exception as error:  # onnxruntime's classes share no base but Exception
        known = out_of_memory(error)
        answer = {"out_of_memory": True} if known else {"error": describe_failure(error)}
    with reply:
        json.dump(answer, reply)


def _difference(header: dict[str, Any], content: bytes) -> str:
    """How the executed graphs differ, in words; empty if they do not."""
    made = _executed(header, content)
    file = onnx.load_from_string(content)
    del content
    image = ImageInput(header["input"], tuple(header["shape"]), header["dtype"])
    told = uncovered(file, made) or Comparison.of(file, made, image).difference()
    if not told:
        told = mixing(file, image, header["batches"])
    del file
    if told or not header["shipped"]:
        return told
    more, content = unpacked(sys.stdin.buffer.read)
    output = [more["output"]]
    shipped = restricted(_executed(header, content), output)
    if same_graph(shipped, restricted(made, output)):
        return ""
    file = restricted(onnx.load_from_string(content), output)
    image = ImageInput(image.name, tuple(more["shape"]), image.dtype)
    told = uncovered(file, shipped) or Comparison.of(file, shipped, image).difference()
    return told and f"{told}, where it opens the file without robcert's edits"


def _executed(header: dict[str, Any], content: bytes) -> onnx.ModelProto:
    """The graph that the runtime makes of a model."""
    written = Path(header["folder"]) / "executed.onnx"
    open_session(content, path=Path(header["path"]), threads=header["threads"], written=written)
    return onnx.load(written)


if __name__ == "__main__":
    main()
