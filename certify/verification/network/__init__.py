"""The network as operations whose bounds are known: affine maps, products, activations."""

from .combination import Combination
from .convolution import Convolution
from .network import Network
from .nodes import Activation, Affine, Input, Node, Product, Relu
from .selection import Select
from .trace import traced
from .translate import translated
from .weights import Weighted
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
    "Weighted",
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
