"""HDF5 files from others, which are read through in a child process before they are opened.

It imports h5py and numpy alone, so that the child process starts in a tenth of a second.
"""

from .checksums import (
    CHANGED,
    CHECKSUM,
    is_as_written,
    row_checksums,
    rows_as_written,
    seal,
)
from .contents import Fault, described, first_fault, parts
from .rescue import Rescued, RescuedTable
from .sandbox import fault_of_file, remember_written, rescue, written_here
from .written import UnfailingFile

__all__ = [
    "CHANGED",
    "CHECKSUM",
    "Fault",
    "Rescued",
    "RescuedTable",
    "UnfailingFile",
    "described",
    "fault_of_file",
    "first_fault",
    "is_as_written",
    "parts",
    "remember_written",
    "rescue",
    "row_checksums",
    "rows_as_written",
    "seal",
    "written_here",
]
