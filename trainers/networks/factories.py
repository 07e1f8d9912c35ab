"""Networks in the user's code, named ``module:factory``.

A configuration or a checkpoint may contain such a name. It is imported only if ``allow`` was called
with the same name in this process, by the command line or by a program.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CALL = "factory(image_shape=(c, h, w), num_classes=k)"
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
    """Network ``factory(image_shape=(c, h, w), num_classes=k)``, tried on black images.

    The module is searched on Python's path and then in the working directory.

    Raises:
        InvalidParameterError: the name was not allowed, there is no such factory, it raises an
            error, or its result is not a network from ``(b, c, h, w)`` to ``(b, k)``.
    """
    if name not in _allowed:
        message = f"the file names the architecture {name}, which is code and is not imported"
        raise InvalidParameterError(message, hint=f"if you trust this code, pass --arch {name}")
    factory = _factory(name)
    _require_signature(name, factory)
    with _own_code(name):
        network = factory(image_shape=image_shape, num_classes=num_classes)
    if not isinstance(network, nn.Module):
        message = f"{name} returned {type(network).__name__}, not a torch module"
        raise InvalidParameterError(message)
    _require_logits(name, network, image_shape, num_classes)
    return network


def _factory(name: str) -> Callable[..., object]:
    """The function called ``name``."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        with _own_code(name):
            found = importlib.import_module(module)
    finally:
        sys.path.remove(here)
    factory: object = getattr(found, attribute, None)
    if not callable(factory):
        message = f"{module} has no function {attribute!r}"
        raise InvalidParameterError(message)
    return factory


@contextmanager
def _own_code(name: str) -> Iterator[None]:
    """Context in which an error is one of the user's code ``name``, whatever its class."""
    try:
        yield
    except ImportError as error:
        message = f"{name}: {error}"
        raise InvalidParameterError(message, hint="the module must be importable") from error
    except Exception as error:  # the user's code may raise any
        message = f"{name} failed with {type(error).__name__}: {error}"
        raise InvalidParameterError(message, hint="--debug shows where in your code") from error


def _require_signature(name: str, factory: Callable[..., object]) -> None:
    """Raise unless ``factory`` takes the two arguments it is called with and needs no other."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # of some functions in C it is unknown
    try:
        signature.bind(image_shape=(), num_classes=0)
    except TypeError as error:
        message = f"{name} takes {signature} and cannot be called as {_CALL}: {error}"
        raise InvalidParameterError(message, hint=f"robcert calls {_CALL}") from error


def _require_logits(
    name: str, network: nn.Module, image_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Raise unless ``network`` gives logits for two batch sizes, in both modes."""
    for training in (False, True):
        for batch in (1, 2) if not training else (2,):  # batch norm cannot train on one image
            with _own_code(name):
                shape = output_shape(network, (batch, *image_shape), training=training)
            if shape != (batch, num_classes):
                images = "one image" if batch == 1 else f"{batch} images"
                message = (
                    f"{name} gives {_described(shape)} for {images}, not logits of "
                    f"({batch}, {num_classes})"
                )
                raise InvalidParameterError(message)


def _described(shape: tuple[int, ...] | str) -> str:
    return shape if isinstance(shape, str) else f"shape {shape}"


def output_shape(
    network: nn.Module, input_shape: tuple[int, ...], *, training: bool = False
) -> tuple[int, ...] | str:
    """Shape of the output, or the name of its type if it is no tensor.

    The network, its buffers and torch's generator are afterwards as before.
    """
    before, modes = network.training, copy.deepcopy(dict(network.named_buffers()))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = network.train(training)(torch.zeros(input_shape))
        for buffer, kept in modes.items():
            network.get_buffer(buffer).copy_(kept)
    network.train(before)
    if not isinstance(logits, torch.Tensor):
        return type(logits).__name__
    return tuple(logits.shape)
