"""Settings by which torch multiplies in fewer bits, made before and after a model is loaded."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx_models as om
import pytest
import torch
from torch import nn

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_classifier
from robcert.certify.model import module_classifier
from robcert.certify.numerics import narrow_products
from robcert.certify.verification import prover as prover_module
from robcert.certify.verification.bounds import Rounding
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def by_environment(name: str) -> Iterator[None]:
    os.environ[name] = "BF16"
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def by_matmul_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def by_convolutions() -> Iterator[None]:
    convolutions: Any = torch.backends.mkldnn.conv  # type: ignore[attr-defined]
    convolutions.fp32_precision = "bf16"
    try:
        yield
    finally:
        convolutions.fp32_precision = "none"


SETTINGS = {
    "ONEDNN_DEFAULT_FPMATH_MODE=BF16": lambda: by_environment("ONEDNN_DEFAULT_FPMATH_MODE"),
    "DNNL_DEFAULT_FPMATH_MODE=BF16": lambda: by_environment("DNNL_DEFAULT_FPMATH_MODE"),
    "torch.set_float32_matmul_precision('medium')": by_matmul_precision,
    "torch.backends.mkldnn.conv.fp32_precision = 'bf16'": by_convolutions,
}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return layers.requires_grad_(requires_grad=False).eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_noticed_when_it_is_made(name: str) -> None:
    """Matrix products may have one of their own, which the general setting also sets."""
    assert narrow_products() == ""
    with SETTINGS[name]():
        assert narrow_products() in {name, "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'"}
    assert narrow_products() == ""
    os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"
    try:
        assert narrow_products() == ""
    finally:
        del os.environ["ONEDNN_DEFAULT_FPMATH_MODE"]


@pytest.mark.parametrize("name", SETTINGS)
def test_bounds_are_computed_in_float64_while_it_lasts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[torch.dtype] = []

    def watched(arithmetic: Arithmetic, dtype: torch.dtype) -> Rounding:
        used.append(dtype)
        return Rounding(arithmetic, dtype)

    monkeypatch.setattr(prover_module, "Rounding", watched)
    prover = Prover.of_function(network(), (1, 8, 8))
    x, ball = torch.full((1, 8, 8), 0.5), Ball(Norm.LINF, 0.3)

    def types() -> set[torch.dtype]:
        used.clear()
        prover.decide(x, 0, ball, method=Method.CROWN)
        return set(used)

    assert types() == {torch.float32}
    with SETTINGS[name]():
        assert types() == {torch.float64}
    assert types() == {torch.float32}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_torch_evaluates_has_no_certificate_in_float32(tmp_path: Path, name: str) -> None:
    classifier = module_classifier(network(), image_shape=(1, 8, 8))
    onnx = load_classifier(om.saved(tmp_path, om.linear()))
    with SETTINGS[name]():
        with pytest.raises(UnsupportedOperatorError, match="torch evaluates it in fewer bits by"):
            Prover.of(classifier)
        assert Prover.of(classifier, Arithmetic.REAL).arithmetic is Arithmetic.REAL
        assert Prover.of(onnx).arithmetic is Arithmetic.FLOAT32  # another runtime evaluates it
    assert Prover.of(classifier).arithmetic is Arithmetic.FLOAT32


def test_the_twin_is_not_what_is_certified(tmp_path: Path) -> None:
    """Bounds of an ONNX file hold for float32 whatever torch is set to."""
    classifier = load_classifier(om.saved(tmp_path, om.linear()))
    x = torch.full((3, 4, 4), 0.5)
    y = int(classifier.logits(x[None]).argmax())

    def bound() -> float:
        decision = Prover.of(classifier).decide(x, y, Ball(Norm.LINF, 0.001))
        return decision.bound

    before = bound()
    with by_matmul_precision():
        assert bound() == pytest.approx(before, rel=1e-6)
