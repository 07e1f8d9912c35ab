"""Functions of a small image, one for each rule of the translation into a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's usual name

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OperatorCase:
    """A function from images ``(b, *shape)`` to scores ``(b, k)``, in the type of its argument.

    Attributes:
        function: the function.
        shape: of one image.
        smooth: whether float32 evaluation is near the exact one (not with jumps).
    """

    function: Function
    shape: tuple[int, ...] = (2, 4, 4)
    smooth: bool = True


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Constants; not by torch's random numbers, which a traced function may not draw."""
    drawn = np.random.default_rng(seed + sum(shape)).normal(size=shape)
    return torch.from_numpy((drawn * scale).astype(np.float32))


DIVISOR = torch.linspace(1, 4, 32).view(2, 4, 4)


def like(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x.dtype)


def layer(make: Callable[[], nn.Module], after: Function | None = None) -> Function:
    """A layer with random weights, in the type of its argument; then ``after``."""
    torch.manual_seed(5)
    kept = {torch.float32: make().eval()}
    torch.manual_seed(5)
    kept[torch.float64] = make().eval().double()
    for module in kept.values():
        module.requires_grad_(requires_grad=False)
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.copy_(torch.linspace(0.5, 2, buffer.numel()))

    def apply(x: Tensor) -> Tensor:
        y = kept[x.dtype](x)
        return (y if after is None else after(y)).flatten(1)

    return apply


def wide(function: Function, scale: float = 6.0, shift: float = -3.0) -> Function:
    """An elementwise function on numbers of both signs."""

    def apply(x: Tensor) -> Tensor:
        return function(scale * x + shift).flatten(1)

    return apply


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2)
    query, key, value = (tokens @ like(numbers(16, 4, seed=s, scale=0.25), x) for s in range(3))
    return (torch.softmax(query @ key.transpose(1, 2) / 2, -1) @ value).flatten(1)


def in_place(x: Tensor) -> Tensor:
    y = x.flatten(1) * 4 - 2
    y[:, :3].clamp_(-0.5, 0.9)
    y[:, 3:6].relu_()
    y[:, 6] = y[:, 0]
    z = torch.zeros_like(y)
    z[:, 1:4] = y[:, :3]
    return y.add_(z)


def shared(x: Tensor) -> Tensor:
    """Cancelling consumers, the same argument twice, elements that are repeated."""
    y = F.relu(x.flatten(1) * 3 - 1)
    again = y[:, [0, 0, 5, 5, 5, 2]]
    return torch.cat([y - y, y + y, y * y, again, y - 0.5 * y.flip(1)], 1)


def unequal(x: Tensor) -> Tensor:
    mask = torch.arange(32).view(1, 2, 4, 4) % 3 == 0
    return torch.where(mask, 2 * x - 1, torch.full_like(x, 0.25)).flatten(1)


def moved(x: Tensor) -> Tensor:
    parts = [
        x.transpose(1, 2),
        x.permute(0, 3, 1, 2),
        F.pad(x, (1, 0, 2, 1), value=0.25),
        F.pad(x, (1, 1, 1, 1), mode="reflect"),
        F.pad(x, (1, 1, 1, 1), mode="replicate"),
        x.repeat(1, 1, 2, 1),
        x.flip(2),
        x.roll(1, 3),
        x[:, :, 1::2, :3],
        x.unfold(3, 2, 1),
        F.unfold(x, 2, padding=1),
        F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2),
        F.interpolate(x, scale_factor=2, mode="nearest"),
        torch.stack([x, x], 1),
        torch.tril(x),
        *torch.split(x, [1, 3], 2),
        *torch.chunk(x, 2, 1),
        x.diagonal(dim1=2, dim2=3),
        x.gather(2, torch.tensor([[[[0, 1, 2, 3]], [[3, 2, 1, 1]]]]).expand(len(x), 2, 1, 4)),
    ]
    return torch.cat([part.flatten(1) for part in parts], 1)


def arithmetic(x: Tensor) -> Tensor:
    y = x.flatten(1)
    w = like(numbers(32), x)
    return torch.cat(
        [
            torch.add(y, w, alpha=2),
            torch.sub(w, y, alpha=3),
            torch.rsub(y, w, alpha=2),
            1 - y,
            -y,
            y * w,
            y / (w.abs() + 0.125),
            y.sum(1, keepdim=True),
            x.sum((2, 3)),
            x.mean((1, 3)),
            x.mean((2,), keepdim=True).flatten(1),
            torch.where(w > 0, y, w),
        ],
        1,
    )


def matrices(x: Tensor) -> Tensor:
    t = x.flatten(1, 2)  # (b, 8, 4)
    several = like(numbers(1, 4, 3), x)
    return torch.cat(
        [
            (t @ like(numbers(4, 3), x)).flatten(1),
            (like(numbers(5, 8), x) @ t).flatten(1),
            torch.bmm(t, several.expand(len(x), -1, -1)).flatten(1),
            torch.matmul(x, like(numbers(2, 4, 3), x)).flatten(1),
            torch.addmm(like(numbers(3), x), x.flatten(1), like(numbers(32, 3), x), alpha=0.5),
            F.linear(x.flatten(1), like(numbers(4, 32), x), like(numbers(4), x)),
        ],
        1,
    )


CASES = {
    "arithmetic": OperatorCase(arithmetic),
    "matrices": OperatorCase(matrices),
    "moved": OperatorCase(moved),
    "where": OperatorCase(unequal),
    "in place": OperatorCase(in_place),
    "shared arguments": OperatorCase(shared),
    "attention": OperatorCase(attention),
    "conv": OperatorCase(layer(lambda: nn.Conv2d(2, 3, 3, padding=1))),
    "conv strided": OperatorCase(layer(lambda: nn.Conv2d(2, 3, 2, stride=3, padding=1))),
    "conv dilated": OperatorCase(layer(lambda: nn.Conv2d(2, 3, 2, dilation=2, padding=1))),
    "conv grouped": OperatorCase(layer(lambda: nn.Conv2d(2, 4, (1, 3), groups=2, bias=False))),
    "conv uneven": OperatorCase(layer(lambda: nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 0)))),
    "conv transposed": OperatorCase(
        layer(lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2))
    ),
    "conv of one axis": OperatorCase(layer(lambda: nn.Conv1d(2, 3, 3, stride=2)), (2, 7)),
    "batch norm": OperatorCase(layer(lambda: nn.BatchNorm2d(2))),
    "conv, batch norm, relu": OperatorCase(
        layer(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()))
    ),
    "layer norm": OperatorCase(layer(lambda: nn.LayerNorm([4, 4]))),
    "group norm": OperatorCase(layer(lambda: nn.GroupNorm(2, 2))),
    "max pool": OperatorCase(layer(lambda: nn.MaxPool2d(3, 2, 1))),
    "max pool, ceil": OperatorCase(layer(lambda: nn.MaxPool2d(3, 2, ceil_mode=True))),
    "max pool of a row, padded": OperatorCase(
        wide(lambda x: F.max_pool1d(x.view(-1, 2, 16), 3, stride=2, padding=1))
    ),
    "constants around constants": OperatorCase(
        wide(lambda x: F.pad(F.pad(x.view(-1, 2, 4, 4), [1, 0, 0, 1], value=0.5), [0, 1, 1, 0]))
    ),
    "max pool, padded by -inf": OperatorCase(
        wide(lambda x: F.max_pool2d(F.pad(x.view(-1, 2, 4, 4), [2, 1, 2, 1], value=-torch.inf), 3))
    ),
    "max pool, dilated": OperatorCase(layer(lambda: nn.MaxPool2d(2, 1, 1, dilation=2))),
    "average pool": OperatorCase(layer(lambda: nn.AvgPool2d(3, 2, 1))),
    "average pool, inside": OperatorCase(
        layer(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False))
    ),
    "average pool, ceil": OperatorCase(layer(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True))),
    "average pool, divisor": OperatorCase(layer(lambda: nn.AvgPool2d(2, divisor_override=3))),
    "adaptive pool": OperatorCase(layer(lambda: nn.AdaptiveAvgPool2d(2))),
    "global pool": OperatorCase(layer(lambda: nn.AdaptiveAvgPool2d(1))),
    "relu": OperatorCase(wide(F.relu)),
    "leaky relu": OperatorCase(wide(lambda x: F.leaky_relu(x, 0.2))),
    "leaky relu, steep": OperatorCase(wide(lambda x: F.leaky_relu(x, 1.7))),
    "onnx prelu": OperatorCase(
        wide(lambda x: torch.where(x < 0, like(numbers(2, 1, 1), x) * x, x))
    ),
    "cumulated sum": OperatorCase(wide(lambda x: x.cumsum(2))),
    "division with its option": OperatorCase(
        wide(lambda x: torch.div(x, like(DIVISOR, x), rounding_mode=None))
    ),
    "leaky relu, falling": OperatorCase(wide(lambda x: F.leaky_relu(x, -0.4))),
    "prelu": OperatorCase(layer(lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.PReLU(2)))),
    "abs": OperatorCase(wide(torch.abs)),
    "clamp": OperatorCase(wide(lambda x: x.clamp(-1, 2))),
    "clamp, one side": OperatorCase(wide(lambda x: x.clamp(min=-1) + x.clamp(max=0.5))),
    "hardtanh": OperatorCase(wide(F.hardtanh)),
    "relu6": OperatorCase(wide(F.relu6, 20, -5)),
    "hardsigmoid": OperatorCase(wide(F.hardsigmoid, 12, -6)),
    "hardswish": OperatorCase(wide(F.hardswish, 12, -6)),
    "maximum": OperatorCase(
        lambda x: torch.maximum(x, 1 - x).flatten(1) + torch.minimum(x, x.flip(1)).flatten(1)
    ),
    "maximum, constant": OperatorCase(
        lambda x: torch.maximum(x, torch.full_like(x, 0.375)).flatten(1)
    ),
    "amax": OperatorCase(lambda x: torch.cat([x.amax((2, 3)), x.amin(1).flatten(1)], 1)),
    "max": OperatorCase(lambda x: x.max(2).values.flatten(1)),
    "sigmoid": OperatorCase(wide(torch.sigmoid)),
    "sigmoid, far left": OperatorCase(wide(torch.sigmoid, 5, -18)),
    "tanh": OperatorCase(wide(torch.tanh)),
    "exp": OperatorCase(wide(torch.exp)),
    "log": OperatorCase(wide(torch.log, 3, 0.1)),
    "sqrt": OperatorCase(wide(torch.sqrt, 3, 0.1)),
    "rsqrt": OperatorCase(wide(torch.rsqrt, 3, 0.1)),
    "reciprocal": OperatorCase(wide(torch.reciprocal, 3, 0.1)),
    "reciprocal, negative": OperatorCase(wide(torch.reciprocal, -3, -0.1)),
    "erf": OperatorCase(wide(torch.erf)),
    "silu": OperatorCase(wide(F.silu)),
    "mish": OperatorCase(wide(F.mish)),
    "gelu": OperatorCase(wide(F.gelu)),
    "gelu, far left": OperatorCase(wide(F.gelu, 1, -6)),
    "gelu, tanh": OperatorCase(wide(lambda x: F.gelu(x, approximate="tanh"))),
    "softplus": OperatorCase(wide(lambda x: F.softplus(x, beta=2))),
    "elu": OperatorCase(wide(lambda x: F.elu(x, 1.5))),
    "selu": OperatorCase(wide(F.selu)),
    "celu": OperatorCase(wide(lambda x: F.celu(x, 0.5))),
    "log sigmoid": OperatorCase(wide(F.logsigmoid)),
    "square": OperatorCase(wide(torch.square)),
    "powers": OperatorCase(wide(lambda x: torch.cat([x**2, x**3, (x.square() + 0.1) ** 0.7], 1))),
    "atan": OperatorCase(wide(torch.atan)),
    "asinh": OperatorCase(wide(torch.asinh)),
    "sinh": OperatorCase(wide(torch.sinh)),
    "cosh": OperatorCase(wide(torch.cosh)),
    "softsign": OperatorCase(wide(F.softsign, 0.4, 0.1)),
    "sin": OperatorCase(wide(torch.sin)),
    "cos": OperatorCase(wide(torch.cos)),
    "sign": OperatorCase(wide(torch.sign), smooth=False),
    "floor": OperatorCase(wide(torch.floor), smooth=False),
    "ceil": OperatorCase(wide(torch.ceil), smooth=False),
    "round": OperatorCase(wide(torch.round), smooth=False),
    "straight through": OperatorCase(
        wide(lambda x: x + (torch.round(x) - x).detach()), smooth=False
    ),
    "softmax": OperatorCase(wide(lambda x: torch.softmax(x, 2))),
    "log softmax": OperatorCase(wide(lambda x: torch.log_softmax(x, 1))),
    "quotient": OperatorCase(
        lambda x: (x[:, :, :2] / (x[:, :, 2:] + 0.5)).flatten(1) + 1 / (x[:, :, :2] + 1).flatten(1)
    ),
    "dropout": OperatorCase(layer(lambda: nn.Sequential(nn.Dropout(0.5), nn.Conv2d(2, 2, 1)))),
}
