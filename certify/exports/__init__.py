"""Contents of a results file in other formats: rows, tables, JSON."""

from .cohen_text import cohen_lines
from .contents import CaptionedTable, columns_table, overview, plain_captions
from .csv_text import csv_lines
from .documents import ExportFormat, tables_text, write_export
from .json_object import json_bytes, store_json
from .latex import latex_tables
from .markdown import escaped, grid, markdown_tables
from .selection import groups, groups_named, one_group

__all__ = [
    "CaptionedTable",
    "ExportFormat",
    "cohen_lines",
    "columns_table",
    "csv_lines",
    "escaped",
    "grid",
    "groups",
    "groups_named",
    "json_bytes",
    "latex_tables",
    "markdown_tables",
    "one_group",
    "overview",
    "plain_captions",
    "store_json",
    "tables_text",
    "write_export",
]
