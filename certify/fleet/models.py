"""The models of a fleet: files, run folders, folders of models, and lists of paths."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = (".onnx", ".safetensors")
"""Endings of model files in a folder of models."""

LIST_SUFFIX = ".txt"
"""Ending of a file that lists paths of models."""

CHECKPOINT = "checkpoint.safetensors"
"""File by which a run folder, which is one model, is told from a folder of models."""

MOST_LIST_BYTES = 2**20

MOST_MODELS = 1000
"""Each takes seconds at least, also one that does not exist."""


@dataclass(frozen=True, slots=True)
class FleetModel:
    """One model.

    Attributes:
        path: file or run folder.
        name: the end of its path that no other model of the fleet has.
        key: equal where two models may have one results file, because their files are equal.
    """

    path: Path
    name: str
    key: str


def is_fleet(paths: Sequence[Path]) -> bool:
    """Whether ``paths`` name several models, or one place of models: a folder or a list."""
    return len(paths) > 1 or any(_is_list(path) or _models_in(path) for path in paths)


def fleet_models(paths: Sequence[Path]) -> tuple[FleetModel, ...]:
    """The models that ``paths`` name, in their order, each path once.

    A folder that is no run folder stands for the models in it, by name, and a ``.txt`` file for the
    paths in its lines, which start from its folder; a line that begins with # is a comment.

    Raises:
        InvalidParameterError: a list of paths cannot be read or names nothing, or there are more
            than ``MOST_MODELS``.
    """
    found: dict[Path, None] = {}
    for path in paths:
        listed = _listed(path) if _is_list(path) else [path]
        for one in listed:
            found |= dict.fromkeys(_models_in(one) or [one])
            if len(found) > MOST_MODELS:
                message = f"{path}: an audit of more than {MOST_MODELS} models at a time"
                raise InvalidParameterError(message, hint="audit them in several folders")
    by_place = {path.absolute(): path for path in reversed(found)}
    once = [path for path in found if by_place[path.absolute()] is path]
    return tuple(map(FleetModel, once, _names(once), _keys(once)))


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == LIST_SUFFIX


def _models_in(path: Path) -> list[Path]:
    """Models in the folder ``path``; none where it is a run folder, or no folder."""
    if not path.is_dir() or (path / CHECKPOINT).exists():
        return []
    return [
        one
        for one in sorted(path.iterdir())
        if not one.name.startswith(".")
        and (one.suffix.lower() in SUFFIXES or (one / CHECKPOINT).exists())
    ]


def _listed(path: Path) -> list[Path]:
    """The paths in the list ``path``.

    Raises:
        InvalidParameterError: it cannot be read, or has none.
    """
    hint = "write one path of a model in each line"
    try:
        if not path.is_file() or path.stat().st_size > MOST_LIST_BYTES:
            message = f"{path} is not a list of models: no file of at most {MOST_LIST_BYTES} bytes"
            raise InvalidParameterError(message, hint=hint)
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        paths = [path.parent / line for line in lines if line and not line.startswith("#")]
    except (UnicodeDecodeError, ValueError) as error:
        message = f"{path} is not a list of models: {error}"
        raise InvalidParameterError(message, hint=hint) from None
    if not paths:
        message = f"{path} lists no models"
        raise InvalidParameterError(message, hint=hint)
    return paths


def _names(paths: Sequence[Path]) -> Iterator[str]:
    """For each path the shortest end of it that no other one has."""
    ends = [path.absolute().parts for path in paths]
    lengths = [0] * len(ends)
    length, ambiguous = 0, list(range(len(ends)))
    while ambiguous:
        length += 1
        seen = Counter(ends[one][-length:] for one in ambiguous)
        for one in ambiguous:
            lengths[one] = length
        ambiguous = [one for one in ambiguous if seen[ends[one][-length:]] > 1]
    for parts, own in zip(ends, lengths, strict=True):
        yield str(Path(*parts[-own:]))


def _keys(paths: Sequence[Path]) -> Iterator[str]:
    """For each path a text that two of them share if their names and contents are equal.

    Weights in files of their own are not read, so that models may share a key and differ.
    """
    files = [path / CHECKPOINT if path.is_dir() else path for path in paths]
    sizes = [file.stat().st_size if file.is_file() else -1 for file in files]
    seen = Counter(zip((file.stem for file in files), sizes, strict=True))
    for path, file, size in zip(paths, files, sizes, strict=True):
        if size < 0 or seen[file.stem, size] == 1:
            yield str(path.absolute())
            continue
        with file.open("rb") as content:
            yield f"{file.stem} {hashlib.file_digest(content, 'sha256').hexdigest()}"
