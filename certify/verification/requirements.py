"""What a network must be like to be bounded, in exact and in float32 arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.numerics import narrow_products

from .network import Convolution, Network
from .outcome import Arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.model import Classifier, StraightThroughNode

AGREEMENT = 1e-3
"""Largest difference of the network's scores from the twin's, relative to their size."""

NO_FLOAT32 = "no certificate of its evaluation in float32: "
ANY_ARITHMETIC = "certify the exact evaluation of the stored weights: --arithmetic real"


def require_float32(classifier: Classifier) -> None:
    """Raise if the runtime does not compute in float32.

    Raises:
        UnsupportedOperatorError: it computes with integers or in half precision, is torch and set
            to multiply in fewer bits, or its own output may have another class than its logits.
    """
    if classifier.runtime.reorders:
        message = NO_FLOAT32 + classifier.runtime.reorders
        raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)
    require_no_other_format(classifier.info.straight_through)
    if classifier.preprocessing.dtype == "float16":
        message = f"{NO_FLOAT32}its input is float16"
        raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)
    narrow = "" if classifier.info.kind == "onnx" else narrow_products()
    if narrow:
        message = f"{NO_FLOAT32}torch evaluates it in fewer bits by {narrow}"
        raise UnsupportedOperatorError(message, hint=f"reset it, or {ANY_ARITHMETIC}")


def require_ends_on_levels(classifier: Classifier, error: float) -> None:
    """Raise if black or white lies between two levels of an integer input.

    Its pixels then stand for a level that no pixel in [0, 1] has, and the function that proofs are
    about is another there than the model.

    Args:
        classifier: the model.
        error: distance from a level that proofs allow for, pixel units.

    Raises:
        UnsupportedOperatorError: it does.
    """
    if classifier.grid is not None and classifier.grid.end_error > error:
        preprocessing = classifier.preprocessing
        message = (
            f"no certificate: black and white are not whole numbers of the {preprocessing.dtype} "
            f"input (range {preprocessing.range[0]:g}, {preprocessing.range[1]:g})"
        )
        hint = "state a --range, --mean and --std that make them whole, such as --range 0,255"
        raise UnsupportedOperatorError(message, hint=hint)


def require_executed_as_stated(rewritten: Callable[[], str] | None) -> None:
    """Raise if the runtime executes another function than the file states.

    Args:
        rewritten: how what is executed differs; None where the file is executed as it stands.

    Raises:
        UnsupportedOperatorError: it does, or that cannot be found out.
    """
    difference = "" if rewritten is None else rewritten()
    if difference:
        raise UnsupportedOperatorError(NO_FLOAT32 + difference, hint=ANY_ARITHMETIC)


def require_no_other_format(nodes: Sequence[StraightThroughNode]) -> None:
    """Raise where a network computes in another number format than float32.

    Args:
        nodes: its nodes with surrogate gradients.

    Raises:
        UnsupportedOperatorError: it does; runtimes merge such nodes in ways of their own.
    """
    for node in nodes:
        if node.number_format:
            message = f"{NO_FLOAT32}{node} rounds to another number format"
            raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)


def require_covered(network: Network, arithmetic: Arithmetic) -> None:
    """Raise if constants that the network computes may differ by more than is allowed for.

    Raises:
        UnsupportedOperatorError: they may.
    """
    if network.obstacle and arithmetic is Arithmetic.FLOAT32:
        raise UnsupportedOperatorError(NO_FLOAT32 + network.obstacle, hint=ANY_ARITHMETIC)
    if network.obstacle:
        message = f"no certificate: {network.obstacle}"
        raise UnsupportedOperatorError(message, hint="export the model with its constants folded")


def coefficient_type(network: Network) -> torch.dtype:
    """The type in which coefficients of inner operations are propagated.

    Torch's convolutions in float64 take several times longer, its products twice as long. In
    float32 they must be plain sums of products, without a transform (NNPACK) inside; whether torch
    multiplies in bfloat16 is asked at each use.
    """
    convolves = any(isinstance(node, Convolution) for node in network.nodes)
    library = torch.backends.mkldnn
    plain = bool(library.enabled) and library.is_available()  # type: ignore[no-untyped-call]
    return torch.float32 if convolves and plain and network.storable else torch.float64


def require_agreement(
    network: Network, function: Callable[[Tensor], Tensor], input_shape: tuple[int, ...]
) -> None:
    """Raise unless the network gives the function's scores on random inputs.

    Raises:
        UnsupportedOperatorError: it does not, or they are no finite numbers.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(8, *input_shape, generator=generator)
    with torch.no_grad():
        expected = torch.cat([function(row[None]) for row in x]).double().flatten(1)
        found = network(x.double())
    size = expected.abs().max().clamp_min(1e-6)
    if bool(((found - expected).abs() <= AGREEMENT * size).all()):
        return
    if not bool(torch.isfinite(expected).all()):
        message = "no certificate: the model's scores of random images are not finite numbers"
        raise UnsupportedOperatorError(message, hint="its numbers overflow: scale them")
    message = "the network as it was translated for proofs gives other scores than the model"
    raise UnsupportedOperatorError(message, hint="please report it with the model")
