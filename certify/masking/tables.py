"""The masking check as tables: the checklist, then robust accuracy naive and by every fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.tables import DASH, Table, decimal, interval, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.tables import Summary


def _masking(summary: Summary) -> Iterator[Table]:
    yield _checklist(summary)
    rows = tuple(_accuracies(summary))
    if rows:
        title = f"robust accuracy at ε = {pixel(summary.get('epsilon'))} ({summary.get('norm')})"
        header = ("by", "accuracy", "95 % interval", "breaks beyond naive")
        yield Table(
            title, "attacked", header, rows, where_hidden(str(summary.get("hidden_in", "")))
        )


def _checklist(summary: Summary) -> Table:
    indicators = summary.get("indicators") or ()
    rows = tuple(
        (
            str(indicator["name"]).replace("_", " "),
            f"{_value(indicator.get('value'))}{_limits(indicator)}",
            _value(indicator.get("threshold")),
            state_of(indicator),
            _sentences(indicator),
        )
        for indicator in indicators
    )
    header = ("indicator", "value [95 %]", "above", "", "meaning")
    parts = (summary.get("reason"), summary.get("would_change"))
    note = " ".join(str(part) for part in parts if part).replace("_", " ")
    return Table(f"gradient masking: {summary['verdict']}", "measured", header, rows, note)


def _accuracies(summary: Summary) -> Iterator[tuple[str, ...]]:
    naive = summary.get("naive_robust_accuracy")
    if naive:
        yield ("PGD on the file's own output (naive)", *_accuracy(naive), "")
    for remedy in summary.get("remedies") or ():
        yield (
            str(remedy["name"]),
            *_accuracy(remedy["robust_accuracy"]),
            _beyond(remedy),
        )
    corrected = summary.get("corrected_robust_accuracy")
    if corrected:
        yield ("the best of all (corrected)", *_accuracy(corrected), "")


def _accuracy(share: Summary) -> tuple[str, str]:
    if share.get("value") is None:
        return "not run", ""
    return percent(share["value"]), interval(share)


def _beyond(remedy: Summary) -> str:
    share = remedy["broken_beyond_naive"]
    if share.get("value") is None:
        return ""
    return f"{percent(share['value'])}{' GETS THROUGH' if remedy['gets_through'] else ''}"


def where_hidden(hidden_in: str) -> str:
    """One sentence on what hides the gradient; empty where nothing does."""
    return {
        "file": "The file's own output hides the gradient: attacks on it as it stands find too "
        "little. Its logits, which robcert attacks, do not hide it.",
        "cross-entropy": "Cross-entropy hides the gradient; other losses of the logits do not.",
        "both": "The file's output and cross-entropy of its logits hide the gradient.",
        "every loss": "No loss of the output has a gradient that leads: searches get through, or "
        "attacks on the network inside.",
    }.get(hidden_in, "")


def _sentences(indicator: Summary) -> str:
    meaning, advice = str(indicator.get("meaning", "")), str(indicator.get("advice", ""))
    shown = indicator.get("flagged") or indicator.get("near")
    return f"{meaning} → {advice}" if shown and advice else meaning


def _value(value: Any) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return decimal(float(value), 3)
    return DASH if value is None else str(value)


def _limits(indicator: Summary) -> str:
    lower, upper = indicator.get("lower"), indicator.get("upper")
    return "" if lower is None or upper is None else f" [{decimal(lower, 2)}, {decimal(upper, 2)}]"


def state_of(indicator: Summary) -> str:
    """A hint that is flagged changes no verdict, so it does not shout."""
    if not indicator.get("ran", indicator.get("flagged") is not None):
        return "not run" if indicator.get("required", True) else "not run (optional)"
    if indicator.get("near"):
        return "half way (suspect)"
    if not indicator.get("flagged"):
        return "ok"
    return "hint" if indicator.get("weight") == "hint" else f"FLAGGED ({indicator['weight']})"


TABLES: dict[str, Callable[[Summary], Iterator[Table]]] = {"masking": _masking}
