"""Example images of a report: clean, adversarial, difference; from what the attack stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .core import Kind
from .report_plots import picture
from .wording import decimal, pixel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .session import Session
    from .store import AnalysisGroup, ResultStore
    from .summaries import Result

MOST = 6
"""Images that a report shows."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image as three inline pictures with their labels."""

    clean: str
    clean_label: str
    adversarial: str
    adversarial_label: str
    difference: str
    caption: str


def save_examples(session: Session, group: AnalysisGroup) -> None:
    """Store a few images with their nearest adversarial ones beside the rows of an attack.

    Taken evenly from the successful images, nearest to farthest. Nothing is stored where the
    attack kept no images.
    """
    if "adversarial" not in group.columns or "examples/index" in group:
        return
    indices = session.indices
    distance = np.asarray(group.column("distance", indices), dtype=np.float64)
    found = np.flatnonzero(np.isfinite(distance) & (distance > 0))
    order = found[np.argsort(distance[found], kind="stable")]
    if len(order) == 0:
        return
    chosen = indices[
        order[np.linspace(0, len(order) - 1, min(MOST, len(order))).round().astype(int)]
    ]
    clean = session.images.pixels(chosen).numpy()
    adversarial = np.asarray(group.column("adversarial", chosen), dtype=np.float32)
    arrays = (
        ("index", chosen, "positions of the example images in the data set", ""),
        ("clean", clean, "the images as they are", "pixel"),
        ("adversarial", adversarial, "the nearest adversarial images found", "pixel"),
    )
    for name, array, doc, units in arrays:
        kind = Kind.ATTACKED if name == "adversarial" else Kind.MEASURED
        group.save_array(f"examples/{name}", array, kind=kind, doc=doc, units=units)


def examples(store: ResultStore, attack: Result | None) -> list[Example]:
    """Pictures of the images that ``attack`` stored; empty where it stored none."""
    if attack is None or "examples/index" not in attack.group:
        return []
    group = attack.group
    indices = group.array("examples/index")
    clean, adversarial = group.array("examples/clean"), group.array("examples/adversarial")
    labels = store.labels[store.rows(indices)]
    distance = group.column("distance", indices)
    prediction = group.column("prediction", indices)
    attacks = list(group.attribute("attacks", []))
    finder = group.column("attack", indices)
    norm = str(group.settings.get("norm", ""))
    return [
        _example(
            (clean[i], adversarial[i]),
            index=int(indices[i]),
            labels=(int(labels[i]), int(prediction[i])),
            text=f"{norm} {pixel(float(distance[i]))}{_found_by(attacks, int(finder[i]))}",
        )
        for i in range(len(indices))
    ]


def _example(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    index: int,
    labels: tuple[int, int],
    text: str,
) -> Example:
    clean, adversarial = pair
    change = adversarial - clean
    scale = float(np.abs(change).max()) or 1.0
    return Example(
        clean=picture(clean, title=f"image {index}"),
        clean_label=f"class {labels[0]}" if labels[0] >= 0 else "image",
        adversarial=picture(adversarial, title=f"adversarial image of {index}"),
        adversarial_label=f"taken for {labels[1]}",
        difference=picture(0.5 + change / (2 * scale), title=f"difference, ±{decimal(scale, 3)}"),
        caption=f"image {index} · {text}",
    )


def _found_by(attacks: list[str], position: int) -> str:
    return f" · by {attacks[position]}" if 0 <= position < len(attacks) else ""
