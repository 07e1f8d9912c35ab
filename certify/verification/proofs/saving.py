"""The proofs of the rows of a table, found once more, kept, and checked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from robcert.certify.core import Ball
from robcert.certify.errors import InvalidParameterError
from robcert.certify.proof_check import check

from ..prover import Prover
from ..schema import Status
from .writing import Claim, ProofWriter, require_provable

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Classifier
    from robcert.certify.session import Session

    from ..settings import VerificationSettings

PATIENCE = 3.0
"""Multiple of an image's budget that its proof may take: it was found within the budget before."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of the proofs; images by their index.

    Attributes:
        proved: the checker proved them again.
        lost: their proof was not found again in time.
        refused: their proof is in the file and the checker does not accept it.
        seconds: time of the checker.
    """

    proved: tuple[int, ...]
    lost: tuple[int, ...]
    refused: tuple[int, ...]
    seconds: float

    @property
    def sentence(self) -> str:
        """What became of them, in one line."""
        parts = [f"{len(self.proved)} proofs saved, and checked again in {self.seconds:.1f} s"]
        for images, what in (
            (self.lost, "not found again in time"),
            (self.refused, "not accepted by the checker, whose bounds of rounding differ"),
        ):
            if images:
                parts.append(f"{what}: image {', '.join(map(str, images))}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class ProofPlan:
    """A proof file that is to be written after a table.

    Attributes:
        prover: proves statements about the model.
        settings: settings of the table.
        model: the model's file.
        path: the proof file.
    """

    prover: Prover
    settings: VerificationSettings
    model: Path
    path: Path

    @classmethod
    def of(
        cls, classifier: Classifier, settings: VerificationSettings, model: Path, path: Path
    ) -> Self:
        """The plan, if proofs about the model can be saved.

        Raises:
            UnsupportedOperatorError: they cannot; the message names the operation.
            InvalidParameterError: the file would be the model itself, or lies in no folder.
        """
        if path.resolve() == model.resolve() or not path.absolute().parent.is_dir():
            message = f"the proofs cannot be written to {path}"
            raise InvalidParameterError(message, hint="name a new file in an existing folder")
        prover = Prover.of(classifier, settings.arithmetic)
        require_provable(prover, classifier, model)
        return cls(prover, settings, model, path)

    def save(self, session: Session, table: str) -> Saved:
        """Write a proof for each image that has a certified radius in ``table``.

        It is for the largest radius that was asked about and certified, and so for all smaller
        ones; for the certified radius where none of them was. It is found again, since a table
        keeps none. Then the checker proves everything once more from the two files.

        Args:
            session: model, images, results file.
            table: path of the table in the results file.
        """
        claims = self._claims(session, table)
        lost = []
        name = session.images.info.name
        with ProofWriter(self.path, self.prover, session.classifier, data_name=name) as writer:
            for place, claim in enumerate(claims):
                session.progress("save proofs", place, len(claims))
                if not self._written(writer, claim):
                    lost.append(claim.index)
            session.progress("save proofs", len(claims), len(claims))
        began = time.monotonic()
        verdicts = check(self.path, self.model).verdicts
        return Saved(
            proved=tuple(verdict.index for verdict in verdicts if verdict.proved),
            lost=tuple(lost),
            refused=tuple(verdict.index for verdict in verdicts if not verdict.proved),
            seconds=time.monotonic() - began,
        )

    def _claims(self, session: Session, table: str) -> list[Claim]:
        """What is to be proved."""
        group = session.store.at(table)
        done = session.indices[group.computed(session.indices)]
        radii, found = group.column("radius", done), []
        for place, codes in enumerate(group.column("status", done)):
            pairs = zip(self.settings.radii, codes, strict=True)
            certified = [epsilon for epsilon, code in pairs if code == Status.CERTIFIED]
            epsilon = max(certified, default=float(radii[place]))
            if epsilon > 0:
                batch = session.batch(done[place : place + 1])
                ball = Ball(self.settings.norm, epsilon)
                image, label = batch.x[0].cpu(), int(batch.y[0])
                found.append(Claim(int(done[place]), image, label, ball))
        return found

    def _written(self, writer: ProofWriter, claim: Claim) -> bool:
        """Whether a claim was proved again and written."""
        decision = self.prover.decide(
            claim.image,
            claim.label,
            claim.ball,
            method=self.settings.method,
            deadline=time.monotonic() + PATIENCE * self.settings.seconds,
            keep_proof=True,
        )
        if decision.proof is None:
            return False
        writer.add(claim, decision.proof)
        return True
