"""What the tests of the proof checker share; nothing of the prover."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from robcert.certify.proof_check import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence


def preprocessing(shape: Sequence[int], **stated: Any) -> Preprocessing:
    usual = {
        "layout": "NCHW",
        "flatten": "row-major",
        "range": [0.0, 1.0],
        "channels": "RGB",
        "mean": [],
        "std": [],
        "dtype": "float32",
        "input_shape": list(shape),
    }
    return Preprocessing.from_json(json.dumps({**usual, **stated}))
