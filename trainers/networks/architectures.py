"""Networks by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Literal

from torch import nn

from robcert.certify.errors import InvalidParameterError, require_at_least

from .blocks import BasicBlock, Bottleneck, BranchBlock, SmoothRelu
from .factories import build as build_own
from .factories import is_factory
from .residual import resnet, wide_resnet
from .vision_models import TORCHVISION, torchvision_model

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "c2relu": SmoothRelu,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network up to its weights.

    Attributes:
        name: one of ``names()``, ``torchvision:`` and a model of torchvision, or ``module:factory``
            of the user's own, which is built only where the user named it (``factories``).
        activation: non-linearity between the layers; torchvision's and the user's models keep
            their own.
        width: channels of the first layer (units, for ``mlp``); None for the published width.
        denoise: end each stage of a residual network with a denoising block (Xie et al. 2019).
    """

    name: str = "cnn4"
    activation: Literal["relu", "softplus", "c2relu"] = "relu"
    width: int | None = None
    denoise: bool = False

    def __post_init__(self) -> None:
        if self.name not in _BUILDERS and not (self.own or self.name.startswith(TORCHVISION)):
            message = f"there is no architecture named {self.name!r}"
            hint = f"one of: {', '.join(names())}, torchvision:NAME, module:factory"
            raise InvalidParameterError(message, hint=hint)
        if self.activation not in ACTIVATIONS:
            message = f"there is no activation named {self.activation!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(ACTIVATIONS)}")
        if self.width is not None:
            require_at_least("width", self.width, 1)
        if self.denoise and self.name not in RESIDUAL:
            message = f"{self.name} has no stages that a denoising block could end"
            raise InvalidParameterError(message, hint=f"use one of: {', '.join(RESIDUAL)}")

    @property
    def own(self) -> bool:
        """Whether this is a network of the user's own."""
        return not self.name.startswith(TORCHVISION) and is_factory(self.name)

    def build(self, *, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Network ``(b, c, h, w)`` to logits ``(b, k)`` with fresh weights (torch's generator)."""
        if self.name.startswith(TORCHVISION):
            return torchvision_model(
                self.name.removeprefix(TORCHVISION),
                image_shape=image_shape,
                num_classes=num_classes,
            )
        if self.own:
            return build_own(self.name, image_shape=image_shape, num_classes=num_classes)
        return _BUILDERS[self.name].build(self, image_shape, num_classes)


@dataclass(frozen=True, slots=True)
class Builder:
    """How an architecture is built, and one line on it."""

    doc: str
    build: Callable[[Architecture, tuple[int, int, int], int], nn.Module]


def names() -> list[str]:
    """Architectures that can be built, in the order they are listed to people."""
    return list(_BUILDERS)


def describe(name: str) -> str:
    """One line on the architecture ``name``."""
    return _BUILDERS[name].doc


def cnn4(arch: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Four 3x3 convolutions (Ma et al. 2020, section 5).

    The paper leaves padding and head open: here the convolutions keep the size, and one linear
    layer reads the features.
    """
    channels, height, width = shape
    first = arch.width or 32
    act = ACTIVATIONS[arch.activation]
    features = 2 * first * (height // 4) * (width // 4)
    if features == 0:
        message = f"cnn4 needs images of at least 4x4 pixels, got {height}x{width}"
        raise InvalidParameterError(message)
    sizes = [channels, first, first, 2 * first, 2 * first]
    layers: list[nn.Module] = []
    for layer in range(4):
        layers += [nn.Conv2d(sizes[layer], sizes[layer + 1], 3, padding=1), act()]
        if layer % 2 == 1:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, num_classes))


def mlp(arch: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two hidden layers of equal width."""
    units = arch.width or 256
    act = ACTIVATIONS[arch.activation]
    hidden = (nn.Linear(prod(shape), units), act(), nn.Linear(units, units), act())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(units, num_classes))


def linear(_: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """One linear layer: every robustness quantity has a closed form."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), num_classes))


def _resnet(
    arch: Architecture,
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    blocks: tuple[int, ...],
    block: Callable[..., nn.Module],
    expansion: int,
    width: int = 64,
) -> nn.Module:
    return resnet(
        shape,
        num_classes,
        blocks=blocks,
        block=block,
        expansion=expansion,
        width=arch.width or width,
        act=ACTIVATIONS[arch.activation],
        denoise=arch.denoise,
    )


def _wide(
    arch: Architecture,
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int,
    widen: int,
) -> nn.Module:
    return wide_resnet(
        shape,
        num_classes,
        depth=depth,
        widen=widen,
        width=arch.width or 16,
        act=ACTIVATIONS[arch.activation],
        denoise=arch.denoise,
    )


_BUILDERS: dict[str, Builder] = {
    "cnn4": Builder("four 3x3 convolutions (32, 32, 64, 64), pooled after 2 and 4", cnn4),
    "mlp": Builder("two hidden layers of 256 units", mlp),
    "linear": Builder("one linear layer", linear),
    "resnet-small": Builder(
        "residual network of eight layers (16, 32, 64) for images of about 32 pixels",
        partial(_resnet, blocks=(1, 1, 1), block=BasicBlock, expansion=1, width=16),
    ),
    "resnet18": Builder(
        "ResNet-18", partial(_resnet, blocks=(2, 2, 2, 2), block=BasicBlock, expansion=1)
    ),
    "resnet50": Builder(
        "ResNet-50", partial(_resnet, blocks=(3, 4, 6, 3), block=Bottleneck, expansion=4)
    ),
    "resnet152": Builder(
        "ResNet-152", partial(_resnet, blocks=(3, 8, 36, 3), block=Bottleneck, expansion=4)
    ),
    "resnet110": Builder(
        "ResNet-110 for small images (Cohen et al. 2019)",
        partial(_resnet, blocks=(18, 18, 18), block=BasicBlock, expansion=1, width=16),
    ),
    "resnext34-2x32": Builder(
        "ResNeXt-34 (2x32) of Finlay & Oberman, for small images",
        partial(_resnet, blocks=(5, 5, 5), block=BranchBlock, expansion=1, width=32),
    ),
    "wrn-28-8": Builder("Wide ResNet 28-8", partial(_wide, depth=28, widen=8)),
    "wrn-28-10": Builder("Wide ResNet 28-10", partial(_wide, depth=28, widen=10)),
    "wrn-40-8": Builder("Wide ResNet 40-8", partial(_wide, depth=40, widen=8)),
}
RESIDUAL = tuple(name for name in _BUILDERS if name not in ("cnn4", "mlp", "linear"))
