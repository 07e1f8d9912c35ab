"""`robcert masking-check`: are the gradient-based numbers of this model meaningful?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.intervals import Proportion, proportion
from robcert.certify.masking import Indicator, Verdict, Weight, reason_of, verdict_of
from robcert.certify.masking_checklist import STRONGER_CE, STRONGER_FILE, Columns, indicators_of
from robcert.certify.masking_evidence import MaskingSettings, evidence
from robcert.certify.schema import MASKING

if TYPE_CHECKING:
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

GRADIENT_ATTACKS = ("pgd_ce", "pgd_margin", "multi_targeted")
EVERY_ATTACK = (*GRADIENT_ATTACKS, "fgsm", "pgd_file", "noise", "search")


@dataclass(frozen=True, slots=True)
class MaskingSummary:
    """Answer of the check.

    Attributes:
        verdict: clear, suspect, masked or unknown.
        reason: the evidence behind it, in one sentence.
        hidden_in: what hides its gradient: ``file``, ``cross-entropy``, ``both`` or ``nothing``.
        naive: attacked: robust accuracy by PGD on the file's own output.
        corrected: attacked: robust accuracy by the best of all attacks of the check.
        indicators: the checklist.
        norm: norm of the ball.
        epsilon: its radius, pixel units.
    """

    verdict: Verdict
    reason: str
    hidden_in: str
    naive: Proportion
    corrected: Proportion
    indicators: tuple[Indicator, ...]
    norm: str
    epsilon: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "hidden_in": self.hidden_in,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "naive_robust_accuracy": _share(self.naive),
            "corrected_robust_accuracy": _share(self.corrected),
            "indicators": [indicator.to_json() for indicator in self.indicators],
        }


def analyse(session: Session, settings: MaskingSettings) -> str:
    """Fill the masking table for the session's images; return its path in the file."""
    group = session.store.group(
        MASKING,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}",
        settings=settings,
        seed=session.seed,
    )
    info = session.classifier.info
    group.set_attributes(hint_nodes=list(info.hint_nodes))
    session.fill(
        group,
        "masking check",
        lambda batch: evidence(session.classifier, batch, settings, seed=session.seed),
    )
    return group.path


def summarise(store: ResultStore, path: str) -> MaskingSummary:
    """Verdict and checklist of the masking table at ``path``."""
    group = store.at(path)
    rows = group.computed()
    columns: Columns = {column.name: group.column(column.name)[rows] for column in MASKING.columns}
    hint_nodes = group.attribute("hint_nodes", [])
    indicators = tuple(indicators_of(columns, hint_nodes=len(hint_nodes)))
    return MaskingSummary(
        verdict=verdict_of(indicators),
        reason=reason_of(indicators),
        hidden_in=_hidden_in(indicators),
        naive=_robust_accuracy(columns, ("pgd_file",)),
        corrected=_robust_accuracy(columns, EVERY_ATTACK),
        indicators=indicators,
        norm=str(group.settings["norm"]),
        epsilon=float(group.settings["epsilon"]),
    )


def _hidden_in(indicators: tuple[Indicator, ...]) -> str:
    flagged = {i.name for i in indicators if i.flagged and i.weight is Weight.DECISIVE}
    in_file, in_logits = STRONGER_FILE.name in flagged, STRONGER_CE.name in flagged
    if in_file and in_logits:
        return "both"
    return "file" if in_file else "cross-entropy" if in_logits else "nothing"


def _robust_accuracy(columns: Columns, attacks: tuple[str, ...]) -> Proportion:
    """Share of all images that are classified correctly and withstand ``attacks``."""
    standing = columns["correct"] == 1
    for name in attacks:
        standing &= columns[name] != 1
    ran = np.logical_or.reduce([columns[name] >= 0 for name in attacks])
    return proportion(int((standing & ran).sum()), int(ran.sum()))


def _share(share: Proportion) -> dict[str, Any]:
    if share.n == 0:
        return {"value": None, "lower": None, "upper": None, "n": 0}
    return {"value": share.value, "lower": share.lower, "upper": share.upper, "n": share.n}
