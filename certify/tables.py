"""Summaries as tables for people; the terminal and the HTML report print the same ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import attack_tables, bounds_tables, masking_tables, plane_tables
from .wording import (
    DASH,
    UNLABELLED,
    Table,
    bound_name,
    decimal,
    fact,
    in_precision,
    interval,
    known,
    margin_name,
    percent,
    pixel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .wording import Summary


def tables(analysis: str, summary: Summary, *, labelled: bool = True) -> tuple[Table, ...]:
    """Tables of the summary of ``analysis``; one that was not available says why.

    Where the images are not ``labelled`` each says that it refers to the model's own prediction.
    """
    if "not_available" in summary:
        row = (str(summary["not_available"]),)
        return (Table(f"{analysis}: not available", "", ("reason",), (row,)),)
    others = {**plane_tables.TABLES, **masking_tables.TABLES, **attack_tables.TABLES}
    others |= bounds_tables.TABLES
    found = {**others, **_TABLES}[analysis](summary)
    if labelled or analysis == "inspect":
        return tuple(found)
    return tuple(replace(one, note=f"{one.note} {UNLABELLED}".strip()) for one in found)


def _inspect(summary: Summary) -> Iterator[Table]:
    facts = [
        (key.replace("_", " "), fact(summary[key]))
        for key in ("kind", "producer", "opset", "input", "output", "logits_from", "preprocessing")
        if known(summary.get(key))
    ]
    twin = summary.get("twin", {})
    available = "yes" if twin.get("available") else f"no: {twin.get('reason', '')}"
    facts.append(("gradients (twin)", available))
    if twin.get("straight_through"):
        facts.append(("straight-through nodes", ", ".join(twin["straight_through"])))
    facts.extend(_parity(summary.get("parity") or {}))
    accuracy = summary.get("clean_accuracy")
    if accuracy and accuracy.get("value") is not None:
        text = f"{percent(accuracy['value'])} {interval(accuracy)}, {accuracy['n']} images"
        facts.append(("clean accuracy", text))
    yield Table("the model file", "measured", ("what", "found"), tuple(facts))


def _parity(parity: Summary) -> Iterator[tuple[str, str]]:
    if parity.get("top1_agreement") is not None:
        yield (
            "runtime and twin agree",
            f"top-1 {percent(parity['top1_agreement'])} of {parity.get('images')} images, "
            f"logits within {decimal(parity.get('max_relative_logit_error'), 2)} of their scale",
        )
    if parity.get("gradient_correlation") is not None:
        yield "gradient correlation", decimal(parity["gradient_correlation"])


def _clean(summary: Summary) -> Iterator[Table]:
    accuracy = summary.get("clean_accuracy") or {}
    if accuracy.get("value") is None:
        return
    row = (percent(accuracy["value"]), interval(accuracy), str(accuracy["n"]))
    yield Table("clean accuracy", "measured", ("accuracy", "95 % interval", "images"), (row,))


def _smoothing(summary: Summary) -> Iterator[Table]:
    for run in summary.get("runs") or [summary]:
        yield from _smoothed(run)


def _smoothed(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (
            decimal(entry["radius"]),
            percent(entry.get("value")),
            interval(entry),
            percent(entry.get("population_lower")),
        )
        for entry in summary["certified_accuracy"]
    )
    header = ("l2 radius", "certified accuracy", "95 % interval", "unseen images, at least")
    note = str(summary.get("guarantee") or "")
    title = f"the smoothed classifier{in_precision(summary)}, σ = {decimal(summary.get('sigma'))}"
    yield Table(title, "certified", header, rows, note)
    facts = tuple(
        (label, text)
        for label, text in (
            ("abstained", percent(summary.get("abstained"))),
            ("certified for a wrong class", percent(summary.get("certified_wrong"))),
            ("mean samples an image", decimal(summary.get("mean_samples"), 6)),
            ("median samples an image", decimal(summary.get("median_samples"), 6)),
            ("images that used all draws", percent(summary.get("share_at_cap"))),
        )
    )
    yield Table("how the smoothing went", "measured", ("what", "value"), facts)
    yield from _other_norms(summary)
    yield from _draws_and_cut_off(summary)


def _draws_and_cut_off(summary: Summary) -> Iterator[Table]:
    bins = tuple(
        (f"{entry['low']} to {entry['high']}", str(entry["images"]))
        for entry in summary.get("samples") or ()
        if entry["images"]
    )
    if bins:
        yield Table("draws an image took", "measured", ("draws", "images"), bins)
    cut = tuple(
        (str(e["index"]), "abstained" if e["prediction"] < 0 else str(e["prediction"]),
         str(e["n_used"]), decimal(e["radius"]))
        for e in summary.get("in_progress") or ()
    )  # fmt: skip
    if cut:
        header = ("image", "class", "draws", "l2 radius")
        yield Table("cut off by the time budget, so far", "certified", header, cut)


def _other_norms(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (
            entry["norm"],
            decimal(entry["average_certified_radius"]),
            decimal(entry["largest_certifiable"]),
        )
        for entry in summary.get("radii") or ()
    )
    if rows:
        header = ("norm", "average radius", "largest within reach")
        yield Table("the same certificates in each norm", "certified", header, rows)


def _prediction(summary: Summary) -> Iterator[Table]:
    accuracy = summary.get("accuracy") or {}
    rows = (
        ("accuracy", f"{percent(accuracy.get('value'))} {interval(accuracy)}"),
        ("abstained", percent(summary.get("abstained"))),
        ("mean samples an image", decimal(summary.get("mean_samples"), 6)),
    )
    note = str(summary.get("guarantee") or "")
    yield Table("predictions of the smoothed model", "certified", ("what", "value"), rows, note)


def _smoothing_attack(summary: Summary) -> Iterator[Table]:
    rows = tuple(
        (decimal(entry["epsilon"]), percent(entry.get("value")), interval(entry))
        for entry in summary["robust_accuracy"]
    )
    header = ("l2 distance", "not moved to another class", "95 % interval")
    note = f"{summary['guarantee']} Median distance: {decimal(summary.get('median_distance'))}."
    yield Table("the smoothed classifier under attack", "attacked", header, rows, note)


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


def violations_table(violations: dict[str, Any]) -> Table:
    """The ledger, one row a comparison."""
    entries = violations.get("comparisons") or ()
    radii = _told_apart([(_radius(entry), entry["norm"], entry["estimate"]) for entry in entries])
    attacks = _told_apart([(_attacks(entry), entry["norm"], entry["attack"]) for entry in entries])
    rows = tuple(
        (
            radius,
            attack,
            entry["norm"],
            str(entry["compared"]),
            str(entry["count"]),
            _listed(entry["indices"]),
        )
        for entry, radius, attack in zip(entries, radii, attacks, strict=True)
    )
    header = ("estimated radius", "against", "norm", "compared", "violations", "images")
    note = str(violations.get("sentence", ""))
    return Table("ledger: estimated ≤ attacked?", "", header, rows, note)


def _radius(entry: dict[str, Any]) -> str:
    """What a comparison calls its radius."""
    name = bound_name(entry["estimate"].rsplit(":", 1)[1])
    return f"{name}, {margin_name(entry)}" if entry.get("margin") else name


def _attacks(entry: dict[str, Any]) -> str:
    """What a comparison calls its attacks: the readable part of their key, without the norm."""
    analysis, key = entry["attack"].strip("/").split("/")
    name = key.rpartition("-")[0].removeprefix(f"{entry['norm']}-")
    return name if analysis == "attack" else f"{analysis.replace('-', ' ')}, {name}"


def _told_apart(named: list[tuple[str, str, str]]) -> tuple[str, ...]:
    """Names of groups ``(name, norm, path)``, with the end of the key where two have the same."""
    paths: dict[tuple[str, str], set[str]] = {}
    for name, norm, path in named:
        paths.setdefault((name, norm), set()).add(path)
    return tuple(
        f"{name} ({path.partition(':')[0].rpartition('-')[2]})"
        if len(paths[name, norm]) > 1
        else name
        for name, norm, path in named
    )


def _listed(indices: list[int], most: int = 8) -> str:
    more = f", … {len(indices) - most} more" if len(indices) > most else ""
    return ", ".join(str(index) for index in indices[:most]) + more or DASH


_TABLES: dict[str, Callable[[Summary], Iterator[Table]]] = {
    "inspect": _inspect,
    "clean": _clean,
    "smoothing": _smoothing,
    "smoothing_prediction": _prediction,
    "smoothing_attack": _smoothing_attack,
    "attack": _attack,
}
