"""A log of images beside a results file, merged into it when a group is finished.

Appending to a compressed dataset in place could leave a broken file if the process is killed.
Appending to the log cannot: incomplete records are ignored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from robcert.certify.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LONGEST_HEADER = 10_000
"""Bytes of the first line of a log."""


def append_images(
    results: Path, dataset: h5py.Dataset, rows: NDArray[np.int64], images: NDArray[Any]
) -> None:
    """Append ``images`` to the log, as rows ``rows`` of ``dataset``."""
    images = np.ascontiguousarray(images, dataset.dtype)
    path = results.with_name(f".{results.name}{dataset.name.replace('/', '@')}.images")
    with path.open("ab") as log:
        if log.tell() == 0:
            shape = list(dataset.shape[1:])
            header = {"dataset": dataset.name, "dtype": dataset.dtype.str, "shape": shape}
            log.write(json.dumps(header).encode() + b"\n")
        for row, image in zip(rows, images, strict=True):
            log.write(np.int64(row).tobytes() + image.tobytes())


def pending_logs(results: Path) -> list[Path]:
    """Logs beside the results file that are not merged yet."""
    prefix = f".{results.name}@"
    beside = (path for path in results.parent.iterdir() if path.name.startswith(prefix))
    return sorted(path for path in beside if path.suffix == ".images")


def fold_log(log: Path, file: h5py.File) -> None:
    """Copy the complete records of ``log`` into their dataset.

    Raises:
        StoreError: it is not a log of images of ``file``.
    """
    with log.open("rb") as source:
        line = source.readline(LONGEST_HEADER)
        if not line.endswith(b"\n"):
            return
        data = _dataset_of(line, file)
        if data is None:
            message = f"{log} does not hold images of the results file beside it"
            raise StoreError(message, hint="delete it; images that it holds are lost")
        size = 8 + int(np.prod(data.shape[1:])) * data.dtype.itemsize
        while len(record := source.read(size)) == size:
            row = int(np.frombuffer(record, np.int64, 1)[0])
            if 0 <= row < len(data):
                data[row] = np.frombuffer(record, data.dtype, offset=8).reshape(data.shape[1:])


def _dataset_of(header: bytes, file: h5py.File) -> h5py.Dataset | None:
    """The dataset of ``file`` that the first line of a log names; None if there is none such."""
    try:
        stated = json.loads(header)
        data = file.get(stated["dataset"])
        shape, dtype = stated["shape"], stated["dtype"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(data, h5py.Dataset) or not data.chunks:
        return None
    return data if [list(data.shape[1:]), data.dtype.str] == [shape, dtype] else None
