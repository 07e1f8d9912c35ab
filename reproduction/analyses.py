"""The analyses of items: settings, what runs, its numbers, and the command that does the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from robcert.certify import attacks, local_linearity, radius_bounds, smoothing
from robcert.certify.attacks import AttackSettings, Change, CorruptionSettings, TransferSettings
from robcert.certify.core import Norm
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.radius_bounds import BoundsSettings, Margin
from robcert.certify.smoothing import Mode, SmoothingSettings
from robcert.certify.stats import LEAST_BLOCKS, Method, proportion
from robcert.certify.tables import pixel

from .measured import Measured, Number
from .scale import Scale, Shrunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from robcert.certify.model import Classifier
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

LEAST_DRAWS = 1000
LEAST_BLOCK = 2
BINS = 30


def at(name: str, epsilon: float) -> str:
    """Name of a number at a radius.

    >>> at("robust", 8 / 255)
    'robust@8/255'
    """
    return f"{name}@{pixel(epsilon)}"


@dataclass(frozen=True, slots=True)
class Analysis(ABC):
    """One analysis of a model.

    Attributes:
        name: its name within the item.
    """

    command: ClassVar[tuple[str, ...]]
    sources: ClassVar[tuple[str, ...]] = ()

    name: str

    def scaled(self, scale: Scale) -> Self:
        """The analysis with what it shrinks."""
        return self

    def shrunk(self, ours: Self) -> Iterator[Shrunk]:
        """What ``ours`` has smaller than this one."""
        return iter(())

    @abstractmethod
    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of its table in the results file; rows that exist are kept."""

    @abstractmethod
    def measured(self, store: ResultStore, path: str) -> Measured:
        """Its numbers, from the file alone."""

    @abstractmethod
    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """Options of its command, without model and images."""

    @property
    def passes(self) -> float:
        """Rough number of passes per image, forward and backward counting as one."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Attack(Analysis):
    """Attacks by name; accuracy at given radii, or the smallest distance.

    Attributes:
        attacks: their names.
        epsilons: radii, pixel units.
        norm: norm of the distance.
        fixed: whether attacks with a radius search at those radii only.
        restarts: random restarts of the paper that the attack runs; 0 if they do not shrink.
        given: requested restarts; None for those of the attack.
        cost: rough passes per image.
    """

    command = ("attack",)

    attacks: tuple[str, ...]
    epsilons: tuple[float, ...] = (8 / 255,)
    norm: Norm = Norm.LINF
    fixed: bool = True
    restarts: int = 0
    given: int | None = None
    cost: float = 20.0

    def scaled(self, scale: Scale) -> Self:
        """Fewer restarts."""
        restarts = scale.of(self.restarts, 1)
        return replace(self, given=restarts) if restarts < self.restarts else self

    def shrunk(self, ours: Self) -> Iterator[Shrunk]:
        """Restarts."""
        if ours.given is not None:
            yield Shrunk("random restarts", self.name, str(self.restarts), str(ours.given))

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of attacks."""
        settings = AttackSettings(
            norm=self.norm,
            attacks=self.attacks,
            restarts=self.given,
            epsilons=self.epsilons if self.fixed else (),
        )
        return attacks.analyse(session, settings, epsilons=self.epsilons)

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Accuracies, targeted success, mean distance (misclassified images at 0)."""
        found = attacks.summarise(store, path)
        numbers = {"clean": Number.of_share(found.clean_accuracy, found.n)}
        for name, shares in (
            ("robust", found.robust_accuracy),
            ("targeted", found.targeted_success_all),
        ):
            numbers |= {at(name, one.epsilon): Number.of_share(one, found.n) for one in shares}
        group = store.at(path)
        distance = group.column("distance", group.indices)
        numbers["distance"] = Number.of_value(float(np.mean(distance)), found.n)
        reach = float(np.max(distance, initial=0.0, where=np.isfinite(distance)))
        grid = np.linspace(0, reach or max(self.epsilons), 60)
        curve = tuple((float(x), float((distance <= x).mean())) for x in grid)
        return Measured(numbers, {} if self.fixed else {"error": curve})

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """The attacks, norm and radii."""
        named = [word for name in self.attacks for word in ("--attack", name)]
        radii = [word for one in self.epsilons for word in ("--eps", pixel(one))]
        norm = () if self.norm is Norm.LINF else ("--norm", str(self.norm))
        given = () if self.given is None else ("--restarts", str(self.given))
        fixed = ("--fixed-radius",) if self.fixed else ()
        return (*named, *norm, *radii, *fixed, *given)

    @property
    def passes(self) -> float:
        """As stated, with the share of the restarts that are left."""
        left = 1.0 if self.given is None else self.given / self.restarts
        return self.cost * left * len(self.epsilons)


@dataclass(frozen=True, slots=True)
class Transfer(Analysis):
    """Adversarial images of other models of the item.

    Attributes:
        of: names of the sources.
        epsilon: radius, pixel units.
        recipe: attack on the sources.
    """

    command = ("attack",)

    of: tuple[str, ...]
    epsilon: float = 8 / 255
    recipe: str = "soar-pgd20"

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of transfer."""
        settings = TransferSettings(epsilons=(self.epsilon,), recipe=self.recipe)
        return attacks.analyse_transfer(session, settings, tuple(sources))

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Accuracy on the adversarial images of each source."""
        found = attacks.summarise_transfer(store, path)
        numbers = {
            name: Number.of_share(source.robust_accuracy[0], found.n)
            for name, source in zip(self.of, found.sources, strict=True)
        }
        return Measured(numbers)

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """The sources and the attack on them."""
        named = [word for path in sources for word in ("--source", str(path))]
        return (*named, "--source-attack", self.recipe, "--eps", pixel(self.epsilon))

    @property
    def passes(self) -> float:
        """Twenty steps on each source."""
        return 20.0 * len(self.of)


@dataclass(frozen=True, slots=True)
class Corruption(Analysis):
    """Random changes of the images.

    Attributes:
        change: rotation with shift, or Gaussian noise.
        strengths: as in ``CorruptionSettings``.
    """

    command = ("corruption",)

    change: Change
    strengths: tuple[tuple[float, ...], ...]

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of random changes."""
        settings = CorruptionSettings(change=self.change, strengths=self.strengths)
        return attacks.analyse_corruption(session, settings)

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Accuracy on one draw per image at each strength, as the paper counts."""
        found = attacks.summarise_corruption(store, path)
        return Measured(
            {
                f"strength {place + 1}": Number.of_share(one.one_draw, found.n)
                for place, one in enumerate(found.accuracy)
            }
        )

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """One option per strength."""
        texts = (",".join(f"{part:g}" for part in strength) for strength in self.strengths)
        return tuple(word for text in texts for word in (f"--{self.change}", text))

    @property
    def passes(self) -> float:
        """Ten draws at each strength, forward only."""
        return 4.0 * len(self.strengths)


@dataclass(frozen=True, slots=True)
class Linearity(Analysis):
    """γ(ε, x) by the search of LLR: 50 Adam steps of 0.1 from one random point.

    Attributes:
        epsilon: radius, pixel units.
        along: whether every kept checkpoint is measured.
        training: whether the images are those of the training.
    """

    command = ("linearity",)

    epsilon: float = 8 / 255
    along: bool = False
    training: bool = False

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of γ."""
        settings = replace(LinearitySettings.paper(), epsilon=self.epsilon)
        return local_linearity.analyse(session, settings)

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Mean and median of γ, mean of its root, and the distribution of the root."""
        group = store.at(path)
        gamma = np.asarray(group.column("gamma", group.indices), np.float64)
        root = np.sqrt(gamma)
        heights, edges = np.histogram(root, bins=BINS)
        middles = (edges[1:] + edges[:-1]) / 2
        curve = tuple(zip(middles.tolist(), (heights / len(root)).tolist(), strict=True))
        numbers = {"mean": float(gamma.mean()), "median": float(np.median(gamma))}
        numbers["root mean"] = float(root.mean())
        return Measured(
            {name: Number.of_value(value, len(gamma)) for name, value in numbers.items()},
            {"root": curve},
        )

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """The schedule of the paper at the radius."""
        along = ("--along",) if self.along else ()
        return ("--schedule", "paper", "--eps", pixel(self.epsilon), *along)

    @property
    def passes(self) -> float:
        """Fifty steps."""
        return 51.0


@dataclass(frozen=True, slots=True)
class Bounds(Analysis):
    """L- and ω-bounds of IGR: the margin of probabilities, L and ω as the largest values sampled.

    Attributes:
        norm: norm of the radii.
        epsilon: middle of the grid of ω, pixel units.
        radii: radii whose error is a number, pixel units.
        blocks: blocks of images that L and ω are taken from.
        block_size: images per block.
    """

    command = ("bounds",)

    norm: Norm
    epsilon: float
    radii: tuple[float, ...] = ()
    blocks: int = 100
    block_size: int = 100

    def scaled(self, scale: Scale) -> Self:
        """Fewer and smaller blocks."""
        return replace(
            self,
            blocks=scale.of(self.blocks, LEAST_BLOCKS),
            block_size=scale.of(self.block_size, LEAST_BLOCK),
        )

    def shrunk(self, ours: Self) -> Iterator[Shrunk]:
        """Images that L and ω are taken from."""
        paper, here = (one.blocks * one.block_size for one in (self, ours))
        if paper != here:
            yield Shrunk("images that L and ω are estimated on", self.name, str(paper), str(here))

    @property
    def settings(self) -> BoundsSettings:
        """Settings of `robcert bounds`."""
        return BoundsSettings(
            norm=self.norm,
            epsilon=self.epsilon,
            margin=Margin.PROBABILITY,
            blocks=self.blocks,
            block_size=self.block_size,
            evt=Method.MAX,
        )

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of bounds."""
        return radius_bounds.analyse(session, self.settings)

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Mean radii, errors by ω-bound, gradient norms, ω at its grid."""
        found = radius_bounds.summarise(store, path)
        values: dict[str, float | None] = {}
        for name, column in (("L mean", "l_bound_point"), ("ω mean", "omega_bound_point")):
            radius = found.radius.get(column)
            values[name] = None if radius is None else radius.mean
        if found.gradient_norm is not None:
            values["gradient mean"] = found.gradient_norm.mean
            values["gradient max"] = found.gradient_norm.max
        values |= {at("ω", one.epsilon): one.fit.max for one in found.omega}
        numbers = {name: Number.of_value(value, found.n) for name, value in values.items()}
        group = store.at(path)
        radius_of = group.column("omega_bound_point", group.indices)
        for epsilon in self.radii:
            safe = int(np.count_nonzero(radius_of >= epsilon * (1 - 1e-6)))
            numbers[at("omega", epsilon)] = Number.of_share(proportion(safe, found.n), found.n)
        return Measured(numbers)

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """The settings of the papers."""
        size = ("--blocks", str(self.blocks), "--block-size", str(self.block_size))
        norm = ("--norm", str(self.norm), "--eps", pixel(self.epsilon))
        return (*norm, "--margin", "prob", "--evt", "max", *size)

    @property
    def passes(self) -> float:
        """Searches of residuals at nine radii."""
        return 400.0


@dataclass(frozen=True, slots=True)
class Smoothing(Analysis):
    """Certificates of the smoothed classifier, in the design of Cohen et al.

    Attributes:
        sigma: standard deviation of the noise, pixel units.
        radii: l2 radii whose certified accuracy is a number, pixel units.
        n: draws that certify.
    """

    command = ("smoothing", "certify")

    sigma: float
    radii: tuple[float, ...]
    n: int = 100_000

    def scaled(self, scale: Scale) -> Self:
        """Fewer draws."""
        return replace(self, n=scale.of(self.n, LEAST_DRAWS))

    def shrunk(self, ours: Self) -> Iterator[Shrunk]:
        """Draws."""
        if ours.n != self.n:
            yield Shrunk("noisy draws per image", self.name, str(self.n), str(ours.n))

    def run(self, session: Session, sources: Sequence[Classifier]) -> str:
        """Path of the table of certificates."""
        settings = SmoothingSettings(sigma=self.sigma, n=self.n, radii=self.radii, mode=Mode.COHEN)
        return smoothing.analyse(
            smoothing.in_precision(session, settings), settings, batch_size=None
        )

    def measured(self, store: ResultStore, path: str) -> Measured:
        """Certified accuracy at each radius, and its curve."""
        group = store.at(path)
        radii = smoothing.certified_radii(group, group.indices)
        label = store.labels[store.rows(group.indices)]
        right = group.column("prediction", group.indices) == label
        numbers: dict[str, Number] = {}
        for radius in self.radii:
            share = proportion(int((right & (radii >= radius)).sum()), len(radii))
            numbers[at("certified", radius)] = Number.of_share(share, len(radii))
        grid = np.linspace(0, max(self.radii), 61)
        curve = tuple((float(x), float((right & (radii >= x)).mean())) for x in grid)
        return Measured(numbers, {"certified": curve})

    def words(self, sources: Sequence[Path]) -> tuple[str, ...]:
        """Noise, draws and design."""
        radii = ",".join(f"{radius:g}" for radius in self.radii)
        size = ("--sigma", f"{self.sigma:g}", "--n", str(self.n))
        return (*size, "--design", "cohen", "--radii", radii)

    @property
    def passes(self) -> float:
        """A third of a pass, forward only, for each draw."""
        return self.n / 3
