"""One attempt to refute one printed number, and counts of many."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.core import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORT = 1.1
"""A lower estimate is short if a longer search finds more than this times it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One printed number and what the search found against it.

    Attributes:
        kind: kind of claim of the number.
        quantity: what it is, in the words of the tables.
        where: table and image or radius.
        printed: the number in the file.
        found: the number that contradicts it, or the nearest to that.
        refuted: whether the claim is wrong.
        marked: whether the file itself says so.
        short: for a lower estimate, which more than it claims cannot refute: whether the longer
            search found more than `SHORT` times it.
    """

    kind: Kind
    quantity: str
    where: str
    printed: float
    found: float
    refuted: bool
    marked: bool = False
    short: bool = False


def equal(
    kind: Kind,
    quantity: str,
    where: str,
    *,
    printed: float,
    found: float,
    tolerance: float = 1e-9,
) -> Check:
    """A number that must be ``found``, up to ``tolerance`` times its size or 1."""
    same = (math.isnan(printed) and math.isnan(found)) or printed == found
    near = abs(printed - found) <= tolerance * max(1.0, abs(found))
    return Check(kind, quantity, where, printed, found, refuted=not (same or near))


@dataclass(frozen=True, slots=True)
class Count:
    """Checks of one kind and quantity."""

    kind: str
    quantity: str
    numbers: int
    refuted: int
    marked: int
    short: int


def counted(checks: Iterable[Check]) -> list[Count]:
    """Checks by kind and quantity, in the order in which they first occur."""
    groups: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for check in checks:
        groups[str(check.kind), check.quantity].append(check)
    return [
        Count(
            kind,
            quantity,
            numbers=len(some),
            refuted=sum(bool(one.refuted) for one in some),
            marked=sum(bool(one.refuted and one.marked) for one in some),
            short=sum(bool(one.short) for one in some),
        )
        for (kind, quantity), some in groups.items()
    ]


def record(checks: Iterable[Check]) -> dict[str, Any]:
    """Counts, and every refuted number, as plain JSON."""
    checks = list(checks)
    refuted = [asdict(one) for one in checks if one.refuted]
    for one in refuted:
        one.pop("short")
        for name in ("printed", "found"):  # may be numbers of NumPy, which JSON has not
            one[name] = float(one[name]) if math.isfinite(one[name]) else None
        one |= {name: bool(one[name]) for name in ("refuted", "marked")}
    return {"counts": [asdict(one) for one in counted(checks)], "refuted": refuted}


def added(records: Iterable[dict[str, Any]]) -> list[Count]:
    """The counts of several records together, by kind, then by quantity."""
    total: dict[tuple[str, str], list[int]] = {}
    for one in records:
        for count in one["counts"]:
            sums = total.setdefault((count["kind"], count["quantity"]), [0, 0, 0, 0])
            for at, name in enumerate(("numbers", "refuted", "marked", "short")):
                sums[at] += count[name]
    order = [str(kind) for kind in Kind]
    keys = sorted(total, key=lambda key: order.index(key[0]))
    return [Count(*key, *total[key]) for key in keys]


def by_kind(counts: Iterable[Count]) -> list[Count]:
    """The sum of each kind; the quantity is "all"."""
    sums: dict[str, list[int]] = {}
    for one in counts:
        found = sums.setdefault(one.kind, [0, 0, 0, 0])
        for at, value in enumerate((one.numbers, one.refuted, one.marked, one.short)):
            found[at] += value
    return [Count(kind, "all", *found) for kind, found in sums.items()]


def table(counts: Iterable[Count]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [
        "| kind | number | checked | refuted | of these marked in the file | short by over 10 % |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for one in counts:
        share = f" ({one.refuted / one.numbers:.1%})" if one.refuted else ""
        cells = (one.kind, one.quantity, one.numbers, f"{one.refuted}{share}", one.marked)
        short = str(one.short) if one.short else ""
        lines.append(f"| {' | '.join(map(str, cells))} | {short} |")
    return lines
