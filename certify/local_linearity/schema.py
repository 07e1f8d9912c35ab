"""Columns of the table of local linearity."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M, _E = Kind.MEASURED, Kind.ESTIMATED

LINEARITY = declare(
    Schema(
        "linearity",
        1,
        "local linearity: largest deviation of the loss from its tangent in the ball",
        (
            Column("gamma", "f8", _E, "largest deviation found (a lower estimate)", "loss"),
            Column("gamma_last", "f8", _E, "deviation at the last iterate of the search", "loss"),
            Column("linear_term", "f8", _E, "|<delta, gradient>| at the deviation's delta", "loss"),
            Column("loss_change", "f8", _E, "|loss(x + delta) - loss(x)| at that delta", "loss"),
            Column("loss", "f8", _M, "loss at the image", "loss"),
            Column("gradient_dual_norm", "f8", _M, "dual norm of the loss gradient", "loss/pixel"),
            Column("best_restart", "i4", _E, "start that found gamma", "count", fill=-1),
            Column("floor", "f8", _M, "size below which gamma may be float32 rounding", "loss"),
        ),
    )
)
