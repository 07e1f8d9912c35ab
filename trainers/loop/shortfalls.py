"""What a finished training did not do although its configuration says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.model import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .run import Run


def shortfalls(run: Run) -> Iterator[str]:
    """What never took effect, and whether the network is still near chance, a sentence each."""
    method, warmup, reached = run.config.method, run.config.objective.warmup, run.last_position
    if warmup and reached < warmup:
        share = max(0.0, reached) / warmup
        nothing = "nothing of the method ran" if share == 0 else f"{method} never ran in full"
        yield (
            f"{nothing}: of a warm-up of {warmup:.4g} epochs, the last batch came after "
            f"{max(0.0, reached):.4g}, so the strength of {method} reached {share:.0%}"
        )
    reasons = [run.config.objective.idle(record.measured) for record in run.position.records]
    if reasons and all(reasons):
        yield f"nothing of the penalty of {method} was trained: {reasons[-1]}"
    record = TrainingRecord.of_state(run.description().state)
    if record is not None and (untrained := record.barely_trained(run.spec.num_classes)):
        yield untrained
