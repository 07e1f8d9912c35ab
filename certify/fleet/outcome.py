"""How the audit of one model of a fleet ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.store import plain

if TYPE_CHECKING:
    from .models import FleetModel
    from .processes import Answer, Ending

NO_TIME = "the time budget was used up before it started"


class State(StrEnum):
    """How far an audit came."""

    AUDITED = "audited"
    FAILED = "failed"  # it has no result, or an attack refutes one of its certificates
    NOT_STARTED = "not started"
    STOPPED = "stopped"  # beaten in a race
    SAME = "same model"  # as another one of the fleet
    APART = "not comparable"  # audited, but with no number in common with the first


@dataclass(frozen=True, slots=True)
class MemberOutcome:
    """The outcome of one model.

    Attributes:
        model: the model.
        state: how far its audit came.
        reason: why it came no further; empty where it is audited.
        hint: what to do about it.
        seconds: time that it took in this run.
        results: its results file; None without one.
        report: its page; None without one.
        verdict: verdict of its audit in JSON's types; empty without one.
        gates: decisions on its gates in JSON's types.
        failures: why its gates did not pass, one line each.
        warnings: limitations of its numbers, one line each.
        masked: whether the masking check says that it masks its gradients.
        race: what a race found of it in JSON's types; None without one.
    """

    model: FleetModel
    state: State
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0
    results: Path | None = None
    report: Path | None = None
    verdict: dict[str, Any] | None = None
    gates: tuple[dict[str, Any], ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    masked: bool = False
    race: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: FleetModel, ending: Ending) -> MemberOutcome:
        """The outcome of ``model`` by how its process ended."""
        if ending.error:
            reason = ending.error.replace(str(model.path), model.name)
            return cls(model, State.FAILED, reason, ending.hint, ending.seconds)
        if ending.answer is None:
            hint = "run the same command again to continue"
            return cls(model, State.NOT_STARTED, NO_TIME, hint)
        try:
            return cls._of_answer(model, ending.answer, ending.seconds)
        except (LookupError, TypeError, ValueError) as error:
            reason = f"its process answered what robcert does not write: {error!r:.80}"
            return cls(model, State.FAILED, reason, seconds=ending.seconds)

    @classmethod
    def _of_answer(cls, model: FleetModel, answer: Answer, seconds: float) -> MemberOutcome:
        refuted = str(answer["contradiction"])
        return cls(
            model=model,
            state=State.FAILED if refuted else State.AUDITED,
            reason=refuted,
            seconds=seconds,
            results=Path(str(answer["results"])),
            report=Path(str(answer["report"])),
            verdict=dict(answer["verdict"]),
            gates=tuple(map(dict, answer["gates"])),
            failures=tuple(map(str, answer["failures"])),
            warnings=tuple(map(str, answer["warnings"])),
            masked=bool(answer["masked"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON."""
        return {
            "model": str(self.model.path),
            "name": self.model.name,
            "state": str(self.state),
            "reason": self.reason,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
            "results": None if self.results is None else str(self.results),
            "report": None if self.report is None else str(self.report),
            "verdict": plain(self.verdict),
            "gates": list(self.gates),
            "warnings": list(self.warnings),
            "race": plain(self.race),
        }
