"""What the tables of the smoothed classifier hold."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M, _E, _A, _C = Kind.MEASURED, Kind.ESTIMATED, Kind.ATTACKED, Kind.CERTIFIED

SMOOTHING = declare(
    Schema(
        "smoothing",
        1,
        "randomized smoothing: every number is of the smoothed classifier",
        (
            Column("prediction", "i4", _C, "class, -1 where it abstained", "class", fill=-2),
            Column("selected", "i4", _M, "class that was tested", "class", fill=-1),
            Column("n_used", "i8", _M, "estimation draws", "count", fill=-1),
            Column("top_count", "i8", _M, "draws that showed the tested class", "count", fill=-1),
            Column("counts", "i4", _M, "draws that showed each class", "count", ("class",), -1),
            Column(
                "path", "i4", _M, "draws of the tested class by each look", "count", ("look",), -1
            ),
            Column("p_lower", "f8", _C, "lower confidence limit of its probability"),
            Column("p_upper", "f8", _C, "upper limit of every other class, where it was used"),
            Column("radius", "f8", _C, "certified l2 radius, 0 where it abstained", "pixel"),
            Column("stop_reason", "i1", _M, "code, see attribute stop_reasons", fill=-1),
            Column(
                "clean_prediction", "i4", _M, "class of the image without noise", "class", fill=-1
            ),
        ),
    )
)


SMOOTHING_PREDICTION = declare(
    Schema(
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
)


SMOOTHING_ATTACK = declare(
    Schema(
        "smoothing-attack",
        1,
        "the nearest image found that the smoothed classifier puts in another class",
        (
            Column(
                "reference", "i4", _C, "class of the image, -1 where undecided", "class", fill=-2
            ),
            Column("distance", "f8", _A, "l2; inf where none was established", "pixel"),
            Column("success", "i1", _A, "1 where another class was established", fill=-1),
            Column("prediction", "i4", _A, "that class, -1 where there is none", "class", fill=-2),
            Column("candidate", "f8", _E, "distance that the search itself believed in", "pixel"),
            Column("n_recheck", "i8", _M, "draws that established the class", "count", fill=-1),
            Column("counts", "i4", _M, "votes at that image, by class", "count", ("class",), -1),
        ),
    )
)
