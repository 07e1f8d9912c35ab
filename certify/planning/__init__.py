"""What an analysis or audit will take: a pilot on a few images, and its projection."""

from .pilot import MOST_IMAGES, Measuring
from .plan import PROFILES, Measured, Plan, half_width
from .projection import Cost
from .tables import budget_sentence, duration, tables

__all__ = [
    "MOST_IMAGES",
    "PROFILES",
    "Cost",
    "Measured",
    "Measuring",
    "Plan",
    "budget_sentence",
    "duration",
    "half_width",
    "tables",
]
