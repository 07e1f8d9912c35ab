"""Tables of local linearity, in the papers' form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table, decimal, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .summary import LinearitySummary

_SIDES = {
    "upper": " Only deviations above the tangent count.",
    "lower": " Only deviations below the tangent count.",
}


def tables(summaries: Sequence[LinearitySummary]) -> Iterator[Table]:
    """Tables of γ, one row per run, and of the change of the loss that it implies."""
    rows = tuple(
        (
            one.norm,
            pixel(one.epsilon),
            *(decimal(n) for n in (one.gamma.mean, one.gamma.median, one.gamma.q95, one.gamma.max)),
            str(one.gamma.n),
            f"{one.refuted.gamma} of {one.refuted.compared}",
        )
        for one in summaries
    )
    header = ("norm", "ε", "mean γ", "median", "95 %", "max", "images", "refuted")
    note = (
        "γ: largest deviation of the loss from its tangent within ε. Found by search, so a lower "
    )
    note += f"estimate.{_which(summaries[0])}"
    if any(one.refuted.compared for one in summaries):
        note += (
            " Refuted: images where an adversarial image of this file within ε shows a larger "
            "deviation, which counts instead."
        )
    yield Table("local linearity γ(ε, x)", "estimated", header, rows, note)
    yield from _implied([one for one in summaries if one.sided == "two"])


def _which(summary: LinearitySummary) -> str:
    """Sentences on loss, side and ball, where they are not cross-entropy, both and in the box."""
    loss = " The loss is the margin." if summary.loss == "margin" else ""
    ball = "" if summary.box else " Perturbed images may leave [0, 1]."
    return loss + _SIDES.get(summary.sided, "") + ball


def _implied(runs: Sequence[LinearitySummary]) -> Iterator[Table]:
    """Change of the loss within the ball implied by gamma (LLR, Propositions 4.1 and C.2)."""
    if not runs:
        return
    alone = any(run.proposition_c2 for run in runs)
    rows = tuple(_change_of(run, alone=alone) for run in runs)
    header: tuple[str, ...] = ("ε", "ε‖∇‖ + γ", "violations at δ", "at adversarial images")
    note = "Median over images of the largest change of the loss within ε. ε‖∇‖ + γ: "
    note += "Proposition 4.1, a bound for the true γ; violations of |<δ, ∇>| + γ: "
    note += "at the δ found, where there can be none, and at adversarial images within ε."
    if alone:
        header += ("by γ alone", "holds at δ", "holds in the ball")
        note += (
            " By γ alone: Proposition C.2, an approximation that omits the error of the "
            "Gauss–Newton model; the next columns give the share of images for which it holds."
        )
    title = f"change of the loss within ε ({', '.join(dict.fromkeys(run.norm for run in runs))})"
    yield Table(title, "estimated", header, rows, note)


def _change_of(run: LinearitySummary, *, alone: bool) -> tuple[str, ...]:
    change = decimal(run.proposition_4_1.median)
    adversarial = f"{run.refuted.proposition_4_1} of {run.refuted.compared}"
    cells = (pixel(run.epsilon), change, str(run.proposition_4_1_violations), adversarial)
    if not alone:
        return cells
    implied = run.proposition_c2
    if implied is None:
        return (*cells, DASH, DASH, DASH)
    held = (percent(share) for share in (implied.held_at_delta, implied.held_in_ball))
    return (*cells, decimal(implied.change.median), *held)
