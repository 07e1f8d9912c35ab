"""Schemas of the tables of a results file: columns with kind of claim and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from robcert.certify.core import Kind

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity; its first axis is the image (or the sampled image).

    Attributes:
        name: name of the HDF5 dataset.
        dtype: numpy type.
        kind: kind of claim of the number.
        doc: one-line description.
        units: ``pixel`` for distances in [0, 1] pixels, ``logit``, ``nat``, ``class``, ``count``, …
        trailing: names of the axes after the first; their sizes are given when the group is made.
        fill: value that means "not computed"; never zero.
        images: whether each row is an image: created only if the sizes of its axes are given,
            compressed, and written when the group is finished or the file closed.
        optional: whether it, too, is created only if the sizes of its axes are given.
    """

    name: str
    dtype: str
    kind: Kind
    doc: str
    units: str = ""
    trailing: tuple[str, ...] = ()
    fill: float = NAN
    images: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """A named, versioned set of columns: one group of a results file.

    Attributes:
        name: name of the schema, and of the group of its tables.
        version: rises with every change of meaning.
        doc: one-line description.
        columns: the columns of a table.
        axis: what a row is.
        added: columns that tables of this version may lack, because they were added later.
    """

    name: str
    version: int
    doc: str
    columns: tuple[Column, ...]
    axis: Literal["image", "sample"] = "image"
    added: tuple[str, ...] = ()

    @property
    def everywhere(self) -> tuple[Column, ...]:
        """The columns that every new table has, whatever sizes are given."""
        return tuple(one for one in self.columns if not (one.images or one.optional))

    def column(self, name: str) -> Column:
        """Column called ``name``."""
        return next(column for column in self.columns if column.name == name)


KNOWN: dict[str, Schema] = {}
"""Known schemas by name, registered by the analyses; tables of other schemas are refused."""


def declare(schema: Schema) -> Schema:
    """``schema``, after registering it for readers of results files."""
    KNOWN[schema.name] = schema
    return schema
