"""Why images stay open: what ended their proofs, how far these came, and what may help."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .outcome import Method, Open
from .schema import METHODS, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup


@dataclass(frozen=True, slots=True)
class WhyOpen:
    """Images that one thing left open.

    Attributes:
        reason: why they are not certified: time, loose bounds or rounding.
        reached: strongest method whose bounds were complete; empty for none.
        stopped_in: the operation whose bounds the budget cut off, with its place in the network;
            empty if it cut off none.
        images: their number.
    """

    reason: str
    reached: str
    stopped_in: str
    images: int

    @property
    def ended(self) -> str:
        """Where the proofs ended."""
        if self.reason != Open.TIME:
            return "with the method's last step"
        if self.stopped_in:
            return f"in the linear bounds of {self.stopped_in}"
        return _AFTER.get(self.reached, "before the first bounds")


_AFTER: dict[str, str] = {
    Method.INTERVAL: "after intervals",
    Method.CROWN_IBP: "before the linear bounds inside the network",
    Method.CROWN: "before the slopes were optimised",
    Method.ALPHA: "before branch and bound",
    Method.BRANCH: "in branch and bound",
}
"""Where the time ended, by the strongest method that was complete."""


def why_open(group: AnalysisGroup, indices: NDArray[np.int64], place: int) -> tuple[WhyOpen, ...]:
    """What left images open at the radius number ``place`` of a table, the most frequent first.

    Args:
        group: the table.
        indices: the images that are open there.
        place: the radius.
    """
    reasons = group.column("reason", indices)[:, place]
    reached, stopped = reached_by(group, indices), stopped_in(group, indices)
    counts = Counter(
        (str(REASONS[reason]), method, operation)
        for reason, method, operation in zip(reasons.tolist(), reached, stopped, strict=True)
    )
    return tuple(WhyOpen(*what, count) for what, count in counts.most_common())


def reached_by(group: AnalysisGroup, indices: NDArray[np.int64]) -> list[str]:
    """Strongest method whose bounds were complete, by image; empty for none."""
    codes = group.column("reached", indices).tolist()
    return [str(METHODS[code]) if code >= 0 else "" for code in codes]


def stopped_in(group: AnalysisGroup, indices: NDArray[np.int64]) -> list[str]:
    """The operation whose bounds the budget cut off, by image; empty for none."""
    labels = list(group.attribute("operations", ()))
    names = [
        f"{label.strip('_')}, operation {at + 1} of {len(labels)}"
        for at, label in enumerate(labels)
    ]
    places = group.column("stopped_at", indices).tolist()
    return [names[at] if 0 <= at < len(names) else "" for at in places]


def advice(
    found: Iterable[WhyOpen], *, method: Method, budget: float, incomplete: int, n: int
) -> tuple[str, ...]:
    """What may decide open images, one sentence each.

    Args:
        found: what left images open, at every radius.
        method: requested method.
        budget: seconds per image.
        incomplete: images on which the budget cut off the linear bounds.
        n: all images.
    """
    reasons = {(one.reason, one.reached) for one in found}
    said = []
    if incomplete:
        said.append(
            f"On {incomplete} of {n} images the budget of {budget:g} s ended before the linear "
            "bounds of all layers (CROWN) were complete, so only intervals and crown-ibp count "
            "there: robcert verify with a larger --budget goes further."
        )
    if reasons & {(Open.TIME, Method.ALPHA), (Open.TIME, Method.BRANCH)}:
        said.append("With a larger --budget branch and bound may decide more images.")
    named = {reason for reason, _ in reasons}
    if Open.LOOSE in named and method not in (Method.BRANCH, Method.AUTO):
        said.append(
            f"Method {method} has no further step for loose bounds: robcert verify --method auto "
            "goes further."
        )
    if Open.ROUNDING in named:
        said.append(
            "Rounding: the exact network reaches another class within the radius, or comes within "
            "rounding of one, and the runtime confirms neither; no method certifies that."
        )
    return tuple(said)


def cut_off(group: AnalysisGroup, indices: NDArray[np.int64]) -> int:
    """Number of images on which the budget ended before linear bounds were complete once."""
    cheap = {-1, METHODS.index(Method.INTERVAL), METHODS.index(Method.CROWN_IBP)}
    methods = group.column("method", indices).tolist()
    stopped = stopped_in(group, indices)
    return sum(bool(at) and method in cheap for at, method in zip(stopped, methods, strict=True))
