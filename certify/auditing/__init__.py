"""Everything at once: the session with its gates, the registry, the profiles, the verdict."""

from .analysis import (
    PARTS,
    AuditSettings,
    AuditSummary,
    analyse,
    audit_warnings,
    selected,
    summarise,
)
from .clean import analyse as analyse_clean
from .clean import summarise as summarise_clean
from .inspection import Inspection, inspect_classifier, inspect_model
from .open import (
    SessionContext,
    SessionRequest,
    bundled,
    default_data,
    default_results,
    demo_model,
    load_model_of,
    open_session,
    torch_threads,
)
from .profiles import settings_of
from .registry import ANALYSES, SCHEMAS, Analysis
from .summaries import (
    Result,
    audit_record,
    combined,
    incomplete,
    labelled,
    last_audit,
    latest,
    results,
    summary_of,
)
from .tables import tables, violations_table
from .verdict import Verdict, cards, contradictions, verdict

__all__ = [
    "ANALYSES",
    "PARTS",
    "SCHEMAS",
    "Analysis",
    "AuditSettings",
    "AuditSummary",
    "Inspection",
    "Result",
    "SessionContext",
    "SessionRequest",
    "Verdict",
    "analyse",
    "analyse_clean",
    "audit_record",
    "audit_warnings",
    "bundled",
    "cards",
    "combined",
    "contradictions",
    "default_data",
    "default_results",
    "demo_model",
    "incomplete",
    "inspect_classifier",
    "inspect_model",
    "labelled",
    "last_audit",
    "latest",
    "load_model_of",
    "open_session",
    "results",
    "selected",
    "settings_of",
    "summarise",
    "summarise_clean",
    "summary_of",
    "tables",
    "torch_threads",
    "verdict",
    "violations_table",
]
