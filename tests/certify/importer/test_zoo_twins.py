"""Twins of third-party models against ONNX Runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_cases.older import runtime_answers

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer.twin.twin import TwinModule, build_twin

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HALF = 1e-3
"""Relative error of a network in half precision that the twin computes in single precision."""


def entries(zoo: Path, *expectations: str) -> list[dict[str, Any]]:
    """What is known of the models that should end in one of the given ways."""
    known = json.loads((zoo / "zoo.json").read_text())
    return [entry for entry in known if entry["expect"] in expectations]


def opened(zoo: Path, entry: dict[str, Any]) -> tuple[onnx.ModelProto, TwinModule, list[int]]:
    """Model, twin of its first output, and the shape of one input."""
    model = onnx.load(zoo / "models" / entry["file"])
    constants = {tensor.name for tensor in model.graph.initializer}
    source = next(value for value in model.graph.input if value.name not in constants)
    shape = [axis.dim_value for axis in source.type.tensor_type.shape.dim][1:]
    twin = build_twin(model, outputs=[model.graph.output[0].name], image_shape=shape)
    return model, twin, shape


def pictures(entry: dict[str, Any], shape: list[int]) -> NDArray[np.float32]:
    """Random inputs in the range that the model was made for."""
    low, high = entry["preprocess"]["range"] if entry["preprocess"] else (0, 1)
    x = np.random.default_rng(0).random((3, *shape), dtype=np.float32) * (high - low) + low
    return np.round(x) if entry["inputs"][0][2] == "INT8" else x


def runtime_rows(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What ONNX Runtime gives for each image alone, in the first output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    kinds = {"tensor(float16)": np.float16, "tensor(int8)": np.int8}
    kind = kinds.get(source.type, np.float32)
    name = session.get_outputs()[0].name
    rows = [session.run([name], {source.name: row[None].astype(kind)})[0] for row in x]
    return np.concatenate(rows).astype(np.float64)


def test_twins_give_the_runtime_s_numbers_for_any_batch(zoo: Path) -> None:
    wrong = []
    for entry in entries(zoo, "twin", "inspect"):
        model, twin, shape = opened(zoo, entry)
        x = pictures(entry, shape)
        want = runtime_rows(model, x)
        got = twin(torch.from_numpy(x)).double().numpy()
        error = np.abs(got - want).max() / np.abs(want).max()
        if not twin.batch_free or error > (HALF if "fp16" in entry["file"] else 1e-5):
            wrong.append(f"{entry['file']}: {error:.1e}, batch {twin.batching}")
    assert wrong == []


def test_operators_without_a_twin_are_named(zoo: Path) -> None:
    model = onnx.load(zoo / "models" / "mnist_qonnx_tfc_2w2a.onnx")
    with pytest.raises(UnsupportedOperatorError, match=r"Quant .*onnx\.brevitas.*and 7 more"):
        build_twin(model)


def test_an_inner_tensor_needs_only_its_own_inputs(zoo: Path) -> None:
    model = onnx.load(zoo / "models" / "mnist_tf1_two_inputs.onnx")
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    twin = build_twin(model, outputs=[softmax.input[0]])
    x = np.random.default_rng(0).random((5, 784), dtype=np.float32)
    assert twin.inputs == ("x:0",)
    inner = onnx.ModelProto()
    inner.CopyFrom(model)
    inner.graph.output.append(onnx.helper.make_empty_tensor_value_info(softmax.input[0]))
    answers = runtime_answers(inner, {"x:0": x, "y_:0": np.eye(5, 10, dtype=np.float32)})
    assert answers is not None
    assert np.allclose(twin(torch.from_numpy(x)).numpy(), answers[-1], rtol=1e-4, atol=1e-4)


def test_a_binarised_network_has_a_true_gradient_of_zero_and_a_stand_in(zoo: Path) -> None:
    entry = next(e for e in entries(zoo, "twin") if e["file"].startswith("gtsrb_bnn"))
    model, _, shape = opened(zoo, entry)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    twin = build_twin(model, outputs=[softmax.input[0]])
    x = torch.from_numpy(pictures(entry, shape))
    sizes = []
    for straight_through in (False, True):
        point = x.clone().requires_grad_()
        y = twin(point, straight_through=straight_through).logsumexp(1).sum() + 0 * point.sum()
        sizes.append(float(torch.autograd.grad(y, point)[0].abs().sum()))
    assert len(twin.straight_through) == 4
    assert sizes[0] == 0.0
    assert sizes[1] > 0.0
