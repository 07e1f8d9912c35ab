"""Tables of the masking check: the checklist, then robust accuracy under each attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robcert.certify.tables import Table, decimal, interval, percent, pixel

from .verdict import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robcert.certify.stats import Proportion

    from .remedies import Remedy
    from .summary import MaskingSummary
    from .verdict import Indicator

NAIVE_NAME = "PGD on the file's own output (naive)"
BEST_NAME = "all attacks together (corrected): at most"


def tables(summaries: Sequence[MaskingSummary]) -> Iterator[Table]:
    """Tables of the checklist with the verdict, and of robust accuracy under each attack."""
    for summary in summaries:
        yield _checklist(summary)
        title = f"robust accuracy at ε = {pixel(summary.epsilon)} ({summary.norm})"
        header = ("under", "accuracy", "95 % interval", "robust to naive only")
        rows = tuple(_accuracies(summary))
        yield Table(title, "attacked", header, rows, where_hidden(summary.hidden_in))


def _checklist(summary: MaskingSummary) -> Table:
    rows = tuple(
        (
            indicator.name.replace("_", " "),
            f"{decimal(indicator.value, 3)}{_limits(indicator)}",
            decimal(indicator.threshold, 3),
            state_of(indicator),
            _sentences(indicator),
        )
        for indicator in summary.indicators
    )
    header = ("indicator", "value [95 %]", "threshold", "", "meaning")
    parts = (summary.reason, summary.would_change)
    note = " ".join(part for part in parts if part).replace("_", " ")
    return Table(f"gradient masking: {summary.verdict}", "measured", header, rows, note)


def _accuracies(summary: MaskingSummary) -> Iterator[tuple[str, ...]]:
    yield (NAIVE_NAME, *_accuracy(summary.naive), "")
    for remedy in summary.remedies:
        yield (remedy.title, *_accuracy(remedy.robust), _beyond(remedy))
    yield (BEST_NAME, *_accuracy(summary.corrected), "")


def _accuracy(share: Proportion) -> tuple[str, str]:
    return (percent(share.value), interval(share)) if share.n else ("not run", "")


def _beyond(remedy: Remedy) -> str:
    share = remedy.broken_beyond
    if share.n == 0:
        return ""
    return f"{percent(share.value)}{' SUCCEEDS' if remedy.gets_through else ''}"


def where_hidden(hidden_in: str) -> str:
    """One sentence on what hides the gradient; empty if nothing does."""
    return {
        "file": "The file's own output hides the gradient: attacks on that output find too few "
        "adversarial images. The logits, which robcert attacks, do not hide it.",
        "cross-entropy": "Cross-entropy hides the gradient; other losses of the logits do not.",
        "both": "The file's output and cross-entropy of its logits hide the gradient.",
        "output layers": "The layers after the scores inside the graph hide the gradient: PGD on "
        "those scores succeeds. An average of the probabilities of confident networks does so "
        "too, because they saturate in floating point; it need not be meant to.",
        "every loss": "No loss of the output has a useful gradient: only attacks without gradients "
        "or on scores inside the graph succeed.",
    }.get(hidden_in, "")


def _sentences(indicator: Indicator) -> str:
    shown = (indicator.flagged or indicator.near) and indicator.advice
    return f"{indicator.meaning} → {indicator.advice}" if shown else indicator.meaning


def _limits(indicator: Indicator) -> str:
    lower, upper = indicator.lower, indicator.upper
    if math.isnan(lower) or math.isnan(upper):
        return ""
    return f" [{decimal(lower, 2)}, {decimal(upper, 2)}]"


def state_of(indicator: Indicator) -> str:
    """State of an indicator in a few words; a flagged hint does not change the verdict."""
    if not indicator.ran:
        return "not run" if indicator.required else "not run (optional)"
    if indicator.near:
        return "above half the threshold (suspect)"
    if not indicator.flagged:
        return "ok"
    return "hint" if indicator.weight is Weight.HINT else f"FLAGGED ({indicator.weight})"
