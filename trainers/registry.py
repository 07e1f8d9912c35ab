"""Training methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gaussian import Gaussian
from .standard import Standard

if TYPE_CHECKING:
    from .objective import Objective

METHODS: dict[str, type[Objective]] = {
    "standard": Standard,
    "gaussian": Gaussian,
}
"""Name on the command line to the frozen dataclass whose fields are the method's options."""


def method_name(objective: Objective) -> str:
    """Name of the method that ``objective`` belongs to."""
    return next(name for name, kind in METHODS.items() if type(objective) is kind)
