"""Results that the functions of :mod:`robcert.certify.api` return, with their results file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from robcert.certify import (
    attacks,
    auditing,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify.gates import recorded
from robcert.certify.report import write_report
from robcert.certify.store import ResultStore, ledger

from .errors import RobcertError

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

    from robcert.certify.attacks import AttackSummary
    from robcert.certify.auditing import AuditVerdict
    from robcert.certify.gates import Decision
    from robcert.certify.local_linearity import LinearitySummary
    from robcert.certify.masking import MaskingSummary
    from robcert.certify.radius_bounds import BoundsSummary
    from robcert.certify.smoothing import SmoothingSummary
    from robcert.certify.store import Ledger
    from robcert.certify.verification import VerificationSummary

S = TypeVar("S")
R = TypeVar("R")


class ImageRows(Mapping[str, "NDArray[Any]"]):
    """Columns of one table, one row per image: ``rows["distance"]``; read-only.

    ``index`` (position in the data set) and ``label`` (-1 where there is none) come first.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"ImageRows({len(self['index'])} images: {', '.join(self)})"

    def to_pandas(self) -> pandas.DataFrame:
        """The columns of one number per image, indexed by image.

        Raises:
            RobcertError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            message = "pandas is not installed"
            raise RobcertError(message, hint="pip install pandas") from None
        flat = {name: values for name, values in self._columns.items() if values.ndim == 1}
        return DataFrame(flat).set_index("index")


@dataclass(frozen=True, slots=True)
class AnalysisResult(Generic[S]):
    """One analysis.

    Attributes:
        summary: its numbers.
        results: results file.
        group: path of its table in that file.
        warnings: limitations of the numbers.
    """

    summary: S
    results: Path
    group: str
    warnings: tuple[str, ...]

    def rows(self) -> ImageRows:
        """The finished rows, one per image."""
        return read_rows(self.results, self.group)

    def violations(self) -> Ledger:
        """Comparisons of estimated and certified radii with attacked distances in the file."""
        with ResultStore.read(self.results) as store:
            return ledger(store)

    def write_report(self, destination: str | Path | None = None) -> Path:
        """Write the report on the whole results file and return its path (default: beside it)."""
        return write_report(self.results, None if destination is None else Path(destination))


@dataclass(frozen=True, slots=True)
class AuditResult:
    """An audit.

    A part that could not be computed is listed in ``not_available`` with the reason; access to its
    summary raises a RobcertError with that reason.

    Attributes:
        verdict: verdict on all parts together.
        results: results file.
        warnings: limitations of the numbers.
        not_available: reasons by part.
        groups: path of each part's table.
        facts: facts about the model file, as of `robcert inspect --json`.
        gates: decisions on the gates.
    """

    verdict: AuditVerdict
    results: Path
    warnings: tuple[str, ...]
    not_available: Mapping[str, str]
    groups: Mapping[str, str]
    facts: Mapping[str, Any]
    gates: tuple[Decision, ...] = ()

    @property
    def attack(self) -> AttackSummary:
        """Attacked: robust accuracy and distances."""
        return self._read("attack", attacks.summarise)

    @property
    def linearity(self) -> LinearitySummary:
        """Estimated: local linearity."""
        return self._read("linearity", local_linearity.summarise)

    @property
    def bounds(self) -> BoundsSummary:
        """Estimated: radii from extreme-value estimates."""
        return self._read("bounds", radius_bounds.summarise)

    @property
    def verify(self) -> VerificationSummary:
        """Certified: radii of the model itself, and its robust accuracy from both sides."""
        return self._read("verify", verification.summarise)

    @property
    def smoothing(self) -> SmoothingSummary:
        """Certified: radii of the smoothed classifier."""
        return self._read("smoothing", smoothing.summarise)

    @property
    def masking(self) -> MaskingSummary:
        """Measured and attacked: whether gradients are masked."""
        return self._read("masking", masking.summarise)

    def rows(self, part: str) -> ImageRows:
        """The finished rows of a part (``attack``, ``bounds``, …) or of ``clean``, one per image.

        Raises:
            RobcertError: the part could not be computed, or there is no part of that name.
        """
        return read_rows(self.results, "clean" if part == "clean" else self._group(part))

    def violations(self) -> Ledger:
        """Comparisons of estimated and certified radii with attacked distances in the file."""
        with ResultStore.read(self.results) as store:
            return ledger(store)

    def write_report(self, destination: str | Path | None = None) -> Path:
        """Write the report and return its path (default: beside the results file)."""
        return write_report(self.results, None if destination is None else Path(destination))

    def _group(self, part: str) -> str:
        if part in self.groups:
            return self.groups[part]
        if part in self.not_available:
            message = f"{part} is not available: {self.not_available[part]}"
            raise RobcertError(message)
        message = f"there is no part {part!r} of an audit"
        raise RobcertError(message, hint=f"parts: {', '.join(['clean', *self.groups])}")

    def _read(self, part: str, summarise: Callable[[ResultStore, str], R]) -> R:
        path = self._group(part)
        with ResultStore.read(self.results) as store:
            return summarise(store, path)


def read_rows(results: Path, path: str) -> ImageRows:
    """Finished rows of the table at ``path`` of a results file.

    Raises:
        StoreError: the file cannot be read, or has no such table of images.
    """
    with ResultStore.read(results) as store:
        group = store.at(path)
        indices = group.indices
        indices = indices[group.computed(indices)]
        columns: dict[str, NDArray[Any]] = {"index": indices}
        columns["label"] = store.labels[store.rows(indices)]
        columns |= {name: group.column(name, indices) for name in group.columns}
        return ImageRows(columns)


def audit_result(store: ResultStore, path: str, warnings: tuple[str, ...]) -> AuditResult:
    """The audit that is recorded at ``path`` of ``store``."""
    record = store.at(path).attribute("record", {})
    return AuditResult(
        verdict=auditing.summarise(store, path).verdict,
        results=store.path,
        warnings=warnings,
        not_available=record["not_available"],
        groups=record["keys"],
        facts=record["inspect"],
        gates=recorded(store),
    )
