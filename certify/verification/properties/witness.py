"""Counterexamples to a property, checked by the runtime in exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .box import read_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.importer import TensorFunction

    from .unsafe_set import Case


ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Witness:
    """An input of a case whose outputs, by the runtime, are unsafe.

    Attributes:
        inputs: decimal numbers inside the box, without tolerance, in the order of the flattened
            input; the runtime was given what is read from them.
        outputs: outputs of the runtime on them, in the order of the flattened output.
        miss: largest amount by which a constraint of the outputs is missed; 0: all of them hold.
    """

    inputs: tuple[str, ...]
    outputs: tuple[float, ...]
    miss: float

    @property
    def exact(self) -> bool:
        """Whether all constraints hold without tolerance."""
        return self.miss == 0

    def lines(self) -> Iterator[str]:
        """The counterexample as the verification competition writes it: ``((X_0 0.5)`` …."""
        pairs = [f"(X_{i} {value})" for i, value in enumerate(self.inputs)]
        pairs += [f"(Y_{j} {shortest(value)})" for j, value in enumerate(self.outputs)]
        for position, pair in enumerate(pairs):
            opening = "(" if position == 0 else " "
            yield opening + pair + (")" if position == len(pairs) - 1 else "")


def examined(network: TensorFunction, case: Case, x: Tensor, *, tolerance: float) -> Witness | None:
    """The witness at ``x (*input_shape)`` by the runtime; None if it is none.

    Args:
        network: the model.
        case: the part of the unsafe set.
        x: the input, float32.
        tolerance: allowed miss of a constraint of the outputs, absolute and relative.
    """
    flat = x.detach().cpu().numpy().astype(np.float32).reshape(-1)
    written = case.box.written(flat)
    if written is None:
        return None
    given = torch.from_numpy(read_inputs(written)).reshape(1, *network.input_shape)
    outputs = network.runtime(given)[0].double().tolist()
    if not np.isfinite(outputs).all():
        return None
    misses = case.misses(outputs)
    allowed = case.scales(outputs)
    limit = Fraction(tolerance)
    if any(miss > limit * min(ONE, scale) for miss, scale in zip(misses, allowed, strict=True)):
        return None
    return Witness(written, tuple(outputs), float(max(misses, default=Fraction(0))))


def shortest(value: float) -> str:
    """The shortest decimal number that is read as this float32."""
    return str(np.float32(value))
