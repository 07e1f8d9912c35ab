"""A network with its preprocessing, which is trained, saved and exported."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robcert.certify.errors import InvalidParameterError
from robcert.certify.model import Preprocessing
from robcert.certify.numerics import stream_seed

from .architectures import Architecture  # noqa: TC001 - the JSON reader resolves it
from .precision import Precision, half_layers


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A trained model without its weights."""

    architecture: Architecture
    image_shape: tuple[int, ...]
    num_classes: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def __post_init__(self) -> None:
        """Refuse sizes of a damaged description that no network has."""
        sizes = range(1, 2**31)
        if len(self.image_shape) != 3 or not all(n in sizes for n in self.image_shape):
            message = "image_shape must be three positive sizes"
            raise InvalidParameterError(message)
        if self.num_classes not in sizes:
            message = "num_classes must be a positive number of classes"
            raise InvalidParameterError(message)

    def build(self) -> PixelNetwork:
        """The network with random weights from torch's generator."""
        channels, height, width = self.image_shape
        network = self.architecture.build(
            image_shape=(channels, height, width), num_classes=self.num_classes
        )
        return PixelNetwork(network, self.preprocessing)

    def seeded(self, seed: int) -> PixelNetwork:
        """The network with the random weights of ``seed``; torch's generator does not change."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "weights", 0))
            return self.build()


class PixelNetwork(nn.Module):
    """Network from pixels in [0, 1] to logits: ``network`` after ``preprocessing``.

    ``precision`` is used in training only and is not saved in a checkpoint.
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
