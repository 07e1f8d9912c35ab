"""A classifier computed in lower precision: a different function with its own certificates."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.errors import InvalidParameterError, StoreError
from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier, Logits
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup

    from .settings import SmoothingSettings

CALIBRATION = "smoothing/calibration"
CALIBRATION_IMAGES = 64

ROWS = 64
"""Batch size of bfloat16 on a CPU; fixed, because the last bits may depend on it."""


class Precision(StrEnum):
    """Number format that the model is computed in."""

    FLOAT32 = "float32"  # as in the file
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


def computed_in(
    classifier: Classifier, precision: Precision, images: ImageSet, *, sigma: float, seed: int
) -> Classifier:
    """``classifier`` with its runtime in ``precision``, without gradients.

    bfloat16: the graph in torch operations under autocast. int8: static quantisation by ONNX
    Runtime, with ranges from noisy copies of images spread over the data set. The function is thus
    fixed by the model, the data set, sigma and the seed before any draw for a certificate.

    Args:
        classifier: in float32, or in ``precision`` already (then returned as it is).
        precision: number format.
        images: the data set.
        sigma: standard deviation of the noise, pixel units.
        seed: of the calibration noise.

    Raises:
        InvalidParameterError: the model cannot be computed in this precision.
        ModelFileError: quantisation fails.
    """
    present = classifier.runtime.precision
    if present == precision:
        return classifier
    if present != Precision.FLOAT32:
        message = f"the model is already in {present}; {precision} needs the float32 model"
        raise InvalidParameterError(message)
    if precision is Precision.BFLOAT16:
        logits = _in_bfloat16(classifier)
    else:
        logits = _in_int8(classifier, _noisy(images, sigma=sigma, seed=seed))
    runtime = replace(classifier.runtime, logits=logits, reopened=None, precision=precision)
    return replace(classifier, runtime=runtime, twin=None)


def in_precision(session: Session, settings: SmoothingSettings) -> Session:
    """``session`` with its model in the precision of ``settings``."""
    classifier = computed_in(
        session.classifier,
        settings.precision,
        session.images,
        sigma=settings.sigma,
        seed=session.seed,
    )
    return session if classifier is session.classifier else replace(session, classifier=classifier)


def require_same_function(
    group: AnalysisGroup, classifier: Classifier, images: ImageSet, *, sigma: float, seed: int
) -> None:
    """Store a digest of the model's scores in ``group``, or compare it with the stored one.

    Raises:
        StoreError: they differ, as with another library version or another machine.
    """
    x = _noisy(images, sigma=sigma, seed=seed)[:8].to(classifier.device)
    digest = sha256(classifier.logits(x).float().cpu().numpy().tobytes()).hexdigest()
    if group.attribute("precision_digest", digest) != digest:
        message = (
            f"{group.path}: its {classifier.runtime.precision} model gave other scores than the "
            "one computed here"
        )
        raise StoreError(message, hint="write to another results file, or overwrite this one")
    group.set_attributes(precision_digest=digest)


def _noisy(images: ImageSet, *, sigma: float, seed: int) -> Tensor:
    """Noisy images ``(b, c, h, w)``, spread over the data set."""
    count = min(CALIBRATION_IMAGES, len(images))
    x = images.pixels(np.linspace(0, len(images) - 1, count).astype(np.int64))
    return x + sigma * torch.randn(x.shape, generator=generator(seed, CALIBRATION, 0))


def _in_bfloat16(classifier: Classifier) -> Logits:
    if not classifier.differentiable:
        why = classifier.info.twin_unavailable
        message = f"bfloat16 needs a PyTorch twin, and {classifier.info.file} has none: {why}"
        raise InvalidParameterError(message, hint="use float32")
    device = classifier.device.type
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        message = "this GPU does not support bfloat16"
        raise InvalidParameterError(message, hint="use float32")

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            if device == "cuda":
                return classifier.twin_logits(x).float()
            return torch.cat([_padded(classifier, part) for part in torch.split(x, ROWS)]).float()

    return logits


def _padded(classifier: Classifier, x: Tensor) -> Tensor:
    """Scores of ``x`` in a batch of ROWS, padded with copies of the first image."""
    padding = x[:1].expand(ROWS - len(x), *x.shape[1:])
    return classifier.twin_logits(torch.cat([x, padding]))[: len(x)]


def _in_int8(classifier: Classifier, noisy: Tensor) -> Logits:
    quantised = classifier.runtime.quantised
    if quantised is None:
        message = f"int8 needs an ONNX file on the CPU, which {classifier.info.file} is not here"
        hint = "export a checkpoint with robcert export; use --device cpu"
        raise InvalidParameterError(message, hint=hint)
    return quantised(noisy)
