"""Whether torch multiplies float32 numbers in fewer bits than float32 has."""

from __future__ import annotations

import os
from operator import attrgetter

import torch

ENVIRONMENT = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
"""Variables by which oneDNN, torch's library for the CPU, may use bfloat16, float16 or TF32."""

FULL = frozenset({"", "NONE", "IEEE", "STRICT", "HIGHEST"})


def narrow_products() -> str:
    """The setting by which torch may compute float32 products in fewer bits; empty if none does.

    Matrix products and convolutions then have errors of 2^-9 in place of 2^-24. The settings may
    change at any time, so whoever relies on float32 asks each time.
    """
    for name in ENVIRONMENT:
        mode = os.environ.get(name, "")
        if mode.upper() not in FULL:
            return f"{name}={mode}"
    for owner in ("", "mkldnn", "mkldnn.conv", "mkldnn.matmul"):
        name = ".".join(part for part in ("backends", owner, "fp32_precision") if part)
        mode = str(attrgetter(name)(torch))
        if mode.upper() not in FULL:
            return f"torch.{name} = {mode!r}"
    mode = torch.get_float32_matmul_precision()
    return "" if mode.upper() in FULL else f"torch.set_float32_matmul_precision({mode!r})"
