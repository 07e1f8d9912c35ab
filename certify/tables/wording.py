"""How numbers, facts and tables are worded; the terminal and the report use the same words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

Summary = dict[str, Any]
"""Summary of one analysis as JSON."""

DASH = "–"

UNLABELLED = (
    "The images carry no labels: this refers to the model's own prediction (stability, not "
    "accuracy)."
)


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text.

    Attributes:
        title: what it shows.
        claim: certified, estimated, attacked or measured; empty if a column gives it per row.
        header: headings of the columns.
        rows: rows of cells, each as long as the header.
        note: sentences below the table.
    """

    title: str
    claim: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Limits(Protocol):
    """An estimate with a lower and an upper limit."""

    @property
    def lower(self) -> float:
        """The lower limit; NaN where there is none."""

    @property
    def upper(self) -> float:
        """The upper limit; NaN where there is none."""


class ShareWithLimits(Limits, Protocol):
    """A share with its limits."""

    @property
    def value(self) -> float:
        """The observed share; NaN where nothing was observed."""


def pixel(value: float | None) -> str:
    """A distance in pixel units, as a fraction of 255 if it is a multiple of 1/255.

    >>> pixel(8 / 255), pixel(0.5), pixel(None)
    ('8/255', '0.5', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    steps = value * 255
    if 0.5 < steps < 64 and abs(steps - round(steps)) < 1e-6:
        return f"{round(steps)}/255"
    return decimal(value)


def decimal(value: float | None, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits; a dash where it is missing or not finite.

    >>> decimal(0.123456), decimal(float("inf")), decimal(None)
    ('0.1235', '–', '–')
    """
    return f"{value:.{digits}g}" if value is not None and math.isfinite(value) else DASH


def percent(value: float | None) -> str:
    """A share as a percentage; a dash where it is missing or NaN.

    >>> percent(0.912)
    '91.2 %'
    """
    return f"{100 * value:.1f} %" if value is not None and math.isfinite(value) else DASH


def interval(estimate: Limits) -> str:
    """The limits of an estimate of a share, ``[lower, upper]`` in percent."""
    limits = (estimate.lower, estimate.upper)
    if all(math.isnan(limit) for limit in limits):
        return DASH
    return f"[{', '.join(DASH if math.isnan(x) else f'{100 * x:.1f}' for x in limits)}]"


def share_text(share: ShareWithLimits) -> str:
    """A share with its limits, such as ``91.2 % [85.0, 95.4]``."""
    return f"{percent(share.value)} {interval(share)}"


def fact(value: Any) -> str:
    """A fact about the model as text; empty entries of a mapping are omitted.

    >>> fact({"shape": ["batch", 1, 28, 28], "std": [0.5, 0.25], "mean": []})
    'shape batch × 1 × 28 × 28, std [0.5, 0.25]'
    """
    if isinstance(value, dict):
        said = {key.replace("_", " "): fact(item) for key, item in value.items() if known(item)}
        return ", ".join(f"{key} {text}" for key, text in said.items())
    if isinstance(value, list | tuple):
        if any(isinstance(item, float) for item in value):
            return f"[{', '.join(fact(item) for item in value)}]"
        return " × ".join(str(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def known(value: Any) -> bool:
    """Whether a fact has a value."""
    return value is not None and value not in ("", [], {}, ())


def bound_name(column: str) -> str:
    """The name of a column of radii in words.

    >>> bound_name("l_bound"), bound_name("omega_bound_point"), bound_name("curvature_bound")
    ('L-bound', 'ω-bound, point estimate', 'curvature bound')
    """
    name, point, _ = column.partition("_point")
    known = {
        "l_bound": "L-bound",
        "omega_bound": "ω-bound",
        "gamma": "γ",
        "loss_bound": "change of the loss by γ",
        "gamma_bound": "γ-bound",
        "rho_bound": "ρ-bound",
        "rho_own_bound": "ρ-bound, own ρ",
        "clever_score": "CLEVER score",
        "clever_bound": "CLEVER, upper limit",
    }
    return known.get(name, name.replace("_", " ")) + (", point estimate" if point else "")


def margin_name(margin: str | None) -> str:
    """The name of a margin, as settings of bounds store it, in words.

    >>> margin_name("prob"), margin_name("logit"), margin_name(None)
    ('probability margin', 'logit margin', 'margin')
    """
    return {"logit": "logit ", "prob": "probability "}.get(margin or "", "") + "margin"


def in_precision(precision: str) -> str:
    """Words to put after "the smoothed classifier" if the model did not compute in float32."""
    return "" if precision == "float32" else f" in {precision}"
