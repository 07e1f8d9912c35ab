"""Campaign of mutated files of images against their readers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.data import load_images

from . import byte_changes
from .base_images import FORMATS
from .base_models import ROOT
from .campaign import Campaign, Case
from .data_changes import STRUCTURE

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ROOT / "fixtures" / "fashion-honest.onnx"

BYTES_SHARE = 0.5
"""Share of the files of which bytes are changed; the others are made wrong."""


def make(seed: int, number: int, folder: Path) -> Case:
    """File or folder ``number``."""
    source = random.Random(f"{seed} data {number}")
    if source.random() < BYTES_SHARE:
        write = source.choice(FORMATS)
        path, name = write(folder, source), f"bytes of {write.__name__}"
        files = sorted(one for one in folder.rglob("*") if one.is_file())
        for _ in range(source.choice((1, 1, 3))):
            one = source.choice(files)
            change = source.choice(byte_changes.CHANGES)
            one.write_bytes(byte_changes.changed(one.read_bytes() or b"\0", change, source))
    else:
        write = source.choice(STRUCTURE)
        path, name = write(folder, source), write.__name__.replace("_", " ")
    command = ("attack", "--profile", "quick", "--attack", "fgsm", "--allow-low-accuracy")
    return Case(name, path, (*command, "--model", str(MODEL), "--data", str(path)))


def load_and_read(case: Case) -> None:
    """Load the images and read all of them; nothing of the file is run.

    Raises:
        AssertionError: a pickle was executed.
    """
    try:
        loaded = load_images(case.path)
        loaded.pixels(np.arange(len(loaded)))
    finally:
        if (case.path.parent / "run").exists():
            message = "a pickle was executed"
            raise AssertionError(message)


CAMPAIGN = Campaign("mutated files of images", make, load_and_read)
