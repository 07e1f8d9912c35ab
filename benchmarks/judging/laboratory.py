"""The networks of one seed, trained and analysed when a claim first needs them; resumable."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from robcert.certify import attacks, landscape, local_linearity, radius_bounds, smoothing
from robcert.certify.attacks import (
    AttackSettings,
    Change,
    CorruptionSettings,
    Suite,
    TransferSettings,
)
from robcert.certify.auditing import SessionContext, SessionRequest, load_sources, open_session
from robcert.certify.core import Norm
from robcert.certify.landscape import Line, TaylorSettings
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.radius_bounds import BoundsSettings, Margin
from robcert.certify.results import ImageRows, read_rows
from robcert.certify.smoothing import SmoothingSettings
from robcert.certify.stats import Method
from robcert.certify.store import ledger
from robcert.trainers.loop import MODEL, STATE
from robcert.trainers.train import TrainPlan, train

from .networks import EPSILON, NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.attacks import AttackSummary, CorruptionSummary
    from robcert.certify.landscape import TaylorSummary
    from robcert.certify.radius_bounds import BoundsSummary
    from robcert.certify.store import ResultStore

S = TypeVar("S")

WEAK, STRONG = "soar-pgd20", ("multi-targeted", "apgd-dlr", "square")
ONE_STEP = "fgsm-20"
MIDDLE_L2 = 0.5
"""Middle of the grid of ω in l2, pixel units."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is computed.

    Attributes:
        training: number of training images; None for all.
        epochs: passes over them; None for those of the networks.
        attacked: test images that are attacked.
        measured: test images of the other analyses.
        blocks: blocks of test images for the fits of L and ω.
    """

    training: int | None = None
    epochs: int | None = None
    attacked: int = 200
    measured: int = 100
    blocks: int = 100


@dataclass(frozen=True, slots=True)
class Laboratory:
    """The work of one seed.

    Attributes:
        folder: where its networks and results files are.
        seed: seed of the trainings and the analyses.
        size: how much is computed.
        data: data set with training and test images, by name.
        data_root: its folder; None for the user's cache.
        say: called with a line before anything long.
    """

    folder: Path
    seed: int
    size: Size
    data: str
    data_root: Path | None
    say: Callable[[str], None]

    def network(self, name: str) -> Path:
        """Run folder of the network, trained on the first call."""
        out = self.folder / _slug(name)
        if (out / MODEL).is_file():
            return out
        network = NETWORKS[name]
        start = str(self.network(network.start)) if network.start else None
        config = replace(network.config(self.seed), data=self.data, subset=self.size.training)
        config = replace(config.lasting(self.size.epochs or config.epochs), init_from=start)
        self.say(f"seed {self.seed}: training {name}")
        plan = TrainPlan(config, out, data_root=self.data_root, substitute=False)
        train(plan, resume=(out / STATE).is_file())
        return out

    def accuracy(self, name: str) -> dict[str, float]:
        """Accuracy without an attack, under the weak one, the strong ones, and all together."""
        settings = AttackSettings(
            suite=Suite.STANDARD,
            attacks=(ONE_STEP, WEAK, *STRONG),
            epsilons=(EPSILON,),
            per_attack=True,
        )
        found: AttackSummary = self._analysed(
            name,
            self.size.attacked,
            lambda context: attacks.analyse(context.session, settings, epsilons=(EPSILON,)),
            attacks.summarise,
        )
        alone = {one.name: one.robust_accuracy[0].value for one in found.per_attack}
        return {
            "clean": found.clean_accuracy.value,
            "one step": alone[ONE_STEP],
            "weak": alone[WEAK],
            "targeted": alone["multi-targeted"],
            "strong": found.robust_accuracy[0].value,
        }

    def l2_accuracy(self, name: str, epsilon: float) -> float:
        """Accuracy under PGD and fast minimum norm in l2."""
        settings = AttackSettings(norm=Norm.L2, attacks=("pgd", "fmn"), epsilons=(epsilon,))
        found: AttackSummary = self._analysed(
            name,
            self.size.attacked,
            lambda context: attacks.analyse(context.session, settings, epsilons=(epsilon,)),
            attacks.summarise,
        )
        return found.robust_accuracy[0].value

    def gamma(self, name: str) -> float:
        """Mean of γ(ε, x) in linf."""
        settings = LinearitySettings(epsilon=EPSILON)
        found = self._analysed(
            name,
            self.size.measured,
            lambda context: local_linearity.analyse(context.session, settings),
            local_linearity.summarise,
        )
        return found.gamma.mean

    def bounds(self, name: str, *, blocks: int = 0) -> tuple[BoundsSummary, ImageRows]:
        """L- and ω-bounds in l2, of the margin of probabilities, as the papers compute them.

        Args:
            name: the network.
            blocks: blocks of the fit; 0 for the usual number and the largest values sampled.
        """
        settings = BoundsSettings(
            norm=Norm.L2,
            epsilon=MIDDLE_L2,
            margin=Margin.PROBABILITY,
            blocks=blocks or self.size.blocks,
            block_size=10,
            evt=Method.GEV if blocks else Method.MAX,
            curvature_steps=0,
        )
        return self._with_rows(
            name,
            self.size.measured,
            lambda context: radius_bounds.analyse(context.session, settings),
            radius_bounds.summarise,
        )

    def distances(self, name: str) -> NDArray[np.float64]:
        """Smallest l2 distances found, misclassified images at 0."""
        settings = AttackSettings(norm=Norm.L2, attacks=("pgd", "fmn", "ddn"))
        _, rows = self._with_rows(
            name,
            self.size.measured,
            lambda context: attacks.analyse(context.session, settings, epsilons=(MIDDLE_L2,)),
            attacks.summarise,
        )
        return np.asarray(rows["distance"], np.float64)

    def smoothed(self, name: str, sigma: float) -> NDArray[np.float64]:
        """Certified l2 radii of the smoothed classifier; 0 where it abstains."""
        settings = SmoothingSettings(sigma=sigma, n=10_000)

        def analyse(context: SessionContext) -> str:
            session = smoothing.in_precision(context.session, settings)
            return smoothing.analyse(session, settings, batch_size=None)

        def radii(store: ResultStore, path: str) -> NDArray[np.float64]:
            group = store.at(path)
            return np.asarray(smoothing.certified_radii(group, group.indices), np.float64)

        return self._analysed(name, self.size.measured, analyse, radii)

    def transferred(self, name: str, source: str) -> float:
        """Accuracy on adversarial images of the weak attack on ``source``."""
        settings = TransferSettings(epsilons=(EPSILON,), recipe=WEAK)

        def analyse(context: SessionContext) -> str:
            sources = load_sources(context.request, (self.network(source),), context.session)
            return attacks.analyse_transfer(context.session, settings, sources)

        found = self._analysed(name, self.size.attacked, analyse, attacks.summarise_transfer)
        return found.all_sources[0].value

    def changed(self, name: str, change: Change, strengths: tuple[tuple[float, ...], ...]) -> float:
        """Mean accuracy under random changes, over their strengths."""
        settings = CorruptionSettings(change=change, strengths=strengths)
        found: CorruptionSummary = self._analysed(
            name,
            self.size.attacked,
            lambda context: attacks.analyse_corruption(context.session, settings),
            attacks.summarise_corruption,
        )
        return float(np.mean([one.mean for one in found.accuracy]))

    def taylor(self, name: str) -> TaylorSummary:
        """Errors of Taylor approximations along the gradient, and SOAR's regulariser."""
        settings = TaylorSettings(
            epsilon=EPSILON, line=Line.GRADIENT, steps=(1e-2, 0.03, 0.1), directions=100
        )
        return self._analysed(
            name,
            self.size.measured,
            lambda context: landscape.analyse_taylor(context.session, settings),
            landscape.summarise_taylor,
        )

    def confidence(self, name: str) -> float:
        """Mean probability of the predicted class."""
        with self._session(name, self.size.measured) as context:
            session = context.session
            scores = session.classifier.logits(session.pixels(session.indices))
            return float(torch.softmax(scores.double(), 1).max(1).values.mean())

    def _session(self, name: str, images: int) -> AbstractContextManager[SessionContext]:
        model = self.network(name)
        return open_session(
            SessionRequest(
                model=model,
                data=self.data,
                data_root=self.data_root,
                limit=images,
                seed=self.seed,
                threads=1,
                out=self.folder / f"{_slug(name)}.h5",
                allow_low_accuracy=True,
            )
        )

    def _analysed(
        self,
        name: str,
        images: int,
        analyse: Callable[[SessionContext], str],
        summarise: Callable[[ResultStore, str], S],
    ) -> S:
        with self._session(name, images) as context:
            self.say(f"seed {self.seed}: analysing {name}")
            path = analyse(context)
            ledger(context.session.store).require_sound()
            return summarise(context.session.store, path)

    def _with_rows(
        self,
        name: str,
        images: int,
        analyse: Callable[[SessionContext], str],
        summarise: Callable[[ResultStore, str], S],
    ) -> tuple[S, ImageRows]:
        found, path, file = self._analysed(
            name,
            images,
            analyse,
            lambda store, path: (summarise(store, path), path, store.path),
        )
        return found, read_rows(file, path)


def _slug(name: str) -> str:
    plain = name.replace("μ", "mu").replace("λ", "lambda").lower()
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")
