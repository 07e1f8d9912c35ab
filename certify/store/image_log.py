"""A log of images beside a results file, merged into it when a group is finished.

Appending to a compressed dataset in place could leave a broken file if the process is killed.
Appending to the log cannot: incomplete records are ignored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray


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
    """Copy the complete records of ``log`` into their dataset."""
    for name, row, image in _records(log):
        file[name][row] = image


def _records(log: Path) -> Iterator[tuple[str, int, NDArray[Any]]]:
    with log.open("rb") as file:
        line = file.readline()
        if not line.endswith(b"\n"):
            return
        header = json.loads(line)
        dtype = np.dtype(header["dtype"])
        size = 8 + int(np.prod(header["shape"])) * dtype.itemsize
        while len(record := file.read(size)) == size:
            row = int(np.frombuffer(record, np.int64, 1)[0])
            yield (
                header["dataset"],
                row,
                np.frombuffer(record, dtype, offset=8).reshape(header["shape"]),
            )
