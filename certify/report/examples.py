"""Example images of a report: clean, adversarial and their difference, as the attack stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.tables import decimal, pixel

from .plain_words import class_name
from .svg import picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore


@dataclass(frozen=True, slots=True)
class Example:
    """One image as three inline pictures with their texts, and a caption."""

    pictures: tuple[tuple[str, str], ...]
    caption: str


def examples(store: ResultStore, group: AnalysisGroup | None) -> list[Example]:
    """The images that the attack table ``group`` stored; empty if it stored none."""
    if group is None or "examples/index" not in group:
        return []
    indices = group.array("examples/index")
    clean, adversarial = group.array("examples/clean"), group.array("examples/adversarial")
    labels = store.labels[store.rows(indices)]
    distance = group.column("distance", indices)
    prediction = group.column("prediction", indices)
    attacks = list(group.attribute("attacks", []))
    found_by = group.column("attack", indices)
    norm, names = str(group.settings.get("norm", "")), store.class_names
    return [
        _example(
            (clean[i], adversarial[i]),
            index=int(indices[i]),
            classes=(_right(names, int(labels[i])), class_name(names, int(prediction[i]))),
            text=f"{norm} {pixel(float(distance[i]))}{_found_by(attacks, int(found_by[i]))}",
        )
        for i in range(len(indices))
    ]


def _example(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    index: int,
    classes: tuple[str, str],
    text: str,
) -> Example:
    clean, adversarial = pair
    change = adversarial - clean
    scale = float(np.abs(change).max()) or 1.0
    return Example(
        pictures=(
            (picture(clean, title=f"image {index}"), classes[0]),
            (picture(adversarial, title=f"adversarial image of {index}"), f"→ {classes[1]}"),
            (
                picture(0.5 + change / (2 * scale), title=f"difference, ±{decimal(scale, 3)}"),
                "difference",
            ),
        ),
        caption=f"image {index} · {text}",
    )


def _right(names: tuple[str, ...], label: int) -> str:
    return class_name(names, label) if label >= 0 else "image"


def _found_by(attacks: list[str], position: int) -> str:
    return f" · by {attacks[position]}" if 0 <= position < len(attacks) else ""
