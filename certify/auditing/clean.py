"""The model on unchanged images: predictions, margins, confidence, accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.numerics import cross_entropy, margin_loss, probability_margin_loss
from robcert.certify.stats import Proportion, proportion
from robcert.certify.tables import Table, interval, percent

from .schema import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.core import Batch
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import ResultStore


@dataclass(frozen=True, slots=True)
class CleanSummary:
    """Results on unchanged images.

    Attributes:
        clean_accuracy: share of labelled images that are classified correctly; None without labels.
        mean_confidence: mean of the largest softmax probability.
        mean_cross_entropy: mean cross-entropy in nats, of the label if there is one, else of the
        images: number of images.
    """

    clean_accuracy: Proportion | None
    mean_confidence: float
    mean_cross_entropy: float
    images: int

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return asdict(self)


def analyse(session: Session) -> str:
    """Fill the table ``/clean`` for the images of the session; returns its path."""
    group = session.store.group(CLEAN, prefix="", settings=None, seed=0)
    session.fill(group, "clean", lambda batch: rows(session, batch))
    return group.path


def rows(session: Session, batch: Batch) -> Columns:
    """Columns of the table for one batch, from the runtime's float32 logits in float64."""
    logits = session.classifier.logits(batch.x).double()
    columns = {
        "prediction": logits.argmax(1),
        "logit_margin": -margin_loss(logits, batch.y),
        "probability_margin": -probability_margin_loss(logits, batch.y),
        "confidence": logits.softmax(1).amax(1),
        "cross_entropy": cross_entropy(logits, batch.y),
    }
    return {name: values.cpu().numpy() for name, values in columns.items()}


def summarise(store: ResultStore, path: str = "clean") -> CleanSummary:
    """Summary of the images that the table at ``path`` reports on."""
    group = store.at(path)
    indices = group.indices
    labels = store.labels[store.rows(indices)]
    labelled = labels >= 0
    correct = group.column("prediction", indices)[labelled] == labels[labelled]
    return CleanSummary(
        clean_accuracy=proportion(int(correct.sum()), len(correct)) if labelled.any() else None,
        mean_confidence=float(np.mean(group.column("confidence", indices))),
        mean_cross_entropy=float(np.mean(group.column("cross_entropy", indices))),
        images=len(indices),
    )


def tables(summaries: Sequence[CleanSummary]) -> Iterator[Table]:
    """Clean accuracy, where there are labels."""
    accuracy = summaries[0].clean_accuracy
    if accuracy is not None:
        row = (percent(accuracy.value), interval(accuracy), str(accuracy.n))
        yield Table("clean accuracy", "measured", ("accuracy", "95 % interval", "images"), (row,))
