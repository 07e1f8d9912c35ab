"""An item of a paper, a table or a figure, as data: models, analyses, columns, published values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from .analyses import Analysis

Value = str | float | int


@dataclass(frozen=True, slots=True)
class Model:
    """A network of an item.

    Attributes:
        name: name in the table.
        preset: recipe that trains it.
        options: options of `robcert train` that differ from the preset, by field name.
        start: model of the item that provides the initial weights; empty for the preset's own.
        apart: added to the seed, for a model that shares no random number with the others.
        own: analyses of this model alone, in addition to those of the item.
    """

    name: str
    preset: str
    options: tuple[tuple[str, Value], ...] = ()
    start: str = ""
    apart: int = 0
    own: tuple[Analysis, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity of the item.

    Attributes:
        title: its heading.
        claim: certified, estimated, attacked or measured.
        analysis: name of the analysis that gives it.
        number: name of its number there.
        form: how the paper prints it: a share in percent, the rest to 100 %, or the number itself.
    """

    title: str
    claim: Literal["certified", "estimated", "attacked", "measured"]
    analysis: str
    number: str
    form: Literal["share", "error", "value"] = "share"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, or a curve of a figure.

    Attributes:
        name: as the paper has it.
        model: model that is trained for it; empty where there is only a published value.
        published: value of each column as printed, in percent for shares; None where there is none.
        note: why no model is trained, or what differs.
    """

    name: str
    model: str
    published: tuple[float | None, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curves:
    """A picture with one curve per model.

    Attributes:
        title: what it shows.
        claim: kind of its numbers.
        analysis: name of the analysis that gives the curve; empty: one point per column.
        curve: name of the curve there.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
        percent: whether y is a share.
    """

    title: str
    claim: str
    analysis: str
    curve: str
    x_label: str
    y_label: str
    percent: bool = True


@dataclass(frozen=True, slots=True)
class Item:
    """A table or figure of a paper.

    Attributes:
        name: name on the command line, such as LLR-Tab2a.
        title: what it shows.
        source: paper and place.
        data: data set of the paper, as `robcert train --data` takes it.
        training: number of its training images.
        images: number of images that the paper evaluates.
        models: networks, those that others start from first.
        analyses: what is computed of each model that has a row.
        columns: quantities.
        rows: published values.
        errata: what is wrong or open in the paper, and what is done here.
        choices: where this item departs from the paper, or fills what it leaves open.
        figures: pictures in addition to those of the columns.
        keep_every: epochs between checkpoints that are kept; 0 for none.
    """

    name: str
    title: str
    source: str
    data: str
    training: int
    images: int
    models: tuple[Model, ...]
    analyses: tuple[Analysis, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    errata: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    figures: tuple[Curves, ...] = ()
    keep_every: int = 0

    def model(self, name: str) -> Model:
        """The model called ``name``.

        Raises:
            InvalidParameterError: there is none.
        """
        for model in self.models:
            if model.name == name:
                return model
        message = f"{self.name} has no model {name!r}"
        raise InvalidParameterError(message)

    def analyses_of(self, model: Model) -> tuple[Analysis, ...]:
        """Analyses of ``model``; none of one that others only start from, or are attacked by."""
        measured = any(row.model == model.name for row in self.rows)
        return (*self.analyses, *model.own) if measured else ()
