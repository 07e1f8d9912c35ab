"""The network as operations whose bounds are known: affine maps, products, activations."""

from .nodes import (
    Activation,
    Affine,
    Combination,
    Convolution,
    Input,
    Network,
    Node,
    Product,
    Relu,
    Select,
)
from .trace import traced
from .translate import translated

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
    "traced",
    "translated",
]
