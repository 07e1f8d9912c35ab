"""Images in a Parquet file as Hugging Face writes them: columns ``image`` and ``label``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.addresses import without_secrets
from robcert.certify.errors import DataError

from .limits import GIB, MOST_IN_MEMORY, MOST_LABELS
from .remote import opened, reached

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")


class ParquetImages:
    """The images of one file, of which one group of rows is in memory at a time.

    Attributes:
        address: the file.
        labels: class of each image, None where there are none.
        classes: names of the classes, empty where the file has none.
    """

    def __init__(self, address: str) -> None:
        """Read the file's structure and the labels.

        Raises:
            DataError: it is no such file, or has no images.
        """
        self.address = address
        self._process, self._file, self._group, self._rows = 0, None, -1, None
        with reached(address):
            parquet = self._opened()
            names = parquet.schema_arrow.names
            self._image = self._column(names, IMAGE_COLUMNS)
            meta = parquet.metadata
            sizes = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
            self._starts = np.cumsum([0, *sizes])
            if 8 * meta.num_rows > MOST_LABELS:
                message = f"{self._shown} declares {meta.num_rows:,} rows"
                raise DataError(message, hint="split it into several files")
            label = next((name for name in LABEL_COLUMNS if name in names), None)
            self.labels: NDArray[Any] | None = None
            if label is not None:
                self.labels = _numbers(parquet.read([label]).column(label), self._shown)
            self.classes = _class_names(parquet.schema_arrow.metadata, label)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, row: int) -> bytes:
        """Content of the image file ``row``."""
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        with reached(self.address):
            if (group, os.getpid()) != (self._group, self._process):
                self._rows, self._group = self._read(group), group
            assert self._rows is not None
            value = self._rows[row - int(self._starts[group])].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            message = f"{self.name(row)} is not stored in the file"
            raise DataError(message, hint="store the bytes of the image files in it")
        return content

    def name(self, row: int) -> str:
        """Name of an image, for messages."""
        return f"{self._shown}: image {row}"

    @property
    def _shown(self) -> str:
        return without_secrets(self.address)

    def _opened(self) -> Any:
        """The open file of this process: forks must not share its position."""
        if self._process != os.getpid():
            try:
                from pyarrow import parquet
            except ImportError as error:
                message = f"cannot read {self._shown}: Parquet needs the package pyarrow"
                raise DataError(message, hint="pip install 'robcert[parquet]'") from error
            self._file = parquet.ParquetFile(opened(self.address))
            self._process, self._group = os.getpid(), -1
        return self._file

    def _read(self, group: int) -> Any:
        """The images of a group of rows."""
        parquet = self._opened()
        size = parquet.metadata.row_group(group).total_byte_size
        if size > MOST_IN_MEMORY:
            message = f"{self._shown}: a group of rows has {size / GIB:.3g} GiB"
            raise DataError(message, hint="write it with smaller groups (row_group_size)")
        return parquet.read_row_group(group, [self._image]).column(self._image)

    def _column(self, names: list[str], known: tuple[str, ...]) -> str:
        found = next((name for name in known if name in names), None)
        if found is None:
            message = f"{self._shown} has no column called image"
            raise DataError(message, hint="it is to hold the bytes of image files")
        return found


def _numbers(column: Any, shown: str) -> NDArray[Any]:
    if column.null_count:
        message = f"{shown}: {column.null_count} labels are missing"
        raise DataError(message)
    return np.asarray(column.to_numpy())


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...]:
    """Names of the classes in the file's description of its columns, empty if there are none."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return tuple(names)
