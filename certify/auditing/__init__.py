"""The audit: the session with its input checks, the registry, the profiles, the verdict."""

from .analysis import AuditSummary, Stage, analyse, summarise
from .clean import CleanSummary
from .clean import analyse as analyse_clean
from .clean import summarise as summarise_clean
from .headline import SAME_RADIUS, attacked_accuracy, certified_accuracy, with_check
from .inspection import Inspection, inspect_classifier, inspect_model
from .open import (
    RESULTS_FOLDER,
    SessionContext,
    SessionRequest,
    bundled,
    default_data,
    default_results,
    demo_model,
    load_model_of,
    load_sources,
    open_session,
    torch_threads,
)
from .registry import ANALYSES, SCHEMAS, Analysis, Reading, Section, Summary
from .schema import CLEAN
from .settings import INSPECTION, PARTS, AuditSettings, selected
from .standards import standards_tables
from .summaries import (
    Readings,
    analysis_named,
    audit_record,
    incomplete,
    labelled,
    last_audit,
    latest,
    of_kind,
    results,
)
from .tables import inspection_table, violations_table
from .verdict import (
    AuditVerdict,
    Card,
    Findings,
    cards,
    contradictions,
    findings_of,
    verdict,
    verdict_of,
)

__all__ = [
    "ANALYSES",
    "CLEAN",
    "INSPECTION",
    "PARTS",
    "RESULTS_FOLDER",
    "SAME_RADIUS",
    "SCHEMAS",
    "Analysis",
    "AuditSettings",
    "AuditSummary",
    "AuditVerdict",
    "Card",
    "CleanSummary",
    "Findings",
    "Inspection",
    "Reading",
    "Readings",
    "Section",
    "SessionContext",
    "SessionRequest",
    "Stage",
    "Summary",
    "analyse",
    "analyse_clean",
    "analysis_named",
    "attacked_accuracy",
    "audit_record",
    "bundled",
    "cards",
    "certified_accuracy",
    "contradictions",
    "default_data",
    "default_results",
    "demo_model",
    "findings_of",
    "incomplete",
    "inspect_classifier",
    "inspect_model",
    "inspection_table",
    "labelled",
    "last_audit",
    "latest",
    "load_model_of",
    "load_sources",
    "of_kind",
    "open_session",
    "results",
    "selected",
    "standards_tables",
    "summarise",
    "summarise_clean",
    "torch_threads",
    "verdict",
    "verdict_of",
    "violations_table",
    "with_check",
]
