"""An ONNX graph in 8-bit integers, for those who ask for it."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from robcert.certify.errors import ModelFileError

from ..graph.graph import opset_versions
from .batching import discontinuous
from .runtime_session import describe_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .runtime import Runtime

PER_CHANNEL_OPSET = 13
"""Opset from which on weights have one scale a channel; before, one for all."""


def quantised(graph: onnx.ModelProto, runtime: Runtime, inputs: Tensor) -> onnx.ModelProto:
    """``graph`` with weights and activations in 8 bits, at scales fixed once and for all.

    The ranges of the activations are those seen on ``inputs``. Scales found anew in each batch
    would be cheaper to prepare, but then the votes of one draw depend on the others in its batch:
    they would not be independent, and a certificate from them not valid.

    Args:
        graph: the float graph.
        runtime: a session of it.
        inputs: model inputs ``(b, ...)`` such as it will be asked about.

    Raises:
        ModelFileError: it is quantised already, or the quantiser fails on it.
    """
    if discontinuous(graph):
        message = "int8: the model is quantised already, or it rounds or compares by itself"
        raise ModelFileError(message, hint="leave out the precision")
    try:
        with _silent(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            copy = onnx.ModelProto()  # the quantiser moves the weights out of what it is given
            copy.CopyFrom(graph)
            quantize_static(
                copy,
                path,
                _Inputs(runtime, inputs),
                per_channel=opset_versions(graph).get("", 1) >= PER_CHANNEL_OPSET,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(path)
    except Exception as error:  # the quantiser raises whatever its many passes run into
        message = f"int8: the quantiser fails on this model: {describe_failure(error)}"
        raise ModelFileError(message) from error


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one after another, as the quantiser wants them."""

    def __init__(self, runtime: Runtime, inputs: Tensor) -> None:
        self.rows = iter(inputs.cpu().numpy().astype(runtime.dtype))
        self.runtime = runtime

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input by name; None at the end."""
        row = next(self.rows, None)
        if row is None:
            return None
        batch = np.repeat(row[None], self.runtime.fixed_batch or 1, axis=0)
        return {self.runtime.input_name: batch if self.runtime.batched else row}


@contextmanager
def _silent() -> Iterator[None]:
    """Without the quantiser's advice, which is for people who prepare a model by hand."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
