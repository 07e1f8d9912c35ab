"""Architectures, their layers, and mixed precision."""

from .architectures import (
    Architecture,
    channels_per_width,
    describe,
    names,
    published_width,
)
from .batchnorm import BatchNorm, NominalStatistics, frozen_averages, prepare_batch_norm
from .convolve import Convolution, prepare_convolutions
from .factories import allow
from .network import NetworkSpec, PixelNetwork
from .precision import LossScale, Precision

__all__ = [
    "Architecture",
    "BatchNorm",
    "Convolution",
    "LossScale",
    "NetworkSpec",
    "NominalStatistics",
    "PixelNetwork",
    "Precision",
    "allow",
    "channels_per_width",
    "describe",
    "frozen_averages",
    "names",
    "prepare_batch_norm",
    "prepare_convolutions",
    "published_width",
]
