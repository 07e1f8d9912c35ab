"""Peak memory does not grow with the number of images."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEW, MANY = 1_000, 10_000

CHILD = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from robcert.certify.analyses import clean
from robcert.certify.classifier import Classifier
from robcert.certify.data import load_images, select
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

torch.set_num_threads(1)
path = Path(sys.argv[1])
images = load_images(path)
module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 10))
classifier = Classifier.from_module(module, image_shape=(3, 32, 32), num_classes=10)
with ResultStore.open(path.with_suffix(".h5"), model=classifier.info, data=images.info) as store:
    session = Session(classifier, images, select(len(images)), store)
    clean.analyse(session)
status = Path("/proc/self/status")  # getrusage keeps what the parent had before exec
lines = status.read_text().splitlines() if status.exists() else []
peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print(peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(path: Path, images: NDArray[np.uint8]) -> int:
    """Peak resident memory of a run on ``images``, kept in ``path``, in the system's unit."""
    np.savez_compressed(path, images=images)
    command = [sys.executable, "-c", CHILD, str(path)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.slow
def test_ten_times_the_images_need_no_more_memory(tmp_path: Path) -> None:
    # 10,000 images are 31 MB as stored and 123 MB as floats; a run is near 600 MB.
    rng = np.random.default_rng(0)
    few, many = (
        peak(tmp_path / f"{n}.npz", rng.integers(0, 256, (n, 3, 32, 32), np.uint8))
        for n in (FEW, MANY)
    )
    assert abs(many - few) < 0.05 * few
