"""The environment of robcert: versions, devices, bundled files."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("torch", "torchvision", "onnx", "numpy", "scipy", "h5py", "safetensors", "matplotlib")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about the environment; ``good`` is False if robcert cannot run."""

    name: str
    value: str
    good: bool = True


def environment() -> tuple[Fact, ...]:
    """Versions of robcert and its libraries, devices, the runtime's providers, bundled files."""
    return (
        Fact("robcert", _version("robcert")),
        Fact("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(_library(name) for name in LIBRARIES),
        *_runtime(),
        *_devices(),
        *_bundled(),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _library(name: str) -> Fact:
    found = _version(name)
    return Fact(name, found or "not installed", good=bool(found))


def _runtime() -> tuple[Fact, ...]:
    try:
        import onnxruntime
    except ImportError as error:
        return (Fact("ONNX Runtime", f"cannot be imported: {error}", good=False),)
    offered = set(onnxruntime.get_available_providers())
    known = ("CUDAExecutionProvider", "CPUExecutionProvider")
    usable = [name.removesuffix("ExecutionProvider") for name in known if name in offered]
    providers = ", ".join(usable)
    return (Fact("ONNX Runtime", f"{onnxruntime.__version__}, built for {providers}"),)


def _devices() -> tuple[Fact, ...]:
    import torch

    cores = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    facts = [Fact("CPU", cores)]
    if not torch.cuda.is_available():
        return (*facts, Fact("GPU", "not found by torch; everything runs on the CPU"))
    for number in range(torch.cuda.device_count()):
        facts.append(Fact(f"cuda:{number}", torch.cuda.get_device_name(number)))  # noqa: PERF401
    return tuple(facts)


def _bundled() -> tuple[Fact, ...]:
    """Result of comparing the bundled files with their checksums."""
    from hashlib import sha256

    folder = resources.files("robcert.fixtures")
    listing = folder / "SHA256SUMS"
    if not listing.is_file():
        return (Fact("bundled files", "SHA256SUMS is missing: reinstall robcert", good=False),)
    lines = listing.read_text(encoding="utf-8").split("\n")
    broken = []
    for digest, name in (line.split(maxsplit=1) for line in lines if line.strip()):
        file = folder / name.lstrip("*")
        if not file.is_file() or sha256(file.read_bytes()).hexdigest() != digest:
            broken.append(name)
    if broken:
        return (Fact("bundled files", f"missing or changed: {', '.join(broken)}", good=False),)
    return (Fact("bundled files", f"{len([x for x in lines if x.strip()])} files, all intact"),)
