"""Gates as text: ``robust_accuracy@8/255 >= 0.4 (lower)``, and the short form ``NAME=VALUE``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.auditing import SAME_RADIUS
from robcert.certify.errors import InvalidParameterError, require_open_unit
from robcert.certify.number_text import number as number_of
from robcert.certify.number_text import share

from .catalogue import CERTIFIED, MASKING, NUMBERS, ROBUST, VERIFIED, Number, Unit
from .gate import AnyGate, Gate, RegressionGate, Relation, Side
from .offered import Offered, names

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = 0.05
"""Level of a regression without one."""

CLEAR = "clear"

FORM = "robust_accuracy@8/255 >= 0.4 (lower)"
OTHER_FORMS = "masking == clear, violations == 0, regression from baseline.h5 (level 0.05)"

_COMPARISON = re.compile(
    r"\s*(?P<name>\w+)\s*(?:@\s*(?P<radius>[^<>=()@]+?))?\s*(?P<relation>>=|<=|==|>|<)"
    r"\s*(?P<threshold>[^<>=()]+?)\s*(?:\(\s*(?P<side>\w+)\s*\))?\s*"
)
_REGRESSION = re.compile(
    r"\s*regression\s+from\s+(?P<file>.+?)\s*(?:\(\s*level\s+(?P<level>[^()]+?)\s*\))?\s*"
)
_SHORT = re.compile(r"\s*(?P<name>[^@=]+?)\s*(?:@(?P<radius>[^=]*))?=(?P<threshold>[^=].*)")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads gates for one run, and refuses those that it cannot decide.

    Attributes:
        offered: the numbers that the run will compute.
        source: where the texts were written, for messages: an option, or a key of a file.
    """

    offered: Offered
    source: str = "--gate"

    def gate(self, text: str) -> AnyGate:
        """The gate ``text``.

        Raises:
            InvalidParameterError: it is not a gate, names what the run will not compute, or has a
                threshold that the number cannot reach or cannot miss.
        """
        text = text.replace("≥", ">=").replace("≤", "<=")
        if found := _REGRESSION.fullmatch(text):
            return self._regression(text, found["file"], found["level"])
        return self._comparison(text)

    def short(self, text: str) -> Gate:
        """The gate of the short form ``NAME=VALUE`` or ``NAME@RADIUS=VALUE``: at least, by point.

        Raises:
            InvalidParameterError: as for :meth:`gate`.
        """
        found = _SHORT.fullmatch(text)
        if found is None:
            message = f"{self.source} takes NAME=VALUE, got {text!r}"
            raise InvalidParameterError(message, hint=self._known)
        at = "" if found["radius"] is None else f"@{found['radius'].strip()}"
        name = found["name"].strip()
        number = self._number(text, name)
        side = " (point)" if number.interval else ""
        self._radius(text, number, found["radius"])
        self._threshold(text, number, Relation.AT_LEAST, found["threshold"])
        return self._comparison(f"{name}{at} >= {found['threshold'].strip()}{side}")

    def _comparison(self, text: str) -> Gate:
        found = _COMPARISON.fullmatch(text)
        if found is None:
            message = f"{self.source} {text!r} is not a gate; write for instance {FORM}"
            raise InvalidParameterError(message, hint=f"or: {OTHER_FORMS}")
        relation = Relation(found["relation"])
        if found["name"] == MASKING:
            return self._verdict(text, relation, found["threshold"])
        number = self._number(text, found["name"])
        side = self._side(text, number, relation, found["side"])
        radius = self._radius(text, number, found["radius"])
        self._require_relation(text, number, relation)
        threshold = self._threshold(text, number, relation, found["threshold"])
        at = f"@{found['radius'].strip()}" if found["radius"] else ""
        said = f" ({side})" if number.interval else ""
        shown = f"{number.name}{at} {relation} {found['threshold'].strip()}{said}"
        return Gate(shown, number.name, radius, relation, threshold, side)

    @property
    def _known(self) -> str:
        return f"numbers of this run: {'; '.join(names(self.offered))}"

    def _number(self, text: str, name: str) -> Number:
        if name not in NUMBERS:
            message = f"{self.source} {text!r}: there is no number {name!r}"
            raise InvalidParameterError(message, hint=self._known)
        if name not in self.offered:
            message = f"{self.source} {text!r}: this run computes no {name}"
            raise InvalidParameterError(message, hint=self._known)
        if name == CERTIFIED and not [radius for radius in self.offered[name] if radius > 0]:
            message = f"{self.source} {text!r}: with these settings no image can be certified"
            raise InvalidParameterError(message, hint=self._known)
        return NUMBERS[name]

    def _radius(self, text: str, number: Number, typed: str | None) -> float | None:
        """The radius of the curve that ``typed`` names; None without one."""
        if typed is None:
            return None
        radii = self.offered[number.name]
        if not radii:
            message = f"{self.source} {text!r}: {number.name} has no radius"
            raise InvalidParameterError(message, hint=self._known)
        wanted = self._read(text, typed, number_of)
        near = [radius for radius in radii if abs(radius - wanted) <= SAME_RADIUS]
        if not near:
            message = f"{self.source} {text!r}: this run computes no {number.name} at that radius"
            raise InvalidParameterError(message, hint=self._known)
        return near[0]

    def _side(self, text: str, number: Number, relation: Relation, typed: str | None) -> Side:
        if typed is None:
            return relation.prudent_side if number.interval else Side.POINT
        if typed not in tuple(Side):
            message = f"{self.source} {text!r}: a side is lower, point or upper"
            raise InvalidParameterError(message, hint=f"write for instance {FORM}")
        side = Side(typed)
        if side is not Side.POINT and not number.interval:
            message = f"{self.source} {text!r}: {number.name} has no interval"
            raise InvalidParameterError(message, hint="omit the side")
        return side

    def _require_relation(self, text: str, number: Number, relation: Relation) -> None:
        counted = number.unit is Unit.COUNT
        allowed = (Relation.EQUAL, Relation.AT_MOST) if counted else tuple(Relation)[:-1]
        if relation not in allowed:
            listed = ", ".join(allowed)
            message = f"{self.source} {text!r}: {number.name} is compared by one of {listed}"
            raise InvalidParameterError(message, hint=f"write for instance {FORM}")

    def _threshold(self, text: str, number: Number, relation: Relation, typed: str) -> float:
        """The threshold; shares may be percentages with a percent sign."""
        if number.unit is not Unit.SHARE and "%" in typed:
            message = f"{self.source} {text!r}: {number.name} is a {number.unit.value}, no share"
            raise InvalidParameterError(message, hint="write a number")
        value = self._read(text, typed, share)
        if number.unit is Unit.COUNT and (value < 0 or value != math.floor(value)):
            message = f"{self.source} {text!r}: {number.name} is a whole number of at least 0"
            raise InvalidParameterError(message, hint=f"write {number.name} == 0")
        if number.unit is Unit.SHARE:
            self._require_open(text, number, relation, value)
        if number.unit in (Unit.DISTANCE, Unit.LOSS) and value <= 0:
            message = f"{self.source} {text!r}: {number.name} is compared with a number above 0"
            hint = f"write {number.name} {relation} 8/255 (pixel units)"
            raise InvalidParameterError(message, hint=hint)
        return value

    def _require_open(self, text: str, number: Number, relation: Relation, value: float) -> None:
        """Raise if every share or no share passes."""
        passing = [relation.holds(share_, value) for share_ in (0.0, 1.0)]
        if 0 <= value <= 1 and any(passing) and not all(passing):
            return
        never = "always passes" if all(passing) else "can never pass"
        message = f"{self.source} {text!r} {never}: {number.name} is a share between 0 and 1"
        raise InvalidParameterError(message, hint=f"write {number.name} {relation} 0.4 or 40%")

    def _verdict(self, text: str, relation: Relation, verdict: str) -> Gate:
        if MASKING not in self.offered:
            message = f"{self.source} {text!r}: this run does not check for masking"
            hint = "run the part masking, or omit this gate"
            raise InvalidParameterError(message, hint=hint)
        if relation is not Relation.EQUAL or verdict.strip() != CLEAR:
            message = f"{self.source} {text!r}: the masking check has one gate, masking == clear"
            raise InvalidParameterError(message, hint="write masking == clear")
        return Gate(f"{MASKING} == {CLEAR}", MASKING, None, relation, CLEAR, Side.POINT)

    def _regression(self, text: str, file: str, typed: str | None) -> RegressionGate:
        if not {ROBUST, VERIFIED, CERTIFIED} & {*self.offered}:
            message = f"{self.source} {text!r}: this run computes nothing that a regression tests"
            hint = "run the part attack, verify or smoothing, or omit this gate"
            raise InvalidParameterError(message, hint=hint)
        level = LEVEL if typed is None else self._read(text, typed, share)
        try:
            require_open_unit("level", level)
        except InvalidParameterError as error:
            message = f"{self.source} {text!r}: {error}"
            raise InvalidParameterError(message, hint="write (level 0.05)") from None
        return RegressionGate(f"regression from {file} (level {level:g})", Path(file), level)

    def _read(self, text: str, typed: str, read: Callable[[str], float]) -> float:
        """``typed`` as a number.

        Raises:
            InvalidParameterError: it is none; the message names the gate.
        """
        try:
            return read(typed)
        except InvalidParameterError as error:
            message = f"{self.source} {text!r}: {error}"
            raise InvalidParameterError(message, hint=error.hint) from None


def masking_gate() -> Gate:
    """The gate ``masking == clear``."""
    return Gate(f"{MASKING} == {CLEAR}", MASKING, None, Relation.EQUAL, CLEAR, Side.POINT)
