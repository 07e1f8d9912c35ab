"""The HTML pages: the report of one results file, and the comparison of several."""

from .comparison_page import write_comparison
from .page import write_report

__all__ = ["write_comparison", "write_report"]
