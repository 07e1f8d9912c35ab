"""The results file: tables, attributes, images, the ledger."""

from .adversarial import BY_DISTANCE, CHECKS, nearest_adversarial
from .column import Column, Schema, declare
from .evidence import LOSSES as EVIDENCE_LOSSES
from .evidence import Evidence, evidence_about, other_searches, sided
from .examination import Examination, examine, shown
from .group import SmallArray
from .json_values import Outcome, plain
from .layout import canonical_json
from .ledger import Comparison, Ledger, crossings, ledger, radii_of
from .merging import MergedTable, merge
from .schema import CHECKSUMS, COMPUTED, FORMAT, FORMAT_VERSION, IMAGES
from .store import INPUT_STEP, OF_MODEL, AnalysisGroup, ResultStore
from .table_copy import packed_table, unpacked_table

__all__ = [
    "BY_DISTANCE",
    "CHECKS",
    "CHECKSUMS",
    "COMPUTED",
    "EVIDENCE_LOSSES",
    "FORMAT",
    "FORMAT_VERSION",
    "IMAGES",
    "INPUT_STEP",
    "OF_MODEL",
    "AnalysisGroup",
    "Column",
    "Comparison",
    "Evidence",
    "Examination",
    "Ledger",
    "MergedTable",
    "Outcome",
    "ResultStore",
    "Schema",
    "SmallArray",
    "canonical_json",
    "crossings",
    "declare",
    "evidence_about",
    "examine",
    "ledger",
    "merge",
    "nearest_adversarial",
    "other_searches",
    "packed_table",
    "plain",
    "radii_of",
    "shown",
    "sided",
    "unpacked_table",
]
