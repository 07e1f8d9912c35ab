"""What a finished training did not do although its configuration says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .run import Run


def shortfalls(run: Run) -> Iterator[str]:
    """One sentence, without a full stop, for each part of the method that never took effect."""
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
