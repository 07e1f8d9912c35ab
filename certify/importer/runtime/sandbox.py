"""Tries a hostile model in a child process under a memory and a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Layout

# -P: a file called onnx.py in the working folder is not imported.
_TRIAL = ("-P", "-m", "robcert.certify.importer.runtime.trial")

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
"""Threads reserve address space, which is what the memory limit counts."""


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What the child process may use.

    Attributes:
        memory: bytes of address space, before the allowance for the file.
        memory_per_byte: further bytes of address space a byte of the file; parsing, serialising
            and optimising each hold a copy of the weights.
        seconds: time, before the allowance for the file.
        seconds_per_gigabyte: further seconds a gigabyte of the file.
    """

    memory: int = 3 * 2**30
    memory_per_byte: int = 8
    seconds: float = 60.0
    seconds_per_gigabyte: float = 120.0


@dataclass(frozen=True, slots=True)
class OutputFact:
    """Type and shape of an output on one image, as computed (declared shapes are often wrong)."""

    dtype: str
    shape: tuple[int, ...]


def trial_outputs(
    path: Path,
    *,
    image_shape: tuple[int, int, int] | None = None,
    layout: Layout | None = None,
    output: str | None = None,
    limits: TrialLimits | None = None,
) -> dict[str, OutputFact]:
    """Outputs of the model in ``path`` on one black image, computed in a child process.

    Args:
        path: ONNX file.
        image_shape: (c, h, w), for inputs whose axes are free.
        layout: order of the axes that the user states, for the same inputs.
        output: inner tensor to compute instead of the declared outputs.
        limits: memory and time.

    Raises:
        ModelFileError: the file is bad, the runtime refuses it, or the child died of it.
    """
    limits = limits or TrialLimits()
    size = path.stat().st_size if path.is_file() else 0
    memory = limits.memory + limits.memory_per_byte * size
    request = {
        "path": str(path),
        "image_shape": image_shape,
        "layout": layout,
        "output": output,
        "memory": memory,
    }
    seconds = limits.seconds + limits.seconds_per_gigabyte * size / 2**30
    answer = _answer(path, request, seconds)
    if "error" in answer:
        raise ModelFileError(answer["error"], hint=answer["hint"])
    if "out_of_memory" in answer:
        message = f"{path}: one image needs more than {memory / 2**30:.1f} GiB of memory"
        hint = "a small file can declare tensors of any size; robcert does not run such a model"
        raise ModelFileError(message, hint=hint)
    return {
        name: OutputFact(fact["dtype"], tuple(fact["shape"]))
        for name, fact in answer["outputs"].items()
    }


def _answer(path: Path, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the child process wrote; its death or silence is an error about ``path``."""
    try:
        done = subprocess.run(
            [sys.executable, *_TRIAL],
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
            env=os.environ | _ONE_THREAD,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{path}: loading and one image took more than {seconds:.0f} s"
        raise ModelFileError(message) from error
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        cause = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        message = f"{path}: the process that tried it died ({cause}: {last[0][:200]})"
        raise ModelFileError(message, hint="the file is damaged or hostile") from error
