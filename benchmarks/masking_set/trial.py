"""One model of the validation set: the verdict of the check, and evidence that the check lacks.

A model masks if adversarial images of its inverse, or longer attacks than those of the check, bring
its accuracy at least ``GAP`` below its accuracy under plain PGD on the file's own output.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify import masking
from robcert.certify.attacks import PgdConfig, SquareConfig, multi_targeted, pgd, square, transfer
from robcert.certify.core import Ball, Norm
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.masking import (
    MaskingVerdict,
    Weight,
    as_checked,
    as_shipped,
    ascents,
    ascents_towards_classes,
    averaged,
    judged_by_mean,
    wrong_shares,
)
from robcert.certify.model import Classifier
from robcert.certify.numerics import Loss
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

from .files import exported

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.data import ImageSet
    from robcert.certify.masking import MaskingSettings

    from .entries import Entry
    from .networks import Kit

GAP = 0.10
"""Loss of accuracy beyond PGD from which a model counts as masking."""

STEPS, RESTARTS, TARGETS, QUERIES, DRAWS, JUDGING = 60, 3, 4, 1000, 16, 100


@dataclass(frozen=True, slots=True)
class Evidence:
    """Accuracies of one model over all its images, measured clean and under attack.

    Attributes:
        accuracy: accuracy on clean images.
        pgd: accuracy under 40 steps of PGD on the cross-entropy of the file's own output; for a
            random model, along the gradient of one draw, and the share of fresh draws.
        stronger: accuracy under this PGD, and also adversarial images of the inverse or long
            attacks. For a random model, half of the draws choose the attack of each image, and the
            others judge it.
    """

    accuracy: float
    pgd: float
    stronger: float

    @property
    def masks(self) -> bool:
        """Whether the stronger attacks reduce the accuracy by at least ``GAP`` more than PGD."""
        return self.pgd - self.stronger >= GAP - 1e-9


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What all trials of a collection have in common.

    Attributes:
        kit: makes the models.
        images: images that are attacked.
        folder: folder of the ONNX and results files.
        settings: settings of the check.
        limit: number of images, counted from the first.
    """

    kit: Kit
    images: ImageSet
    folder: Path
    settings: MaskingSettings
    limit: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Verdict of the check on one model, with the evidence.

    Attributes:
        entry: the model.
        evidence: accuracies that decide whether it masks.
        verdict: verdict of the check.
        corrected: robust accuracy that the check reports in place of that under PGD.
        hidden_in: where the check locates the masking.
        reason: the check's explanation of its verdict.
        flagged: indicators that point to masking.
        seconds: time of the check.
    """

    entry: Entry
    evidence: Evidence
    verdict: MaskingVerdict
    corrected: float
    hidden_in: str
    reason: str
    flagged: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.entry.name,
            "half": self.entry.half,
            "meant": self.entry.meant,
            "accuracy": round(self.evidence.accuracy, 4),
            "pgd": round(self.evidence.pgd, 4),
            "stronger": round(self.evidence.stronger, 4),
            "masks": self.evidence.masks,
            "verdict": str(self.verdict),
            "corrected": round(self.corrected, 4),
            "hidden_in": self.hidden_in,
            "flagged": list(self.flagged),
            "reason": self.reason,
            "seconds": round(self.seconds, 1),
        }


def tried(entry: Entry, plan: TrialPlan, *, gathered: Evidence | None = None) -> Trial:
    """Export the model of ``entry`` unless its file exists, check it, and gather the evidence.

    Evidence that was ``gathered`` before, on the same file and images, is reused.
    """
    kit, images, limit, settings = plan.kit, plan.images, plan.limit, plan.settings
    path = plan.folder / f"{entry.name.replace(' ', '-')}.onnx"
    if not path.is_file():
        exported(entry, kit, path)
    options = LoadOptions(device="cpu", threads=1, multiclass=True)
    classifier = load_classifier(path, options, images=images)
    results = path.with_suffix(".h5")
    results.unlink(missing_ok=True)
    started = time.monotonic()
    with ResultStore.open(results, model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(limit), store)
        found = masking.summarise(store, masking.analyse(session, settings))
        batch = session.batch(np.arange(limit))
    seconds = time.monotonic() - started
    return Trial(
        entry,
        gathered or evidence(entry, kit, as_checked(classifier), batch, settings.epsilon),
        found.verdict,
        found.corrected.value,
        found.hidden_in,
        found.reason,
        tuple(i.name for i in found.indicators if i.flagged and i.weight is not Weight.HINT),
        seconds,
    )


def evidence(
    entry: Entry, kit: Kit, classifier: Classifier, batch: Batch, epsilon: float
) -> Evidence:
    """Accuracies on clean images, under PGD, and under attacks that the check lacks (linf)."""
    ball = Ball(Norm.LINF, epsilon)
    if entry.random:
        return _random_evidence(entry, kit, classifier, batch, ball)

    def stands(x: Tensor) -> Tensor:
        return classifier.logits(x).argmax(1) == batch.y

    correct = left = stands(batch.x)
    if classifier.differentiable:  # else PGD has no gradient
        plain = pgd(as_shipped(classifier), batch, ball, PgdConfig(40, loss=Loss.CE))
        left = correct & stands(plain.x_adv)
    survives = left
    for x in _stronger(entry, kit, classifier, batch, ball):
        left = left & stands(x)
    return Evidence(*(float(share.double().mean()) for share in (correct, survives, left)))


def _random_evidence(
    entry: Entry, kit: Kit, classifier: Classifier, batch: Batch, ball: Ball
) -> Evidence:
    """The same for a model whose outputs differ between calls."""
    naive, model = as_shipped(judged_by_mean(classifier, DRAWS)), averaged(classifier, DRAWS)
    plain = ascents(naive, batch, ball, PgdConfig(40, loss=Loss.CE)).x_adv
    long = PgdConfig(STEPS)
    found = [
        *_stronger(entry, kit, model, batch, ball),
        ascents(model, batch, ball, replace(long, loss=Loss.CE), seed=7).x_adv,
        ascents(model, batch, ball, replace(long, restarts=2), seed=7).x_adv,
        ascents_towards_classes(model, batch, ball, long, targets=TARGETS, seed=7).x_adv,
    ]
    images = (batch.x, plain, *found)
    stands = 1 - torch.stack([wrong_shares(classifier, x, batch.y, JUDGING) for x in images])
    clean, under = stands[0].mean(1), stands[1].mean(1)
    # one half of the draws chooses, the other judges
    chosen = [
        stands[:, :, 1 - half].gather(0, stands[:, :, half].argmin(0)[None]) for half in (0, 1)
    ]
    return Evidence(float(clean.mean()), float(under.mean()), float(torch.stack(chosen).mean()))


def _stronger(entry: Entry, kit: Kit, model: Classifier, batch: Batch, ball: Ball) -> list[Tensor]:
    """Adversarial images of the inverse; without one, of the standard network and long attacks."""
    inside = kit.trained("standard") if entry.inverse is None else entry.inverse(kit)
    source = Classifier.from_module(
        inside, image_shape=kit.images.image_shape, num_classes=kit.images.num_classes
    )
    found = [transfer(source, model, batch, ball, steps=STEPS, seed=s).x_adv for s in range(3)]
    if entry.inverse is not None:
        return found
    found.append(square(model, batch, ball, SquareConfig(QUERIES), seed=7).x_adv)
    if model.differentiable:
        long = PgdConfig(STEPS)
        repeated = replace(long, restarts=RESTARTS)
        found.append(pgd(model, batch, ball, repeated, seed=7).x_adv)
        found.append(multi_targeted(model, batch, ball, long, targets=TARGETS, seed=7).x_adv)
    return found
