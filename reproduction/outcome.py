"""Published values beside ours: differences with intervals, as tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from robcert.certify.tables import DASH, Table

from .plan import shrunk
from .request import evaluated_images, training_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .folder import Progress
    from .item import Column, Row
    from .measured import Number
    from .plan import ModelRun
    from .request import Evaluated, ReproductionRequest
    from .scale import Shrunk

PER_IMAGES = "95 % binomial interval over the images"
PER_SEEDS = "mean and range over the seeds"


@dataclass(frozen=True, slots=True)
class Ours:
    """Our number, in the unit of the paper.

    Attributes:
        value: of one seed, or the mean over the seeds.
        lower: lower limit: of the interval over the images, or the smallest seed; None without.
        upper: upper limit.
        seeds: number of trainings.
        n: images of each.
    """

    value: float
    lower: float | None
    upper: float | None
    seeds: int
    n: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One row and column.

    Attributes:
        row: the row.
        column: the column.
        published: value as printed; None where there is none.
        ours: our number; None where there is none.
    """

    row: Row
    column: Column
    published: float | None
    ours: Ours | None

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        if self.ours is None or self.published is None:
            return None
        return self.ours.value - self.published

    @property
    def difference_limits(self) -> tuple[float, float] | None:
        """Limits of ours, minus the published value, which counts as exact."""
        ours, published = self.ours, self.published
        if ours is None or published is None or ours.lower is None or ours.upper is None:
            return None
        return ours.lower - published, ours.upper - published


def _in_unit(column: Column, number: Number) -> tuple[float | None, float | None, float | None]:
    """Value and limits as the paper prints the quantity."""
    values = (number.value, number.lower, number.upper)
    if column.form == "value":
        return values
    shares = [None if value is None else 100 * value for value in values]
    if column.form == "share":
        return shares[0], shares[1], shares[2]
    errors = [None if share is None else 100 - share for share in shares]
    return errors[0], errors[2], errors[1]


def ours_of(column: Column, numbers: Sequence[Number]) -> Ours | None:
    """Our number from those of each seed; None if there is none, or one of them is infinite."""
    found = [_in_unit(column, number) for number in numbers]
    values = [value for value, _, _ in found if value is not None]
    if not values or len(values) < len(numbers):
        return None
    if len(values) == 1:
        return Ours(values[0], found[0][1], found[0][2], 1, numbers[0].n)
    return Ours(fmean(values), min(values), max(values), len(values), numbers[0].n)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reproduction, finished.

    Attributes:
        request: what was reproduced.
        work: every training and what is known of it.
        cells: row by row.
        images: images that the analyses saw.
        training: number of training images that there are.
    """

    request: ReproductionRequest
    work: tuple[tuple[ModelRun, Progress], ...]
    cells: tuple[tuple[Cell, ...], ...]
    images: Evaluated
    training: int

    @property
    def shrunk(self) -> list[Shrunk]:
        """What is smaller than in the paper."""
        return shrunk(self.request, len(self.images.indices), self.training)

    @property
    def interval(self) -> str:
        """What limits of a share mean."""
        return PER_IMAGES if self.request.seeds == 1 else PER_SEEDS

    @property
    def failed(self) -> dict[str, str]:
        """Why trainings gave no network, by model and seed."""
        return {job.name: known.failed for job, known in self.work if known.failed}

    @property
    def warnings(self) -> list[str]:
        """Limitations, each with the model that it is about."""
        return [f"{job.name}: {line}" for job, known in self.work for line in known.warnings]

    def table(self) -> Table:
        """One row per row of the paper: ours, the published value in parentheses."""
        columns = self.request.item.columns
        rows = tuple((cells[0].row.name, *(_both(cell) for cell in cells)) for cells in self.cells)
        what = "ours, published in parentheses" if self.any_published else "ours"
        claims = {column.claim for column in columns}
        return Table(
            title=f"{self.request.item.name}: {what}",
            claim=claims.pop() if len(claims) == 1 else "",
            header=("model", *(f"{column.title} ({column.claim})" for column in columns)),
            rows=rows,
            note=self.note,
        )

    @property
    def any_published(self) -> bool:
        """Whether the paper prints any number."""
        return any(cell.published is not None for cells in self.cells for cell in cells)

    @property
    def note(self) -> str:
        """The unit of the numbers, and what they cannot say."""
        return " ".join(filter(None, (self.unit, self.caveat)))

    @property
    def unit(self) -> str:
        """The unit of shares; empty without any."""
        return "Shares are in percent." if self._of_shares else ""

    @property
    def caveat(self) -> str:
        """What the numbers cannot say of the paper; empty for the paper's own setting."""
        request, said = self.request, []
        if request.own_data:
            said.append(f"The images are {request.source}, the paper's {request.item.data}.")
        if self.shrunk:
            factor = f"At a scale of {request.scale.factor:g}, the"
        elif request.own_data:
            factor = "The"
        else:
            return ""
        what = "differences" if self.compares else "numbers"
        return " ".join([*said, f"{factor} {what} are not about the paper."])

    @property
    def compares(self) -> bool:
        """Whether the paper prints a number for any model that is trained."""
        return any(cell.difference is not None for cells in self.cells for cell in cells)

    @property
    def _of_shares(self) -> bool:
        return any(column.form != "value" for column in self.request.item.columns)

    def differences(self) -> Table:
        """One row per number: published, ours and the difference, with limits."""
        rows = tuple(
            (
                cell.row.name,
                cell.column.title,
                cell.column.claim,
                text(cell.published),
                DASH if cell.ours is None else text(cell.ours.value),
                _limits(None if cell.ours is None else (cell.ours.lower, cell.ours.upper)),
                _signed(cell.difference),
                _limits(cell.difference_limits),
            )
            for cells in self.cells
            for cell in cells
            if cell.row.model
        )
        return Table(
            title="Differences",
            claim="",
            header=(
                "model",
                "quantity",
                "kind",
                "published",
                "ours",
                "limits",
                "difference",
                "limits of it",
            ),
            rows=rows,
            note=f"Limits: {self.interval}; numbers that are no shares have limits over the seeds "
            "alone. The published value counts as exact.",
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        request = self.request
        return {
            "item": request.item.name,
            "source": request.item.source,
            "scale": request.scale.factor,
            "data": request.source,
            "paper_data": request.item.data,
            "seeds": request.seeds,
            "images": len(self.images.indices),
            "rows": [_row_json(cells) for cells in self.cells],
            "limits": self.interval,
            "shrunk": [asdict(one) for one in self.shrunk],
            "errata": list(request.item.errata),
            "choices": list(request.item.choices),
            "failed": self.failed,
            "warnings": self.warnings,
        }


def outcome_of(request: ReproductionRequest, work: Sequence[tuple[ModelRun, Progress]]) -> Outcome:
    """The outcome of the finished ``work``."""
    cells = tuple(tuple(_cells(request, row, work)) for row in request.item.rows)
    images, training = evaluated_images(request), training_count(request)
    return Outcome(request, tuple(work), cells, images, training)


def _cells(
    request: ReproductionRequest, row: Row, work: Sequence[tuple[ModelRun, Progress]]
) -> Iterator[Cell]:
    of_row = [known for job, known in work if row.model and job.model.name == row.model]
    for column, published in zip(request.item.columns, row.published, strict=True):
        numbers = [
            known.analyses[column.analysis].numbers[column.number]
            for known in of_row
            if column.analysis in known.analyses
            and column.number in known.analyses[column.analysis].numbers
        ]
        yield Cell(row, column, published, ours_of(column, numbers))


def _row_json(cells: tuple[Cell, ...]) -> dict[str, Any]:
    row = cells[0].row
    return {
        "name": row.name,
        "model": row.model,
        "note": row.note,
        "numbers": [
            {
                "quantity": cell.column.title,
                "kind": cell.column.claim,
                "form": cell.column.form,
                "published": cell.published,
                "ours": None if cell.ours is None else asdict(cell.ours),
                "difference": cell.difference,
                "difference_limits": cell.difference_limits,
            }
            for cell in cells
        ],
    }


def text(value: float | None) -> str:
    """A number as the papers print it, with at most two decimals where it is large.

    >>> text(51.13), text(0.006), text(100), text(None)
    ('51.13', '0.006', '100', '–')
    """
    if value is None:
        return DASH
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 1 else f"{value:.3g}"


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{'+' if value >= 0 else '−'}{text(abs(value))}"


def _limits(limits: tuple[float | None, float | None] | None) -> str:
    if limits is None or None in limits:
        return DASH
    return f"[{', '.join(text(limit).replace('-', '−') for limit in limits)}]"


def _both(cell: Cell) -> str:
    ours = DASH if cell.ours is None else text(cell.ours.value)
    return ours if cell.published is None else f"{ours} ({text(cell.published)})"
