"""Networks in the user's code, named ``module:factory``.

A configuration or a checkpoint may contain such a name. It is imported only if ``allow`` was called
with the same name in this process, by the command line or by a program.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_allowed: set[str] = set()


def is_factory(name: str) -> bool:
    """Whether ``name`` has the form module:factory.

    >>> is_factory("my.nets:make"), is_factory("cnn4")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def allow(name: str) -> None:
    """Permit the import of ``name``, which the user gave, in this process."""
    _allowed.add(name)


def build(name: str, *, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Network ``factory(image_shape=(c, h, w), num_classes=k)``, checked on one black image.

    The module is searched on Python's path and then in the working directory.

    Raises:
        InvalidParameterError: the name was not allowed, there is no such factory, or its result is
            not a network from ``(b, c, h, w)`` to ``(b, k)``.
    """
    if name not in _allowed:
        message = f"the file names the architecture {name}, which is code and is not imported"
        raise InvalidParameterError(message, hint=f"if you trust this code, pass --arch {name}")
    network = _factory(name)(image_shape=image_shape, num_classes=num_classes)
    if not isinstance(network, nn.Module):
        message = f"{name} returned {type(network).__name__}, not a torch module"
        raise InvalidParameterError(message)
    shape = output_shape(network, image_shape)
    if shape != (1, num_classes):
        message = f"{name} gives shape {shape} for one image, not logits of (1, {num_classes})"
        raise InvalidParameterError(message)
    return network


def _factory(name: str) -> Callable[..., object]:
    """The function called ``name``."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        message = f"{name}: {error}"
        raise InvalidParameterError(message, hint="the module must be importable") from error
    finally:
        sys.path.remove(here)
    factory: object = getattr(found, attribute, None)
    if not callable(factory):
        message = f"{module} has no function {attribute!r}"
        raise InvalidParameterError(message)
    return factory


def output_shape(network: nn.Module, image_shape: Iterable[int]) -> tuple[int, ...]:
    """Shape of the output for one image; the mode and batch norm's averages do not change."""
    training = network.training
    with torch.no_grad():
        logits = network.eval()(torch.zeros(1, *image_shape))
    network.train(training)
    return tuple(getattr(logits, "shape", ()))
