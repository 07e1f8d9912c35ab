"""Section 2, where the model fails: accuracy per class, and confusion under attack."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.attacks import survives
from robcert.certify.stats import proportion
from robcert.certify.tables import Table, pixel, share_text

from .plain_words import class_name
from .svg import Axis, Counts, Entry, IntervalRow, Point, interval_rows, matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.auditing import Findings
    from robcert.certify.stats import Proportion
    from robcert.certify.store import AnalysisGroup, ResultStore

MOST_ROWS = 20
"""Most classes in the figure of accuracies: those with the lowest accuracy under attack."""

MOST_CELLS = 12
"""Most classes in the matrix of confusion."""

MOST_PAIRS = 12
OTHER = "unknown"
"""Class of adversarial images that another analysis found and did not keep."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Content of the section.

    Attributes:
        ball: radius and norm that "under attack" refers to.
        classes: figure of accuracies per class.
        classes_note: sentences below it.
        class_table: the same as a table.
        confusion: matrix of confusion; empty with too many classes.
        confusion_note: sentences below it.
        pair_table: the most frequent confusions.
    """

    ball: str
    classes: str
    classes_note: str
    class_table: Table
    confusion: str
    confusion_note: str
    pair_table: Table | None


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Images of the attack table ``(n,)``: class, whether right without and under attack, class."""

    label: NDArray[np.int64]
    correct: NDArray[np.bool_]
    survives: NDArray[np.bool_]
    found: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _OfClass:
    """Accuracies of one class."""

    name: str
    clean: Proportion
    attacked: Proportion


def failures(store: ResultStore, said: Findings) -> Failures | None:
    """The section for the attack behind the verdict; None without attacks or classes."""
    if said.attack is None or said.attack_group is None:
        return None
    epsilon = said.attack.headline_epsilon
    rows = _rows(store, said.attack_group, epsilon)
    if rows is None:
        return None
    names = store.class_names
    names = names if len(set(names)) == len(names) else ()
    ball = f"ε = {pixel(epsilon)} ({said.attack.norm})"
    found = [_of_class(rows, names, number) for number in np.unique(rows.label).tolist()]
    shown = sorted(found, key=lambda one: one.attacked.value)[:MOST_ROWS]
    shown = [one for one in found if one in shown]
    more = f" The {MOST_ROWS} of {len(found)} classes with the lowest accuracy under attack."
    moves = _moves(rows, names)
    return Failures(
        ball=ball,
        classes=_class_figure(shown, ball, said),
        classes_note=(
            "With few images per class the 95 % intervals are wide: differences between classes "
            f"may be chance.{more if len(shown) < len(found) else ''}"
        ),
        class_table=_class_table(found, ball, said),
        confusion=_confusion(moves, [one.name for one in found]),
        confusion_note=(
            "Rows: the right class. Columns: the class that the model gives the nearest "
            f"adversarial image within {ball}; on the diagonal, images that survive every attack."
        ),
        pair_table=_pair_table(moves, ball),
    )


def _rows(store: ResultStore, group: AnalysisGroup, epsilon: float) -> _Rows | None:
    indices = group.indices
    indices = indices[group.computed(indices)]
    label = np.asarray(store.labels[store.rows(indices)], np.int64)
    if (label < 0).any():
        clean = store.existing("clean")
        if not clean:
            return None
        label = np.where(label >= 0, label, clean[-1].column("prediction", indices))
    left = survives(store, group, indices, epsilon)
    distance = group.column("distance", indices)
    own = distance <= epsilon * (1 + 1e-4)  # rounding of pixels, as attacks at a radius allow
    found = np.where(own, group.column("prediction", indices), -1)
    return _Rows(label, distance > 0, left, np.where(left, label, found)) if len(label) else None


def _of_class(rows: _Rows, names: Sequence[str], number: int) -> _OfClass:
    own = rows.label == number
    count = int(own.sum())
    return _OfClass(
        class_name(names, number),
        proportion(int(rows.correct[own].sum()), count),
        proportion(int(rows.survives[own].sum()), count),
    )


def _class_figure(shown: Sequence[_OfClass], ball: str, said: Findings) -> str:
    rows = tuple(
        IntervalRow(
            f"{one.name} ({one.clean.n})",
            (
                _point("measured", "without attack", one.clean),
                _point("attacked", "under attack", one.attacked),
            ),
        )
        for one in shown
    )
    what = "accuracy" if said.labelled else "share that keeps its class"
    named = (
        Entry("without attack (measured)", "measured"),
        Entry(f"under attack at {ball} (attacked)", "attacked"),
    )
    axis = Axis(f"{what}, with 95 % interval; in brackets: images")
    return interval_rows(rows, axis, title=f"{what} per class", named=named)


def _point(claim: str, name: str, share: Proportion) -> Point:
    text = f"{name}: {share_text(share)}"
    return Point(claim, share.value, share.lower, share.upper, text)


def _class_table(found: Sequence[_OfClass], ball: str, said: Findings) -> Table:
    what = "accuracy" if said.labelled else "kept"
    header = ("class", "images", f"{what} without attack", f"under attack at {ball}")
    cells = tuple(
        (one.name, str(one.clean.n), share_text(one.clean), share_text(one.attacked))
        for one in found
    )
    note = "In brackets: 95 % interval."
    return Table("accuracy per class", "attacked", header, cells, note)


def _moves(rows: _Rows, names: Sequence[str]) -> Counter[tuple[str, str]]:
    """Number of images by name of the right class and name of the class under attack."""
    pairs = zip(rows.label.tolist(), rows.found.tolist(), strict=True)
    return Counter(
        (class_name(names, label), class_name(names, found) if found >= 0 else OTHER)
        for label, found in pairs
    )


def _confusion(moves: Counter[tuple[str, str]], classes: Sequence[str]) -> str:
    """The matrix; empty where it has too many classes."""
    reached = {found for _, found in moves} - {*classes, OTHER}
    columns = (*classes, *sorted(reached), *([OTHER] if any(f == OTHER for _, f in moves) else []))
    if len(columns) > MOST_CELLS:
        return ""
    counts = np.array([[moves[label, found] for found in columns] for label in classes], np.int64)
    content = Counts(counts, tuple(classes), columns)
    return matrix(content, title="right class by class under attack")


def _pair_table(moves: Counter[tuple[str, str]], ball: str) -> Table | None:
    """The most frequent confusions; None where every image survives."""
    wrong = [(pair, count) for pair, count in moves.most_common() if pair[0] != pair[1]]
    if not wrong:
        return None
    rows = tuple((label, found, str(count)) for (label, found), count in wrong[:MOST_PAIRS])
    note = f"The {MOST_PAIRS} most frequent of {len(wrong)}." if len(wrong) > MOST_PAIRS else ""
    if any(found == OTHER for (_, found), _ in wrong):
        note += f" {OTHER.capitalize()}: found by another analysis, which does not keep the class."
    title = f"confusion under attack at {ball}"
    return Table(title, "attacked", ("right class", "becomes", "images"), rows, note.strip())
