"""The operators themselves; importing this package fills the table."""

from . import (  # noqa: F401  importing enters the rows
    activations,
    arithmetic,
    convolution,
    indexing,
    linear,
    logic,
    microsoft,
    normalization,
    pooling,
    quantized,
    quantized_microsoft,
    random,
    recurrent,
    reduction,
    resize,
    shaping,
)
