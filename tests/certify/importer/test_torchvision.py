"""Every classification architecture of torchvision, through both exporters of torch."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torchvision import models

from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST = {"inception_v3": 80, "googlenet": 64}
"""Images that an architecture still takes, where 32 pixels are too few."""

FULL_SIZE = ("vit_", "maxvit_", "swin_", "vgg", "alexnet")
"""Prefixes of those that do not take small images, or whose pooling cannot be exported at them."""

WITH_AUXILIARIES = {"googlenet", "inception_v3"}

ARCHITECTURES = models.list_models(module=models)


def exported(name: str, folder: Path, *, dynamo: bool) -> tuple[Path, tuple[int, ...]]:
    """An ONNX file of the architecture with random weights, and the shape of its input."""
    torch.manual_seed(0)
    size = 224 if name.startswith(FULL_SIZE) else SMALLEST.get(name, 32)
    keywords = {"aux_logits": False, "init_weights": False} if name in WITH_AUXILIARIES else {}
    model = alive(models.get_model(name, weights=None, **keywords), size)
    shape, path = (1, 3, size, size), folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of themselves
        where = str(path)  # TorchScript writes over 2 GB only where it is given a string
        torch.onnx.export(model, (torch.rand(shape),), where, dynamo=dynamo, verbose=False)
    return path, shape


def alive(model: nn.Module, size: int) -> nn.Module:
    """The model with no weight at zero and statistics of some batch, so that its logits differ."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)
        for layer in model.eval().modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train().momentum = 0.997  # nearly the statistics of this batch
        model(torch.rand(8, 3, size, size))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_twin_agrees_with_the_runtime(name: str, dynamo: bool, tmp_path: Path) -> None:
    path, shape = exported(name, tmp_path, dynamo=dynamo)
    x = np.random.default_rng(0).random((3, *shape[1:]), dtype=np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    want = np.concatenate([session.run(None, {entry: row[None]})[0] for row in x])
    twin = build_twin(onnx.load(path), image_shape=shape[1:])
    got = twin(torch.from_numpy(x)).detach().numpy()
    assert twin.batch_free
    # Rounding in another order, amplified: random networks have gradients up to 1e4, and of
    # resnet152 the runtime itself is 6e-4 from what float64 gives.
    assert np.abs(got - want).max() <= 2e-3 * np.abs(want).max()


def test_the_list_of_architectures_is_not_empty() -> None:
    assert len(ARCHITECTURES) > 50
    assert all(inspect.isfunction(models.get_model_builder(name)) for name in ARCHITECTURES)
