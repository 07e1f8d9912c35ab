"""Makes a classifier of a model file: its runtime and its differentiable twin.

Names are imported on first use: the child process that tries an untrusted file imports parts of
this package and must never import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph.model_file import read_model
    from .load import LoadOptions, load_classifier, torch_device
    from .parts import HEAVY_PARTS
    from .runtime.limits import RunLimits
    from .runtime.runtime_session import available_cores
    from .tensor_function import TensorFunction, load_tensor_function

__all__ = [
    "HEAVY_PARTS",
    "LoadOptions",
    "RunLimits",
    "TensorFunction",
    "available_cores",
    "load_classifier",
    "load_tensor_function",
    "read_model",
    "torch_device",
]

_HOME = {
    "HEAVY_PARTS": ".parts",
    "LoadOptions": ".load",
    "RunLimits": ".runtime.limits",
    "TensorFunction": ".tensor_function",
    "available_cores": ".runtime.runtime_session",
    "load_classifier": ".load",
    "load_tensor_function": ".tensor_function",
    "read_model": ".graph.model_file",
    "torch_device": ".load",
}


def __getattr__(name: str) -> object:
    """The public ``name``, from the module that defines it."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOME[name], __name__), name)
