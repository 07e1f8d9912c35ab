"""What of a damaged results file can be read, and saving it into a new file."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from robcert.certify.errors import StoreError
from robcert.certify.hdf5 import CHANGED, Fault, RescuedTable, fault_of_file, rescue

from .file import require_hdf5, storage_errors
from .validity import header_faults, table_faults

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Examination:
    """State of a results file.

    Attributes:
        tables: tables of which rows can be saved, with how many rows are whole.
        faults: parts that are damaged.
        header: why nothing can be saved; empty if model, data set and list of images are whole.
    """

    tables: tuple[RescuedTable, ...]
    faults: tuple[Fault, ...]
    header: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.header or self.faults)

    def fault_of(self, table: RescuedTable) -> str:
        """The first damaged part of ``table``; empty if it is whole."""
        return next((shown(f) for f in self.faults if is_part(f.place, table.place)), "")

    @property
    def elsewhere(self) -> tuple[Fault, ...]:
        """Damaged parts outside of ``tables``."""
        places = [table.place for table in self.tables]
        return tuple(f for f in self.faults if not any(is_part(f.place, p) for p in places))


def examine(path: Path, out: Path | None = None) -> Examination:
    """What of the results file ``path`` is whole; a copy of it goes into the new file ``out``.

    Neither the file nor this process suffers from a file that crashes the HDF5 library: child
    processes read it. A changed number is found by the checksum of its row.

    Raises:
        StoreError: ``path`` is no HDF5 file, ``out`` exists or cannot be written, or there is
            nothing to save.
    """
    require_hdf5(path)
    if out is not None and out.exists():
        message = f"{out} exists"
        raise StoreError(message, hint="give a file that does not")
    with _scratch(out) as copy:
        found = _examined(path, copy)
        if out is not None and found.header:
            message = f"nothing of {path} can be saved: {found.header}"
            raise StoreError(message, hint="repeat the commands with another file")
        if out is not None:
            copy.replace(out)
    return found


def is_part(place: str, whole: str) -> bool:
    """Whether the path ``place`` is ``whole`` or lies inside it."""
    return f"{place}/".startswith(f"{whole}/")


def shown(fault: Fault) -> str:
    """A fault with its place, one line."""
    return f"{fault.place} {fault.reason}" if fault.place else fault.reason


@contextlib.contextmanager
def _scratch(out: Path | None) -> Iterator[Path]:
    """A path for a copy, in the folder of ``out`` or in one that is removed at the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.gettempdir()) if out is None else out.resolve().parent
        stack.enter_context(storage_errors(out or folder, "cannot write"))
        if out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder.mkdir(parents=True, exist_ok=True)
        copy = folder / f".{(out or Path('copy')).name}.new"
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)


def _examined(path: Path, copy: Path) -> Examination:
    """State of the file ``path``; its whole part goes to ``copy``."""
    first = fault_of_file(path)
    found = rescue(path, copy)
    if found.header:
        return Examination((), (), found.header)
    with h5py.File(copy, "r+", libver="earliest", locking=False) as file:
        for place, reason in header_faults(file):
            return Examination((), (), f"{place} {reason}")
        invalid = tuple(Fault(*fault) for fault in table_faults(file))
        kept, lost = list[RescuedTable](), list[Fault]()
        for table in found.tables:
            if any(is_part(fault.place, table.place) for fault in invalid):
                file.pop(table.place, None)
                kept.append(replace(table, whole=0))
            else:
                kept.append(table)
            if kept[-1].whole < table.finished:
                rows = table.finished - kept[-1].whole
                lost.append(Fault(table.place, f"has lost {rows} of {table.finished} rows"))
    # A column that is missing, for instance, is the reason why rows do not fit their checksums.
    changed = tuple(fault for fault in found.faults if CHANGED in fault.reason)
    others = tuple(fault for fault in found.faults if fault not in changed)
    faults = (*others, *invalid, *changed, *lost)
    if first is not None and not faults:  # it concerns a part that no table needs
        faults = (first,)
    return Examination(tuple(kept), faults)
