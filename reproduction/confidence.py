"""Mean confidence of a model: SOAR, Table 5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify import masking
from robcert.certify.masking import MaskingSettings
from robcert.certify.tables import pixel

from .analyses import Analysis
from .measured import Measured, Number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robcert.certify.model import Classifier
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

COLUMNS = {
    "clean": "confidence",
    "random": "confidence_random",
    "PGD1": "confidence_pgd1",
}
"""Columns of the masking check, by number of this analysis."""


@dataclass(frozen=True, slots=True)
class Confidence(Analysis):
    """Mean largest probability: on the images, after uniform noise, and after one step of PGD.

    It is part of the masking check, whose verdict stands in the results file beside it.

    Attributes:
        epsilon: radius of the noise and of the step, pixel units.
    """

    command = ("masking-check",)

    epsilon: float = 8 / 255

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of the masking check."""
        settings = MaskingSettings.of_profile("quick")
        return masking.analyse(session, replace(settings, epsilon=self.epsilon))

    def measured(self, store: ResultStore, path: str) -> Measured:
        """The three means."""
        group = store.at(path)
        found = {
            name: np.asarray(group.column(column, group.indices), np.float64)
            for name, column in COLUMNS.items()
        }
        return Measured(
            {name: Number.of_value(float(one.mean()), len(one)) for name, one in found.items()}
        )

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """Profile and radius."""
        return ("--profile", "quick", "--eps", pixel(self.epsilon))

    @property
    def passes(self) -> float:
        """All attacks of the masking check, which stop at an image once it is broken."""
        return 600.0
