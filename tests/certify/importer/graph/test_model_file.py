from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import linear, model, node, saved

from robcert.certify.errors import ModelFileError
from robcert.certify.importer.graph import model_file
from robcert.certify.importer.graph.model_file import read_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def with_external_weights(folder: Path, location: str) -> Path:
    """``linear()`` whose weights lie in another file, named ``location`` in the model."""
    made = linear()
    (tensor,) = made.graph.initializer
    (folder / "weights.bin").write_bytes(b"12345678" + tensor.raw_data)
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "8"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return saved(folder, made)


def test_a_good_file_is_read_with_its_hash(tmp_path: Path) -> None:
    path = saved(tmp_path, linear())
    read = read_model(path)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [n.op_type for n in read.model.graph.node] == ["Flatten", "MatMul"]
    assert read.size == path.stat().st_size


def test_each_wrong_file_has_its_own_line(tmp_path: Path) -> None:
    whole = linear().SerializeToString()
    noise = np.random.default_rng(0).bytes(400)
    contents = {
        "is empty": b"",
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
        "is truncated": whole[: len(whole) // 2],
        "is not an ONNX file": noise,
        "web page": b"<!DOCTYPE html><html></html>",
        "zip archive": b"PK\x03\x04" + noise,
        "HDF5": b"\x89HDF\r\n\x1a\n" + noise,
        "no graph of operators": onnx.ModelProto(ir_version=8).SerializeToString(),
    }
    for reason, content in contents.items():
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        assert reason in refusal(path)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "model.onnx")
    assert "is not a file" in refusal(tmp_path)


def test_every_cut_of_a_file_is_refused_or_lacks_a_graph(tmp_path: Path) -> None:
    whole = linear().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(1, len(whole) - 1, 17):
        path.write_bytes(whole[:length])
        refusal(path)


def test_damage_inside_is_not_called_truncation(tmp_path: Path) -> None:
    whole = bytearray(linear().SerializeToString())
    start = whole.index(b"MatMul")
    whole[start - 40 : start] = b"\xff" * 40
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(whole))
    assert "is damaged" in refusal(path)


def test_an_unknown_domain_is_named_with_its_operator(tmp_path: Path) -> None:
    made = model(
        [helper.make_node("Quant", ["x"], ["y"], domain="onnx.brevitas", name="q")],
        inputs={"x": [1, 4]},
        outputs={"y": None},
    )
    line = refusal(saved(tmp_path, made))
    assert "Quant" in line
    assert "onnx.brevitas" in line


def test_external_weights_are_read_and_hashed(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path, "weights.bin")
    read = read_model(path)
    assert read.model.graph.initializer[0].raw_data == linear().graph.initializer[0].raw_data
    before = read.sha256
    (tmp_path / "weights.bin").write_bytes(
        bytes(8) + bytes(len(read.model.graph.initializer[0].raw_data))
    )
    assert read_model(path).sha256 != before


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/../../weights.bin", ""])
def test_external_weights_stay_in_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = with_external_weights(folder, location)
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    assert "outside the model's folder" in refusal(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = with_external_weights(folder, "link.bin")
    (tmp_path / "outside.bin").write_bytes(bytes(4096))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    assert "outside the model's folder" in refusal(path)


def outside(name: str) -> onnx.TensorProto:
    """A tensor of four numbers that names weights outside the model's folder."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return tensor


def sparse(tensor: onnx.TensorProto) -> onnx.SparseTensorProto:
    where = helper.make_tensor("where", TensorProto.INT64, [4], range(4))
    return helper.make_sparse_tensor(tensor, where, [4])


def as_sparse_constant(made: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    attribute = made.graph.node.add(op_type="Constant", output=["c"]).attribute.add()
    attribute.name, attribute.type = "sparse_value", onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.CopyFrom(sparse(tensor))


def as_sparse_list(made: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    made.graph.node[0].attribute.add(name="list").sparse_tensors.append(sparse(tensor))


def as_default_of_a_function(made: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    made.functions.add(name="F", domain="own").attribute_proto.add(name="value").t.CopyFrom(tensor)


def in_a_default_graph_of_a_function(made: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    default = made.functions.add(name="F", domain="own").attribute_proto.add(name="body")
    default.g.initializer.append(tensor)


@pytest.mark.parametrize(
    "stored",
    [
        as_sparse_constant,
        as_sparse_list,
        as_default_of_a_function,
        in_a_default_graph_of_a_function,
    ],
)
def test_every_place_of_a_tensor_is_looked_at(
    tmp_path: Path, stored: Callable[[onnx.ModelProto, onnx.TensorProto], None]
) -> None:
    """What is not read by the loader is left to the runtime, which looks in the working folder."""
    made = linear()
    stored(made, outside("w"))
    assert "tensor 'w' names weights outside the model's folder" in refusal(saved(tmp_path, made))


def test_what_only_training_needs_is_not_given_to_the_runtime(tmp_path: Path) -> None:
    made = linear()
    made.training_info.add().initialization.initializer.append(outside("w"))
    assert not read_model(saved(tmp_path, made)).model.training_info


def test_many_tensors_of_the_same_bytes_are_counted_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file of 1 GB and 1,000 tensors of 60 bytes fill any memory."""
    made = onnx.load_model(with_external_weights(tmp_path, "weights.bin"), load_external_data=False)
    (tensor,) = made.graph.initializer
    for copy in range(39):
        made.graph.initializer.append(tensor)
        made.graph.initializer[-1].name = f"w{copy}"
    path = saved(tmp_path, made)
    whole = 40 * len(linear().graph.initializer[0].raw_data)
    assert path.stat().st_size + (tmp_path / "weights.bin").stat().st_size < whole / 2
    monkeypatch.setattr(model_file, "LARGEST_MODEL", whole)
    read_model(path)
    monkeypatch.setattr(model_file, "LARGEST_MODEL", whole - 1)
    assert f"weights above {whole - 1} bytes are not supported" in refusal(path)


def test_a_missing_or_short_weight_file_is_named(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path, "gone.bin")
    assert "'gone.bin' is missing" in refusal(path)
    path = with_external_weights(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(20))
    assert "not inside its weight file 'weights.bin' of 20 bytes" in refusal(path)


def test_a_declared_size_without_data_is_refused(tmp_path: Path) -> None:
    made = model([node("Add", "x w", "y")], inputs={"x": [1, 4]}, outputs={"y": None})
    made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[40_000, 40_000])
    path = saved(tmp_path, made)
    assert path.stat().st_size < 150
    assert "declares the shape [40000, 40000]" in refusal(path)


def test_a_tensor_in_segments_is_refused(tmp_path: Path) -> None:
    made = model([node("Add", "x w", "y")], inputs={"x": [1, 4]}, outputs={"y": None})
    part = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    part.float_data[:] = [1, 2, 3, 4]
    part.segment.begin, part.segment.end = 0, 4
    assert "tensor 'w' is stored in segments" in refusal(saved(tmp_path, made))


def test_very_many_subgraphs_are_refused_at_once(tmp_path: Path) -> None:
    """Each level doubles the number of branches: a file of 100 kB takes minutes to follow."""
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    inner = helper.make_graph([node("Identity", "x", "inner")], "deepest", [], [output])
    for _ in range(3):
        inner = helper.make_graph(
            [node("If", "true", "inner", then_branch=inner, else_branch=inner)], "b", [], [output]
        )
    few = linear()
    few.graph.node.append(node("If", "true", "z", then_branch=inner, else_branch=inner))
    read_model(saved(tmp_path, few))
    for _ in range(7):
        inner = helper.make_graph(
            [node("If", "true", "inner", then_branch=inner, else_branch=inner)], "b", [], [output]
        )
    many = linear()
    many.graph.node.append(node("If", "true", "z", then_branch=inner, else_branch=inner))
    assert "more than 1000 subgraphs" in refusal(saved(tmp_path, many))


def with_functions(bodies: dict[str, list[onnx.NodeProto]], called: str) -> onnx.ModelProto:
    """``linear()`` with functions of the domain ``own``, of which it calls one."""
    made, own = linear(), [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, nodes in bodies.items():
        made.functions.append(helper.make_function("own", name, ["a"], ["b"], nodes, own))
    made.graph.node.append(node(called, "y", "z", domain="own"))
    made.opset_import.append(own[1])
    return made


def test_functions_are_counted_with_what_they_call(tmp_path: Path) -> None:
    """Each function calls the one before twice: 40 of them stand for 2^40 operators."""

    def doubled(levels: int, deepest: list[onnx.NodeProto]) -> onnx.ModelProto:
        bodies = {"F0": deepest}
        for level in range(levels):
            again = [node(f"F{level}", "a", "c", domain="own")]
            again += [node(f"F{level}", "c", "b", domain="own")]
            bodies[f"F{level + 1}"] = again
        return with_functions(bodies, f"F{levels}")

    plain = [node("Relu", "a", "b")]
    read_model(saved(tmp_path, doubled(5, plain)))
    assert "more than 20000 operators" in refusal(saved(tmp_path, doubled(40, plain)))
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    branch = helper.make_graph([node("Identity", "a", "o")], "branch", [], [output])
    choice = [
        helper.make_node("Constant", [], ["t"], value_int=1),
        helper.make_node("Cast", ["t"], ["c"], to=TensorProto.BOOL),
        node("If", "c", "b", then_branch=branch, else_branch=branch),
    ]
    read_model(saved(tmp_path, doubled(3, choice)))
    assert "more than 1000 subgraphs" in refusal(saved(tmp_path, doubled(10, choice)))


def test_a_function_that_calls_itself_is_named(tmp_path: Path) -> None:
    direct = with_functions({"F": [node("F", "a", "b", domain="own")]}, "F")
    assert "function 'F' of the model calls itself" in refusal(saved(tmp_path, direct))
    calls = {"F": "G", "G": "H", "H": "G"}
    bodies = {name: [node(callee, "a", "b", domain="own")] for name, callee in calls.items()}
    line = refusal(saved(tmp_path, with_functions(bodies, "F")))
    assert "function 'G' of the model calls itself" in line or "function 'H'" in line
    of_another = {"Relu": [node("Relu", "a", "b")]}  # the standard's, not its own
    read_model(saved(tmp_path, with_functions(of_another, "Relu")))


@pytest.mark.parametrize("location", ["w\0.bin", "a" * 300, "a/" * 3000 + "w"])
def test_a_weight_file_that_cannot_exist_is_told(tmp_path: Path, location: str) -> None:
    line = refusal(with_external_weights(tmp_path, location))
    assert "no name of a file" in line
    assert len(line) < 300


def test_weights_behind_a_circle_of_links_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "'a/w'" in refusal(with_external_weights(tmp_path, "a/w"))


def test_a_graph_of_very_many_tensors_inputs_or_outputs_is_refused(tmp_path: Path) -> None:
    stored = [helper.make_tensor(f"w{i}", TensorProto.FLOAT, [1], [0.0]) for i in range(20_000)]
    many = linear()
    many.graph.initializer.extend(stored[:-1])
    read_model(saved(tmp_path, many))
    many.graph.initializer.append(stored[-1])
    assert "more than 20000 stored tensors" in refusal(saved(tmp_path, many))
    few = linear()
    for tensor in stored[:1000]:  # as files of IR version 3 list them
        few.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, [1]))
    assert "more than 1000 inputs and outputs" in refusal(saved(tmp_path, few))
    few.graph.initializer.extend(stored[:1000])
    read_model(saved(tmp_path, few))
    few.graph.output.extend([few.graph.output[0]] * 1000)
    assert "more than 1000 inputs and outputs" in refusal(saved(tmp_path, few))
