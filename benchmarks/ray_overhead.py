"""What Ray adds to each image: the same rows by one fork of this process and by one Ray worker.

    python benchmarks/ray_overhead.py --images 1000

The bundled honest model (a 4-layer CNN) computes one noisy copy of each image (`corruption`), of
which an image takes about a millisecond. Both ways run in turn. *Start* is the time until Ray
answers, once for a command; in the *first task* a worker starts and gets the model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.attacks import CorruptionSettings, analyse_corruption
from robcert.certify.attacks.corruption import Change
from robcert.certify.auditing import SessionRequest, bundled
from robcert.certify.cluster import RayRequest, Subject, opened_crew
from robcert.certify.data import ImageSet, from_arrays
from robcert.certify.importer import load_classifier
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from robcert.certify.model import Classifier
    from robcert.certify.workers import Crew

SETTINGS = CorruptionSettings(Change.GAUSSIAN, ((0.1,),), draws=1)

MODEL = "fashion-honest.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (options.images, 28, 28), np.uint8)
    images = from_arrays("random", pixels, draws.integers(0, 10, options.images))
    classifier = load_classifier(bundled(MODEL), SessionRequest().load_options, images=images)
    subject = Subject(classifier, images, np.arange(options.images), workers=1)
    began = time.monotonic()
    with opened_crew(RayRequest("local"), subject, print) as crew:
        print(f"start: {time.monotonic() - began:.2f} s")
        print(f"first task: {seconds_of(classifier, images, crew):.2f} s")
        by_ray, by_fork = [], []
        for number in range(options.rounds):
            by_fork.append(seconds_of(classifier, images, None))
            by_ray.append(seconds_of(classifier, images, crew))
            print(f"round {number}: fork {by_fork[-1]:.3f} s, Ray {by_ray[-1]:.3f} s")
    added = 1000 * (median(by_ray) - median(by_fork)) / options.images
    print(f"Ray adds {added:.2f} ms to each of {options.images} images")


def seconds_of(classifier: Classifier, images: ImageSet, crew: Crew | None) -> float:
    """Time of the analysis with one worker."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "r.h5"
        with ResultStore.open(out, model=classifier.info, data=images.info) as store:
            indices = np.arange(len(images))
            session = Session(classifier, images, indices, store, processes=1, crew=crew)
            began = time.monotonic()
            analyse_corruption(session, SETTINGS)
            return time.monotonic() - began


if __name__ == "__main__":
    main()
