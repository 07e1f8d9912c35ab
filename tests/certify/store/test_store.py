"""The results file: what is written is read back, by plain h5py too, and never half of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SUPPORT

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.core import Kind, Norm
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHECKSUM, seal
from robcert.certify.local_linearity.schema import LINEARITY
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store import layout as store_layout
from robcert.certify.store.column import Column, Schema, declare
from robcert.certify.store.layout import pack_indices, unpack_indices
from robcert.certify.store.store import SIGN_SLOPE, ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robcert.certify.store.group import AnalysisGroup

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx", notes=("one", "two"))
DATA = DataInfo("digits", "b" * 64, 100)
SAVED = declare(
    Schema(
        "saved",
        1,
        "with images",
        (
            Column("distance", "f8", Kind.ATTACKED, "distance", "pixel"),
            Column(
                "adversarial",
                "f4",
                Kind.ATTACKED,
                "image",
                trailing=("channel", "y", "x"),
                images=True,
            ),
        ),
    )
)

SAMPLE = Schema(
    "sample",
    7,
    "one row a draw",
    (
        Column("block", "i4", Kind.MEASURED, "block", "count", fill=-1),
        Column("residual", "f8", Kind.ESTIMATED, "residual", trailing=("epsilon",)),
    ),
    axis="sample",
)


@dataclass(frozen=True)
class Settings:
    norm: Norm = Norm.LINF
    epsilon: float = 0.1
    steps: tuple[int, ...] = (1, 2)


def opened(path: Path, **changes: Any) -> ResultStore:
    return ResultStore.open(path, model=MODEL, data=DATA, **changes)


def clean(store: ResultStore) -> AnalysisGroup:
    return store.group(CLEAN, prefix="", settings=None, seed=0)


def rows(indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {column.name: indices * 10.0 for column in CLEAN.columns}


def interrupted(path: Path, work: Callable[[ResultStore], object]) -> None:
    """A run that Ctrl-C ends after ``work``."""

    def run() -> None:
        with opened(path) as store:
            work(store)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


def leftovers(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def test_rows_come_back_in_any_order_and_missing_ones_are_fill(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.array([5, 3, 1]), np.array([0, 1, 2]))
        group = clean(store)
        group.append(np.array([1, 5]), rows(np.array([1, 5])))
        assert group.missing(np.array([3, 1, 9])).tolist() == [3, 9]
        assert group.column("prediction").tolist() == [50, -1, 10]
        values = group.column("logit_margin", np.array([9, 1, 3, 1]))
        assert np.array_equal(values, [math.nan, 10, math.nan, 10], equal_nan=True)
    assert leftovers(tmp_path / "r.h5") == []


def test_tables_grow_with_the_images_and_keep_their_rows(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.array([5, 3]), np.array([0, 1]))
        group = clean(store)
        group.append(np.array([3]), rows(np.array([3])))
        group.save_array("fit/maxima", np.arange(3.0), kind=Kind.ESTIMATED, doc="maxima")
        sample = store.group(
            SAMPLE, prefix="", settings=None, seed=0, n_rows=2, sizes={"epsilon": 1}
        )
        store.add_images(np.array([3, 0, 7, 0]), None)
        assert store.indices.tolist() == [5, 3, 0, 7]
        assert store.labels.tolist() == [0, 1, -1, -1]
        assert group.column("prediction").tolist() == [-1, 30, -1, -1]
        assert len(sample.computed()) == 2
        group.append(np.array([7]), rows(np.array([7])))
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert store.at("clean").column("prediction").tolist() == [-1, 30, -1, 70]
        assert store.at("/clean").array("fit/maxima").tolist() == [0, 1, 2]


def test_plain_h5py_reads_it_all(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(4), np.arange(4))
        group = store.group(
            SAMPLE,
            prefix="l2 0.1",
            settings=Settings(),
            seed=3,
            n_rows=2,
            sizes={"epsilon": 5},
        )
        group.append(
            np.array([1]),
            {"block": np.array([0]), "residual": np.ones((1, 5))},
        )
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["format"] == "robcert-results"
        assert {"format_version", "robcert_version", "created"} <= set(file.attrs)
        assert file["model"].attrs["sha256"] == MODEL.sha256
        assert json.loads(file["model"].attrs["notes"]) == ["one", "two"]
        assert file["data/index"].dtype == np.int64
        assert file["data/label"].dtype == np.int32
        place = file[group.path]
        assert group.path.startswith("/sample/l2-0.1-")
        assert json.loads(place.attrs["settings"]) == {
            "norm": "linf",
            "epsilon": 0.1,
            "steps": [1, 2],
        }
        assert (place.attrs["seed"], place.attrs["schema_version"]) == (3, 7)
        residual = place["residual"]
        assert (residual.shape, residual.attrs["kind"]) == ((2, 5), "estimated")
        assert [axis.label for axis in residual.dims] == ["sample", "epsilon"]
        assert {"doc", "units"} <= set(residual.attrs)
        assert np.isnan(residual[0]).all()
        assert place["computed"][()].tolist() == [0, 1]


def test_the_key_depends_on_settings_and_seed_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(2), None)

        def key(settings: Settings, seed: int = 0) -> str:
            return store.group(CLEAN, prefix="a", settings=settings, seed=seed).key

        assert key(Settings()) == key(Settings())
        assert len({key(Settings()), key(Settings(epsilon=0.2)), key(Settings(), seed=1)}) == 3
        assert len(store.existing("clean")) == 3
        assert store.existing("clean")[1].settings["epsilon"] == 0.2


def test_finish_names_the_images_of_the_request(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(8), None)
        group = clean(store)
        group.append(np.arange(6), rows(np.arange(6)))
        assert not group.complete
        assert group.indices.tolist() == [0, 1, 2, 3, 4, 5]
        with pytest.raises(StoreError, match="no row for 2 of 8"):
            group.finish(np.arange(8))
        group.finish(np.array([4, 1]))
        assert group.complete
        assert group.indices.tolist() == [1, 4]
        assert group.settings == {}


@given(st.sets(st.integers(0, 400)))
def test_index_lists_survive_packing(indices: set[int]) -> None:
    text = pack_indices(np.array(sorted(indices), np.int64))
    assert unpack_indices(text).tolist() == sorted(indices)


@settings(max_examples=10)
@given(st.sets(st.integers(0, 400), min_size=1))
def test_long_index_lists_become_a_mask(indices: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_layout, "LONGEST_ATTRIBUTE", 2)
        text = pack_indices(np.array(sorted(indices), np.int64))
    assert text.startswith("mask:")
    assert unpack_indices(text).tolist() == sorted(indices)


VALUES = {
    "number": 3,
    "share": 0.25,
    "far": math.inf,
    "flag": True,
    "word": "l2",
    "bracket": "[not json",
    "nothing": None,
    "names": ["a", "b"],
    "tree": {"b": [1, {"c": 2.5}], "a": None},
    "long": ["x" * 100] * 1000,
    "empty": "",
}


def test_attributes_come_back_as_they_were(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(2), None)
        group = clean(store)
        group.set_attributes(**VALUES)
        group.set_attributes(long=["y"], array=np.arange(3), scalar=np.float32(2))
        store.describe_model(parity={"images": 3})
        store.add_images(np.arange(3), None)
    with ResultStore.read(tmp_path / "r.h5") as store:
        group = store.at("clean")
        expected = {**VALUES, "long": ["y"], "array": [0, 1, 2], "scalar": 2.0}
        assert {name: group.attribute(name) for name in expected} == expected
        assert group.attribute("absent", 7) == 7
        assert store.model["parity"] == {"images": 3}
        assert store.data == {"name": "digits", "sha256": "b" * 64, "size": 100}
        assert group.columns == sorted(column.name for column in CLEAN.columns)


def test_attributes_and_arrays_never_take_the_place_of_a_column(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(2), None)
        group = clean(store)
        group.save_array("fit", np.arange(3.0), kind=Kind.MEASURED, doc="an array")
        for name in ("prediction", "computed", "fit"):
            with pytest.raises(StoreError, match=f"called {name}"):
                group.set_attributes(fine=1, **{name: ["x" * 100] * 1000})
        for name in ("prediction", "computed"):
            with pytest.raises(StoreError, match=f"column {name}"):
                group.save_array(name, np.arange(3.0), kind=Kind.MEASURED, doc="an array")
        assert group.attribute("fine") is None
        assert group.column("prediction").tolist() == [-1, -1]
        assert group.array("fit").tolist() == [0, 1, 2]


def test_images_wait_in_a_log_and_are_compressed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    images = np.random.default_rng(0).random((3, 1, 4, 5), np.float32)
    with opened(path) as store:
        store.add_images(np.arange(3), None)
        sizes = {"channel": 1, "y": 4, "x": 5}
        group = store.group(SAVED, prefix="l2", settings=Settings(), seed=0, sizes=sizes)
        group.append(np.array([2]), {"distance": np.ones(1), "adversarial": images[2:]})
        assert len([name for name in leftovers(path) if name.endswith(".images")]) == 1
        group.append(np.array([0]), {"distance": np.ones(1), "adversarial": images[:1]})
        group.finish(np.array([0, 2]))
        store.add_images(np.arange(5), None)
        group.append(np.array([1]), {"distance": np.ones(1), "adversarial": images[1:2]})
    assert leftovers(path) == []
    with h5py.File(path) as file:
        data = file[group.path]["adversarial"]
        assert (data.compression, data.shuffle, data.shape) == ("gzip", True, (5, 1, 4, 5))
        assert np.array_equal(data[:3], images)
        assert np.isnan(data[3:]).all()
    with opened(path) as store:
        without = store.group(SAVED, prefix="l1", settings=Settings(), seed=0)
        assert without.columns == ["distance"]
        again = store.at(group.path).column("adversarial", np.array([1, 4, 0]))
        assert np.array_equal(again[[0, 2]], images[[1, 0]])


def test_appending_touches_nothing_but_the_values(tmp_path: Path) -> None:
    # Structure is changed on a copy only; what an append writes lies inside the datasets' places.
    path = tmp_path / "r.h5"
    with opened(path) as store:
        store.add_images(np.arange(1000), None)
        group = clean(store)
        store.publish()
        before = np.frombuffer(path.read_bytes(), np.uint8)
        indices = np.arange(1, 1000, 3)
        group.append(indices, rows(indices))
        after = np.frombuffer(path.read_bytes(), np.uint8)
        names = (*group.columns, CHECKSUM, "computed")
        datasets = [store.file.hdf5[f"clean/{name}"] for name in names]
        places = [(data.id.get_offset(), data.nbytes) for data in datasets]
    assert before.size == after.size
    assert (before != after).any()
    outside = np.ones(before.size, bool)
    for start, length in places:
        outside[start : start + length] = False
    assert (before == after)[outside].all()


def test_rows_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with opened(tmp_path / "r.h5") as store:
        store.add_images(np.arange(4), None)
        group = clean(store)
        two = np.array([0, 1])
        wrong = [
            (np.array([0, 0]), rows(two), "twice"),
            (np.array([0, 9]), rows(two), "not in the file"),
            (two, rows(np.arange(3)), "shape"),
            (two, {"prediction": two}, "lack confidence, cross_entropy"),
            (two, {**rows(two), "colour": two}, "no column colour"),
        ]
        for indices, values, reason in wrong:
            with pytest.raises(StoreError, match=reason):
                group.append(indices, values)
        assert not group.computed().any()
        with pytest.raises(StoreError, match="/clean has no colour"):
            group.column("colour")


def test_a_new_file_appears_with_its_first_row(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "r.h5"
    with opened(path) as store:
        store.add_images(np.arange(3), None)
        store.describe_model(parity={"images": 1})
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []
    with opened(path) as store:
        store.add_images(np.arange(3), None)
        group = clean(store)
        group.set_attributes(command="robcert")
        assert not path.exists()
        group.append(np.array([1]), rows(np.array([1])))
        assert path.exists()
    with opened(path, overwrite=True) as store:
        store.add_images(np.arange(2), None)
    with ResultStore.read(path) as store:
        assert len(store.indices) == 3
    with opened(path, overwrite=True) as store:
        clean(store)
    with ResultStore.read(path) as store:
        assert len(store.indices) == 0
    assert leftovers(path) == []


def test_an_analysis_that_fails_before_its_first_row_leaves_no_trace(tmp_path: Path) -> None:
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    with opened(old) as store:
        store.add_images(np.arange(3), None)
        clean(store).append(np.array([1]), rows(np.array([1])))

    def fail(path: Path, *, overwrite: bool) -> None:
        with opened(path, overwrite=overwrite) as store:
            store.add_images(np.arange(2), None)
            clean(store).set_attributes(command="robcert")
            message = "it fails"
            raise ValueError(message)

    for path in (old, new):
        with pytest.raises(ValueError, match="it fails"):
            fail(path, overwrite=path == old)
    assert list(tmp_path.iterdir()) == [old]
    with ResultStore.read(old) as store:
        assert store.at("clean").computed().tolist() == [False, True, False]


def test_a_table_appears_in_a_file_with_its_first_row(tmp_path: Path) -> None:
    path, one = tmp_path / "r.h5", np.array([1])
    with opened(path) as store:
        store.add_images(np.arange(3), None)
        clean(store).append(one, rows(one))
    before = path.read_bytes()

    def begin(store: ResultStore) -> AnalysisGroup:
        store.add_images(np.arange(5), None)
        store.describe_model(parity={"images": 1})
        group = store.group(LINEARITY, prefix="linf", settings=None, seed=0)
        group.set_attributes(command="robcert")
        assert path.read_bytes() == before
        return group

    interrupted(path, begin)
    assert path.read_bytes() == before
    assert leftovers(path) == []

    def begin_two(store: ResultStore) -> None:
        first = begin(store)
        first.append(one, {name: np.zeros(1) for name in first.columns})
        store.group(LINEARITY, prefix="l2", settings=None, seed=0)

    interrupted(path, begin_two)
    with opened(path) as store:
        (group,) = store.existing("linearity")
        assert group.computed().tolist() == [False, True, False, False, False]
        assert len(store.indices) == 5
        store.group(LINEARITY, prefix="l1", settings=None, seed=0)
    with ResultStore.read(path) as store:  # a run that ended well, without a row
        assert [group.path[:14] for group in store.existing("linearity")][1:] == ["/linearity/l1-"]
    assert leftovers(path) == []


def test_images_that_wait_in_the_log_survive_a_table_that_never_began(tmp_path: Path) -> None:
    path, at = tmp_path / "r.h5", np.arange(2)
    sizes = {"channel": 1, "y": 2, "x": 2}
    images = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)

    def attack_twice(store: ResultStore) -> None:
        store.add_images(at, None)
        group = store.group(SAVED, prefix="a", settings=None, seed=0, sizes=sizes)
        group.append(at, {"distance": np.zeros(2), "adversarial": images})
        store.group(SAVED, prefix="b", settings=None, seed=0, sizes=sizes)

    interrupted(path, attack_twice)
    assert leftovers(path) == []
    with ResultStore.read(path) as store:
        (group,) = store.existing(SAVED.name)
        assert np.array_equal(group.column("adversarial"), images)


def test_a_file_of_another_model_or_data_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    with opened(path) as store:
        clean(store)
    content = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"another model: net.onnx \(aaaaaaaa\), not n2 \(cccccccc\)"
    ):
        ResultStore.open(path, model=replace(MODEL, file="n2", sha256="c" * 64), data=DATA)
    with pytest.raises(StoreError, match=r"another data: digits"):
        ResultStore.open(path, model=MODEL, data=replace(DATA, sha256="c" * 64))
    assert path.read_bytes() == content
    assert leftovers(path) == []


def test_another_preprocessing_or_output_of_the_same_model_is_another_function(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.h5"
    with opened(path) as store:
        clean(store)
    for changed in (
        replace(MODEL, preprocessing='{"mean": [0.5]}'),
        replace(MODEL, output_name="b"),
    ):
        with pytest.raises(StoreError, match=r"holds results of net.onnx with .*, not"):
            ResultStore.open(path, model=changed, data=DATA)


def test_what_is_no_results_file_is_named_and_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "whole.h5") as store:
        clean(store)
    whole = (tmp_path / "whole.h5").read_bytes()
    bad = {
        "text.h5": (b"hello", "is not an HDF5 file"),
        "empty.h5": (b"", "is not an HDF5 file"),
        "cut.h5": (whole[: len(whole) // 2], "cut.h5 is damaged: .*truncated"),
        "zip.h5": (b"PK\x03\x04" + bytes(500), "is not an HDF5 file"),
    }
    for name, (content, reason) in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        for reader in (opened, ResultStore.read):
            with pytest.raises(StoreError, match=reason) as caught:
                reader(path)
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == content
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="not a results file of robcert"):
        opened(tmp_path / "other.h5")
    with pytest.raises(StoreError, match=r"cannot (open|write) .*"):
        opened(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        ResultStore.read(tmp_path / "none.h5")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_unknown_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    with opened(path) as store:
        clean(store)
    with h5py.File(path, "r+") as file:
        file["clean"].attrs["schema_version"] = 99
        seal(file["clean"])
    with ResultStore.read(path) as store, pytest.raises(StoreError, match="version 99"):
        store.at("clean")
    with opened(path) as store, pytest.raises(StoreError, match="version 99"):
        clean(store)
    with h5py.File(path, "r+") as file:
        file["clean"].attrs["schema"] = "rumours"
        seal(file["clean"])
    with ResultStore.read(path) as store, pytest.raises(StoreError, match="schema 'rumours'"):
        store.at("clean")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(StoreError, match="format version 2, this robcert knows version 1"):
        ResultStore.read(path)


def test_one_writer_and_many_readers(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    with opened(path) as store:
        store.add_images(np.arange(2), None)
        group = clean(store)
        with pytest.raises(StoreError, match="another robcert is writing"):
            opened(path)
        group.append(np.array([1]), rows(np.array([1])))
        with h5py.File(path, locking=False) as file:
            assert file["clean/prediction"][()].tolist() == [-1, 10]
        with ResultStore.read(path) as reader:
            assert reader.at("clean").column("prediction").tolist() == [-1, 10]
            with pytest.raises(StoreError, match="reading only"):
                reader.at("clean").set_attributes(a=1)
    opened(path).close()


def test_a_link_in_the_place_of_the_lock_makes_no_file_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / ".r.h5.lock").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="cannot write"), opened(folder / "r.h5"):
        pass
    assert not (tmp_path / "outside").exists()


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*: Not a directory"):
        opened(tmp_path / "file" / "r.h5")
    if Path("/proc").is_dir():
        with pytest.raises(StoreError, match=r"cannot write /proc/r\.h5"):
            opened(Path("/proc/r.h5"))


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from robcert.certify.errors import StoreError
from test_store import clean, opened
path = Path(sys.argv[1])
with opened(path) as store:
    clean(store)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        store.add_images(np.arange(100_000), None)
    except StoreError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    paths = os.pathsep.join(
        [str(Path(__file__).parent), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    )
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.startswith(f"cannot write {path}: "), result.stderr
    assert result.stdout.count("\n") == 1
    assert result.returncode == 0
    with ResultStore.read(path) as store:
        assert len(store.indices) == 0
    assert leftovers(path) == []


def test_tables_of_a_model_with_signs_name_the_slope_that_stands_in_for_them(
    tmp_path: Path,
) -> None:
    keys = []
    for nodes in ([], ["Round_0 (Round)"], ["Sign_0 (Sign)"]):
        with opened(tmp_path / "r.h5", overwrite=True) as store:
            store.describe_model(straight_through=nodes)
            group = store.group(CLEAN, prefix="clean", settings={"norm": "linf"}, seed=0)
            keys.append(group.path)
            slope = group.settings.get("sign_slope")
    assert keys[0] == keys[1] != keys[2]
    assert slope == SIGN_SLOPE


def test_tables_are_in_the_order_of_their_creation_when_the_clock_jumps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(f"20{year}-01-01T00:00:00+00:00" for year in range(60, 20, -1))
    monkeypatch.setattr("robcert.certify.store.store.now", lambda: next(times))
    made = []
    for seed in (3, 1, 2):
        with opened(tmp_path / "r.h5") as store:
            store.add_images(np.arange(4), None)
            group = store.group(CLEAN, prefix="same", settings={"a": 1}, seed=seed)
            group.append(np.arange(4), {name: np.zeros(4) for name in group.columns})
            made.append(group.path)
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert [group.path for group in store.existing("clean")] == made
