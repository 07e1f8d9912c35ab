"""Every analysis with settings under which an image takes a moment, and a network for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om

from robcert.certify import api
from robcert.certify.attacks import AttackSettings, CorruptionSettings, Suite
from robcert.certify.data import from_arrays
from robcert.certify.landscape import SurfaceSettings, TaylorSettings
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.masking import MaskingSettings
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import PredictionSettings, SmoothingAttackSettings, SmoothingSettings
from robcert.certify.verification import Method, VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data import ImageSet

SHAPE, CLASSES = (1, 6, 6), 4

ANALYSES: dict[str, tuple[Any, object]] = {
    "linearity": (api.linearity, LinearitySettings(steps=3)),
    "bounds": (
        api.bounds,
        BoundsSettings(
            blocks=30,
            block_size=1,
            points=2,
            steps=1,
            restarts=1,
            curvature_steps=1,
            rho_steps=1,
        ),
    ),
    "attack": (api.attack, AttackSettings(suite=Suite.QUICK, save_images=True)),
    "corruption": (api.corruption, CorruptionSettings()),
    "smoothing certify": (
        api.smoothing_certify,
        SmoothingSettings(sigma=0.1, n=256, radii=(0.05,)),
    ),
    "smoothing predict": (api.smoothing_predict, PredictionSettings(sigma=0.1, n=128)),
    "smoothing attack": (
        api.smoothing_attack,
        SmoothingAttackSettings(sigma=0.1, steps=4, draws=4, n=256),
    ),
    "masking": (
        api.masking_check,
        MaskingSettings(
            steps=3, restarts=1, targets=1, unbounded_steps=5, noise_draws=3, queries=10
        ),
    ),
    "surface": (api.surface, SurfaceSettings(resolution=5, steps=3)),
    "taylor": (api.taylor, TaylorSettings()),
    "verify": (api.verify, VerificationSettings(seconds=600.0, method=Method.CROWN_IBP)),
}


def network(folder: Path, seed: int = 0) -> Path:
    """An ONNX file: two convolutions with ReLU and a linear layer, random weights."""
    draws = np.random.default_rng(seed)
    shapes = {"k1": (4, 1, 3, 3), "k2": (4, 4, 3, 3), "w": (144, CLASSES)}
    weights = {name: draws.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["w"] /= 4
    nodes = [
        om.node("Conv", "x k1", "c1", pads=[1, 1, 1, 1]),
        om.node("Relu", "c1", "a1"),
        om.node("Conv", "a1 k2", "c2", pads=[1, 1, 1, 1]),
        om.node("Relu", "c2", "a2"),
        om.node("Flatten", "a2", "flat"),
        om.node("MatMul", "flat w", "logits"),
    ]
    inputs = {"x": ("batch", *SHAPE)}
    made = om.model(nodes, inputs=inputs, outputs={"logits": None}, weights=weights)
    return om.saved(folder, made, f"network-{seed}.onnx")


def pictures(folder: Path, count: int = 80) -> ImageSet:
    """Random images with the labels that the network gives three quarters of them."""
    draws = np.random.default_rng(7)
    pixels = draws.integers(0, 256, (count, *SHAPE[1:], SHAPE[0]), np.uint8)
    unlabelled = from_arrays("pictures", pixels)
    logits = api.load_model(network(folder), unlabelled).logits(unlabelled.pixels(np.arange(count)))
    labels = logits.argmax(1).numpy()
    labels[::4] = (labels[::4] + 1) % CLASSES
    return from_arrays("pictures", pixels, labels)
