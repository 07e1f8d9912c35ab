"""Backend node cases of claimed operators that a twin does not have to pass, each with its reason.

Patterns are matched against whole case names. A case listed as different is run and must fail: one
that begins to pass is to be taken off the list.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

FLOAT4 = "4-bit floats have no torch type"
FLOAT8 = "torch casts to FLOAT8E4M3FN with saturation only, and has no FLOAT8E8M0 everywhere"
STRINGS = "strings have no torch type"
SEQUENCES = "sequences and optionals of tensors are not claimed"
SCALES = (
    "ONNX Runtime rounds the output size first, the case does not; the twin follows the runtime"
)
RANDOM = "random numbers"

DIFFERENT: dict[str, str] = {
    "test_*FLOAT4E2M1*": FLOAT4,
    "test_*float4e2m1*": FLOAT4,
    "test_cast*_no_saturate_*_to_FLOAT8E4M3FN": FLOAT8,
    "test_castlike_no_saturate_*_to_FLOAT8E4M3FN_expanded": FLOAT8,
    "test_cast_e8m0_*": FLOAT8,
    "test_equal_string*": STRINGS,
    "test_resize_downsample_scales_*_align_corners": SCALES,
    "test_if_seq": SEQUENCES,
    "test_if_opt": SEQUENCES,
}

NOT_RUN: dict[str, str] = {
    "test_bernoulli*": RANDOM,
    "test_training_dropout*": RANDOM,
}


def reason(name: str, table: dict[str, str]) -> str:
    """Why a case is listed in ``table``; empty if it is not."""
    return next((why for pattern, why in table.items() if fnmatchcase(name, pattern)), "")
