"""Results files of models by how many of their images survive the attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.load import DataInfo
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

N = 40
EPSILON = 0.1
LABELS = np.arange(N) % 4


def results(
    path: Path,
    survivors: int,
    *,
    std: float = 0.5,
    labelled: bool = True,
    data: str = "d",
    more: dict[str, Any] | None = None,
) -> Path:
    """A results file in which attacks within `EPSILON` fail on ``survivors`` of the images.

    ``more`` are settings of the attacks, such as radii that they are held to.
    """
    preprocessing = f'{{"range": [0, 1], "mean": [0.5], "std": [{std}], "layout": "NCHW"}}'
    model = ModelInfo(
        file=f"{path.stem}.onnx", sha256=path.stem, kind="onnx", preprocessing=preprocessing
    )
    distances = np.where(np.arange(N) < survivors, 2 * EPSILON, EPSILON / 2)
    with ResultStore.open(path, model=model, data=DataInfo("set", data, N)) as store:
        store.add_images(np.arange(N), LABELS if labelled else None)
        settings = {"norm": "linf", "suite": "quick"} | (more or {})
        for schema, column, found in (
            (CLEAN, "prediction", LABELS),
            (ATTACK, "distance", distances),
        ):
            shapes = {one.name: (N, *(1 for _ in one.trailing)) for one in schema.everywhere}
            columns = {name: np.ones(shape) for name, shape in shapes.items()}
            group = store.group(schema, prefix="x", settings=settings, seed=0)
            group.append(np.arange(N), columns | {column: found})
            if schema is ATTACK:
                group.set_attributes(epsilons=[EPSILON], headline_epsilon=EPSILON)
    return path
