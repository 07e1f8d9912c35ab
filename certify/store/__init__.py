"""The results file: tables, attributes, images, the ledger."""

from .column import Column, Schema, declare
from .json_values import Outcome, plain
from .ledger import Comparison, Ledger, crossings, ledger, radii_of
from .schema import COMPUTED, FORMAT, FORMAT_VERSION, IMAGES
from .store import AnalysisGroup, ResultStore

__all__ = [
    "COMPUTED",
    "FORMAT",
    "FORMAT_VERSION",
    "IMAGES",
    "AnalysisGroup",
    "Column",
    "Comparison",
    "Ledger",
    "Outcome",
    "ResultStore",
    "Schema",
    "crossings",
    "declare",
    "ledger",
    "plain",
    "radii_of",
]
