"""Damage of a results file, found on opening it rather than in the middle of its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.errors import RobcertError, StoreError
from robcert.certify.hdf5 import fault_of_file

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.hdf5 import Fault


def require_sound(path: Path) -> None:
    """Raise a StoreError if a part of the file ``path`` lies elsewhere, or cannot be read.

    A child process reads it, because the HDF5 library crashes on some damaged files. The values of
    large arrays are not read. Rows of images are allocated when they are written, so their array
    may be larger than the file.
    """
    if fault := fault_of_file(path):
        raise damage(path, fault)


def damage(path: Path, fault: Fault) -> StoreError:
    """The error for ``fault`` of the results file ``path``."""
    if fault.outside:
        message = f"{path}: {fault.place} {fault.reason}, which robcert never writes"
        return StoreError(message, hint="do not use this file: it leads to other files")
    place = f" at {fault.place}" if fault.place else ""
    message = f"{path} is damaged{place}: {fault.reason}"
    return StoreError(message, hint=f"robcert doctor {path} tells what can be saved of it")


def contradicts_itself(error: BaseException | None) -> bool:
    """Whether ``error`` is what a file raises in its reader whose values contradict each other.

    Schemas say which columns and attributes there are, not which values fit together.
    """
    if isinstance(error, OSError):  # HDF5's errors have no number
        return error.errno is None
    return isinstance(error, _OF_VALUES) and not isinstance(error, RobcertError)


_OF_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
