"""The results file of a model, its copy with longer searches, and the model itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from .numpy_model import class_of, classes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

    from .numpy_model import NumpyModel, Pixels, Reals

WITHIN = 1e-6
"""Relative rounding error of a stored distance, which is one of float32 images."""

ROUNDING = 2.0**-24
"""Rounding error of a pixel of a float32 image; distances on the levels of an integer input are
exact multiples of the level."""

BOX = 1e-6
"""How far a pixel may lie outside [0, 1] by rounding."""

_TABLES: WeakKeyDictionary[ResultStore, dict[str, list[AnalysisGroup]]] = WeakKeyDictionary()
"""Tables by file and schema; finding them takes a walk over the whole file."""

LENGTHS = {"l1": 1, "l2": 2, "linf": np.inf}


@dataclass(frozen=True)
class Files:
    """What the checks read.

    Attributes:
        store: the results file whose numbers are checked.
        model: the model file by onnxruntime and NumPy.
        scores_are: logits, log-probabilities or probabilities; empty if they are rounded.
        x: images ``(n, c, h, w)`` in [0, 1].
        labels: their classes; -1 where unknown, which refers to the model's own class.
        longer: copy of the results file, with longer searches of another seed, if any.
        draws: noisy draws per image that repeat a certificate's.
        seed: of these.
        tolerance: relative rounding error of the model's scores.
    """

    store: ResultStore
    model: NumpyModel
    scores_are: str
    x: Pixels
    labels: NDArray[np.int64]
    longer: ResultStore | None = None
    draws: int = 2000
    seed: int = 1
    tolerance: float = 1e-4
    _rechecked: dict[tuple[str, str], Reals] = field(default_factory=dict)

    @cached_property
    def scores(self) -> Reals:
        """Scores of the images ``(n, k)``."""
        return self.model.scores(self.x)

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """Classes of the images by onnxruntime; -1 where two scores tie."""
        return classes_of(self.scores)

    @cached_property
    def y(self) -> NDArray[np.int64]:
        """Classes that margins and attacks refer to."""
        return np.where(self.labels >= 0, self.labels, self.classes)

    @property
    def stores(self) -> list[ResultStore]:
        """Both results files."""
        return [self.store] if self.longer is None else [self.store, self.longer]

    @property
    def fullest(self) -> ResultStore:
        """The file that holds all evidence, and marks the numbers which that refutes."""
        return self.store if self.longer is None else self.longer

    def further(self, name: str) -> Iterator[AnalysisGroup]:
        """Tables of the longer searches."""
        if self.longer is not None:
            known = {group.path for group in self.store.existing(name)}
            yield from (one for one in finished(self.longer, name) if one.path not in known)

    def nearest(self, norm: str, indices: NDArray[np.int64], *, longer: bool = True) -> Reals:
        """Smallest re-checked distance in ``norm`` of each image; NaN where not attacked."""
        found = np.full(len(indices), np.nan)
        for store in self.stores if longer else [self.store]:
            for group in finished(store, "attack"):
                if group.settings["norm"] == norm:
                    found = np.fmin(found, self.rechecked(store, group)[indices])
        return found

    def rechecked(self, store: ResultStore, group: AnalysisGroup) -> Reals:
        """Distances of a table ``(n,)`` in float64 of those adversarial images that are some.

        0 where the image itself is misclassified, infinite where no image holds, NaN where the
        table has no row.
        """
        key = (str(store.path), group.path)
        if key not in self._rechecked:
            self._rechecked[key] = self._distances(group)
        return self._rechecked[key]

    def adversarial(self, group: AnalysisGroup, index: int) -> Pixels | None:
        """The saved adversarial image of one image; None where there is none."""
        if "adversarial" not in group.columns or group.column("success", _one(index))[0] != 1:
            return None
        return np.asarray(group.column("adversarial", _one(index)), np.float32)

    def length(self, norm: str, change: NDArray[np.floating]) -> float:
        """Length of a perturbation in float64."""
        return float(np.linalg.norm(np.asarray(change, np.float64).ravel(), LENGTHS[norm]))

    def _distances(self, group: AnalysisGroup) -> Reals:
        found = np.full(len(self.x), np.nan)
        norm = str(group.settings["norm"])
        for index in rows_of(group).tolist():
            image = self.adversarial(group, index)
            wrong = self.classes[index] not in (-1, self.y[index])
            if wrong:
                found[index] = 0.0
            elif image is None:
                found[index] = np.inf
            else:
                inside = image.min() >= -BOX and image.max() <= 1 + BOX
                named = class_of(self.model.scores(image)[0])
                length = self.length(norm, image[0].astype(np.float64) - self.x[index])
                found[index] = length if inside and named != self.y[index] else np.inf
        return found


def finished(store: ResultStore, name: str) -> Iterator[AnalysisGroup]:
    """Tables of a schema that have a finished row; the file must not change meanwhile."""
    if name not in (known := _TABLES.setdefault(store, {})):
        known[name] = [group for group in store.existing(name) if len(rows_of(group))]
    yield from known[name]


def rows_of(group: AnalysisGroup) -> NDArray[np.int64]:
    """Images with a finished row."""
    indices = group.indices
    return np.asarray(indices[group.computed(indices)])


def _one(index: int) -> NDArray[np.int64]:
    return np.array([index])
