"""A training run in progress: its steps, its epochs and its saved state, for any method.

Every draw of a step comes from a generator seeded by (seed, step), and the order of the data by
(seed, epoch), so a resumed run draws the same numbers as a run without interruption.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.errors import DataError, DivergedError, TrainingError
from robcert.certify.numerics import generator, stream_seed
from robcert.certify.whole_file import output_errors, write_whole
from robcert.trainers.data import EpochDraws, LabelledImages, epoch_order
from robcert.trainers.methods import Losses, Step
from robcert.trainers.networks import LossScale, prepare_batch_norm, prepare_convolutions

from .checkpoint import WEIGHTS, Description, save_checkpoint
from .descent import Descent, sgd
from .epoch_totals import EpochTotals, RunningTotals
from .evaluate import attacked_accuracy, clean_accuracy, finite_logits, overfitting
from .initial_weights import initial_network, network_spec
from .processes import ALONE, Processes
from .run_folder import (
    BEST,
    CONFIG,
    STATE,
    EpochRecord,
    Position,
    changed,
    kept_checkpoint,
    load_state,
    save_state,
    write_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.core import Progress
    from robcert.trainers.recipe import TrainConfig

    from .interrupt import DeferredInterrupt

_CHECK_EVERY = 20
"""Batches between checks that the loss is finite; each check waits for the device."""

SAVE_SECONDS = 600.0
"""Seconds after which a run saves its state in the middle of an epoch."""

_SAVE, _STOP = 1, 2


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Configuration, images and devices of a run, and the folder of its files.

    Attributes:
        config: everything that determines the result.
        images: training images, before ``config.subset``.
        evaluation: images on which accuracy is measured; never trained on.
        out: run folder, made if it does not exist.
        initial_weights: checkpoint or run folder with the initial weights; None for the one named
            by ``config.init_from``, or random weights if that is None too.
        device: device to train on.
        processes: the processes that share the run.
        save_seconds: seconds after which the state is saved in the middle of an epoch.
    """

    config: TrainConfig
    images: LabelledImages
    evaluation: LabelledImages
    out: Path
    initial_weights: Path | None = None
    device: torch.device | str = "cpu"
    processes: Processes = ALONE
    save_seconds: float = SAVE_SECONDS

    @property
    def initial_checkpoint(self) -> Path | None:
        """Checkpoint with the initial weights; None for random weights."""
        if self.initial_weights is None and self.config.init_from is not None:
            return Path(self.config.init_from)
        return self.initial_weights


class Run:
    """A run in progress: the network, the optimiser and their position in the training."""

    def __init__(self, plan: RunPlan) -> None:
        config, processes = plan.config, plan.processes
        images, evaluation = plan.images.first(config.subset), plan.evaluation
        if evaluation.image_shape != images.image_shape:
            message = (
                f"training images have shape {images.image_shape}, "
                f"evaluation images {evaluation.image_shape}"
            )
            raise DataError(message)
        self.config = config
        self.processes = processes
        self.images = images
        self.evaluation = evaluation.first(config.evaluation.images)
        self.out = plan.out
        self.device = torch.device(plan.device)
        self.spec = network_spec(config, images, evaluation)
        network = initial_network(self.spec, config.seed, plan.initial_checkpoint)
        self.model = network.to(self.device).to(memory_format=torch.channels_last).train()
        self.model.precision = config.precision
        prepare_convolutions(self.model, twice=config.objective.differentiates_twice)
        prepare_batch_norm(self.model, shared=processes.several)
        self.optimizer = sgd(config, self.model)
        self.descent = Descent(self.model, self.optimizer, processes, config.optimizer.clip_norm)
        self.memory: dict[str, Tensor] = {}
        self.position = Position(scale=LossScale.initial(config.precision))
        self.save_seconds, self.saved = plan.save_seconds, time.monotonic()
        with output_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)

    @property
    def passes(self) -> int:
        """Passes over the data: m times fewer for a method that replays each batch m times."""
        return math.ceil(self.config.epochs / self.config.objective.replays)

    @property
    def epochs_after(self) -> int:
        """Epochs done at the end of the current pass, which the last epoch may end early."""
        return min((self.position.epoch + 1) * self.config.objective.replays, self.config.epochs)

    @property
    def last_position(self) -> float:
        """Epochs done, with their fraction, before the last step."""
        batches = max(1, len(self.images) // self.config.batch_size)
        return self.config.epochs - 1 / batches

    def pass_over_data(self, interrupt: DeferredInterrupt, progress: Progress) -> None:
        """Train on the remaining batches of the current pass.

        Raises:
            DataError: an image cannot be read; the state is saved.
            KeyboardInterrupt: after Ctrl-C, with the state saved.
        """
        position, config = self.position, self.config
        order = self._order()
        task = f"epoch {self.epochs_after}/{config.epochs}"
        epochs = self.epochs_after - position.epoch * config.objective.replays
        last = max(1, round(len(order) * epochs / config.objective.replays))
        totals = RunningTotals(position.totals, self.device, self.processes)
        started = time.monotonic()
        batches = self._batches(order[position.batch : last])
        while position.batch < last:
            try:
                x, y = self._next(batches)
            except DataError:
                position.totals = totals.totals(time.monotonic() - started)
                self.save()
                raise
            number = position.epoch * len(order) + position.batch
            draws = generator(config.seed, "train-augment", number)
            x = config.augmentation(x, draws, self.processes.slice)
            for replay in range(config.objective.replays):
                totals.add(self.step(x, y, number=number, replay=replay, of=len(order)), y)
            position.batch += 1
            if position.batch % _CHECK_EVERY == 0 or position.batch == last:
                totals.require_finite(task, position.batch)
                progress(task, position.batch, last)
            wish = self._wish(interrupt)
            if wish:
                position.totals = totals.totals(time.monotonic() - started)
                self.save()
            if wish == _STOP:
                raise KeyboardInterrupt
        position.totals = totals.totals(time.monotonic() - started)

    def _batches(self, order: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of the batches with the images of ``order``."""
        rows = [self.processes.slice.of(whole) for whole in order]
        draws = EpochDraws(self.config.seed, self.position.epoch)
        return self.images.batches(rows, self.device, draws)

    def _next(self, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The next of ``batches``.

        Raises:
            DataError: this process or another one cannot read an image.
        """
        problem = DataError("another process could not read an image")
        failed, found = False, None
        try:
            found = next(batches)
        except DataError as error:
            failed = True
            hint = "mend or replace the image; then --resume continues from here"
            problem = DataError(str(error), hint=hint)
        if self.processes.any(flag=failed) or found is None:
            raise problem
        return found

    def _wish(self, interrupt: DeferredInterrupt) -> int:
        """Whether any process is to stop, or the first to save the state; 0 for neither."""
        due = self.processes.first and time.monotonic() - self.saved >= self.save_seconds
        return self.processes.largest(_STOP if interrupt.requested else _SAVE if due else 0)

    def step(self, x: Tensor, y: Tensor, *, number: int, replay: int, of: int) -> Losses:
        """One optimiser step on a batch.

        Args:
            x: pixels.
            y: classes.
            number: batches before this one since the start of the run.
            replay: steps already made on this batch.
            of: batches per epoch.
        """
        config, replays = self.config, self.config.objective.replays
        rank = self.processes.slice.rank
        stream = f"train-layers-{rank}" if rank else "train-layers"
        torch.manual_seed(stream_seed(config.seed, stream, number, replay))  # dropout
        draws = generator(config.seed, "train-step", number, replay, device=self.device)
        epoch = (number + replay / replays) / of * replays
        for group in self.optimizer.param_groups:
            group["lr"] = config.optimizer.learning_rate * config.schedule(epoch, config.epochs)
        x = x.contiguous(memory_format=torch.channels_last)
        step = Step(epoch, draws, self.memory, self.processes.slice)
        losses = config.objective(self.model, x, y, step)
        self.descent.follow(losses, self.position.scale)
        return losses

    def keep_start(self) -> None:
        """Keep the initial weights, if checkpoints along the run are kept."""
        if self.config.evaluation.keep_every:
            self._save_weights(kept_checkpoint(self.out, 0))

    def end_epoch(self) -> EpochRecord:
        """Measure, write the checkpoints and the metrics, and start the next epoch."""
        position = self.position
        started = time.monotonic()
        if not finite_logits(self.model, self.evaluation, self.device):
            message = f"a logit is not a finite number in epoch {self.epochs_after}"
            raise DivergedError(message, hint="lower the learning rate or the method's weight")
        accuracy, attacked = self.measure()
        totals = position.totals
        record = EpochRecord(
            epoch=self.epochs_after,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            loss=totals.loss / totals.images,
            train_accuracy=totals.correct / totals.images,
            accuracy=accuracy,
            attacked_accuracy=attacked,
            images_per_second=totals.images / max(totals.seconds, 1e-9),
            seconds=totals.seconds + time.monotonic() - started,
            measured={name: value / totals.images for name, value in totals.measured.items()},
        )
        keep = self._due(self.config.evaluation.keep_every)
        position.warnings += overfitting(position.records, record)
        position.records.append(record)
        position.epoch, position.batch, position.totals = position.epoch + 1, 0, EpochTotals()
        if accuracy is not None and accuracy > position.best:
            position.best, position.best_epoch = accuracy, record.epoch
            self._save_weights(self.out / BEST)
        if keep:
            self._save_weights(kept_checkpoint(self.out, record.epoch))
        self.save()
        return record

    def measure(self) -> tuple[float | None, float | None]:
        """Accuracy on clean and on attacked images, each None if not measured in this epoch."""
        settings = self.config.evaluation.against(self.config.objective)
        clean = attacked = None
        if self._due(settings.every):
            clean = clean_accuracy(self.model, self.evaluation, self.device, self.processes)
        if self._due(settings.attack_every):
            attacked = attacked_accuracy(
                self.model, self.evaluation, settings, self.device, self.processes
            )
        return clean, attacked

    def _due(self, every: int) -> bool:
        """Whether something done every so many epochs falls on the end of this pass; 0: never.

        A method that replays each batch does several epochs in one pass.
        """
        if not every:
            return False
        before = self.position.epoch * self.config.objective.replays
        ended = self.position.epoch + 1 == self.passes
        return ended or self.epochs_after // every > before // every

    def save(self) -> None:
        """Write the checkpoint, the state for resuming, the configuration and the metrics."""
        state = self._state()
        if self.processes.first:
            description = self.description()
            save_checkpoint(self.out / WEIGHTS, self.model.state_dict(), description)
            text = json.dumps(description.to_json(), indent=2)
            write_whole(self.out / CONFIG, f"{text}\n".encode())
            write_metrics(self.out, self.position.records)
            save_state(self.out, state, self.position, self._identity())
        self.saved = time.monotonic()
        self.processes.wait()

    def resume(self) -> None:
        """Load the state saved in the run folder.

        Raises:
            TrainingError: there is none, it was changed, or the saved run had other settings.
        """
        tensors, self.position = load_state(self.out, self._identity())
        self._require_possible(self.position)
        try:
            self.model.load_state_dict(_part(tensors, "model."))
        except RuntimeError as error:
            raise changed(self.out / STATE, str(error)) from error
        self.memory = {
            name: self.processes.slice.of(rows).to(self.device)
            for name, rows in _part(tensors, "memory.").items()
        }
        momentum = _part(tensors, "momentum.")
        for number, parameter in enumerate(self.model.parameters()):
            if str(number) in momentum:
                buffer = momentum[str(number)].to(parameter.device)
                self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                    parameter
                ).copy_(buffer)

    def _require_possible(self, position: Position) -> None:
        """Raise unless ``position`` lies within this run."""
        batches = max(1, len(self.images) // self.config.batch_size)
        passes, batch = range(self.passes + 1), range(batches + 1)
        if position.epoch not in passes or position.batch not in batch:
            reason = f"epoch {position.epoch}, batch {position.batch} is not one of this run"
            raise changed(self.out / STATE, reason)

    def _save_weights(self, path: Path) -> None:
        if self.processes.first:
            path.parent.mkdir(exist_ok=True)
            save_checkpoint(path, self.model.state_dict(), self.description())

    def description(self) -> Description:
        """The description saved in the checkpoint."""
        records = self.position.records
        state: dict[str, object] = {}
        if records:
            state = {"epoch": records[-1].epoch, "accuracy": records[-1].accuracy}
        return Description(
            network=self.spec,
            training=self.config,
            data={
                "name": self.evaluation.test_name or self.evaluation.name,
                "train": _identity_of(self.images),
                "evaluation": _identity_of(self.evaluation),
            },
            state=state,
            versions={"robcert": version("robcert"), "torch": torch.__version__},
        )

    def _state(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, rows in sorted(self.memory.items()):
            tensors[f"memory.{name}"] = self.processes.gathered(rows)
        for number, parameter in enumerate(self.model.parameters()):
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum.{number}"] = buffer
        return tensors

    def _order(self) -> list[Tensor]:
        """Image indices of each batch of the current epoch.

        Raises:
            TrainingError: the processes cannot divide a batch evenly.
        """
        config, count = self.config, self.processes.slice.count
        order = epoch_order(
            len(self.images), config.batch_size, seed=config.seed, epoch=self.position.epoch
        )
        if len(order[0]) % count:
            message = f"{count} processes cannot divide batches of {len(order[0])} images evenly"
            raise TrainingError(message, hint=f"use a batch size that {count} divides")
        return order

    def _identity(self) -> dict[str, Any]:
        """Settings that a run must have in common with the saved state that it resumes."""
        training = self.config.to_json()
        del training["evaluation"]["keep_every"]  # it does not affect the training
        return {**training, "images": _identity_of(self.images)}


def _identity_of(images: LabelledImages) -> dict[str, object]:
    """Name, hash and number of the images, as in a checkpoint's description."""
    return {"name": images.name, "sha256": images.sha256, "count": len(images)}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
