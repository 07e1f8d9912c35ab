"""Peak memory does not grow with the number of images or samples."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from places import FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

MODEL = FIXTURES / "fashion-honest.onnx"

PEAK = """
import resource
from pathlib import Path

def peak():
    status = Path("/proc/self/status")  # getrusage keeps what the parent had before exec
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""

CLEAN = """
import sys
import torch
from torch import nn
from robcert.certify.auditing import clean
from robcert.certify.model.classifier import Classifier
from robcert.certify.data import load_images, select
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

torch.set_num_threads(1)
path = Path(sys.argv[1])
images = load_images(path)
module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 10))
classifier = Classifier.from_module(module, image_shape=(3, 32, 32), num_classes=10)
with ResultStore.open(path.with_suffix(".h5"), model=classifier.info, data=images.info) as store:
    clean.analyse(Session(classifier, images, select(len(images)), store))
print(peak())
"""

COMMAND = """
import contextlib, os
from robcert.cli.main import main

with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
print(peak())
"""

COMMANDS = {
    "linearity": "linearity --steps 4",
    "attack": "attack --suite quick",
    "smoothing": "smoothing certify --n 256",
    "masking": "masking-check --profile quick",
}


def peak(script: str, *arguments: str) -> int:
    """Peak resident memory of a Python process, in the system's unit."""
    command = [sys.executable, "-c", PEAK + script, *arguments]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.slow
def test_ten_times_the_images_need_no_more_memory(tmp_path: Path) -> None:
    # 10,000 images are 31 MB as stored and 123 MB as floats; a run is near 600 MB.
    rng = np.random.default_rng(0)
    peaks = []
    for n in (1_000, 10_000):
        path = tmp_path / f"{n}.npz"
        np.savez_compressed(path, images=rng.integers(0, 256, (n, 3, 32, 32), np.uint8))
        peaks.append(peak(CLEAN, str(path)))
    assert abs(peaks[1] - peaks[0]) < 0.05 * peaks[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_need_no_more_memory_for_ten_times_the_images(tmp_path: Path, name: str) -> None:
    peaks = [run(tmp_path, COMMANDS[name], "--limit", str(limit)) for limit in (20, 200)]
    assert abs(peaks[1] - peaks[0]) < 0.05 * peaks[0]


@pytest.mark.slow
def test_bounds_need_no_more_memory_for_ten_times_the_sample(tmp_path: Path) -> None:
    sizes = [("30", "6"), ("36", "50")]
    peaks = [
        run(tmp_path, "bounds --profile quick --limit 10", "--blocks", blocks, "--block-size", size)
        for blocks, size in sizes
    ]
    assert abs(peaks[1] - peaks[0]) < 0.05 * peaks[0]


@pytest.mark.slow
def test_smoothing_needs_no_more_memory_for_fifty_times_the_draws(tmp_path: Path) -> None:
    peaks = [
        run(tmp_path, "smoothing certify --design cohen --limit 4", "--n", n)
        for n in ("500", "25000")
    ]
    assert abs(peaks[1] - peaks[0]) < 0.05 * peaks[0]


def run(folder: Path, command: str, *options: str) -> int:
    """Peak memory of a command on the bundled model and images."""
    shared = ["--model", str(MODEL), "--data", "fashion-mnist-2000", "--quiet", "--threads", "1"]
    out = folder / f"{'-'.join(options)}.h5"
    batch = ["--batch-size", "16", "--out", str(out)]
    return peak(COMMAND, *command.split(), *shared, *batch, *options)
