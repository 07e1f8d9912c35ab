"""Classification models of torchvision by name, with random weights."""

from __future__ import annotations

from torch import Tensor, nn

from robcert.certify.errors import InvalidParameterError

from .factories import output_shape

TORCHVISION = "torchvision:"
"""Prefix of the name of a classification model of torchvision."""

_COLOURS = 3
_AUXILIARY = ("googlenet", "inception_v3")
"""Models that by default return further outputs besides the logits in training mode."""


class Coloured(nn.Module):
    """Grey images as three equal channels, which torchvision's networks expect."""

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(b, 3, h, w)`` of ``x (b, 1, h, w)``."""
        return x.expand(-1, _COLOURS, -1, -1)


def torchvision_model(
    name: str, *, image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """The classification model ``name`` for images of this shape.

    Raises:
        InvalidParameterError: there is no such model, or it does not accept such images.
    """
    from torchvision import models  # takes seconds to import

    if name not in models.list_models(module=models):
        message = f"torchvision has no classification model named {name!r}"
        raise InvalidParameterError(message)
    options = {"aux_logits": False, "init_weights": True} if name in _AUXILIARY else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if image_shape[0] == 1:
        network = nn.Sequential(Coloured(), network)
    try:
        output_shape(network, (1, *image_shape))
    except (RuntimeError, AssertionError) as error:
        size = "x".join(map(str, image_shape))
        message = f"torchvision's {name} does not accept images of {size}: {_first_line(error)}"
        raise InvalidParameterError(message) from error
    return network


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
