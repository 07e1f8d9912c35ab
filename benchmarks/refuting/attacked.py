"""Attacked numbers: distances of adversarial images, and the shares of images counted from them.

A distance claims that an image exists which lies so near, inside the pixel box, and has another
class. Each saved image is read from the file, its class computed by onnxruntime and its distance
in float64; the claim is refuted if the class is that of the clean image, or the image further away
than stated. A nearer image does not refute it. Robust accuracy claims that the other images are
known to be misclassified within the radius, so it must be the share that these distances leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify import attacks, masking
from robcert.certify.core import Kind
from robcert.certify.store import nearest_adversarial

from .check import Check, equal
from .files import ROUNDING, WITHIN, finished, rows_of
from .numpy_model import class_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup

    from .files import Files

ATTACKED = Kind.ATTACKED
AT_RADIUS = 1e-4
"""What a run at given radii allows for rounding, as a share of the radius."""


def attacked(files: Files) -> Iterator[Check]:
    """Checks of all attacked numbers."""
    for group in finished(files.store, "attack"):
        yield from _distances(files, group)
        yield from _classes(files, group)
        yield from _shares(files, group)
    yield from _corrected(files)


def _distances(files: Files, group: AnalysisGroup) -> Iterator[Check]:
    indices, found = rows_of(group), files.rechecked(files.store, group)
    for index, said in zip(
        indices.tolist(), group.column("distance", indices).tolist(), strict=True
    ):
        known = np.isinf(said) or said == 0 or "adversarial" in group.columns
        if not known:
            continue
        real = float(found[index])
        wrong = not np.isinf(said) and real > said * (1 + WITHIN) + ROUNDING
        if said > 0 and real == 0:  # the image itself is misclassified
            wrong = True
        where = f"{group.path}, image {index}"
        yield Check(ATTACKED, "distance", where, said, real, refuted=bool(wrong))


def _classes(files: Files, group: AnalysisGroup) -> Iterator[Check]:
    for index in rows_of(group).tolist():
        image = files.adversarial(group, index)
        if image is None:
            continue
        named = class_of(files.model.scores(image)[0])
        said = int(group.column("prediction", np.array([index]))[0])
        where = f"{group.path}, image {index}"
        yield Check(
            ATTACKED,
            "class of an adversarial image",
            where,
            said,
            named,
            refuted=named not in (-1, said),
        )


def _shares(files: Files, group: AnalysisGroup) -> Iterator[Check]:
    summary = attacks.summarise(files.store, group.path)
    indices = rows_of(group)
    distance = files.rechecked(files.store, group)[indices]
    if "adversarial" not in group.columns:  # nothing to re-check: counted from the rows
        distance = group.column("distance", indices)
    if not group.settings.get("attacks"):  # what other analyses found counts too
        beyond = nearest_adversarial(files.store, summary.norm, indices, attacks.OTHER_ANALYSES)
        distance = np.minimum(distance, beyond)
    yield equal(
        Kind.MEASURED,
        "clean accuracy",
        group.path,
        printed=summary.clean_accuracy.value,
        found=float((files.classes[indices] == files.y[indices]).mean()),
    )
    for entry in summary.robust_accuracy:
        limit = entry.epsilon * (1 + (AT_RADIUS if summary.radii else WITHIN)) + ROUNDING
        yield _share(f"{group.path}, ε = {entry.epsilon:.4g}", entry.value, distance > limit)
    if summary.median_distance is not None:
        yield equal(
            ATTACKED,
            "median distance",
            group.path,
            printed=summary.median_distance,
            found=float(np.median(distance)),
            tolerance=WITHIN,
        )


def _share(where: str, printed: float, survives: NDArray[np.bool_]) -> Check:
    return equal(ATTACKED, "robust accuracy", where, printed=printed, found=float(survives.mean()))


def _corrected(files: Files) -> Iterator[Check]:
    """The masking check's corrected robust accuracy is at most what the file's attacks leave."""
    for group in finished(files.store, "masking"):
        summary = masking.summarise(files.store, group.path)
        distance = files.nearest(summary.norm, rows_of(group), longer=False)
        if np.isnan(distance).any() or not summary.corrected.n:
            continue
        left = float((distance > summary.epsilon * (1 + WITHIN) + ROUNDING).mean())
        yield Check(
            ATTACKED,
            "corrected robust accuracy",
            group.path,
            summary.corrected.value,
            left,
            refuted=summary.corrected.value > left + WITHIN,
        )
