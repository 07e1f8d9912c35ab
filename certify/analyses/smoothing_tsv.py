"""Certificates in the table that Cohen's scripts read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..store import ResultStore

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
NO_TIME = "0:00:00"
"""Images share batches, so there is no time of one image."""


def cohen_lines(store: ResultStore, key: str) -> Iterator[str]:
    """Lines of the table for the certificates at path ``key``; -1 in ``predict`` is an abstention.

    The radius is not rounded to three digits, as it is in the original.
    """
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    labels = store.labels[store.rows(indices)]
    predictions, radii = group.column("prediction", indices), group.column("radius", indices)
    yield HEADER
    for index, label, predicted, radius in zip(indices, labels, predictions, radii, strict=True):
        yield f"{index}\t{label}\t{predicted}\t{radius:.8g}\t{int(label == predicted)}\t{NO_TIME}"
