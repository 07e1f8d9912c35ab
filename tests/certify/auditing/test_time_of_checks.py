"""The time budget of a run also ends the check of clean accuracy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torch import Tensor, nn

from robcert.certify.auditing import SessionRequest, open_session
from robcert.certify.auditing import open as opening
from robcert.certify.errors import TimeLimitError
from robcert.certify.model.classifier import Classifier, ModelInfo

if TYPE_CHECKING:
    from pathlib import Path


class Slow(nn.Module):
    """A model that takes 0.2 s per call and counts its calls."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(0.2)
        return x.flatten(1)[:, :3]


def test_clean_accuracy_is_abandoned_after_the_time_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BATCH_SECONDS", 0.1)
    network, out = Slow(), tmp_path / "r.h5"
    model = Classifier.from_module(
        network, image_shape=(1, 2, 2), num_classes=3, info=ModelInfo("m", "a" * 64, "module")
    )
    images = tmp_path / "noise.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (400, 2, 2, 1), np.uint8)
    np.savez(images, images=pixels, labels=np.arange(400) % 3)
    network.calls = 0
    request = SessionRequest(model, images, out=out, seconds=0.1, allow_low_accuracy=True)
    with (
        pytest.raises(TimeLimitError, match="before clean accuracy was known") as caught,
        open_session(request),
    ):
        pass
    assert "--time-budget" in caught.value.hint
    assert network.calls <= 3
    assert not out.exists()
