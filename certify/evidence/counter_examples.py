"""The nearest adversarial images of each class in a folder, with a script that runs them alone."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.data import is_name, load_images
from robcert.certify.errors import DataError, InvalidParameterError, require_at_least
from robcert.certify.exports import escaped, json_bytes
from robcert.certify.store import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.auditing import Findings
    from robcert.certify.data import ImageSet
    from robcert.certify.store import AnalysisGroup, ResultStore

SAVED = "adversarial"
"""Column of the tables that keep adversarial images."""

SCRIPT = Path(__file__).with_name("verify_counter_examples.py")

HINT = "keep images with robcert attack --save-images, or with robcert audit, in the same --out"


@dataclass(frozen=True, slots=True, eq=False)
class CounterExamples:
    """Adversarial images, nearest first within each class.

    Attributes:
        norm: norm of the distances.
        index: position of each image in the data set ``(n,)``.
        label: its class.
        prediction: class of the adversarial image.
        distance: its distance, pixel units.
        adversarial: the adversarial images ``(n, c, h, w)``.
    """

    norm: str
    index: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    distance: NDArray[np.float64]
    adversarial: NDArray[np.float32]

    def part(self, places: NDArray[Any]) -> CounterExamples:
        """Those at ``places``."""
        return CounterExamples(
            self.norm,
            self.index[places],
            self.label[places],
            self.prediction[places],
            self.distance[places],
            self.adversarial[places],
        )


def counter_examples(store: ResultStore, found: Findings, per_class: int) -> CounterExamples:
    """The ``per_class`` nearest adversarial images of each class, in the norm of the headline.

    Raises:
        InvalidParameterError: the file keeps no adversarial images, its images have no class, or
            its model is no ONNX file.
    """
    require_at_least("per_class", per_class, 1)
    if store.model.get("kind") != "onnx":
        message = f"{store.path} is about {store.model['file']}, which is no ONNX file"
        raise InvalidParameterError(message, hint="robcert export writes one; audit that")
    tables = [table for table in _tables(store) if SAVED in table.columns]
    norms = [str(table.settings["norm"]) for table in tables]
    wanted = found.attack.norm if found.attack is not None else ""
    norm = wanted if wanted in norms else next(iter(norms), "")
    kept = [
        _of_table(store, table)
        for table, of in zip(tables, norms, strict=True)
        if of == norm and len(table.indices)
    ]
    kept = [one for one in kept if len(one.index)]
    if not kept:
        message = f"{store.path} keeps no adversarial images"
        raise InvalidParameterError(message, hint=HINT)
    return _nearest(kept, per_class)


def originals(store: ResultStore, data: str | None, chosen: CounterExamples) -> Any:
    """The unchanged images ``(n, c, h, w)``; None if the data set is not available by its name.

    Args:
        store: the results file.
        data: path or name of the data set; None for the name in the file.
        chosen: the images.

    Raises:
        DataError: ``data`` cannot be read, or is another data set.
    """
    name = str(store.data["name"])
    if data is None and not is_name(name):
        return None
    try:
        images = load_images(name if data is None else data, fetch=False)
        _require_same(images, store)
    except DataError:
        if data is None:
            return None
        raise
    return images.pixels(chosen.index).numpy()


def bundle(store: ResultStore, chosen: CounterExamples, unchanged: Any) -> dict[str, bytes]:
    """The files of the bundle by name: images, manifest, the script, a page that explains them."""
    arrays = {
        "index": chosen.index,
        "label": chosen.label,
        "prediction": chosen.prediction,
        "distance": chosen.distance,
        "adversarial": chosen.adversarial,
        **({} if unchanged is None else {"original": unchanged}),
    }
    images = io.BytesIO()
    np.savez_compressed(images, **arrays)
    return {
        "images.npz": images.getvalue(),
        "manifest.json": json_bytes(_manifest(store, chosen)),
        "verify.py": SCRIPT.read_bytes(),
        "README.md": _page(store, chosen).encode(),
    }


def _tables(store: ResultStore) -> list[AnalysisGroup]:
    return [table for schema in ("attack", "verify") for table in store.existing(schema)]


def _of_table(store: ResultStore, table: AnalysisGroup) -> CounterExamples:
    """The adversarial images of one table that are not the images themselves."""
    rows = table.indices
    rows = rows[table.computed(rows)]
    distance = np.asarray(table.column("distance", rows), np.float64)
    found = (distance > 0) & np.isfinite(distance)
    rows, distance = rows[found], distance[found]
    prediction = (
        table.column("prediction", rows)
        if "prediction" in table.columns
        else np.full(len(rows), -1)
    )
    return CounterExamples(
        str(table.settings["norm"]),
        rows,
        _classes(store, rows),
        np.asarray(prediction, np.int64),
        distance,
        np.asarray(table.column(SAVED, rows), np.float32),
    )


def _classes(store: ResultStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label of each image; without labels the model's own prediction.

    Raises:
        InvalidParameterError: neither is known.
    """
    labels = np.asarray(store.labels[store.rows(rows)], np.int64)
    if (labels >= 0).all():
        return labels
    clean = store.existing("clean")
    if not clean:
        message = f"{store.path}: the images have no labels, and the file has no predictions"
        raise InvalidParameterError(message, hint="run robcert audit in the same --out")
    predictions = np.asarray(clean[-1].column("prediction", rows), np.int64)
    return np.where(labels >= 0, labels, predictions)


def _nearest(kept: list[CounterExamples], per_class: int) -> CounterExamples:
    """The nearest images of each class over several tables; each image once."""
    joined = CounterExamples(
        kept[0].norm,
        np.concatenate([one.index for one in kept]),
        np.concatenate([one.label for one in kept]),
        np.concatenate([one.prediction for one in kept]),
        np.concatenate([one.distance for one in kept]),
        np.concatenate([one.adversarial for one in kept]),
    )
    nearest_first = joined.part(np.lexsort((joined.index, joined.distance)))
    _, once = np.unique(nearest_first.index, return_index=True)
    unique = nearest_first.part(np.sort(once))
    places = [
        place
        for label in np.unique(unique.label)
        for place in np.flatnonzero(unique.label == label)[:per_class]
    ]
    return unique.part(np.asarray(places, np.int64))


def _require_same(images: ImageSet, store: ResultStore) -> None:
    """Raise unless ``images`` are those of the results file.

    Raises:
        DataError: they are others.
    """
    if images.sha256 != store.data["sha256"]:
        message = f"{images.name} is not the data set of {store.path}"
        raise DataError(message, hint=f"pass --data with {store.data['name']}, or omit it")


def _manifest(store: ResultStore, chosen: CounterExamples) -> dict[str, Any]:
    facts = ("file", "sha256", "input_name", "output_name", "preprocessing")
    content = {
        "format": 1,
        "robcert_version": store.header["robcert_version"],
        "model": {name: store.model[name] for name in facts},
        "data": {name: store.data[name] for name in ("name", "sha256")},
        "norm": chosen.norm,
        "images": len(chosen.index),
    }
    return dict(plain(content))


def _page(store: ResultStore, chosen: CounterExamples) -> str:
    digest = escaped(str(store.model["sha256"]))
    return f"""# Counter-examples

{len(chosen.index)} adversarial images of the model with the SHA-256
{digest}, the nearest of each class that were found; distances in {chosen.norm},
pixel units of [0, 1]. Each was classified as another class when it was found, and nearer ones may
exist.

    pip install onnxruntime numpy
    python verify.py MODEL.onnx

`verify.py` needs nothing else. It prepares the pixels as `manifest.json` says, runs the model on
each image of `images.npz`, and exits with 0 if the model misclassifies all of them.
"""
