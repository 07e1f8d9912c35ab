"""Tries a hostile model in a child process under a memory and a time limit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.children import run_module
from robcert.certify.errors import ModelFileError

from .limits import RunLimits, gibibytes

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Layout

_TRIAL = "robcert.certify.importer.runtime.trial"

_DEFAULTS = RunLimits()

SECONDS, SECONDS_PER_GIGABYTE = 60.0, 120.0
"""Time that loading and one image may take, and further time a gigabyte of the file."""


@dataclass(frozen=True, slots=True)
class OutputFact:
    """Type and shape of an output on one image, as computed (declared shapes are often wrong)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the child process found.

    Attributes:
        outputs: the outputs on one black image, by name.
        memory: bytes that the call took beyond the loaded model; 0 where that was not measured.
        seconds: time of the call.
    """

    outputs: dict[str, OutputFact]
    memory: int
    seconds: float


def try_model(
    path: Path,
    *,
    image_shape: tuple[int, int, int] | None = None,
    layout: Layout | None = None,
    output: str | None = None,
    limits: RunLimits = _DEFAULTS,
) -> Trial:
    """The model in ``path`` on one black image, in a child process.

    Args:
        path: ONNX file.
        image_shape: (c, h, w), for inputs whose axes are free.
        layout: order of the axes that the user states, for the same inputs.
        output: inner tensor to compute instead of the declared outputs.
        limits: memory and time; there is always time enough to start the process.

    Raises:
        ModelFileError: the file is bad, the runtime refuses it, or the child died of it.
    """
    size = path.stat().st_size if path.is_file() else 0
    memory = limits.address_space(size)
    request = {
        "path": str(path),
        "image_shape": image_shape,
        "layout": layout,
        "output": output,
        "memory": memory,
    }
    seconds = max(SECONDS, limits.call_seconds(0)) + SECONDS_PER_GIGABYTE * size / 2**30
    answer = _answer(path, request, seconds)
    if "error" in answer:
        raise ModelFileError(answer["error"], hint=answer["hint"])
    if "out_of_memory" in answer:
        allowed = gibibytes(limits.allowed)
        message = f"{path}: one image needs more than {allowed} of memory beside the file itself"
        hint = "a small file can declare tensors of any size; --memory-limit allows more"
        raise ModelFileError(message, hint=hint)
    outputs = {
        name: OutputFact(fact["dtype"], tuple(fact["shape"]))
        for name, fact in answer["outputs"].items()
    }
    return Trial(outputs, answer["memory"], answer["seconds"])


def _answer(path: Path, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the child process wrote; its death or silence is an error about ``path``."""
    ended = run_module(_TRIAL, json.dumps(request).encode(), seconds=seconds)
    if ended.status is None:
        message = f"{path}: loading and one image took more than {seconds:.0f} s"
        raise ModelFileError(message)
    try:
        return dict(json.loads(ended.stdout))
    except ValueError as error:
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        message = f"{path}: the process that tried it died ({ended.cause}: {last[0][:200]})"
        raise ModelFileError(message, hint="the file is damaged or hostile") from error
