"""Files of figures: PNG, PDF or SVG by the file extension."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError
from robcert.certify.visible import visible
from robcert.certify.whole_file import can_be_written, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


def require_picture(path: Path) -> None:
    """Raise unless a figure can be written at ``path``; called before the work starts."""
    if path.suffix.lower() not in FORMATS:
        message = f"{path} has no extension of a figure: use {', '.join(FORMATS)}"
        raise InvalidParameterError(message)
    if not can_be_written(path):
        message = f"no figure can be written at {path}"
        raise InvalidParameterError(message, hint="check the folder and its permissions")


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path``, its texts as they are; missing folders are created."""
    require_picture(path)
    _show_texts(figure)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower().lstrip("."))
    write_whole(path, content.getvalue())


def _show_texts(figure: Figure) -> None:
    """Make all texts of ``figure`` visible text in which nothing is a formula.

    Names of models are foreign texts, in which ``$`` begins no formula. Numbers at axes stay: on a
    logarithmic one they are formulas.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    numbers = set[int]()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = axis.get_ticklabels()
        shown = [visible(label.get_text()) for label in labels]
        if isinstance(axis.get_major_formatter(), LogFormatter):
            numbers |= {id(label) for label in (*labels, *axis.get_ticklabels(minor=True))}
        elif shown != [label.get_text() for label in labels]:
            axis.set_ticks(axis.get_ticklocs(), shown)  # or drawing restores them
    for text in figure.findobj(Text):
        if id(text) not in numbers:
            text.set_text(visible(text.get_text()))
            text.set_parse_math(False)
