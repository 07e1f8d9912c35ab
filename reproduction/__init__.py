"""From a paper's table or figure to numbers: items as data, and the engine that computes them."""

from .catalogue import ITEMS, item_named
from .engine import Reproduction, Watcher
from .listing import listing, needs
from .outcome import Outcome, outcome_of
from .page import write_outcome
from .request import ReproductionRequest
from .scale import Scale

__all__ = [
    "ITEMS",
    "Outcome",
    "Reproduction",
    "ReproductionRequest",
    "Scale",
    "Watcher",
    "item_named",
    "listing",
    "needs",
    "outcome_of",
    "write_outcome",
]
