"""All models of a fleet: one table, one page, one exit status."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from robcert.certify.comparison import side_by_side
from robcert.certify.errors import RobcertError
from robcert.certify.report import ranked, ranking_table, write_compared
from robcert.certify.tables import DASH, Table, percent

from .outcome import MemberOutcome, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from robcert.certify.comparison import Comparison

PAGE = "comparison.html"
"""Name of the page that ranks the models, in the folder of the results files."""

NO_NUMBERS = 2
"""Exit status if a model has no numbers, or an attack refutes a certificate."""

GATE_FAILED = 1


@dataclass(frozen=True, slots=True)
class RaceFacts:
    """How a race went.

    Attributes:
        alpha: largest probability with which the best model was stopped.
        images: images of an audit.
        stopped: number of models that were stopped.
        work: share of all models' images that were used.
    """

    alpha: float
    images: int
    stopped: int
    work: float

    @property
    def sentence(self) -> str:
        """The same in words."""
        return (
            f"Race: {self.stopped} models were stopped because another was right under attack on "
            f"more images; the best model is stopped with probability at most {self.alpha:g}. The "
            f"models used {percent(self.work)} of the images that they have together."
        )


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """The outcomes of all models, and those that have numbers side by side.

    Attributes:
        outcomes: one for each model, in the order given.
        comparison: models with numbers, by name; None if none has.
        places: place of each of them in the ranking, by name; a dash for none.
        gated: whether gates were given.
        race: how the race went; None without one.
    """

    outcomes: tuple[MemberOutcome, ...]
    comparison: Comparison | None
    places: Mapping[str, str]
    gated: bool
    race: RaceFacts | None = None

    @property
    def exit_status(self) -> int:
        """The worst of all models.

        2 if one failed, else 1 if a gate of one did not pass or was not decided, else 0.
        """
        if any(one.state is State.FAILED for one in self.outcomes):
            return NO_NUMBERS
        undecided = self.gated and any(one.state is State.NOT_STARTED for one in self.outcomes)
        return GATE_FAILED if undecided or any(one.failures for one in self.outcomes) else 0

    def table(self) -> Table:
        """One row for each model, the ranked ones first."""
        told = "" if self.race is None else self.race.sentence
        states = {one.model.name: _state(one, gated=self.gated) for one in self.outcomes}
        if self.comparison is None:
            note = f"No model has numbers to compare. {told}".strip()
            return Table("models", "", ("model", "audit"), tuple(states.items()), note)
        found = ranking_table(ranked(self.comparison))
        rows = [(*row, states[row[1]]) for row in found.rows]
        shown = {row[1] for row in found.rows}
        empty = (DASH,) * (len(found.header) - 2)
        rows += [(DASH, name, *empty, states[name]) for name in states if name not in shown]
        note = f"{found.note} {told}".strip()
        header = (*found.header, "audit")
        return _without_empty(replace(found, header=header, rows=tuple(rows), note=note))

    def unranked(self) -> Table | None:
        """Models without numbers, and why; None if there are none."""
        rows = tuple(
            (one.model.name, str(one.state), one.reason)
            for one in self.outcomes
            if one.state is not State.AUDITED
        )
        header = ("model", "audit", "reason")
        note = "" if self.race is None else self.race.sentence
        return Table("Models that are not compared", "", header, rows, note) if rows else None

    def write_page(self, folder: Path) -> Path | None:
        """Write the page of all models; None if none has numbers, or there is only one."""
        if self.comparison is None or len(self.outcomes) == 1:
            return None
        return write_compared(self.comparison, folder / PAGE, self.unranked())

    def to_json(self) -> dict[str, Any]:
        """The models in the order given; with numbers and place where they have some."""
        numbers = {}
        if self.comparison is not None:
            numbers = {row.model: row.to_json() for row in self.comparison.rows}
        return {
            "models": [
                {
                    **one.to_json(),
                    "place": self.places.get(one.model.name, DASH),
                    "numbers": numbers.get(one.model.name),
                }
                for one in self.outcomes
            ],
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "race": None if self.race is None else asdict(self.race),
            "exit_status": self.exit_status,
        }


def summarise(
    outcomes: Sequence[MemberOutcome], *, gated: bool, race: RaceFacts | None = None
) -> FleetSummary:
    """The summary of ``outcomes``, from the results files.

    Args:
        outcomes: one for each model.
        gated: whether gates were given.
        race: how the race went; None without one.
    """
    once = tuple(_without_repeats(outcomes))
    files = {one.model.name: one.results for one in once if one.state is State.AUDITED}
    found, reasons = _compared({name: path for name, path in files.items() if path})
    kept = tuple(
        replace(one, state=State.APART, reason=reasons[one.model.name])
        if one.model.name in reasons
        else one
        for one in once
    )
    places = {} if found is None else {model.name: model.place for model in ranked(found)}
    return FleetSummary(kept, found, places, gated, race)


def _without_repeats(outcomes: Sequence[MemberOutcome]) -> Iterator[MemberOutcome]:
    """``outcomes``, of which each results file counts once."""
    seen: dict[Path, str] = {}
    for one in outcomes:
        if one.results is None:
            yield one
        elif one.results in seen:
            reason = f"its content is that of {seen[one.results]}"
            yield replace(one, state=State.SAME, reason=reason, hint="")
        else:
            seen[one.results] = one.model.name
            yield one


def _compared(files: Mapping[str, Path]) -> tuple[Comparison | None, dict[str, str]]:
    """The models of ``files`` side by side, and why some of them cannot stand there."""
    usable, reasons = dict(files), dict[str, str]()
    try:
        found = side_by_side(list(files.values())) if files else None
    except RobcertError:
        usable, reasons = _one_by_one(files)
        found = side_by_side(list(usable.values())) if usable else None
    return (None if found is None else found.named(list(usable))), reasons


def _one_by_one(files: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Those of ``files`` that have numbers in common with the first, and why the others have none.

    The first is the first that can be read.
    """
    usable: dict[str, Path] = {}
    reasons: dict[str, str] = {}
    for name, path in files.items():
        try:
            side_by_side([*list(usable.values())[:1], path])
            usable[name] = path
        except RobcertError as error:
            reasons[name] = str(error)
    return usable, reasons


def _without_empty(table: Table) -> Table:
    """``table`` without the columns in which no model has anything."""
    kept = [
        number
        for number, name in enumerate(table.header)
        if name == "place" or any(row[number] != DASH for row in table.rows)
    ]
    header, *rows = (tuple(row[number] for number in kept) for row in (table.header, *table.rows))
    return replace(table, header=header, rows=tuple(rows))


def _state(one: MemberOutcome, *, gated: bool) -> str:
    """How the audit of a model ended, in a cell."""
    if one.reason:
        return f"{one.state}: {one.reason}"
    if one.failures:
        return f"{one.state}, {len(one.failures)} of {len(one.gates)} gates did not pass"
    return f"{one.state}, all gates passed" if gated else str(one.state)
