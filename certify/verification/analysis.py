"""`robcert verify`: certificates of the model itself, image by image."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify import attacks
from robcert.certify.errors import ModelFileError, UnverifiableError
from robcert.certify.model import require_gradients

from .procedure import Adversarial, Procedure, Record
from .prover import Prover
from .schema import METHODS, REASONS, VERIFY
from .summary import VerificationSummary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup

    from .outcome import Arithmetic, Decision
    from .procedure import Proves
    from .settings import VerificationSettings

__all__ = ["VerificationSummary", "analyse", "summarise"]

FIRST_IMAGES = 1
"""Images in the first batch; later ones grow while a batch takes a few seconds."""

MOST_SPENT = 0.5
"""Largest share of an image's budget that the attacks are charged with."""


def analyse(
    session: Session,
    settings: VerificationSettings,
    *,
    prover: Callable[[Classifier, Arithmetic], Proves] = Prover.of,
) -> str:
    """Path of the table with a certificate for each image of the session.

    The suite of attacks runs first, into a table of its own: what it breaks is not proved, and its
    distances bound the search for the largest radius. Rows that already exist are kept; each is a
    function of settings, seed and image, unless the budget ended it, which its reasons say.

    Args:
        session: model, images, results file.
        settings: settings that the rows depend on.
        prover: makes what proves statements about the model.

    Raises:
        TwinUnavailableError: the model has no twin.
        UnsupportedOperatorError: an operator of its graph has no relaxation.
        UnverifiableError: its outputs differ between calls.
    """
    classifier = session.classifier
    _require_one_function(classifier)
    proves = prover(classifier, settings.arithmetic)
    group = _table(session, settings, proves.operations)
    attacked, spent = _attacked(session, settings, group)
    procedure = Procedure(proves, classifier, settings, spent)
    session.fill(
        group,
        "verify",
        lambda batch: _rows(session, batch, procedure, attacked),
        first=FIRST_IMAGES,
    )
    return group.path


def _require_one_function(classifier: Classifier) -> None:
    """Raise unless the model is one function that the twin computes too."""
    if classifier.info.random:
        message = (
            f"{classifier.info.file} gives different scores for the same image, so no statement "
            "about its class at every input of a ball can be proved"
        )
        hint = "certify the smoothed classifier: robcert smoothing certify"
        raise UnverifiableError(message, hint=hint)
    require_gradients(classifier)


def _table(
    session: Session, settings: VerificationSettings, operations: tuple[str, ...]
) -> AnalysisGroup:
    """The table of these settings, new or resumed."""
    channels, height, width = session.classifier.image_shape
    images = {"channel": channels, "height": height, "width": width}
    group = session.store.group(
        VERIFY,
        prefix=f"{settings.norm}-{settings.method}",
        settings=settings,
        seed=session.seed,
        sizes={"epsilon": len(settings.radii), **(images if settings.save_images else {})},
    )
    group.set_attributes(
        epsilons=list(settings.radii),
        reasons={str(code): str(reason) for code, reason in enumerate(REASONS)},
        methods=[str(method) for method in METHODS],
        operations=list(operations),
    )
    return group


def _attacked(
    session: Session, settings: VerificationSettings, group: AnalysisGroup
) -> tuple[AnalysisGroup, float]:
    """The table of the attacks, and the seconds of an image's budget that they used.

    Attacks whose rows another analysis of the file computed, as in an audit, used none.
    """
    began, before = time.monotonic(), len(session.store.existing("attack"))
    path = attacks.analyse(session, settings.attack, epsilons=settings.radii)
    seconds = (time.monotonic() - began) * max(1, session.processes)
    table = session.store.at(path)
    if len(session.store.existing("attack")) > before:
        count = max(1, int(table.computed(session.indices).sum()))
        group.set_attributes(attack_seconds=seconds / count)
    used = float(group.attribute("attack_seconds", 0.0))
    return table, min(used, MOST_SPENT * settings.seconds)


def _rows(session: Session, batch: Batch, procedure: Procedure, attacked: AnalysisGroup) -> Columns:
    if session.pilot is not None and len(attacked.missing(batch.index)):
        known = [Adversarial(math.inf) for _ in batch.index]  # a pilot ended before its attacks
    else:
        known = _nearest(batch, attacked)
    records = [
        procedure.run(batch.x[at], int(batch.y[at]), adversarial)
        for at, adversarial in enumerate(known)
    ]
    columns = _columns(records, procedure.settings.radii)
    if procedure.settings.save_images:
        images = [
            pixels if record.adversarial.image is None else record.adversarial.image
            for record, pixels in zip(records, batch.x, strict=True)
        ]
        columns["adversarial"] = torch.stack(images).cpu().numpy()
    return columns


def _nearest(batch: Batch, attacked: AnalysisGroup) -> list[Adversarial]:
    """The nearest adversarial image of each image of a batch, by the table of the attacks.

    Raises:
        ModelFileError: the model failed under attack on one of them.
    """
    failed = attacked.attribute("failed", {})
    for index in attacked.missing(batch.index).tolist():
        reason = failed.get(str(index), "it was not attacked")
        message = f"no attack on image {index}: {reason}"
        raise ModelFileError(message)
    distances = attacked.column("distance", batch.index).tolist()
    predictions = attacked.column("prediction", batch.index).tolist()
    images: list[Tensor | None] = [None] * len(batch)
    if "adversarial" in attacked.columns:
        images = list(torch.from_numpy(attacked.column("adversarial", batch.index)).to(batch.x))
    return [
        Adversarial(distance, prediction, image)
        for distance, prediction, image in zip(distances, predictions, images, strict=True)
    ]


def _columns(records: list[Record], radii: tuple[float, ...]) -> Columns:
    """Values of the table, one row per record."""
    why = [[REASONS.index(one.why_open(at)) for at in radii] for one in records]
    proved_by = [-1 if one.method is None else METHODS.index(one.method) for one in records]
    return {
        "radius": np.array([one.radius for one in records], np.float64),
        "radius_reason": np.array([REASONS.index(one.reason) for one in records], np.int8),
        "status": np.array([[one.status(at) for at in radii] for one in records], np.int8),
        "margin_lower": np.array([[one.margin_lower(at) for at in radii] for one in records]),
        "reason": np.array(why, np.int8),
        "distance": np.array([one.adversarial.distance for one in records], np.float64),
        "prediction": np.array([one.adversarial.prediction for one in records], np.int32),
        "method": np.array(proved_by, np.int8),
        "branches": np.array([one.branches for one in records], np.int64),
        "reached": np.array([_reached(one.limiting) for one in records], np.int8),
        "stopped_at": np.array([one.stopped_at for one in records], np.int32),
        "seconds": np.array([one.seconds for one in records], np.float64),
        "radius_seconds": np.array([one.radius_seconds for one in records], np.float64),
    }


def _reached(decision: Decision | None) -> int:
    """Code of the strongest method whose bounds are complete; -1 if none gave a bound."""
    complete = decision is not None and decision.bound > -math.inf
    return METHODS.index(decision.method) if decision is not None and complete else -1
