"""Tables of no single analysis: the model file, the ledger, parts that are not available."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.core import Kind
from robcert.certify.tables import (
    DASH,
    Table,
    bound_name,
    decimal,
    fact,
    known,
    margin_name,
    percent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from robcert.certify.store import Comparison, Ledger


def not_available_table(part: str, reason: str) -> Table:
    """Table with the reason why a part of an audit has no numbers."""
    return Table(f"{part}: not available", "", ("reason",), ((reason,),))


def inspection_table(facts: Mapping[str, Any]) -> Table:
    """Facts about the model file, as :meth:`Inspection.to_json` gives and an audit stores them."""
    rows = [
        (key.replace("_", " "), fact(facts[key]))
        for key in ("kind", "producer", "opset", "input", "output", "logits_from", "preprocessing")
        if known(facts.get(key))
    ]
    twin = facts["twin"]
    rows.append(("gradients (twin)", "yes" if twin["available"] else f"no: {twin['reason']}"))
    if twin["straight_through"]:
        rows.append(("straight-through nodes", ", ".join(twin["straight_through"])))
    rows.extend(_parity(facts.get("parity") or {}))
    accuracy = facts.get("clean_accuracy") or {}
    if accuracy.get("value") is not None:
        limits = f"[{100 * accuracy['lower']:.1f}, {100 * accuracy['upper']:.1f}]"
        text = f"{percent(accuracy['value'])} {limits}, {accuracy['n']} images"
        rows.append(("clean accuracy", text))
    return Table("the model file", "measured", ("fact", "value"), tuple(rows))


def _parity(parity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if parity.get("top1_agreement") is not None:
        yield (
            "runtime and twin agree",
            f"top-1 {percent(parity['top1_agreement'])} of {parity.get('images')} images, "
            f"relative logit error at most {decimal(parity.get('max_relative_logit_error'), 2)}",
        )
    if parity.get("gradient_correlation") is not None:
        yield "gradient correlation", decimal(parity["gradient_correlation"])


def violations_table(found: Ledger) -> Table:
    """The ledger, one row per comparison of an estimated or certified number."""
    entries = found.comparisons
    radii = _told_apart([(_radius(entry), entry.norm, entry.estimate) for entry in entries])
    attacks = _told_apart([(_attacks(entry), entry.norm, entry.attack) for entry in entries])
    rows = tuple(
        (radius, attack, e.norm, str(e.kind), str(e.compared), str(e.count), _listed(e.indices))
        for e, radius, attack in zip(entries, radii, attacks, strict=True)
    )
    header = ("number", "against", "norm", "kind", "compared", "violations", "images")
    title = "ledger: certified ≤ attacked, estimated ≤ attacked?"
    return Table(title, "", header, rows, found.sentence)


def _radius(entry: Comparison) -> str:
    """Name of the radius of a comparison."""
    if entry.kind is Kind.CERTIFIED:
        return "radius of the model itself" if entry.proven else "radius of the smoothed classifier"
    name = bound_name(entry.estimate.rsplit(":", 1)[1])
    return f"{name}, {margin_name(entry.margin)}" if entry.margin else name


def _attacks(entry: Comparison) -> str:
    """Name of the attacks of a comparison: the readable part of their key, without the norm."""
    analysis, key = entry.attack.strip("/").split("/")
    name = key.rpartition("-")[0].removeprefix(f"{entry.norm}-")
    return name if analysis == "attack" else f"{analysis.replace('-', ' ')}, {name}"


def _told_apart(named: list[tuple[str, str, str]]) -> tuple[str, ...]:
    """Names of groups ``(name, norm, path)``, with the end of the key if two coincide."""
    paths: dict[tuple[str, str], set[str]] = {}
    for name, norm, path in named:
        paths.setdefault((name, norm), set()).add(path)
    return tuple(
        f"{name} ({path.partition(':')[0].rpartition('-')[2]})"
        if len(paths[name, norm]) > 1
        else name
        for name, norm, path in named
    )


def _listed(indices: tuple[int, ...], most: int = 8) -> str:
    more = f", … {len(indices) - most} more" if len(indices) > most else ""
    return ", ".join(str(index) for index in indices[:most]) + more or DASH
