"""Images that a tiny network learns in a second."""

from __future__ import annotations

import torch

from robcert.trainers.data.images import TrainingImages


def stripes(count: int, *, seed: int = 0) -> TrainingImages:
    """Two classes: bright rows and bright columns, under noise."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=draws)
    pixels = torch.randint(60, (count, 1, 8, 8), generator=draws)
    pixels[labels == 0, :, 2:4, :] += 150
    pixels[labels == 1, :, :, 2:4] += 150
    return TrainingImages(pixels.to(torch.uint8), labels, "stripes", "0" * 64)
