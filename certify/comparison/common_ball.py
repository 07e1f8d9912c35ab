"""The ball at which all files of a comparison have accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.attacks import ATTACK
from robcert.certify.auditing import SAME_RADIUS
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robcert.certify.store import AnalysisGroup


@dataclass(frozen=True, slots=True)
class Ball:
    """Norm and radius of the main numbers.

    Attributes:
        norm: norm in which all models were attacked; None if there is none.
        epsilon: radius, pixel units; None for that of each file.
    """

    norm: str | None
    epsilon: float | None


def common_ball(results: Sequence[Path], epsilon: float | None = None) -> Ball:
    """The ball of the main numbers of the files ``results``.

    The norm is the last one of the first file in which all models were attacked. The radius is that
    of the first file whose own one was searched by the attacks of all files; if there is none, the
    smallest such radius of a curve of the first file; if there is none, the first at which all
    accuracies follow at least from the smallest distances found.

    Args:
        results: results files.
        epsilon: the radius, if it is given.
    """
    tables = [_attack_tables(path) for path in results]
    norms = [list(dict.fromkeys(table.norm for table in reversed(own))) for own in tables]
    norm = next((one for one in norms[0] if all(one in other for other in norms)), None)
    if norm is None or epsilon is not None:
        return Ball(norm, epsilon)
    of_norm = [[table for table in own if table.norm == norm] for own in tables]
    curve = sorted(at for table in of_norm[0] for at in table.epsilons)
    candidates = [*(own[-1].headline for own in of_norm), *curve]
    for known in (_Attack.searched, _Attack.tells):
        for at in candidates:
            if all(any(known(table, at) for table in own) for own in of_norm):
                return Ball(norm, at)
    return Ball(norm, None)


@dataclass(frozen=True, slots=True)
class _Attack:
    """What a table of attacks can tell of accuracies."""

    norm: str
    headline: float
    epsilons: tuple[float, ...]
    radii: tuple[float, ...]
    smallest: bool

    def searched(self, epsilon: float) -> bool:
        """Whether attacks searched within ``epsilon``."""
        return _among(self.radii, epsilon)

    def tells(self, epsilon: float) -> bool:
        """Whether the attacks searched for the smallest distances, or within ``epsilon``."""
        return self.smallest or self.searched(epsilon)


def _attack_tables(path: Path) -> list[_Attack]:
    """Tables of attacks in the file at ``path`` with a finished row, the latest last."""
    with ResultStore.read(path) as store:
        return [
            _Attack(
                norm=str(table.settings["norm"]),
                headline=float(table.attribute("headline_epsilon")),
                epsilons=tuple(map(float, table.attribute("epsilons", ()))),
                radii=searched_radii(table),
                smallest=not table.settings.get("radii"),
            )
            for table in store.existing(ATTACK.name)
            if len(table.indices)
        ]


def searched_radii(table: AnalysisGroup) -> tuple[float, ...]:
    """Radii within which the attacks of a table searched; empty if for the smallest distance."""
    settings = table.settings
    return (*(settings.get("radii") or ()), *(settings.get("reported_radii") or ()))


def searched(table: AnalysisGroup, epsilon: float) -> bool:
    """Whether attacks at a radius searched within ``epsilon``, or the table has none."""
    return _among(searched_radii(table), epsilon)


def tells(table: AnalysisGroup, epsilon: float) -> bool:
    """Whether the attacks of a table tell of the accuracy within ``epsilon``.

    Attacks that were held to other radii do not: nothing nearer or farther was searched.
    """
    return searched(table, epsilon) or not table.settings.get("radii")


def _among(radii: Sequence[float], epsilon: float) -> bool:
    return not radii or any(abs(radius - epsilon) <= SAME_RADIUS for radius in radii)
