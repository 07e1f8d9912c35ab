"""From a request to numbers: trainings, analyses, one after another, resumable at each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.auditing import SessionRequest, load_sources, open_session
from robcert.certify.core import Progress as OnProgress
from robcert.certify.core import silent
from robcert.certify.errors import DivergedError
from robcert.certify.importer import torch_device
from robcert.certify.store import ledger
from robcert.trainers.data import usual_readers
from robcert.trainers.loop import MODEL, STATE, kept_checkpoints
from robcert.trainers.train import TrainPlan, train

from .folder import Progress, held_folder, save_progress, saved_progress
from .measured import Measured
from .plan import analysis_commands, analysis_passes, jobs, passes, training_passes
from .request import evaluated_images

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from robcert.certify.auditing import SessionContext

    from .analyses import Analysis
    from .plan import ModelRun
    from .request import Evaluated, ReproductionRequest

Say = Callable[[str], None]


def _nothing(line: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told what happens.

    Attributes:
        progress: called with the progress of the training or analysis that runs.
        part: called with a line when a training or an analysis ends.
        warning: called with each limitation, once.
    """

    progress: OnProgress = silent
    part: Say = _nothing
    warning: Say = _nothing


@dataclass(slots=True)
class _Clock:
    """The time left, from the passes that are done."""

    total: float
    done: float = 0.0
    timed: float = 0.0
    began: float = 0.0

    def left(self) -> str:
        """The time left in words; empty before anything took time."""
        if not self.timed:
            return ""
        seconds = (time.monotonic() - self.began) / self.timed * (self.total - self.done)
        if seconds < 90:
            return f"; about {seconds:.0f} s left"
        minutes = seconds / 60
        return (
            f"; about {minutes:.0f} min left"
            if minutes < 90
            else f"; about {minutes / 60:.1f} h left"
        )


class Reproduction:
    """The work on one request.

    Args:
        request: what is reproduced.
        watcher: who is told.
    """

    def __init__(self, request: ReproductionRequest, watcher: Watcher) -> None:
        self._request, self._watcher = request, watcher
        self._clock = _Clock(passes(request), began=time.monotonic())
        self._told: set[str] = set()

    def run(self) -> list[tuple[ModelRun, Progress]]:
        """Train and analyse what is missing; everything that is known at the end.

        Raises:
            DataError: the images are not available.
            RobcertError: the folder is another's, or a training or analysis cannot run.
        """
        images = evaluated_images(self._request)
        with held_folder(self._request):
            return [(job, self._finished(job, images)) for job in jobs(self._request)]

    def _finished(self, job: ModelRun, images: Evaluated) -> Progress:
        known = saved_progress(self._request, job)
        if not known.failed and not (job.run / MODEL).is_file():
            self._train(job, known)
        else:
            self._clock.done += training_passes(self._request, job)
        missing = [one for one in job.analyses if one.name not in known.analyses]
        if missing and not known.failed:
            self._analyse(job, known, missing, images)
        else:
            self._clock.done += analysis_passes(self._request, job)
        for line in known.warnings:
            self._warn(f"{job.name}: {line}")
        return known

    def _train(self, job: ModelRun, known: Progress) -> None:
        request = self._request
        plan = TrainPlan(
            job.config,
            job.run,
            data_root=request.data_root,
            substitute=False,
            device=torch_device(request.device),
            workers=usual_readers(),
        )
        begun = (job.run / STATE).is_file()
        try:
            trained = train(plan, resume=begun, progress=self._named(job, "training"))
        except DivergedError as error:
            known.failed = str(error)
        else:
            known.warnings += [f"training: {line}" for line in trained.run.warnings]
        save_progress(request, job, known)
        self._end(training_passes(request, job), f"{job.name}: trained", known.failed)

    def _analyse(
        self, job: ModelRun, known: Progress, missing: list[Analysis], images: Evaluated
    ) -> None:
        series = [one for one in missing if getattr(one, "along", False)]
        plain = [one for one in missing if one not in series]
        for one in series:
            self._keep(job, known, one, self._course(job, one))
        if not plain:
            return
        with self._session(job, job.run, job.results, images) as context:
            store = context.session.store
            doubts = len(context.warnings)  # about a preprocessing that is known here
            sources = load_sources(context.request, job.sources, context.session)
            commands = dict(
                zip(job.analyses, analysis_commands(self._request, job, images), strict=True)
            )
            for one in plain:
                path = one.run(context.session, sources)
                ledger(store).require_sound()
                store.at(path).set_attributes(command=commands[one])
                context.warn_unfinished(path)
                known.warnings += [w for w in context.warnings[doubts:] if w not in known.warnings]
                self._keep(job, known, one, one.measured(store, path))

    def _course(self, job: ModelRun, one: Analysis) -> Measured:
        """``one`` at every kept checkpoint: the numbers of the last, the mean by epoch."""
        images = evaluated_images(self._request, training=getattr(one, "training", False))
        course: list[tuple[float, float]] = []
        last = Measured({})
        for epoch, file in kept_checkpoints(job.run).items():
            results = job.results.with_name(f"{job.results.stem}-epoch-{epoch}.h5")
            with self._session(job, file, results, images) as context:
                path = one.run(context.session, ())
                last = one.measured(context.session.store, path)
            course.append((float(epoch), last.numbers["mean"].value or 0.0))
        return Measured(last.numbers, {**last.curves, "course": tuple(course)})

    def _session(
        self, job: ModelRun, model: Path, results: Path, images: Evaluated
    ) -> AbstractContextManager[SessionContext]:
        request = self._request
        return open_session(
            SessionRequest(
                model=model,
                data=images.images,
                indices=images.indices,
                seed=job.seed,
                device=request.device,
                threads=request.threads,
                workers=request.workers,
                out=results,
                allow_low_accuracy=True,
            ),
            progress=self._named(job, ""),
        )

    def _keep(self, job: ModelRun, known: Progress, one: Analysis, found: Measured) -> None:
        known.analyses[one.name] = found
        save_progress(self._request, job, known)
        self._end(self._request.images * one.passes, f"{job.name}: {one.name}", "")

    def _end(self, work: float, what: str, failed: str) -> None:
        self._clock.done += work
        self._clock.timed += work
        said = f" ended: {failed}" if failed else ""
        self._watcher.part(f"{what}{said}{self._clock.left()}")

    def _named(self, job: ModelRun, what: str) -> OnProgress:
        """The watcher's progress, with the model before the task."""

        def tell(task: str, done: int, total: int) -> None:
            told = f"{what}, {task}" if what else task
            self._watcher.progress(f"{job.name}: {told}", done, total)

        return tell

    def _warn(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._watcher.warning(line)
