"""The registry: one row per analysis, with its schema, settings, summary, tables and section.

Adding an analysis is adding its package and one row of ``ANALYSES``. Results files, `show`, the
audit, the report, the comparison and the schema page read the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from robcert.certify import (
    attacks,
    landscape,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify.attacks import ATTACK, CORRUPTION, EVIDENCE, TRANSFER
from robcert.certify.landscape import SURFACE, TAYLOR
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.masking import MASKING
from robcert.certify.radius_bounds import BOUNDS, BOUNDS_SAMPLE
from robcert.certify.smoothing import SMOOTHING, SMOOTHING_ATTACK, SMOOTHING_PREDICTION
from robcert.certify.store import plain
from robcert.certify.tables import UNLABELLED
from robcert.certify.verification import VERIFY

from . import clean
from .schema import AUDIT, CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from robcert.certify.core import Profile
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup, ResultStore, Schema
    from robcert.certify.tables import Chart, Table

    from .settings import AuditSettings


class Summary(Protocol):
    """The numbers of one table of a results file."""

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain JSON."""


class Profiled(Protocol):
    """Settings whose values depend on the profile."""

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile."""


S = TypeVar("S", bound=Summary)
S_co = TypeVar("S_co", bound=Summary, covariant=True)


class Section(IntEnum):
    """Section of a report that shows an analysis, in the order of the page."""

    MEASURED = 0
    ATTACKED = 1
    CERTIFIED = 2
    ESTIMATED = 3
    MASKING = 4  # a section with figures of its own
    NONE = 5


@dataclass(frozen=True, slots=True)
class AuditPart:
    """How an audit runs an analysis.

    Attributes:
        rank: parts run in ascending rank, equal ranks in the order of the registry.
        run: fills the table; returns its path.
    """

    run: Callable[[Session, AuditSettings], str]
    rank: int = 1


def no_charts(_: ResultStore, __: Sequence[Reading[Summary]]) -> tuple[Chart, ...]:
    """Charts of an analysis that a report shows as tables only."""
    return ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis.

    Attributes:
        name: key in the summary of an audit and in the JSON of `show`.
        title: its name in sentences.
        schemas: its table, and tables that belong to it.
        reader: summarises tables of it; made by ``reads``.
        section: section of a report that shows its tables.
        charts: the figures of all its tables in a file; made by ``shows``.
        settings: class of its settings if they depend on the profile.
        part: how an audit runs it; None if an audit does not.
    """

    name: str
    title: str
    schemas: tuple[Schema, ...]
    reader: Callable[[Analysis, ResultStore, Sequence[str]], Reading[Summary]]
    section: Section
    charts: Callable[[ResultStore, Sequence[Reading[Summary]]], Iterable[Chart]] = no_charts
    settings: type[Profiled] | None = None
    part: AuditPart | None = None

    @property
    def schema(self) -> Schema:
        """Schema of the table that its summary is made from."""
        return self.schemas[0]

    def read(self, store: ResultStore, *paths: str) -> Reading[Summary]:
        """Summaries of its tables at ``paths``, which are runs of one command."""
        return self.reader(self, store, paths)


@dataclass(frozen=True, slots=True)
class Reading(Generic[S_co]):
    """Summaries of tables of one analysis; several where runs of a command differ in epsilon or σ.

    Attributes:
        analysis: row of the registry.
        groups: the tables, as many as summaries.
        summaries: their numbers.
        tables: their numbers as tables.
        combined: one JSON object of all summaries, as the command prints it.
    """

    analysis: Analysis
    groups: tuple[AnalysisGroup, ...]
    summaries: tuple[S_co, ...]
    tables: tuple[Table, ...]
    combined: Callable[[], dict[str, Any]]

    @property
    def group(self) -> AnalysisGroup:
        """The first table, which is the only one unless runs are combined."""
        return self.groups[0]

    @property
    def summary(self) -> S_co:
        """The first summary."""
        return self.summaries[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Limitations of the numbers, one line each."""
        return tuple(self.to_json().get("warnings", ()))

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the summaries; NaN and infinity are null."""
        return dict(plain(self.combined()))

    def tables_for(self, *, labelled: bool) -> tuple[Table, ...]:
        """The tables; without labels each says that it refers to the model's own prediction."""
        if labelled:
            return self.tables
        return tuple(replace(t, note=f"{t.note} {UNLABELLED}".strip()) for t in self.tables)


def first_alone(summaries: Sequence[Summary]) -> dict[str, Any]:
    """JSON of an analysis whose command fills one table."""
    return summaries[0].to_json()


def reads(
    summarise: Callable[[ResultStore, str], S],
    tables: Callable[[Sequence[S]], Iterable[Table]],
    combined: Callable[[Sequence[S]], dict[str, Any]] = first_alone,
) -> Callable[[Analysis, ResultStore, Sequence[str]], Reading[Summary]]:
    """The reader of an analysis.

    Args:
        summarise: summary of the table at a path, from the results file alone.
        tables: summaries of one command as tables.
        combined: the same as one JSON object.
    """

    def read(analysis: Analysis, store: ResultStore, paths: Sequence[str]) -> Reading[S]:
        summaries = tuple(summarise(store, path) for path in paths)
        groups = tuple(store.at(path) for path in paths)
        shown = tuple(tables(summaries))
        return Reading(analysis, groups, summaries, shown, lambda: combined(summaries))

    return read


def shows(
    kind: type[S],
    charts: Callable[[ResultStore, Sequence[tuple[S, AnalysisGroup]]], Iterable[Chart]],
) -> Callable[[ResultStore, Sequence[Reading[Summary]]], Iterable[Chart]]:
    """The charts of an analysis, from everything that was read of a results file.

    Args:
        kind: class of its summaries.
        charts: charts of its summaries and tables, oldest first.
    """

    def show(store: ResultStore, found: Sequence[Reading[Summary]]) -> Iterable[Chart]:
        pairs = [(one.summary, one.group) for one in found if isinstance(one.summary, kind)]
        return charts(store, pairs)

    return show


ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        "clean",
        "clean accuracy",
        (CLEAN,),
        reads(clean.summarise, clean.tables),
        Section.MEASURED,
    ),
    Analysis(
        "linearity",
        "local linearity",
        (LINEARITY,),
        reads(local_linearity.summarise, local_linearity.tables, local_linearity.combined),
        Section.ESTIMATED,
        shows(local_linearity.LinearitySummary, local_linearity.charts),
        local_linearity.LinearitySettings,
        AuditPart(lambda session, chosen: local_linearity.analyse(session, chosen.linearity)),
    ),
    Analysis(
        "bounds",
        "bounds",
        (BOUNDS, BOUNDS_SAMPLE),
        reads(radius_bounds.summarise, radius_bounds.tables),
        Section.ESTIMATED,
        shows(radius_bounds.BoundsSummary, radius_bounds.charts),
        radius_bounds.BoundsSettings,
        AuditPart(lambda session, chosen: radius_bounds.analyse(session, chosen.bounds)),
    ),
    Analysis(
        "attack",
        "attack",
        (ATTACK, EVIDENCE),
        reads(attacks.summarise, attacks.tables),
        Section.ATTACKED,
        shows(attacks.AttackSummary, attacks.charts),
        attacks.AttackSettings,
        AuditPart(
            lambda session, chosen: attacks.analyse(
                session, chosen.attack, epsilons=chosen.epsilons
            ),
            rank=0,
        ),
    ),
    Analysis(
        "transfer",
        "transfer",
        (TRANSFER,),
        reads(attacks.summarise_transfer, attacks.transfer_tables),
        Section.ATTACKED,
        settings=attacks.TransferSettings,
    ),
    Analysis(
        "corruption",
        "corruption",
        (CORRUPTION,),
        reads(attacks.summarise_corruption, attacks.corruption_tables),
        Section.ATTACKED,
    ),
    Analysis(
        "verify",
        "verification",
        (VERIFY,),
        reads(verification.summarise, verification.tables),
        Section.CERTIFIED,
        shows(verification.VerificationSummary, verification.charts),
        verification.VerificationSettings,
        AuditPart(lambda session, chosen: verification.analyse(session, chosen.verify)),
    ),
    Analysis(
        "smoothing",
        "smoothing",
        (SMOOTHING,),
        reads(smoothing.summarise, smoothing.tables, smoothing.combined),
        Section.CERTIFIED,
        shows(smoothing.SmoothingSummary, smoothing.charts),
        smoothing.SmoothingSettings,
        AuditPart(lambda session, chosen: smoothing.analyse(session, chosen.smoothing)),
    ),
    Analysis(
        "smoothing_prediction",
        "smoothing prediction",
        (SMOOTHING_PREDICTION,),
        reads(smoothing.summarise_prediction, smoothing.prediction_tables),
        Section.CERTIFIED,
        settings=smoothing.PredictionSettings,
    ),
    Analysis(
        "smoothing_attack",
        "smoothing attack",
        (SMOOTHING_ATTACK,),
        reads(smoothing.summarise_attack, smoothing.attack_tables),
        Section.CERTIFIED,
        settings=smoothing.SmoothingAttackSettings,
    ),
    Analysis(
        "masking",
        "masking check",
        (MASKING, masking.ROUND),
        reads(masking.summarise, masking.tables),
        Section.MASKING,
        shows(masking.MaskingSummary, masking.charts),
        masking.MaskingSettings,
        AuditPart(lambda session, chosen: masking.analyse(session, chosen.masking)),
    ),
    Analysis(
        "surface",
        "loss surface",
        (SURFACE,),
        reads(landscape.summarise_surface, landscape.surface_tables),
        Section.NONE,
    ),
    Analysis(
        "taylor",
        "Taylor curves",
        (TAYLOR,),
        reads(landscape.summarise_taylor, landscape.taylor_tables),
        Section.NONE,
    ),
)
"""In the order in which `show` and the summary of an audit list them."""

SCHEMAS: tuple[Schema, ...] = (*(s for row in ANALYSES for s in row.schemas), AUDIT)
"""Every group that a results file can hold, in the order of the schema page."""
