"""The optimiser step: gradients of the losses, clipping, and the loss scale of half precision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from robcert.certify.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robcert.trainers.methods import Losses
    from robcert.trainers.networks import LossScale
    from robcert.trainers.recipe import TrainConfig

    from .processes import Processes

_UNKNOWN = re.compile(r"derivative for (?:aten::)?(\w+?)(?:_backward)? is not implemented")


@dataclass(frozen=True, slots=True)
class Descent:
    """Gradient descent on the losses of a batch.

    Attributes:
        model: the network.
        optimizer: optimiser of its parameters.
        processes: the processes that share the batch; their gradients are added.
        clip_norm: largest l2 norm of the whole gradient; None for no clipping.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    processes: Processes
    clip_norm: float | None

    def follow(self, losses: Losses, scale: LossScale) -> None:
        """Make one optimiser step on the mean loss over the rows of all processes.

        With a scaled loss the step is skipped if a gradient overflowed in half precision.
        """
        self.optimizer.zero_grad(set_to_none=True)
        clipped: dict[nn.Parameter, Tensor] = {}
        if losses.regularizer is not None:
            self._backward(losses.regularizer, losses, scale.value, retain_graph=True)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), losses.clip_norm)
            clipped = self._gradients()
            self.optimizer.zero_grad(set_to_none=True)
        self._backward(losses.loss, losses, scale.value)
        for parameter, gradient in clipped.items():
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        if losses.after_backward is not None:
            losses.after_backward()
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        if not scale.used or scale.accepts(finite=self._finite()):
            self.optimizer.step()

    def _backward(
        self, term: Tensor, losses: Losses, scale: float, *, retain_graph: bool = False
    ) -> None:
        """Compute the gradients of the mean of ``term (b,)`` over the rows of all processes.

        Only the parameters and ``losses.leaves`` receive one, not the images, even if the method
        differentiated with respect to them.
        """
        mean = term.mean() * (scale / self.processes.slice.count)
        leaves = [*self.model.parameters(), *losses.leaves]
        try:
            torch.autograd.backward(mean, retain_graph=retain_graph, inputs=leaves)
        except RuntimeError as error:
            layer = _UNKNOWN.search(str(error))
            if layer is None:
                raise
            message = f"torch has no second derivative of {layer[1]}, which the method needs"
            raise TrainingError(message, hint="choose a network without this operation") from error
        gradients = list(self._gradients().values())
        self.processes.add(gradients)
        if scale != 1:
            for gradient in gradients:
                gradient.div_(scale)

    def _gradients(self) -> dict[nn.Parameter, Tensor]:
        return {p: p.grad for p in self.model.parameters() if p.grad is not None}

    def _finite(self) -> bool:
        """Whether all gradients are finite; waits for the device once."""
        held = self._gradients().values()
        return bool(torch.stack([gradient.isfinite().all() for gradient in held]).all())


def sgd(config: TrainConfig, model: nn.Module) -> torch.optim.SGD:
    """Stochastic gradient descent on the parameters of ``model``.

    Raises:
        TrainingError: it has none.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        message = f"{config.architecture.name} has no parameters to train"
        raise TrainingError(message, hint="choose a network with weights that require a gradient")
    settings = config.optimizer
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if settings.decay == "weights":
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
