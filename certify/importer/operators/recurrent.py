"""Recurrent layers (LSTM, GRU, RNN) over whole sequences, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import ModelFileError
from robcert.certify.numerics import batch_invariant as rows

from .activations import sigmoid, softplus
from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Sequence

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": functional.softsign,
    "softplus": softplus,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One direction of a layer; gates are stacked along the first axis of the weights.

    Attributes:
        w: weights of the input ``(gates * hidden, input)``.
        r: weights of the state ``(gates * hidden, hidden)``.
        w_bias: bias of the input's part.
        r_bias: bias of the state's part.
        peepholes: weights of the cell state in the gates i, o, f; empty for none.
        activations: f, g, h of the operator's definition.
        flag: ``input_forget`` of an LSTM, ``linear_before_reset`` of a GRU.
    """

    w: Tensor
    r: Tensor
    w_bias: Tensor
    r_bias: Tensor
    peepholes: tuple[Tensor, ...]
    activations: tuple[Activation, ...]
    flag: bool


Step = Callable[[Cell, Tensor, States], States]


def rnn_step(cell: Cell, x: Tensor, states: States) -> States:
    """H' = f(W x + R h + b)."""
    (h,) = states
    return (
        cell.activations[0](
            rows.linear(x, cell.w, cell.w_bias) + rows.linear(h, cell.r, cell.r_bias)
        ),
    )


def gru_step(cell: Cell, x: Tensor, states: States) -> States:
    """Gates z (update), r (reset) and candidate n: h' = (1 - z) n + z h."""
    (h,) = states
    f, g = cell.activations[:2]
    xz, xr, xn = rows.linear(x, cell.w, cell.w_bias).chunk(3, -1)
    wz, wr, wn = cell.r.chunk(3)
    bz, br, bn = cell.r_bias.chunk(3)
    z = f(xz + rows.linear(h, wz, bz))
    reset = f(xr + rows.linear(h, wr, br))
    n = (
        g(xn + reset * rows.linear(h, wn, bn))
        if cell.flag
        else g(xn + rows.linear(reset * h, wn, bn))
    )
    return ((1 - z) * n + z * h,)


def lstm_step(cell: Cell, x: Tensor, states: States) -> States:
    """Gates i, o, f and candidate c~: c' = f c + i c~, h' = o h(c')."""
    h, c = states
    f, g, last = cell.activations[:3]
    gates = rows.linear(x, cell.w, cell.w_bias) + rows.linear(h, cell.r, cell.r_bias)
    i, o, forget, candidate = gates.chunk(4, -1)
    p_i, p_o, p_f = cell.peepholes or (torch.zeros((), dtype=x.dtype, device=x.device),) * 3
    i = f(i + p_i * c)
    forget = 1 - i if cell.flag else f(forget + p_f * c)
    c = forget * c + i * g(candidate)
    return f(o + p_o * c) * last(c), c


def _sequence(step: Step, cell: Cell, x: Tensor, states: States) -> tuple[Tensor, States]:
    """All outputs ``(steps, b, hidden)`` and the last states."""
    outputs = []
    for entry in x:
        states = step(cell, entry, states)
        outputs.append(states[0])
    return torch.stack(outputs), states


def _cells(
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    activations: Sequence[str],
    *,
    flag: bool,
) -> list[Cell]:
    w, r, bias, peepholes = weights
    per_direction = len(activations) // len(w)
    unknown = [name for name in activations if name.lower() not in ACTIVATIONS]
    if unknown:
        message = f"the recurrent activation {unknown[0]!r} has no counterpart in a twin"
        raise ModelFileError(message)
    functions = [ACTIVATIONS[name.lower()] for name in activations]
    cells = []
    for d in range(len(w)):
        both = torch.zeros(2 * w.shape[1], dtype=w.dtype, device=w.device)
        both = both if bias is None else bias[d]
        chosen = tuple(functions[d * per_direction : (d + 1) * per_direction])
        holes = () if peepholes is None else peepholes[d].chunk(3)
        w_bias, r_bias = both.chunk(2)
        cells.append(Cell(w[d], r[d], w_bias, r_bias, holes, chosen, flag))
    return cells


def _layer(
    step: Step,
    x: Tensor,
    cells: Sequence[Cell],
    initial: Sequence[Tensor | None],
    lengths: Tensor | None,
    *,
    direction: str,
    layout: int,
    n_outputs: int,
) -> tuple[Tensor, ...]:
    """Outputs ``(steps, directions, b, hidden)`` and last states ``(directions, b, hidden)``."""
    x = x.transpose(0, 1) if layout else x
    if lengths is not None and bool((lengths != len(x)).any()):
        message = "recurrent layers over sequences of different lengths have no twin"
        raise ModelFileError(message)
    hidden = cells[0].r.shape[-1]
    ys, lasts = [], []
    for d, cell in enumerate(cells):
        empty = torch.zeros(x.shape[1], hidden, dtype=x.dtype, device=x.device)
        given = [s if s is None or not layout else s.transpose(0, 1) for s in initial]
        states = tuple(empty if s is None else s[d] for s in given)
        backwards = direction == "reverse" or d == 1
        y, last = _sequence(step, cell, x.flip(0) if backwards else x, states)
        ys.append(y.flip(0) if backwards else y)
        lasts.append(last)
    finals = [torch.stack([last[k] for last in lasts]) for k in range(len(initial))]
    y = torch.stack(ys, 1)
    if layout:
        y, finals = y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in finals]
    return (y, *finals)[:n_outputs]


@operator("RNN", since=7, ignore=("hidden_size", "activation_alpha", "activation_beta"))
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    layout: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Simple recurrent layer."""
    _refuse_clip(clip)
    cells = _cells((w, r, bias, None), _named(activations, ("Tanh",), w), flag=False)
    return _layer(
        rnn_step, x, cells, [initial], lengths,
        direction=direction, layout=layout, n_outputs=n_outputs,
    )  # fmt: skip


@operator("GRU", since=7, ignore=("hidden_size", "activation_alpha", "activation_beta"))
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    layout: int = 0,
    linear_before_reset: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Gated recurrent layer."""
    _refuse_clip(clip)
    names = _named(activations, ("Sigmoid", "Tanh"), w)
    cells = _cells((w, r, bias, None), names, flag=bool(linear_before_reset))
    return _layer(
        gru_step, x, cells, [initial], lengths,
        direction=direction, layout=layout, n_outputs=n_outputs,
    )  # fmt: skip


@operator("LSTM", since=7, ignore=("hidden_size", "activation_alpha", "activation_beta"))
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    input_forget: int = 0,
    layout: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Long short-term memory layer."""
    _refuse_clip(clip)
    names = _named(activations, ("Sigmoid", "Tanh", "Tanh"), w)
    cells = _cells((w, r, bias, peepholes), names, flag=bool(input_forget))
    return _layer(
        lstm_step, x, cells, [initial_h, initial_c], lengths,
        direction=direction, layout=layout, n_outputs=n_outputs,
    )  # fmt: skip


def _named(activations: Sequence[str], default: tuple[str, ...], w: Tensor) -> tuple[str, ...]:
    return tuple(activations) or default * len(w)


def _refuse_clip(clip: float) -> None:
    if clip:
        message = "recurrent layers that clip their cells have no twin"
        raise ModelFileError(message)
