"""What is asked of a proof and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Method(StrEnum):
    """How bounds of the margins are computed; each method includes those before it."""

    INTERVAL = "interval"  # interval arithmetic
    CROWN_IBP = "crown-ibp"  # linear bounds of the scores, intervals inside the network
    CROWN = "crown"  # linear bounds everywhere, propagated backward
    ALPHA = "alpha"  # the same with optimised slopes
    BRANCH = "branch"  # branch and bound on unstable units
    AUTO = "auto"  # all of them in turn, as far as the budget allows


class Arithmetic(StrEnum):
    """The evaluation of the network about which a certificate speaks."""

    FLOAT32 = "float32"  # every evaluation in float32, whatever the order of its sums
    REAL = "real"  # exact evaluation of the stored weights


class Open(StrEnum):
    """Why a statement was not proved."""

    NO = ""  # it was proved
    TIME = "time"  # the budget was spent
    LOOSE = "loose bounds"  # the method has no further step to offer
    ROUNDING = "rounding"  # a counterexample that only exact arithmetic confirms
    REFUTED = "refuted"  # a counterexample was found


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Regions of signs that together cover a row of coefficients, each with what proves it.

    The u units are the ReLU inputs of open sign, in the order of the ReLUs and of their elements.

    Attributes:
        row: row of coefficients that each region is about ``(n,)``.
        signs: assumed signs of the units: 1, -1 or 0 for none ``(n, u)``.
        slopes: slopes of the lower lines ``(n, u)``.
        multipliers: multipliers of the assumptions ``(n, u)``.
    """

    row: Tensor
    signs: Tensor
    slopes: Tensor
    multipliers: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What it takes to prove a statement again.

    Attributes:
        lower: lower bounds of each operation's output that were used, by position.
        upper: upper bounds.
        tightened: elements of these that linear bounds gave; intervals gave the others.
        units: elements of each ReLU's input that are units, by position of the ReLU.
        leaves: the regions.
    """

    lower: dict[int, Tensor]
    upper: dict[int, Tensor]
    tightened: dict[int, Tensor]
    units: dict[int, Tensor]
    leaves: Leaves


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one statement: no input of a region changes the class.

    Attributes:
        proved: whether the statement holds.
        bound: lower bound of the smallest margin over the region; positive if proved.
        method: method that gave the bound.
        branches: regions of unit signs that were bounded; 0 without branch and bound.
        reason: why it is not proved.
        counterexample: an input ``(c, h, w)`` of the region with another class, as the twin
            computes it; None if none was met. Whoever uses it checks it in the runtime.
        proof: what proves it, if it was requested.
        stopped_at: position of the operation whose bounds the deadline cut off; -1 if it cut off
            none, or later steps.
    """

    proved: bool
    bound: float
    method: Method
    branches: int = 0
    reason: Open = Open.NO
    counterexample: Tensor | None = None
    proof: Proof | None = None
    stopped_at: int = -1


@dataclass(frozen=True, slots=True)
class CertifiedRadius:
    """The largest radius that was proved for one image.

    Attributes:
        radius: pixel units; 0 if none was proved, and for misclassified images.
        method: method that proved it.
        branches: regions of unit signs that were bounded, all radii together.
        reason: why no larger radius was proved: ``TIME`` if the budget ended the bisection.
        stopped_at: position of the operation whose linear bounds the deadline cut off before they
            were complete at any radius; -1 for none.
    """

    radius: float
    method: Method
    branches: int = 0
    reason: Open = Open.NO
    stopped_at: int = -1
