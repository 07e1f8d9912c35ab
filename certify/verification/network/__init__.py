"""The network as operations whose bounds are known: affine maps, products, activations."""

from .affine import Combination, Convolution, Select
from .network import Network
from .nodes import Activation, Affine, Input, Node, Product, Relu
from .trace import traced
from .translate import translated
from .window import (
    Window,
    by_row,
    cut,
    joined,
    positions_within,
    widened,
    window_shape,
    window_size,
)

__all__ = [
    "Activation",
    "Affine",
    "Combination",
    "Convolution",
    "Input",
    "Network",
    "Node",
    "Product",
    "Relu",
    "Select",
    "Window",
    "by_row",
    "cut",
    "joined",
    "positions_within",
    "traced",
    "translated",
    "widened",
    "window_shape",
    "window_size",
]
