"""What a file that is no ONNX model is instead; each answer has its own remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the model",
        "fetch the file itself: git lfs pull, or download it from the repository's page",
    ),
    (b"<!doctype html", "is a web page, not a model", "download the file itself"),
    (b"<html", "is a web page, not a model", "download the file itself"),
    (b"pk\x03\x04", "is a zip archive (perhaps a PyTorch checkpoint)", "export it to ONNX"),
    (b"\x89hdf", "is an HDF5 file (perhaps a Keras model)", "export it to ONNX with tf2onnx"),
    (b"\x1f\x8b", "is a gzip archive", "unpack it first"),
    (b"\x80\x02", "is a Python pickle, which is never loaded", "export the model to ONNX"),
    (b"ortm", "is a model in the ORT format", "give the ONNX file it was made from"),
)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_MODEL_FIELDS = {
    1: _VARINT,  # ir_version
    2: _BYTES,  # producer_name
    3: _BYTES,  # producer_version
    4: _BYTES,  # domain
    5: _VARINT,  # model_version
    6: _BYTES,  # doc_string
    7: _BYTES,  # graph
    8: _BYTES,  # opset_import
    14: _BYTES,  # metadata_props
    20: _BYTES,  # training_info
    25: _BYTES,  # functions
    26: _BYTES,  # configuration
}


def reject_other_formats(path: Path, content: bytes) -> None:
    """Raise if the first bytes are those of a well-known other format.

    Raises:
        ModelFileError: says what the file is and what to do.
    """
    head = content[:64].lstrip().lower()
    for signature, what, remedy in _SIGNATURES:
        if head.startswith(signature):
            raise ModelFileError(f"{path} {what}", hint=remedy)  # noqa: EM102
    if content[4:8] == b"TFL3":
        message = f"{path} is a TensorFlow Lite model"
        raise ModelFileError(message, hint="convert it with tf2onnx --tflite")


def why_unreadable(content: bytes) -> str:
    """Why ``content`` does not parse as a model: truncated, damaged, or something else altogether.

    Walks the fields of the outermost protobuf message (wire format: a tag ``number << 3 | type``,
    then a varint, or a length and that many bytes).
    """
    position = fields = 0
    while position < len(content):
        tag, position = _varint(content, position)
        if _MODEL_FIELDS.get(tag >> 3) != tag & 7:
            return "is damaged" if fields > 1 else "is not an ONNX file"
        value, position = _varint(content, position)
        if tag & 7 == _BYTES:
            position += value
        fields += 1
    if position > len(content):
        missing = position - len(content)
        return f"is truncated: at least {missing} bytes are missing at the end"
    return "is damaged: its parts do not fit together"


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The variable-length integer at ``position`` and the position after it."""
    value = shift = 0
    while position < len(content) and shift < 64:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position
    # Ends inside the number: let the caller see a field beyond the end.
    return value, len(content) + 1
