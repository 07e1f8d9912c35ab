"""Errors of the checker; each is one line, ``hint`` says what to do."""

from __future__ import annotations


class ProofCheckError(Exception):
    """A proof cannot be checked."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ProofFileError(ProofCheckError):
    """A proof file was changed, is damaged, or is about another model."""


class UncheckableModelError(ProofCheckError):
    """The checker cannot compute bounds of a model; the message names the operation."""
