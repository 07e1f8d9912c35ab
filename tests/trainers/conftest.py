from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robcert.trainers.data.images import TrainingImages
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path


def noise_images(count: int) -> TrainingImages:
    draws = torch.Generator().manual_seed(3)
    pixels = torch.randint(256, (count, 3, 8, 8), generator=draws).to(torch.uint8)
    return TrainingImages(pixels, torch.arange(count) % 4, "noise", "ab" * 32)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of a network with batch norm and normalised inputs."""
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(
        architecture=Architecture("resnet-small", width=4), epochs=1, batch_size=16
    )
    fit(RunPlan(config, noise_images(32), noise_images(16), out=folder))
    return folder
