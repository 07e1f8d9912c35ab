"""Pictures of the masking check for the report: a few images and one loss surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.core import Ball, Kind
from robcert.certify.landscape import SurfaceSettings, loss_surface
from robcert.certify.numerics import Loss, classes_of

from .attacks import AttackPlan
from .checklist import WITHOUT_GRADIENT
from .schema import BY_GRADIENT
from .trace import trace
from .views import as_shipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup, SmallArray

    from .settings import MaskingSettings

MOST_PICTURES = 4
"""Number of images that are stored."""

RESOLUTION, ASCENT_STEPS = 25, 30
"""Grid points per axis of the loss surface, and steps of the ascent to its first axis."""

_PREFERENCE = (
    *("pgd_margin", "multi_targeted", *BY_GRADIENT, "inner", "averaged"),
    *(*WITHOUT_GRADIENT, "fgsm"),
)


def save_pictures(
    session: Session,
    group: AnalysisGroup,
    settings: MaskingSettings,
    sources: Callable[[], tuple[Classifier, ...]],
) -> None:
    """Store some images with the naive attack's result and an adversarial example, and a surface.

    Images that survive the naive attack but not another are preferred. Nothing is computed if the
    table is unfinished or has its pictures. The successful attack of each image is repeated, with
    the same outcome, because a row does not depend on the other images of the batch.
    """
    if not group.complete or "pictures/index" in group:
        return
    chosen, by = _chosen(group)
    if not len(chosen):
        return
    batch = session.batch(chosen)
    attacks = AttackPlan.on(session.classifier, batch, settings, session.seed, sources())
    ends = _naive_ends(attacks) if session.classifier.differentiable else None
    breaks, by = _breaking(attacks, by)
    arrays = _images(batch, ends, breaks, attacks.classifier)
    if session.classifier.differentiable:
        arrays |= _surface(attacks, session.batch(chosen[:1]), settings, session.seed)
    stored = {f"pictures/{name}": array for name, array in arrays.items()}
    group.save_arrays(stored, pictures_by=by)


def _chosen(group: AnalysisGroup) -> tuple[NDArray[np.int64], list[str]]:
    """Images to store, and the name of a successful attack on each ("" if there is none)."""
    indices = group.indices
    available = set(group.columns)
    order = [name for name in dict.fromkeys(_PREFERENCE) if name in available]
    broken = np.stack([group.column(name, indices) == 1 for name in order])
    correct = group.column("correct", indices) == 1
    hidden = correct & broken.any(0) & (group.column("pgd_file", indices) != 1)
    rank = np.where(hidden, 0, np.where(correct & broken.any(0), 1, np.where(correct, 2, 3)))
    best = np.argsort(rank, kind="stable")[:MOST_PICTURES]
    best = best[rank[best] < 3]
    by = [order[int(broken[:, i].argmax())] if broken[:, i].any() else "" for i in best]
    return indices[best], by


def _naive_ends(attacks: AttackPlan) -> Tensor:
    """Last iterates of PGD on the file's own output ``(b, c, h, w)``, successful or not."""
    settings, batch = attacks.settings, attacks.batch
    traced = trace(
        as_shipped(attacks.plain),
        batch,
        Ball(settings.norm, settings.epsilon),
        steps=settings.steps,
        seed=attacks.seed,
        loss=Loss.CE,
    )
    return batch.x + traced.delta


def _breaking(attacks: AttackPlan, by: list[str]) -> tuple[Tensor, list[str]]:
    """Adversarial examples of the attacks ``by``, and their names; the image itself if none."""
    run = attacks.pending() | {"long_search": attacks.long_search}
    found = attacks.batch.x.clone()
    for name in sorted(set(by) & set(run)):
        rows = torch.tensor([one == name for one in by], device=found.device)
        found[rows] = run[name]().x_adv[rows]
    return found, [name if name in run else "" for name in by]


def _images(
    batch: Batch, ends: Tensor | None, breaks: Tensor, model: Classifier
) -> dict[str, SmallArray]:
    """The images with what the attacks made of them, by name."""
    arrays: dict[str, SmallArray] = {
        "index": (batch.index, Kind.MEASURED, "positions of these images in the data set", ""),
        "label": (_array(batch.y), Kind.MEASURED, "class y of each", "class"),
        "clean": (_array(batch.x), Kind.MEASURED, "the unchanged images", "pixel"),
        "broken": (_array(breaks), Kind.ATTACKED, "images that another attack found", "pixel"),
        "broken_class": (_classes(model, breaks), Kind.ATTACKED, "their classes", "class"),
    }
    if ends is not None:
        arrays["naive"] = (
            _array(ends),
            Kind.MEASURED,
            "last iterates of the naive attack",
            "pixel",
        )
        arrays["naive_class"] = (_classes(model, ends), Kind.MEASURED, "their classes", "class")
    return arrays


def _surface(
    attacks: AttackPlan, one: Batch, settings: MaskingSettings, seed: int
) -> dict[str, SmallArray]:
    """The loss around one image, by name."""
    square = SurfaceSettings(settings.norm, settings.epsilon, RESOLUTION, ASCENT_STEPS)
    found = loss_surface(attacks.classifier, one, square, seed=seed)
    arrays = (
        ("cross_entropy", found.cross_entropy, "cross-entropy, first axis adversarial", "nat"),
        ("margin", found.margin, "margin loss at the same points", "logit"),
        ("prediction", found.prediction, "predicted class at the same points", "class"),
    )
    return {
        f"surface/{name}": (_array(values), Kind.MEASURED, doc, units)
        for name, values, doc, units in arrays
    }


def _classes(model: Classifier, x: Tensor) -> NDArray[np.int64]:
    return np.asarray(_array(classes_of(model.logits(x))))


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
