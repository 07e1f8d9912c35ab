"""A plan as tables, and times, sizes and the choice for a budget in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robcert.certify.tables import DASH, Table

from .plan import PROFILES, half_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Choice, Plan
    from .projection import Cost

SECONDS_LIMIT, MINUTES_LIMIT = 90, 5400
"""Times are in minutes from the first on, in hours from the second on."""


def tables(plan: Plan) -> Iterator[Table]:
    """The costs of the parts with the requested profile, and of all profiles."""
    yield _parts_table(plan)
    if len(plan.measured) > 1:
        yield _profiles_table(plan)


def budget_sentence(plan: Plan, choice: Choice) -> str:
    """What fits into the budget, with the options that request it."""
    budget = duration(choice.seconds)
    if not choice.images:
        return f"budget {budget}: too short for one image with any profile"
    profile = f"--profile {choice.profile} " if choice.profile else ""
    limit = "" if choice.images == plan.images else f"--limit {choice.images}"
    options = f"{profile}{limit}".strip()
    named = f"; options: {options}" if options else ""
    return f"budget {budget}: {_images_text(choice.images)}{named}{_next_profile(plan, choice)}"


def _next_profile(plan: Plan, choice: Choice) -> str:
    """What the next more thorough profile would take; empty where it was not measured."""
    if choice.profile not in PROFILES:
        return ""
    following = PROFILES[PROFILES.index(choice.profile) + 1 :][:1]
    if not following or following[0] not in plan.measured:
        return ""
    seconds = plan.measured[following[0]].total(choice.images).seconds
    return f"; with the profile {following[0]} so many take {duration(seconds)}"


def duration(seconds: float) -> str:
    """A time in its unit.

    >>> duration(0.25), duration(75), duration(600), duration(7200), duration(float("inf"))
    ('0.2 s', '75 s', '10 min', '2.0 h', 'unknown')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < SECONDS_LIMIT:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < MINUTES_LIMIT else f"{seconds / 3600:.1f} h"


def _parts_table(plan: Plan) -> Table:
    """Passes and times, part by part."""
    measured = plan.chosen
    rows = [
        ("loading and checks", DASH, DASH, DASH, duration(measured.loading.seconds), DASH),
        *(_row(name, cost) for name, cost in measured.parts(plan.images).items()),
        ("apart from images", DASH, DASH, DASH, duration(measured.fixed.seconds), DASH),
        _row("total", measured.total(plan.images)),
    ]
    profile = f", profile {plan.profile}" if plan.profile else ""
    header = ("part", "forward passes", "backward passes", "time per pass", "time", "range")
    note = (
        f"{_images_text(plan.images)}. Results file about "
        f"{_size(measured.bytes_for(plan.images))}. The pilots took {duration(plan.pilot_seconds)} "
        f"and at most {_size(plan.memory)} of memory; larger batches may take more. A results file "
        "that has rows already is not considered."
    )
    if "verify" in {plan.command, *measured.parts(plan.images)}:
        note += " Bounds that verify propagates are not passes."
    if plan.profile and len(plan.measured) == 1:
        note += " --all-profiles measures the other profiles too."
    return Table(f"plan of robcert {plan.command}{profile}", "estimated", header, tuple(rows), note)


def _profiles_table(plan: Plan) -> Table:
    """Total of each profile."""
    rows = []
    order = (name for name in PROFILES if name in plan.measured)
    for name, measured in ((name, plan.measured[name]) for name in order):
        cost = measured.total(plan.images)
        size = _size(measured.bytes_for(plan.images))
        rows.append((name, duration(cost.seconds), _range(cost), duration(cost.processor), size))
    header = ("profile", "time", "range", "processor time", "results file")
    return Table("each profile", "estimated", header, tuple(rows))


def _row(name: str, cost: Cost) -> tuple[str, ...]:
    passes = cost.forward + cost.backward
    each = f"{1000 * cost.seconds / passes:.3g} ms" if passes else DASH
    return (
        name,
        f"{cost.forward:,.0f}",
        f"{cost.backward:,.0f}",
        each,
        duration(cost.seconds),
        _range(cost),
    )


def _range(cost: Cost) -> str:
    if not math.isfinite(cost.upper):
        return f"at least {duration(cost.lower)}"
    return f"{duration(cost.lower)} to {duration(cost.upper)}"


def _images_text(images: int) -> str:
    half = half_width(images)
    assert half is not None
    noun = "image" if images == 1 else "images"
    return f"{images:,} {noun}: shares have 95 % intervals of at most ± {100 * half:.2g} %"


def _size(number: float) -> str:
    if number < 1e6:
        return f"{number / 1e3:.0f} kB"
    return f"{number / 1e6:.0f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"
