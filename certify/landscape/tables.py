"""Tables of the loss surface and of the Taylor curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table, decimal, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.tables import Summary


def _surface(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (
            str(row["index"]),
            decimal(row["cross_entropy"]),
            decimal(row["largest_cross_entropy"]),
            decimal(row["turns"]),
            percent(row["lost"]),
        )
        for row in summary["images"]
    )
    header = ("image", "cross-entropy", "largest in the plane", "turns", "other class")
    note = "Turns between rise and fall along the attack: 0 to 2 where smooth, many where jagged."
    yield Table(f"loss surface within {pixel(summary['epsilon'])}", "measured", header, rows, note)


def _taylor(summary: Summary) -> Iterator[Table]:
    rows = (
        ("exact product", decimal(summary["exact"]), DASH),
        *(
            (f"h = {row['step']:g}", decimal(row["taylor"]), percent(row["gradient_norm"]))
            for row in summary["steps"]
        ),
    )
    header = ("Hessian-vector product", "mean error of the loss", "of the gradient norm")
    yield Table(f"Taylor curves to {pixel(summary['epsilon'])}", "measured", header, rows)
    regulariser = (
        ("mean, one direction", decimal(summary["penalty_one"])),
        ("mean, all directions", decimal(summary["penalty_all"])),
        ("variation within an image", percent(summary["penalty_variation"])),
    )
    yield Table("SOAR's regulariser", "measured", ("", ""), regulariser)


TABLES: dict[str, Callable[[Summary], Iterator[Table]]] = {"surface": _surface, "taylor": _taylor}
