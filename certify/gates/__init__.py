"""Gates: numbers of a run with thresholds, as text, checked before work and decided after it."""

from .catalogue import CLEAN, NUMBERS, Evidence
from .decisions import decide, decide_verdict
from .gate import AnyGate, Decision, Gate, Outcome, RegressionGate, Relation, Side
from .grammar import Reader, masking_gate
from .offered import Offered, of_attack, of_audit, of_verification
from .record import (
    decide_audit,
    gates_of_audit,
    recorded,
    require_baselines,
    require_possible,
    require_readable,
)
from .tables import failure, gates_table, value_found

__all__ = [
    "CLEAN",
    "NUMBERS",
    "AnyGate",
    "Decision",
    "Evidence",
    "Gate",
    "Offered",
    "Outcome",
    "Reader",
    "RegressionGate",
    "Relation",
    "Side",
    "decide",
    "decide_audit",
    "decide_verdict",
    "failure",
    "gates_of_audit",
    "gates_table",
    "masking_gate",
    "of_attack",
    "of_audit",
    "of_verification",
    "recorded",
    "require_baselines",
    "require_possible",
    "require_readable",
    "value_found",
]
