"""`--workers`: the rows of a run without, also where a process is killed or the run interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from command_line import robcert
from every_analysis import network, pictures
from onnx_models import model, node, saved
from pixel_costs import counting

from robcert.certify.auditing import worker_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEEDED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A shell without job control ignores Ctrl-C for what it starts; this undoes it."""

PROGRAM = f"{HEEDED}; from robcert.cli.main import main; main()"

SECONDS = 10.0
"""Time in which a process must end on a busy machine; the work takes several times as long."""

COUNT = 64

pytestmark = pytest.mark.usefixtures("forks")


def rows(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of every table but checksums and times, in the order of the images."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    with h5py.File(path) as file:
        order = np.argsort(file["data/index"][()])

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim and not name.endswith("seconds"):
                found[name] = item[()][order] if len(item) == len(order) else item[()]

        file.visititems(add)
    return {name: values for name, values in found.items() if "checksum" not in name}


def same_rows(one: Path, other: Path) -> bool:
    first, second = rows(one), rows(other)
    assert len(first) > 5
    assert first.keys() == second.keys()
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def done(path: Path) -> int:
    """Finished rows of the one table of linearity; 0 without a file."""
    if not path.exists():
        return 0
    with h5py.File(path, locking=False) as file:
        (table,) = file["linearity"].values()
        return int((table["computed"][()] == 1).sum())


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in text.split()]


def gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def in_time(met: Callable[[], bool], seconds: float) -> bool:
    """Whether ``met`` becomes true within ``seconds``."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def small(folder: Path, count: int = 24) -> tuple[object, ...]:
    """A small network with images, as options."""
    images = pictures(folder, count)
    x = np.asarray(images.pixels(np.arange(count)))
    np.savez(
        folder / "images.npz", images=x.transpose(0, 2, 3, 1), labels=np.asarray(images.labels)
    )
    return ("--model", network(folder), "--data", folder / "images.npz", "--quiet")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A command that takes a second or more and writes a few images at a time."""
    options = small(tmp_path_factory.mktemp("work"), COUNT)
    return ("linearity", *options, "--batch-size", "4")


@pytest.fixture(scope="module")
def whole(work: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the work without workers."""
    out = tmp_path_factory.mktemp("whole") / "r.h5"
    assert robcert(*work, "--out", out).status == 0
    return out


@pytest.fixture
def running(work: tuple[object, ...], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The work by two workers, in the middle of it; results in ``r.h5``."""
    command = [sys.executable, "-c", PROGRAM, *map(str, work), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "r.h5")], stderr=subprocess.PIPE, text=True
    )
    try:
        assert in_time(lambda: done(tmp_path / "r.h5") > 0, 100)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_images_of_a_killed_worker_are_computed_again(
    running: subprocess.Popen[str], tmp_path: Path, whole: Path, work: tuple[object, ...]
) -> None:
    before = workers_of(running)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    assert in_time(lambda: len(set(workers_of(running)) - set(before)) == 1, 30)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    assert same_rows(tmp_path / "r.h5", whole)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_the_same_command_continues(
    running: subprocess.Popen[str], tmp_path: Path, whole: Path, work: tuple[object, ...]
) -> None:
    processes = workers_of(running)
    for process in processes:  # a terminal sends it to all
        os.kill(process, signal.SIGINT)
    running.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, stderr = running.communicate(timeout=60)
    assert time.monotonic() - begun < SECONDS
    assert running.returncode == 130
    assert stderr.splitlines()[-1].startswith("interrupted: ")
    assert stderr.count("\n") == 1
    assert all(map(gone, processes))
    assert 0 < done(tmp_path / "r.h5") < COUNT
    again = robcert(*work, "--workers", "3", "--out", tmp_path / "r.h5")
    assert again.status == 0, again.stderr
    assert same_rows(tmp_path / "r.h5", whole)


@pytest.mark.slow
def test_workers_end_with_a_program_that_is_killed(
    running: subprocess.Popen[str], tmp_path: Path, whole: Path, work: tuple[object, ...]
) -> None:
    processes = workers_of(running)
    running.kill()
    assert in_time(lambda: all(map(gone, processes)), SECONDS)
    again = robcert(*work, "--out", tmp_path / "r.h5")
    assert again.status == 0, again.stderr
    assert same_rows(tmp_path / "r.h5", whole)


@pytest.mark.slow
def test_a_time_budget_ends_workers_and_the_same_command_continues(
    tmp_path: Path, whole: Path, work: tuple[object, ...]
) -> None:
    out = tmp_path / "r.h5"
    cut = robcert(*work, "--workers", "2", "--out", out, "--time-budget", "1.5s")
    assert cut.status == 0, cut.stderr
    assert done(out) < COUNT
    assert "the time budget ended" in cut.stderr
    again = robcert(*work, "--workers", "2", "--out", out)
    assert again.status == 0, again.stderr
    assert same_rows(out, whole)


@pytest.mark.slow
def test_shards_by_workers_join_to_the_run_without(
    tmp_path: Path, whole: Path, work: tuple[object, ...]
) -> None:
    shards = [tmp_path / "1.h5", tmp_path / "2.h5"]
    for number, out in enumerate(shards, 1):
        shard = ("--shard", f"{number}/2", "--workers", "2", "--out", out)
        assert robcert(*work, *shard).status == 0
    assert robcert("merge", *shards, "--out", tmp_path / "r.h5").status == 0
    assert same_rows(tmp_path / "r.h5", whole)


@pytest.mark.parametrize("value", ["0", "two", "1.5", ""])
def test_other_values_are_refused_in_one_line(value: str, tmp_path: Path) -> None:
    ended = robcert("taylor", *small(tmp_path), "--workers", value, "--out", tmp_path / "r.h5")
    assert ended.status == 2
    assert ended.stderr.startswith("error: --workers must be auto or a positive whole number")


def test_random_outputs_are_not_for_workers(tmp_path: Path) -> None:
    """The state of the generator is copied with the process."""
    weights = {"w": np.random.default_rng(0).normal(size=(36, 4)).astype(np.float32)}
    nodes = [
        node("Flatten", "x", "flat"),
        node("MatMul", "flat w", "scores"),
        node("RandomNormalLike", "scores", "noise", scale=0.01),
        node("Add", "scores noise", "logits"),
    ]
    made = model(nodes, inputs={"x": ("n", 1, 6, 6)}, outputs={"logits": None}, weights=weights)
    options = (*small(tmp_path), "--model", saved(tmp_path, made), "--allow-low-accuracy")
    ended = robcert("corruption", *options, "--gaussian", "0.1", "--workers", "2")
    assert ended.status == 2
    assert "draws random numbers" in ended.stderr
    assert "hint: leave out --workers" in ended.stderr


@pytest.mark.parametrize(("gain", "processes"), [(1.7, 3), (1.0, 0)])
def test_auto_takes_what_is_faster_in_a_trial_and_says_so(
    gain: float, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    monkeypatch.setattr(worker_choice, "_gain", lambda *_: gain)
    choose = worker_choice.processes_of

    def chosen(*arguments: Any) -> int:
        counts.append(choose(*arguments))
        return counts[-1]

    monkeypatch.setattr(worker_choice, "processes_of", chosen)
    options = [one for one in small(tmp_path) if one != "--quiet"]
    options += ["--workers", "auto", "--threads", "3", "--out", tmp_path / "r.h5"]
    ended = robcert("taylor", *options, "--limit", "4")
    assert ended.status == 0, ended.stderr
    assert counts == [processes]
    said = "3 processes of one thread" if processes else "one process of 3 threads"
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("note: workers:")]
    assert line.startswith(f"note: workers: {said}; in a trial 3 processes were {gain:.2g} times")


@pytest.mark.slow
def test_the_trial_compares_processes_with_threads(tmp_path: Path) -> None:
    options = [one for one in small(tmp_path) if one != "--quiet"]
    ended = robcert("taylor", *options, "--threads", "2", "--workers", "auto")
    assert ended.status == 0, ended.stderr
    assert "note: workers: " in ended.stderr
    assert "in a trial 2 processes were" in ended.stderr


def test_a_model_in_a_process_of_its_own_has_one_for_each_worker(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((12, 4, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "images.npz", images=pixels)
    path = saved(tmp_path, counting(times=2))
    options = ("--model", path, "--data", tmp_path / "images.npz", "--allow-low-accuracy")
    work = ("corruption", *options, "--spatial", "20,0.2", "--batch-size", "2", "--quiet")
    for name, workers in (("one.h5", ()), ("two.h5", ("--workers", "2"))):
        ended = robcert(*work, *workers, "--out", tmp_path / name)
        assert ended.status == 0, ended.stderr
    assert same_rows(tmp_path / "one.h5", tmp_path / "two.h5")
