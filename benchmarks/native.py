"""A network for comparison with other libraries: the torch module that was trained.

With a run folder of ``robcert train`` the other libraries get that module with its parameters, and
robcert gets the ONNX file; without one they get the twin of the ONNX file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robcert.certify.importer import LoadOptions, load_classifier
from robcert.trainers.loop import load_network

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier


@dataclass(frozen=True)
class Pair:
    """The same function for robcert and for the other library."""

    classifier: Classifier
    module: nn.Module


class Twin(nn.Module):
    """The twin as a module; it has no parameters that require gradients."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        # other libraries read the device from it
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.twin_logits(x)


def load_pair(path: Path, images: ImageSet, threads: int = 0) -> Pair:
    """The model of an ONNX file or of a run folder, which contains one beside its checkpoint."""
    file = path / "model.onnx" if path.is_dir() else path
    classifier = load_classifier(file, LoadOptions(threads=threads), images=images)
    if not path.is_dir():
        return Pair(classifier, Twin(classifier))
    return Pair(classifier, load_network(path).requires_grad_())
