"""The HTML pages: the report of one results file, and the comparison of several."""

from .comparison_page import write_compared, write_comparison
from .page import write_report
from .ranking import ranked, ranking_table

__all__ = ["ranked", "ranking_table", "write_compared", "write_comparison", "write_report"]
