"""Parts of every results file: its format, the list of images, the mark of a finished row."""

from __future__ import annotations

from robcert.certify.core import Kind
from robcert.certify.hdf5 import CHECKSUM

from .column import Column

FORMAT = "robcert-results"
FORMAT_VERSION = 1

CLASSES = "classes"
"""Attribute of ``/data``: names of the classes by number; absent where they have none."""

_M = Kind.MEASURED

IMAGES = (
    Column("index", "i8", _M, "position of the image in the data set", fill=-1),
    Column("label", "i4", _M, "label of the image, -1 if there is none", "class", fill=-1),
)
"""Datasets of the group ``/data``: the image of each row of every table."""

CHECKSUMS = Column(
    CHECKSUM,
    "i8",
    _M,
    "checksum of the row's other numbers, images left out",
    fill=-1,
)
"""Column that tells whether a row's values are those that were written."""

COMPUTED = Column("computed", "i1", _M, "1 where the row is finished", fill=0)
"""Every table's last column; a row counts once this is set, after its values are in the file."""
