"""A loop that counts to a number computed from the pixels: it ends on a black image only."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import images, model, node, saved, weights

from robcert.certify.errors import TimeLimitError
from robcert.certify.importer import load_classifier
from robcert.certify.importer.runtime import watch

if TYPE_CHECKING:
    from pathlib import Path


def counting(folder: Path) -> Path:
    """Linear scores, to which the number of iterations times 0 is added."""
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Add", "total zero", "more")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
    )
    nodes = [
        node("ReduceMax", "x", "top", keepdims=0),
        node("Ceil", "top", "white"),
        node("Cast", "white", "whole", to=TensorProto.INT64),
        node("Mul", "whole many", "times"),
        helper.make_node("Loop", ["times", "yes", "zero"], ["sum"], body=body, name="loop"),
        node("Flatten", "x", "flat"),
        node("MatMul", "flat w", "z"),
        node("Add", "z sum", "out"),
    ]
    constants = {
        "many": np.array(10**12, np.int64),
        "yes": np.array(1, bool),
        "zero": np.array(0, np.float32),
        "w": weights(5, 48),
    }
    made = model(nodes, inputs={"x": ("n", 3, 4, 4)}, outputs={"out": None}, weights=constants)
    return saved(folder, made)


def test_a_call_without_an_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.2)
    monkeypatch.setattr(watch, "SECONDS_PER_IMAGE", 0.0)
    with pytest.raises(TimeLimitError, match="the model took more than 0 s on a batch of 1"):
        load_classifier(counting(tmp_path), images=images())


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    """Python drops an interrupt that meets a destructor, so there is a second one later."""
    path = counting(tmp_path)
    timers = [
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)) for seconds in (4.0, 20.0)
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        load_classifier(path, images=images())
    for timer in timers:
        timer.cancel()
