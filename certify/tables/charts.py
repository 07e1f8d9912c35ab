"""Figures as data: what an analysis shows of its numbers; the report draws them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Points = tuple[tuple[float, float], ...]


class Place(Enum):
    """Section of the report that shows a chart."""

    CURVES = auto()
    LEDGER = auto()
    EXTREMES = auto()
    MASKING = auto()


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes:
        name: name in the legend.
        claim: certified, estimated, attacked or measured; chooses colour and dashes.
        points: (x, y) in the plot's units.
        low: lower limits at the same x, empty for none.
        high: upper limits at the same x, empty for none.
        step: draw steps (a value holds from its x to the next) instead of straight lines.
        style: style sheet class if it is not the claim, for several curves of one claim.
    """

    name: str
    claim: str
    points: Points
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    step: bool = False
    style: str = ""

    @property
    def look(self) -> str:
        """Style sheet class that selects colour and dashes."""
        return self.style or self.claim


@dataclass(frozen=True, slots=True)
class Lines:
    """Curves over axes that start at zero.

    Attributes:
        series: the curves.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
        percent: whether y is a share, from 0 to 100 %.
    """

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    percent: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Distance of each image ``(n,)``, drawn as the share of images beyond each distance.

    Attributes:
        name: name in the legend.
        claim: certified, estimated, attacked or measured.
        values: distances; an image with NaN is not counted.
        style: style sheet class if it is not the claim.
        only_at: distances at which the share is known; empty for all.
    """

    name: str
    claim: str
    values: NDArray[np.float64]
    style: str = ""
    only_at: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of images beyond each distance, with 95 % intervals.

    Attributes:
        columns: one curve each.
        x_label: label of the horizontal axis.
        to_the_end: whether the axis ends at the largest distance instead of the 98 % quantile.
    """

    columns: tuple[Distances, ...]
    x_label: str
    to_the_end: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Histogram of one number per image or block.

    Attributes:
        values: the numbers ``(n,)``, finite.
        x_label: label of the horizontal axis.
        bins: number of bars.
        density: fitted density; with it the bars have area one.
    """

    values: NDArray[np.float64]
    x_label: str
    bins: int = 24
    density: Series | None = None


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points against the diagonal; the flagged ones are marked."""

    points: Points
    flagged: tuple[bool, ...]
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True)
class HistogramRows:
    """Histograms of shares in [0, 1], one row per name, over one axis."""

    rows: tuple[tuple[str, NDArray[np.float64]], ...]
    x_label: str


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceMap:
    """Loss and classes ``(m, m)`` in a plane, from -epsilon to epsilon along both axes."""

    loss: NDArray[np.float64]
    prediction: NDArray[np.int64]
    epsilon: float


@dataclass(frozen=True, slots=True, eq=False)
class Brackets:
    """What is known of one distance per image: certified from below, attacked from above.

    Attributes:
        lower: certified radii ``(n,)``, in the order of the columns.
        upper: attacked distances ``(n,)``; inf where there is none.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    x_label: str
    y_label: str


Content = Lines | Shares | Histogram | Scatter | HistogramRows | SurfaceMap | Brackets


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure of an analysis. Shares of one title and place are drawn in one figure.

    Attributes:
        title: heading of the figure.
        claim: certified, estimated, attacked or measured.
        caption: sentences below the figure.
        content: what is drawn.
        place: section of the report.
        name: text for readers who do not see the figure; empty for the title.
    """

    title: str
    claim: str
    caption: str
    content: Content
    place: Place = Place.CURVES
    name: str = ""
