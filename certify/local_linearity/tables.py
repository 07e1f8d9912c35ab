"""Tables of local linearity, in the papers' form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table, decimal, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.tables import Summary


def _linearity(summary: Summary) -> Iterator[Table]:
    gamma = summary["gamma"]
    entries = gamma if isinstance(gamma, list) else [{**summary, **gamma}]
    rows = tuple(
        (
            str(entry.get("norm", DASH)),
            pixel(entry.get("epsilon")),
            *(decimal(entry.get(key)) for key in ("mean", "median", "q95", "max")),
            str(entry.get("n", DASH)),
        )
        for entry in entries
    )
    header = ("norm", "ε", "mean γ", "median", "95 %", "max", "images")
    note = "γ: how far the loss leaves its tangent within ε. Found by search, so a lower estimate."
    note += _which(entries[0])
    yield Table("local linearity γ(ε, x)", "estimated", header, rows, note)
    yield from _implied(summary.get("runs") or [summary])


_SIDES = {
    "upper": " Deviations above the tangent alone.",
    "lower": " Deviations below the tangent alone.",
}


def _which(entry: Summary) -> str:
    """Which loss and which side, where they are not the cross-entropy and both."""
    loss = " Of the margin." if entry.get("loss") == "margin" else ""
    return loss + _SIDES.get(str(entry.get("sided")), "")


def _implied(runs: Sequence[Summary]) -> Iterator[Table]:
    """What gamma says of the loss within the ball (LLR, Propositions 4.1 and C.2)."""
    told = [
        run
        for run in runs
        if run.get("sided") == "two" and isinstance(run.get("proposition_4_1"), dict)
    ]
    alone = any(run.get("proposition_c2") for run in told)
    rows = tuple(_change_of(run, alone=alone) for run in told)
    if not rows:
        return
    header: tuple[str, ...] = ("ε", "by ε‖∇‖ + γ", "broken at δ")
    note = "Median over the images of the largest change. By the gradient and γ: Proposition 4.1, "
    note += "exact for the true γ."
    if alone:
        header += ("by γ alone", "held at δ", "held in the ball")
        note += (
            " By γ alone: Proposition C.2, an approximation that leaves out the error of the "
            "Gauss–Newton model; how often it held is beside it."
        )
    yield Table("change of the loss within ε", "estimated", header, rows, note)


def _change_of(run: Summary, *, alone: bool) -> tuple[str, ...]:
    change = decimal(run["proposition_4_1"].get("median"))
    cells = (pixel(run.get("epsilon")), change, str(run.get("proposition_4_1_violations", DASH)))
    if not alone:
        return cells
    implied = run.get("proposition_c2") or {}
    held = (percent(implied.get(key)) for key in ("held_at_delta", "held_in_ball"))
    return (*cells, decimal((implied.get("change") or {}).get("median")), *held)
