"""What the training of a model measured at its end, if it was trained by robcert."""

from __future__ import annotations

from dataclasses import dataclass

from robcert.certify.json_text import parsed_json

PROVENANCE_KEY = "robcert.provenance"
"""Entry of an ONNX file's metadata with the origin of the model, as JSON."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """State of a training when the weights were saved.

    Attributes:
        epochs: epochs done.
        accuracy: share of its evaluation images that the network then classified correctly.
    """

    epochs: int
    accuracy: float

    @classmethod
    def of_state(cls, state: object) -> TrainingRecord | None:
        """The record in the ``state`` of a checkpoint's description; None if it has none."""
        if not isinstance(state, dict):
            return None
        epochs, accuracy = state.get("epoch"), state.get("accuracy")
        if type(epochs) is not int or type(accuracy) is not float or not 0 <= accuracy <= 1:
            return None
        return cls(epochs, accuracy)

    @classmethod
    def of_metadata(cls, text: str) -> TrainingRecord | None:
        """The record in an ONNX file's entry ``PROVENANCE_KEY``; None if it has none."""
        try:
            values = parsed_json(text)
        except ValueError:
            return None
        return cls.of_state(values.get("state")) if isinstance(values, dict) else None

    def barely_trained(self, num_classes: int) -> str:
        """A sentence without a full stop if it ended near chance; else empty.

        >>> TrainingRecord(1, 0.11).barely_trained(10).partition(" (")[0]
        'barely trained: at the end of its training'
        >>> TrainingRecord(1, 0.4).barely_trained(10)
        ''
        """
        if not at_chance(self.accuracy, num_classes):
            return ""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return (
            f"barely trained: at the end of its training ({epochs}) it classified "
            f"{self.accuracy:.1%} of the evaluation images correctly, no better than chance "
            f"(1 in {num_classes}); train it for longer"
        )


def at_chance(accuracy: float, num_classes: int) -> bool:
    """Whether ``accuracy`` is at most twice chance, or a tenth of the way from chance to 1."""
    chance = 1 / num_classes
    return accuracy <= min(2 * chance, chance + 0.1 * (1 - chance))
