"""From pixel space to the input that a model expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["NCHW", "NHWC", "flat"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How x in [0, 1], ``(b, c, h, w)``, becomes the model's input.

    In this order: channel order, scaling to ``range``, ``(x - mean) / std`` in that range's units
    and the model's channel order, layout, reshape to ``input_shape``, rounding and saturation for
    integer types.

    Attributes:
        layout: axis order of the input; ``flat`` is one vector an image.
        flatten: how a flat input lists the pixels.
        range: values that black and white become before mean and std.
        channels: order of three colour channels.
        mean: subtracted, one number or one a channel; empty for none.
        std: divided by, likewise.
        dtype: element type of the input.
        input_shape: shape of one input without the batch axis; empty to keep what ``layout`` gives.
    """

    layout: Layout = "NCHW"
    flatten: Literal["row-major", "column-major"] = "row-major"
    range: tuple[float, float] = (0.0, 1.0)
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = "float32"
    input_shape: tuple[int, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Model input of the pixels ``x (b, c, h, w)``; differentiable in ``x``."""
        if self.channels == "BGR":
            x = x.flip(1)
        low, high = self.range
        if (low, high) != (0.0, 1.0):
            x = x * (high - low) + low
        if self.mean:
            x = x - x.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            x = x / x.new_tensor(self.std).view(1, -1, 1, 1)
        if self.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        elif self.layout == "flat":
            x = (x if self.flatten == "row-major" else x.transpose(2, 3)).flatten(1)
        if self.input_shape:
            x = x.reshape(x.shape[0], *self.input_shape)
        return self._as_input_type(x)

    def _as_input_type(self, x: Tensor) -> Tensor:
        """``x`` on the grid of the input type, still a float tensor with straight-through slope."""
        kind = getattr(torch, self.dtype)
        if kind.is_floating_point:
            return x
        limits = torch.iinfo(kind)
        inside = x.clamp(limits.min, limits.max)
        return inside + (inside.round() - inside).detach()
