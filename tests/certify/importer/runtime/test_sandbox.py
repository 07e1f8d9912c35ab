from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from child_code import child_of
from onnx_models import linear, model, node, saved

from robcert.certify.errors import ModelFileError
from robcert.certify.importer.runtime import sandbox
from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.runtime.sandbox import OutputFact, try_model

if TYPE_CHECKING:
    from pathlib import Path


def test_outputs_are_told_as_computed(tmp_path: Path) -> None:
    path = saved(tmp_path, linear(("batch", 3, "height", "width")))
    facts = try_model(path, image_shape=(3, 4, 4)).outputs
    assert facts == {"logits": OutputFact("float32", (1, 5))}
    inside = try_model(path, image_shape=(3, 4, 4), output="flat").outputs
    assert inside == {"flat": OutputFact("float32", (1, 48))}


def test_a_tiny_file_that_makes_gigabytes_is_one_line(tmp_path: Path) -> None:
    made = model(
        [
            node("ConstantOfShape", "size", "huge"),
            node("ReduceMax", "huge", "one", keepdims=0),
            node("Add", "x one", "y"),
        ],
        inputs={"x": [1, 4]},
        outputs={"y": None},
        weights={"size": np.array([3, 40_000, 40_000], np.int64)},
    )
    path = saved(tmp_path, made)
    with pytest.raises(ModelFileError, match=r"more than \d+\.\d GiB of memory") as caught:
        try_model(path)
    assert "\n" not in str(caught.value)


def test_a_larger_memory_limit_allows_more(tmp_path: Path) -> None:
    made = model(
        [
            node("ConstantOfShape", "size", "huge"),
            node("ReduceMax", "huge", "one", keepdims=0),
            node("Add", "x one", "y"),
        ],
        inputs={"x": [1, 4]},
        outputs={"y": None},
        weights={"size": np.array([100, 2**20], np.int64)},  # 400 MiB
    )
    path = saved(tmp_path, made)
    with pytest.raises(ModelFileError, match=r"more than 300 MiB of memory") as caught:
        try_model(path, limits=RunLimits(memory=300 * 2**20))
    assert "--memory-limit allows more" in caught.value.hint
    assert try_model(path, limits=RunLimits(memory=2**30)).outputs["y"].shape == (1, 4)


def test_the_memory_of_the_call_is_measured(tmp_path: Path) -> None:
    def made(size: int) -> Path:
        nodes = [node("Expand", "x size", "large"), node("Exp", "large", "y")]
        sizes = {"size": np.array([size, 4], np.int64)}
        return saved(
            tmp_path, model(nodes, inputs={"x": [1, 4]}, outputs={"y": None}, weights=sizes)
        )

    small, large = (try_model(made(size)).memory for size in (1, 2**22))
    assert small < 10 * 2**20
    assert 100 * 2**20 < large < 300 * 2**20  # two tensors of 64 MiB, and what holds the answer


def test_a_child_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.01)
    with pytest.raises(ModelFileError, match="took more than 0 s"):
        try_model(saved(tmp_path, linear()), limits=RunLimits(seconds=0.01))


def test_a_child_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "run_module", child_of("import os; os.kill(os.getpid(), 11)"))
    with pytest.raises(ModelFileError, match=r"the process that tried it died .signal 11"):
        try_model(saved(tmp_path, linear()))


def test_a_file_of_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert "logits" in try_model(saved(tmp_path, linear())).outputs


def test_what_the_runtime_refuses_is_one_line(tmp_path: Path) -> None:
    made = linear()  # its ir_version and opset are supported: the operator is to blame
    made.graph.node[1].op_type = "NoSuchOperator"
    assert (made.ir_version, made.graph.node[1].domain) == (8, "")
    with pytest.raises(ModelFileError, match=r"refuses it: .*NoSuchOperator") as caught:
        try_model(saved(tmp_path, made))
    assert "\n" not in str(caught.value)
