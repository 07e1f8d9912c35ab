"""Linear classifiers, whose distance to the boundary is known in every norm (spec F1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.model.classifier import Classifier

SHAPE = (1, 4, 5)
CLASSES = 4


def linear_module(seed: int, *, classes: int = CLASSES, scale: float = 1.0) -> nn.Sequential:
    """z = W x + b with b such that the grey image has equal logits."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(20, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, 20, generator=generator) * scale)
        layer.bias.copy_(-layer.weight.sum(1) * 0.5)
    return nn.Sequential(nn.Flatten(), layer)


def linear_classifier(seed: int = 0, *, classes: int = CLASSES, scale: float = 1.0) -> Classifier:
    module = linear_module(seed, classes=classes, scale=scale)
    return Classifier.from_module(module, image_shape=SHAPE, num_classes=classes)


def near_grey(classifier: Classifier, count: int, *, spread: float = 0.02) -> Batch:
    """Images so near grey that the pixel box is far from the boundary, with the model's classes."""
    generator = torch.Generator().manual_seed(1)
    x = 0.5 + spread * torch.randn(count, *SHAPE, generator=generator)
    return Batch(np.arange(count), x, classifier.logits(x).argmax(1))


def exact_distance(seed: int, batch: Batch, norm: Norm, *, classes: int = CLASSES) -> Tensor:
    """min over i of (z_y - z_i) / ||w_y - w_i||_q, no box, float64."""
    parameters = linear_module(seed, classes=classes)[1].parameters()
    weight, bias = (parameter.detach().double() for parameter in parameters)
    logits = batch.x.flatten(1).double() @ weight.T + bias
    margins = logits.gather(1, batch.y[:, None]) - logits
    slopes = torch.stack([norm.dual.of(weight[y] - weight) for y in batch.y])
    return torch.where(slopes > 0, margins / slopes, torch.inf).amin(1)
