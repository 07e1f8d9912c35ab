"""Summaries as tables for people; the terminal and the HTML report print the same ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robcert.certify.attacks import _attack
from robcert.certify.attacks import tables as attack_tables
from robcert.certify.landscape import tables as plane_tables
from robcert.certify.masking import tables as masking_tables
from robcert.certify.radius_bounds import tables as bounds_tables
from robcert.certify.smoothing import _prediction, _smoothing, _smoothing_attack
from robcert.certify.tables import (
    DASH,
    UNLABELLED,
    Table,
    bound_name,
    decimal,
    fact,
    interval,
    known,
    margin_name,
    percent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.tables import Summary


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
