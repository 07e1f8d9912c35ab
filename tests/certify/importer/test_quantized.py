"""What ONNX Runtime's quantiser and optimiser write, against ONNX Runtime."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx_cases.older import disagreement_of
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from torch import Tensor, nn

from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 12, 12)


class Network(nn.Module):
    """One of everything that a quantiser treats in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.pool = nn.BatchNorm2d(8), nn.AvgPool2d(2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        a = self.pool(self.norm(self.first(x)).relu())
        b = self.second(a).sigmoid() * a + a
        both = torch.cat([b, nn.functional.leaky_relu(a - 0.5, 0.1)], 1)
        return self.head(both.mean((2, 3), keepdim=True).flatten(1))


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Eight random images."""

    def __init__(self) -> None:
        self.rest = list(np.random.default_rng(1).random((8, 1, *SHAPE), dtype=np.float32))

    def get_next(self) -> dict[str, Any] | None:
        return {"x": self.rest.pop()} if self.rest else None


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as an ONNX file with a free batch axis."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("quantised") / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter announces its end
        torch.onnx.export(
            Network().eval(),
            (torch.rand(1, *SHAPE),),
            path,
            dynamo=False,
            opset_version=13,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return path


def compared(path: Path) -> tuple[set[str], float, bool]:
    """Operators of the file, error relative to the spread of the logits, whether a batch runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(2).random((16, *SHAPE), dtype=np.float32)
    want = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])
    model = onnx.load(path)
    twin = build_twin(model, image_shape=SHAPE)
    point = torch.from_numpy(x).requires_grad_()
    got = twin(point)
    (gradient,) = torch.autograd.grad(got.square().sum(), point)
    assert gradient.abs().flatten(1).amax(1).min() > 0
    error = np.abs(got.detach().numpy() - want).max() / np.ptp(want)
    return {node.op_type for node in model.graph.node}, float(error), twin.batch_free


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_statically_quantised_networks(
    network: Path, tmp_path: Path, form: QuantFormat, kind: QuantType, per_channel: bool
) -> None:
    path = tmp_path / "quantised.onnx"
    quantize_static(
        network,
        path,
        Calibration(),
        quant_format=form,
        activation_type=kind,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    operators, error, free = compared(path)
    assert "QLinearConv" in operators or "DequantizeLinear" in operators
    assert free
    assert error < 0.02  # a step of the output's grid; the runtime fuses and rounds elsewhere


@pytest.mark.filterwarnings("ignore")
def test_dynamically_quantised_networks(network: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantised.onnx"
    quantize_dynamic(network, path, weight_type=QuantType.QUInt8)
    operators, error, free = compared(path)
    assert operators >= {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}
    assert free
    assert error < 1e-3


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
def test_networks_that_the_runtime_optimised(network: Path, tmp_path: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    path = tmp_path / "optimised.onnx"
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    operators, error, _ = compared(path)
    assert ("FusedConv" in operators) == (level == "ORT_ENABLE_EXTENDED")
    assert error < 1e-5


RANDOM = np.random.default_rng(3)
A = RANDOM.standard_normal((2, 4, 6)).astype(np.float32)
B = RANDOM.standard_normal((2, 6, 5)).astype(np.float32)
V = RANDOM.standard_normal(6).astype(np.float32)
Q = RANDOM.integers(0, 255, (2, 4, 6, 6)).astype(np.uint8)
W = RANDOM.integers(0, 255, (6, 5)).astype(np.uint8)
HALF, ONE = np.float32(0.02), np.float32(0.015)
ZERO, MIDDLE = np.uint8(0), np.uint8(120)
ONTO = [HALF, MIDDLE, ONE, ZERO]

FORMS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("FusedMatMul", [A, B], {"alpha": 0.5}),
    ("FusedMatMul", [A, A], {"transB": 1}),
    ("FusedMatMul", [A, A], {"transA": 1}),
    ("FusedGemm", [A[0], B[0]], {"activation": "LeakyRelu", "activation_alpha": 0.2}),
    ("TransposeMatMul", [A, A], {"transB": 1}),
    ("QuantizeLinear", [A, HALF, MIDDLE], {}),
    ("DequantizeLinear", [Q, HALF, MIDDLE], {}),
    ("BiasGelu", [A, V], {}),
    ("Gelu", [A], {}),
    ("FastGelu", [A, V], {}),
    ("FastGelu", [A], {}),
    ("QuickGelu", [A], {"alpha": 1.5}),
    ("SkipLayerNormalization", [A, A[:, ::-1].copy(), V, V[::-1].copy()], {"epsilon": 1e-3}),
    ("SkipLayerNormalization", [A, A * 2, V, V[::-1].copy(), V * 3], {}),
    ("QLinearAdd", [Q, HALF, MIDDLE, Q[:, ::-1].copy(), ONE, ZERO, ONE * 3, MIDDLE], {}),
    ("QLinearMul", [Q, HALF, MIDDLE, Q[:, ::-1].copy(), ONE, ZERO, np.float32(0.0463), MIDDLE], {}),
    ("QLinearSigmoid", [Q, HALF, MIDDLE, np.float32(1 / 256), ZERO], {}),
    ("QLinearLeakyRelu", [Q, HALF, MIDDLE, HALF, np.uint8(30)], {"alpha": 0.3}),
    ("QLinearSoftmax", [Q, HALF, MIDDLE, np.float32(1 / 256), ZERO], {"axis": 1, "opset": 13}),
    ("QLinearSoftmax", [Q, HALF, MIDDLE, np.float32(1 / 256), ZERO], {"axis": 2, "opset": 11}),
    ("QLinearGlobalAveragePool", [Q, *ONTO], {}),
    ("QLinearGlobalAveragePool", [Q, *ONTO], {"channels_last": 1}),
    ("QLinearAveragePool", [Q, *ONTO], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("QLinearAveragePool", [Q, *ONTO], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("QLinearConcat", [ONE, ZERO, Q, HALF, MIDDLE, Q, ONE, ZERO], {"axis": 1}),
    ("QGemm", [Q[0, 0], HALF, MIDDLE, W, ONE, ZERO, np.arange(5, dtype=np.int32) * 90], {}),
    ("QGemm", [Q[0, 0], HALF, MIDDLE, W, ONE, ZERO, np.arange(5, dtype=np.int32), ONE * 9, MIDDLE],
     {"alpha": 0.5}),
    ("QGemm", [Q[0, 0], HALF, MIDDLE, W.T.copy(), ONE, ZERO], {"transB": 1}),
    ("MatMulIntegerToFloat", [Q[0, 0], W, HALF, ONE, MIDDLE, ZERO, V[:5]], {}),
    ("DynamicQuantizeMatMul", [A, W, ONE, MIDDLE, V[:5]], {}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "arrays", "attributes"), FORMS)
def test_an_operator_of_the_runtime_s_own_domain(
    operator: str, arrays: list[Any], attributes: dict[str, Any]
) -> None:
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}
    names = [f"x{i}" for i in range(len(arrays))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)],
        "one",
        [
            helper.make_tensor_value_info(name, kinds[np.asarray(v).dtype.name], np.shape(v))
            for name, v in zip(names, arrays, strict=True)
        ],
        [helper.make_empty_tensor_value_info("y")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    given = {name: np.asarray(v) for name, v in zip(names, arrays, strict=True)}
    assert disagreement_of(model, given) == ""
