"""A model file by onnxruntime and NumPy alone, independent of robcert's importer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]
    Reals = NDArray[np.float64]

TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}
BATCH = 64
QUIET = 3


class NumpyModel:
    """Scores of images in pixel space, as the model file gives them.

    Args:
        path: ONNX file.
        preprocess: what ``--preprocess`` takes.
        output: tensor with the scores, which may lie inside the graph; None for the first output.
    """

    def __init__(self, path: Path, preprocess: Mapping[str, Any], output: str | None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        self._session = ort.InferenceSession(
            _with_output(path, output), options, providers=["CPUExecutionProvider"]
        )
        self._output = output or self._session.get_outputs()[0].name
        inputs = self._session.get_inputs()
        self._image = max(inputs, key=_size)
        self._others = [one for one in inputs if one.name != self._image.name]
        self._preprocess = preprocess
        self._batch = BATCH if isinstance(self._image.shape[0], str) else 1

    def scores(self, x: Pixels, *, together: bool = False) -> Reals:
        """Scores ``(n, k)`` of the pixels ``x (n, c, h, w)`` in [0, 1].

        Args:
            x: images.
            together: in batches, where the file allows it; else one at a time.
        """
        size = self._batch if together else 1
        some = [self._run(x[first : first + size]) for first in range(0, len(x), size)]
        return np.concatenate(some)

    def _run(self, x: Pixels) -> Reals:
        fed = {self._image.name: self._input(x)}
        for one in self._others:  # labels that the scores do not depend on
            shape = [len(x), *(n for n in one.shape[1:])]
            fed[one.name] = np.zeros(shape, TYPES[one.type])
        (found,) = self._session.run([self._output], fed)
        return np.asarray(found, np.float64).reshape(len(x), -1)

    def _input(self, x: Pixels) -> NDArray[Any]:
        said, one = self._preprocess, np.float32
        if said.get("channels") == "BGR":
            x = x[:, ::-1]
        low, high = map(one, said.get("range", (0, 1)))
        x = x * (high - low) + low
        for name, apply in (("mean", np.subtract), ("std", np.divide)):
            if name in said:
                x = apply(x, np.asarray(said[name], np.float32).reshape(1, -1, 1, 1))
        layout = said.get("layout", "NCHW")
        if layout == "NHWC":
            x = x.transpose(0, 2, 3, 1)
        elif layout == "flat" and said.get("flatten") == "column-major":
            x = x.transpose(0, 1, 3, 2)
        shape = list(self._image.shape[1:])
        if all(isinstance(n, int) for n in shape):
            x = x.reshape(len(x), *shape)
        kind = TYPES[self._image.type]
        if issubclass(kind, np.integer):
            limits = np.iinfo(kind)
            x = np.rint(np.clip(x, limits.min, limits.max))
        return np.ascontiguousarray(x.astype(kind))


def _size(one: ort.NodeArg) -> tuple[int, int]:
    """Number of axes, then of values along the fixed ones: images have more than labels."""
    return len(one.shape), math.prod(n for n in one.shape if isinstance(n, int))


def classes_of(scores: Reals) -> NDArray[np.int64]:
    """Classes ``(n,)`` with the largest score; -1 where one is NaN, or two classes share it."""
    best = scores.max(1, keepdims=True)
    alone = (scores == best).sum(1) == 1
    return np.where(alone & ~np.isnan(scores).any(1), scores.argmax(1), -1)


def class_of(scores: Reals) -> int:
    """The class of one image's scores ``(k,)``."""
    return int(classes_of(scores[None])[0])


def _with_output(path: Path, output: str | None) -> bytes | str:
    """The file, with ``output`` among its declared outputs."""
    if output is None:
        return str(path)
    made = onnx.load(str(path))
    if output not in {one.name for one in made.graph.output}:
        made.graph.output.append(onnx.ValueInfoProto(name=output))
    return bytes(made.SerializeToString())
