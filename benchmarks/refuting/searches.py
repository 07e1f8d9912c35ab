"""The results file of a model by the commands of a user, and longer searches in a copy of it."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert import certify
from robcert.certify import RobcertError
from robcert.certify.attacks import AttackSettings, Suite
from robcert.certify.core import Norm
from robcert.certify.data import from_arrays, load_images
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import SmoothingAttackSettings
from robcert.certify.store import ResultStore
from robcert.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

    from .subjects import Subject

LONGER_SEED = 1
LEAST_SECONDS = 5
CERTAIN = 1e-6
"""Probability that an attack on the smoothed classifier claims too much."""

COMMANDS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (8, ("audit", "--profile", "quick", "--skip", "masking")),
    (1, ("attack", "--norm", "l2", "--profile", "quick", "--save-images")),
    (3, ("bounds", "--norm", "l2", "--margin", "prob", "--profile", "quick")),
)
"""Commands that make the results file, each with its share of the time."""


@dataclass
class Clock:
    """Time that is left, divided among tasks by their shares.

    Attributes:
        seconds: time of all tasks together.
        shares: shares of the tasks that remain.
    """

    seconds: float
    shares: float
    start: float = field(default_factory=time.monotonic)

    def take(self, share: float) -> float:
        """Seconds for a task of ``share``; what the tasks before did not use is divided too."""
        left = self.seconds - (time.monotonic() - self.start)
        given = max(LEAST_SECONDS, left * share / self.shares)
        self.shares = max(share, self.shares - share)
        return given


def selected(subject: Subject, limit: int) -> ImageSet:
    """The first images of a subject, as a set of their own."""
    images = load_images(subject.data)
    some = np.arange(min(limit, len(images)))
    pixels = images.pixels(some).numpy().transpose(0, 2, 3, 1)
    labels = None if images.labels is None else images.labels[some]
    return from_arrays("selected", np.rint(pixels * 255).astype(np.uint8), labels)


def run_commands(subject: Subject, out: Path, limit: int, clock: Clock) -> list[str]:
    """Make the results file ``out``; the errors of commands that failed."""
    failed = []
    for share, command in COMMANDS:
        said = (
            *(*command, *subject.options, "--limit", str(limit), "--threads", "1", "--quiet"),
            *("--time-budget", f"{clock.take(share):.0f}s", "--out", str(out), "--json"),
            "--allow-low-accuracy",
        )
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = run([*said])
        if status > 1:
            failed.append(f"{command[0]}: {errors.getvalue().strip().splitlines()[0]}")
    return failed


def run_longer(subject: Subject, made: Path, out: Path, limit: int, clock: Clock) -> list[str]:
    """Longer searches for what the file ``made`` holds, in its copy ``out``; errors as above.

    There they are evidence about the estimates, which the file must mark if they refute them.
    """
    images, failed = load_images(subject.data), []
    options: dict[str, Any] = {
        "seed": LONGER_SEED,
        "threads": 1,
        "out": out,
        "indices": range(min(limit, len(images))),
        "allow_low_accuracy": True,
    }
    if not out.is_file() or _lacks_tables(out, made):
        shutil.copy(made, out)
    loading: dict[str, Any] = {"preprocess": subject.preprocess, "threads": 1}
    if subject.output:
        loading["output"] = subject.output
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = certify.load_model(subject.model, images, **loading)
        except RobcertError as error:
            return [f"loading: {error}"]
        for share, search in _searches(made):
            try:
                search(model, images, {**options, "time_budget": clock.take(share)})
            except RobcertError as error:
                failed.append(str(error).splitlines()[0])
    return failed


def _lacks_tables(out: Path, made: Path) -> bool:
    """Whether ``made`` has tables that its copy ``out`` has not: it was continued since."""
    with ResultStore.read(made) as store, ResultStore.read(out) as copied:
        return not set(store.tables) <= set(copied.tables)


LONGER_SHARES = {"attack": 2.5, "linearity": 1.0, "bounds": 2.5, "smoothing": 1.0}
"""Shares of the time of the longer searches, for each table of the results file."""


def _searches(made: Path) -> Iterator[tuple[float, Callable[[Any, ImageSet, Any], object]]]:
    """A longer search for each table of the file, with its share of the time."""
    with ResultStore.read(made) as store:
        found = [(name, group.settings) for name in LONGER_SHARES for group in store.existing(name)]
    for name, said in found:
        yield LONGER_SHARES[name], SEARCHES[name](said)


def _attack(said: dict[str, Any]) -> Callable[[Any, ImageSet, Any], object]:
    settings = AttackSettings(norm=Norm(said["norm"]), suite=Suite.STANDARD, save_images=True)
    return lambda model, images, how: certify.attack(model, images, settings, batch_size=2, **how)


def _linearity(said: dict[str, Any]) -> Callable[[Any, ImageSet, Any], object]:
    settings = replace(
        LinearitySettings.of_profile("thorough"),
        norm=Norm(said["norm"]),
        epsilon=said["epsilon"],
        loss=said["loss"],
        sided=said["sided"],
    )
    return lambda model, images, how: certify.linearity(
        model, images, settings, batch_size=4, **how
    )


class ExaminedImages(BoundsSettings):
    """Settings whose sample is the images that are examined, the first ones, not random ones."""

    __slots__ = ()

    def blocks_of(self, images: ImageSet, seed: int) -> NDArray[np.int64]:
        """The first ``block_size`` images in one block, for every seed."""
        return np.arange(min(self.block_size, len(images)))[None]


def _bounds(said: dict[str, Any]) -> Callable[[Any, ImageSet, Any], object]:
    same = {name: said[name] for name in ("epsilon", "margin", "points", "region", "top_k")}
    longer = replace(ExaminedImages.of_profile("thorough"), norm=Norm(said["norm"]), **same)

    def search(model: Any, images: ImageSet, how: Any) -> object:
        settings = replace(longer, restarts=1, blocks=1, block_size=len(how["indices"]))
        return certify.bounds(model, images, settings, batch_size=1, **how)

    return search


def _smoothing(said: dict[str, Any]) -> Callable[[Any, ImageSet, Any], object]:
    settings = SmoothingAttackSettings(sigma=said["sigma"], alpha=CERTAIN)
    return lambda model, images, how: certify.smoothing_attack(
        model, images, settings, batch_size=4, **how
    )


SEARCHES: dict[str, Callable[[dict[str, Any]], Callable[[Any, ImageSet, Any], object]]] = {
    "attack": _attack,
    "linearity": _linearity,
    "bounds": _bounds,
    "smoothing": _smoothing,
}


def all_shares() -> float:
    """Shares of all tasks, as if the file had a table of each norm."""
    twice = LONGER_SHARES["attack"] + LONGER_SHARES["bounds"]
    return sum(share for share, _ in COMMANDS) + sum(LONGER_SHARES.values()) + twice
