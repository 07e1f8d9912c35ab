"""Pictures as files: PNG, PDF or SVG by the name's ending."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


def require_picture(path: Path) -> None:
    """Raise unless ``path`` can be a picture's: its ending, its folder; better before long work."""
    if path.suffix.lower() not in FORMATS:
        message = f"{path} is no picture: its name must end in {', '.join(FORMATS)}"
        raise InvalidParameterError(message)
    folder = next(above for above in path.absolute().parents if above.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        message = f"no picture can be written at {path}"
        raise InvalidParameterError(message, hint="check the folder and its permissions")


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure``, and the folders above it."""
    require_picture(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
