"""A file that crashes or stops the HDF5 library ends in a fault, not in the end of this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from child_code import child_of

from robcert.certify.hdf5 import fault_of_file, remember_written, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READS_A_PART = "print('\"/attack/radius\"', flush=True);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.h5"
    with h5py.File(path, "w") as file:
        file["attack/radius"] = np.arange(4.0)
    return path


def test_a_sound_file_has_no_fault_and_is_read_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fault_of_file(path) is None
    monkeypatch.setattr(sandbox, "run_module", child_of("raise SystemExit(1)"))
    assert fault_of_file(path) is None
    with h5py.File(path, "r+") as file:
        file["attack/more"] = 1
    assert fault_of_file(path) is not None


def test_what_this_process_wrote_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "run_module", child_of("raise SystemExit(1)"))
    remember_written(path)
    assert fault_of_file(path) is None


def test_a_crash_is_a_fault_of_the_part_that_was_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"{READS_A_PART} import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(sandbox, "run_module", child_of(code))
    fault = fault_of_file(path)
    assert fault is not None
    assert fault.place == "/attack/radius"
    assert fault.reason == "the HDF5 library crashes (signal 11) while it reads this"


def test_an_endless_read_is_a_fault_of_the_part_that_was_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sandbox, "run_module", child_of(f"{READS_A_PART} import time; time.sleep(60)")
    )
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    monkeypatch.setattr(sandbox, "WAITING", 2)
    began = time.monotonic()
    fault = fault_of_file(path)
    assert fault is not None
    assert fault.place == "/attack/radius"
    assert fault.reason == "the HDF5 library does not end within 1 s while it reads this"
    assert time.monotonic() - began < 30


def test_a_file_of_the_working_folder_is_not_imported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "h5py.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(path.parent)
    assert fault_of_file(path) is None


def absurd(file: h5py.File) -> None:
    file.create_dataset("attack/absurd", (2**40,), "f8")


def large_chunk(file: h5py.File) -> None:
    file.create_dataset("attack/absurd", (2**20, 2**20), "u1", chunks=(2**15, 2**14))


def circle(file: h5py.File) -> None:
    file["attack/absurd"] = file["/"]


def second_name(file: h5py.File) -> None:
    file["attack/absurd"] = file["attack/radius"]


def named_type(file: h5py.File) -> None:
    file["attack/absurd"] = np.dtype("f8")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (absurd, "its shape (1099511627776,) needs 8796093022208 bytes, the file has"),
        (large_chunk, "its chunks have 536870912 bytes, more than"),
        (circle, "is a second name of another part"),
        (second_name, "is a second name of another part"),
        (named_type, "is neither a group nor an array"),
    ],
)
def test_what_no_results_file_holds_is_a_fault(
    path: Path, made: Callable[[h5py.File], None], reason: str
) -> None:
    with h5py.File(path, "r+") as file:
        made(file)
    fault = fault_of_file(path)
    assert fault is not None
    assert fault.place in ("/attack/absurd", "/attack/radius")  # either name may be the second
    assert fault.reason.startswith(reason)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3, "i8"),
        np.array([7, 2**60]),
        np.array([b"image", b"pixel"], "S5"),
        np.array("image", h5py.string_dtype()),
        np.array(["image"], dtype=h5py.string_dtype()),
        np.array([1.0, 2.0]),
    ],
    ids=["integers", "pointers", "texts of fixed length", "one text", "too few", "floats"],
)
def test_names_of_axes_that_are_no_texts_are_a_fault(path: Path, value: np.ndarray) -> None:
    """HDF5 frees what it takes for pointers to texts: a heap that may break only later."""
    with h5py.File(path, "r+") as file:
        data = file.create_dataset("attack/norm", data=np.zeros((2, 3)))
        data.attrs["DIMENSION_LABELS"] = value
    fault = fault_of_file(path)
    assert fault is not None
    assert fault.place == "/attack/norm"
    assert fault.reason == "its attribute DIMENSION_LABELS is not one text for each axis"


def test_names_of_axes_that_robcert_writes_are_read(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("attack/norm", data=np.zeros((2, 3))).dims[1].label = "norm"
    assert fault_of_file(path) is None
