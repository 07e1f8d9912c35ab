"""An ONNX graph quantised to 8-bit integers."""

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

from .runtime_session import describe_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ..graph.facts import GraphFacts
    from .runtime import GraphRuntime

PER_CHANNEL_OPSET = 13
"""First opset in which weights have one scale per channel; before, one per tensor."""


def quantised(
    graph: onnx.ModelProto, facts: GraphFacts, runtime: GraphRuntime, inputs: Tensor
) -> onnx.ModelProto:
    """``graph`` with weights and activations in 8 bits, at fixed scales.

    The ranges of the activations are those observed on ``inputs``. Scales computed per batch would
    need no such inputs, but then the vote of one draw would depend on the others in its batch:
    votes would not be independent, and a certificate based on them not valid.

    Args:
        graph: the float graph.
        facts: what is known about it.
        runtime: a session of it.
        inputs: model inputs ``(b, ...)`` typical of later calls.

    Raises:
        ModelFileError: it is quantised already, or the quantiser fails on it.
    """
    if facts.discontinuous:
        message = "int8: the model is quantised already, or contains rounding or comparisons"
        raise ModelFileError(message, hint="omit --precision")
    try:
        with _silent(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            copy = onnx.ModelProto()  # the quantiser moves the weights out of what it is given
            copy.CopyFrom(graph)
            quantize_static(
                copy,
                path,
                _Inputs(runtime, inputs),
                per_channel=facts.opset >= PER_CHANNEL_OPSET,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(path)
    except Exception as error:  # the quantiser raises errors of many classes
        message = f"int8: the quantiser fails on this model: {describe_failure(error)}"
        raise ModelFileError(message) from error


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one by one, in the interface of the quantiser."""

    def __init__(self, runtime: GraphRuntime, inputs: Tensor) -> None:
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
    """Without the quantiser's log messages, which address people who quantise by hand."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
