"""Everything at once: the session with its gates, the registry, the profiles, the verdict."""

from .analysis import PARTS, AuditSettings, selected
from .inspection import Inspection, inspect_classifier, inspect_model
from .profiles import settings_of
from .registry import SCHEMAS
from .summaries import (
    Result,
    audit_record,
    combined,
    incomplete,
    labelled,
    latest,
    results,
    summary_of,
)
from .tables import tables, violations_table
from .verdict import Verdict, cards, contradictions, verdict

__all__ = [
    "PARTS",
    "SCHEMAS",
    "AuditSettings",
    "Inspection",
    "Result",
    "Verdict",
    "audit_record",
    "cards",
    "combined",
    "contradictions",
    "incomplete",
    "inspect_classifier",
    "inspect_model",
    "labelled",
    "latest",
    "results",
    "selected",
    "settings_of",
    "summary_of",
    "tables",
    "verdict",
    "violations_table",
]
