"""The network of a run and its initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.errors import TrainingError
from robcert.certify.model import Preprocessing
from robcert.trainers.networks import NetworkSpec, PixelNetwork

from .checkpoint import load_network

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.trainers.data import LabelledImages
    from robcert.trainers.recipe import TrainConfig


def network_spec(
    config: TrainConfig, images: LabelledImages, evaluation: LabelledImages
) -> NetworkSpec:
    """Specification of the network of ``config`` for these images."""
    mean, std = images.channel_statistics() if config.normalize else ((), ())
    return NetworkSpec(
        architecture=config.architecture,
        image_shape=images.image_shape,
        num_classes=max(images.num_classes, evaluation.num_classes),
        preprocessing=Preprocessing(mean=mean, std=std),
    )


def initial_network(spec: NetworkSpec, seed: int, checkpoint: Path | None) -> PixelNetwork:
    """Network with the random weights of ``seed``, or with the weights of ``checkpoint``.

    Raises:
        ModelFileError: the checkpoint cannot be read.
        TrainingError: its weights are of another architecture.
    """
    network = spec.seeded(seed)
    if checkpoint is None:
        return network
    trained = load_network(checkpoint)
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        message = f"the weights in {checkpoint} do not fit {spec.architecture.name}"
        raise TrainingError(message, hint="start from a run of the same architecture") from error
    return network
