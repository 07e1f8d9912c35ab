"""Configuration of a training run, learning-rate schedules, and presets of the papers."""

from .config import Evaluation, Optimizer, TrainConfig, decoded
from .presets import preset

__all__ = [
    "Evaluation",
    "Optimizer",
    "TrainConfig",
    "decoded",
    "preset",
]
