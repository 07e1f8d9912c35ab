"""Columns of the masking check: measurements, and the attacks that succeed on each image."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.store import Column, Schema, declare

JUDGED = (
    *("clean", "fgsm", "pgd_file", "pgd_ce", "pgd_wide", "pgd_small_logits", "pgd_large_logits"),
    *("pgd_margin", "multi_targeted", "inner", "averaged"),
    *("noise", "search", "label_search", "hopskipjump", "transfer", "transfer_start"),
    "long_search",
)
"""The images at which a random model is judged by fresh draws: clean, and the end of each attack.

They are the positions of ``wrong_share`` along its second axis.
"""

BY_GRADIENT = (
    "pgd_ce",
    "pgd_margin",
    "multi_targeted",
    "pgd_small_logits",
    "pgd_large_logits",
)
"""Gradient attacks on the logits."""

UNKNOWN = -1
"""Outcome of an attack that was not run, for instance for lack of a gradient."""

NEEDLESS = -2
"""Outcome of an attack that was not run because an earlier one, or none at all, was enough."""

_M, _E, _A = Kind.MEASURED, Kind.ESTIMATED, Kind.ATTACKED


ADDED = (
    *("inner", "long_search"),
    *("averaged", "hopskipjump", "transfer_start", "naive_at", "margin_at", "wrong_share"),
)
"""Columns that files of version 2 may lack, because they were added later."""

MASKING = declare(
    Schema(
        "masking",
        2,
        "evidence of gradient masking, per image; success columns refer to epsilon in the "
        "settings, and to the majority of several draws where outputs differ between calls; "
        "-2: not needed, because an earlier attack succeeded or the image is misclassified",
        (
            Column("correct", "i1", _M, "1 where the runtime gives the class y", fill=-1),
            Column(
                "answers_differ", "i1", _M, "1 where the same input gave different outputs", fill=-1
            ),
            Column("confidence", "f8", _M, "largest probability on the image"),
            Column(
                "confidence_random", "f8", _M, "largest probability after uniform noise in the ball"
            ),
            Column(
                "confidence_pgd1",
                "f8",
                _M,
                "largest probability after one step from a random start",
            ),
            Column(
                "gradient_norm_file", "f8", _M, "dual norm of the true CE gradient, file as shipped"
            ),
            Column("gradient_norm_ce", "f8", _M, "dual norm of the true CE gradient of the logits"),
            Column("gradient_norm_margin", "f8", _M, "dual norm of the true margin gradient"),
            Column("loss_curve", "f8", _M, "CE along PGD on the margin", "nat", ("step",)),
            Column("margin_curve", "f8", _M, "margin loss at the same points", "logit", ("step",)),
            Column("moved", "i1", _M, "1 where that attack left its start", fill=-1),
            Column(
                "gradient_nan",
                "i1",
                _M,
                "1 where its gradient was not finite at some step",
                fill=-1,
            ),
            Column("high_frequency", "f8", _M, "share of its energy above 1/4 cycle per pixel"),
            Column("gamma", "f8", _E, "largest deviation of the margin from its tangent", "logit"),
            Column(
                "linear_change", "f8", _M, "epsilon times the dual norm of its gradient", "logit"
            ),
            *(
                Column(name, "i1", _A, f"1 where {what} succeeds", fill=-1)
                for name, what in (
                    ("fgsm", "one sign step on CE"),
                    ("pgd_file", "PGD on CE of the file as shipped"),
                    ("pgd_ce", "PGD on CE of the logits"),
                    ("pgd_wide", "PGD on CE of the logits within twice epsilon"),
                    ("pgd_small_logits", "PGD on CE of a hundredth of the logits"),
                    ("pgd_large_logits", "PGD on CE of a hundred times the logits"),
                    ("pgd_margin", "PGD on the logit margin"),
                    ("multi_targeted", "PGD to some other class"),
                    ("inner", "PGD on scores inside the graph, past what may hide their slope"),
                    ("averaged", "PGD on the margin along the mean gradient of noisy copies"),
                    ("noise", "one of several random points of the ball"),
                    ("search", "score search (Square)"),
                    ("label_search", "search by labels only"),
                    ("hopskipjump", "HopSkipJump, by labels only,"),
                    ("transfer", "an adversarial image of another model"),
                    ("transfer_start", "a search that starts at such an image"),
                    ("long_search", "a long search of selected images"),
                    ("unbounded", "PGD bounded by the pixel box alone"),
                )
            ),
            Column(
                "wrong_share",
                "f8",
                _M,
                "share of fresh draws misclassified at the clean image and where each attack "
                "ended, in two halves; NaN where outputs do not differ between calls",
                "",
                ("judged", "half"),
            ),
            Column(
                "naive_at", "i1", _A, "1 where PGD on CE as shipped succeeds", "", ("strength",), -1
            ),
            Column(
                "margin_at", "i1", _A, "1 where PGD on the margin succeeds", "", ("strength",), -1
            ),
        ),
        added=ADDED,
    )
)

ROUND = declare(
    Schema(
        "masking_round",
        1,
        "further attacks of the masking check on selected images, one table per round",
        (
            Column("broken", "i1", _A, "1 where an attack of the round succeeds", fill=-1),
            Column(
                "wrong_share",
                "f8",
                _M,
                "share of fresh draws misclassified where the best attack of the round ended, in "
                "two halves; NaN where outputs do not differ between calls",
                "",
                ("half",),
            ),
        ),
        added=("wrong_share",),
    )
)
