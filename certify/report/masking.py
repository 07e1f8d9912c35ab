"""The masking section of a report: verdict, small figures, checklist, remedies, images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.masking import (
    BEST_NAME,
    NAIVE_NAME,
    MaskingVerdict,
    Weight,
    state_of,
    where_hidden,
)
from robcert.certify.tables import UNLABELLED, decimal, interval, percent, pixel

from .plain_words import class_name
from .svg import limit_bar, picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.masking import Indicator, MaskingSummary, Remedy
    from robcert.certify.stats import Proportion
    from robcert.certify.store import AnalysisGroup

    from .figures import Figure

_TONES = {MaskingVerdict.CLEAR: "good", MaskingVerdict.MASKED: "bad"}
_WEIGHTS = (Weight.DECISIVE, Weight.SUPPORTING, Weight.HINT)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist or of the remedies, with its bar.

    Attributes:
        name: name of the indicator or remedy.
        state: state in a few words.
        tone: good, warn, bad or quiet.
        bar: drawing of the value and its threshold; empty if the value is not a share.
        value: the number.
        text: its interval, or its meaning.
        advice: what to do next; empty if nothing is flagged.
    """

    name: str
    state: str
    tone: str
    bar: str
    value: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One image: unchanged, after the naive attack, and an adversarial example."""

    pictures: tuple[tuple[str, str], ...]
    caption: str


@dataclass(frozen=True, slots=True)
class MaskingView:
    """Content of the masking section for the template."""

    verdict: str
    tone: str
    sentences: tuple[str, ...]
    radius: str
    figures: tuple[Figure, ...]
    checklist: tuple[Line, ...]
    fixes: tuple[Line, ...]
    images: tuple[Seen, ...]
    note: str


def masking_view(
    summary: MaskingSummary,
    group: AnalysisGroup,
    figures: Sequence[Figure],
    *,
    labelled: bool,
    names: Sequence[str] = (),
) -> MaskingView:
    """Content of the masking section for the table ``group``, with the drawn ``figures``.

    If the images are not ``labelled``, it says that it refers to the model's own prediction.
    ``names`` are those of the classes.
    """
    said = (
        _numbers(summary),
        summary.reason,
        where_hidden(summary.hidden_in),
        summary.would_change,
    )
    return MaskingView(
        verdict=str(summary.verdict),
        tone=_TONES.get(summary.verdict, "warn"),
        sentences=tuple(_sentence(text) for text in said if text),
        radius=f"ε = {pixel(summary.epsilon)} ({summary.norm})",
        figures=tuple(figures),
        checklist=tuple(_check(indicator) for indicator in _sorted(summary.indicators)),
        fixes=tuple(_fixes(summary)),
        images=tuple(_images(group, names)),
        note="" if labelled else UNLABELLED,
    )


def _numbers(summary: MaskingSummary) -> str:
    naive, best = summary.naive, summary.corrected
    if not naive.n:
        without = f"robust accuracy {percent(best.value)} under attacks without gradient."
        return without if best.n else ""
    return (
        f"robust accuracy {percent(naive.value)} under the naive attack, at most "
        f"{percent(best.value)} under all attacks together."
    )


def _sentence(text: str) -> str:
    """``text`` with a capital letter, names in words, and options without line breaks."""
    text = text.replace("_", " ").replace("--", "-\u2060-\u2060")
    return text[:1].upper() + text[1:]


def _sorted(indicators: tuple[Indicator, ...]) -> list[Indicator]:
    """Indicators sorted: flagged first, then by weight; those not run last."""
    return sorted(
        indicators,
        key=lambda i: (not i.ran, not i.flagged, not i.near, _WEIGHTS.index(i.weight)),
    )


def _check(indicator: Indicator) -> Line:
    value, limits = indicator.value, (indicator.lower, indicator.upper)
    share = not np.isnan((value, indicator.lower)).any()
    tone = "quiet"
    if indicator.flagged:
        tone = {Weight.DECISIVE: "bad", Weight.SUPPORTING: "warn"}.get(indicator.weight, "quiet")
    elif indicator.near or (not indicator.ran and indicator.required):
        tone = "warn"
    return Line(
        name=indicator.name.replace("_", " "),
        state=state_of(indicator),
        tone=tone,
        bar=limit_bar(value, limits, indicator.threshold) if share else "",
        value=decimal(value, 3),
        text=indicator.meaning,
        advice=indicator.advice if indicator.flagged or indicator.near else "",
    )


def _fixes(summary: MaskingSummary) -> list[Line]:
    """Robust accuracy under the naive attack, under every remedy, under all together."""
    return [
        _fix(NAIVE_NAME, summary.naive),
        *(_fix(remedy.title, remedy.robust, remedy) for remedy in summary.remedies),
        _fix(BEST_NAME, summary.corrected),
    ]


def _fix(name: str, accuracy: Proportion, remedy: Remedy | None = None) -> Line:
    if not accuracy.n:
        return Line(name, "not run", "quiet", "", "", "")
    through = remedy is not None and remedy.gets_through
    said = ""
    if remedy is not None and remedy.broken_beyond.n:
        said = f"{percent(remedy.broken_beyond.value)} robust to the naive attack only"
    return Line(
        name=name,
        state="succeeds" if through else "",
        tone="bad" if through else "quiet",
        bar=limit_bar(accuracy.value, (accuracy.lower, accuracy.upper), None),
        value=percent(accuracy.value),
        text=" · ".join(part for part in (interval(accuracy), said) if part),
    )


def _images(group: AnalysisGroup, names: Sequence[str]) -> list[Seen]:
    if "pictures/index" not in group:
        return []
    arrays: dict[str, NDArray[Any]] = {
        name: group.array(f"pictures/{name}")
        for name in ("index", "label", "clean", "broken", "broken_class", "naive", "naive_class")
        if f"pictures/{name}" in group
    }
    by = list(group.attribute("pictures_by", []))
    return [_seen(arrays, by, place, names) for place in range(len(arrays["index"]))]


def _seen(arrays: dict[str, NDArray[Any]], by: list[str], i: int, names: Sequence[str]) -> Seen:
    clean, label = arrays["clean"][i], int(arrays["label"][i])
    shown = [(picture(clean, title="the image"), class_name(names, label))]
    if "naive" in arrays:
        there = int(arrays["naive_class"][i])
        still = "still " if there == label else ""
        text = f"naive: {still}{class_name(names, there)}"
        shown.append((picture(arrays["naive"][i], title="after the naive attack"), text))
        shown.append(_change(arrays["naive"][i] - clean, "its change"))
    if by[i]:
        text = f"found: {class_name(names, int(arrays['broken_class'][i]))}"
        shown.append((picture(arrays["broken"][i], title="adversarial image"), text))
        shown.append(_change(arrays["broken"][i] - clean, "its change"))
    found = f"adversarial by {by[i].replace('_', ' ')}" if by[i] else "survives every attack"
    return Seen(tuple(shown), f"image {int(arrays['index'][i])} · {found}")


def _change(change: NDArray[np.float32], text: str) -> tuple[str, str]:
    """A perturbation as an image: grey is no change, scaled by its largest entry."""
    scale = float(np.abs(change).max()) or 1.0
    return picture(0.5 + change / (2 * scale), title=f"±{decimal(scale, 3)}"), text
