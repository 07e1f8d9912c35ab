"""Reads an untrusted ONNX file; an error names its fault in one line."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from robcert.certify.errors import ModelFileError
from robcert.certify.foreign_file import foreign_bytes

from .expansion import extent
from .facts import all_graphs, all_tensors
from .file_kind import reject_other_formats, why_unreadable

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.experimental",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)
"""Operator domains that ONNX Runtime knows without a custom-op library."""

LARGEST_MODEL = 2**31 - 2**20
"""Bytes; a protobuf message cannot hold more."""

MOST_SUBGRAPHS = 1000
"""Branches and loop bodies of a file, nested ones included; classifiers have a few."""

MOST_NODES = 20_000
"""Operators of a file, in place of functions those that they hold; classifiers have thousands."""

MOST_TENSORS = 20_000
"""Stored tensors of a file; ONNX Runtime takes time in proportion to the square of their number."""

MOST_ENDS = 1000
"""Inputs and outputs of a graph; classifiers have a few."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A vetted model.

    Attributes:
        path: the file.
        sha256: hash of the file, and of its external weight files after it if there are any.
        model: the parsed model, external weights read in.
        size: bytes of all files together.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    size: int


def read_model(path: Path) -> ModelFile:
    """The model in ``path``.

    Raises:
        ModelFileError: the file is missing, empty, a Git LFS pointer, truncated, damaged or of
            another format; it names an operator domain that the runtime does not know, an external
            weight file that is missing or lies outside its folder, a tensor whose declared size
            is not in the file, too many of anything, or a function that calls itself.
    """
    content = foreign_bytes(path, largest=LARGEST_MODEL, holds="an ONNX file", error=ModelFileError)
    reject_other_formats(path, content)
    model = _parse(path, content)
    _reject_large_graphs(path, model)
    _reject_unknown_domains(path, model)
    model.ClearField("training_info")  # no runtime reads it; its tensors may name files
    digest = hashlib.sha256(content)
    size = len(content)
    for location, data in _read_external_weights(path, model).items():
        digest.update(location.encode() + data)
        size += len(data)
    for tensor in all_tensors(model):
        _reject_hollow_tensor(path, tensor)
    _free_absurd_axes(model)
    return ModelFile(path, digest.hexdigest(), model, size)


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    """The protobuf message; a graph with nodes is in it."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelFileError(f"{path} {why_unreadable(content)}") from error  # noqa: EM102
    if not model.graph.node or not model.opset_import:
        message = f"{path} is not an ONNX model: it has no graph of operators"
        raise ModelFileError(message)
    return model


def _reject_large_graphs(path: Path, model: onnx.ModelProto) -> None:
    """Raise if there is too much: it would be followed for hours, or copied into all memory."""
    try:
        size = extent(model)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}", hint=error.hint) from error  # noqa: EM102
    hint = "a classifier has fewer of them; simplify the model"
    if size.subgraphs > MOST_SUBGRAPHS:
        message = f"{path} has more than {MOST_SUBGRAPHS} subgraphs (branches and bodies of loops)"
        raise ModelFileError(message, hint=hint)
    if size.nodes > MOST_NODES:
        message = f"{path} has more than {MOST_NODES} operators (those of functions at each call)"
        raise ModelFileError(message, hint=hint)
    if sum(1 for _ in islice(all_tensors(model), MOST_TENSORS + 1)) > MOST_TENSORS:
        message = f"{path} has more than {MOST_TENSORS} stored tensors"
        raise ModelFileError(message, hint=hint)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = sum(entry.name not in stored for entry in model.graph.input)
    if inputs + len(model.graph.output) > MOST_ENDS:
        message = f"{path} has more than {MOST_ENDS} inputs and outputs"
        raise ModelFileError(message, hint=hint)


def _reject_unknown_domains(path: Path, model: onnx.ModelProto) -> None:
    """Raise at an operator that would need a custom-op library; none is ever loaded."""
    own = {function.domain for function in model.functions}
    for graph in all_graphs(model):
        for node in graph.node:
            if node.domain not in RUNTIME_DOMAINS | own:
                message = (
                    f"{path}: operator {node.op_type} of domain {node.domain} "
                    f"(node {node.name!r}) is unknown to the runtime"
                )
                hint = "export the model with operators of the ONNX standard"
                raise ModelFileError(message, hint=hint)


def _read_external_weights(path: Path, model: onnx.ModelProto) -> dict[str, bytes]:
    """Move external weights into the model; the files by name.

    The files are read here, not by onnx or the runtime, so that one rule holds for all of them.
    """
    external = [t for t in all_tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    files: dict[str, bytes] = {}
    total = 0
    for tensor in external:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in files:
            files[location] = _external_file(
                path, tensor.name, location, sum(map(len, files.values()))
            )
        data = files[location]
        start, length = _span(path, tensor.name, entries, len(data))
        total += length  # many tensors may name the same bytes, and each gets its own
        if total > LARGEST_MODEL:
            raise _too_heavy(path)
        tensor.raw_data = data[start : start + length]
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return dict(sorted(files.items()))


def _free_absurd_axes(model: onnx.ModelProto) -> None:
    """Make input axes of length 0 or below, by which some exporters mean "any", free ones."""
    for entry in model.graph.input:
        for position, axis in enumerate(entry.type.tensor_type.shape.dim):
            if axis.HasField("dim_value") and axis.dim_value <= 0:
                axis.dim_param = f"free_{position}"


def _external_file(path: Path, tensor: str, location: str, read: int) -> bytes:
    """Content of the weight file ``location`` named by ``tensor``, if it may be read."""
    folder = path.resolve().parent
    target = _target(folder, location)
    if target is None:
        message = f"{path}: tensor {tensor!r} names {location[:60]!r}, which is no name of a file"
        raise ModelFileError(message, hint="the file is damaged or hostile")
    if not location or not target.is_relative_to(folder):
        message = (
            f"{path}: tensor {tensor!r} names weights outside the model's folder: {location!r}"
        )
        hint = "put the weight file beside the model"
        raise ModelFileError(message, hint=hint)
    if not target.is_file():
        message = f"{path}: its external weight file {location!r} is missing"
        raise ModelFileError(message, hint=f"put {location} into {path.parent}")
    if target.stat().st_size + read > LARGEST_MODEL:
        raise _too_heavy(path)
    return target.read_bytes()


def _too_heavy(path: Path) -> ModelFileError:
    return ModelFileError(f"{path}: weights above {LARGEST_MODEL} bytes are not supported")


def _target(folder: Path, location: str) -> Path | None:
    """Where ``location`` leads from ``folder``, links followed; None where it can name no file."""
    try:
        target = (folder / location).resolve()
        target.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a circle of links
        return None
    return target


def _span(path: Path, tensor: str, entries: dict[str, str], size: int) -> tuple[int, int]:
    """Offset and length of a tensor in its weight file of ``size`` bytes."""
    try:
        start = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size - start)))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > size:
        message = (
            f"{path}: tensor {tensor!r} is not inside its weight file "
            f"{entries['location']!r} of {size} bytes"
        )
        raise ModelFileError(message, hint="the weight file is truncated or of another model")
    return start, length


def _reject_hollow_tensor(path: Path, tensor: onnx.TensorProto) -> None:
    """Raise if the tensor declares more elements than it can hold, or is a part of another."""
    if tensor.HasField("segment"):
        message = f"{path}: tensor {tensor.name!r} is stored in segments, which no runtime reads"
        raise ModelFileError(message, hint="the file is damaged; export it again")
    declared = math.prod(tensor.dims)
    typed = (
        tensor.float_data,
        tensor.int32_data,
        tensor.int64_data,
        tensor.double_data,
        tensor.uint64_data,
        tensor.string_data,
    )
    # The smallest element has two bits; what is exactly right is left to the runtime.
    held = 4 * max(len(tensor.raw_data), *map(len, typed))
    if any(size < 0 for size in tensor.dims) or declared > held:
        message = (
            f"{path}: tensor {tensor.name!r} declares the shape {list(tensor.dims)} "
            f"but holds data for at most {held} elements"
        )
        raise ModelFileError(message, hint="the file is damaged or hostile")
