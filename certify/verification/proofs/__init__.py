"""Proofs in a file that :mod:`robcert.certify.proof_check` proves again."""

from .saving import ProofPlan, Saved
from .writing import Claim, ProofWriter, require_provable

__all__ = ["Claim", "ProofPlan", "ProofWriter", "Saved", "require_provable"]
