"""A torch module in memory as a classifier: runtime and twin are the module itself."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.errors import ModelFileError, PreprocessingError

from .classifier import Classifier, ModelInfo
from .grid import InputGrid
from .preprocessing import PreprocessOptions

if TYPE_CHECKING:
    from .preprocessing import Preprocessing


def module_classifier(
    module: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    preprocess: PreprocessOptions | None = None,
    device: torch.device | None = None,
) -> Classifier:
    """Classifier of a copy of ``module``, which maps preprocessed images to logits ``(b, k)``.

    The number of classes is that of the module's output on one grey image.

    Args:
        module: in evaluation mode.
        image_shape: (c, h, w) of the images that it will be given, in pixel space.
        preprocess: how pixels in [0, 1] become its input; parts it leaves out are not applied.
        device: where it runs; None for the CPU.

    Raises:
        ModelFileError: it is in training mode, fails on an image, or gives no ``(b, k)`` scores.
        PreprocessingError: mean or std do not fit the channels.
    """
    name = type(module).__name__
    if module.training or any(part.training for part in module.modules()):
        message = f"{name} is in training mode: its scores may depend on the batch and on chance"
        raise ModelFileError(message, hint="call module.eval() first")
    options = preprocess or PreprocessOptions()
    _require_channels(options, image_shape[0])
    prepare = options.completed(layout=options.layout or "NCHW", dtype="float32", input_shape=())
    grid = InputGrid.of(prepare)
    shipped = copy.deepcopy(module).to(device or torch.device("cpu"))
    info = ModelInfo(
        file=name,
        sha256=_digest(module, prepare),
        kind="module",
        runtime=f"torch {torch.__version__}",
        preprocessing=json.dumps(asdict(prepare), sort_keys=True),
        notes=() if grid is None else (grid.note(),),
    )
    classifier = Classifier.from_module(
        shipped,
        image_shape=image_shape,
        num_classes=_classes(shipped, prepare, image_shape, device),
        info=info,
        preprocessing=prepare,
    )
    return classifier if device is None else replace(classifier, device=device)


def _classes(
    module: nn.Module,
    prepare: Preprocessing,
    image_shape: tuple[int, int, int],
    device: torch.device | None,
) -> int:
    """Classes that ``module`` scores, found by running it on two grey images."""
    name, shape = type(module).__name__, "x".join(str(side) for side in image_shape)
    grey = torch.full((2, *image_shape), 0.5, device=device)
    try:
        with torch.no_grad():
            scores = module(prepare(grey))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{name} fails on an image of {shape} pixels: {reason}"
        raise ModelFileError(message, hint="do images and preprocessing fit the module?") from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 2:
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        message = f"{name} gives {found} for two images, not scores of the shape (2, classes)"
        raise ModelFileError(message)
    if scores.shape[1] < 2:
        message = f"{name} gives one score per image; a classifier has one per class"
        raise ModelFileError(message)
    return int(scores.shape[1])


def _digest(module: nn.Module, prepare: Preprocessing) -> str:
    """SHA-256 of structure, weights and preprocessing: identifies a model in memory."""
    digest = sha256(f"{module}|{prepare}".encode())
    for name, values in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if isinstance(values, Tensor):
            array = values.detach().cpu().contiguous()
            digest.update(np.asarray(array.view(torch.uint8) if array.ndim else array).tobytes())
    return digest.hexdigest()


def _require_channels(options: PreprocessOptions, channels: int) -> None:
    for key, values in (("mean", options.mean), ("std", options.std)):
        if values is not None and len(values) not in (1, channels):
            message = f"{key} has {len(values)} numbers, but the images have {channels} channels"
            raise PreprocessingError(message)
