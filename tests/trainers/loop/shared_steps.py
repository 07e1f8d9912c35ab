"""What two processes print: how far their steps, and those on permuted batches, are from one's.

One JSON object: by the variant, after every step, the l2 distance of the parameters from those of
one process over the way that those have gone. The argument is the activation of the network.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from robcert.trainers.data.process_slice import ProcessSlice
from robcert.trainers.data.sources import training_images
from robcert.trainers.loop.processes import ALONE, Processes
from robcert.trainers.loop.run import Run, RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Optimizer, TrainConfig
from robcert.trainers.recipe.schedule import Schedule

if TYPE_CHECKING:
    from robcert.trainers.data.images import LabelledImages

STEPS, ROWS = 8, 64


def run(images: LabelledImages, processes: Processes, folder: Path) -> Run:
    config = TrainConfig(
        architecture=Architecture("resnet-small", activation=sys.argv[1], width=8),  # type: ignore[arg-type]
        optimizer=Optimizer(learning_rate=0.05),
        schedule=Schedule("constant"),
        batch_size=ROWS,
    )
    return Run(RunPlan(config, images, images, folder, processes=processes))


def flat(trained: Run) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()]).double()


def main() -> None:
    dist.init_process_group("gloo")
    process_slice = ProcessSlice(dist.get_rank(), 2)
    images = training_images("fashion-mnist-2000").train
    with tempfile.TemporaryDirectory() as name:
        alone, moved = (run(images, ALONE, Path(name) / part) for part in ("alone", "moved"))
        shared = run(images, Processes(process_slice), Path(name) / "shared")
    start = flat(alone)
    apart: dict[str, list[float]] = {"permuted": [], "shared": []}
    for number in range(STEPS):
        rows = torch.arange(number * ROWS, (number + 1) * ROWS)
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(number))
        for trained, batch in (
            (alone, rows),
            (moved, rows[order]),
            (shared, process_slice.of(rows)),
        ):
            trained.step(*images.batch(batch, trained.device), number=number, replay=0, of=STEPS)
        length = (flat(alone) - start).norm()
        apart["permuted"].append(float((flat(moved) - flat(alone)).norm() / length))
        apart["shared"].append(float((flat(shared) - flat(alone)).norm() / length))
    if process_slice.rank == 0:
        sys.stdout.write(json.dumps(apart))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
