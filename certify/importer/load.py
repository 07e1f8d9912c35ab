"""A model file of any kind becomes a Classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robcert.certify.errors import InvalidParameterError, ModelFileError, PreprocessingError
from robcert.certify.model import PreprocessOptions

from .onnx_classifier import OnnxLoader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier


def load_classifier(
    path: Path,
    *,
    preprocess: PreprocessOptions | None = None,
    output: str | None = None,
    images: ImageSet | None = None,
    device: str | torch.device = "auto",
    threads: int = 0,
    checkpoint_loader: Callable[[Path, torch.device], Classifier] | None = None,
) -> Classifier:
    """The classifier in an ONNX file, a checkpoint or a run folder, in pixel space.

    An ONNX file is taken for hostile: it is first tried in a child process under a memory and a
    time limit. What was decided where the file leaves something open stands in ``info.notes``.

    Args:
        path: ``.onnx`` file, ``.safetensors`` checkpoint, or folder of a training run.
        preprocess: what is known of the preprocessing; completes and overrides the file's metadata.
        output: name of the output with the class scores, which may be an inner tensor.
        images: the images that it will be given; they settle layout and size.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        threads: of the runtime; 0 for one a processor core.
        checkpoint_loader: reads checkpoints, whose architectures live in ``robcert.trainers``.

    Raises:
        ModelFileError: the file is bad, unsafe, or no image classifier.
        PreprocessingError: the preprocessing contradicts the model.
        DataError: the images do not fit the model.
    """
    where = torch_device(device)
    if path.is_dir() or path.suffix == ".safetensors":
        if checkpoint_loader is None:
            message = f"{path} is a checkpoint or a folder, not an ONNX file"
            raise ModelFileError(message)
        if output is not None or not (preprocess is None or preprocess.empty):
            message = f"{path}: a checkpoint knows its own preprocessing and output"
            raise PreprocessingError(message, hint="leave these options out")
        classifier = checkpoint_loader(path, where)
        if images is not None:
            images.require_fit(classifier.image_shape, classifier.num_classes)
        return classifier
    loader = OnnxLoader(preprocess or PreprocessOptions(), output, where, threads)
    return loader.load(path, images)


def torch_device(name: str | torch.device) -> torch.device:
    """Device called ``name``; ``auto`` is a GPU if torch sees one.

    Raises:
        InvalidParameterError: no such device here.
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
        message = f"device {name} is not available: torch sees {count} GPUs"
        raise InvalidParameterError(message, hint="use cpu")
    return device
