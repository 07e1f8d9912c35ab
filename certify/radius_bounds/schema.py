"""Columns of the tables of the extreme-value bounds."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M, _E = Kind.MEASURED, Kind.ESTIMATED

BOUNDS = declare(
    Schema(
        "bounds",
        1,
        "radii from extreme-value estimates of the Lipschitz constant and of omega(eps)",
        (
            Column("loss", "f8", _M, "margin loss at the image, negative where classified as y"),
            Column("gradient_norm", "f8", _M, "dual norm of its gradient"),
            Column("l_bound", "f8", _E, "radius from the upper limit of L", "pixel"),
            Column("l_bound_point", "f8", _E, "radius from the point estimate of L", "pixel"),
            Column("omega_bound", "f8", _E, "radius from the upper limits of omega", "pixel"),
            Column(
                "omega_bound_point", "f8", _E, "radius from the point estimates of omega", "pixel"
            ),
            Column(
                "censored",
                "i1",
                _E,
                "1 where omega_bound is limited by the largest epsilon",
                fill=-1,
            ),
            Column(
                "gamma_upper",
                "f8",
                _E,
                "the image's residuals, NaN where not needed",
                "",
                ("epsilon",),
            ),
            Column("gamma_bound", "f8", _E, "radius from these residuals, not omega", "pixel"),
            Column("gamma_censored", "i1", _E, "1 where limited by the largest epsilon", fill=-1),
            Column("rho_bound", "f8", _E, "radius from the upper limits of rho", "pixel"),
            Column("rho_bound_point", "f8", _E, "radius from its point estimates", "pixel"),
            Column("rho_censored", "i1", _E, "1 where limited by the largest epsilon", fill=-1),
            Column(
                "rho_own",
                "f8",
                _E,
                "the image's excesses over its steepest tangent, NaN where misclassified",
                "",
                ("epsilon",),
            ),
            Column("rho_own_bound", "f8", _E, "radius from these excesses, not rho", "pixel"),
            Column("rho_own_censored", "i1", _E, "1 where limited by the largest epsilon", fill=-1),
            Column(
                "curvature_bound", "f8", _E, "radius from the upper limit of curvature", "pixel"
            ),
            Column("clever_score", "f8", _E, "CLEVER as published, from the endpoint", "pixel"),
            Column("clever_bound", "f8", _E, "the same from the endpoint's upper limit", "pixel"),
            Column(
                "clever_score_capped", "i1", _E, "1 where it is the ball's radius: none", fill=-1
            ),
            Column(
                "clever_bound_capped", "i1", _E, "1 where it is the ball's radius: none", fill=-1
            ),
        ),
    )
)


BOUNDS_SAMPLE = declare(
    Schema(
        "bounds-sample",
        1,
        "sampled images that L and omega are fitted on",
        (
            Column("index", "i8", _M, "position of the image in the data set", fill=-1),
            Column("block", "i4", _M, "block of the extreme-value fit", "count", fill=-1),
            Column("gradient_norm", "f8", _M, "dual norm of the margin gradient"),
            Column("largest_gradient_norm", "f8", _E, "the largest found in the region of L"),
            Column("residual", "f8", _E, "largest one-sided residual found", trailing=("epsilon",)),
            Column(
                "residual_random", "f8", _E, "the same at one random point", trailing=("epsilon",)
            ),
            Column("excess", "f8", _E, "largest excess found", trailing=("epsilon",)),
            Column("floor", "f8", _M, "size below which residuals may be float32 rounding"),
            Column("curvature", "f8", _E, "largest eigenvalue of the Hessian found, 0 if negative"),
        ),
        axis="sample",
    )
)
