"""`robcert attack --source`: accuracy on adversarial images of other models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, require_at_least, require_positive
from robcert.certify.numerics import Loss
from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import plain

from .black_box.transfer import require_source, run_transfer
from .evidence import EvidenceTable
from .gradient.pgd import SOAR_L2_PGD100, SOAR_PGD7, SOAR_PGD20, PgdConfig
from .schema import TRANSFER
from .search.radius import RadiusTask
from .search.state import SearchState, adversarial
from .settings import NO_CLASS_IS
from .summary import LEVEL, RobustAccuracy, rounding_warnings, share_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Profile
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup, ResultStore

RECIPES = ("pgd", "pgd-ce", "soar-pgd7", "soar-pgd20", "soar-l2-pgd100")
"""Attacks on a source: PGD on the margin or on the cross-entropy, or SOAR's attacks."""

FEW_CORRECT = 2.0
"""Transfer from a source whose accuracy is below this times chance is meaningless: its
preprocessing is wrong, or its classes are in another order."""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Settings that the rows depend on.

    Attributes:
        norm: norm of the ball.
        epsilons: radii within which each source is attacked, pixel units, ascending.
        recipe: attack on the sources, one of ``RECIPES``.
        steps: gradient steps on the source; SOAR's attacks have their own number.
        sources: SHA-256 of each source, in their order.
    """

    norm: Norm = Norm.LINF
    epsilons: tuple[float, ...] = (8 / 255,)
    recipe: str = "pgd"
    steps: int = 20
    sources: tuple[str, ...] = ()

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; settings that it does not change have their defaults."""
        changed = {
            "quick": cls(steps=10),
            "thorough": cls(steps=100),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_at_least("steps", self.steps, 1)
        require_at_least("number of radii", len(self.epsilons), 1)
        for epsilon in self.epsilons:
            require_positive("epsilon", epsilon)
        if self.recipe not in RECIPES:
            message = f"there is no attack on sources called {self.recipe!r}"
            raise InvalidParameterError(message, hint=f"known attacks: {', '.join(RECIPES)}")
        if self.recipe.startswith("soar"):
            needed = Norm.L2 if "l2" in self.recipe else Norm.LINF
            if self.norm is not needed:
                message = f"the attack {self.recipe} does not support the norm {self.norm}"
                raise InvalidParameterError(message, hint=f"it supports {needed}")

    def source_attack(self) -> PgdConfig:
        """Steps and loss of the attack on the sources."""
        return {
            "pgd": PgdConfig(self.steps),
            "pgd-ce": PgdConfig(self.steps, loss=Loss.CE),
            "soar-pgd7": SOAR_PGD7,
            "soar-pgd20": SOAR_PGD20,
            "soar-l2-pgd100": SOAR_L2_PGD100,
        }[self.recipe]

    def stored(self) -> dict[str, object]:
        """The settings by the names that they have in results files."""
        return {
            "norm": self.norm,
            "radii": self.epsilons,
            "recipe": self.recipe,
            "steps": self.steps,
            "sources": self.sources,
            "no_class": NO_CLASS_IS,
        }


def analyse(session: Session, settings: TransferSettings, sources: tuple[Classifier, ...]) -> str:
    """Path of the table with the images broken by adversarial images of each of ``sources``.

    Rows that already exist are kept. ``settings.sources`` is filled in here.

    Raises:
        DataError: a source takes images of another size or has other classes.
        TwinUnavailableError: a source has no gradients.
    """
    for source in sources:
        require_source(source, session.classifier)
    settings = replace(
        settings,
        epsilons=tuple(sorted(set(settings.epsilons))),
        sources=tuple(source.info.sha256 for source in sources),
    )
    prefix = f"{settings.norm}-{settings.recipe}"
    group = session.store.group(
        TRANSFER,
        prefix=prefix,
        settings=settings,
        seed=session.seed,
        sizes={"source": len(sources), "epsilon": len(settings.epsilons)},
    )
    group.set_attributes(
        source_files=_names(sources),
        num_classes=session.classifier.num_classes,
    )
    evidence = EvidenceTable(session, settings.norm, prefix=prefix, settings=settings)
    session.fill(
        group,
        "transfer",
        lambda batch: _rows(session, batch, settings, sources, evidence),
        keep=evidence.keep,
    )
    evidence.finish(group)
    return group.path


def _names(sources: tuple[Classifier, ...]) -> list[str]:
    """File names of the sources, with eight digits of the hash where two names are equal."""
    files = [source.info.file for source in sources]
    return [
        f"{file} ({source.info.sha256[:8]})" if files.count(file) > 1 else file
        for file, source in zip(files, sources, strict=True)
    ]


def _rows(
    session: Session,
    batch: Batch,
    settings: TransferSettings,
    sources: tuple[Classifier, ...],
    evidence: EvidenceTable,
) -> Columns:
    states = [
        SearchState(session.classifier, batch, settings.norm, session.seed, session.batch_size)
        for _ in sources
    ]
    pairs = [_by_radius(state, one, settings) for state, one in zip(states, sources, strict=True)]
    distances = torch.stack([state.distance for state in states])
    nearest = distances.argmin(0)
    rows = torch.arange(len(batch), device=nearest.device)
    some = distances[nearest, rows]
    x_adv = torch.stack([state.x_adv for state in states])[nearest, rows]
    found = some.isfinite()
    predictions = torch.stack([state.prediction for state in states]).gather(0, nearest[None])[0]
    right = [~adversarial(source.logits(batch.x), batch.y) for source in sources]
    return {
        **evidence.columns(batch, x_adv, some),
        "distance": some.cpu().numpy(),
        "prediction": predictions.cpu().numpy().astype(np.int32),
        "nearest_source": torch.where(found & (some > 0), nearest, -1)
        .cpu()
        .numpy()
        .astype(np.int16),
        "broken": torch.stack([on_target for on_target, _ in pairs], dim=1).cpu().numpy(),
        "broken_source": torch.stack([on_source for _, on_source in pairs], dim=1).cpu().numpy(),
        "source_correct": torch.stack(right, dim=1).to(torch.int8).cpu().numpy(),
    }


def _by_radius(
    state: SearchState, source: Classifier, settings: TransferSettings
) -> tuple[Tensor, Tensor]:
    """Which images are broken on the model, and which on the source ``(b, e)``.

    From the smallest radius up: an image broken within one radius counts as broken within the
    larger ones. The source is attacked until both models are misled.
    """
    misled = adversarial(source.logits(state.batch.x), state.batch.y)
    on_target, on_source = [], []
    for radius in settings.epsilons:
        epsilon = torch.full_like(state.batch.x[:, 0, 0, 0], radius)
        remaining = state.all_rows[~(misled & state.within(epsilon))]
        task = RadiusTask.within(state, remaining, epsilon)
        misled = misled | run_transfer(state, task, source, settings.source_attack())
        on_target.append(state.within(epsilon).to(torch.int8))
        on_source.append(misled.to(torch.int8))
    return torch.stack(on_target, dim=1), torch.stack(on_source, dim=1)


@dataclass(frozen=True, slots=True)
class SourceResult:
    """Accuracy on the adversarial images of one source.

    Attributes:
        source: its file.
        clean_accuracy: of the source itself, on the unchanged images.
        robust_accuracy: share of images that the model still classifies as y, by radius.
        source_accuracy: share of images that the source itself still classifies as y, by radius:
            how strong the attack on the source was.
    """

    source: str
    clean_accuracy: Proportion
    robust_accuracy: tuple[RobustAccuracy, ...]
    source_accuracy: tuple[RobustAccuracy, ...]


@dataclass(frozen=True, slots=True)
class TransferSummary:
    """Accuracy for each source and radius.

    Attributes:
        norm: norm of the radii.
        recipe: how the sources were attacked.
        steps: gradient steps on a source.
        n: number of images.
        clean_accuracy: of the model.
        sources: one entry per source.
        all_sources: share of images that no source's image breaks, by radius.
        warnings: warnings for the reader.
        complete: whether every selected image has its row.
    """

    norm: str
    recipe: str
    steps: int
    n: int
    clean_accuracy: Proportion
    sources: tuple[SourceResult, ...]
    all_sources: tuple[RobustAccuracy, ...]
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def summarise(store: ResultStore, key: str) -> TransferSummary:
    """Summary of the transfer table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    broken = group.column("broken", indices) == 1
    on_source = group.column("broken_source", indices) == 1
    right = group.column("source_correct", indices) == 1
    distance = group.column("distance", indices)
    radii = [float(radius) for radius in group.settings["radii"]]
    files = list(group.attribute("source_files"))
    found = tuple(
        SourceResult(
            source=file,
            clean_accuracy=proportion(int(right[:, at].sum()), len(right), level=LEVEL),
            robust_accuracy=_curve(broken[:, at], radii),
            source_accuracy=_curve(on_source[:, at], radii),
        )
        for at, file in enumerate(files)
    )
    settings = TransferSettings(recipe=group.settings["recipe"], norm=Norm(group.settings["norm"]))
    steps = replace(settings, steps=int(group.settings["steps"])).source_attack().steps
    return TransferSummary(
        norm=str(group.settings["norm"]),
        recipe=str(group.settings["recipe"]),
        steps=steps,
        n=len(indices),
        clean_accuracy=proportion(int((distance > 0).sum()), len(indices), level=LEVEL),
        sources=found,
        all_sources=_curve(broken.any(1), radii),
        warnings=(*rounding_warnings(store, group, radii), *_warnings(group, found)),
        complete=group.complete,
    )


def _curve(broken: NDArray[np.bool_], radii: list[float]) -> tuple[RobustAccuracy, ...]:
    return tuple(share_at(~broken[:, at], radius) for at, radius in enumerate(radii))


def _warnings(group: AnalysisGroup, found: tuple[SourceResult, ...]) -> tuple[str, ...]:
    chance = 1 / int(group.attribute("num_classes"))
    return tuple(
        f"the source {one.source} itself classifies only "
        f"{100 * one.clean_accuracy.value:.0f} % of these images correctly: its preprocessing or "
        "its class order is wrong, so transfer from it is meaningless"
        for one in found
        if one.clean_accuracy.n and one.clean_accuracy.value < FEW_CORRECT * chance
    )
