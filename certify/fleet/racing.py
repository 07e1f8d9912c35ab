"""A race of models in processes of their own, and the audits of those that are left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.errors import InvalidParameterError
from robcert.certify.numerics import generator

from .analysis import run_tasks
from .member import attack_member, audit_member
from .outcome import MemberOutcome, State
from .race import Race
from .summary import RaceFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from robcert.certify.auditing import SessionRequest

    from .member import AuditOrder
    from .models import FleetModel
    from .processes import Ending
    from .race import Defeat, Survived

    Tell = Callable[[int, MemberOutcome], None]


@dataclass(slots=True)
class FleetRace:
    """A race of a fleet.

    Attributes:
        order: what is done with the models that are left.
        models: the models.
        images: images of an audit, by their index in the data set.
        alpha: largest probability that the best model is stopped.
        tell: called with number and outcome of a model when it has one.
        on_round: called with the images of a round and the number of models in it.
        debug: let the processes print the tracebacks of errors.
    """

    order: AuditOrder
    models: Sequence[FleetModel]
    images: NDArray[np.int64]
    alpha: float
    tell: Tell = lambda place, outcome: None
    on_round: Callable[[int, int], None] = lambda images, models: None
    debug: bool = False
    _outcomes: dict[int, MemberOutcome] = field(default_factory=dict)
    _results: dict[int, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "attack" not in self.order.settings.parts:
            message = "a race needs the part attack, which --only or --skip excludes"
            raise InvalidParameterError(message, hint="add --only attack, or omit --race")

    def run(self) -> tuple[list[MemberOutcome], RaceFacts]:
        """The outcome of each model, and how the race went."""
        shuffled = generator(self.order.request.seed, "race", 0)
        places = torch.randperm(len(self.images), generator=shuffled).numpy()
        sequence = self.images[places]
        race = Race(len(self.models), len(sequence), self.alpha)
        race.run(lambda wanted: self._attacked(wanted, sequence), self._audited)
        for place in range(len(self.models)):
            defeat = race.defeat(place)
            if defeat is not None:
                self._ended(place, self._stopped(place, defeat, race))
        stopped = sum(one.state is State.STOPPED for one in self._outcomes.values())
        found = [self._outcomes[place] for place in range(len(self.models))]
        return found, RaceFacts(self.alpha, len(sequence), stopped, race.work)

    def _attacked(
        self, wanted: Mapping[int, int], sequence: NDArray[np.int64]
    ) -> dict[int, Survived]:
        """What each model shows on the first so many images of ``sequence``."""
        self.on_round(max(wanted.values()), len(wanted))
        places = list(wanted)
        requests = [self._request(place, sequence[: wanted[place]]) for place in places]
        found: dict[int, Survived] = {}
        for place, ending in self._run(places, attack_member, requests):
            try:
                found[place] = self._survived(place, ending, sequence[: wanted[place]])
            except (LookupError, TypeError, ValueError):
                self._ended(place, MemberOutcome.of(self.models[place], _failure(ending)))
        return found

    def _request(self, place: int, images: NDArray[np.int64]) -> SessionRequest:
        begun = place in self._results
        request = self.order.request
        indices = tuple(sorted(images.tolist()))
        overwrite = request.overwrite and not begun
        return replace(request, limit=None, every=None, indices=indices, overwrite=overwrite)

    def _survived(self, place: int, ending: Ending, images: NDArray[np.int64]) -> Survived:
        """The answer of a process, in the order of ``images``.

        Raises:
            LookupError, TypeError, ValueError: it has none, or is not what robcert writes.
        """
        answer: dict[str, Any] = ending.answer or {}
        held = dict(answer["survived"])
        found = np.array([held[str(image)] for image in images.tolist()], bool)
        self._results[place] = Path(str(answer["results"]))
        return found

    def _audited(self, places: list[int]) -> list[int]:
        """Audit the models on all images; those that have numbers and do not mask."""
        self.on_round(len(self.images), len(places))
        request = self.order.request
        requests = [
            replace(request, overwrite=request.overwrite and place not in self._results)
            for place in places
        ]
        valid = []
        for place, ending in self._run(places, audit_member, requests):
            outcome = MemberOutcome.of(self.models[place], ending)
            self._ended(place, outcome)
            if outcome.state is State.AUDITED and not outcome.masked:
                valid.append(place)
        return valid

    def _run(
        self,
        places: Sequence[int],
        work: Callable[[AuditOrder, SessionRequest], dict[str, Any]],
        requests: Sequence[SessionRequest],
    ) -> list[tuple[int, Ending]]:
        models = [self.models[place] for place in places]
        ended = run_tasks(self.order, models, work, requests=requests, debug=self.debug)
        return [(places[number], ending) for number, ending in ended]

    def _stopped(self, place: int, defeat: Defeat, race: Race) -> MemberOutcome:
        better = self.models[defeat.by].name
        reason = (
            f"beaten by {better}, of {defeat.images} images it alone was right under attack on "
            f"{defeat.wins}, this one alone on {defeat.losses}"
        )
        facts = {
            "images": race.images(place),
            "survived": int(race.survived[place].sum()),
            "beaten_by": better,
            "compared_on": defeat.images,
            "wins": defeat.wins,
            "losses": defeat.losses,
            "e_value": math.exp(min(defeat.log_e, 700.0)),
        }
        results = self._results.get(place)
        return MemberOutcome(self.models[place], State.STOPPED, reason, results=results, race=facts)

    def _ended(self, place: int, outcome: MemberOutcome) -> None:
        self._outcomes[place] = outcome
        self.tell(place, outcome)


def _failure(ending: Ending) -> Ending:
    """``ending`` as a failure, also where it has an answer that is not as it must be."""
    if ending.error:
        return ending
    return replace(ending, answer={})
