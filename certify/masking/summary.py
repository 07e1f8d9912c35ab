"""Summary of a masking table: verdict, checklist, robust accuracy under each attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.attacks import distance_limit, one_input_only
from robcert.certify.store import BY_DISTANCE, ledger
from robcert.certify.tables import percent

from .checklist import ATTACKS, WITHOUT_GRADIENT, Facts, indicators_of
from .indicators import (
    HOPSKIPJUMP_WINS,
    INNER_WINS,
    LABELS_WIN,
    LONG_WINS,
    NOISE_WINS,
    SEARCH_WINS,
    STRONGER_CE,
    STRONGER_FILE,
    TRANSFER_START_WINS,
    TRANSFER_WINS,
)
from .remedies import NAIVE, Remedy, proportion_values, remedies_of, robust_accuracy
from .rounds import found_later
from .schema import ADDED, BY_GRADIENT, JUDGED, MASKING
from .shares import excess, excess_with_chance, is_random, with_rounds
from .verdict import Indicator, MaskingVerdict, change_of, reason_of, verdict_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.session import Columns
    from robcert.certify.stats import Proportion
    from robcert.certify.store import AnalysisGroup, ResultStore

_NO_GRADIENT_LEADS = {
    text.name
    for text in (
        *(SEARCH_WINS, LABELS_WIN, HOPSKIPJUMP_WINS, NOISE_WINS),
        *(TRANSFER_WINS, TRANSFER_START_WINS, LONG_WINS, INNER_WINS),
    )
}


@dataclass(frozen=True, slots=True)
class MaskingSummary:
    """Result of the check.

    Attributes:
        verdict: clear, suspect, masked or unknown.
        reason: the evidence behind it, in one sentence.
        would_change: what would change it, in one sentence.
        hidden_in: what hides its gradient: ``file`` (its own output alone), ``cross-entropy`` (of
            the logits), ``both``, ``output layers`` (PGD on scores inside the graph succeeds, along
            their own gradient), ``every loss`` (only attacks without gradients, or past layers
            that hide it, succeed), ``nothing``, or ``unknown``.
        naive: attacked: robust accuracy under PGD on the file's own output.
        corrected: attacked: robust accuracy under all attacks of the check together.
        indicators: the checklist.
        remedies: robust accuracy under each remedy.
        norm: norm of the ball.
        epsilon: radius of the ball, pixel units.
        by_chance: gain of the best attack over the naive one, in robust accuracy, that is chance
            because the draws that choose the best attack also judge it; the other numbers leave it
            out. None if outputs do not differ between calls.
    """

    verdict: MaskingVerdict
    reason: str
    would_change: str
    hidden_in: str
    naive: Proportion
    corrected: Proportion
    indicators: tuple[Indicator, ...]
    remedies: tuple[Remedy, ...]
    norm: str
    epsilon: float
    by_chance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "would_change": self.would_change,
            "hidden_in": self.hidden_in,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "by_chance": self.by_chance,
            "naive_robust_accuracy": proportion_values(self.naive),
            "corrected_robust_accuracy": proportion_values(self.corrected),
            "remedies": [remedy.to_json() for remedy in self.remedies],
            "indicators": [indicator.to_json() for indicator in self.indicators],
        }


def summarise(store: ResultStore, path: str) -> MaskingSummary:
    """Verdict and checklist of the masking table at ``path``."""
    group = store.at(path)
    columns = _columns(store, group)
    indicators = tuple(indicators_of(columns, _facts(store, group)))
    through = bool(group.attribute("straight_through", []))
    found, epsilon = verdict_of(indicators), float(group.settings["epsilon"])
    notes = [f"Integer input: {line}." for line in one_input_only(store.input_step, [epsilon])]
    chance = _by_chance(columns)
    if chance is not None:
        notes.append(
            "Outputs differ between calls: fresh draws judge the image where each attack ended. "
            f"The best of several attacks seems to gain another {percent(max(chance, 0))} by "
            "chance, which is not counted."
        )
    return MaskingSummary(
        verdict=found,
        reason=" ".join([reason_of(indicators), *notes]),
        would_change=change_of(indicators),
        hidden_in="unknown"
        if found is MaskingVerdict.UNKNOWN
        else _hidden_in(indicators, _searches_needed(columns, group)),
        naive=robust_accuracy(columns, NAIVE),
        corrected=robust_accuracy(columns),
        indicators=indicators,
        remedies=remedies_of(columns, straight_through=through),
        norm=str(group.settings["norm"]),
        epsilon=epsilon,
        by_chance=chance,
    )


def _columns(store: ResultStore, group: AnalysisGroup) -> Columns:
    rows, there = group.computed(), set(group.columns)
    columns = {c.name: group.column(c.name)[rows] for c in MASKING.columns if c.name in there}
    count = int(rows.sum())
    never = np.full(count, -1, dtype=np.int8)
    columns = dict.fromkeys(ADDED, never) | columns
    if "wrong_share" not in there:
        columns["wrong_share"] = np.full((count, len(JUDGED), 2), np.nan)
    # one draw was enough for an attack in the file
    earlier = np.where(is_random(columns), -1, _earlier(store, group)[rows]).astype(np.int8)
    return with_rounds(columns | {"earlier": earlier}, *found_later(store, group, rows))


def _by_chance(columns: Columns) -> float | None:
    """Gain of the best attack over the naive one, in robust accuracy, that is chance."""
    drawn = is_random(columns)
    if not drawn.any():
        return None
    with_chance = excess_with_chance(columns, ATTACKS, NAIVE)
    return float((with_chance - excess(columns, ATTACKS, NAIVE))[drawn].sum() / len(drawn))


def _earlier(store: ResultStore, group: AnalysisGroup) -> NDArray[np.int8]:
    """1 where an attack in the file succeeded within the radius, 0 where none did, -1 unknown."""
    within = np.full(len(store.indices), -1, np.int8)
    for attack in (table for schema in BY_DISTANCE for table in store.existing(schema)):
        if attack.settings["norm"] == group.settings["norm"]:
            distance = np.asarray(attack.column("distance"), dtype=np.float64)
            found = distance <= distance_limit(attack, float(group.settings["epsilon"]))
            within = np.maximum(within, np.where(np.isnan(distance), -1, found).astype(np.int8))
    return within


def _facts(store: ResultStore, group: AnalysisGroup) -> Facts:
    violations, through = ledger(store), group.attribute("straight_through", [])
    return Facts(
        hint_nodes=len({*group.attribute("hint_nodes", []), *through}),
        disagreement=group.attribute("disagreement", None),
        slope_mismatch=group.attribute("slope_mismatch", None),
        names_one_class=_names_one_class(store, group),
        compared=violations.compared,
        crossings=violations.count,
    )


def _names_one_class(store: ResultStore, group: AnalysisGroup) -> bool:
    """Whether exactly the images of one label are classified correctly, among images of several."""
    rows = group.computed()
    labels, correct = store.labels[rows], group.column("correct")[rows] == 1
    named = np.unique(labels[correct])
    if len(named) != 1 or len(np.unique(labels)) == 1:
        return False
    return bool((correct == (labels == named[0])).all())


def _searches_needed(columns: Columns, group: AnalysisGroup) -> bool:
    """Whether no true gradient, of the output or of scores inside the graph, is enough."""
    if not group.attribute("inside_own_slopes", False):
        return True
    gained = excess(columns, WITHOUT_GRADIENT, (*BY_GRADIENT, "inner"))
    return LONG_WINS.of_share(gained, columns["correct"] == 1).flagged


def _hidden_in(indicators: tuple[Indicator, ...], searches_needed: bool) -> str:
    flagged = {i.name for i in indicators if i.flagged}
    if flagged & _NO_GRADIENT_LEADS:
        by_inside = INNER_WINS.name in flagged and not searches_needed
        return "output layers" if by_inside else "every loss"
    in_file, in_logits = STRONGER_FILE.name in flagged, STRONGER_CE.name in flagged
    if in_file and in_logits:
        return "both"
    return "file" if in_file else "cross-entropy" if in_logits else "nothing"
