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
CACHE = "ONNX's inliner fails where an optional input before the last is left out (decoding caches)"

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

DIFFERENT |= {
    f"test_attention_{case}": CACHE
    for case in (
        "4d_diff_heads_mask4d_padded_kv",
        "4d_padded_kv_bf16",
        "4d_causal_padded_kv_bf16",
        "4d_gqa_causal_nonpad_decode",
        "4d_gqa_causal_nonpad_decode_fp16",
        "4d_causal_nonpad_continued_prefill",
        "4d_causal_with_past_and_present",
        "4d_causal_nonpad_negative_offset_structural_empty",
        "4d_causal_nonpad_attn_mask_composition",
        "4d_causal_nonpad_batch_prefill",
        "local_window_with_past",
        "local_window_ext_cache_rank3_head_mask",
        "local_window_ext_cache_rank4_batch_mask",
        "local_window_ext_cache_rank2_mask",
        "local_window_ext_cache_float16_mask",
    )
}

NOT_RUN: dict[str, str] = {
    "test_bernoulli*": RANDOM,
    "test_training_dropout*": RANDOM,
}


def reason(name: str, table: dict[str, str]) -> str:
    """Why a case is listed in ``table``; empty if it is not."""
    return next((why for pattern, why in table.items() if fnmatchcase(name, pattern)), "")
