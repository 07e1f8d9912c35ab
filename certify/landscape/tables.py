"""Tables of the loss surface and of the Taylor curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table, decimal, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .surface import SurfaceSummary
    from .taylor import TaylorSummary


def surface_tables(summaries: Sequence[SurfaceSummary]) -> Iterator[Table]:
    """One row per image."""
    for summary in summaries:
        rows = tuple(
            (
                str(row.index),
                decimal(row.cross_entropy),
                decimal(row.largest_cross_entropy),
                decimal(row.turns),
                percent(row.lost),
            )
            for row in summary.images
        )
        header = ("image", "cross-entropy", "largest in the plane", "turns", "misclassified")
        note = "Turns: turning points of the loss along the attack direction; 0 to 2 on a "
        note += "smooth surface, many on a jagged one. Misclassified: share of grid points."
        title = f"loss surface within {pixel(summary.epsilon)}"
        yield Table(title, "measured", header, rows, note)


def taylor_tables(summaries: Sequence[TaylorSummary]) -> Iterator[Table]:
    """Tables of the errors of second-order approximations, and of SOAR's regulariser."""
    for summary in summaries:
        rows = (
            ("exact product", decimal(summary.exact), DASH),
            *(
                (f"h = {row.step:g}", decimal(row.taylor), percent(row.gradient_norm))
                for row in summary.steps
            ),
        )
        header = ("Hessian-vector product", "mean error of the loss", "error of the gradient norm")
        yield Table(f"Taylor curves to {pixel(summary.epsilon)}", "measured", header, rows)
        regulariser = (
            ("mean, one direction", decimal(summary.penalty_one)),
            ("mean, all directions", decimal(summary.penalty_all)),
            ("variation between directions", percent(summary.penalty_variation)),
        )
        yield Table("SOAR's regulariser", "measured", ("quantity", "value"), regulariser)
