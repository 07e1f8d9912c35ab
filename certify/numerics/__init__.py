"""Kernels: ascent, projections, gradients, losses, random streams, batch-invariant operations."""

from .ascent import (
    AscentConfig,
    Direction,
    Elsewhere,
    Moments,
    RandomStart,
    StepRule,
    finite,
    largest_entry,
    maximise,
    normalised,
    steepest,
)
from .batch_invariant import SameRows, softmax, sums, unpadded_products, whole_vectors
from .classes import NO_CLASS, classes_of
from .gradients import saturated, value_and_gradient
from .losses import (
    ImageLoss,
    Loss,
    TopMargin,
    cross_entropy,
    largest_other,
    largest_size,
    margin_loss,
    probability_margin_loss,
    rounding_floor,
    targeted_margin,
)
from .memory import keep_freed_memory, limited_memory, machine_memory, unlimited_memory
from .precision import narrow_products
from .projections import feasible, into_box, per_row, project
from .sampling import NOISE_BLOCK, generator, point_of_each, points_in_ball, stream_seed

__all__ = [
    "NOISE_BLOCK",
    "NO_CLASS",
    "AscentConfig",
    "Direction",
    "Elsewhere",
    "ImageLoss",
    "Loss",
    "Moments",
    "RandomStart",
    "SameRows",
    "StepRule",
    "TopMargin",
    "classes_of",
    "cross_entropy",
    "feasible",
    "finite",
    "generator",
    "into_box",
    "keep_freed_memory",
    "largest_entry",
    "largest_other",
    "largest_size",
    "limited_memory",
    "machine_memory",
    "margin_loss",
    "maximise",
    "narrow_products",
    "normalised",
    "per_row",
    "point_of_each",
    "points_in_ball",
    "probability_margin_loss",
    "project",
    "rounding_floor",
    "saturated",
    "softmax",
    "steepest",
    "stream_seed",
    "sums",
    "targeted_margin",
    "unlimited_memory",
    "unpadded_products",
    "value_and_gradient",
    "whole_vectors",
]
