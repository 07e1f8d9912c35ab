"""Measured numbers: facts about the model on unchanged images, and what is counted from rows.

A measured number claims to be exactly that number. It is computed again by onnxruntime and NumPy,
or from the rows of its table, and refuted where the two differ by more than rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from robcert.certify import attacks, auditing, local_linearity, radius_bounds, smoothing
from robcert.certify.core import Kind

from .check import Check, equal
from .files import finished, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .files import Files
    from .numpy_model import Reals

MEASURED = Kind.MEASURED
TWIN = 10
"""Rounding of the twin, in units of that of the runtime."""


def measured(files: Files) -> Iterator[Check]:
    """Checks of all measured numbers."""
    yield from _clean(files)
    yield from _losses(files)
    yield from _largest_seen(files)
    yield from _statistics(files)
    for name, summarise in SUMMARIES.items():
        for group in finished(files.store, name):
            yield from intervals(group.path, summarise(files.store, group.path).to_json())


SUMMARIES: dict[str, Any] = {
    "attack": attacks.summarise,
    "smoothing": smoothing.summarise,
    "linearity": local_linearity.summarise,
    "bounds": radius_bounds.summarise,
}


def facts_of(files: Files, scores: Reals, index: int) -> dict[str, float]:
    """Margins and cross-entropy of one image's scores, in float64; nothing if they are rounded."""
    if not files.scores_are:
        return {}
    logits = scores
    if files.scores_are == "probabilities":
        with np.errstate(divide="ignore"):
            logits = np.log(scores)
    p, y = special.softmax(logits), int(files.y[index])
    others = np.delete(np.arange(len(logits)), y)
    found = {
        "confidence": float(p.max()),
        "probability_margin": float(p[y] - p[others].max()),
        "logit_margin": float(logits[y] - logits[others].max()),
        "cross_entropy": float(special.logsumexp(logits) - logits[y]),
    }
    saturated = files.scores_are == "probabilities" and min(scores[y], scores[others].max()) < 1e-6
    if saturated:  # float32 probabilities that small have too few digits
        del found["logit_margin"], found["cross_entropy"]
    return found


def _scale(files: Files, index: int) -> float:
    """Size of an image's scores, to which their rounding error is relative."""
    if files.scores_are == "probabilities":
        return 10.0
    return max(1.0, float(np.abs(files.scores[index]).max()))


def _clean(files: Files) -> Iterator[Check]:
    for group in finished(files.store, "clean"):
        accuracy = auditing.summarise_clean(files.store, group.path).clean_accuracy
        if accuracy is not None:
            found = files.classes[rows_of(group)] == files.y[rows_of(group)]
            yield equal(
                MEASURED,
                "clean accuracy",
                group.path,
                printed=accuracy.value,
                found=float(found.mean()),
            )
        for index in rows_of(group).tolist():
            row, where = np.array([index]), f"{group.path}, image {index}"
            said, named = int(group.column("prediction", row)[0]), int(files.classes[index])
            yield Check(MEASURED, "class", where, said, named, refuted=named not in (-1, said))
            for name, value in facts_of(files, files.scores[index], index).items():
                yield equal(
                    MEASURED,
                    name.replace("_", " "),
                    where,
                    printed=float(group.column(name, row)[0]),
                    found=value,
                    tolerance=files.tolerance * _scale(files, index),
                )


def _losses(files: Files) -> Iterator[Check]:
    """The loss at each image in the tables of γ and of bounds, which the twin gives."""
    names = {"ce": ("cross_entropy", 1), "margin": ("logit_margin", -1)}
    margins = {"logit": ("logit_margin", -1), "prob": ("probability_margin", -1)}
    for table in ("linearity", "bounds"):
        for group in finished(files.store, table):
            said = group.settings
            known = names.get(said["loss"]) if table == "linearity" else margins[said["margin"]]
            if known is None or said.get("top_k", 1) > 1:
                continue
            for index in rows_of(group).tolist():
                found = facts_of(files, files.scores[index], index)
                if known[0] in found:
                    yield equal(
                        MEASURED,
                        "loss at the image",
                        f"{group.path}, image {index}",
                        printed=float(group.column("loss", np.array([index]))[0]),
                        found=known[1] * found[known[0]],
                        tolerance=TWIN * files.tolerance * _scale(files, index),
                    )


def _largest_seen(files: Files) -> Iterator[Check]:
    """The largest value of each extreme-value fit, from the sampled rows."""
    for group in finished(files.store, "bounds"):
        summary = radius_bounds.summarise(files.store, group.path)
        sample = next(
            (one for one in finished(files.store, "bounds-sample") if group.path in one.path), None
        )
        if sample is None:
            continue
        rows = rows_of(sample)
        fits = [("L", summary.lipschitz, sample.column("largest_gradient_norm", rows))]
        for at, omega in enumerate(summary.omega):
            fits.append(("residual", omega.fit, sample.column("residual", rows)[:, at]))
        for at, rho in enumerate(summary.rho):
            fits.append(("excess", rho.fit, sample.column("excess", rows)[:, at]))
        for name, fit, values in fits:
            if fit is not None:
                yield equal(
                    MEASURED,
                    "largest seen of a fit",
                    f"{group.path}, {name}",
                    printed=fit.max,
                    found=float(np.max(values)),
                    tolerance=1e-6,
                )


def _statistics(files: Files) -> Iterator[Check]:
    """Mean and largest of the gradient norms that a table of γ prints."""
    for group in finished(files.store, "linearity"):
        summary = local_linearity.summarise(files.store, group.path)
        values = group.column("gradient_dual_norm", rows_of(group))
        values = values[np.isfinite(values)]
        for name in ("mean", "median", "max"):
            yield equal(
                MEASURED,
                "statistics of gradient norms",
                f"{group.path}, {name}",
                printed=float(getattr(summary.gradient_dual_norm, name)),
                found=float(getattr(np, name)(values)) if len(values) else float("nan"),
            )


def intervals(where: str, printed: Any, n: int | None = None) -> Iterator[Check]:
    """The exact interval of every share in ``printed``, by scipy's root search.

    Args:
        where: table.
        printed: JSON of a summary.
        n: number of images of the shares that do not name theirs.
    """
    if isinstance(printed, list):
        for one in printed:
            yield from intervals(where, one, n)
    if not isinstance(printed, dict):
        return
    n = printed.get("n", n) if isinstance(printed.get("n", n), int) else n
    if {"value", "lower", "upper"} <= printed.keys() and n and printed["value"] is not None:
        count = round(printed["value"] * n)
        level = printed.get("level", 0.95)
        exact = stats.binomtest(count, n).proportion_ci(level, method="exact")
        for side, found in (("lower", exact.low), ("upper", exact.high)):
            yield equal(
                MEASURED,
                "interval of a share",
                f"{where}, {count} of {n}, {side}",
                printed=printed[side],
                found=float(found),
                tolerance=1e-6,
            )
    for name, one in printed.items():
        if isinstance(one, dict | list):
            yield from intervals(f"{where}, {name}", one, n)
