"""Files of figures: PNG, PDF or SVG by the file extension."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


def require_picture(path: Path) -> None:
    """Raise unless a figure can be written at ``path``; called before the work starts."""
    if path.suffix.lower() not in FORMATS:
        message = f"{path} has no extension of a figure: use {', '.join(FORMATS)}"
        raise InvalidParameterError(message)
    folder = next(above for above in path.absolute().parents if above.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        message = f"no figure can be written at {path}"
        raise InvalidParameterError(message, hint="check the folder and its permissions")


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path``; missing folders are created."""
    require_picture(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
