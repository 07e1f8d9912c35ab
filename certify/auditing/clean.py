"""The model on unchanged images: predictions, margins, confidence, accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.numerics import classes_of, cross_entropy, margin_loss, probability_margin_loss
from robcert.certify.stats import Proportion, proportion
from robcert.certify.tables import Table, interval, percent

from .schema import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import ResultStore


@dataclass(frozen=True, slots=True)
class CleanSummary:
    """Results on unchanged images.

    Attributes:
        clean_accuracy: share of labelled images that are classified correctly; None without labels.
        mean_confidence: mean of the largest softmax probability, over images with a class.
        mean_cross_entropy: mean cross-entropy in nats, of the label if there is one, else of the
        images: number of images.
        undefined: number of images without a class because their scores are NaN; they are wrong.
    """

    clean_accuracy: Proportion | None
    mean_confidence: float
    mean_cross_entropy: float
    images: int
    undefined: int = 0

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return asdict(self)


def analyse(session: Session) -> str:
    """Fill the table ``/clean`` for the images of the session; returns its path."""
    group = session.store.group(CLEAN, prefix="", settings=None, seed=0)
    alone = replace(session, processes=0)  # a forward pass each takes less time than a fork
    alone.fill(group, "clean", lambda batch: rows(alone, batch))
    return group.path


def rows(session: Session, batch: Batch) -> Columns:
    """Columns of the table for one batch, from the runtime's float32 logits in float64."""
    logits = session.classifier.logits(batch.x).double()
    columns = {
        "prediction": classes_of(logits),
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
    # Tables of older versions name a class where the scores are NaN; the margin is NaN there.
    margin = group.column("logit_margin", indices)
    named = ~np.isnan(margin)
    correct = named[labelled] & (group.column("prediction", indices)[labelled] == labels[labelled])
    return CleanSummary(
        clean_accuracy=proportion(int(correct.sum()), len(correct)) if labelled.any() else None,
        mean_confidence=_mean(group.column("confidence", indices)[named]),
        mean_cross_entropy=_mean(group.column("cross_entropy", indices)[named]),
        images=len(indices),
        undefined=int((~named).sum()),
    )


def tables(summaries: Sequence[CleanSummary]) -> Iterator[Table]:
    """Clean accuracy, where there are labels."""
    accuracy, undefined = summaries[0].clean_accuracy, summaries[0].undefined
    if accuracy is not None:
        row = (percent(accuracy.value), interval(accuracy), str(accuracy.n))
        header = ("accuracy", "95 % interval", "images")
        note = (
            f"{undefined} images have no class, because their scores are NaN; they count as wrong."
            if undefined
            else ""
        )
        yield Table("clean accuracy", "measured", header, (row,), note)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
