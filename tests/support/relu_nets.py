"""Fully connected networks with one ReLU layer whose extremes are known exactly."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
from scipy.optimize import linprog

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ReluNet:
    """The function v max(w x + a, 0) + b.

    Attributes:
        w: (h, d).
        a: (h,).
        v: (n, h).
        b: (n,).
    """

    w: NDArray[np.float64]
    a: NDArray[np.float64]
    v: NDArray[np.float64]
    b: NDArray[np.float64]

    @classmethod
    def random(cls, seed: int, inputs: int, hidden: int, outputs: int) -> ReluNet:
        """Weights that are float32 numbers."""
        draws = np.random.default_rng(seed)
        shapes = (hidden, inputs), (hidden,), (outputs, hidden), (outputs,)
        return cls(*(draws.normal(size=s).astype(np.float32).astype(np.float64) for s in shapes))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs (b, n) of x (b, d)."""
        return np.maximum(x @ self.w.T + self.a, 0) @ self.v.T + self.b

    def saved(self, folder: Path, *, batch: int | str = 1) -> Path:
        """The ONNX file."""
        layers = [
            om.node("Gemm", "x w a", "hidden", transB=1),
            om.node("Relu", "hidden", "active"),
            om.node("Gemm", "active v b", "y", transB=1),
        ]
        weights = {name: getattr(self, name).astype(np.float32) for name in "wavb"}
        shape = (batch, self.w.shape[1])
        made = om.model(layers, inputs={"x": shape}, outputs={"y": None}, weights=weights)
        return om.saved(folder, made)

    def smallest(
        self,
        box: NDArray[np.float64],
        rows: NDArray[np.float64],
        offsets: NDArray[np.float64],
    ) -> float:
        """Minimum over the box (2, d) of the largest row, by linear programs.

        There is one for each pattern of signs. With the signs s of the hidden units the outputs
        are A x + c; the program minimises t over (x, t) with rows (A x + c) + offsets <= t, the
        box, and the signs.
        """
        lower, upper = box
        least = np.inf
        for signs in itertools.product((0.0, 1.0), repeat=len(self.a)):
            active = np.array(signs)
            slope = (self.v * active) @ self.w
            constant = (self.v * active) @ self.a + self.b
            direction = np.where(active, -1.0, 1.0)
            conditions = np.vstack(
                [
                    np.hstack([rows @ slope, -np.ones((len(rows), 1))]),
                    np.hstack([direction[:, None] * self.w, np.zeros((len(self.a), 1))]),
                ]
            )
            limits = np.concatenate([-(rows @ constant) - offsets, -direction * self.a])
            answer = linprog(
                np.eye(len(lower) + 1)[-1],
                A_ub=conditions,
                b_ub=limits,
                bounds=[*zip(lower, upper, strict=True), (None, None)],
            )
            if answer.status == 0:
                least = min(least, answer.fun)
        return least
