"""What an analysis or audit will take: a pilot on a few images, and its projection."""

from .few_images import expected_parts, session_of_few
from .pilot import Measuring, PilotStoppedError
from .plan import PROFILES, Measured, Plan, enough_of, half_width
from .projection import Cost
from .tables import budget_sentence, duration, tables

__all__ = [
    "PROFILES",
    "Cost",
    "Measured",
    "Measuring",
    "PilotStoppedError",
    "Plan",
    "budget_sentence",
    "duration",
    "enough_of",
    "expected_parts",
    "half_width",
    "session_of_few",
    "tables",
]
