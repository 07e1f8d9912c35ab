"""What each item needs, as a table and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robcert.certify.tables import Table

from .catalogue import ITEMS
from .plan import paper_config, passes
from .request import ReproductionRequest


def needs() -> list[dict[str, Any]]:
    """Facts about each item at the paper's size."""
    found = []
    for item in ITEMS.values():
        configs = [paper_config(model) for model in item.models]
        request = ReproductionRequest(item, Path())
        found.append(
            {
                "item": item.name,
                "title": item.title,
                "source": item.source,
                "models": len(item.models),
                "epochs": sum(config.epochs for config in configs),
                "training_images": item.training,
                "images": item.images,
                "data": item.data,
                "passes": passes(request),
            }
        )
    return found


def listing() -> Table:
    """All items."""
    rows = tuple(
        (
            one["item"],
            one["title"],
            str(one["models"]),
            str(one["epochs"]),
            one["data"],
            str(one["images"]),
            f"{one['passes']:.0e}",
        )
        for one in needs()
    )
    return Table(
        title="Items of robcert reproduce",
        claim="",
        header=("item", "what", "models", "epochs", "data", "images", "passes"),
        rows=rows,
        note="Epochs are of all models together. Passes: rough number of passes over one image, "
        "forward and backward as one. --scale 0.1 takes a hundredth or less of the passes, each of "
        "a smaller network.",
    )
