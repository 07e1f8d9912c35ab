"""Certified numbers: radii of the smoothed classifier, and the shares of images counted from them.

A certificate claims, each with probability 1 - alpha, that the class's probability under noise is
at least ``p_lower``, and that the smoothed classifier returns the class everywhere within the
radius. It is refuted, each time beyond doubt (`DOUBT`), if fresh draws by NumPy through onnxruntime

* at the image make the class's probability smaller than ``p_lower``;
* at the end of the radius, towards the nearest adversarial images, prefer another class;

or if an attack on the smoothed classifier establishes another class within the radius.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from robcert.certify import smoothing
from robcert.certify.core import Kind

from .check import Check, equal
from .files import finished, rows_of
from .numpy_model import classes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup

    from .files import Files
    from .numpy_model import Pixels

CERTIFIED = Kind.CERTIFIED
DOUBT = 1e-6
"""Probability that a true certificate is called refuted, of each repetition of the draws."""

EDGE = 0.999
"""How far along the radius the smoothed classifier is asked again."""

CHUNK = 256


def certified(files: Files) -> Iterator[Check]:
    """Checks of all certified numbers."""
    for group in finished(files.store, "smoothing"):
        said = group.settings
        for index in rows_of(group).tolist():
            row = np.array([index])
            radius = float(group.column("radius", row)[0])
            chosen = int(group.column("prediction", row)[0])
            if chosen < 0 or radius <= 0 or said.get("precision", "float32") != "float32":
                continue
            where = f"{group.path}, image {index}"
            p_lower = float(group.column("p_lower", row)[0])
            yield from _at_the_image(
                files, index, chosen, sigma=said["sigma"], p_lower=p_lower, radius=radius
            )
            yield from _at_the_edge(files, index, chosen, sigma=said["sigma"], radius=radius)
            yield _attacked(files, index, chosen, said["sigma"], radius, where)
        yield from _shares(files, group)


def _at_the_image(
    files: Files, index: int, chosen: int, *, sigma: float, p_lower: float, radius: float
) -> Iterator[Check]:
    counts = _votes(files, files.x[index], sigma=sigma, stream=(index, 0))
    n, k = files.draws, int(counts[chosen])
    upper = float(special.betaincinv(k + 1, n - k, 1 - DOUBT)) if k < n else 1.0
    where = f"image {index}, σ = {sigma:g}"
    yield Check(
        CERTIFIED, "lower limit of a probability", where, p_lower, upper, refuted=p_lower > upper
    )
    reach = sigma * float(special.ndtri(upper))
    yield Check(
        CERTIFIED, "radius, drawn again at the image", where, radius, reach, refuted=radius > reach
    )


def _at_the_edge(
    files: Files, index: int, chosen: int, *, sigma: float, radius: float
) -> Iterator[Check]:
    for number, direction in enumerate(_directions(files, index)):
        length = np.linalg.norm(direction.astype(np.float64))
        if length == 0:
            continue
        x = files.x[index] + (EDGE * radius / length * direction).astype(np.float32)
        counts = _votes(files, x, sigma=sigma, stream=(index, 1 + number))
        mine = int(counts[chosen])
        other = int(np.delete(counts, chosen).max())
        p_value = float(stats.binom.cdf(mine, mine + other, 0.5)) if mine < other else 1.0
        yield Check(
            CERTIFIED,
            "radius, drawn again at its end",
            f"image {index}, σ = {sigma:g}",
            radius,
            EDGE * radius,
            refuted=p_value < DOUBT / len(counts),
        )


def _attacked(
    files: Files, index: int, chosen: int, sigma: float, radius: float, where: str
) -> Check:
    """Against the attack on the smoothed classifier in the file of the longer searches."""
    nearest, marked = np.inf, False
    for store in files.stores:
        for group in finished(store, "smoothing-attack"):
            if group.settings["sigma"] != sigma or index not in rows_of(group):
                continue
            row = np.array([index])
            if int(group.column("reference", row)[0]) == chosen:
                distance = float(group.column("distance", row)[0])
                nearest = min(nearest, distance)
                marked |= store is files.store and distance < radius
    return Check(
        CERTIFIED, "radius, attacked", where, radius, nearest, nearest < radius, marked=marked
    )


def _directions(files: Files, index: int) -> list[NDArray[np.float64]]:
    """From an image to its nearest adversarial images, one for each table."""
    found = []
    for store in files.stores:
        for group in finished(store, "attack"):
            if index in rows_of(group):
                image = files.adversarial(group, index)
                if image is not None:
                    found.append(image[0].astype(np.float64) - files.x[index])
    return found[:2]


def _votes(files: Files, x: Pixels, *, sigma: float, stream: tuple[int, int]) -> NDArray[np.int64]:
    """Counts of each class ``(k,)`` under fresh unclipped Gaussian noise."""
    source = np.random.default_rng((files.seed, *stream))
    counts = np.zeros(files.scores.shape[1], np.int64)
    left = files.draws
    while left:
        some = min(CHUNK, left)
        noise = source.standard_normal((some, *x.shape), dtype=np.float32)
        named = classes_of(files.model.scores(x + np.float32(sigma) * noise, together=True))
        counts += np.bincount(named[named >= 0], minlength=len(counts))
        left -= some
    return counts


def _shares(files: Files, group: AnalysisGroup) -> Iterator[Check]:
    """Certified accuracy, counted again from the rows."""
    summary = smoothing.summarise(files.store, group.path)
    indices = rows_of(group)
    radius = smoothing.certified_radii(group, indices)
    right = group.column("prediction", indices) == files.y[indices]
    for entry in summary.certified_accuracy:
        count = int((right & (radius >= entry.radius)).sum())
        where = f"{group.path}, radius {entry.radius:g}"
        yield equal(
            CERTIFIED,
            "certified accuracy",
            where,
            printed=entry.value,
            found=count / len(indices),
        )
        alpha = group.settings["alpha"] / group.settings.get("family", 1)
        below = stats.beta.ppf(0.05, count, len(indices) - count + 1) if count else 0.0
        yield equal(
            CERTIFIED,
            "certified accuracy of unseen images",
            where,
            printed=entry.population_lower,
            found=max(0.0, float((below - alpha) / (1 - alpha))),
            tolerance=1e-6,
        )
    yield equal(
        Kind.MEASURED,
        "clean accuracy",
        group.path,
        printed=summary.clean_accuracy,
        found=float((files.classes[indices] == files.y[indices]).mean()),
    )
