"""What `robcert inspect` says about images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from command_line import robcert
from PIL import Image

from robcert.certify.auditing.open import bundled

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_left_out_of_a_folder_is_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in (*(f"{label}" for label in range(10)), ".cache"):
        (tmp_path / place).mkdir()
        pixels = rng.integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(tmp_path / place / "0.png")
    model = str(bundled("fashion-honest.onnx"))
    ended = robcert("inspect", "--model", model, "--data", str(tmp_path))
    assert ended.status == 0
    assert "note: hidden folders that are ignored: 1 (.cache)" in ended.stderr
