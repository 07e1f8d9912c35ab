"""Campaign of mutated results files against everything that reads or resumes them."""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from robcert.certify import audit
from robcert.certify.auditing import CLEAN, bundled, verdict_of
from robcert.certify.comparison import compare
from robcert.certify.data import load_images
from robcert.certify.errors import StoreError
from robcert.certify.exports import csv_lines, groups, store_json
from robcert.certify.importer import load_classifier
from robcert.certify.report import write_report
from robcert.certify.store import ResultStore, examine, ledger

from . import byte_changes
from .campaign import Campaign, Case
from .results_changes import CHANGES, unseal

if TYPE_CHECKING:
    from robcert.certify.data import DataInfo
    from robcert.certify.model import ModelInfo

MODEL = "fashion-honest.onnx"

BYTES_SHARE = 0.5
"""Share of the files of which bytes are changed; the others are edited through HDF5."""

UNSEALED_SHARE = 0.5
"""Share of the files without checksums, as older versions wrote them."""

BLOCK = 512
"""Bytes of the blocks that are swapped."""

PARTS = ("linearity", "attack", "smoothing")
"""Parts of the audit whose file is mutated: those that take a few seconds."""


@dataclass(frozen=True, slots=True)
class Base:
    """The results file that is mutated.

    Attributes:
        path: the file.
        model: facts about its model.
        data: facts about its images.
    """

    path: Path
    model: ModelInfo
    data: DataInfo


def base(folder: Path, parts: tuple[str, ...] = PARTS) -> Base:
    """An audit of four images with ``parts``."""
    model, data = bundled(MODEL), "fashion-mnist-2000"
    path = folder / "base.h5"
    audit(model, data, only=parts, limit=4, profile="quick", time_budget=600, out=path)
    images = load_images(data)
    return Base(path, load_classifier(model, images=images).info, images.info)


def campaign(origin: Base) -> Campaign:
    """Mutations of ``origin``."""

    def make(seed: int, number: int, folder: Path) -> Case:
        source = random.Random(f"{seed} results {number}")
        path = folder / "results.h5"
        shutil.copy(origin.path, path)
        name = mutate(path, source)
        return Case(name, path, _command(source, path, origin))

    return Campaign("mutated results files", make, lambda case: use(case, origin))


def mutate(path: Path, source: random.Random) -> str:
    """Change the results file at ``path``, now and then without checksums; the kind of change."""
    if source.random() < UNSEALED_SHARE:
        with h5py.File(path, "r+") as file:
            unseal(file)
    if source.random() < BYTES_SHARE:
        change = source.choice((*byte_changes.CHANGES, "blocks swapped"))
        content = path.read_bytes()
        if change == "blocks swapped":
            path.write_bytes(swapped(content, source))
        else:
            path.write_bytes(byte_changes.changed(content, change, source))
        return change
    whole = path.read_bytes()
    while True:
        edit = source.choice(CHANGES)
        try:
            with h5py.File(path, "r+") as file:
                edit(file, source)
        except (KeyError, TypeError, ValueError, RuntimeError, OSError):
            path.write_bytes(whole)  # HDF5 has refused this one: another
        else:
            return edit.__name__.replace("_", " ")


def swapped(content: bytes, source: random.Random) -> bytes:
    """``content`` with two of its blocks in each other's place."""
    found = bytearray(content)
    last = len(content) // BLOCK - 1
    one, other = sorted(BLOCK * n for n in source.sample(range(last), 2))
    found[one : one + BLOCK], found[other : other + BLOCK] = (
        content[other : other + BLOCK],
        content[one : one + BLOCK],
    )
    return bytes(found)


def use(case: Case, origin: Base) -> None:
    """Do with the file what the command of ``case`` does; after `doctor` it is resumed too."""
    path = case.path
    match case.arguments[0]:
        case "show":
            read(path)
        case "report":
            write_report(path)
        case "compare":
            compare([origin.path, path])
        case "doctor":
            saved = path.with_name("saved.h5")
            examine(path, saved)
            read_saved(saved)
            resume(path, origin)


def read(path: Path) -> None:
    """Everything that `show` reads."""
    with ResultStore.read(path) as store:
        store_json(store, None)
        for group in groups(store):
            list(csv_lines(store, group))
        verdict_of(store)
        ledger(store).require_sound()


def read_saved(path: Path) -> None:
    """Open what `doctor` saved, which must be possible."""
    try:
        with ResultStore.read(path):
            pass
    except StoreError as error:
        raise AssertionError(f"doctor saved a damaged file: {error}") from error


def resume(path: Path, origin: Base) -> None:
    """Add an image and its row of the clean check to the file."""
    new = np.array([1234])
    with ResultStore.open(path, model=origin.model, data=origin.data) as store:
        store.add_images(new, None)
        group = store.group(CLEAN, prefix="", settings=None, seed=0)
        row = {name: np.zeros(1) for name in group.columns}
        group.append(new, row)
        group.finish(group.indices)
        store.describe_model(seen=True)


def _command(source: random.Random, path: Path, origin: Base) -> tuple[str, ...]:
    """Arguments of one of the commands that read the file."""
    commands = (
        ("show", str(path)),
        ("show", str(path), "--format", "json"),
        ("report", str(path), "--out", "page.html"),
        ("compare", str(origin.path), str(path)),
        ("doctor", str(path), "--out", "saved.h5"),
    )
    return source.choice(commands)


def __getattr__(name: str) -> Campaign:
    """``CAMPAIGN``, whose audit is made when it is imported."""
    if name != "CAMPAIGN":
        raise AttributeError(name)
    return campaign(base(Path(tempfile.mkdtemp())))
