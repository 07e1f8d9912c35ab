"""Proving the statements of a proof file again."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .bounds import Bounds, rows_at_once
from .errors import ProofFileError, UncheckableModelError
from .leaves import Units, blocks, covers
from .model import read_network
from .model_file import read_bytes
from .preprocessing import Preprocessing
from .proof_file import About, Statement, about, opened, statements
from .region import Region
from .rounding import UNIT32

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .network import Network

    Array = NDArray[np.float64]

LEVEL_ERROR = 1.01 * UNIT32 / 2
"""Distance of a float32 pixel from that of the whole number that it stands for."""

NOTABLE = 1e-6
"""Relative amount by which a bound falls short of the stored one before it is counted."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of one statement.

    Attributes:
        index: index of the image.
        image_sha256: hash of its pixels, float32 in [0, 1] in the order (c, h, w).
        label: its class.
        norm: norm of the ball.
        radius: pixel units.
        proved: whether no image within the radius has another class.
        reason: why it is not proved; empty if it is.
        bound: lower bound of the smallest margin of the label's score over all others.
        margin: this margin at the image itself.
        leaves: regions of signs.
        tightened: bounds that were computed by linear bounds.
        short: those of them that are below the stored ones; they hold all the same.
        seconds: time it took.
    """

    index: int
    image_sha256: str
    label: int
    norm: str
    radius: float
    proved: bool
    reason: str
    bound: float
    margin: float
    leaves: int
    tightened: int
    short: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What became of all statements.

    Attributes:
        about: what they are about.
        verdicts: one for each.
    """

    about: About
    verdicts: tuple[CheckResult, ...]

    @property
    def proved(self) -> bool:
        """Whether there are statements and all are proved."""
        return bool(self.verdicts) and all(verdict.proved for verdict in self.verdicts)

    @property
    def subject(self) -> tuple[str, ...]:
        """What the statements are about, one line each: model, preprocessing, images."""
        output = f", output {self.about.output}" if self.about.output else ""
        name = self.about.data_name
        named = f"; their numbers count through {name}, as the file says" if name else ""
        return (
            f"model: {self.about.model_file}, SHA-256 {self.about.model_sha256}{output}",
            f"pixels to input: {Preprocessing.from_json(self.about.preprocessing).sentence}",
            f"images: those stored in the proof file{named}",
        )

    @property
    def claim(self) -> str:
        """What is proved, in one sentence."""
        count = sum(verdict.proved for verdict in self.verdicts)
        how = (
            "in every float32 evaluation of the graph whose sums are in any order"
            if self.about.float32
            else "in exact arithmetic"
        )
        whole = Preprocessing.from_json(self.about.preprocessing).dtype != "float32"
        levels = ", on the levels of the input" if whole else ""
        return (
            f"{count} of {len(self.verdicts)} statements proved: {how}, the label's score is the "
            f"largest (before a final softmax) for every image within the radius and within [0, 1]"
            f"{levels}"
        )


def check(
    proof: Path, model: Path, *, on_verdict: Callable[[CheckResult], None] | None = None
) -> Report:
    """Prove every statement of a proof file again, from the model file.

    Args:
        proof: file of ``robcert verify --save-proof``.
        model: the ONNX file that it is about.
        on_verdict: called after each statement.

    Raises:
        ProofFileError: the proof was changed, has another form, or is about another model.
        UncheckableModelError: the model has an operator without bounds here.
    """
    with opened(proof) as file:
        what = about(file)
        data = _model_bytes(model, what)
        preprocessing = Preprocessing.from_json(what.preprocessing)
        networks: dict[tuple[int, ...], Network] = {}
        verdicts = []
        for statement in statements(file):
            shape = statement.image.shape
            if not networks:
                networks[shape] = read_network(data, what.output, preprocessing, shape)
            if shape not in networks:
                message = "the images in the proof have different shapes"
                raise ProofFileError(message)
            whole = preprocessing.dtype != "float32"
            verdicts.append(_verdict(networks[shape], statement, float32=what.float32, whole=whole))
            if on_verdict is not None:
                on_verdict(verdicts[-1])
    return Report(what, tuple(verdicts))


def _model_bytes(model: Path, what: About) -> bytes:
    """The model, whose hash must be the one in the proof."""
    found = read_bytes(model)
    if found.sha256 != what.model_sha256:
        message = f"the proof is about another model: {what.model_file}"
        raise ProofFileError(message, hint=f"its SHA-256 is {what.model_sha256}")
    return found.data


def _verdict(network: Network, statement: Statement, *, float32: bool, whole: bool) -> CheckResult:
    """One statement, proved or not; ``whole``: the model's input is whole numbers."""
    began = time.perf_counter()
    _require_fit(network, statement)
    scores = network.values(statement.image)[network.scores]
    margin = float(scores[statement.label] - np.delete(scores, statement.label).max())
    proving = _Proving(network, statement, float32, whole)
    try:
        bound, reason = proving.run()
    except UncheckableModelError as error:  # overflow within this radius
        bound, reason = -np.inf, str(error)
    return CheckResult(
        statement.index,
        hashlib.sha256(statement.image.astype("<f4").tobytes()).hexdigest(),
        statement.label,
        statement.norm,
        statement.radius,
        not reason,
        reason,
        bound,
        margin,
        len(statement.leaves.rival),
        proving.tightened,
        proving.short,
        time.perf_counter() - began,
    )


def _require_fit(network: Network, statement: Statement) -> None:
    """Raise unless a statement is about this network."""
    sizes = [network.nodes[at].size for at in network.relus]
    fits = len(sizes) == len(statement.relus) and 0 <= statement.label < network.classes
    for size, each in zip(sizes, statement.relus, strict=False):
        for elements in (each.tightened, each.units):
            fits = fits and (not len(elements) or 0 <= elements[0] <= elements[-1] < size)
    rival = statement.leaves.rival
    rivals = set(range(network.classes)) - {statement.label}
    if not fits or not rivals.issuperset(np.unique(rival).tolist()):
        message = "a statement in the proof does not fit the model"
        raise ProofFileError(message)


@dataclass(slots=True)
class _Proving:
    """One statement in work.

    Attributes:
        network: the model.
        statement: what is to be proved.
        float32: for every evaluation in float32, or for the exact one.
        whole: whether pixels stand for whole numbers.
        tightened: bounds that were computed by linear bounds.
        short: those of them that are below the stored ones.
    """

    network: Network
    statement: Statement
    float32: bool
    whole: bool
    tightened: int = 0
    short: int = 0

    def run(self) -> tuple[float, str]:
        """Lower bound of the margins, and why the statement is not proved."""
        bounds = self._bounds()
        found = dict.fromkeys(self._rivals(), -np.inf)
        leaves, reason = self.statement.leaves, ""
        alone = [rival for rival in found if rival not in set(leaves.rival.tolist())]
        found.update(zip(alone, self._without_leaves(bounds, alone), strict=True))
        signs = leaves.assumed()
        values = self._of_leaves(bounds)
        for rival in sorted(set(found) - set(alone)):
            own = leaves.rival == rival
            if not covers(signs[own]):
                reason = f"the regions for class {rival} do not cover all signs"
                continue
            found[rival] = float(values[own].min())
        worst = min(found, key=lambda rival: found[rival])
        if not found[worst] > 0 and not reason:
            reason = f"the bound of the margin over class {worst} is {found[worst]:.3g}"
        return float(found[worst]), reason

    def _rivals(self) -> list[int]:
        return [j for j in range(self.network.classes) if j != self.statement.label]

    def _bounds(self) -> Bounds:
        """Bounds of every node: intervals, and linear bounds where the proof has them."""
        statement = self.statement
        region = Region.around(statement.image, statement.norm, self._radius())
        bounds = Bounds(self.network, region, self.float32)
        stored: dict[int, int] = {}
        for place, relu in enumerate(self.network.relus):
            stored.setdefault(self.network.nodes[relu].parents[0], place)
        for _ in self.network.nodes:
            at = bounds.extend()
            if at in stored:
                self._tighten(bounds, at, stored[at])
        return bounds

    def _radius(self) -> float:
        """The radius, from the stored pixels, of a ball that holds all images of the statement."""
        statement = self.statement
        if not self.whole:
            return statement.radius
        pixels = statement.image.size
        share = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[statement.norm]
        return statement.radius * (1 + 1e-12) + share * LEVEL_ERROR

    def _tighten(self, bounds: Bounds, at: int, relu: int) -> None:
        """Compute the bounds of a ReLU's input that the proof says are better than intervals."""
        given = self.statement.relus[relu]
        low, high = bounds.lower[at], bounds.upper[at]
        at_units = given.tightened
        is_open = (low[at_units] < 0) & (high[at_units] > 0)
        new_low, new_high = low.copy(), high.copy()
        for side, stored, new in ((-1, given.upper, new_high), (1, given.lower, new_low)):
            better = side * stored > side * new[at_units]
            alive = new_high[at_units] > 0  # of a ReLU that is 0 the lower bound plays no part
            wanted = np.flatnonzero(is_open & better & alive)
            units = at_units[wanted]
            found = side * self._minima(bounds, at, units, side)
            lost = side * (stored[wanted] - found)
            self.short += int((lost > NOTABLE * (1 + np.abs(stored[wanted]))).sum())
            new[units] = found
        bounds.tighten(at, new_low, new_high)

    def _minima(self, bounds: Bounds, at: int, units: NDArray[np.int64], side: int) -> Array:
        """Lower bounds of ``side`` times the units of a node."""
        self.tightened += len(units)
        node = self.network.nodes[at]
        order = _by_neighbourhood(units, node.shape)
        found = np.empty(len(units))
        for part in blocks(len(units), rows_at_once(self.network)):
            rows = np.zeros((len(order[part]), node.size))
            rows[np.arange(len(rows)), units[order[part]]] = side
            found[order[part]] = bounds.minimum(at, rows)
        return found

    def _rows(self, rivals: NDArray[np.int64]) -> Array:
        """Coefficients of the scores: the label's minus each rival's."""
        rows = np.zeros((len(rivals), self.network.classes))
        rows[:, self.statement.label] = 1
        rows[np.arange(len(rivals)), rivals] = -1
        return rows

    def _without_leaves(self, bounds: Bounds, rivals: list[int]) -> list[float]:
        """Margins by intervals, or with the default lines."""
        at, label = self.network.scores, self.statement.label
        low, high = bounds.lower[at][label], bounds.upper[at][rivals]
        by_intervals = low - high - 1e-14 * (abs(low) + np.abs(high))
        linear = bounds.minima(at, self._rows(np.array(rivals, np.int64)))
        return [float(value) for value in np.maximum(by_intervals, linear)]

    def _of_leaves(self, bounds: Bounds) -> Array:
        """Bounds of all regions with their slopes and multipliers."""
        leaves = self.statement.leaves
        elements = {
            at: each.units
            for at, each in zip(self.network.relus, self.statement.relus, strict=True)
        }
        units = Units(bounds, elements)
        values = np.empty(len(leaves.rival))
        for part in blocks(len(leaves.rival), rows_at_once(self.network)):
            lines = units.lines(*leaves.numbers(part))
            rows = self._rows(leaves.rival[part])
            values[part] = bounds.minimum(self.network.scores, rows, lines)
        return values


def _by_neighbourhood(units: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """An order of elements of an array ``(1, c, h, w)`` with neighbours in the plane together.

    Their coefficients are zero outside a small window, which convolutions make use of.
    """
    if len(shape) != 4:
        return np.arange(len(units))
    _, _, row, column = np.unravel_index(units, shape)
    return np.lexsort((column, row, column // 2, row // 2))
