"""What the comparisons with other attack libraries share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.data.load import load_images

if TYPE_CHECKING:
    from robcert.certify.model.classifier import Classifier


class Counted(nn.Module):
    """The twin as a torch module that counts images, and gradients of them."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model, self.images, self.gradients = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        logits = self.model.twin_logits(x)
        if logits.requires_grad:
            # by backward pass, for some attacks take several a forward pass
            logits.register_hook(self.count)  # type: ignore[no-untyped-call]
        return logits

    def count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def correct(model: Classifier, count: int) -> Batch:
    """The first bundled images that the model classifies as labelled."""
    images = load_images("fashion-mnist-2000")
    assert images.labels is not None
    indices = np.arange(2 * count)
    x, y = images.pixels(indices), torch.from_numpy(images.labels[indices])
    right = (model.logits(x).argmax(1) == y).nonzero().flatten()[:count]
    assert len(right) == count
    return Batch(indices[right.numpy()], x[right], y[right].long())


def distances(model: Classifier, batch: Batch, adversarial: Tensor, norm: Norm) -> Tensor:
    """Distances of those that the runtime misclassifies, inf for the others."""
    wrong = model.logits(adversarial).argmax(1) != batch.y
    return torch.where(wrong, norm.of((adversarial - batch.x).double()), torch.inf)
