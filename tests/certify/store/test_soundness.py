"""Damaged results files end in one line that names the file, wherever they are damaged."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path, some = tmp_path / "r.h5", np.arange(50)
    with ResultStore.open(path, model=MODEL, data=DataInfo("set", "b" * 64, 50)) as store:
        store.add_images(some, some % 10)
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        group.append(some, {column.name: some * 1.0 for column in CLEAN.columns})
    return path


def test_a_file_that_was_cut_off_is_damaged(path: Path) -> None:
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(StoreError, match=r"r.h5"):
            ResultStore.read(path)


def test_what_the_header_lacks_is_named(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["model"].attrs["file"]
    with pytest.raises(StoreError, match=r"is damaged at /model: lacks file"):
        ResultStore.read(path)


def test_images_that_are_not_saved_yet_are_no_damage(tmp_path: Path) -> None:
    path, some = tmp_path / "r.h5", np.arange(2000)
    settings = AttackSettings(save_images=True)
    sizes = {"channel": 3, "height": 224, "width": 224}
    with ResultStore.open(path, model=MODEL, data=DataInfo("set", "b" * 64, 2000)) as store:
        store.add_images(some, some % 10)
        store.group(ATTACK, prefix="linf", settings=settings, seed=0, sizes=sizes)
    with h5py.File(path) as file:
        table = next(iter(file["attack"].values()))
        assert table["adversarial"].nbytes > 2000 * path.stat().st_size
    with ResultStore.read(path) as store:
        assert len(store.indices) == 2000


FLIPS = """
import sys
from pathlib import Path
import numpy as np
from robcert.certify.errors import StoreError
from robcert.certify.store.store import ResultStore

path, whole = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
rng = np.random.default_rng(int(sys.argv[2]))
at = rng.integers(len(whole) - 8)
path.write_bytes(whole[:at] + rng.bytes(8) + whole[at + 8:])
try:
    with ResultStore.read(path) as store:
        store.header, store.model, store.data
except StoreError as error:
    assert str(path) in str(error) and "\\n" not in str(error)
"""


@pytest.mark.slow
def test_changed_bytes_never_end_in_another_error(path: Path) -> None:
    whole, ends = path.read_bytes(), []
    for seed in range(60):
        path.write_bytes(whole)
        code = [sys.executable, "-c", FLIPS, str(path), str(seed)]
        ends.append(subprocess.run(code, check=False, capture_output=True).returncode)
    assert set(ends) == {0}
