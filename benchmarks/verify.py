"""Proofs on models with published verdicts: how many hold, at what cost, and whether one is wrong.

    python benchmarks/verify.py --zoo FOLDER --seconds 10

FOLDER holds ``truth.csv`` (verdicts of the verification competition), ``zoo.json``, ``models/`` and
``data/vnncomp_images.npz``. For each model: how many of the rows published as robust (`unsat`) each
method proves within the budget of an image, how many of the others (`sat`) are proved, which is
wrong; time per image, time of one pass of linear bounds, peak
memory; and how many of the certificates of the exact evaluation are lost by asking for every
evaluation in float32.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import Classifier, PreprocessOptions
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.verification.outcome import Arithmetic, Decision, Method
from robcert.certify.verification.prover import Prover

MODELS = (
    *("mnist-net_256x2.onnx", "cora_mnist_set.onnx", "mnist_convnet_maxpool.onnx"),
    *("resnet_2b.onnx", "cifar_base_kw.onnx"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One verdict.

    Attributes:
        x: the image.
        y: its class.
        epsilon: radius in linf.
        robust: the published verdict.
    """

    x: Tensor
    y: int
    epsilon: float
    robust: bool


def load(zoo: Path, name: str) -> Classifier:
    """The model ``name`` with its authors' preprocessing."""
    entries = json.loads((zoo / "zoo.json").read_text())
    listed = entries if isinstance(entries, list) else entries.get("models", entries)
    stated = next(entry.get("preprocess") for entry in listed if entry["file"].endswith(name))
    options = PreprocessOptions.from_json(json.dumps(stated or {}), source="zoo.json")
    return load_classifier(zoo / "models" / name, LoadOptions(preprocess=options))


def rows_of(zoo: Path, name: str) -> list[Row]:
    """The untargeted verdicts on ``name``."""
    images = np.load(zoo / "data" / "vnncomp_images.npz")
    found = []
    with (zoo / "truth.csv").open() as file:
        for entry in csv.DictReader(file):
            if entry["model"] != name or entry["property"] != "untargeted":
                continue
            pixels = torch.from_numpy(images[entry["image_set"]][int(entry["image_row"])])
            x = (pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()).permute(
                2, 0, 1
            )
            robust = entry["truth"] == "unsat"
            found.append(Row(x, int(entry["label"]), float(entry["eps_linf"]), robust))
    return found


def decided(prover: Prover, row: Row, method: Method, seconds: float) -> tuple[Decision, float]:
    """The decision, and the seconds that it took."""
    start = time.monotonic()
    ball = Ball(Norm.LINF, row.epsilon)
    found = prover.decide(row.x, row.y, ball, method=method, deadline=start + seconds)
    return found, time.monotonic() - start


def measure(zoo: Path, name: str, seconds: float) -> dict[str, object]:
    """The line of one model."""
    classifier, rows = load(zoo, name), rows_of(zoo, name)
    start = time.monotonic()
    prover = Prover.of(classifier)
    opened = time.monotonic() - start
    robust = [row for row in rows if row.robust]
    refutable = [row for row in rows if not row.robust]
    proved: Counter[str] = Counter()
    taken = []
    for row in robust:
        found, spent = decided(prover, row, Method.AUTO, seconds)
        taken.append(spent)
        proved[str(found.method)] += found.proved
    wrong = sum(decided(prover, row, Method.AUTO, seconds)[0].proved for row in refutable)
    passes = [decided(prover, row, Method.CROWN, 60.0) for row in robust[:10]]
    real = Prover.of(classifier, Arithmetic.REAL)
    lost = kept = 0
    for row, (linear, _) in zip(robust[:10], passes, strict=True):
        exact, _ = decided(replace(real, dtype=prover.dtype), row, Method.CROWN, 60.0)
        kept += exact.proved
        lost += exact.proved and not linear.proved
    return {
        "model": name,
        "robust rows": len(robust),
        "proved": sum(proved.values()),
        "by method": {name: n for name, n in proved.items() if n},
        "other rows": len(refutable),
        "proved wrongly": wrong,
        "seconds to open": round(opened, 2),
        "median seconds": round(median(taken), 3),
        "seconds of a pass": round(median(spent for _, spent in passes), 3),
        "lost to float32": f"{lost} of {kept}",
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Measure every model and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    lines = []
    for name in options.models:
        lines.append(measure(options.zoo, name, options.seconds))
        print(json.dumps(lines[-1]), flush=True)
    total = sum(int(str(line["proved"])) for line in lines)
    print(f"proved {total} of {sum(int(str(line['robust rows'])) for line in lines)}")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
