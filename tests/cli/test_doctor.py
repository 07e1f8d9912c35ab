"""`robcert doctor FILE`: exit status, the rows that it lists, and the file that it saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from command_line import robcert

from robcert.certify.auditing import CLEAN
from robcert.certify.data import DataInfo
from robcert.certify.model import ModelInfo
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

SOME = np.arange(5)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
    with ResultStore.open(
        tmp_path / "r.h5", model=model, data=DataInfo("set", "b" * 64, 9)
    ) as store:
        store.add_images(SOME, SOME)
        for seed in (0, 1):
            group = store.group(CLEAN, prefix="a", settings={"s": seed}, seed=seed)
            group.append(SOME, {name: np.zeros(5) for name in group.columns})
    return tmp_path / "r.h5"


def test_a_whole_file(path: Path) -> None:
    ended = robcert("doctor", path.name)
    assert ended.status == 0, ended
    assert "nothing is damaged" in ended.stdout
    assert [one.name for one in path.parent.iterdir()] == ["r.h5"]


def test_a_damaged_file_is_saved_without_its_damaged_table(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        first, second = file["clean"]
        del file[f"clean/{first}/confidence"]
    shown = robcert("show", "r.h5")
    assert shown.status == 2
    assert f"damaged at /clean/{first}/confidence: is missing" in shown.stderr
    assert "hint: robcert doctor r.h5" in shown.stderr
    ended = robcert("doctor", "r.h5", "--out", "new.h5")
    assert ended.status == 1, ended
    assert "saved: 5 rows in new.h5" in ended.stdout
    with h5py.File("new.h5") as file:
        assert list(file["clean"]) == [second]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--out", "new.h5"), "name the file"),
        (("r.h5", "--self-test"), "examines robcert, not a results file"),
        (("missing.h5",), "missing.h5 does not exist"),
        (("r.h5", "--out", "r.h5"), "r.h5 exists"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], reason: str, path: Path
) -> None:
    before = path.read_bytes()
    ended = robcert("doctor", *arguments)
    assert ended.status == 2
    assert reason in ended.stderr
    assert path.read_bytes() == before
