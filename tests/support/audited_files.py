"""Results files of small audits of the linear model, with and without names of classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from linear_models import SHAPE, linear_classifier

from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import Suite
from robcert.certify.auditing import analysis as audit
from robcert.certify.auditing.settings import PARTS, AuditSettings
from robcert.certify.data.load import from_arrays
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.radius_bounds.settings import BoundsSettings
from robcert.certify.session import Session
from robcert.certify.smoothing.settings import SmoothingSettings
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

IMAGES, REPORTED = 400, 12

_ATTACK = AttackSettings(suite=Suite.QUICK, save_images=True)

SETTINGS = AuditSettings(
    linearity=LinearitySettings(steps=3),
    bounds=BoundsSettings(blocks=30, block_size=10, points=5, steps=2, restarts=1),
    attack=_ATTACK,
    verify=VerificationSettings.of_audit("quick", attack=_ATTACK, epsilon=8 / 255),
    smoothing=SmoothingSettings(sigma=0.1, n=256, radii=(0.05,)),
    masking=MaskingSettings(
        steps=3, restarts=1, targets=1, unbounded_steps=5, noise_draws=3, queries=10
    ),
)


def audited(
    path: Path,
    *,
    parts: tuple[str, ...] = PARTS,
    classes: tuple[str, ...] = (),
    labelled: bool = True,
    file: str = "linear.onnx",
) -> Path:
    """The results file at ``path`` of an audit of `REPORTED` images, of which one is wrong.

    Args:
        path: the file.
        parts: parts of the audit.
        classes: names of the classes.
        labelled: whether the images have labels.
        file: name of the model's file.
    """
    classifier = linear_classifier()
    classifier = replace(classifier, info=ModelInfo(file=file, sha256="1" * 64, kind="module"))
    generator = torch.Generator().manual_seed(3)
    x = (0.5 + 0.1 * torch.randn(IMAGES, *SHAPE, generator=generator)).clamp(0, 1)
    labels = classifier.logits(x).argmax(1).numpy()
    labels[1] = (labels[1] + 1) % classifier.num_classes
    images = from_arrays("grey", x.numpy(), labels if labelled else None)
    chosen = np.arange(REPORTED)
    info = replace(images.info, classes=classes)
    with ResultStore.open(path, model=classifier.info, data=info) as store:
        store.add_images(chosen, labels[chosen] if labelled else None)
        session = Session(classifier, images, chosen, store)
        audit.analyse(session, replace(SETTINGS, parts=parts), command="robcert audit -m m.onnx")
    return path
