"""Certificates of the model itself, by linear bound propagation."""

from .analysis import analyse
from .figures import charts, save_brackets
from .outcome import Arithmetic, CertifiedRadius, Decision, Method, Open
from .procedure import Proves
from .properties import Answer, PropertySettings, PropertySummary, check_property, property_tables
from .prover import Prover
from .schema import VERIFY, Status
from .settings import VerificationSettings
from .summary import (
    AccuracyBracket,
    ProvenAccuracy,
    VerificationSummary,
    certified_at,
    finished,
    summarise,
)
from .tables import between, tables

__all__ = [
    "VERIFY",
    "AccuracyBracket",
    "Answer",
    "Arithmetic",
    "CertifiedRadius",
    "Decision",
    "Method",
    "Open",
    "PropertySettings",
    "PropertySummary",
    "ProvenAccuracy",
    "Prover",
    "Proves",
    "Status",
    "VerificationSettings",
    "VerificationSummary",
    "analyse",
    "between",
    "certified_at",
    "charts",
    "check_property",
    "finished",
    "property_tables",
    "save_brackets",
    "summarise",
    "tables",
]
