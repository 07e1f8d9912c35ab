"""Columns of the table of deterministic certificates, and the codes in them."""

from __future__ import annotations

from enum import IntEnum

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

from .outcome import Method, Open

_M, _A, _C = Kind.MEASURED, Kind.ATTACKED, Kind.CERTIFIED

NOT_COMPUTED = -9


class Status(IntEnum):
    """What is known of one image at one radius."""

    CERTIFIED = 1  # proved: no input of the ball has another class
    OPEN = 0  # neither proved nor refuted
    REFUTED = -1  # the runtime gives an input of the ball another class
    MISCLASSIFIED = -2  # the image itself has another class, or none


REASONS = tuple(Open)
"""Why a statement is not proved; a column holds the position."""

METHODS = tuple(Method)
"""Methods of a proof; a column holds the position."""


VERIFY = declare(
    Schema(
        "verify",
        2,
        "deterministic certificates of the model itself, beside its nearest adversarial images; "
        "radii at which images are decided are in the order of attribute epsilons",
        (
            Column(
                "radius",
                "f8",
                _C,
                "no input within it has another class; 0 where none was proved or the image is "
                "misclassified",
                "pixel",
            ),
            Column(
                "radius_reason",
                "i1",
                _M,
                "why no larger radius was proved: index into attribute reasons",
                fill=-1,
            ),
            Column(
                "status",
                "i1",
                _C,
                "1 certified, 0 open, -1 refuted by an adversarial image, -2 misclassified",
                trailing=("epsilon",),
                fill=NOT_COMPUTED,
            ),
            Column(
                "margin_lower",
                "f8",
                _C,
                "lower bound of the margin over the ball, NaN where none was computed",
                "logit",
                ("epsilon",),
            ),
            Column(
                "reason",
                "i1",
                _M,
                "why it is not certified: index into attribute reasons",
                trailing=("epsilon",),
                fill=-1,
            ),
            Column(
                "distance",
                "f8",
                _A,
                "of the nearest adversarial image by the attacks or the proofs; 0 where "
                "misclassified, inf where none was found",
                "pixel",
            ),
            Column("prediction", "i4", _A, "class of that image, -1 for none", "class", fill=-2),
            Column(
                "method",
                "i1",
                _M,
                "method that proved the radius: index into attribute methods, -1 for none",
                fill=-2,
            ),
            Column(
                "branches", "i8", _M, "regions of unit signs that were bounded", "count", fill=-1
            ),
            Column(
                "reached",
                "i1",
                _M,
                "strongest method whose bounds were complete at the smallest radius that stayed "
                "open: index into attribute methods, -1 for none",
                fill=-2,
            ),
            Column(
                "stopped_at",
                "i4",
                _M,
                "operation whose linear bounds the budget cut off: index into attribute "
                "operations, -1 for none",
                fill=-2,
            ),
            Column("seconds", "f8", _M, "time of the proofs; differs between runs", "second"),
            Column(
                "radius_seconds",
                "f8",
                _M,
                "the part of it that the search for the largest radius took",
                "second",
            ),
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
