"""The graph that ONNX Runtime executes, compared with the file's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_models as om
import pytest
from child_code import child_of
from onnx import numpy_helper

from robcert.certify.importer import load_classifier, load_tensor_function
from robcert.certify.importer.executed import process
from robcert.certify.importer.executed.comparison import Comparison, ImageInput
from robcert.certify.importer.executed.operators import uncovered
from robcert.certify.importer.executed.process import ShippedFile, executed_difference
from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.runtime.runtime_session import open_session
from robcert.certify.importer.runtime.worker_session import WorkerSource

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

DRAW = np.random.default_rng(0)
SHAPE = (1, 3, 8, 8)


def drawn(*shape: int, size: float = 1.0) -> NDArray[np.float32]:
    return (size * DRAW.normal(size=shape)).astype(np.float32)


WEIGHTS: dict[str, NDArray[Any]] = {
    "k": drawn(16, 3, 3, 3, size=0.3),
    "k2": drawn(16, 16, 3, 3, size=0.1),
    "k3": drawn(16, 1, 3, 3, size=0.3),
    "b": drawn(16),
    "g": 1 + abs(drawn(16)),
    "m": drawn(16),
    "v": 1 + abs(drawn(16)),
    "w": drawn(256, 5, size=0.1),
    "c": drawn(5),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "half": np.array(0.5, np.float32),
    "one": np.array(1, np.float32),
    "root": np.array(np.sqrt(2), np.float32),
    "epsilon": np.array(1e-5, np.float32),
    "two": np.array(2, np.float32),
    "rows": np.array([1, 16, 16]),
    "wide": drawn(8, 8, size=0.4),
    "scale": 1 + abs(drawn(8)),
    "shift": drawn(8),
}

CONVOLUTIONS = [
    om.node("Conv", "x k b", "c1", pads=[1, 1, 1, 1]),
    om.node("BatchNormalization", "c1 g b m v", "n1"),
    om.node("Relu", "n1", "r1"),
    om.node("Conv", "r1 k2", "c2", pads=[1, 1, 1, 1]),
    om.node("BatchNormalization", "c2 g b m v", "n2"),
    om.node("Add", "n2 r1", "s2"),
    om.node("Clip", "s2 zero six", "r2"),
    om.node("Conv", "r2 k3", "c3", pads=[1, 1, 1, 1], group=16, strides=[2, 2]),
    om.node("LeakyRelu", "c3", "r3", alpha=0.1),
    om.node("AveragePool", "r3", "p3", kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]),
    om.node("Flatten", "p3", "flat"),
    om.node("Gemm", "flat w c", "y"),
]

NORMS = [
    om.node("ReduceMean", "x", "mean", axes=[-1]),
    om.node("Sub", "x mean", "d"),
    om.node("Pow", "d two", "p"),
    om.node("ReduceMean", "p", "var", axes=[-1]),
    om.node("Add", "var epsilon", "ve"),
    om.node("Sqrt", "ve", "sd"),
    om.node("Div", "d sd", "q"),
    om.node("Mul", "q scale", "qs"),
    om.node("Add", "qs shift", "n"),
    om.node("MatMul", "n wide", "h"),
    om.node("Div", "h root", "e"),
    om.node("Erf", "e", "f"),
    om.node("Add", "f one", "g1"),
    om.node("Mul", "h g1", "g2"),
    om.node("Mul", "g2 half", "g3"),
    om.node("Transpose", "g3", "t", perm=[0, 1, 3, 2]),
    om.node("MatMul", "g3 t", "scores"),
    om.node("Mul", "scores half", "scaled"),
    om.node("Softmax", "scaled", "a", axis=-1),
    om.node("MatMul", "a g3", "o"),
    om.node("Shape", "o", "shape"),
    om.node("Reshape", "o shape", "again"),
    om.node("Add", "again x", "sum"),
    om.node("Flatten", "sum", "y"),
]


def made(nodes: list[NodeProto], shape: tuple[int, ...] = SHAPE) -> ModelProto:
    return om.model(nodes, inputs={"x": shape}, outputs={"y": None}, weights=WEIGHTS)


def executed(folder: Path, model: ModelProto) -> ModelProto:
    path = folder / "executed.onnx"
    open_session(model.SerializeToString(), path=folder, threads=1, written=path)
    return onnx.load(path)


def comparison(file: ModelProto, other: ModelProto) -> Comparison:
    return Comparison.of(file, other, ImageInput("x", SHAPE, "float32"))


NETWORKS = {"convolutions": CONVOLUTIONS, "norms": NORMS}


@pytest.mark.parametrize(("name", "compared"), [("convolutions", 7), ("norms", 9)])
def test_what_the_runtime_makes_of_usual_networks_is_the_same_function(
    tmp_path: Path, name: str, compared: int
) -> None:
    file = made(NETWORKS[name])
    other = executed(tmp_path, file)
    assert any(node.domain.startswith("com.microsoft") for node in other.graph.node)
    assert not uncovered(file, other)
    pairs = comparison(file, other)
    assert not pairs.difference()
    assert len(pairs.pairs) == compared  # the output of each node but for changes of layout
    assert any(pair.blocks for pair in pairs.pairs) == (name == "convolutions")


def with_another_number(tensor: onnx.TensorProto) -> bool:
    """Change the largest number of a tensor by a thousandth."""
    value = numpy_helper.to_array(tensor).copy()
    if value.dtype != np.float32 or not value.any():
        return False
    place = np.unravel_index(np.abs(value).argmax(), value.shape)
    value[place] *= 1.001
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return True


@pytest.mark.parametrize(("name", "constants"), [("convolutions", 8), ("norms", 3)])
def test_every_constant_of_the_executed_graph_matters(
    tmp_path: Path, name: str, constants: int
) -> None:
    file = made(NETWORKS[name])
    other = executed(tmp_path, file)
    changed = 0
    for at, tensor in enumerate(other.graph.initializer):
        copy = onnx.ModelProto()
        copy.CopyFrom(other)
        if with_another_number(copy.graph.initializer[at]):
            changed += 1
            assert comparison(file, copy).difference(), tensor.name
    assert changed == constants


OTHER_ATTRIBUTES: dict[str, tuple[str, str, str, Any]] = {
    "another slope": ("convolutions", "Conv", "activation_params", [0.101]),
    "another activation": ("convolutions", "Conv", "activation", "Tanh"),
    "other padding": ("convolutions", "AveragePool", "pads", [1, 1, 0, 0]),
    "padding that counts": ("convolutions", "AveragePool", "count_include_pad", 1),
    "another epsilon": ("norms", "LayerNormalization", "epsilon", 2e-5),
    "another factor": ("norms", "FusedMatMul", "alpha", 0.501),
}


@pytest.mark.parametrize("case", OTHER_ATTRIBUTES)
def test_every_attribute_of_the_executed_graph_matters(tmp_path: Path, case: str) -> None:
    name, operator, attribute, value = OTHER_ATTRIBUTES[case]
    file = made(NETWORKS[name])
    other = executed(tmp_path, file)
    nodes = [node for node in other.graph.node if node.op_type == operator]
    node = next((n for n in nodes if any(a.name == attribute for a in n.attribute)), nodes[0])
    kept = [a for a in node.attribute if a.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    difference = comparison(file, other).difference()
    assert difference.startswith("the runtime computes other numbers than node '")


def test_a_difference_that_most_images_hide_is_found(tmp_path: Path) -> None:
    """The other function differs below -100 only; pixels are at least 0."""
    nodes = [om.node("Relu", "x", "r"), om.node("Flatten", "r", "y")]
    low = {"low": np.array(-100, np.float32)}
    others = [om.node("Max", "x low", "r"), om.node("Flatten", "r", "y")]
    clipped = [om.node("Clip", "x low", "r"), om.node("Flatten", "r", "y")]
    one, two, three = (
        om.model(each, inputs={"x": SHAPE}, outputs={"y": None}, weights=low)
        for each in (nodes, others, clipped)
    )
    assert "'r_node' (Relu)" in comparison(one, two).difference()
    assert not comparison(two, three).difference()


@pytest.mark.parametrize(("limit", "other"), [(50_000, 50_010), (-3e7, -3.001e7)])
def test_a_difference_between_two_numbers_far_from_others_is_found(
    limit: float, other: float
) -> None:
    nodes = [om.node("Clip", "x low high", "r"), om.node("Flatten", "r", "y")]
    one, two = (
        om.model(
            nodes,
            inputs={"x": SHAPE},
            outputs={"y": None},
            weights={
                "low": np.array(min(value, 0), np.float32),
                "high": np.array(max(value, 0), np.float32),
            },
        )
        for value in (limit, other)
    )
    assert "'r_node' (Clip)" in comparison(one, two).difference()
    assert not comparison(one, one).difference()


def test_values_that_a_node_before_excludes_do_not_matter() -> None:
    nodes = [
        *(om.node("Relu", "x", "r"), om.node("Mul", "r half", "h")),
        *(om.node("Relu", "h", "s"), om.node("Flatten", "s", "y")),
    ]
    fewer = [node for node in nodes if node.output[0] != "s"]
    fewer[-1] = om.node("Flatten", "h", "y")
    assert not comparison(made(nodes), made(fewer)).difference()


SMALL = [om.node("Relu", "x", "r"), om.node("Flatten", "r", "y")]


def test_a_file_is_asked_for_in_a_process_of_its_own(tmp_path: Path) -> None:
    function = load_tensor_function(om.saved(tmp_path, made(CONVOLUTIONS)))
    assert function.rewritten is not None
    assert not function.rewritten()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_without_memory_or_time_the_reason_is_told(tmp_path: Path) -> None:
    path = om.saved(tmp_path, made(SMALL))
    source = WorkerSource(path.read_bytes(), path, 1, 100, RunLimits(memory=2**20))
    image = ImageInput("x", SHAPE, "float32")
    assert executed_difference(source, image).endswith("takes more than 1 MiB of memory")
    damaged = replace(source, content=b"no model", limits=RunLimits())
    assert "cannot be compared" in executed_difference(damaged, image)


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = om.saved(tmp_path, made(SMALL))
    source = WorkerSource(path.read_bytes(), path, 1, 100, RunLimits())
    monkeypatch.setattr(process, "run_module", child_of("import os; os.abort()"))
    told = executed_difference(source, ImageInput("x", SHAPE, "float32"))
    assert told.endswith("died (signal 6)")


def test_the_file_is_compared_without_the_edits_of_the_copy_that_is_run(tmp_path: Path) -> None:
    """Where the padded images are an output as well the runtime leaves the Pad as it is."""
    nodes = [
        om.node("Pad", "x pads zero", "padded"),
        om.node("MaxPool", "padded", "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[0] * 4),
        om.node("Flatten", "pooled", "y"),
    ]
    weights = WEIGHTS | {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    file, copy = (
        om.model(nodes, inputs={"x": SHAPE}, outputs=dict.fromkeys(names), weights=weights)
        for names in (["y"], ["padded", "y"])
    )
    image = ImageInput("x", SHAPE, "float32")
    source = WorkerSource(copy.SerializeToString(), tmp_path, 1, 100, RunLimits())
    assert not executed_difference(source, image)
    told = executed_difference(source, image, ShippedFile(file, "y", SHAPE))
    assert "'pooled_node' (MaxPool), where it opens the file without" in told
    assert not executed_difference(source, image, ShippedFile(copy, "y", SHAPE))


def test_a_classifier_s_file_is_compared_with_its_own_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [om.node("Flatten", "x", "flat"), om.node("MatMul", "flat w3", "y")]
    made = om.model(
        nodes, inputs={"x": (2, 3, 8, 8)}, outputs={"y": None}, weights={"w3": om.weights(5, 192)}
    )
    given: list[ShippedFile | None] = []

    def noted(_: WorkerSource, image: ImageInput, shipped: ShippedFile | None) -> str:
        assert image.shape == SHAPE  # the batch axis was freed
        given.append(shipped)
        return ""

    monkeypatch.setattr("robcert.certify.importer.onnx_classifier.difference", noted)
    classifier = load_classifier(om.saved(tmp_path, made))
    assert classifier.runtime.rewritten is not None
    assert not classifier.runtime.rewritten()
    (shipped,) = given
    assert shipped is not None
    assert (shipped.output, shipped.shape) == ("y", (2, 3, 8, 8))
