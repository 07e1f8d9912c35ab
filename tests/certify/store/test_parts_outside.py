"""Files whose parts lie elsewhere are refused: reading them would read another file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data import load_images
from robcert.certify.data.hdf5_file import part_outside
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import DataError, StoreError
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
DATA = DataInfo("set", "b" * 64, 5)


def soft_link(file: h5py.File, _: Path) -> None:
    file["images/other"] = h5py.SoftLink("/images/index")


def external_link(file: h5py.File, other: Path) -> None:
    file["images/other"] = h5py.ExternalLink(str(other), "/")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("images/other", (4,), "u1", external=[(str(other), 0, 4)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "a", (4,))
    file.create_virtual_dataset("images/other", layout)


KINDS = [soft_link, external_link, external_storage, virtual]


@pytest.mark.parametrize("made", KINDS)
def test_results_with_parts_elsewhere_are_neither_read_nor_written(
    made: Callable[[h5py.File, Path], None], tmp_path: Path
) -> None:
    path, other = tmp_path / "r.h5", tmp_path / "other.bin"
    other.write_bytes(b"mine")
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(np.arange(5), np.arange(5))
        store.group(CLEAN, prefix="", settings=None, seed=0)
    with h5py.File(path, "r+") as file:
        file.require_group("images")
        made(file, other)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"/images/other"):
        ResultStore.read(path)
    with pytest.raises(StoreError, match=r"/images/other"):
        ResultStore.open(path, model=MODEL, data=DATA)
    assert path.read_bytes() == before
    assert other.read_bytes() == b"mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other.bin", "r.h5"]


@pytest.mark.parametrize("made", KINDS[1:])
def test_images_with_parts_elsewhere_are_not_read(
    made: Callable[[h5py.File, Path], None], tmp_path: Path
) -> None:
    path, other = tmp_path / "images.h5", tmp_path / "other.bin"
    other.write_bytes(b"mine")
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((5, 4, 4, 1), np.uint8)
        file.move("images", "x")
        file.create_group("images")
        made(file, other)
        file.move("x", "pixels")
    with pytest.raises(DataError, match=r"/images/other"):
        load_images(path)


def test_a_circle_of_groups_ends(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "r.h5", "w") as file:
        inner = file.create_group("a/b")
        inner["again"] = file["a"]
        file["a/values"] = np.arange(3)
        assert part_outside(file) == ""
