"""What a node computes with: programs, processor, and the bits of the model on some images."""

from __future__ import annotations

import platform
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.errors import WorkerError
from robcert.certify.workers import WorkerPool, why_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier
    from robcert.certify.workers import Part, Rows

Facts = dict[str, str]

PROBES = 4
"""Images on which the bits of the model are compared."""

_PACKAGES = ("robcert", "torch", "numpy", "scipy", "onnx")


def facts_here() -> Facts:
    """Versions of what rows depend on, and the processor's instructions that torch uses."""
    facts = {name: _version(name) for name in _PACKAGES}
    return {
        **facts,
        "source of robcert": _source_digest(),
        "onnxruntime": _runtime_version(),
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "GPU": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
    }


def require_same(here: Facts, there: Facts, node: str, *, gpu: bool) -> None:
    """Raise if a node would compute other rows.

    Args:
        here: facts of this process.
        there: those of the worker.
        node: its address.
        gpu: whether the model is on a GPU.

    Raises:
        WorkerError: it has other versions, or another processor or GPU.
    """
    names = [name for name in here if gpu or name != "GPU"]
    other = [name for name in names if here[name] != there.get(name, "none")]
    if not other:
        return
    shown = ", ".join(f"{name} {there.get(name, 'none')} (here {here[name]})" for name in other)
    message = f"the Ray node {node} would compute other rows: it has {shown}"
    raise WorkerError(message, hint="install the same versions, or leave the node out")


def bits_of(classifier: Classifier, images: ImageSet, at: Rows) -> str:
    """Hash of the scores and their gradients at the images ``at``."""
    x = images.pixels(at).to(classifier.device)
    if classifier.grid is not None:
        x = classifier.grid.nearest(x)
    digest = sha256(classifier.logits(x).cpu().numpy().tobytes())
    if classifier.differentiable:
        inputs = x.clone().requires_grad_()
        scores = classifier.twin_logits(inputs)
        slopes = torch.autograd.grad(scores.double().square().sum(), inputs)[0]
        digest.update(slopes.cpu().numpy().tobytes())
    return digest.hexdigest()


def bits_here(classifier: Classifier, images: ImageSet, at: Rows) -> str:
    """The same by a worker of this machine; empty on a GPU, whose last bits may vary."""
    if classifier.device.type != "cpu":
        return ""
    if why_unavailable("cpu"):
        return bits_of(classifier, images, at)

    def compute(rows: Rows) -> Iterator[Part]:
        yield rows, bits_of(classifier, images, at)

    with WorkerPool(compute, 1, "bits of the model") as pool:
        return "".join(str(found) for _, found in pool.run(np.arange(1), lambda _: 1))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _runtime_version() -> str:
    names = ("onnxruntime-gpu", "onnxruntime")
    return next((found for name in names if (found := _version(name)) != "none"), "none")


@cache
def _source_digest() -> str:
    """Eight hex digits of the hash of the library's files, which tell versions in between."""
    digest = sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]
