"""`--save-proof` of `robcert verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

from .shell.session import CommandContext, note

if TYPE_CHECKING:
    from robcert.certify.verification import VerificationSettings, proofs

    from .shell.options import AnalysisOptions


def require_proof_file(options: AnalysisOptions, path: Path | None) -> None:
    """Raise if no proofs can be written to ``path``; called before the model is opened.

    Raises:
        InvalidParameterError: no model is named, or the file cannot be the one of the proofs.
    """
    if path is None:
        return
    if options.model is None:
        message = "--save-proof needs --model: proofs are about a file"
        raise InvalidParameterError(message, hint="add --model FILE.onnx")
    others = [one for one in (options.model, options.out) if one is not None]
    if path.is_dir() or path.resolve() in [one.resolve() for one in others]:
        message = f"the proofs cannot be written to {path}"
        raise InvalidParameterError(message, hint="name a new file, not that of the results")
    if not path.absolute().parent.is_dir():
        message = f"the proofs cannot be written to {path}: there is no such folder"
        raise InvalidParameterError(message, hint="name a new file in an existing folder")


def proof_plan(
    context: CommandContext, settings: VerificationSettings, path: Path | None
) -> proofs.ProofPlan | None:
    """The plan for a proof file; None for none.

    Raises:
        RobcertError: no proof about this model can be saved.
    """
    if path is None or context.options.model is None:
        return None
    from robcert.certify.verification import proofs

    if path.resolve() == Path(context.session.store.path).resolve():
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
