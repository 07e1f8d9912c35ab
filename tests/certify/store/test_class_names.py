"""Names of the classes in a results file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.arrays import from_arrays
from robcert.certify.data.image_set import DataInfo
from robcert.certify.data.load import load_images
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ModelInfo(file="m.onnx", sha256="a" * 64, kind="onnx")


def written(path: Path, data: DataInfo) -> None:
    with ResultStore.open(path, model=MODEL, data=data) as store:
        store.add_images(np.arange(2), np.array([0, 1]))
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        group.append(np.arange(2), {column.name: np.ones(2) for column in CLEAN.columns})


@pytest.mark.parametrize("names", [(), ("cat", "dog <b>"), tuple("c" * 30000 for _ in range(9))])
def test_names_are_read_as_they_were_and_are_no_fact_of_json(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    images = from_arrays("pets", np.full((2, 1, 2, 2), 0.5, np.float32), np.arange(2))
    info = DataInfo(images.name, images.sha256, len(images), names)
    written(tmp_path / "r.h5", info)
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert store.class_names == names
        assert store.data == info.facts


def test_the_bundled_images_have_names() -> None:
    assert load_images("fashion-mnist-2000").info.classes[9] == "Ankle boot"
