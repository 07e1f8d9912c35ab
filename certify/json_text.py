"""JSON from a file of somebody else."""

from __future__ import annotations

import json
from typing import Any


def parsed_json(text: str) -> Any:
    """Value of the JSON ``text``.

    Raises:
        ValueError: it is not JSON, nests too deep, or has an integer of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        message = "it nests too deep"
        raise ValueError(message) from None
