"""Tables of transfer between models and of random changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.tables import Table, decimal, interval, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robcert.certify.tables import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robcert.certify.tables import Summary


def _transfer(summary: Summary) -> Iterator[Table]:
    radii = tuple(f"ε = {pixel(entry['epsilon'])}" for entry in summary["all_sources"])
    rows = [_shares(one["source"], one["robust_accuracy"]) for one in summary["sources"]]
    if len(rows) > 1:
        rows.append(_shares("all of them", summary["all_sources"]))
    title = f"accuracy on adversarial images of other models ({summary['norm']})"
    note = (
        f"Made on the source by {summary['recipe']}, {summary['steps']} steps; tried on this model "
        f"by its runtime. Without attack: {_share(summary['clean_accuracy'])}. In brackets: 95 % "
        "interval. That little transfers proves nothing."
    )
    yield Table(title, "attacked", ("source", *radii), tuple(rows), note)
    own = tuple(
        (one["source"], _share(one["clean_accuracy"]), *_shares("", one["source_accuracy"])[1:])
        for one in summary["sources"]
    )
    title = "accuracy of the sources themselves on the same images"
    yield Table(title, "attacked", ("source", "no attack", *radii), own)


def _shares(name: str, entries: Sequence[Summary]) -> tuple[str, ...]:
    return (name, *(_share(entry) for entry in entries))


def _share(entry: Summary) -> str:
    return f"{percent(entry['value'])} {interval(entry)}"


def _corruption(summary: Summary) -> Iterator[Table]:
    spatial, draws = summary["change"] == "spatial", summary["draws"]
    names = [_strength(entry["strength"]) for entry in summary["accuracy"]]
    what = "random rotation and shift" if spatial else "Gaussian noise"
    clipped = " Pixels are clipped to [0, 1]." if summary["clip"] else ""
    measured = tuple(
        (name, _share(entry["one_draw"]), percent(entry["mean"]))
        for name, entry in zip(names, summary["accuracy"], strict=True)
    )
    header = ("strength", "one draw an image", f"mean of {draws} draws")
    note = f"Unchanged images: {_share(summary['clean_accuracy'])}. In brackets: 95 % interval."
    yield Table(f"accuracy under {what}", "measured", header, measured, note + clipped)
    worst = tuple(
        (name, _share(entry["worst"]))
        for name, entry in zip(names, summary["accuracy"], strict=True)
    )
    note = "Share right on the image and on every draw; more draws can only lower it."
    yield Table(f"worst of {draws} draws", "attacked", ("strength", "accuracy"), worst, note)


def _strength(strength: Sequence[float]) -> str:
    """What people call a strength.

    >>> _strength((10.0, 0.05)), _strength((0.1,))
    ('±10°, ±5 %', 'σ = 0.1')
    """
    if len(strength) == 1:
        return f"σ = {decimal(strength[0])}"
    return f"±{decimal(strength[0])}°, ±{decimal(100 * strength[1])} %"


TABLES: dict[str, Callable[[Summary], Iterator[Table]]] = {
    "transfer": _transfer,
    "corruption": _corruption,
}


def _attack(summary: Summary) -> Iterator[Table]:
    clean = summary.get("clean_accuracy") or {}
    entries = [{"epsilon": 0.0, **clean}] if clean.get("value") is not None else []
    entries += summary.get("robust_accuracy") or []
    rows = tuple(
        (pixel(entry["epsilon"]), percent(entry.get("value")), interval(entry)) for entry in entries
    )
    note = "No attack found more; that proves nothing. "
    if radii := summary.get("radii"):
        note += f"Searched within {', '.join(map(pixel, radii))}, not for the smallest distance"
        free = summary.get("without_radius")
        note += f" (save by {', '.join(free)})." if free else "."
    else:
        note += "Median distance of the nearest adversarial image: "
        note += f"{decimal(summary.get('median_distance'))}."
    header = ("ε", "accuracy", "95 % interval")
    yield Table("robust accuracy under attack", "attacked", header, rows, note)
    yield from _targeted(summary.get("targeted_success") or ())
    if rounded := summary.get("eight_bit"):
        counts = (str(rounded["survives"]), str(rounded["lost"]))
        yield Table(
            "after rounding to 8 bits", "attacked", ("adversarial still", "lost"), (counts,)
        )
    found = _by_attack(summary.get("by_attack"))
    if found:
        cells = tuple(tuple(row.values()) for row in found)
        yield Table("nearest found by", "attacked", tuple(found[0]), cells)


def _targeted(entries: Sequence[Summary]) -> Iterator[Table]:
    rows = tuple((pixel(e["epsilon"]), percent(e["value"]), interval(e)) for e in entries)
    if rows:
        title = "images brought into the class drawn for them"
        yield Table(title, "attacked", ("ε", "share", "95 % interval"), rows)


def _by_attack(entries: Any) -> list[dict[str, str]]:
    if isinstance(entries, dict):
        entries = [
            {"attack": name, **(value if isinstance(value, dict) else {"images": value})}
            for name, value in entries.items()
        ]
    return [
        {
            key.replace("_", " "): decimal(cell) if isinstance(cell, float) else str(cell)
            for key, cell in entry.items()
        }
        for entry in entries or ()
    ]
