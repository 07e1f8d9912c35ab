"""Certificates of smoothing in the format of Cohen's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.smoothing import certified_radii

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.store import ResultStore

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
NO_TIME = "0:00:00"
"""Images share batches, so the time of a single image is unknown."""


def cohen_lines(store: ResultStore, key: str) -> Iterator[str]:
    """Lines of the table for the certificates at path ``key``; -1 in ``predict`` is an abstention.

    The radius is not rounded to three digits, as it is in the original.
    """
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    labels = store.labels[store.rows(indices)]
    predictions, radii = group.column("prediction", indices), certified_radii(group, indices)
    yield HEADER
    for index, label, predicted, radius in zip(indices, labels, predictions, radii, strict=True):
        yield f"{index}\t{label}\t{predicted}\t{radius:.8g}\t{int(label == predicted)}\t{NO_TIME}"
