"""Architectures by name."""

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
from .residual import ResNet, WideResNet
from .vision_models import TORCHVISION, torchvision_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "c2relu": SmoothRelu,
}

CNN4_WIDTH, MLP_WIDTH = 32, 256


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without its weights.

    Attributes:
        name: one of ``names()``, ``torchvision:MODEL``, or ``module:factory`` for a network in the
            user's code, which is imported only if the user named it (see ``factories``).
        activation: non-linearity between the layers; networks of torchvision and of the user keep
            their own.
        width: channels of the first layer (units, for ``mlp``); None for the published width.
        denoise: whether each stage of a residual network ends with a denoising block (Xie et al.
            2019).
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
            message = f"{self.name} is not a residual network and has no place for denoising blocks"
            raise InvalidParameterError(message, hint=f"use one of: {', '.join(RESIDUAL)}")

    @property
    def own(self) -> bool:
        """Whether the network is defined in the user's code."""
        return not self.name.startswith(TORCHVISION) and is_factory(self.name)

    @property
    def unused(self) -> Mapping[str, str]:
        """Fields without effect on the network, each with the reason."""
        if self.name in _BUILDERS and self.name != "linear":
            return {}
        return dict.fromkeys(("activation", "width"), f"architecture {self.name}")

    def build(self, *, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Network from ``(b, c, h, w)`` to logits ``(b, k)``, with random weights."""
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
    """Function that builds an architecture, and its description in one line."""

    doc: str
    build: Callable[[Architecture, tuple[int, int, int], int], nn.Module]


def names() -> list[str]:
    """Names of all built-in architectures, in the order of `robcert architectures`."""
    return list(_BUILDERS)


def published_width(name: str) -> int | None:
    """Width of the architecture ``name`` where none is given; None where it has no effect."""
    if name in _RESIDUAL:
        return _RESIDUAL[name][1].width
    return {"cnn4": CNN4_WIDTH, "mlp": MLP_WIDTH}.get(name)


def channels_per_width(name: str) -> int:
    """Channels of the first stage of the architecture ``name`` divided by its width."""
    design = _RESIDUAL[name][1] if name in _RESIDUAL else None
    return design.widen if isinstance(design, WideResNet) else 1


def describe(name: str) -> str:
    """Description of the architecture ``name`` in one line."""
    return _BUILDERS[name].doc


def cnn4(arch: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Four 3x3 convolutions (Ma et al. 2020, section 5).

    The paper does not state padding and head; here the convolutions keep the size of the image and
    one linear layer follows.
    """
    channels, height, width = shape
    first = arch.width or CNN4_WIDTH
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
    """Fully connected network with two hidden layers of equal width."""
    units = arch.width or MLP_WIDTH
    act = ACTIVATIONS[arch.activation]
    hidden = (nn.Linear(prod(shape), units), act(), nn.Linear(units, units), act())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(units, num_classes))


def linear(_: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """One linear layer, for which every robustness quantity has a closed form."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), num_classes))


def _residual(
    design: ResNet | WideResNet,
    arch: Architecture,
    shape: tuple[int, int, int],
    num_classes: int,
) -> nn.Module:
    """Residual network of ``design``, with the width and activation of ``arch``."""
    return design.build(
        shape,
        num_classes,
        width=arch.width,
        act=ACTIVATIONS[arch.activation],
        denoise=arch.denoise,
    )


_RESIDUAL: dict[str, tuple[str, ResNet | WideResNet]] = {
    "resnet-small": (
        "residual network of eight layers (16, 32, 64) for images of about 32 pixels per side",
        ResNet((1, 1, 1), BasicBlock, width=16),
    ),
    "resnet18": ("ResNet-18", ResNet((2, 2, 2, 2), BasicBlock)),
    "resnet50": ("ResNet-50", ResNet((3, 4, 6, 3), Bottleneck, expansion=4)),
    "resnet152": ("ResNet-152", ResNet((3, 8, 36, 3), Bottleneck, expansion=4)),
    "resnet110": (
        "ResNet-110 for small images (Cohen et al. 2019)",
        ResNet((18, 18, 18), BasicBlock, width=16),
    ),
    "resnext34-2x32": (
        "ResNeXt-34 (2x32) of Finlay & Oberman, for small images",
        ResNet((5, 5, 5), BranchBlock, width=32),
    ),
    "wrn-28-8": ("Wide ResNet 28-8", WideResNet(depth=28, widen=8)),
    "wrn-28-10": ("Wide ResNet 28-10", WideResNet(depth=28, widen=10)),
    "wrn-40-8": ("Wide ResNet 40-8", WideResNet(depth=40, widen=8)),
}
RESIDUAL = tuple(_RESIDUAL)
"""Names of the residual networks, which may have denoising blocks."""

_BUILDERS: dict[str, Builder] = {
    "cnn4": Builder(
        "four 3x3 convolutions (32, 32, 64, 64), pooled after the second and fourth", cnn4
    ),
    "mlp": Builder("two hidden layers of 256 units", mlp),
    "linear": Builder("one linear layer", linear),
    **{name: Builder(doc, partial(_residual, design)) for name, (doc, design) in _RESIDUAL.items()},
}
