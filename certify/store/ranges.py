"""Whether the numbers of a table are ones that an analysis can have, by their names and units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from robcert.certify.core import Norm

from .layout import read_attribute
from .schema import COMPUTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import h5py
    from numpy.typing import NDArray

    from .column import Column, Schema

MOST = 10**12
"""Largest count that a run can reach."""

_ATTRIBUTES = (
    *("epsilons", "headline_epsilon", "pixels", "n_classes"),
    *("vanishing_share", "disagreement", "gradient_passes", "number", "run", "seconds"),
)
"""Attributes of tables that follow the same rules; all others are of settings."""

_LEAST = {"pixel": 0, "class": -2, "count": -1}
"""Smallest value in columns of these units; codes for none, and not computed, are negative."""


def range_faults(table: h5py.Group, schema: Schema) -> Iterator[tuple[str, str]]:
    """Places of ``table`` whose numbers cannot be, and why; its structure must be valid."""
    stored = {name: read_attribute(table, name) for name in _ATTRIBUTES}
    faults = [
        fault
        for numbers in (stored, read_attribute(table, "settings"))
        for fault in _number_faults(numbers)
    ]
    yield from ((str(table.name), fault) for fault in faults)
    if faults:
        return
    done = table[COMPUTED.name][()] == 1
    for column in schema.columns:
        if column.name in table and not column.images:
            values = table[column.name][()][done]
            if fault := _column_fault(column, values) or _axis_fault(column, values, stored):
                yield f"{table.name}/{column.name}", fault


def _number_faults(numbers: Mapping[str, Any]) -> Iterator[str]:
    """What in settings or attributes no analysis accepts; a name that is missing is no fault."""
    for names, fits, what in _RULES:
        for name in names:
            found = numbers.get(name)
            if found is not None and not fits(found):
                yield f"{name} {what}"


def _are_distances(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_distance, value))


def _is_distance(value: object) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_positive(value: object) -> bool:
    return _is_distance(value) and value != 0


def _is_probability(value: object) -> bool:
    return _is_number(value) and 0 < value < 1


def _is_share(value: object) -> bool:
    """Whether ``value`` is a share of images; NaN is that of none."""
    return _is_number(value) and (math.isnan(value) or 0 <= value <= 1)


def _are_seconds(value: object) -> bool:
    """Whether ``value`` is a duration, or those of several things by name."""
    durations = value.values() if isinstance(value, dict) else [value]
    return all(map(_is_distance, durations))


def _is_count(value: object) -> bool:
    """Whether ``value`` is a number of steps, for instance, or a list of what is done."""
    return isinstance(value, list) or (_is_number(value) and 0 <= value <= MOST)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_RULES: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (
        ("epsilons", "radii", "reported_radii"),
        _are_distances,
        "is not a list of finite numbers of at least 0",
    ),
    (
        ("epsilon", "headline_epsilon", "sigma", "step_size"),
        _is_positive,
        "is not a positive finite number",
    ),
    (
        ("alpha", "level", "exceedance", "tolerance"),
        _is_probability,
        "is not a number between 0 and 1",
    ),
    (("vanishing_share", "disagreement"), _is_share, "is not a share between 0 and 1"),
    (("seconds",), _are_seconds, "is no time of at least 0 seconds"),
    (
        (
            *("n", "n0", "pilot", "family", "steps", "restarts", "draws", "votes", "resolution"),
            *("blocks", "block_size", "directions", "points", "top_k", "pixels", "n_classes"),
            *("gradient_passes", "number", "run"),
        ),
        _is_count,
        f"is not a number from 0 to {MOST}",
    ),
    (("norm",), lambda value: value in list(Norm), "is no norm of robcert"),
)
"""Names of settings and attributes, what holds for their values, and what to say otherwise."""


def _axis_fault(column: Column, values: NDArray[Any], stored: Mapping[str, Any]) -> str:
    """Whether ``column`` has a number for each of the radii that the table names."""
    radii = stored["epsilons"]
    if radii is None or "epsilon" not in column.trailing:
        return ""
    size = values.shape[1 + column.trailing.index("epsilon")]
    return "" if size == len(radii) else f"is for {size} radii, epsilons names {len(radii)}"


def _column_fault(column: Column, values: NDArray[Any]) -> str:
    """What is wrong with the finished rows of ``column``; NaN and infinity may be right."""
    least = _LEAST.get(column.units)
    if least is None or not (values < least).any():
        return ""
    return f"has the value {values[values < least].flat[0]}, below {least}"
