from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper
from onnx_models import images, linear, model, node, saved, weights

from robcert.certify.auditing.inspection import inspect_model
from robcert.certify.importer.load import LoadOptions

if TYPE_CHECKING:
    from pathlib import Path

ONE_THREAD = LoadOptions(device="cpu", threads=1)


def test_every_key_of_the_contract_is_there(tmp_path: Path) -> None:
    path = saved(tmp_path, linear((1, 3, 4, 4), tail=[node("Softmax", "logits", "out")]))
    labels = np.arange(12) % 5
    found = inspect_model(path, ONE_THREAD, images=images(labels=labels)).to_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["kind"], found["producer"], found["opset"]) == ("onnx", "test", 17)
    assert found["input"] == {
        "name": "x",
        "shape": [1, 3, 4, 4],
        "image": [3, 4, 4],
        "batch": "any",
    }
    assert found["output"] == {"name": "out", "shape": [1, 5], "classes": 5}
    assert found["logits_from"] == "input of Softmax node 'out_node'"
    assert found["twin"] == {"available": True, "reason": "", "straight_through": []}
    assert found["parity"]["top1_agreement"] == 1.0
    assert set(found["clean_accuracy"]) == {"value", "lower", "upper", "n"}
    assert found["clean_accuracy"]["n"] == 12
    assert found["preprocessing"]["layout"] == "NCHW"


def test_two_heads_are_inspected_with_a_warning(tmp_path: Path) -> None:
    made = linear()
    made.graph.node.append(node("MatMul", "flat w", "other"))
    made.graph.output.append(helper.make_empty_tensor_value_info("other"))
    found = inspect_model(saved(tmp_path, made), ONE_THREAD).to_json()
    assert found["output"]["name"] == "logits"
    assert any("logits, other" in line for line in found["warnings"])
    assert found["clean_accuracy"]["value"] is None
    assert "output 'logits' is the first that could be the class scores" in found["notes"]
    assert not any("chosen by the user" in line for line in found["notes"])
    chosen = inspect_model(saved(tmp_path, made), replace(ONE_THREAD, output="other"))
    assert chosen.warnings == ()
    assert "output 'other' was chosen by the user" in chosen.info.notes


def test_a_free_batch_axis_is_free_in_the_output_too(tmp_path: Path) -> None:
    found = inspect_model(saved(tmp_path, linear()), ONE_THREAD).to_json()
    assert (found["input"]["shape"], found["input"]["batch"]) == (["batch", 3, 4, 4], "any")
    assert found["output"]["shape"] == ["batch", 5]


def test_a_runtime_that_takes_images_one_by_one_says_so_everywhere(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("ReduceMean", "flat", "mean", axes=[0], keepdims=1),
            node("Add", "flat mean", "sum"),
            node("MatMul", "sum w", "logits"),
        ],
        inputs={"x": ["n", 3, 4, 4]},
        outputs={"logits": None},
        weights={"w": weights(5, 48)},
    )
    found = inspect_model(saved(tmp_path, made), ONE_THREAD).to_json()
    assert found["input"]["batch"] == "image by image"
    assert found["output"]["shape"] == [1, 5]
    note = "batches fail or change the scores: the runtime processes one image at a time"
    assert note in found["notes"]


def test_chance_is_a_warning_here_and_not_an_error(tmp_path: Path) -> None:
    labels = np.zeros(12, np.int64)
    path = saved(tmp_path, linear())
    # Labels that the model never gives.
    found = inspect_model(path, ONE_THREAD, images=images(labels=labels))
    assert found.clean_accuracy is not None
    if found.clean_accuracy.value < 0.28:
        assert any("at chance" in line for line in found.warnings)
