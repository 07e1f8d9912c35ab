"""What a results file shows, for other programs: checks, statements, model cards."""

from .checks import GATE, RULES, Check, Outcome, checks_of, worst
from .documents import EvidencePlan, write_evidence
from .job_summary import job_summary
from .junit import junit_bytes
from .numbers import MainNumber, main_numbers
from .sarif import Artifact, sarif_log

__all__ = [
    "GATE",
    "RULES",
    "Artifact",
    "Check",
    "EvidencePlan",
    "MainNumber",
    "Outcome",
    "checks_of",
    "job_summary",
    "junit_bytes",
    "main_numbers",
    "sarif_log",
    "worst",
    "write_evidence",
]
