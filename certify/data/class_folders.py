"""Sub-folders of a folder of images: classes, splits, or folders that a system made."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from robcert.certify.errors import DataError

from .class_names import class_numbers, in_class_order
from .reading import readable

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}

LABELS_FILE = "labels.csv"

SYSTEM_FOLDERS = {
    *("__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"),
    *("@recycle", "#recycle", "#snapshot", "@tmp", "__pycache__"),
}
"""Folders that operating systems and servers put beside others, in lower case."""

SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel"), "validation"),
    **dict.fromkeys(("development", "eval", "evaluation", "holdout", "heldout"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""Words that name a part of a data set, and which part."""

FILLERS = {"set", "split", "data", "dataset", "images", "image", "imgs", "img", "part"}

MOST_SHOWN = 3
"""Names that a message lists."""


@dataclass(slots=True)
class ClassFolder:
    """A sub-folder that is not hidden.

    Attributes:
        path: where it is.
        images: the image files in it, at any depth, in order.
        inside: names of its own sub-folders that hold images.
        deeper: parts of a data set that folders inside it, at any depth, are named after.
        direct: whether images lie in it directly.
    """

    path: Path
    images: list[Path] = field(default_factory=list)
    inside: set[str] = field(default_factory=set)
    deeper: set[str] = field(default_factory=set)
    direct: bool = False


@dataclass(slots=True)
class Ignored:
    """What was left out.

    Attributes:
        folders: names of hidden folders, which are not entered: one may hold old copies of all.
        hidden: number of hidden image files elsewhere.
        others: number of other files by suffix.
    """

    folders: list[str] = field(default_factory=list)
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, one line each."""
        found = []
        if self.folders:
            names = _shown(sorted(set(self.folders)))
            found.append(f"hidden folders that are ignored: {len(self.folders)} ({names})")
        if self.hidden:
            found.append(f"hidden images that are ignored: {self.hidden}")
        if self.others:
            kinds = _shown([suffix or "no suffix" for suffix in sorted(self.others)])
            found.append(f"ignored files that are no images: {self.others.total()} ({kinds})")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds.

    Attributes:
        flat: images directly in it.
        classes: its sub-folders with images by name, in the order of their class numbers.
        without_images: names of other sub-folders.
        notes: what was left out.
    """

    flat: list[Path]
    classes: dict[str, ClassFolder]
    without_images: tuple[str, ...]
    notes: tuple[str, ...]


def contents(folder: Path) -> Contents:
    """Images in ``folder`` and in its sub-folders, which are classes.

    Raises:
        DataError: there are no images, or the sub-folders are not classes; the message names the
            folders to give instead.
    """
    ignored, flat, found = Ignored(), list[Path](), dict[str, ClassFolder]()
    with readable(folder):
        entries = sorted(folder.iterdir())
    for path in entries:
        if path.is_dir():
            if _is_hidden(path.name):
                ignored.folders.append(path.name)
            else:
                found[path.name] = _scanned(path, ignored)
        elif _is_image(path, ignored):
            flat.append(path)
    named = {name: one for name, one in found.items() if one.images}
    without_images = tuple(name for name in found if name not in named)
    _require_images(folder, flat, named, ignored)
    _require_no_splits(folder, list(named))
    _require_no_splits_below(folder, named)
    _require_no_sets(folder, named)
    _require_all_count(folder, list(named), without_images)
    order = in_class_order(list(named))
    classes = {name: named[name] for name in order}
    notes = [*ignored.notes]
    if any(one.inside for one in classes.values()):
        notes.append("images in sub-folders of a class folder belong to its class")
    if classes and (folder / LABELS_FILE).is_file():
        notes.append(f"{LABELS_FILE} is not read: the sub-folders are the classes")
    if without_images:
        notes.append(f"sub-folders without images: {_shown(without_images)}")
    return Contents(flat, classes, without_images, tuple(notes))


def split_of(name: str) -> str:
    """The part of a data set that a folder of this name holds, empty if it names none.

    >>> split_of("Training_Set"), split_of("val2017"), split_of("testament")
    ('train', 'validation', '')
    """
    word = "".join(part for part in re.findall("[a-z]+", name.lower()) if part not in FILLERS)
    for ending in ("", *FILLERS):
        if word.endswith(ending) and (part := SPLITS.get(word.removesuffix(ending))):
            return part
    return ""


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _is_image(path: Path, ignored: Ignored) -> bool:
    """Whether ``path`` is an image to be read; other files are counted."""
    known = path.suffix.lower() in SUFFIXES
    if not (path.is_file() or path.is_symlink()):  # a link to nowhere is a broken image
        return False
    if path.name.startswith("."):
        ignored.hidden += known
        return False
    if not known and path.name != LABELS_FILE:
        ignored.others[path.suffix.lower()] += 1
    return known


def _scanned(folder: Path, ignored: Ignored) -> ClassFolder:
    found = ClassFolder(folder)
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        here = Path(place)
        for name in [name for name in folders if _is_hidden(name)]:
            folders.remove(name)
            ignored.folders.append(name)
        images = [here / name for name in files if _is_image(here / name, ignored)]
        below = here.relative_to(folder).parts
        if images and below:
            found.inside.add(below[0])
            found.deeper.update(filter(None, map(split_of, below)))
        found.direct = found.direct or bool(images and not below)
        found.images += images
    found.images.sort()
    return found


def _unreadable(error: OSError) -> None:
    with readable(Path(error.filename)):
        raise error


def _require_images(
    folder: Path, flat: list[Path], named: dict[str, ClassFolder], ignored: Ignored
) -> None:
    problem = hint = ""
    if not flat and not named:
        problem = "holds no image files"
        hint = f"images are {', '.join(sorted(SUFFIXES))}, or give an .npz file"
        if ignored.others:
            problem += f", only {_shown([kind or 'no suffix' for kind in sorted(ignored.others)])}"
    elif flat and named:
        problem = f"holds images beside the sub-folders {_shown(list(named))}"
        hint = "put every image into the sub-folder of its class, or all into one folder"
    if problem:
        message = f"{folder} {problem}"
        raise DataError(message, hint=hint)


def _require_no_splits(folder: Path, names: list[str]) -> None:
    parts = [split_of(name) for name in names]
    if not names or not (all(parts) or len(set(filter(None, parts))) > 1):
        return
    splits = [name for name, part in zip(names, parts, strict=True) if part]
    message = f"{folder} holds the splits {', '.join(splits)}, not classes"
    raise DataError(message, hint=f"give one of them: {_paths(folder, splits)}")


def _require_no_splits_below(folder: Path, named: dict[str, ClassFolder]) -> None:
    parts = set[str]().union(*(one.deeper for one in named.values()))
    if len(parts) < 2:
        return
    first = next(iter(named))
    inside = sorted(set[str]().union(*(one.inside for one in named.values())))
    message = f"the sub-folders of {folder} hold splits ({_shown(inside)}), not one class each"
    if any(split_of(name) for name in inside):
        split = next(name for name in inside if split_of(name))
        hint = (
            f"move them to split/class, such as {folder / split / first}, and give one split: "
            f"{folder / split}"
        )
    else:
        hint = f"give a folder of classes, such as {folder / first}"
    raise DataError(message, hint=hint)


def _require_no_sets(folder: Path, named: dict[str, ClassFolder]) -> None:
    """Raise if each sub-folder holds the same sub-folders: it is a data set then, not a class."""
    if not named or any(one.direct for one in named.values()):
        return
    common = set.intersection(*(one.inside for one in named.values()))
    if len(common) < 2:
        return
    several = "each sub-folder" if len(named) > 1 else "the only sub-folder"
    message = (
        f"{several} of {folder} holds the sub-folders {_shown(sorted(common))}: it is a set of "
        "classes, not a class"
    )
    hint = f"give {'one of them' if len(named) > 1 else 'it'}: {_paths(folder, list(named))}"
    raise DataError(message, hint=hint)


def _require_all_count(folder: Path, names: list[str], without_images: tuple[str, ...]) -> None:
    """Raise if it matters for the numbers of the classes whether empty folders are classes."""
    if not without_images or not names:
        return
    now, then = class_numbers(names), class_numbers([*names, *without_images])
    if all(now[name] == then[name] for name in names):
        return
    message = f"{folder} has sub-folders without images among its classes: {_shown(without_images)}"
    hint = "remove them, or fill them: if they count as classes, others get other numbers"
    raise DataError(message, hint=hint)


def _paths(folder: Path, names: list[str]) -> str:
    return _shown([str(folder / name) for name in names])


def _shown(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (", …" if len(names) > MOST_SHOWN else "")
