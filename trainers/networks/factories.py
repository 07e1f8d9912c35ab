"""A user's own networks: ``module:factory``, imported only if the user named it, never from a file.

A configuration or a checkpoint may hold such a name, which is text and runs nothing. Building it
needs that ``allow`` was told the same name in this process: by the command line, or by a program.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_allowed: set[str] = set()


def is_factory(name: str) -> bool:
    """Whether ``name`` has the form module:factory.

    >>> is_factory("my.nets:make"), is_factory("cnn4")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def allow(name: str) -> None:
    """Let ``name``, which the user typed, be imported in this process."""
    _allowed.add(name)


def build(name: str, *, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Network ``factory(image_shape=(c, h, w), num_classes=k)``, tried on one black image.

    The module is looked for where Python looks, and then in the working directory.

    Raises:
        InvalidParameterError: nobody allowed the name, there is no such factory, or what it
            returns is no network ``(b, c, h, w)`` to ``(b, k)``.
    """
    if name not in _allowed:
        message = f"the architecture {name} is code that a file names, which is never imported"
        raise InvalidParameterError(message, hint=f"if you trust it, pass --arch {name}")
    network = _factory(name)(image_shape=image_shape, num_classes=num_classes)
    if not isinstance(network, nn.Module):
        message = f"{name} returned {type(network).__name__}, not a torch module"
        raise InvalidParameterError(message)
    shape = output_shape(network, image_shape)
    if shape != (1, num_classes):
        message = f"{name} gives {shape} for one image, not logits (1, {num_classes})"
        raise InvalidParameterError(message)
    return network


def _factory(name: str) -> Any:
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
    if not callable(getattr(found, attribute, None)):
        message = f"{module} has no function {attribute!r}"
        raise InvalidParameterError(message)
    return getattr(found, attribute)


def output_shape(network: nn.Module, image_shape: Iterable[int]) -> tuple[int, ...]:
    """Shape of the output for one image; batch norm's averages and the mode stay as they are."""
    training = network.training
    with torch.no_grad():
        logits = network.eval()(torch.zeros(1, *image_shape))
    network.train(training)
    return tuple(getattr(logits, "shape", ()))
