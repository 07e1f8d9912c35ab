"""Configuration of a training run, learning-rate schedules, and presets of the papers."""

from .config import Evaluation, Optimizer, TrainConfig, decoded
from .presets import preset
from .schedule import Schedule

__all__ = [
    "Evaluation",
    "Optimizer",
    "Schedule",
    "TrainConfig",
    "decoded",
    "preset",
]
