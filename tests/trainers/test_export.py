from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from robcert.certify.model.preprocessing import Preprocessing
from robcert.trainers.export import export_checkpoint
from robcert.trainers.loop.checkpoint import load_checkpoint

PATHS = re.compile(rb"site-packages|\.py\b|/home/|/usr/|/tmp/|/work|[A-Z]:\\\\")


@pytest.fixture(scope="module")
def exported(run_folder: Path) -> Path:
    return export_checkpoint(run_folder)


def test_the_onnx_file_computes_what_the_checkpoint_computes(
    run_folder: Path, exported: Path
) -> None:
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    metadata = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    stored = json.loads(metadata["robcert.preprocess"])
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    prepare = Preprocessing(**fields)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["image"]
    assert [item.name for item in session.get_outputs()] == ["logits"]
    for batch in (1, 3):
        (got,) = session.run(None, {"image": prepare(x[:batch]).numpy()})
        expected = load_checkpoint(run_folder).logits(x[:batch]).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_metadata_says_what_made_it(exported: Path) -> None:
    model = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    provenance = json.loads(metadata["robcert.provenance"])
    assert metadata["robcert.data"] == "noise"
    assert provenance["method"] == "standard"
    assert provenance["architecture"]["name"] == "resnet-small"
    assert model.producer_name == "robcert"
    assert model.opset_import[0].version >= 18


def test_no_path_of_the_machine_is_in_the_file(exported: Path) -> None:
    assert not PATHS.search(exported.read_bytes())
    assert str(Path.cwd()).encode() not in exported.read_bytes()


def test_exports_are_equal_byte_by_byte(run_folder: Path, exported: Path, tmp_path: Path) -> None:
    again = export_checkpoint(run_folder, tmp_path / "again.onnx")
    assert again.read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("name", ["fashion-honest", "fashion-gaussian", "fashion-masked"])
def test_no_path_of_the_machine_is_in_a_bundled_model(name: str) -> None:
    content = (resources.files("robcert.fixtures") / f"{name}.onnx").read_bytes()
    assert not PATHS.search(content)
