"""A few images of the masking check as pixels, and one loss surface: what a report shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.core import Kind
from robcert.certify.landscape import loss_surface

from .attacks import Attacks
from .checklist import BY_GRADIENT, WITHOUT_GRADIENT
from .trace import trace
from .views import as_shipped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup

    from .settings import MaskingSettings

MOST = 4
"""Images that are kept."""

RESOLUTION, ASCENT_STEPS = 25, 30

_ORDER = (
    *("pgd_margin", "multi_targeted", *BY_GRADIENT, "inner", "averaged"),
    *(*WITHOUT_GRADIENT, "fgsm"),
)


def save_pictures(
    session: Session,
    group: AnalysisGroup,
    settings: MaskingSettings,
    *,
    sources: tuple[Classifier, ...],
) -> None:
    """Keep some images with the naive attack's end and an adversarial image, and a surface.

    Those come first that withstand the naive attack and not another; nothing is computed where the
    table is unfinished or has its pictures. What broke an image is run again on it, with the same
    outcome, for rows do not depend on their company.
    """
    if not group.complete or "pictures/index" in group:
        return
    chosen, by = _chosen(group)
    if not len(chosen):
        return
    batch = session.batch(chosen)
    attacks = Attacks.on(session.classifier, batch, settings, session.seed)
    ends = _naive_ends(attacks) if session.classifier.differentiable else None
    breaks, by = _breaking(attacks, by, sources)
    _save_images(group, batch, ends, breaks, attacks.classifier)
    group.set_attributes(pictures_by=by)
    if session.classifier.differentiable:
        _save_surface(group, attacks, session.batch(chosen[:1]), settings, session.seed)


def _chosen(group: AnalysisGroup) -> tuple[NDArray[np.int64], list[str]]:
    """Images to keep, and which attack broke each ("" for none)."""
    indices = group.indices
    there = set(group.columns)
    order = [name for name in dict.fromkeys(_ORDER) if name in there]
    broken = np.stack([group.column(name, indices) == 1 for name in order])
    correct = group.column("correct", indices) == 1
    hidden = correct & broken.any(0) & (group.column("pgd_file", indices) != 1)
    rank = np.where(hidden, 0, np.where(correct & broken.any(0), 1, np.where(correct, 2, 3)))
    best = np.argsort(rank, kind="stable")[:MOST]
    best = best[rank[best] < 3]
    by = [order[int(broken[:, i].argmax())] if broken[:, i].any() else "" for i in best]
    return indices[best], by


def _naive_ends(attacks: Attacks) -> Tensor:
    """Where PGD on the file's own output stops ``(b, c, h, w)``, successful or not."""
    settings, batch = attacks.settings, attacks.batch
    watched = trace(
        as_shipped(attacks.plain),
        batch,
        norm=settings.norm,
        epsilon=settings.epsilon,
        steps=settings.steps,
        seed=attacks.seed,
    )
    return batch.x + watched.delta


def _breaking(
    attacks: Attacks, by: list[str], sources: tuple[Classifier, ...]
) -> tuple[Tensor, list[str]]:
    """The adversarial images that ``by`` found, and who did; the image itself where none was."""
    run = attacks.without_gradients() | attacks.by_transfer(sources)
    run["long_search"] = lambda: attacks.long_search(sources)
    if attacks.classifier.differentiable:
        run |= attacks.by_gradient()
    found = attacks.batch.x.clone()
    for name in sorted(set(by) & set(run)):
        mine = torch.tensor([one == name for one in by], device=found.device)
        found[mine] = run[name]().x_adv[mine]
    return found, [name if name in run else "" for name in by]


def _save_images(
    group: AnalysisGroup, batch: Batch, ends: Tensor | None, breaks: Tensor, model: Classifier
) -> None:
    kept: dict[str, tuple[Any, Kind, str, str]] = {
        "index": (batch.index, Kind.MEASURED, "positions of these images in the data set", ""),
        "label": (_array(batch.y), Kind.MEASURED, "class y of each", "class"),
        "clean": (_array(batch.x), Kind.MEASURED, "the images as they are", "pixel"),
        "broken": (_array(breaks), Kind.ATTACKED, "images that another attack found", "pixel"),
        "broken_class": (_classes(model, breaks), Kind.ATTACKED, "their classes", "class"),
    }
    if ends is not None:
        kept["naive"] = (_array(ends), Kind.MEASURED, "where the naive attack ended", "pixel")
        kept["naive_class"] = (_classes(model, ends), Kind.MEASURED, "classes there", "class")
    for name, (array, kind, doc, units) in kept.items():
        group.save_array(f"pictures/{name}", array, kind=kind, doc=doc, units=units)


def _save_surface(
    group: AnalysisGroup, attacks: Attacks, one: Batch, settings: MaskingSettings, seed: int
) -> None:
    found = loss_surface(
        attacks.classifier,
        one,
        norm=settings.norm,
        epsilon=settings.epsilon,
        resolution=RESOLUTION,
        steps=ASCENT_STEPS,
        seed=seed,
    )
    kept = (
        ("cross_entropy", found.cross_entropy, "cross-entropy, first axis adversarial", "nat"),
        ("margin", found.margin, "margin loss there", "logit"),
        ("prediction", found.prediction, "class there", "class"),
    )
    for name, values, doc, units in kept:
        group.save_array(
            f"pictures/surface/{name}", _array(values), kind=Kind.MEASURED, doc=doc, units=units
        )


def _classes(model: Classifier, x: Tensor) -> NDArray[np.int64]:
    return np.asarray(_array(model.logits(x).argmax(1)))


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
