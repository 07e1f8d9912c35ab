"""The HTML page with its figures, and exports of the rows."""

from .export import cohen_lines, columns_table, csv_lines, groups, overview, store_json
from .page import write_report

__all__ = [
    "cohen_lines",
    "columns_table",
    "csv_lines",
    "groups",
    "overview",
    "store_json",
    "write_report",
]
