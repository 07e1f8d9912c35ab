"""Pictures as files: PNG, PDF or SVG by the name's ending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InvalidParameterError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


def require_picture(path: Path) -> None:
    """Raise unless the name of ``path`` ends like a picture's; better before hours of work."""
    if path.suffix.lower() not in FORMATS:
        message = f"{path} is no picture: its name must end in {', '.join(FORMATS)}"
        raise InvalidParameterError(message)


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure``, and the folders above it."""
    require_picture(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
