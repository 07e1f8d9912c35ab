"""Several processes on one run give what one gives: launched by torchrun and by robcert itself."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from photographs import write_photographs
from torch import Tensor

from robcert.certify.errors import TrainingError
from robcert.trainers.data.augmentation import Augmentation
from robcert.trainers.data.process_slice import ProcessSlice
from robcert.trainers.loop.checkpoint import read_tensors
from robcert.trainers.loop.processes import ALONE, launched
from robcert.trainers.methods.objective import Step

needs_fabric = pytest.mark.skipif(
    importlib.util.find_spec("lightning_fabric") is None, reason="needs robcert[distributed]"
)

ROBCERT = [sys.executable, "-m", "robcert.cli.main"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = (
    *("--data", "fashion-mnist-2000", "--subset", "128", "--batch-size", "32", "--epochs", "2"),
    *("--crop", "2", "--flip", "--cutout", "4", "--threads", "1", "--device", "cpu"),
)


@pytest.mark.parametrize("draw", ["normal", "uniform", "several"])
def test_slices_make_up_the_whole_batch(draw: str) -> None:
    def drawn(rows: int, process_slice: ProcessSlice) -> Tensor:
        step = Step(0.0, torch.Generator().manual_seed(4), process_slice=process_slice)
        like = torch.zeros(rows, 1, 2, 2)
        if draw == "several":
            return step.normal(like, (5, *like.shape), axis=1).transpose(0, 1)
        return step.normal(like) if draw == "normal" else step.uniform(like)

    parts = [drawn(3, ProcessSlice(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat(parts), drawn(6, ProcessSlice()))


def test_augmentation_of_slices_is_that_of_the_whole_batch() -> None:
    x = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    change = Augmentation(crop=2, flip=True, cutout=5)
    whole = change(x, torch.Generator().manual_seed(2))
    parts = [
        change(part, torch.Generator().manual_seed(2), ProcessSlice(rank, 2))
        for rank, part in enumerate(x.chunk(2))
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_one_process_needs_no_launcher() -> None:
    assert launched(1, torch.device("cpu")) is ALONE


def test_one_gpu_by_number_is_not_shared() -> None:
    with pytest.raises(TrainingError, match="2 processes cannot share the device cuda:1"):
        launched(2, torch.device("cuda", 1))


def test_a_missing_launcher_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(TrainingError, match="Lightning Fabric") as caught:
        launched(2, torch.device("cpu"))
    assert caught.value.hint == "pip install 'robcert[distributed]'"


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


def assert_near(one: Path, other: Path, tolerance: float) -> None:
    """Weights, batch norm's averages, momentum and measurements agree up to rounding."""
    for file in ("checkpoint.safetensors", "state.safetensors"):
        ours, theirs = read_tensors(one / file), read_tensors(other / file)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            scale = tolerance * max(1e-3, float(tensor.abs().max()))
            torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=scale, msg=name)
    rows = []
    for folder in (one, other):
        with (folder / "metrics.csv").open() as lines:
            rows.append([float(row["loss"]) for row in csv.DictReader(lines)])
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


@pytest.mark.slow
def test_shared_batch_norm_is_that_of_the_whole_batch() -> None:
    """Gradients, double backpropagation and averages, in float64."""
    ended = run([*TORCHRUN, str(Path(__file__).with_name("shared_batch_norm.py"))])
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["softplus", "relu"])
def test_steps_differ_from_one_processs_by_rounding(activation: str) -> None:
    """At the kink of a ReLU, rounding changes the gradient by the contribution of a whole position.

    So does one process when the rows of its batches change places; without kinks nothing grows.
    """
    script = str(Path(__file__).with_name("shared_steps.py"))
    ended = run([*TORCHRUN, script, activation])
    assert ended.returncode == 0, ended.stderr
    apart = json.loads(ended.stdout)
    if activation == "softplus":
        assert max(apart["shared"]) < 3e-5
    else:
        assert apart["shared"][-1] < 2 * apart["permuted"][-1]


@needs_fabric
@pytest.mark.slow
def test_two_processes_of_torchrun_give_what_one_gives(tmp_path: Path) -> None:
    smooth = ("--arch", "resnet-small", "--width", "4", "--activation", "softplus")
    options = ("train", "standard", *SMALL, *smooth)
    one = run(ROBCERT, *options, "--out", str(tmp_path / "one"))
    assert one.returncode == 0, one.stderr
    module = ("-m", "robcert.cli.main")
    two = run([*TORCHRUN, *module], *options, "--out", str(tmp_path / "two"))
    assert two.returncode == 0, two.stderr
    assert two.stdout == f"{tmp_path / 'two' / 'model.onnx'}\n"
    assert two.stderr.count("next: robcert audit") == 1
    assert_near(tmp_path / "one", tmp_path / "two", 1e-3)


@needs_fabric
@pytest.mark.slow
def test_two_processes_of_robcert_give_what_one_gives(tmp_path: Path) -> None:
    """SOAR: pretraining, several random draws, and a penalty that is clipped separately."""
    steps = ("--start", "random", "--step-least", "0.1", "--step-most", "0.2", "--weight", "0.05")
    smooth = ("--arch", "mlp", "--width", "16", "--activation", "softplus")
    options = ("train", "soar", *SMALL, *smooth, *steps)
    for name, devices in (("one", "1"), ("two", "2")):
        ended = run(ROBCERT, *options, "--devices", devices, "--out", str(tmp_path / name))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == f"{tmp_path / name / 'model.onnx'}\n"
    assert_near(tmp_path / "one", tmp_path / "two", 1e-4)


@needs_fabric
@pytest.mark.slow
def test_two_processes_stream_what_one_streams(tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "set", 80)
    options = (
        *("train", "standard", "--data", str(source), "--image-size", "8", "--flip"),
        *("--arch", "mlp", "--width", "8", "--activation", "softplus", "--epochs", "2"),
        *("--batch-size", "16", "--threads", "1", "--device", "cpu"),
    )
    for name, more in (("one", ("--workers", "0")), ("two", ("--devices", "2", "--workers", "1"))):
        ended = run(ROBCERT, *options, *more, "--out", str(tmp_path / name))
        assert ended.returncode == 0, ended.stderr
    assert_near(tmp_path / "one", tmp_path / "two", 1e-4)


@needs_fabric
@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_one_goes_on(tmp_path: Path) -> None:
    options = ("train", "free", *SMALL, "--epochs", "24", "--arch", "cnn4", "--width", "4")
    whole = run(ROBCERT, *options, "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "parts"
    started = subprocess.Popen(
        [*ROBCERT, *options, "--devices", "2", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    while not (out / "metrics.csv").is_file():
        time.sleep(0.1)
        assert started.poll() is None
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 130, said
    assert said.count("interrupted: ") == 1
    assert "Traceback" not in said
    assert (out / "state.safetensors").is_file()
    ended = run(ROBCERT, *options, "--resume", "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert_near(tmp_path / "whole", out, 0.02)
