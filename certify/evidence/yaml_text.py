"""Plain values as YAML in block style; all strings are quoted as in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def yaml_text(value: Mapping[str, Any]) -> str:
    """``value``, whose keys are names, as YAML.

    >>> print(yaml_text({"a": [{"b": 1.5, "c": "yes: no"}], "d": {"e": None}}), end="")
    a:
      - b: 1.5
        c: "yes: no"
    d:
      e: null
    """
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, dict | list) and item:
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(item))
        else:
            yield f"{key}: {_scalar(item)}"


def _sequence(value: Sequence[Any]) -> Iterator[str]:
    for item in value:
        first, *others = _lines(item)
        yield f"- {first}"
        yield from (f"  {line}" for line in others)


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield from _mapping(value)
    elif isinstance(value, list) and value:
        yield from _sequence(value)
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(visible_line(value), ensure_ascii=False)
    text = json.dumps(value)
    # YAML 1.1 takes an exponent without a point for a string
    return re.sub(r"^(-?\d+)e", r"\1.0e", text) if isinstance(value, float) else text
