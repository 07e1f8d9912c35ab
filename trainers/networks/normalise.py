r"""Batch norm as a function of images whose gradient is cheap to differentiate again.

For one channel with N entries, mean :math:`\mu`, variance :math:`v`, :math:`r = (v + e)^{-1/2}`,
:math:`\hat x = r (x - \mu)` and bars for means over the batch, the gradient g at
:math:`y = \gamma \hat x + \beta` gives

.. math:: \nabla_x = \gamma r\, P g, \qquad P g = g - \bar g - \overline{g \hat x}\, \hat x .

P is symmetric, :math:`\partial r / \partial x = -r^2 \hat x / N` and
:math:`\partial \hat x_j / \partial x_i = r P_{ij}`. So :math:`s = \gamma r\, u^\top P g`, which
is differentiated for second derivatives, has the derivatives

.. math:: \frac{\partial s}{\partial g} = \gamma r\, P u, \qquad
          \frac{\partial s}{\partial \gamma} = r\, u^\top P g, \qquad
          \frac{\partial s}{\partial x} = -\gamma r^2 \bigl( \overline{u P g}\, \hat x
          + \overline{g \hat x}\, P u + \overline{u \hat x}\, P g \bigr).

torch computes the last three in some thirty passes over the images; here there are seven. If
several processes share the batch, bars are means over all its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm


@dataclass(frozen=True, slots=True)
class Channels:
    """Sums over all axes of ``x (b, c, ...)`` except the channels.

    Attributes:
        axes: the axes that are summed.
        shape: shape in which a vector over the channels multiplies images.
        count: N, entries of a channel over all processes.
        shared: whether several processes share the batch.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    count: int
    shared: bool

    @classmethod
    def of(cls, x: Tensor, *, shared: bool) -> Channels:
        """For ``x``, this process's slice of the batch."""
        axes = (0, *range(2, x.dim()))
        processes = dist.get_world_size() if shared else 1
        count = processes * x.numel() // x.shape[1]
        return cls(axes, (1, -1, *[1] * (x.dim() - 2)), count, shared)

    def row(self, values: Tensor) -> Tensor:
        """``values (c,)`` in the shape that multiplies images."""
        return values.view(self.shape)

    def sum(self, images: Tensor) -> Tensor:
        """Sums ``(c,)`` over this process's slice, at least in float32."""
        return images.sum(self.axes, dtype=torch.promote_types(images.dtype, torch.float32))

    def mean(self, sums: Tensor) -> Tensor:
        """Means over the whole batch, from the ``sums`` over this process's slice."""
        return self.total(sums) / self.count

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the whole batch, from the ``sums`` over this process's slice."""
        if self.shared:
            sums = sums.clone()
            dist.all_reduce(sums)
        return sums

    def combined(self, *terms: tuple[Tensor, Tensor], constant: Tensor, like: Tensor) -> Tensor:
        """Sum of images times factors ``(c,)`` plus a constant ``(c,)``, typed as ``like``."""
        images, factor = terms[0]
        result = images * self.row(factor)
        for images, factor in terms[1:]:
            result.addcmul_(images, self.row(factor))
        return result.add_(self.row(constant)).to(like.dtype)


@dataclass(frozen=True, slots=True)
class Standardised:
    r"""Normalised images :math:`\hat x`, represented by ``x``, ``mean`` and ``scale``."""

    x: Tensor
    mean: Tensor
    scale: Tensor
    channels: Channels

    def gradients(self, g: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r""":math:`\gamma r P g`, and the sums of :math:`g \hat x` and g over this slice."""
        alone = not self.channels.shared
        of_x, along, plain = self._kernel(g, weight, images=alone)
        if alone:
            return of_x, along, plain
        mean_along, mean_plain = self.channels.mean(torch.stack([along, plain]))
        factor = weight * self.scale
        slope = -factor * mean_along * self.scale
        constant = -factor * mean_plain - slope * self.mean
        of_x = self.channels.combined((g, factor), (self.x, slope), constant=constant, like=self.x)
        return of_x, along, plain

    def sums(self, g: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\sum g \hat x` and :math:`\sum g` ``(c,)`` over this process's slice."""
        # the kernel requires a weight, of which the sums are independent
        _, along, plain = self._kernel(g, self.scale, images=False)
        return along, plain

    def _kernel(self, g: Tensor, weight: Tensor, *, images: bool) -> Any:
        layer = (g, self.x, weight, None, None, self.mean, self.scale)
        return torch.ops.aten.native_batch_norm_backward(*layer, True, 0.0, [images, True, True])


def normalise(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, channels: Channels
) -> tuple[Tensor, Tensor, Tensor]:
    """``x (b, c, ...)`` normalised, and the mean and variance ``(c,)`` of the batch.

    All three can be differentiated, the first twice in ``x``. The gradients of weight and bias, and
    those through the mean and variance, cannot be differentiated again.
    """
    y, mean, var = _Normalise.apply(x, weight, bias, eps, channels)
    return y, mean, var


def normalise_by(
    mean: Tensor, var: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float
) -> Tensor:
    """``x (b, c, ...)`` normalised by a given mean and variance ``(c,)``; differentiable once."""
    y: Tensor = _NormaliseBy.apply(mean, var, x, weight, bias, eps)
    return y


def normalise_twice_by(
    mean: Tensor, var: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float
) -> Tensor:
    """The same as ``normalise_by``, differentiable in everything any number of times.

    It takes more memory, since torch keeps the intermediate results.
    """
    channels = Channels.of(x, shared=False)
    scale = weight * (var + eps).rsqrt()
    return torch.addcmul(channels.row(bias - mean * scale), x, channels.row(scale))


class _Normalise(Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, channels: Channels
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = channels.mean(channels.sum(x))
        var = channels.mean(channels.sum((x - channels.row(mean)).square_()))
        context.channels = channels
        context.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        context.set_materialize_grads(False)
        return batch_norm(x, mean, var, weight, bias, training=False, eps=eps), mean, var

    @staticmethod
    def backward(
        context: Any, g: Tensor | None, of_mean: Tensor | None, of_var: Tensor | None
    ) -> Any:
        x, weight, mean, scale = context.saved_tensors
        channels: Channels = context.channels
        g = torch.zeros_like(x) if g is None else g
        of_x, of_weight, of_bias = _Gradient.apply(g, x, weight, mean, scale, channels)
        if of_mean is not None:
            of_x = of_x + channels.row(channels.mean(of_mean))
        if of_var is not None:
            of_x = of_x + (x - channels.row(mean)) * channels.row(2 * channels.mean(of_var))
        return of_x, of_weight, of_bias, None, None


class _Gradient(Function):
    """Gradients of x, weight and bias from that of y, ``g``; the first can be differentiated."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, channels: Channels
    ) -> tuple[Tensor, Tensor, Tensor]:
        return Standardised(x, mean, scale, channels).gradients(g, weight)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, context.channels = inputs
        context.save_for_backward(*tensors, *output[1:])
        context.mark_non_differentiable(*output[1:])
        context.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(context: Any, u: Tensor | None, *_: Tensor | None) -> Any:
        if u is None:
            return (None,) * 6
        g, x, weight, mean, scale, g_along, g_plain = context.saved_tensors
        channels: Channels = context.channels
        g_along, g_plain = channels.mean(torch.stack([g_along, g_plain]))
        of_g, along, plain = Standardised(x, mean, scale, channels).gradients(u, weight)
        projected = channels.sum(u * g) - plain * g_plain - along * g_along
        u_along, u_plain, bend = channels.mean(torch.stack([along, plain, projected]))
        bend = bend - 2 * u_along * g_along
        factor = -weight * scale.square()
        of_x = channels.combined(
            (u, factor * g_along),
            (g, factor * u_along),
            (x, factor * bend * scale),
            constant=-factor * (g_along * u_plain + u_along * g_plain + bend * scale * mean),
            like=x,
        )
        return of_g, of_x, scale * projected, None, None, None


class _NormaliseBy(Function):
    @staticmethod
    def forward(
        mean: Tensor, var: Tensor, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        return batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        mean, var, x, weight, _bias, eps = inputs
        context.save_for_backward(x, mean, (var + eps).rsqrt(), weight)

    @staticmethod
    @once_differentiable
    def backward(context: Any, g: Tensor) -> Any:
        x, mean, scale, weight = context.saved_tensors
        channels = Channels.of(x, shared=False)
        factor = weight * scale
        of_x = (g * channels.row(factor)).to(x.dtype)
        if not any(context.needs_input_grad[:2] + context.needs_input_grad[3:]):
            return None, None, of_x, None, None, None
        of_weight, of_bias = Standardised(x, mean, scale, channels).sums(g)
        of_var = -0.5 * factor * scale * of_weight
        return -factor * of_bias, of_var, of_x, of_weight, of_bias, None
