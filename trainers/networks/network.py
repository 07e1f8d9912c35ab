"""A network with the preprocessing before it: what is trained, saved and exported."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robcert.certify.model import Preprocessing
from robcert.certify.numerics import stream_seed

from .architectures import Architecture  # noqa: TC001 - the JSON reader resolves it
from .precision import Precision, half_layers


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """All of a trained model but its weights."""

    architecture: Architecture
    image_shape: tuple[int, ...]
    num_classes: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def build(self) -> PixelNetwork:
        """The network with fresh weights."""
        channels, height, width = self.image_shape
        network = self.architecture.build(
            image_shape=(channels, height, width), num_classes=self.num_classes
        )
        return PixelNetwork(network, self.preprocessing)

    def seeded(self, seed: int) -> PixelNetwork:
        """The network with the fresh weights of ``seed``; torch's own generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "weights", 0))
            return self.build()


class PixelNetwork(nn.Module):
    """Pixels in [0, 1] to logits: ``network`` behind ``preprocessing``.

    ``precision`` holds for training; a checkpoint does not carry it.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.precision: Precision = "32"

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)`` of the pixels ``x (b, c, h, w)``."""
        with half_layers(self.precision, x.device):
            logits: Tensor = self.network(self.preprocessing(x))
        return logits if self.precision == "32" else logits.float()
