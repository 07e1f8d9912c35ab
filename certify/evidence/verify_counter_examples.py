"""Runs a model on the adversarial images beside this file and says which it misclassifies.

Needs Python 3.9, onnxruntime and NumPy, and nothing else:

    python verify.py MODEL.onnx

Exit status: 0 if every image is misclassified, as recorded; 1 if one is not; 2 if a file cannot be
used.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ALL_FAIL, SOME_DO_NOT, BAD_INPUT = 0, 1, 2
ROUNDING = 1e-5
"""Rounding of float32 pixels in a distance: absolute, and as a share of the distance."""


def model_input(pixels: Any, prepare: dict[str, Any]) -> Any:
    """Input of the model for pixels ``(n, c, h, w)`` in [0, 1]."""
    x = np.asarray(pixels, np.float32)
    low, high = prepare["range"]
    if (low, high) != (0.0, 1.0):
        x = x * np.float32(high - low) + np.float32(low)
    if prepare["mean"]:
        x = x - _constants(prepare["mean"], prepare)
    if prepare["std"]:
        x = x / _constants(prepare["std"], prepare)
    if prepare["channels"] == "BGR":
        x = x[:, ::-1]
    if prepare["layout"] == "NHWC":
        x = x.transpose(0, 2, 3, 1)
    elif prepare["layout"] == "flat":
        rows = x if prepare["flatten"] == "row-major" else x.transpose(0, 1, 3, 2)
        x = rows.reshape(len(x), -1)
    if prepare["input_shape"]:
        x = x.reshape(len(x), *prepare["input_shape"])
    dtype = np.dtype(prepare["dtype"])
    if dtype.kind in "iu":
        x = np.rint(np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max))
    return np.ascontiguousarray(x.astype(dtype))


def classes_of(scores: Any) -> Any:
    """Class of each row of ``scores (n, ...)``; -1 where they are NaN.

    One score per image is that of the second of two classes: a probability if all lie in [0, 1].
    """
    rows = np.asarray(scores, np.float64).reshape(len(scores), -1)
    if rows.shape[1] == 1:
        known = rows[~np.isnan(rows)]
        border = 0.5 if ((known >= 0) & (known <= 1)).all() else 0.0
        found = (rows[:, 0] > border).astype(np.int64)
    else:
        found = np.where(np.isnan(rows), -np.inf, rows).argmax(1)
    return np.where(np.isnan(rows).any(1), -1, found)


def distances(one: Any, other: Any, norm: str) -> Any:
    """Distance of each pair of images ``(n, c, h, w)``."""
    change = np.abs(one.astype(np.float64) - other).reshape(len(one), -1)
    if norm == "linf":
        return change.max(1)
    return change.sum(1) if norm == "l1" else np.sqrt((change**2).sum(1))


class Model:
    """The model in ONNX Runtime, one image per call, so that no image depends on another."""

    def __init__(self, path: Path, stated: dict[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.stated = stated
        inputs = {entry.name: entry for entry in self.session.get_inputs()}
        self.axes = list(inputs.pop(stated["input_name"]).shape)
        self.others = {name: _zeros(entry) for name, entry in inputs.items()}

    def classes(self, pixels: Any) -> Any:
        """Class of each image ``(n, c, h, w)``."""
        feed = model_input(pixels, self.stated["preprocessing"])
        return classes_of(np.stack([self._scores(feed[at : at + 1]) for at in range(len(feed))]))

    def _scores(self, one: Any) -> Any:
        """Scores of one image; a larger fixed batch is filled with copies of it."""
        if len(self.axes) == one.ndim - 1:
            (raw,) = self.session.run([self.stated["output_name"]], self._named(one[0]))
            return np.ravel(raw)
        batch = self.axes[0] if self.axes and isinstance(self.axes[0], int) else 1
        copies = np.repeat(one, max(batch, 1), axis=0)
        (raw,) = self.session.run([self.stated["output_name"]], self._named(copies))
        return np.ravel(raw[0])

    def _named(self, feed: Any) -> dict[str, Any]:
        return {self.stated["input_name"]: feed, **self.others}


def _zeros(entry: Any) -> Any:
    """A value for an input on which the scores do not depend, but which the runtime requires."""
    kind = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(entry.type)
    name = kind or entry.type.partition("(")[2].rstrip(")")
    shape = [axis if isinstance(axis, int) and axis > 0 else 1 for axis in entry.shape]
    return np.zeros(shape, name)


def verify(path: Path, folder: Path) -> int:
    """Print one line per image and the result; the exit status."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    stated = manifest["model"]
    with np.load(folder / "images.npz", allow_pickle=False) as stored:
        images = {name: stored[name] for name in stored.files}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != stated["sha256"]:
        audited = shown(stated["sha256"])
        print(f"note: {shown(path)} is not the audited file (SHA-256 {audited}), or it keeps ")
        print("      weights in files of their own, which that hash covers too")
    model = Model(path, stated)
    found = model.classes(images["adversarial"])
    fails = found != images["label"]
    originals = _originals(images, model, manifest["norm"])
    for place, label in enumerate(images["label"]):
        said = "misclassified" if fails[place] else "CORRECT"
        print(
            f"image {images['index'][place]}: class {label}, predicted {found[place]}, "
            f"{shown(manifest['norm'])} distance {images['distance'][place]:.5g}: {said}"
        )
    print(f"{int(fails.sum())} of {len(fails)} adversarial images are misclassified")
    print(originals)
    return ALL_FAIL if fails.all() else SOME_DO_NOT


def _originals(images: dict[str, Any], model: Model, norm: str) -> str:
    """What the unchanged images show, if they are there."""
    if "original" not in images:
        return "the unchanged images are not in the bundle: distances are those recorded"
    right = int((model.classes(images["original"]) == images["label"]).sum())
    measured = distances(images["adversarial"], images["original"], norm)
    near = int((measured <= images["distance"] * (1 + ROUNDING) + ROUNDING).sum())
    total = len(measured)
    return (
        f"{right} of {total} unchanged images get the class stated, and {near} of {total} "
        "distances are at most those recorded"
    )


def _constants(values: list[float], prepare: dict[str, Any]) -> Any:
    """Constants per channel, given in the model's order, in the order of the image."""
    ordered = values[::-1] if prepare["channels"] == "BGR" else values
    return np.asarray(ordered, np.float32).reshape(1, -1, 1, 1)


def shown(text: object) -> str:
    """``text`` without what a terminal obeys: whoever made the model chose its names."""
    return "".join(one if one.isprintable() else "?" for one in str(text))


def main(arguments: list[str]) -> int:
    """Run on the command line's arguments; the exit status."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return BAD_INPUT if not arguments else ALL_FAIL
    try:
        return verify(Path(arguments[0]), Path(__file__).resolve().parent)
    except Exception as error:  # onnxruntime's classes share no base but Exception
        text = shown(" ".join(str(error).split())[:300])
        print(f"error: {shown(arguments[0])}: {type(error).__name__}: {text}", file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
