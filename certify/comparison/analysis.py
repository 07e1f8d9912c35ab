"""Main numbers of several models, and paired differences to the first, from results files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import InvalidParameterError, StoreError
from robcert.certify.store import ResultStore, plain
from robcert.certify.tables import UNLABELLED, Table, csv_line

from .common_ball import common_ball
from .difference import ComparisonSettings, Difference, Family, adjusted
from .difference_table import difference_note, difference_tables
from .overview import Overview, overview
from .overview_table import names, overview_table
from .paired import differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .common_ball import Ball


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One results file of a comparison.

    Attributes:
        results: its path as it was given.
        model: facts about the model in that file.
        overview: its main numbers.
        differences: its numbers minus those of the first file; empty for the first file itself.
    """

    results: str
    model: dict[str, Any]
    overview: Overview
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several models on the same images.

    Attributes:
        settings: how they were compared.
        data: facts about the images in the first file.
        first: the model that the others are compared with.
        others: the others, in the order given.
    """

    settings: ComparisonSettings
    data: dict[str, Any]
    first: ComparedModel
    others: tuple[ComparedModel, ...]

    @property
    def rows(self) -> tuple[Overview, ...]:
        """Main numbers of every model."""
        return (self.first.overview, *(other.overview for other in self.others))

    def named(self, models: Sequence[str]) -> Comparison:
        """The same with other names of the models, in the order of the files."""
        first, *others = (
            replace(one, overview=replace(one.overview, model=name))
            for one, name in zip((self.first, *self.others), models, strict=True)
        )
        return replace(self, first=first, others=tuple(others))

    @property
    def labelled(self) -> bool:
        """Whether the images carry labels."""
        return all(row.labelled for row in self.rows)

    @property
    def family(self) -> Family:
        """All comparisons, whose p-values are adjusted together."""
        size = sum(len(other.differences) for other in self.others)
        return Family(self.settings.correction, size)

    def tables(self) -> Iterator[Table]:
        """One table of all models, then the tables of differences, with a note below the last."""
        yield overview_table(self.rows)
        note = difference_note(self.settings.level, self.family)
        if not self.labelled:
            note += f" {UNLABELLED}"
        first, *others = names(self.rows)
        found = [
            table
            for name, other in zip(others, self.others, strict=True)
            for table in difference_tables(first, name, other.differences, self.settings.correction)
        ]
        yield from found[:-1]
        yield replace(found[-1], note=note)

    def csv_lines(self) -> Iterator[str]:
        """A header, then one line per difference, after the path of its second file."""
        yield csv_line(["results", *(field.name for field in fields(Difference))])
        for other in self.others:
            for difference in other.differences:
                yield csv_line([other.results, *difference.to_json().values()])

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON."""
        content = {
            "data": self.data,
            "labelled": self.labelled,
            "side_by_side": [row.to_json() for row in self.rows],
            "family": {**asdict(self.family), "statement": self.family.statement},
            "first": {"results": self.first.results, "model": self.first.model},
            "compared": [
                {
                    "results": other.results,
                    "model": other.model,
                    "differences": [difference.to_json() for difference in other.differences],
                }
                for other in self.others
            ],
        }
        return dict(plain(content))


def compare(results: Sequence[Path], settings: ComparisonSettings | None = None) -> Comparison:
    """Compare each file with the first, in every number of the same images and settings.

    Args:
        results: at least two results files; the others are compared with the first.
        settings: radii, level of the intervals, correction of the p-values; None for the defaults.

    Raises:
        InvalidParameterError: fewer than two files, or a level outside (0, 1).
        StoreError: a file cannot be read, is about other images, or has no table in common with
            the first.
    """
    if len(results) < 2:
        message = "compare needs at least two results files"
        raise InvalidParameterError(message)
    return side_by_side(results, settings)


def side_by_side(results: Sequence[Path], settings: ComparisonSettings | None = None) -> Comparison:
    """As :func:`compare`, and of one file its main numbers alone.

    Raises:
        RobcertError: as :func:`compare`.
    """
    settings = settings or ComparisonSettings()
    ball = common_ball(results, settings.epsilons[0] if settings.epsilons else None)
    with ResultStore.read(results[0]) as store:
        row = overview(store, epsilon=ball.epsilon, norm=ball.norm)
        first = ComparedModel(str(results[0]), store.model, row, ())
        data = store.data
        others = [_against(store, path, settings, ball) for path in results[1:]]
    found = adjusted([other.differences for other in others], settings.correction)
    adjusted_others = tuple(
        replace(other, differences=one) for other, one in zip(others, found, strict=True)
    )
    return Comparison(settings, data, first, adjusted_others)


def _against(
    first: ResultStore, path: Path, settings: ComparisonSettings, ball: Ball
) -> ComparedModel:
    with ResultStore.read(path) as second:
        found = differences(first, second, settings)
        if not found:
            message = (
                f"{first.path} and {second.path} have no numbers for the same images and settings"
            )
            raise StoreError(message, hint="run the same analysis with the same options on both")
        row = overview(second, epsilon=ball.epsilon, norm=ball.norm)
        return ComparedModel(str(path), second.model, row, found)
