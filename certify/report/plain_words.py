"""Sentences of the first screen that need no knowledge of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.tables import decimal, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def ball_in_words(norm: str, epsilon: float) -> str:
    """What a change of size ``epsilon`` in ``norm`` is, without a full stop.

    >>> ball_in_words("linf", 8 / 255)
    'no pixel changes by more than 3.1 % of the range from black to white (8 of 255 levels)'
    """
    if norm == "linf":
        steps = epsilon * 255
        levels = f" ({round(steps)} of 255 levels)" if abs(steps - round(steps)) < 1e-6 else ""
        share = percent(epsilon)
        return f"no pixel changes by more than {share} of the range from black to white{levels}"
    if norm == "l2":
        return (
            f"the Euclidean length of the change is at most {pixel(epsilon)}, where one pixel from "
            "black to white is 1"
        )
    return (
        f"the changes of all pixels add up to at most {pixel(epsilon)}, where one pixel from black "
        "to white is 1"
    )


def preprocessing_in_words(facts: Mapping[str, Any]) -> str:
    """How pixels in [0, 1] become the model's input, without a full stop.

    >>> preprocessing_in_words({"range": [0, 255], "mean": [], "std": [], "layout": "NHWC"})
    'pixels from 0 (black) to 255 (white), no normalisation, axes NHWC'
    """
    if not facts:
        return "the file does not tell what the model expects, so pixels go in as they are"
    low, high = (decimal(float(value)) for value in facts.get("range") or (0.0, 1.0))
    parts = [f"pixels from {low} (black) to {high} (white)"]
    mean, std = (_numbers(facts.get(name) or ()) for name in ("mean", "std"))
    if mean or std:
        parts.append(f"normalised as (pixel − {mean or '0'}) / {std or '1'}")
    else:
        parts.append("no normalisation")
    parts.append(f"axes {facts.get('layout', 'NCHW')}")
    if facts.get("channels") == "BGR":
        parts.append("channel order blue, green, red")
    if str(facts.get("dtype", "float32")) != "float32":
        parts.append(f"numbers of type {facts['dtype']}")
    return ", ".join(parts)


def _numbers(values: Sequence[float]) -> str:
    texts = [decimal(float(value)) for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]" if texts else ""


def class_name(names: Sequence[str], number: int) -> str:
    """Name of a class, or its number where the data set has no names.

    >>> class_name(("cat", "dog"), 1), class_name((), 1), class_name(("cat",), -1)
    ('dog', 'class 1', 'unknown')
    """
    if number < 0:
        return "unknown"
    return names[number] if number < len(names) else f"class {number}"
