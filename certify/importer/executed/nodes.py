"""Whether the runtime and the twin compute the same numbers at each node of a file.

The graph is cut at every tensor of numbers, so that both compute each node from the same random
numbers. Differences that the values of the nodes before hide on most images show here too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError

from ..runtime.runtime_session import describe_failure
from ..twin.builder import EXECUTION_ERRORS, first_line
from ..twin.twin import build_twin
from .comparison import exceeds, limits_of
from .matching import values_of
from .samples import KINDS, drawn, perturbed, repeated_kinds
from .sides import OUTPUT, Side, TensorType, computed, session_of

if TYPE_CHECKING:
    import onnx
    from numpy.random import Generator

    from ..twin.twin import TwinModule
    from .comparison import ImageInput
    from .samples import Kind
    from .sides import Values

FUNCTION_ERROR = 2.0**-20
"""Absolute error that certificates allow functions such as ELU, which runtimes compute from numbers
near 1 where they are near 0."""


def node_difference(model: onnx.ModelProto, image: ImageInput) -> str:
    """The first node at which runtime and twin differ, in words; empty if there is none.

    Args:
        model: the graph as it is given to the runtime.
        image: its input.
    """
    try:
        side = Side.of(model, image.name)
        draw = np.random.default_rng(0)
        found = values_of(side, [drawn(draw, KINDS[0], image.shape, image.dtype)])
        types = {name: TensorType.of(value) for name, (value,) in found.items()}
        cut = side.cut(types)
        session, twin = session_of(cut), build_twin(cut)
        differing: set[str] = set()
        for kind in repeated_kinds(
            sum(math.prod(one.shape) for one in types.values()), side.constants()
        ):
            first, second = (_numbers(draw, kind, image, types) for _ in range(2))
            near = {name: perturbed(draw, x) for name, x in first.items()}
            expected, other, moved = (computed(session, one) for one in (first, second, near))
            for name, given in _of_twin(twin, first).items():
                limits = limits_of(expected[name], other[name], moved[name]) + FUNCTION_ERROR
                if exceeds(given, expected[name], limits):
                    differing.add(name.removesuffix(OUTPUT))
    except (UnsupportedOperatorError, ModelFileError, *EXECUTION_ERRORS) as error:
        return f"its nodes cannot be compared with the twin's one by one: {first_line(error)}"
    except Exception as error:  # onnxruntime's classes share no base but Exception
        reason = describe_failure(error)
        return f"its nodes cannot be computed one by one by the runtime: {reason}"
    if not differing:
        return ""
    node = side.producers[next(name for name in types if name in differing)]
    where = f"node {node.label!r} ({node.proto.op_type})"
    return f"the runtime computes {where} otherwise than certificates are about"


def _numbers(
    draw: Generator, kind: Kind, image: ImageInput, types: dict[str, TensorType]
) -> Values:
    """Random numbers for the image and every tensor."""
    numbers = {name: drawn(draw, kind, *one) for name, one in types.items()}
    return {image.name: drawn(draw, kind, image.shape, image.dtype)} | numbers


def _of_twin(twin: TwinModule, numbers: Values) -> Values:
    """Outputs of a twin by name."""
    given = [torch.from_numpy(numbers[name]) for name in twin.inputs]
    with torch.no_grad():
        found = twin(*given, straight_through=False)
    outputs = found if isinstance(found, tuple) else (found,)
    return {name: y.numpy() for name, y in zip(twin.outputs, outputs, strict=True)}
