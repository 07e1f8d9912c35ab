"""How numbers, facts and tables are worded; the terminal and the report use the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        claim: certified, estimated, attacked or measured; empty where a column says it by row.
        header: names of the columns.
        rows: cells, as many as the header in each row.
        note: a sentence below.
    """

    title: str
    claim: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def pixel(value: float | None) -> str:
    """A distance in pixel units, as a fraction of 255 where it is one.

    >>> pixel(8 / 255), pixel(0.5), pixel(None)
    ('8/255', '0.5', '–')
    """
    if value is None:
        return DASH
    steps = value * 255
    if 0.5 < steps < 64 and abs(steps - round(steps)) < 1e-6:
        return f"{round(steps)}/255"
    return decimal(value)


def decimal(value: float | None, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A share as a percentage.

    >>> percent(0.912)
    '91.2 %'
    """
    return DASH if value is None else f"{100 * value:.1f} %"


def interval(entry: Summary) -> str:
    """The limits of an estimate of a share, ``[lower, upper]`` in percent."""
    lower, upper = entry.get("lower"), entry.get("upper")
    if lower is None and upper is None:
        return DASH
    return f"[{_number(lower)}, {_number(upper)}]"


def _number(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f}"


def fact(value: Any) -> str:
    """A fact about the model as text; what is empty in a mapping is left out.

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
    """Whether a fact says anything."""
    return value is not None and value not in ("", [], {}, ())


def bound_name(column: str) -> str:
    """What people call a column of radii.

    >>> bound_name("l_bound"), bound_name("omega_bound_point"), bound_name("curvature_bound")
    ('L-bound', 'ω-bound, point estimate', 'curvature bound')
    """
    name, point, _ = column.partition("_point")
    known = {
        "l_bound": "L-bound",
        "omega_bound": "ω-bound",
        "gamma_bound": "γ-bound",
        "clever_bound": "CLEVER bound",
    }
    return known.get(name, name.replace("_", " ")) + (", point estimate" if point else "")


def margin_name(bounds: Summary) -> str:
    """Which margin the settings or the summary of ``bounds`` speak of.

    >>> margin_name({"margin": "prob"}), margin_name({"margin": "logit"}), margin_name({})
    ('probability margin', 'logit margin', 'margin')
    """
    name = {"logit": "logit ", "prob": "probability "}.get(str(bounds.get("margin")), "")
    return f"{name}margin"


def in_precision(smoothing: Summary) -> str:
    """What to say after "smoothed classifier" where it is not that of the file's own numbers."""
    precision = smoothing.get("precision", "float32")
    return "" if precision == "float32" else f" in {precision}"
