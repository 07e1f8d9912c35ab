"""Files of figures: PNG, PDF or SVG by the file extension."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError
from robcert.certify.whole_file import write_whole

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
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower().lstrip("."))
    write_whole(path, content.getvalue())
