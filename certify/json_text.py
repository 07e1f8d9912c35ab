"""JSON from a file or an option."""

from __future__ import annotations

import json
from typing import Any


class JsonText(str):
    """Text of JSON that stands for its value, where any other text stands for itself."""

    __slots__ = ()


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
