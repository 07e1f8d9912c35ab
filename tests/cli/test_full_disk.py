"""A full disk: one line that names the file, and no part of it is left."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import proved_nets
import pytest
import torch
from command_line import robcert
from matplotlib.figure import Figure

from robcert.certify.auditing import CLEAN
from robcert.certify.auditing.open import bundled
from robcert.certify.data import DataInfo
from robcert.certify.errors import OutputError, StoreError
from robcert.certify.importer import load_classifier
from robcert.certify.model import ModelInfo
from robcert.certify.store import ResultStore
from robcert.certify.store import file as store_file
from robcert.certify.tables import save_picture
from robcert.certify.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = str(bundled("fashion-honest.onnx"))
ATTACK = ("attack", "-m", MODEL, "--attack", "fgsm", "--limit", "3", "--out", "r.h5")
TRAIN = ("train", "standard", "--epochs", "1", "--subset", "64", "--arch", "linear")
SOME = np.arange(5)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk takes the first 100 bytes of every file."""
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)


@pytest.mark.parametrize(
    ("before", "command", "named"),
    [
        ((), ATTACK, "r.h5"),
        ((ATTACK,), ("report", "r.h5"), "r.html"),
        ((ATTACK,), ("report", "r.h5", "--format", "latex"), "r.tex"),
        ((ATTACK,), ("evidence", "r.h5", "--out", "e"), "e/test-result.intoto.json"),
        ((), (*TRAIN, "--out", "run"), "run/best.safetensors"),
        (((*TRAIN, "--out", "run"),), ("export", "run", "--out", "m.onnx"), "m.onnx"),
    ],
)
def test_every_writer_names_its_file_and_leaves_no_part(
    before: tuple[tuple[str, ...], ...],
    command: tuple[str, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for earlier in before:
        assert robcert(*earlier).status == 0
    found = sorted(Path().rglob("*"))
    fill(monkeypatch)
    ended = robcert(*command)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == 2, ended
    assert len(errors) == 1
    assert errors[0].endswith(f"{named}: No space left on device"), errors
    assert "hint: free disk space" in ended.stderr
    assert sorted(Path().rglob("*")) == found


def opened(path: Path) -> ResultStore:
    model = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx")
    return ResultStore.open(path, model=model, data=DataInfo("set", "b" * 64, 50))


def filled(store: ResultStore, rows: np.ndarray) -> None:
    store.add_images(rows, rows % 10)
    group = store.group(CLEAN, prefix="", settings=None, seed=0)
    group.append(rows, {column.name: rows * 1.0 for column in CLEAN.columns})
    group.finish(rows)


def test_rows_that_were_finished_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "r.h5") as store:
        filled(store, SOME)
    fill(monkeypatch)
    with (
        pytest.raises(StoreError, match=r"cannot write .*r.h5: No space left on device"),
        opened(tmp_path / "r.h5") as store,
    ):
        filled(store, np.arange(5, 9))
    monkeypatch.undo()
    assert [one.name for one in tmp_path.iterdir()] == ["r.h5"]
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert list(store.indices) == list(SOME)
        assert store.existing("clean")[0].computed().all()


def test_a_large_file_is_changed_on_disk_where_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_file, "LARGEST_IN_MEMORY", 0)
    with opened(tmp_path / "r.h5") as store:
        filled(store, SOME)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    fill(monkeypatch)
    with (
        pytest.raises(StoreError, match=r"cannot write .*r.h5: No space left on device"),
        opened(tmp_path / "r.h5") as store,
    ):
        filled(store, np.arange(5, 9))
    with ResultStore.read(tmp_path / "r.h5") as store:
        assert list(store.indices) == list(SOME)


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from robcert.certify.auditing import CLEAN
from robcert.certify.data import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.model import ModelInfo
from robcert.certify.store import ResultStore
resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))
model, some = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx"), np.arange(5000)
try:
    with ResultStore.open(Path(sys.argv[1]), model=model, data=DataInfo("s", "b" * 64, 9)) as store:
        store.add_images(some, some)
        store.group(CLEAN, prefix="", settings=None, seed=0)
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of the size of files")
def test_a_limit_on_the_size_of_files_does_not_crash_the_process(tmp_path: Path) -> None:
    """HDF5 crashes at the end of a process in which it could not write."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "r.h5")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "r.h5: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file gets longer than ``size`` bytes, neither of this process nor of its children."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


VERIFY = (
    *("verify", "--method", "crown-ibp", "--limit", "3", "--allow-low-accuracy"),
    *("--arithmetic", "real"),  # for float32 the runtime must write a file of its own
)


@pytest.mark.parametrize("size", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_what_hdf5_writes_leaves_no_part_either(tmp_path: Path, size: int) -> None:
    """Proofs and what doctor saves are written by HDF5, which crashes after a failed write."""
    model = proved_nets.network(tmp_path, seed=2)
    pixels = np.stack([proved_nets.image(seed).numpy() for seed in range(3)])
    labels = load_classifier(model).logits(torch.from_numpy(pixels)).argmax(1).numpy()
    np.savez(tmp_path / "images.npz", images=pixels, labels=labels)
    command = (*VERIFY, "-m", model, "-d", "images.npz", "--eps", "0.001", "-o", "r.h5")
    assert robcert(*command).status == 0
    found = sorted(Path().rglob("*"))
    for again, named in (
        ((*command, "--save-proof", "p.h5"), "p.h5"),
        (("doctor", "r.h5", "--out", "saved.h5"), "saved.h5"),
    ):
        with largest_file(size):
            ended = robcert(*again)
        assert ended.status == 2, ended
        assert f"{named}: File too large" in ended.stderr
        assert sorted(Path().rglob("*")) == found
        assert robcert(*again).status == 0
        Path(named).unlink()


def test_folders_made_for_a_file_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    ended = robcert(*ATTACK[:-1], "new/deeper/r.h5")
    assert ended.status == 2
    assert "r.h5: No space left on device" in ended.stderr
    assert list(Path().iterdir()) == []


def test_a_file_that_cannot_be_written_keeps_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"first")
    fill(monkeypatch)
    with pytest.raises(OutputError, match=r"page.html: No space left on device"):
        write_whole(path, b"second")
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
    assert path.read_bytes() == b"first"


def test_a_device_and_a_link_stay_what_they_are(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), b"content")
    assert not Path("/dev/null").is_file()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    write_whole(link, b"content")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: Is a directory"):
        write_whole(tmp_path, b"content")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*page: "):
        write_whole(tmp_path / "file" / "page", b"content")


def test_a_picture_is_written_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    with pytest.raises(OutputError, match=r"cannot write .*p.png: No space left on device"):
        save_picture(Figure(), tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []
