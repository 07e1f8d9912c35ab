"""What an HDF5 file holds, part by part, and the first part that cannot be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_READ = 4_000_000
"""Bytes of the largest array whose values are read as a test."""

LARGEST_CHUNK = 2**28
"""Bytes of the largest chunk that is accepted: one image of 8 000 x 8 000 pixels in colour."""

FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
"""What h5py raises for a file that contradicts itself."""

AXIS_NAMES = "DIMENSION_LABELS"
"""Attribute in which HDF5 keeps the names of an array's axes."""

SECOND_NAME = "is a second name of another part"


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a file that cannot be used.

    Attributes:
        place: its path in the file; empty for the file as a whole.
        reason: what is wrong, one line.
        outside: whether it leads to another file.
    """

    place: str
    reason: str
    outside: bool = False


def parts(
    file: h5py.File, *, soft_links: bool = False
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | Fault]]:
    """Every group and array of ``file`` with its path, each object once; faults in their place.

    Parts that lie in another file are faults and are not opened.

    Args:
        file: the file.
        soft_links: skip links to names within the file, instead of reporting them.
    """
    left, seen = [("", file["/"])], {address_of(file["/"])}
    while left:
        place, group = left.pop()
        for name in group:
            if soft_links and isinstance(group.get(name, getlink=True), h5py.SoftLink):
                continue
            path, item = f"{place}/{name}", member(group, name)
            if isinstance(item, Fault):
                yield path, item
            elif (address := address_of(item)) not in seen:
                seen.add(address)
                yield path, item
                if isinstance(item, h5py.Group):
                    left.append((path, item))
            elif not soft_links:
                yield path, Fault(path, SECOND_NAME)


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | Fault:
    """The part called ``name`` of ``group``, or why it cannot be opened."""
    path = f"{str(group.name).rstrip('/')}/{name}"
    try:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return Fault(path, "is a link", outside=True)
        found = group[name]
        if isinstance(found, h5py.Dataset):
            if found.is_virtual or found.external:
                return Fault(path, "has its values stored elsewhere", outside=True)
        elif not isinstance(found, h5py.Group):
            return Fault(path, "is neither a group nor an array")
    except FAULTS as error:
        return Fault(path, described(error))
    return found


def first_fault(
    file: h5py.File,
    size: int,
    *,
    soft_links: bool = False,
    tell: Callable[[str], None] = lambda place: None,
) -> Fault | None:
    """The first part of ``file`` that lies elsewhere or cannot be read; None if there is none.

    Every attribute, the index of every array and the values of smaller arrays are read.

    Args:
        file: the file.
        size: its size in bytes, which no array stored in one piece exceeds.
        soft_links: accept links to names within the file.
        tell: called with the path of each part before it is read.
    """
    place = ""
    try:
        tell("/")
        dict(file.attrs)
        for place, item in parts(file, soft_links=soft_links):
            if isinstance(item, Fault):
                return item
            tell(place)
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and (reason := _array_fault(item, size)):
                return Fault(place, reason)
    except (*FAULTS, MemoryError) as error:
        return Fault(place, described(error))
    return None


def described(error: BaseException) -> str:
    """The reason of h5py for ``error``, in one line."""
    text = " ".join(str(error).strip("'\"").split())
    return text or type(error).__name__


def _array_fault(data: h5py.Dataset, size: int) -> str:
    """Why ``data`` cannot be read, for what HDF5 itself does not find; reads its values."""
    if data.shape is None:
        return ""
    wanted = math.prod(data.shape) * data.dtype.itemsize
    if data.chunks is None:
        if wanted > size:
            return f"its shape {data.shape} needs {wanted} bytes, the file has {size}"
    else:
        chunk = math.prod(data.chunks) * data.dtype.itemsize
        if chunk > LARGEST_CHUNK:
            return f"its chunks have {chunk} bytes, more than {LARGEST_CHUNK}"
        data.id.get_num_chunks()  # reads the whole index
    if reason := _axes_fault(data):
        return reason
    _ = data.fillvalue, [axis.label for axis in data.dims]
    if wanted <= MOST_READ:
        data[()]
    return ""


def _axes_fault(data: h5py.Dataset) -> str:
    """Why the names of the axes of ``data`` cannot be read.

    HDF5 takes whatever is stored there for pointers to texts, and writes to them.
    """
    if AXIS_NAMES not in data.attrs:
        return ""
    stored = data.attrs.get_id(AXIS_NAMES)
    text = h5py.check_string_dtype(stored.dtype)
    if text is None or text.length is not None or stored.shape != (data.ndim,):
        return f"its attribute {AXIS_NAMES} is not one text for each axis"
    return ""


def address_of(item: h5py.Group | h5py.Dataset) -> int:
    """Where the header of ``item`` lies in the file."""
    return int(h5py.h5o.get_info(item.id).addr)
