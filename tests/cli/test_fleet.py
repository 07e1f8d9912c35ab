"""`robcert audit` on several models: rows, files, failures, gates, interrupts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import pytest
from command_line import robcert
from onnx_models import linear, saved
from pixel_costs import counting
from tiny_fleet import ONLY_ATTACK, TinyFleet, write_fleet

if TYPE_CHECKING:
    from collections.abc import Callable

HEEDED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A shell without job control ignores Ctrl-C for what it starts; this undoes it."""

PROGRAM = f"{HEEDED}; from robcert.cli.main import main; main()"

SECONDS = 10.0
"""Time in which a program must end on a busy machine; two seconds on an idle one."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> TinyFleet:
    """Three models, one file that is none, and one for other images."""
    made = write_fleet(tmp_path_factory.mktemp("fleet"), 3)
    (made.folder / "broken.onnx").write_bytes(b"no model")
    saved(made.folder, linear(("batch", 3, 5, 5), pixels=75), "other.onnx")
    return made


@pytest.fixture(scope="module")
def audited(fleet: TinyFleet) -> Path:
    """Folder of the results of an audit of ``fleet`` with two workers; what it printed."""
    out = fleet.folder.parent / "results"
    ended = robcert("audit", *fleet.options, "--out", out, "--workers", "2", "--json")
    (out / "printed").write_text(json.dumps([ended.status, ended.stdout, ended.stderr]))
    return out


def tables(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return sorted(file["attack"])


def test_each_model_has_its_results_and_a_failure_is_a_row(audited: Path) -> None:
    status, stdout, stderr = json.loads((audited / "printed").read_text())
    assert status == 2, stderr
    found = json.loads(stdout)
    by_name = {one["name"]: one for one in found["models"]}
    assert list(by_name) == ["broken.onnx", "m00.onnx", "m01.onnx", "m02.onnx", "other.onnx"]
    states = {name: one["state"] for name, one in by_name.items()}
    assert states.pop("broken.onnx") == states.pop("other.onnx") == "failed"
    assert set(states.values()) == {"audited"}
    assert "not an ONNX file" in by_name["broken.onnx"]["reason"]
    assert by_name["m00.onnx"]["numbers"]["clean"]["value"] == 1.0
    assert by_name["m00.onnx"]["place"].startswith("1")
    files = {Path(one["results"]) for one in by_name.values() if one["results"]}
    assert files == set(audited.glob("*.h5"))
    assert len(files) == 3
    assert all(path.with_suffix(".html").is_file() for path in files)
    assert found["report"] == str(audited / "comparison.html")
    assert "broken.onnx" in (audited / "comparison.html").read_text()
    assert stderr.splitlines()[-2].startswith("failed: broken.onnx")
    assert stderr.splitlines()[-1].startswith("failed: other.onnx: ")


def test_results_are_those_of_the_model_alone(fleet: TinyFleet, audited: Path) -> None:
    model = fleet.folder / "m01.onnx"
    (path,) = audited.glob("m01-*.h5")
    alone = fleet.folder.parent / "alone.h5"
    ended = robcert("audit", *fleet.inputs, "--model", model, "--out", alone, "--quiet")
    assert ended.status == 0, ended.stderr
    assert tables(alone) == tables(path)
    with h5py.File(alone) as one, h5py.File(path) as other:
        for column in ("distance", "prediction"):
            name = f"attack/{tables(alone)[0]}/{column}"
            assert one[name][()].tobytes() == other[name][()].tobytes()


@pytest.mark.slow
def test_gates_hold_for_each_model(fleet: TinyFleet, audited: Path) -> None:
    models = [word for n in (0, 2) for word in ("--model", fleet.folder / f"m{n:02}.onnx")]
    gate = ("--gate", "clean_accuracy >= 0.9 (point)")
    ended = robcert("audit", *fleet.inputs, *models, *gate, "--out", audited, "--quiet")
    assert ended.status == 1, ended.stderr
    assert "audited, all gates passed" in ended.stdout
    assert "audited, 1 of 1 gates did not pass" in ended.stdout
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: m02.onnx: clean_accuracy")


@pytest.mark.slow
def test_a_race_stops_beaten_models_and_audits_the_others(tmp_path: Path) -> None:
    made = write_fleet(tmp_path, 3, images=60)
    command = ("audit", *made.options, "--race", "--workers", "2", "--out", tmp_path / "r")
    ended = robcert(*command, "--json")
    assert ended.status == 0, ended.stderr
    assert "note: race: 3 of 3 models, 32 images" in ended.stderr
    found = json.loads(ended.stdout)
    assert (found["race"]["alpha"], found["race"]["images"]) == (0.05, 60)
    best, _, worst = found["models"]
    assert (best["state"], best["race"], best["numbers"]["images"]) == ("audited", None, 60)
    assert (worst["state"], worst["numbers"], worst["place"]) == ("stopped", None, "–")
    race = worst["race"]
    assert race["compared_on"] <= race["images"] < 60
    assert race["e_value"] >= 2 / 0.05
    assert race["wins"] > race["losses"]
    assert worst["reason"].startswith(f"beaten by {race['beaten_by']}, of ")
    with h5py.File(worst["results"]) as file:
        assert len(file["data/index"]) == race["images"]
        assert "audit" not in file
    assert found["race"]["work"] < 1
    again = robcert(*command)
    assert again.status == 0, again.stderr
    assert "stopped: beaten by " in " ".join(again.stdout.split())
    assert "Race: " in again.stdout
    page = (tmp_path / "r" / "comparison.html").read_text()
    assert "Race: " in page
    assert worst["reason"] in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shard", "1/2"), "--shard and --race contradict each other"),
        (("--time-budget", "1h"), "--time-budget and --race contradict each other"),
        (("--race-alpha", "1"), "--race-alpha must lie in the open interval (0, 1)"),
        (("--skip", "attack"), "a race needs the part attack"),
    ],
)
def test_what_is_no_race_is_refused(
    fleet: TinyFleet, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    common = ("--data", fleet.data, "--model", fleet.folder, "--out", tmp_path / "r")
    ended = robcert("audit", "--race", *common, *options)
    assert ended.status == 2
    assert ended.stderr.startswith(f"error: {said}")
    assert not list(tmp_path.glob("r/*.h5"))
    one = robcert("audit", "--race", "--data", fleet.data, "--model", fleet.folder / "m00.onnx")
    assert one.stderr.startswith("error: --race needs several models")


def test_what_holds_for_no_model_is_refused_before_any_starts(
    fleet: TinyFleet, tmp_path: Path
) -> None:
    def refused(*options: object) -> str:
        ended = robcert("audit", *fleet.options, "--out", tmp_path / "r", *options)
        assert ended.status == 2
        assert not list(tmp_path.glob("r/*.h5"))
        return ended.stderr.splitlines()[0]

    assert refused("--gate", "nothing").startswith("error: --gate 'nothing' is not a gate")
    assert "names the folder of the results" in refused("--out", tmp_path / "r.h5")
    assert "--ray computes the images of one model" in refused("--ray", "local")
    assert "--junit is about one model" in refused("--junit", tmp_path / "j.xml")
    assert refused("--data", tmp_path / "missing.npz").startswith("error: ")
    (tmp_path / "list.txt").write_text("# none\n")
    assert "lists no models" in refused("--model", tmp_path / "list.txt")


@pytest.mark.slow
def test_a_model_without_an_end_and_a_repeated_one_are_rows(
    fleet: TinyFleet, audited: Path, tmp_path: Path
) -> None:
    saved(tmp_path, counting(), "endless.onnx")
    shutil.copy(fleet.folder / "m00.onnx", tmp_path / "m00.onnx")
    (tmp_path / "list.txt").write_text(f"endless.onnx\nm00.onnx\n{fleet.folder / 'm00.onnx'}\n")
    inputs = (*fleet.inputs, "--call-limit", "2s", "--workers", "3", "--quiet", "--json")
    ended = robcert("audit", *inputs, "--model", tmp_path / "list.txt", "--out", audited)
    assert ended.status == 2
    (failed,) = [line for line in ended.stderr.splitlines() if line.startswith("failed: ")]
    assert failed.startswith("failed: endless.onnx: ")
    first, *others = json.loads(ended.stdout)["models"]
    assert first["reason"] in failed
    assert sorted(one["state"] for one in others) == ["audited", "same model"]
    (same,) = [one["reason"] for one in others if one["reason"]]
    assert same.startswith("its content is that of ")


@pytest.mark.slow
def test_a_time_budget_leaves_rows_that_the_same_command_fills(
    fleet: TinyFleet, tmp_path: Path
) -> None:
    models = [word for n in (0, 1) for word in ("--model", fleet.folder / f"m{n:02}.onnx")]
    command = ("audit", *fleet.inputs, *models, "--out", tmp_path / "r", "--quiet")
    ended = robcert(*command, "--time-budget", "0s")
    assert ended.status == 0, ended.stderr
    assert ended.stdout.count("not started: the time budget was used up before it started") >= 1
    ended = robcert(*command)
    assert ended.status == 0, ended.stderr
    assert "time budget" not in ended.stdout


def in_time(met: Callable[[], bool], seconds: float) -> bool:
    """Whether ``met`` becomes true within ``seconds``."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def group_of(process: int) -> set[int]:
    """The process and all that it has started, directly or not."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found = {process}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def runs(process: int) -> bool:
    """Whether a process exists that has not ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_ctrl_c_ends_a_fleet_of_twenty_and_the_same_command_continues(tmp_path: Path) -> None:
    made = write_fleet(tmp_path, 20)
    command = ["audit", *map(str, made.options), "--out", str(tmp_path / "r"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command], stderr=subprocess.PIPE, text=True
    )
    try:
        assert in_time(lambda: len(list(tmp_path.glob("r/*.html"))) >= 3, 300)
        running = group_of(process.pid)
        assert len(running) > 2
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert time.monotonic() - begun < SECONDS
        assert process.returncode == 130
        assert "interrupted: finished work is saved; to continue, run: robcert audit" in stderr
        assert in_time(lambda: not any(map(runs, running)), SECONDS)
    finally:
        process.kill()
        process.wait()
    pages = {path: path.stat().st_mtime_ns for path in tmp_path.glob("r/*.html")}
    rows = {path: tables(path.with_suffix(".h5")) for path in pages}
    assert 3 <= len(pages) < 20
    ended = robcert(*command, "--json")
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["models"]) == 20
    assert len(list(tmp_path.glob("r/*.h5"))) == 20
    assert all(tables(path.with_suffix(".h5")) == rows[path] for path in rows)
    best = max(found["models"], key=lambda one: one["numbers"]["attacked"]["value"])
    assert best["place"].startswith("1")


@pytest.mark.slow
def test_a_killed_fleet_leaves_no_processes(tmp_path: Path) -> None:
    made = write_fleet(tmp_path, 6)
    command = ["audit", *map(str, made.options), "--out", str(tmp_path / "r"), "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *command], stderr=subprocess.DEVNULL)
    try:
        assert in_time(lambda: len(list(tmp_path.glob("r/*.html"))) >= 1, 300)
        running = group_of(process.pid) - {process.pid}
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert running
    assert in_time(lambda: not any(map(runs, running)), 60)
    ended = robcert(*command, "--quiet")
    assert ended.status == 0, ended.stderr


def test_the_options_of_one_model_are_as_before(fleet: TinyFleet, tmp_path: Path) -> None:
    model = fleet.folder / "m00.onnx"
    out = tmp_path / "one.h5"
    common = ("--data", fleet.data, *ONLY_ATTACK, "--quiet", "--limit", "2")
    ended = robcert("audit", "--model", model, *common, "--allow-low-accuracy", "--out", out)
    assert ended.status == 0, ended.stderr
    assert out.is_file()
    assert not (tmp_path / "comparison.html").exists()
