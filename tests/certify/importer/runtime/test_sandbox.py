from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx_models import linear, model, node, saved

from robcert.certify.errors import ModelFileError
from robcert.certify.importer.runtime import sandbox
from robcert.certify.importer.runtime.sandbox import OutputFact, TrialLimits, trial_outputs

if TYPE_CHECKING:
    from pathlib import Path


def test_outputs_are_told_as_computed(tmp_path: Path) -> None:
    path = saved(tmp_path, linear(("batch", 3, "height", "width")))
    facts = trial_outputs(path, image_shape=(3, 4, 4))
    assert facts == {"logits": OutputFact("float32", (1, 5))}
    assert trial_outputs(path, image_shape=(3, 4, 4), output="flat") == {
        "flat": OutputFact("float32", (1, 48))
    }


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
        trial_outputs(path)
    assert "\n" not in str(caught.value)


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = saved(tmp_path, linear())
    with pytest.raises(ModelFileError, match="took more than 0 s"):
        trial_outputs(path, limits=TrialLimits(seconds=0.01))


def test_a_child_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_TRIAL", ("-c", "import os; os.kill(os.getpid(), 11)"))
    with pytest.raises(ModelFileError, match=r"the process that tried it died .signal 11"):
        trial_outputs(saved(tmp_path, linear()))


def test_a_file_of_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert "logits" in trial_outputs(saved(tmp_path, linear()))


def test_what_the_runtime_refuses_is_one_line(tmp_path: Path) -> None:
    made = linear()  # its ir_version and opset are supported: the operator is to blame
    made.graph.node[1].op_type = "NoSuchOperator"
    assert (made.ir_version, made.graph.node[1].domain) == (8, "")
    with pytest.raises(ModelFileError, match=r"refuses it: .*NoSuchOperator") as caught:
        trial_outputs(saved(tmp_path, made))
    assert "\n" not in str(caught.value)
