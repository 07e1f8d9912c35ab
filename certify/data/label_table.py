"""Labels of image files in a table beside them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import DataError

from .class_folders import LABELS_FILE
from .class_names import class_numbers
from .image_set import class_labels
from .reading import readable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


LARGEST_TABLE = 2**27
"""Bytes of a table of labels, enough for a million images."""


def table_of_labels(
    folder: Path, paths: list[Path]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels of the images ``paths`` in the ``labels.csv`` of ``folder``, None without; and notes.

    Labels that are all numbers are classes by value; names are classes in their sorted order.

    Raises:
        DataError: an image has no row or two labels, or a number is no class.
    """
    table = folder / LABELS_FILE
    if not table.is_file():
        return None, (f"no labels: neither sub-folders nor {LABELS_FILE}",)
    rows = _rows(table)
    lacking = [path.name for path in paths if not rows.get(path.name)]
    if lacking:
        message = f"{table} has no label for {lacking[0]}"
        raise DataError(message, hint="rows are file,label, with the bare name of the file")
    found = [rows[path.name] for path in paths]
    notes = [f"labels from {LABELS_FILE}"]
    held = {path.name for path in paths}
    suffixes = {path.suffix for path in paths}
    extra = [name for name in rows if name not in held and name.endswith(tuple(suffixes))]
    if extra:
        notes.append(
            f"rows of {LABELS_FILE} without an image here: {len(extra)}, such as {extra[0]}"
        )
    values = _numbers(found)
    if values is not None:
        return class_labels(f"{folder.name} ({LABELS_FILE})", values), tuple(notes)
    numbers = class_numbers(sorted(set(found)))
    notes.append("classes in the order of their names: " + _listed(numbers))
    return np.array([numbers[name] for name in found], np.int64), tuple(notes)


def _rows(table: Path) -> dict[str, str]:
    """Label of each file."""
    rows: dict[str, str] = {}
    if table.stat().st_size > LARGEST_TABLE:
        message = f"{table} has more than {LARGEST_TABLE // 2**20} MiB"
        raise DataError(message, hint="rows are file,label, one for each image of the folder")
    try:
        with readable(table), table.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file):
                if len(row) < 2:
                    continue
                name, label = row[0].strip(), row[1].strip()
                if rows.setdefault(name, label) != label:
                    message = f"{table} has two labels for {name}: {rows[name]} and {label}"
                    raise DataError(message, hint="keep one row for each file")
    except csv.Error as error:
        message = f"cannot read {table}: {error}"
        raise DataError(message, hint="rows are file,label") from error
    return rows


def _numbers(labels: list[str]) -> NDArray[np.float64] | None:
    """The labels as numbers; None unless all of them are."""
    try:
        return np.array([float(label) for label in labels])
    except ValueError:
        return None


def _listed(numbers: dict[str, int]) -> str:
    first = [f"{name} = {number}" for name, number in list(numbers.items())[:3]]
    return ", ".join(first) + (", …" if len(numbers) > 3 else "")
