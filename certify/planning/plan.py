"""A plan: what a command takes with each profile, and what fits into a budget of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from robcert.certify.core import Profile

from .projection import Cost, cost_of

if TYPE_CHECKING:
    from .pilot import Task

PROFILES: tuple[Profile, ...] = get_args(Profile)
"""From the smallest amount of work per image to the largest."""

ENOUGH = 385
"""Images whose shares have an interval of ± 5 percentage points: fewer are no reason for a more
thorough profile."""

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pilot measured of a command with one profile.

    Attributes:
        tasks: tables of its analyses.
        loading: model, images and the checks of both.
        fixed: what it does apart from rows: fits, surrogates, preparations.
        file_bytes: size of the results file apart from its images.
        image_bytes: what each image adds to it.
    """

    tasks: tuple[Task, ...]
    loading: Cost
    fixed: Cost
    file_bytes: int
    image_bytes: float

    def bytes_for(self, images: int) -> int:
        """Size of the results file of a run on ``images``."""
        return round(self.file_bytes + images * self.image_bytes)

    def parts(self, images: int) -> dict[str, Cost]:
        """Costs of the parts of an audit, or of the tasks of an analysis, by name."""
        found: dict[str, Cost] = {}
        for task in self.tasks:
            name = task.part or task.name
            found[name] = found.get(name, Cost()) + cost_of(task, images)
        return found

    def total(self, images: int) -> Cost:
        """Cost of the command on ``images``."""
        return sum(self.parts(images).values(), self.loading + self.fixed)

    def images_within(self, seconds: float, most: int) -> int:
        """The largest number of images, up to ``most``, that is expected to take ``seconds``."""
        fits, too_many = 0, most + 1
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self.total(middle).seconds <= seconds:
                fits = middle
            else:
                too_many = middle
        return fits


@dataclass(frozen=True, slots=True)
class Choice:
    """What fits into a budget.

    Attributes:
        seconds: the budget.
        profile: the chosen one; empty for a command without profiles.
        images: number of images; 0 where not one fits.
    """

    seconds: float
    profile: str
    images: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command will take.

    Attributes:
        command: its words, without robcert.
        images: images of the run.
        profile: the requested profile; empty for a command without profiles.
        measured: pilots by profile, of the requested one at least.
        memory: largest memory of this process in the pilots, bytes.
        pilot_seconds: elapsed time of the pilots.
        budget: time that is available, seconds; None for no limit.
    """

    command: str
    images: int
    profile: str
    measured: dict[str, Measured]
    memory: int
    pilot_seconds: float
    budget: float | None = None

    @property
    def chosen(self) -> Measured:
        """The pilot with the requested profile."""
        return self.measured[self.profile]

    @property
    def choice(self) -> Choice | None:
        """Profile and number of images for the budget; None without one.

        The most thorough profile with which all images fit; if there is none, the most thorough
        with which at least ``ENOUGH`` images fit; else the one with which most fit.
        """
        if self.budget is None:
            return None
        fits = {
            name: one.images_within(self.budget, self.images) for name, one in self.measured.items()
        }
        order: list[str] = [name for name in PROFILES if name in fits] or list(fits)
        enough = [name for name in order if fits[name] >= enough_of(self.images)]
        whole = [name for name in order if fits[name] == self.images]
        best = (whole or enough or [max(order, key=fits.__getitem__)])[-1]
        return Choice(self.budget, best, fits[best])

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON; times in seconds, unknown ones null."""
        choice = self.choice
        return {
            "command": self.command,
            "images": self.images,
            "half_width": half_width(self.images),
            "profile": self.profile or None,
            "profiles": {
                name or "default": {
                    **_plain(one.total(self.images)),
                    "results_bytes": one.bytes_for(self.images),
                    "loading": _plain(one.loading),
                    "apart_from_images": _plain(one.fixed),
                    "parts": {key: _plain(c) for key, c in one.parts(self.images).items()},
                }
                for name, one in self.measured.items()
            },
            "pilot": {"seconds": self.pilot_seconds, "memory_bytes": self.memory},
            "budget": None
            if choice is None
            else {
                "seconds": choice.seconds,
                "profile": choice.profile or None,
                "images": choice.images,
                "half_width": half_width(choice.images),
            },
        }


def enough_of(images: int) -> int:
    """Of so many images, the number that makes a more thorough profile worth while."""
    return min(ENOUGH, images)


def half_width(images: int) -> float | None:
    """Half of the 95 % interval of a share of ``images`` in the worst case, a share of one half.

    >>> round(half_width(1067), 3)
    0.03
    """
    return Z95 / (2 * math.sqrt(images)) if images else None


def _plain(cost: Cost) -> dict[str, float | None]:
    values = {
        "seconds": cost.seconds,
        "lower": cost.lower,
        "upper": cost.upper,
        "processor_seconds": cost.processor,
        "forward": cost.forward,
        "backward": cost.backward,
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
