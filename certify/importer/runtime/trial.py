"""First load and first forward pass of an untrusted model; runs in a process of its own.

Run by `sandbox` through `certify/children/`: a request in JSON on stdin, an answer in JSON on
stdout. It imports numpy, onnx and onnxruntime, never torch.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import ModelFileError, RobcertError
from robcert.certify.json_text import parsed_json

from ..graph.graph_edits import restricted
from ..graph.model_file import read_model
from .process_memory import limit_address_space, peak_growth
from .runtime_session import describe_failure, open_session, out_of_memory

if TYPE_CHECKING:
    import onnx
    import onnxruntime

PREPROCESS_KEY = "robcert.preprocess"
"""Metadata entry of the preprocessing; its own module imports torch."""


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    # The runtime's own messages go to stderr: stdout carries the answer and nothing else.
    reply = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    try:
        import_module("onnxruntime")  # before its libraries count
        limit_address_space(request["memory"])
        answer = _trial(request)
    except RobcertError as error:
        answer = {"error": str(error), "hint": error.hint}
    except MemoryError:
        answer = {"out_of_memory": True}
    with reply:
        json.dump(answer, reply)


def _trial(request: dict[str, Any]) -> dict[str, Any]:
    """Shapes and types of the outputs on inputs of zeros."""
    path = Path(request["path"])
    file = read_model(path)
    model = file.model if request["output"] is None else restricted(file.model, [request["output"]])
    session = open_session(model.SerializeToString(), path=path, threads=1)
    request["layout"] = request["layout"] or _stated_layout(file.model)
    shaped = {e.name for e in model.graph.input if e.type.tensor_type.HasField("shape")}
    feed = {
        entry.name: _zeros(
            entry.name,
            entry.shape if entry.name in shaped else [None] * 4,
            entry.type,
            request,
        )
        for entry in session.get_inputs()
    }
    names = [entry.name for entry in session.get_outputs()]
    try:
        begin = time.monotonic()
        with peak_growth() as growth:
            values = session.run(names, feed)
        seconds = time.monotonic() - begin
    except Exception as error:
        if out_of_memory(error):
            return {"out_of_memory": True}
        message = f"{path}: the runtime cannot run it on one image: {describe_failure(error)}"
        raise ModelFileError(message, hint=_open_layout(feed, session, request)) from error
    outputs = {name: _described(value) for name, value in zip(names, values, strict=True)}
    return {"outputs": outputs, "memory": growth[0], "seconds": seconds}


def _stated_layout(model: onnx.ModelProto) -> str | None:
    """The layout in the model's metadata; None if there is none."""
    for entry in model.metadata_props:
        if entry.key == PREPROCESS_KEY:
            try:
                stated = parsed_json(entry.value)
            except ValueError:
                return None  # the parent process reads the entry too and names the error
            layout = stated.get("layout") if isinstance(stated, dict) else None
            return layout if isinstance(layout, str) else None
    return None


def _open_layout(
    feed: dict[str, np.ndarray], session: onnxruntime.InferenceSession, request: dict[str, Any]
) -> str:
    """What to try if the order of an input's axes was guessed; empty if it was stated."""
    guessed = any(
        feed[entry.name].ndim == 4 and not any(isinstance(size, int) for size in entry.shape[1:])
        for entry in session.get_inputs()
    )
    if not guessed or request["layout"] is not None:
        return ""
    return "the file leaves the order of the axes open, NCHW was tried: pass --layout NHWC"


def _described(value: object) -> dict[str, Any]:
    """Type and shape of one output."""
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": list(value.shape)}
    return {"dtype": "sequence" if isinstance(value, list) else type(value).__name__, "shape": []}


def _zeros(
    name: str, shape: list[int | str | None], kind: str, request: dict[str, Any]
) -> np.ndarray:
    """An input of zeros; free axes are 1, or those of an image where the ranks agree."""
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(
        kind, kind.removeprefix("tensor(").removesuffix(")")
    )
    sizes = [size if isinstance(size, int) else 0 for size in shape]
    if len(sizes) == 4:
        c, h, w = request["image_shape"] or (3, 224, 224)
        last = sizes[3] == c and sizes[1] != c
        if request["layout"] is not None and sizes[1:] == [0, 0, 0]:  # nothing else decides
            last = request["layout"] == "NHWC"
        guess = [1, h, w, c] if last else [1, c, h, w]
        sizes = [size or default for size, default in zip(sizes, guess, strict=True)]
    sizes = [size or 1 for size in sizes]
    try:
        element = np.dtype({"float16": "float16", "string": "object"}.get(dtype, dtype))
    except TypeError as error:
        message = f"input {name!r} is a {kind}, not an image"
        raise ModelFileError(message) from error
    if math.prod(sizes) * element.itemsize > 2**40:
        raise MemoryError
    return np.full(sizes, "", element) if dtype == "string" else np.zeros(sizes, element)


if __name__ == "__main__":
    main()
