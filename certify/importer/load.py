"""A model file of any kind becomes a Classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

import torch

from robcert.certify.errors import InvalidParameterError, ModelFileError, PreprocessingError
from robcert.certify.model import PreprocessOptions

from .onnx_classifier import OnnxLoader
from .runtime.limits import RunLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

    CheckpointLoader = Callable[[Path, torch.device], Classifier]

LOADERS, SAFETENSORS = "robcert.model_loaders", "safetensors"
"""Entry point group of functions ``(path, device) -> Classifier``, and the one for checkpoints."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model file is loaded.

    Attributes:
        preprocess: what is known about the preprocessing; it completes and overrides the file's
            metadata.
        output: name of the output with the class scores, which may be a tensor inside the graph;
            None to find it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        threads: threads of the runtime; 0 for one per processor core.
        multiclass: each image has exactly one class, also where the file ends with a sigmoid over
            more than two, as models do that give an image several labels.
        first_output: of several outputs that could be the class scores take the first; by default
            they are an error that lists them.
        limits: time of a call and memory that an ONNX file may use.
    """

    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    output: str | None = None
    device: str | torch.device = "auto"
    threads: int = 0
    multiclass: bool = False
    first_output: bool = False
    limits: RunLimits = field(default_factory=RunLimits)


_DEFAULTS = LoadOptions()


def load_classifier(
    path: Path, options: LoadOptions = _DEFAULTS, *, images: ImageSet | None = None
) -> Classifier:
    """The classifier in an ONNX file, a checkpoint or a run folder, in pixel space.

    An ONNX file is treated as hostile: it is first tried in a child process under a memory and a
    time limit. It stays in such a process if its cost depends on the pixels. Decisions about what
    the file leaves open are listed in ``info.notes``. Checkpoints are read by the function that an
    installed package registers under the entry point ``safetensors`` of the group
    ``robcert.model_loaders``.

    Args:
        path: ``.onnx`` file, ``.safetensors`` checkpoint, or folder of a training run.
        options: preprocessing, output, device and threads.
        images: the images that the model will be given; they determine layout and size.

    Raises:
        ModelFileError: the file is bad, unsafe, or not an image classifier.
        PreprocessingError: the preprocessing contradicts the model.
        DataError: the images do not fit the model.
    """
    device = torch_device(options.device)
    if path.is_dir() or path.suffix == f".{SAFETENSORS}":
        return _checkpoint(path, options, device, images)
    return OnnxLoader(options, device).load(path, images)


def _checkpoint(
    path: Path, options: LoadOptions, device: torch.device, images: ImageSet | None
) -> Classifier:
    if options.output is not None or not options.preprocess.empty:
        message = f"{path}: a checkpoint contains its own preprocessing and output"
        raise PreprocessingError(message, hint="omit the options for preprocessing and output")
    classifier = _checkpoint_loader(path)(path, device)
    if images is not None:
        images.require_fit(classifier.image_shape, classifier.num_classes)
    return classifier


def _checkpoint_loader(path: Path) -> CheckpointLoader:
    """The registered function that reads checkpoints.

    Raises:
        ModelFileError: there is none.
    """
    for entry in entry_points(group=LOADERS, name=SAFETENSORS):
        return cast("CheckpointLoader", entry.load())
    message = f"{path} is a checkpoint or a folder, and no loader for checkpoints is installed"
    hint = f"export it to ONNX, or reinstall robcert, which registers one as {LOADERS}"
    raise ModelFileError(message, hint=hint)


def torch_device(name: str | torch.device) -> torch.device:
    """Device called ``name``; ``auto`` is a GPU if torch finds one.

    Raises:
        InvalidParameterError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"device must be auto, cpu, cuda or cuda:N, got {name!r}"
        raise InvalidParameterError(message) from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type not in {"cpu", "cuda"} or (
        device.type == "cuda" and (device.index or 0) >= count
    ):
        message = f"device {name} is not available: torch finds {count} GPUs"
        raise InvalidParameterError(message, hint="use cpu")
    return device
