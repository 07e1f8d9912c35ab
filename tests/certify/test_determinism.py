"""Rows depend on no batch size, threads, workers, order, subset or resumption; foreign models."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from every_analysis import ANALYSES

from robcert.certify import api
from robcert.certify.data import from_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MODELS = {
    "mnist-net_256x2.onnx": "mnist_test.npz",
    "mnist_keras2onnx_lg.onnx": "mnist_test.npz",
    "cifar_base_kw.onnx": "cifar10_test.npz",
    "mlperf_resnet8_qdq.onnx": "cifar10_test.npz",
    "vit_pgd_2_3_16.onnx": "cifar10_test.npz",
}
"""Fully connected with a fixed batch, NHWC, convolutions, 8-bit integers, a transformer."""

INDICES = (0, 3, 4, 7)
"""Images that every run reports on."""

USUAL = {"batch_size": 4, "threads": 1, "indices": INDICES}

VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "one at a time": ({"batch_size": 1},),
    "batches of 3": ({"batch_size": 3},),
    "two threads": ({"threads": 2},),
    "reversed": ({"indices": INDICES[::-1]},),
    "subset": ({"indices": INDICES[2:3]},),
    "resumed": ({"indices": INDICES[:2]}, {}),
    "two workers": ({"workers": 2, "batch_size": 1},),
}
"""Options of the runs into one file, one after the other, where they differ from the usual ones."""

UNSTABLE = ("seconds", "checksum")
"""Ends of the names of columns that hold times, or follow from them."""


@cache
def pair(zoo: Path, name: str, threads: int) -> tuple[Classifier, ImageSet]:
    """The model with so many threads, and its images."""
    known = json.loads((zoo / "zoo.json").read_text())
    (entry,) = [entry for entry in known if entry["file"] == name]
    with np.load(zoo / "data" / MODELS[name]) as file:
        images = from_arrays(name, *(file[key][:320] for key in names_of(file)))
    options = {"preprocess": entry["preprocess"], "threads": threads, "device": "cpu"}
    return api.load_model(zoo / "models" / name, images, **options), images


def names_of(file: Any) -> tuple[str, str]:
    """Names of images and labels in an archive."""
    images = next(key for key in file.files if file[key].ndim > 2)
    return images, next(key for key in file.files if file[key].ndim == 1)


def rows(path: Path) -> dict[tuple[str, int], bytes]:
    """Every entry of every table, by its path and image, where it was computed."""
    found: dict[tuple[str, int], bytes] = {}
    with h5py.File(path) as file:
        index = file["data/index"][()]
        tables: list[Any] = []
        file.visititems(lambda _, item: tables.append(item) if is_table(item) else None)
        for table in tables:
            done = table["computed"][()] == 1
            for name, column in table.items():
                values = column[()] if isinstance(column, h5py.Dataset) else None
                if values is None or name.endswith(UNSTABLE) or len(values) != len(index):
                    continue
                for at in np.flatnonzero(done):
                    row = values[at]
                    content = row.tobytes() if isinstance(row, np.generic | np.ndarray) else row
                    found[f"{table.name}/{name}", int(index[at])] = content
    return found


def is_table(item: object) -> bool:
    return isinstance(item, h5py.Group) and "computed" in item


def run(zoo: Path, model: str, analysis: str, parts: tuple[dict[str, Any], ...], out: Path) -> None:
    function, settings = ANALYSES[analysis]
    for part in parts:
        options = {**USUAL, **part}
        classifier, images = pair(zoo, model, options["threads"])
        function(classifier, images, settings, **options, out=out, allow_low_accuracy=True)


PAIRS = [
    (analysis, model)
    for analysis in ANALYSES
    for model in MODELS
    if (analysis, model) != ("verify", "mlperf_resnet8_qdq.onnx")  # no bounds of rounding nodes
]


@pytest.mark.parametrize(("analysis", "model"), PAIRS)
@pytest.mark.filterwarnings("ignore::robcert.certify.api.RobcertWarning")
def test_rows_are_the_same_however_they_are_computed(
    analysis: str, model: str, zoo: Path, tmp_path: Path
) -> None:
    run(zoo, model, analysis, ({},), tmp_path / "usual.h5")
    expected = rows(tmp_path / "usual.h5")
    assert {image for _, image in expected} == set(INDICES)
    other = []
    for number, (variant, parts) in enumerate(VARIANTS.items()):
        run(zoo, model, analysis, parts, tmp_path / f"{number}.h5")
        found = rows(tmp_path / f"{number}.h5")
        images = parts[-1].get("indices", INDICES)
        assert found.keys() == {key for key in expected if key[1] in images}, variant
        differing = sorted({name for (name, at), row in found.items() if row != expected[name, at]})
        other += [f"{variant}: {name}" for name in differing]
    assert not other
