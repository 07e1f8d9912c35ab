"""`--save-proof` of `robcert verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

from .shell.session import CommandContext, note

if TYPE_CHECKING:
    from robcert.certify.verification import VerificationSettings, proofs


def proof_plan(
    context: CommandContext, settings: VerificationSettings, path: Path | None
) -> proofs.ProofPlan | None:
    """The plan for a proof file; None for none.

    Raises:
        RobcertError: no proof about this model can be saved.
    """
    if path is None:
        return None
    from robcert.certify.verification import proofs

    if context.options.model is None:
        message = "--save-proof needs --model: proofs are about a file"
        raise InvalidParameterError(message)
    results = context.session.store.path
    if path.is_dir() or path.resolve() == Path(results).resolve():
        message = f"the proofs cannot be written to {path}"
        raise InvalidParameterError(message, hint="name a new file, not that of the results")
    return proofs.ProofPlan.of(context.session.classifier, settings, context.options.model, path)


def save_proofs(context: CommandContext, plan: proofs.ProofPlan | None, table: str) -> None:
    """Write the proofs of a table, if there is a plan, and say what became of them."""
    if plan is None:
        return
    saved = plan.save(context.session, table)
    note(context.options, f"{plan.path}: {saved.sentence}")
    if without := [*saved.lost, *saved.refused]:
        context.warn(f"{len(without)} certified images have no proof in {plan.path}")
