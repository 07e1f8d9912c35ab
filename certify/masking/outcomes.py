"""Outcome of each attack of the masking check, which runs only where it can change the answer.

Gradient attacks come first. The others are compared with them, image by image, so they run on the
images that survive them. An attack that is not needed on an image is entered as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .checklist import needs_long_search
from .schema import BY_GRADIENT, JUDGED, NEEDLESS, UNKNOWN
from .shares import broken_by, is_random, settled
from .views import shipped_as_is

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.attacks import Found
    from robcert.certify.core import Progress
    from robcert.certify.session import Columns

    from .attacks import AttackPlan
    from .trace import Trace

AFTER_GRADIENTS = (
    *("inner", "averaged", "noise", "search", "label_search", "hopskipjump"),
    *("transfer", "transfer_start"),
)
"""Attacks on the images that survive gradient attacks on the logits."""

WITH_THE_RUNTIME = ("noise", "search", "label_search", "hopskipjump")
"""Those of them that leave the processor to the runtime."""

_FURTHER = 2  # accuracy by radius, long search


@dataclass(slots=True)
class Outcomes:
    """Outcomes of the attacks on one batch.

    Attributes:
        attacks: the attacks.
        columns: columns of the masking table, filled in here.
        progress: counts the attacks.
        total: number of attacks.
        done: number of finished attacks.
    """

    attacks: AttackPlan
    columns: Columns
    progress: Progress
    total: int
    done: int = 0

    @classmethod
    def of(cls, attacks: AttackPlan, columns: Columns, progress: Progress) -> Outcomes:
        """No attack has run yet."""
        further = _FURTHER if attacks.classifier.differentiable else 0
        return cls(attacks, columns, progress, len(attacks.pending()) + further)

    def follow_gradients(self, traced: Trace | None) -> None:
        """Run the gradient attacks on the logits, and those that tell how gradients fail.

        Args:
            traced: paths of PGD on the margin from the images that are classified correctly; None
                if there are none.
        """
        columns, first = self.columns, ~settled(self.columns, ())
        self._run("fgsm", first)
        self._run("pgd_ce", first)
        if self.attacks.drawn is None and shipped_as_is(self.attacks.classifier):
            columns["pgd_file"] = columns["pgd_ce"].copy()  # the same attack
            self._count()
        else:
            self._run("pgd_file", first)
        if self.attacks.drawn is None and traced is not None:
            found = self._on(first).on_margin(traced)
            self._enter("pgd_margin", found, first)
        else:
            self._run("pgd_margin", first)
        self._run("multi_targeted", ~settled(columns, ("pgd_ce", "pgd_margin")))
        # where another loss succeeds, the scale of the logits may be why cross-entropy does not
        by_margin = broken_by(columns, ("pgd_margin", "multi_targeted"))
        self._run("pgd_small_logits", by_margin & ~settled(columns, ("pgd_ce",)))
        self._run("pgd_large_logits", by_margin & ~settled(columns, ("pgd_ce", "pgd_small_logits")))
        standing = first & (columns["pgd_file"] != 1)
        self._run("unbounded", standing)
        # it is asked where PGD within epsilon succeeds; draws can change that
        self._run("pgd_wide", standing & ((columns["pgd_ce"] == 1) | is_random(columns)))
        columns |= self.attacks.at_strengths(columns)
        self._count()

    def search(self) -> None:
        """Run the other attacks on the images that survive those, then the long search."""
        left = ~settled(self.columns, BY_GRADIENT)
        for name in AFTER_GRADIENTS:
            if name in WITH_THE_RUNTIME:
                with self.attacks.classifier.forward_only():
                    self._run(name, left)
            else:
                self._run(name, left)
        if self.attacks.classifier.differentiable:
            doubtful = needs_long_search(self.columns, self.attacks.classifier.info)
            if doubtful.any():
                found = self._on(doubtful).long_search()
                self._enter("long_search", found, doubtful, elsewhere=UNKNOWN)
            self.progress(self._task, self.total, self.total)

    def _run(self, name: str, wanted: NDArray[np.bool_]) -> None:
        """Run an attack, if the model has it, on the rows that are ``wanted``."""
        if name not in self.attacks.pending():
            return
        if wanted.any():
            self._enter(name, self._on(wanted).pending()[name](), wanted)
        else:
            self.columns[name][:] = NEEDLESS
            self._count()

    def _on(self, wanted: NDArray[np.bool_]) -> AttackPlan:
        if wanted.all():
            return self.attacks
        device = self.attacks.batch.x.device
        return self.attacks.on_rows(torch.from_numpy(np.flatnonzero(wanted)).to(device))

    def _enter(
        self,
        name: str,
        found: Found,
        rows: NDArray[np.bool_],
        *,
        elsewhere: int = NEEDLESS,
    ) -> None:
        """Success of an attack on some rows, and, if outputs are random, what fresh draws give."""
        shares = self._on(rows).judged(found.x_adv)
        self.columns[name][~rows] = elsewhere
        if shares is None:
            self.columns[name][rows] = found.found.to(torch.int8).cpu().numpy()
        else:
            self.columns[name][rows] = (shares.mean(1) > 0.5).astype(np.int8)
            if name in JUDGED:
                self.columns["wrong_share"][rows, JUDGED.index(name)] = shares
        self._count()

    def _count(self) -> None:
        self.done += 1
        self.progress(self._task, self.done, self.total)

    @property
    def _task(self) -> str:
        return f"attacks on {len(self.attacks.batch)} images"
