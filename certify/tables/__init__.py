"""Tables and wording that every analysis shares."""

from .picture_files import require_picture, save_picture
from .wording import (
    DASH,
    UNLABELLED,
    Limits,
    Share,
    Summary,
    Table,
    bound_name,
    decimal,
    fact,
    in_precision,
    interval,
    known,
    margin_name,
    percent,
    pixel,
    share_text,
)

__all__ = [
    "DASH",
    "UNLABELLED",
    "Limits",
    "Share",
    "Summary",
    "Table",
    "bound_name",
    "decimal",
    "fact",
    "in_precision",
    "interval",
    "known",
    "margin_name",
    "percent",
    "pixel",
    "require_picture",
    "save_picture",
    "share_text",
]
