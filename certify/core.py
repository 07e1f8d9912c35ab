"""Types that every analysis shares: norms, balls, kinds of claim, batches, progress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from .errors import InvalidParameterError, require_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Profile = Literal["quick", "standard", "thorough"]
"""Amount of computation per analysis; ``standard`` means the defaults of its settings."""


class Norm(StrEnum):
    """A norm of image perturbations, over all pixels of one image."""

    L1 = "l1"
    L2 = "l2"
    LINF = "linf"

    @classmethod
    def _missing_(cls, value: object) -> Norm | None:
        """Norm by its other spellings, L2, l_2, 2, inf, Linf or infinity, in upper or lower case.

        >>> Norm("L_inf"), Norm("2")
        (<Norm.LINF: 'linf'>, <Norm.L2: 'l2'>)
        """
        short = str(value).strip().lower().replace("_", "").replace("-", "").lstrip("lℓ")
        return {
            "1": cls.L1,
            "2": cls.L2,
            **dict.fromkeys(("inf", "infty", "infinity", "∞"), cls.LINF),
        }.get(short)

    @property
    def order(self) -> float:
        """Exponent p of the lp norm."""
        return {Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: float("inf")}[self]

    @property
    def dual(self) -> Norm:
        """Norm of gradients: the dual norm of g is max <g, v> over this norm's unit ball."""
        return {Norm.L1: Norm.LINF, Norm.L2: Norm.L2, Norm.LINF: Norm.L1}[self]

    @property
    def usual_radius(self) -> float:
        """Default radius in pixel units."""
        return {Norm.L1: 12.0, Norm.L2: 0.5, Norm.LINF: 8 / 255}[self]

    def require_epsilon(self, epsilon: float) -> None:
        """Raise unless ``epsilon`` is a distance in pixel units of [0, 1] that this norm can have.

        Raises:
            InvalidParameterError: it is not positive and finite, or above 1 in linf.
        """
        require_positive("epsilon", epsilon)
        if self is Norm.LINF and epsilon > 1:
            message = f"epsilon {epsilon:g} is larger than the whole range of a pixel, which is 1"
            meant = f"{epsilon:g}/255" if epsilon == int(epsilon) and epsilon < 255 else "8/255"
            hint = f"did you mean {meant}? distances are in pixel units of [0, 1]"
            raise InvalidParameterError(message, hint=hint)

    def of(self, x: Tensor) -> Tensor:
        """Norms ``(b,)`` of ``x (b, ...)``, one per example."""
        import torch  # only here: the command line needs the names of the norms, not torch

        if self is Norm.LINF:  # seven times faster than torch.linalg.vector_norm
            return x.flatten(1).abs().amax(1)
        # one sum alone is divided among the threads, which changes its rounding
        rows = x.flatten(1).expand(2, -1) if len(x) == 1 else x.flatten(1)
        return torch.linalg.vector_norm(rows, ord=self.order, dim=1)[: len(x)]


@dataclass(frozen=True, slots=True)
class Ball:
    """Perturbations of norm at most ``epsilon``, around one image or around each of a batch.

    Attributes:
        norm: norm of the perturbations.
        epsilon: radius in pixel units, one number or one per image ``(b,)``.
    """

    norm: Norm
    epsilon: float | Tensor


class Kind(StrEnum):
    """Kind of claim that a number makes."""

    CERTIFIED = "certified"  # proven, or holds with the stated probability
    ESTIMATED = "estimated"  # heuristic, may be wrong
    ATTACKED = "attacked"  # an adversarial example was found and re-checked
    MEASURED = "measured"  # a plain fact


@dataclass(frozen=True, slots=True)
class Certificate:
    """A radius that is valid with probability at least 1 - alpha over the noise robcert draws."""

    norm: Norm
    radius: float
    alpha: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistical estimate with its interval; no guarantee."""

    value: float
    lower: float
    upper: float
    level: float
    n: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are processed together.

    Attributes:
        index: position of each image in the data set ``(b,)``.
        x: pixels in [0, 1], ``(b, c, h, w)`` float32.
        y: class that margins and attacks refer to ``(b,)`` int64: the label, or the model's own
            prediction if the images have none.
    """

    index: NDArray[np.int64]
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def part(self, rows: NDArray[np.int64]) -> Batch:
        """The images at ``rows`` of the batch."""
        return Batch(self.index[rows], self.x[rows], self.y[rows])


class Progress(Protocol):
    """Callback for the progress of a task; ``done == total`` ends the task."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Report ``done`` of ``total`` units of ``task``."""


def silent(task: str, done: int, total: int) -> None:
    """Callback that discards progress."""
