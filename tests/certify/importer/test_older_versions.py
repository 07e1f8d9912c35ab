"""Every older version that the table claims, against ONNX Runtime, one node a graph."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_cases.node_cases import cases_of, claimed, node_cases
from onnx_cases.older import UNCHECKED, disagreement, disagreement_of, versions
from onnx_cases.skips import NOT_RUN, reason

OLDER = [(name, opset) for name in claimed() for opset in versions(name)]

NARROW = ("*FLOAT8*", "*FLOAT4*", "*BFLOAT16*", "*INT4*", "*INT2*", "*e4m3fn*", "*e5m2*")
"""Element types that came later than the versions in question."""


def usable(name: str) -> bool:
    """Whether a case makes sense in an older version."""
    narrow = any(fnmatchcase(name, pattern) for pattern in NARROW)
    return not narrow and not reason(name, NOT_RUN) and "_seq" not in name and "_opt" not in name


def compared(operator: str, opset: int, *, at_most: int) -> list[str]:
    """Differences of up to ``at_most`` cases that the runtime can run; at least one must be."""
    answers = []
    for name in filter(usable, cases_of(operator)):
        answer = disagreement(node_cases()[name], opset)
        if answer is not None:
            answers.append(f"{name}: {answer}" if answer else "")
        if len(answers) == at_most:
            break
    assert answers or (operator, opset) in UNCHECKED, "no case could be run"
    return [answer for answer in answers if answer]


@pytest.mark.parametrize(("operator", "opset"), OLDER)
def test_an_older_version_agrees_with_the_runtime(operator: str, opset: int) -> None:
    assert compared(operator, opset, at_most=2) == []


@pytest.mark.slow
@pytest.mark.parametrize(("operator", "opset"), OLDER)
def test_an_older_version_agrees_in_every_case(operator: str, opset: int) -> None:
    assert compared(operator, opset, at_most=10_000) == []


X = np.linspace(-2.0, 3.0, 96, dtype=np.float32).reshape(2, 3, 4, 4) ** 3 / 7
SCALES = np.array([1.0, 1.0, 2.0, 1.5], dtype=np.float32)
ROI = np.array([], dtype=np.float32)
SIZES = np.array([2, 3, 3, 7], dtype=np.int64)
CHANNELS = [np.array(v, dtype=np.float32) for v in ([1, 2, 3], [0, 1, -1], [0.5, 0, 1], [1, 2, 4])]

FORMS: list[tuple[str, int, list[Any], dict[str, Any], int]] = [
    ("DepthToSpace", 7, [X.reshape(2, 12, 2, 2)], {"blocksize": 2}, 1),
    ("SpaceToDepth", 7, [X], {"blocksize": 2}, 1),
    ("GlobalLpPool", 7, [X], {"p": 3}, 1),
    ("GroupNormalization", 18, [X.reshape(2, 6, 4, 2), *CHANNELS[:2]], {"num_groups": 3}, 1),
    ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0]}, 1),
    ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "linear"}, 1),
    ("Upsample", 9, [X, SCALES], {"mode": "linear"}, 1),
    ("Upsample", 9, [X, SCALES], {"mode": "nearest"}, 1),
    ("Resize", 10, [X, SCALES], {"mode": "linear"}, 1),
    ("Resize", 10, [X, SCALES], {}, 1),
    ("Resize", 10, [X, SCALES * np.float32(0.6)], {}, 1),
    ("Resize", 11, [X, ROI, SCALES], {"mode": "cubic"}, 1),
    ("Resize", 11, [X, ROI, SCALES], {"coordinate_transformation_mode": "asymmetric"}, 1),
    ("Resize", 11, [X, ROI, SCALES], {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}, 1),
    ("Resize", 11, [X, ROI, ROI, SIZES], {"mode": "linear"}, 1),
    ("Clip", 6, [X], {"min": -0.5}, 1),
    ("Clip", 6, [X], {"max": 0.5}, 1),
    ("Clip", 6, [X], {}, 1),
    ("Pad", 2, [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}, 1),
    ("Pad", 2, [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "edge"}, 1),
    ("Pad", 2, [X], {"pads": [0, 0, -1, 2, 0, 0, 3, -1], "value": 1.5}, 1),
    ("Slice", 1, [X], {"starts": [0, 1], "ends": [1, -1]}, 1),
    ("Slice", 1, [X], {"starts": [-3], "ends": [2**31 - 1], "axes": [-1]}, 1),
    ("Split", 2, [X], {"axis": 2}, 2),
    ("Split", 2, [X], {"axis": 1, "split": [2, 1]}, 2),
    ("TopK", 1, [X], {"axis": 1, "k": 2}, 2),
    ("Dropout", 7, [X], {"ratio": 0.3}, 1),
    ("Dropout", 10, [X], {"ratio": 0.3}, 2),
    ("BatchNormalization", 7, [X, *CHANNELS], {"epsilon": 0.01, "momentum": 0.5}, 1),
    ("BatchNormalization", 9, [X, *CHANNELS], {}, 1),
    ("BatchNormalization", 14, [X, *CHANNELS], {"training_mode": 0}, 1),
    *[("Softmax", 9, [X], {"axis": axis}, 1) for axis in (0, 1, 2, 3)],
    *[("LogSoftmax", 11, [X], {"axis": axis}, 1) for axis in (0, 1, 2, -1)],
    ("Hardmax", 11, [X], {}, 1),
    ("Flatten", 7, [X], {"axis": 0}, 1),
    ("Flatten", 11, [X], {"axis": -1}, 1),
    ("Gemm", 7, [X.reshape(8, 12), X.reshape(8, 12), np.arange(12, dtype=np.float32)],
     {"transA": 1, "alpha": 0.5, "beta": 2.0}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "opset", "arrays", "attributes", "n_outputs"), FORMS)
def test_an_older_form_agrees_with_the_runtime(
    operator: str, opset: int, arrays: list[Any], attributes: dict[str, Any], n_outputs: int
) -> None:
    names = [f"x{i}" for i in range(len(arrays))]
    outputs = [f"y{i}" for i in range(n_outputs)]
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, **attributes)],
        "older",
        [
            helper.make_tensor_value_info(name, kinds[array.dtype.name], array.shape)
            for name, array in zip(names, arrays, strict=True)
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", max(opset, 7))]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    assert disagreement_of(model, dict(zip(names, arrays, strict=True))) == ""
