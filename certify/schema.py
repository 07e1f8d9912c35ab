"""What a results file holds: every column of every analysis, with its claim and its unit."""

from __future__ import annotations

from .core import Kind
from .schema_attacks import ATTACK, CORRUPTION, TRANSFER
from .schema_masking import MASKING
from .schema_types import Column, Schema

__all__ = [
    "ATTACK",
    "AUDIT",
    "BOUNDS",
    "BOUNDS_SAMPLE",
    "CLEAN",
    "COMPUTED",
    "CORRUPTION",
    "FORMAT",
    "FORMAT_VERSION",
    "IMAGES",
    "LINEARITY",
    "MASKING",
    "SCHEMAS",
    "SMOOTHING",
    "SMOOTHING_ATTACK",
    "SMOOTHING_PREDICTION",
    "SURFACE",
    "TAYLOR",
    "TRANSFER",
    "Column",
    "Schema",
]

FORMAT = "robcert-results"
FORMAT_VERSION = 1

_M, _E, _A, _C = Kind.MEASURED, Kind.ESTIMATED, Kind.ATTACKED, Kind.CERTIFIED

IMAGES = (
    Column("index", "i8", _M, "position of the image in the data set", fill=-1),
    Column("label", "i4", _M, "its label, -1 where there is none", "class", fill=-1),
)
"""Datasets of the group ``/data``: which image each row of every table stands for."""

COMPUTED = Column("computed", "i1", _M, "1 where the row is finished, else it says nothing", fill=0)
"""Every table's last column; a row counts once this is set, after its values are in the file."""

CLEAN = Schema(
    "clean",
    1,
    "the model on the unchanged images, by the runtime",
    (
        Column("prediction", "i4", _M, "class the model gives", "class", fill=-1),
        Column("logit_margin", "f8", _M, "logit of the class y minus the largest other", "logit"),
        Column("probability_margin", "f8", _M, "the same for softmax probabilities"),
        Column("confidence", "f8", _M, "largest softmax probability"),
        Column("cross_entropy", "f8", _M, "cross-entropy of the class y", "nat"),
    ),
)

LINEARITY = Schema(
    "linearity",
    1,
    "local linearity: how far the loss is from its tangent in the ball",
    (
        Column("gamma", "f8", _E, "largest deviation found (a lower estimate)", "loss"),
        Column("gamma_last", "f8", _E, "deviation at the last iterate of the search", "loss"),
        Column("linear_term", "f8", _E, "|<delta, gradient>| at the deviation's delta", "loss"),
        Column("loss_change", "f8", _E, "|loss(x + delta) - loss(x)| there", "loss"),
        Column("loss", "f8", _M, "loss at the image", "loss"),
        Column("gradient_dual_norm", "f8", _M, "dual norm of the loss gradient", "loss/pixel"),
        Column("best_restart", "i4", _E, "restart that found gamma", "count", fill=-1),
        Column("floor", "f8", _M, "size below which gamma may be float32 rounding", "loss"),
    ),
)

BOUNDS = Schema(
    "bounds",
    1,
    "radii from extreme-value estimates of the Lipschitz constant and of omega(eps)",
    (
        Column("loss", "f8", _M, "margin loss at the image, negative where classified as y"),
        Column("gradient_norm", "f8", _M, "dual norm of its gradient"),
        Column("l_bound", "f8", _E, "radius from the upper limit of L", "pixel"),
        Column("l_bound_point", "f8", _E, "radius from the point estimate of L", "pixel"),
        Column("omega_bound", "f8", _E, "radius from the upper limits of omega", "pixel"),
        Column("omega_bound_point", "f8", _E, "radius from the point estimates of omega", "pixel"),
        Column("censored", "i1", _E, "1 where omega_bound ends at the largest epsilon", fill=-1),
        Column(
            "gamma_upper", "f8", _E, "the image's residuals, while they decide", "", ("epsilon",)
        ),
        Column("gamma_bound", "f8", _E, "radius from them in place of omega", "pixel"),
        Column("gamma_censored", "i1", _E, "1 where it ends at the largest epsilon", fill=-1),
        Column("curvature_bound", "f8", _E, "radius from the upper limit of curvature", "pixel"),
        Column("clever_bound", "f8", _E, "radius from L around the image itself", "pixel"),
    ),
)

BOUNDS_SAMPLE = Schema(
    "bounds-sample",
    1,
    "the images that L and omega are fitted on",
    (
        Column("index", "i8", _M, "position of the image in the data set", fill=-1),
        Column("block", "i4", _M, "block of the extreme-value fit", "count", fill=-1),
        Column("gradient_norm", "f8", _M, "dual norm of the margin gradient"),
        Column("largest_gradient_norm", "f8", _E, "the largest found in the region of L"),
        Column("residual", "f8", _E, "largest one-sided residual found", trailing=("epsilon",)),
        Column("residual_random", "f8", _E, "the same at one random point", trailing=("epsilon",)),
        Column("floor", "f8", _M, "size below which residuals may be float32 rounding"),
        Column("curvature", "f8", _E, "largest eigenvalue of the Hessian found, 0 if negative"),
    ),
    axis="sample",
)

SURFACE = Schema(
    "surface",
    1,
    "losses in the plane of an adversarial and a random direction; one group of arrays an image",
    (
        Column("cross_entropy", "f8", _M, "cross-entropy of y at the image", "nat"),
        Column("largest_cross_entropy", "f8", _M, "largest on the grid", "nat"),
        Column("turns", "f8", _M, "changes of rise and fall along the attack, mean of the lines"),
        Column("lost", "f8", _M, "share of the grid that is not of class y"),
    ),
)

TAYLOR = Schema(
    "taylor",
    1,
    "how well second-order approximations of the loss hold along a line",
    (
        Column("loss", "f8", _M, "loss along the line", "loss", ("t",)),
        Column("exact", "f8", _E, "with the exact Hessian-vector product", "loss", ("t",)),
        Column("finite", "f8", _E, "with finite differences", "loss", ("step", "t")),
        Column("gradient_dual_norm", "f8", _M, "dual norm of the gradient", "loss/pixel"),
        Column("finite_norm", "f8", _E, "the same by one difference", "loss/pixel", ("step",)),
        Column("penalty_first", "f8", _E, "SOAR's regulariser in one random direction"),
        Column("penalty_mean", "f8", _E, "its mean over all directions"),
        Column("penalty_sd", "f8", _E, "its standard deviation over directions"),
    ),
)

SMOOTHING = Schema(
    "smoothing",
    1,
    "randomized smoothing: speaks of the smoothed classifier",
    (
        Column("prediction", "i4", _C, "class, -1 where it abstained", "class", fill=-2),
        Column("selected", "i4", _M, "class that was tested", "class", fill=-1),
        Column("n_used", "i8", _M, "estimation draws", "count", fill=-1),
        Column("top_count", "i8", _M, "draws that showed the tested class", "count", fill=-1),
        Column("counts", "i4", _M, "draws that showed each class", "count", ("class",), -1),
        Column("path", "i4", _M, "draws of the tested class by each look", "count", ("look",), -1),
        Column("p_lower", "f8", _C, "lower confidence limit of its probability"),
        Column("p_upper", "f8", _C, "upper limit of every other class, where it was used"),
        Column("radius", "f8", _C, "certified l2 radius, 0 where it abstained", "pixel"),
        Column("stop_reason", "i1", _M, "code, see attribute stop_reasons", fill=-1),
        Column("clean_prediction", "i4", _M, "class of the image without noise", "class", fill=-1),
    ),
)

SMOOTHING_PREDICTION = Schema(
    "smoothing-prediction",
    1,
    "predictions of the smoothed classifier, without a radius",
    (
        Column("prediction", "i4", _C, "class, -1 where it abstained", "class", fill=-2),
        Column("n_used", "i8", _M, "draws", "count", fill=-1),
        Column("counts", "i4", _M, "draws that showed each class", "count", ("class",), -1),
        Column("stop_reason", "i1", _M, "code, see attribute stop_reasons", fill=-1),
    ),
)

SMOOTHING_ATTACK = Schema(
    "smoothing-attack",
    1,
    "the nearest image found that the smoothed classifier puts in another class",
    (
        Column("reference", "i4", _C, "class of the image, -1 where undecided", "class", fill=-2),
        Column("distance", "f8", _A, "l2; inf where none was established", "pixel"),
        Column("success", "i1", _A, "1 where another class was established", fill=-1),
        Column("prediction", "i4", _A, "that class, -1 where there is none", "class", fill=-2),
        Column("candidate", "f8", _E, "distance that the search itself believed in", "pixel"),
        Column("n_recheck", "i8", _M, "draws that established the class", "count", fill=-1),
        Column("counts", "i4", _M, "votes at that image, by class", "count", ("class",), -1),
    ),
)

AUDIT = Schema(
    "audit", 1, "one run of robcert audit: which groups it filled, and what it could not", ()
)

SCHEMAS: tuple[Schema, ...] = (
    CLEAN,
    LINEARITY,
    BOUNDS,
    BOUNDS_SAMPLE,
    SURFACE,
    TAYLOR,
    SMOOTHING,
    SMOOTHING_PREDICTION,
    SMOOTHING_ATTACK,
    ATTACK,
    TRANSFER,
    CORRUPTION,
    MASKING,
    AUDIT,
)
"""Every group that a results file can hold."""
