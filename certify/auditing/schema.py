"""Columns of the tables of the clean check and of an audit."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

_M = Kind.MEASURED

CLEAN = declare(
    Schema(
        "clean",
        1,
        "predictions of the runtime on the unchanged images",
        (
            Column("prediction", "i4", _M, "predicted class", "class", fill=-1),
            Column(
                "logit_margin", "f8", _M, "logit of the class y minus the largest other", "logit"
            ),
            Column("probability_margin", "f8", _M, "the same for softmax probabilities"),
            Column("confidence", "f8", _M, "largest softmax probability"),
            Column("cross_entropy", "f8", _M, "cross-entropy of the class y", "nat"),
        ),
    )
)


AUDIT = declare(
    Schema(
        "audit", 1, "one run of robcert audit: groups it filled, parts that were not available", ()
    )
)
