"""Settings of the check of one property."""

from __future__ import annotations

from dataclasses import dataclass

from robcert.certify.errors import InvalidParameterError, require_at_least, require_seconds

from ..outcome import Arithmetic, Method


@dataclass(frozen=True, slots=True)
class PropertySettings:
    """What the answer depends on.

    Attributes:
        seconds: wall-clock budget of search and proof together; loading the model and tracing it
            for proofs are not counted.
        method: how outputs are bounded.
        arithmetic: the evaluation of the network that ``holds`` speaks about.
        tolerance: amount by which the outputs of a counterexample may miss a constraint, absolute
            and relative to its largest term, once no proof was found; 0 for none. Inputs have no
            tolerance.
        starts: starting points of the search in each case.
        steps: gradient steps of each.
        seed: of the random starting points.
    """

    seconds: float = 60.0
    method: Method = Method.AUTO
    arithmetic: Arithmetic = Arithmetic.FLOAT32
    tolerance: float = 1e-4
    starts: int = 8
    steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidParameterError: a number has no valid value.
        """
        require_seconds("seconds", self.seconds)
        require_at_least("starts", self.starts, 2)
        require_at_least("steps", self.steps, 1)
        if not 0 <= self.tolerance <= 1e-3:
            message = f"tolerance must lie in [0, 0.001], got {self.tolerance}"
            raise InvalidParameterError(message)
