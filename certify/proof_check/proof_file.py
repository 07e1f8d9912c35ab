"""The proof file: HDF5 behind a header that holds the SHA-256 of all the rest.

The first :data:`HEADER_BYTES` bytes, which HDF5 leaves to others, are the text of :func:`header`,
so that a change of any byte of the file is noticed before anything of it is read. The rest are
plain data sets::

    /                     attributes format, format_version, robcert_version, model_sha256,
                          model_file, output (tensor of the scores, empty for the only output),
                          preprocessing (JSON), arithmetic (float32 or real), data_name (of the
                          set that the indices count through; may be missing)
    /statements/000000    attributes index, label, norm, radius; data set image (c, h, w) float32
        relus/0           of each ReLU in the order of the model's graph (a max pooling is a tree
                          of them, see ``Builder.largest``), elements counted through:
                          tightened (t) int32, lower (t), upper (t) float64: bounds of its input
                          units (u_i) int32: inputs with a slope of their own, ascending
        leaves            regions of signs, u units of all ReLUs one after the other:
                          rival (n) int32, signs (n, u) int8, slopes (n, u) float64,
                          multipliers (n, u) float64
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np

from .errors import ProofFileError
from .leaves import blocks
from .region import NORMS, Norm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FORMAT, FORMAT_VERSION = "robcert-proof", 1

HEADER_BYTES = 512
"""A user block of HDF5."""

MOST_PIXELS = 2**24
MOST_LEAVES = 2**24
MOST_UNITS = 2**22
MOST_CHUNK = 2**26

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
"""What h5py raises for a file that contradicts itself."""

BLOCK = 2**24
"""Elements of a data set that are read together."""

STRINGS = ("format", "model_sha256", "model_file", "output", "preprocessing", "arithmetic")


def header(content_sha256: str) -> bytes:
    """The header of a file whose other bytes have this hash."""
    text = f"{FORMAT} {FORMAT_VERSION}\nsha256 {content_sha256}\n".encode()
    return text.ljust(HEADER_BYTES, b"\0")


def digest_of(path: Path, *, skip: int = 0) -> str:
    """SHA-256 of a file without its first ``skip`` bytes, as 64 hex digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(skip)
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """What all statements of a file are about.

    Attributes:
        model_sha256: hash of the model file.
        model_file: its name.
        output: tensor with the scores.
        preprocessing: JSON.
        float32: whether they hold for every evaluation in float32, or for the exact one.
        data_name: name of the images, as whoever wrote the file called them; empty if it does not
            say.
    """

    model_sha256: str
    model_file: str
    output: str
    preprocessing: str
    float32: bool
    data_name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReluBounds:
    """Bounds of the input of a ReLU.

    Attributes:
        tightened: elements that linear bounds gave.
        lower: their lower bounds.
        upper: their upper bounds.
        units: elements with a slope of their own, ascending.
    """

    tightened: NDArray[np.int64]
    lower: Array
    upper: Array
    units: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Regions of signs, in the file.

    Attributes:
        rival: class whose score each region keeps below the label's ``(n,)``.
        signs: ``(n, u)``, likewise slopes and multipliers.
    """

    rival: NDArray[np.int64]
    signs: h5py.Dataset
    slopes: h5py.Dataset
    multipliers: h5py.Dataset

    def assumed(self) -> NDArray[np.int8]:
        """The signs of the units of which any region assumes one ``(n, v)``.

        Raises:
            ProofFileError: a sign is none.
        """
        n, u = self.signs.shape
        used = np.zeros(u, bool)
        step = max(1, BLOCK // max(1, u))
        for part in blocks(n, step):
            signs = _part(self.signs, part)
            if not bool(np.isin(signs, (-1, 0, 1)).all()):
                message = "a sign in the proof is not -1, 0 or 1"
                raise ProofFileError(message)
            used |= (signs != 0).any(0)
        if n * int(used.sum()) > 2**31:
            message = "the proof has too many splits"
            raise ProofFileError(message)
        parts = [_part(self.signs, part)[:, used] for part in blocks(n, step)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.int8)

    def numbers(self, part: slice) -> tuple[NDArray[np.int8], Array, Array]:
        """Signs, slopes and multipliers of some regions.

        Raises:
            ProofFileError: one is not finite.
        """
        slopes, multipliers = _part(self.slopes, part), _part(self.multipliers, part)
        if not bool(np.isfinite(slopes).all() and np.isfinite(multipliers).all()):
            message = "a slope or multiplier in the proof is not finite"
            raise ProofFileError(message)
        return _part(self.signs, part), slopes, multipliers


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement: no image within the radius has another class.

    Attributes:
        index: index of the image in its data set.
        image: the pixels ``(c, h, w)``.
        label: the class.
        norm: norm of the ball.
        radius: pixel units.
        relus: bounds of the inputs of ReLUs.
        leaves: regions of signs.
    """

    index: int
    image: Array
    label: int
    norm: Norm
    radius: float
    relus: tuple[ReluBounds, ...]
    leaves: Leaves


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, after its hash was found right.

    Raises:
        ProofFileError: it is no proof file, or was changed.
    """
    require_whole(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        message = f"{path} is damaged: {error}"
        raise ProofFileError(message) from error
    with file:
        yield file


def require_whole(path: Path) -> None:
    """Raise unless the hash of a proof file is right.

    Raises:
        ProofFileError: it is no proof file, or was changed.
    """
    try:
        with path.open("rb") as file:
            found = file.read(HEADER_BYTES)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ProofFileError(message) from error
    if not found.startswith(f"{FORMAT} ".encode()):
        hint = "robcert verify --save-proof writes one"
        message = f"{path} is not a proof file"
        raise ProofFileError(message, hint=hint)
    if not found.startswith(f"{FORMAT} {FORMAT_VERSION}\n".encode()):
        message = f"{path} has a version of the proof format that this checker does not know"
        raise ProofFileError(message)
    if found != header(digest_of(path, skip=HEADER_BYTES)):
        message = f"{path} was changed after it was written: its SHA-256 is another"
        raise ProofFileError(message)


def about(file: h5py.File) -> About:
    """What the statements of a file are about.

    Raises:
        ProofFileError: it does not say.
    """
    texts = {name: _attribute(file, name) for name in STRINGS}
    texts["data_name"] = _attribute(file, "data_name") or ""
    if not all(isinstance(text, str) and len(text) < 2**16 for text in texts.values()):
        message = "the proof does not say what it is about"
        raise ProofFileError(message)
    if texts["format"] != FORMAT or int(_number(file, "format_version")) != FORMAT_VERSION:
        message = "the proof has a version that this checker does not know"
        raise ProofFileError(message)
    if texts["arithmetic"] not in ("float32", "real"):
        message = "the proof names an arithmetic that this checker does not know"
        raise ProofFileError(message)
    return About(
        texts["model_sha256"],
        texts["model_file"],
        texts["output"],
        texts["preprocessing"],
        texts["arithmetic"] == "float32",
        texts["data_name"],
    )


def statements(file: h5py.File) -> Iterator[Statement]:
    """The statements of a file, one after the other.

    Raises:
        ProofFileError: one has another form than it must have.
    """
    group = _group(file, "statements")
    with _reading("statements"):
        names = list(group)
    for name in names:
        yield _statement(_group(group, name))


def _statement(group: h5py.Group) -> Statement:
    pixels = _values(group, "image", np.float32, 3, MOST_PIXELS).astype(np.float64)
    norm, radius = _attribute(group, "norm"), _number(group, "radius")
    are_pixels = bool(((pixels >= 0) & (pixels <= 1)).all())  # around others a ball may be empty
    if norm not in NORMS or not 0 < radius < 1e6 or not are_pixels:
        message = "a statement in the proof has no valid image, norm or radius"
        raise ProofFileError(message)
    bounds = _relus(_group(group, "relus"))
    return Statement(
        int(_number(group, "index")),
        pixels,
        int(_number(group, "label")),
        cast("Norm", norm),
        radius,
        bounds,
        _leaves(_group(group, "leaves"), sum(len(each.units) for each in bounds)),
    )


def _relus(group: h5py.Group) -> tuple[ReluBounds, ...]:
    """Bounds of every ReLU, which have no more elements together than those of one may have."""
    with _reading("relus"):
        count = len(group)
    found, elements = list[ReluBounds](), 0
    for at in range(count):
        found.append(_relu_bounds(_group(group, str(at))))
        elements += len(found[-1].tightened) + len(found[-1].units)
        if elements > 2 * MOST_UNITS:
            message = "a statement in the proof has too many bounds"
            raise ProofFileError(message)
    return tuple(found)


def _relu_bounds(group: h5py.Group) -> ReluBounds:
    tightened, units = (
        _values(group, name, np.int32, 1, MOST_UNITS).astype(np.int64)
        for name in ("tightened", "units")
    )
    lower, upper = (_values(group, name, np.float64, 1, MOST_UNITS) for name in ("lower", "upper"))
    ordered = bool((np.diff(units) > 0).all() and (np.diff(tightened) > 0).all())
    if not ordered or not len(tightened) == len(lower) == len(upper):
        message = "the bounds in the proof do not belong together"
        raise ProofFileError(message)
    if not bool(np.isfinite(lower).all() and np.isfinite(upper).all()):
        message = "a bound in the proof is not finite"
        raise ProofFileError(message)
    return ReluBounds(tightened, lower, upper, units)


def _leaves(group: h5py.Group, units: int) -> Leaves:
    rival = _values(group, "rival", np.int32, 1, MOST_LEAVES).astype(np.int64)
    most = MOST_LEAVES * max(1, units)
    signs = _data(group, "signs", np.int8, 2, most)
    slopes, multipliers = (
        _data(group, name, np.float64, 2, most) for name in ("slopes", "multipliers")
    )
    if not signs.shape == slopes.shape == multipliers.shape == (len(rival), units):
        message = "the regions in the proof do not belong together"
        raise ProofFileError(message)
    return Leaves(rival, signs, slopes, multipliers)


# --- HDF5 whose content is not trusted ---------------------------------------------------------


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Context in which what h5py raises is a ProofFileError about ``name``."""
    try:
        yield
    except UNREADABLE as error:
        message = f"the proof is damaged at {name!r}: {error}"
        raise ProofFileError(message) from error


def _member(group: h5py.Group, name: str) -> Any:
    with _reading(name):
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            return group[name]
    message = f"the proof has no {name!r} of its own"
    raise ProofFileError(message)


def _group(group: h5py.Group, name: str) -> h5py.Group:
    found = _member(group, name)
    if not isinstance(found, h5py.Group):
        message = f"{name!r} in the proof is not a group"
        raise ProofFileError(message)
    return found


def _data(group: h5py.Group, name: str, kind: type, axes: int, most: int) -> h5py.Dataset:
    """A data set that lies in the file itself."""
    found = _member(group, name)
    with _reading(name):
        plain = isinstance(found, h5py.Dataset) and found.external is None and not found.is_virtual
        plain = plain and found.compression in (None, "gzip")
        plain = plain and prod(found.chunks or ()) <= MOST_CHUNK
        if plain and found.dtype == np.dtype(kind) and found.ndim == axes and found.size <= most:
            return found
    message = f"{name!r} in the proof has not the type or size that it must have"
    raise ProofFileError(message)


def _values(group: h5py.Group, name: str, kind: type, axes: int, most: int) -> Any:
    """The values of such a data set."""
    return _part(_data(group, name, kind, axes, most), ())


def _part(data: h5py.Dataset, part: slice | tuple[()]) -> Any:
    """The rows ``part`` of a data set, or all of it."""
    with _reading(str(data.name)):
        return data[part]


def _attribute(group: h5py.Group, name: str) -> Any:
    with _reading(name):
        return group.attrs.get(name)


def _number(group: h5py.Group, name: str) -> float:
    found = _attribute(group, name)
    if not isinstance(found, int | float | np.integer | np.floating) or not np.isfinite(found):
        message = f"the attribute {name!r} of the proof is not a number"
        raise ProofFileError(message)
    return float(found)
