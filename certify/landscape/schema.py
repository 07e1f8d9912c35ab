"""Columns of the tables of the loss landscape."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M, _E = Kind.MEASURED, Kind.ESTIMATED

SURFACE = declare(
    Schema(
        "surface",
        1,
        "losses in the plane of an adversarial and a random direction; one group of "
        "arrays per image",
        (
            Column("cross_entropy", "f8", _M, "cross-entropy of y at the image", "nat"),
            Column("largest_cross_entropy", "f8", _M, "largest on the grid", "nat"),
            Column(
                "turns", "f8", _M, "turning points along the attack direction, mean over grid lines"
            ),
            Column("lost", "f8", _M, "share of grid points not classified as y"),
        ),
    )
)


TAYLOR = declare(
    Schema(
        "taylor",
        1,
        "errors of second-order approximations of the loss along a line",
        (
            Column("loss", "f8", _M, "loss along the line", "loss", ("t",)),
            Column("exact", "f8", _E, "with the exact Hessian-vector product", "loss", ("t",)),
            Column("finite", "f8", _E, "with finite differences", "loss", ("step", "t")),
            Column("gradient_dual_norm", "f8", _M, "dual norm of the gradient", "loss/pixel"),
            Column("finite_norm", "f8", _E, "by a finite difference", "loss/pixel", ("step",)),
            Column("penalty_first", "f8", _E, "SOAR's regulariser in one random direction"),
            Column("penalty_mean", "f8", _E, "its mean over all directions"),
            Column("penalty_sd", "f8", _E, "its standard deviation over directions"),
        ),
    )
)
