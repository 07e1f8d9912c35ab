"""Networks by name."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from robcert.certify.errors import InvalidParameterError, require_at_least

if TYPE_CHECKING:
    from collections.abc import Callable

Activation = Literal["relu", "softplus"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "softplus": nn.Softplus}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network up to its weights.

    Attributes:
        name: one of ``names()``.
        activation: non-linearity between the layers.
        width: channels of the first layer (units, for ``mlp``); None for the published width.
    """

    name: str = "cnn4"
    activation: Activation = "relu"
    width: int | None = None

    def __post_init__(self) -> None:
        if self.name not in _BUILDERS:
            message = f"there is no architecture named {self.name!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(names())}")
        if self.activation not in ACTIVATIONS:
            message = f"there is no activation named {self.activation!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(ACTIVATIONS)}")
        if self.width is not None:
            require_at_least("width", self.width, 1)

    def build(self, *, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Network ``(b, c, h, w)`` to logits ``(b, k)`` with fresh weights (torch's generator)."""
        return _BUILDERS[self.name](self, image_shape, num_classes)


def names() -> list[str]:
    """Architectures that can be built, in the order they are listed to people."""
    return list(_BUILDERS)


def describe(name: str) -> str:
    """One line on the architecture ``name``."""
    return (_BUILDERS[name].__doc__ or "").strip().splitlines()[0]


def cnn4(arch: Architecture, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Four 3x3 convolutions (32, 32, 64, 64), pooled after 2 and 4 (Ma et al. 2020, section 5).

    The paper leaves padding and head open: here the convolutions keep the size, and one linear
    layer reads the features.
    """
    channels, height, width = image_shape
    first = arch.width or 32
    act = ACTIVATIONS[arch.activation]
    sizes = [channels, first, first, 2 * first, 2 * first]
    layers: list[nn.Module] = []
    for layer in range(4):
        layers += [nn.Conv2d(sizes[layer], sizes[layer + 1], 3, padding=1), act()]
        if layer % 2 == 1:
            layers.append(nn.MaxPool2d(2))
    features = 2 * first * (height // 4) * (width // 4)
    if features == 0:
        message = f"cnn4 needs images of at least 4x4 pixels, got {height}x{width}"
        raise InvalidParameterError(message)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, num_classes))


def mlp(arch: Architecture, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two hidden layers of 256 units."""
    units = arch.width or 256
    act = ACTIVATIONS[arch.activation]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(image_shape), units),
        act(),
        nn.Linear(units, units),
        act(),
        nn.Linear(units, num_classes),
    )


def linear(_: Architecture, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """One linear layer: every robustness quantity has a closed form."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image_shape), num_classes))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Callable[[], nn.Module]):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            act(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, outputs, h / stride, w / stride)``."""
        out: Tensor = self.act(self.residual(x) + self.shortcut(x))
        return out


def resnet_small(
    arch: Architecture, image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Residual network of eight layers (16, 32, 64 channels) for images of about 32 pixels."""
    first = arch.width or 16
    act = ACTIVATIONS[arch.activation]
    return nn.Sequential(
        nn.Conv2d(image_shape[0], first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        act(),
        BasicBlock(first, first, 1, act),
        BasicBlock(first, 2 * first, 2, act),
        BasicBlock(2 * first, 4 * first, 2, act),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * first, num_classes),
    )


_BUILDERS: dict[str, Callable[[Architecture, tuple[int, int, int], int], nn.Module]] = {
    "cnn4": cnn4,
    "resnet-small": resnet_small,
    "mlp": mlp,
    "linear": linear,
}
