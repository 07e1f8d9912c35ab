from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import linear, model, node, saved

from robcert.certify.errors import ModelFileError
from robcert.certify.importer.graph.model_file import read_model

if TYPE_CHECKING:
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
