"""`robcert doctor FILE`: whole rows of a damaged results file are found and can be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from child_code import child_of

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import rescue as rescue_file
from robcert.certify.hdf5 import sandbox
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.examination import Examination, examine
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
DATA = DataInfo("set", "b" * 64, 50)
SOME = np.arange(20)
SIZES = {"channel": 1, "height": 2, "width": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.h5"
    with ResultStore.open(path, model=MODEL, data=DATA) as store:
        store.add_images(SOME, SOME % 10)
        clean = store.group(CLEAN, prefix="", settings=None, seed=0)
        clean.append(SOME, {column.name: SOME * 1.0 for column in CLEAN.columns})
        clean.finish(SOME)
        attack = store.group(ATTACK, prefix="linf", settings={"a": 1}, seed=0, sizes=SIZES)
        images = {"adversarial": np.arange(80.0).reshape(20, 1, 2, 2)}
        attack.append(SOME, {c.name: SOME * 1.0 for c in ATTACK.everywhere} | images)
        attack.finish(SOME)
    return path


def place_of(file: h5py.File, schema: str) -> h5py.Group:
    return next(iter(file[schema].values()))


def rows(found: Examination) -> dict[str, tuple[int, int]]:
    return {t.place.split("/")[1]: (t.whole, t.finished) for t in found.tables}


def test_a_whole_file_is_copied_value_by_value(path: Path, tmp_path: Path) -> None:
    found = examine(path, tmp_path / "saved.h5")
    assert found.whole
    assert rows(found) == {"clean": (20, 20), "attack": (20, 20)}
    with h5py.File(path) as old, h5py.File(tmp_path / "saved.h5") as new:

        def same(name: str, item: h5py.Group | h5py.Dataset) -> None:
            assert {n: v for n, v in item.attrs.items() if n != "DIMENSION_LABELS"} == {
                n: v for n, v in new[name].attrs.items() if n != "DIMENSION_LABELS"
            }
            if isinstance(item, h5py.Dataset):
                assert np.array_equal(item[()], new[name][()])
                assert [d.label for d in item.dims] == [d.label for d in new[name].dims]

        old.visititems(same)


def test_rows_behind_the_end_are_lost_and_computed_again(path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as file:
        ends = {}
        for name, data in place_of(file, "attack").items():
            if data.chunks is None and data.id.get_offset():
                ends[name] = data.id.get_offset() + data.nbytes
        last = max(ends, key=lambda name: ends[name])
        row = place_of(file, "attack")[last].nbytes // 20
        others = [end for name, end in ends.items() if name != last]
    cut = ends[last] - 3 * row
    assert max(others) <= cut
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(StoreError, match=r"damaged: .*truncated"):
        ResultStore.read(path)
    found = examine(path, tmp_path / "saved.h5")
    if len(whole) - cut > 3 * row:  # more than these rows was behind
        assert not found.whole
    saved = rows(found)
    assert saved.get("attack", (0, 20)) in ((17, 20), (0, 20))
    with ResultStore.read(tmp_path / "saved.h5") as store:
        assert len(store.indices) == 20


def test_an_unreadable_image_loses_its_row_alone(path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as file:
        info = place_of(file, "attack")["adversarial"].id.get_chunk_info(7)
    content = bytearray(path.read_bytes())
    content[info.byte_offset : info.byte_offset + info.size] = bytes(info.size)
    path.write_bytes(content)
    found = examine(path, tmp_path / "saved.h5")
    assert not found.whole
    assert rows(found) == {"clean": (20, 20), "attack": (19, 20)}
    with ResultStore.read(tmp_path / "saved.h5") as store:
        (group,) = store.existing("attack")
        assert not group.complete
        assert list(group.missing(SOME)) == [7]
        assert list(group.indices) == [i for i in range(20) if i != 7]
        assert group.column("adversarial", np.array([8]))[0, 0, 0, 0] == 32.0


def test_a_column_that_is_missing_loses_its_table_alone(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del place_of(file, "attack")["distance"]
    with pytest.raises(StoreError, match=r"damaged at /attack/.*/distance: is missing"):
        ResultStore.read(path)
    found = examine(path, tmp_path / "saved.h5")
    assert rows(found) == {"clean": (20, 20), "attack": (0, 20)}
    (attack,) = (table for table in found.tables if "attack" in table.place)
    assert found.fault_of(attack).endswith("/distance is missing")
    with ResultStore.read(tmp_path / "saved.h5") as store:
        assert store.existing("attack") == []
        assert len(store.existing("clean")) == 1


def test_a_file_of_another_program_is_not_called_whole(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "something else"
    found = examine(path)
    assert found.header == "/ format is not 'robcert-results'"
    assert not found.whole


def test_nothing_is_saved_without_the_header(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["model"].attrs["sha256"]
    with pytest.raises(StoreError, match=r"nothing of .*: /model has other attributes"):
        examine(path, tmp_path / "saved.h5")
    assert examine(path).header == "/model has other attributes than were written"
    assert [one.name for one in tmp_path.iterdir()] == ["r.h5"]


def test_an_existing_file_is_not_replaced(path: Path, tmp_path: Path) -> None:
    (tmp_path / "saved.h5").write_text("mine")
    with pytest.raises(StoreError, match=r"saved.h5 exists"):
        examine(path, tmp_path / "saved.h5")
    assert (tmp_path / "saved.h5").read_text() == "mine"


def test_parts_that_crash_are_left_out(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is replaced by one that crashes at a part until it is told to skip it."""
    code = (
        "import io, json, os, sys; request = json.load(sys.stdin);"
        "part = '/attack/' + os.environ['KEY'] + '/distance';"
        "crash = part not in request['skip'];"
        "print(json.dumps(part), flush=True) if crash else None;"
        "os.kill(os.getpid(), 11) if crash else None;"
        "sys.stdin = io.StringIO(json.dumps(request));"
        "from robcert.certify.hdf5.trial import main; main()"
    )
    with h5py.File(path) as file:
        monkeypatch.setenv("KEY", next(iter(file["attack"])))
    monkeypatch.setattr(sandbox, "run_module", child_of(code))
    found = rescue_file(path, tmp_path / "copy.h5")
    assert [fault.reason for fault in found.faults] == [
        "the HDF5 library crashes while it reads this"
    ]
    with h5py.File(tmp_path / "copy.h5") as file:
        assert "distance" not in place_of(file, "attack")
        assert "success" in place_of(file, "attack")
