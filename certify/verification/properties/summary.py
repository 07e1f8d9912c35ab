"""The answer to a property, as JSON, and in the words of the verification competition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING

from ..outcome import Arithmetic, Method

if TYPE_CHECKING:
    from .witness import Witness


class Answer(StrEnum):
    """What was found out about a property."""

    HOLDS = "holds"  # proved: no input of the boxes is unsafe
    VIOLATED = "violated"  # a counterexample, re-checked in the runtime
    WITHIN_TOLERANCE = "violated within tolerance"  # no proof, and one that misses by very little
    UNKNOWN = "unknown"  # neither a proof nor a counterexample
    TIMEOUT = "timeout"  # the same, because the budget was spent

    @property
    def word(self) -> str:
        """The answer in the competition: whether the unsafe set can be reached."""
        words = {Answer.HOLDS: "unsat", Answer.VIOLATED: "sat", Answer.WITHIN_TOLERANCE: "sat"}
        return words.get(self, str(self))


@dataclass(frozen=True, slots=True)
class PropertySummary:
    """The answer and what it rests on.

    Attributes:
        answer: the answer.
        model: path of the ONNX file.
        model_sha256: its hash.
        property_file: path of the VNN-LIB file.
        property_sha256: its hash.
        version: version of VNN-LIB.
        input_shape: shape of one input of the model.
        outputs: number of its outputs.
        output_name: the output of the model that the property is about.
        cases: parts of the unsafe set, each a box of inputs with constraints of the outputs.
        empty_cases: further parts whose box is empty.
        proved: parts that were proved to be unreachable.
        arithmetic: the evaluation of the network that ``holds`` speaks about.
        method: the strongest method that was needed; None without a proof.
        branches: regions of unit signs, and parts of boxes, that were bounded.
        bound: lower bound of the last part that was tried, in the scale of its constraints;
            positive if it was proved.
        reason: why the property is undecided.
        seconds: time of search and proof, without loading and tracing the model.
        witness: the counterexample.
        notes: what else the user should know.
    """

    answer: Answer
    model: str
    model_sha256: str
    property_file: str
    property_sha256: str
    version: str
    input_shape: tuple[int, ...]
    outputs: int
    output_name: str
    cases: int
    empty_cases: int
    proved: int
    arithmetic: Arithmetic
    method: Method | None
    branches: int
    bound: float | None
    reason: str
    seconds: float
    witness: Witness | None
    notes: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """The answer as one sentence."""
        if self.answer is Answer.HOLDS:
            return f"No input of the property has unsafe outputs: proved {_WHERE[self.arithmetic]}."
        if self.answer is Answer.VIOLATED:
            return "An input of the property has unsafe outputs, re-checked in the runtime."
        if self.answer is Answer.WITHIN_TOLERANCE and self.witness is not None:
            return (
                "Neither a proof nor an input with unsafe outputs was found. The outputs of one "
                f"input miss them by {self.witness.miss:.2g}, which the verification competition "
                "counts as violated."
            )
        return (
            f"Neither a proof nor a counterexample was found: {self.reason or 'no reason given'}."
        )

    def answer_text(self) -> str:
        """The content of an answer file of the competition: the word, then a counterexample."""
        lines = [self.answer.word]
        if self.witness is not None:
            lines += self.witness.lines()
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, object]:
        """The summary as plain JSON values."""
        values = {
            name: value
            for name, value in asdict(self).items()
            if name not in {"witness", "answer", "arithmetic", "method"}
        }
        witness = None
        if self.witness is not None:
            inputs = {f"X_{i}": value for i, value in enumerate(self.witness.inputs)}
            outputs = {f"Y_{j}": value for j, value in enumerate(self.witness.outputs)}
            witness = {
                "inputs": inputs,
                "outputs": outputs,
                "exact": self.witness.exact,
                "miss": self.witness.miss,
            }
        return {
            "answer": str(self.answer),
            "meaning": self.meaning,
            "arithmetic": str(self.arithmetic),
            "method": None if self.method is None else str(self.method),
            **values,
            "input_shape": list(self.input_shape),
            "bound": self.bound if self.bound is None or isfinite(self.bound) else None,
            "notes": list(self.notes),
            "counterexample": witness,
        }


_WHERE = {
    Arithmetic.FLOAT32: "for every evaluation of the network in float32, in any order of its sums",
    Arithmetic.REAL: "in real arithmetic for the stored weights",
}
