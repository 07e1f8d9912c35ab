"""Columns of the tables of attacks, of transfer and of random changes."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M, _A = Kind.MEASURED, Kind.ATTACKED


ATTACK = declare(
    Schema(
        "attack",
        1,
        "the nearest adversarial image over a suite of attacks, re-checked in the runtime",
        (
            Column(
                "distance", "f8", _A, "0 where misclassified, inf where none was found", "pixel"
            ),
            Column("success", "i1", _A, "1 where an adversarial image was found", fill=-1),
            Column("prediction", "i4", _A, "class of the adversarial image", "class", fill=-1),
            Column(
                "attack", "i2", _A, "attack that found it: index into attribute attacks", fill=-1
            ),
            Column("n_forward", "i8", _M, "forward passes for the image", "count", fill=-1),
            Column("n_backward", "i8", _M, "backward passes for the image", "count", fill=-1),
            Column(
                "lost_in_runtime",
                "i2",
                _M,
                "successes not confirmed by the runtime",
                "count",
                fill=-1,
            ),
            Column(
                "target_distance",
                "f8",
                _A,
                "to the randomly chosen class, at given or reported radii; 0 where the image is of "
                "that class, inf where not reached",
                "pixel",
            ),
            Column(
                "distance_per_attack",
                "f8",
                _A,
                "as distance, found by each attack alone; only where each ran on every image",
                "pixel",
                trailing=("attack",),
                optional=True,
            ),
            Column("eight_bit", "i1", _A, "1 if still adversarial when rounded to 8 bits", fill=-1),
            Column(
                "adversarial",
                "f4",
                _A,
                "the nearest adversarial image; the image itself where none was found",
                "pixel",
                trailing=("channel", "height", "width"),
                images=True,
            ),
        ),
    )
)

EVIDENCE = declare(
    Schema(
        "evidence",
        1,
        "the loss at the nearest adversarial images of the table of the same key, for the "
        "estimates that they may refute; losses: cross-entropy, logit margin, probability margin",
        (
            Column("distance", "f8", _A, "of the adversarial image, NaN where none", "pixel"),
            Column(
                "loss_change",
                "f8",
                _M,
                "loss at the adversarial image minus that at the image",
                "loss",
                ("loss",),
            ),
            Column(
                "residual", "f8", _M, "loss_change minus that of the tangent", "loss", ("loss",)
            ),
            Column(
                "gradient_norm",
                "f8",
                _M,
                "slope: dual norm of the gradient at the image",
                "loss/pixel",
                ("loss",),
            ),
            Column("floor", "f8", _M, "size below which these may be rounding", "loss", ("loss",)),
        ),
    )
)

TRANSFER = declare(
    Schema(
        "transfer",
        1,
        "adversarial images of other models (the sources), classified by this model's runtime; "
        "sources and epsilons are in the order of the settings",
        (
            Column(
                "distance", "f8", _A, "nearest over all sources; 0 where misclassified", "pixel"
            ),
            Column("prediction", "i4", _A, "class of that image, -1 for none", "class", fill=-2),
            Column("nearest_source", "i2", _A, "source of that image, -1 for none", fill=-2),
            Column(
                "broken",
                "i1",
                _A,
                "1 where an image of that source within epsilon changes the class",
                trailing=("source", "epsilon"),
                fill=-1,
            ),
            Column(
                "broken_source",
                "i1",
                _A,
                "1 where it changes the class of the source itself",
                trailing=("source", "epsilon"),
                fill=-1,
            ),
            Column(
                "source_correct",
                "i1",
                _M,
                "1 where the source gives the unchanged image the class y",
                trailing=("source",),
                fill=-1,
            ),
        ),
    )
)

CORRUPTION = declare(
    Schema(
        "corruption",
        1,
        "random rotations and shifts, or Gaussian noise: the runtime on several draws at each "
        "strength",
        (
            Column("correct", "i1", _M, "1 where the unchanged image is classified as y", fill=-1),
            Column(
                "first_wrong",
                "i1",
                _M,
                "1 where the first draw is misclassified",
                trailing=("strength",),
                fill=-1,
            ),
            Column(
                "wrong",
                "i4",
                _A,
                "number of misclassified draws",
                "count",
                trailing=("strength",),
                fill=-1,
            ),
        ),
    )
)
