r"""Convolution whose gradient with respect to the images is cheap to differentiate again.

The derivatives of :math:`u^\top W^\top g` are :math:`W u`, a forward pass, and the gradient with
respect to the parameters for the input u and the output gradient g. torch computes the latter by a
convolution whose kernel is as large as an image, which also needs copies in another memory layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d


class Convolution(nn.Conv2d):
    """torch's layer, computed by the functions below while its parameters are trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, k, h', w')``."""
        learning = torch.is_grad_enabled() and self.weight.requires_grad
        half = torch.is_autocast_enabled(x.device.type)
        if not learning or half or isinstance(self.padding, str):
            return super().forward(x)
        shape = Shape(self.stride, self.padding, self.dilation, self.groups)
        parameters = _Parameters.apply(x.detach(), self.weight, self.bias, shape)
        y: Tensor = _Convolve.apply(x, self.weight, self.bias, parameters, shape)
        return y


def prepare_convolutions(model: nn.Module, *, twice: bool = True) -> None:
    """Replace the convolutions of ``model`` by the layer above, with the same parameters.

    Args:
        model: changed in place.
        twice: replace all convolutions, for methods that differentiate twice. Otherwise only
            strided 1x1 convolutions are replaced: if they have few channels and the processor has
            no AVX-512, oneDNN writes past its copy of the pixels in the gradient by their
            parameters, which gives different numbers each time or a crash
            (uxlfoundation/oneDNN#6035). The layer above selects the pixels itself.
    """
    for layer in model.modules():
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            picks = layer.kernel_size == (1, 1) and layer.stride != (1, 1)
            if twice or picks:
                layer.__class__ = Convolution


@dataclass(frozen=True, slots=True)
class Shape:
    """Options of a convolution, as arguments of torch's functions."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Features of ``x (b, c, h, w)``."""
        return conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def output(self, x: Tensor, weight: Tensor) -> list[int]:
        """Shape of the features of ``x``."""
        sides = zip(
            x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
        )
        sizes = [
            (n + 2 * pad - dilate * (k - 1) - 1) // step + 1 for n, k, step, pad, dilate in sides
        ]
        return [len(x), len(weight), *sizes]

    def of_images(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Gradient with respect to the images, from that with respect to the features, ``g``."""
        return self._backward(g, x, weight, None, [True, False, False])[0]

    def of_parameters(
        self, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients with respect to weight and bias, from that of the features, ``g``."""
        shape = self
        if weight.shape[2:] == (1, 1) and not any(self.padding):  # see prepare_convolutions
            x, shape = x[:, :, :: self.stride[0], :: self.stride[1]], replace(self, stride=(1, 1))
        wanted = [False, True, bias is not None]
        _, of_weight, of_bias = shape._backward(g, x, weight, bias, wanted)
        return of_weight, of_bias

    def _backward(
        self, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, wanted: list[bool]
    ) -> Any:
        sizes = None if bias is None else list(bias.shape)
        how = (self.stride, self.padding, self.dilation, False, [0, 0], self.groups)
        return torch.ops.aten.convolution_backward(g, x, weight, sizes, *how, wanted)


class _Parameters(Function):
    """Zeros in the shape of the features, whose gradient gives the gradients of the parameters.

    A separate node, which torch skips if only the gradient of the images is requested.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape
    ) -> Tensor:
        context.shape = shape
        context.save_for_backward(x, weight, bias)
        return x.new_zeros(()).expand(shape.output(x, weight))

    @staticmethod
    @once_differentiable
    def backward(context: Any, g: Tensor) -> Any:
        return None, *context.shape.of_parameters(g, *context.saved_tensors), None


class _Convolve(Function):
    """Features of the images; passes their gradient on to ``parameters``, the node above."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        parameters: Tensor,
        shape: Shape,
    ) -> Tensor:
        context.shape = shape
        context.save_for_backward(x, weight)
        return shape.convolve(x, weight, bias)

    @staticmethod
    def backward(context: Any, g: Tensor) -> Any:
        of_x = None
        if context.needs_input_grad[0]:
            of_x = _ImageGradient.apply(g, *context.saved_tensors, context.shape)
        return of_x, None, None, g, None


class _ImageGradient(Function):
    """Gradient with respect to the images ``x``, linear in ``g`` and ``weight``."""

    @staticmethod
    def forward(context: Any, g: Tensor, x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
        context.shape = shape
        context.save_for_backward(g, weight)
        return shape.of_images(g, x, weight)

    @staticmethod
    @once_differentiable
    def backward(context: Any, u: Tensor) -> Any:
        g, weight = context.saved_tensors
        shape: Shape = context.shape
        of_weight, _ = shape.of_parameters(g, u, weight)
        return shape.convolve(u, weight), None, of_weight, None
