"""Rows as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.tables import csv_line

from .rows import row_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.store import AnalysisGroup, ResultStore


def csv_lines(store: ResultStore, group: AnalysisGroup) -> Iterator[str]:
    """Finished rows of ``group`` as CSV: index and label, then its columns without the images.

    A column with further axes is one for each of their entries: ``status@2/255``.
    """
    columns = row_columns(store, group)
    yield csv_line([column.name for column in columns])
    for row in zip(*(column.values.tolist() for column in columns), strict=True):
        yield csv_line(list(row))
