"""Prints the largest memory in KiB of a training on images of 96x96 that are streamed, and of a
process that reads them.

The arguments are the number of images, and a folder for them and for the run.
"""

from __future__ import annotations

import io
import resource
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from robcert.trainers.data.sources import Reading, training_images
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    head = tarfile.TarInfo(name)
    head.size = len(content)
    archive.addfile(head, io.BytesIO(content))


def main() -> None:
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir()
    draws = np.random.default_rng(0)
    with tarfile.open(folder / "set.tar", "w") as archive:
        for number in range(count):
            content = io.BytesIO()
            image = Image.fromarray(draws.integers(0, 256, (96, 96, 3), np.uint8))
            image.save(content, "PPM")
            add(archive, f"{number}.ppm", content.getvalue())
            add(archive, f"{number}.cls", b"%d" % (number % 2))
    split = training_images(str(folder / "set.tar"), reading=Reading(stream=True, workers=1))
    config = TrainConfig(
        architecture=Architecture("mlp", width=2),
        epochs=1,
        batch_size=32,
        evaluation=Evaluation(attack_every=0, images=24),
    )
    fit(RunPlan(config, split.train, split.evaluation, folder / "run"))
    status = Path("/proc/self/status").read_text()  # getrusage keeps what was there before exec
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{peak} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}")


if __name__ == "__main__":
    main()
