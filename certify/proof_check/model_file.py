"""The bytes of a model: its file and, if it has them, the files that hold its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import AttributeProto, TensorProto

from .errors import UncheckableModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_FILE = 2**31 - 1
"""Bytes of the largest model, with all its files; protobuf reads no larger ones."""


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """A model as one file.

    Attributes:
        data: the ONNX file, with all weights inside.
        sha256: hash of the file, then of name and content of each weight file, in the order of
            their names.
    """

    data: bytes
    sha256: str


def read_bytes(path: Path) -> ModelBytes:
    """The model in ``path``.

    Raises:
        UncheckableModelError: a file cannot be read, is no ONNX file, is too large or, as a weight
            file, lies outside the model's folder.
    """
    data = _content(path, LARGEST_FILE)
    found = hashlib.sha256(data)
    model = parsed(data)
    external = [t for t in _tensors(model.graph) if t.data_location == TensorProto.EXTERNAL]
    if not external:
        return ModelBytes(data, found.hexdigest())
    files: dict[str, bytes] = {}
    left = LARGEST_FILE - len(data)
    for tensor in external:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if name not in files:
            files[name] = _content(_weight_file(path, name), left)
            left -= len(files[name])
        tensor.raw_data = _part(files[name], entries, tensor.name)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    for name, content in sorted(files.items()):
        found.update(name.encode())
        found.update(content)
    return ModelBytes(model.SerializeToString(), found.hexdigest())


def parsed(data: bytes) -> onnx.ModelProto:
    """The ONNX file.

    Raises:
        UncheckableModelError: it is none.
    """
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # an error class of the package that onnx reads files with
        message = "the model is not an ONNX file"
        raise UncheckableModelError(message) from error


def _content(path: Path, largest: int) -> bytes:
    try:
        if path.stat().st_size > largest:
            message = f"{path} is too large for the checker"
            raise UncheckableModelError(message)
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise UncheckableModelError(message) from error


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Stored tensors of a graph; one with branches or loops is refused elsewhere."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t


def _weight_file(model: Path, name: str) -> Path:
    """The weight file ``name`` beside the model or below."""
    folder = model.resolve().parent
    found = (folder / name).resolve()
    if not name or not found.is_relative_to(folder) or not found.is_file():
        message = f"{model}: there is no weight file {name!r} in its folder"
        raise UncheckableModelError(message)
    return found


def _part(data: bytes, entries: dict[str, str], tensor: str) -> bytes:
    """The part of a weight file that holds a tensor."""
    try:
        start = int(entries.get("offset", "0"))
        stop = start + int(entries.get("length", str(len(data) - start)))
    except ValueError:
        start, stop = 0, -1
    if not 0 <= start <= stop <= len(data):
        message = f"tensor {tensor!r} does not lie in its weight file"
        raise UncheckableModelError(message)
    return data[start:stop]
