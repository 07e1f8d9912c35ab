"""A training run in progress: its step, its epoch, its state. It knows no method.

Every draw of a step comes from a generator seeded by (seed, step), and the order of the data by
(seed, epoch), so a resumed run meets the same numbers as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.errors import TrainingError
from robcert.certify.numerics import generator, stream_seed
from robcert.trainers.data import TrainingImages, epoch_order
from robcert.trainers.methods import Losses, Step
from robcert.trainers.networks import LossScale, prepare_batch_norm, prepare_convolutions

from .checkpoint import WEIGHTS, Description, save_checkpoint, write_whole
from .descent import Descent, sgd
from .epoch_totals import Sums
from .evaluate import attacked_accuracy, clean_accuracy, finite_logits
from .initial_weights import network_spec, starting_network
from .overfitting import overfitting
from .processes import ALONE, Processes
from .run_folder import (
    BEST,
    CONFIG,
    EpochRecord,
    Position,
    Tally,
    kept_checkpoint,
    load_state,
    save_state,
    write_metrics,
)

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.core import Progress
    from robcert.trainers.recipe import TrainConfig

    from .interrupt import DeferredInterrupt

_LOOK_EVERY = 20
"""Steps between looks at the loss, each of which waits for the device."""


class Run:
    """A run in progress: the network, the optimiser, and where they stand."""

    def __init__(
        self,
        config: TrainConfig,
        images: TrainingImages,
        evaluation: TrainingImages,
        out: Path,
        device: torch.device,
        *,
        start: Path | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.config = config
        self.processes = processes
        self.images = images
        self.evaluation = evaluation.first(config.evaluation.images)
        self.out = out
        self.device = device
        self.spec = network_spec(config, images, evaluation)
        network = starting_network(self.spec, config.seed, start)
        self.model = network.to(device).to(memory_format=torch.channels_last).train()
        self.model.precision = config.precision
        twice = getattr(config.objective, "differentiates_twice", False)
        prepare_convolutions(self.model, twice=twice)
        prepare_batch_norm(self.model, shared=processes.several)
        self.optimizer = sgd(config, self.model)
        self.descent = Descent(self.model, self.optimizer, processes, config.optimizer.clip_norm)
        self.memory: dict[str, Tensor] = {}
        self.position = Position(scale=LossScale.first(config.precision))
        out.mkdir(parents=True, exist_ok=True)

    @property
    def passes(self) -> int:
        """Passes over the data: a method that replays each batch m times makes m times fewer."""
        return math.ceil(self.config.epochs / self.config.objective.replays)

    @property
    def epochs_after(self) -> int:
        """Epochs done at the end of the running pass, which the last epoch may cut short."""
        return min((self.position.epoch + 1) * self.config.objective.replays, self.config.epochs)

    def pass_over_data(self, interrupt: DeferredInterrupt, progress: Progress) -> None:
        """The rest of the running epoch."""
        position, config = self.position, self.config
        order = self._order()
        task = f"epoch {self.epochs_after}/{config.epochs}"
        epochs = self.epochs_after - position.epoch * config.objective.replays
        last = max(1, round(len(order) * epochs / config.objective.replays))
        seen = Sums(position.tally, self.device, self.processes)
        started = time.monotonic()
        while position.batch < last:
            share = self.processes.share
            x, y = self.images.batch(share.part(order[position.batch]), self.device)
            number = position.epoch * len(order) + position.batch
            x = config.augmentation(x, generator(config.seed, "train-augment", number), share)
            for replay in range(config.objective.replays):
                seen.add(self.step(x, y, number=number, replay=replay, of=len(order)), y)
            position.batch += 1
            if position.batch % _LOOK_EVERY == 0 or position.batch == last:
                seen.require_finite(task, position.batch)
                progress(task, position.batch, last)
            if self.processes.any(interrupt.requested):
                position.tally = seen.tally(time.monotonic() - started)
                self.save()
                raise KeyboardInterrupt
        position.tally = seen.tally(time.monotonic() - started)

    def step(self, x: Tensor, y: Tensor, *, number: int, replay: int, of: int) -> Losses:
        """One optimiser step on a batch.

        Args:
            x: pixels.
            y: classes.
            number: batches before this one since the start of the run.
            replay: steps already made on this batch.
            of: batches an epoch.
        """
        config, replays = self.config, self.config.objective.replays
        share = self.processes.share
        stream = f"train-layers-{share.rank}" if share.rank else "train-layers"
        torch.manual_seed(stream_seed(config.seed, stream, number, replay))  # dropout
        draws = generator(config.seed, "train-step", number, replay, device=self.device)
        epoch = (number + replay / replays) / of * replays
        for group in self.optimizer.param_groups:
            group["lr"] = config.optimizer.learning_rate * config.schedule(epoch, config.epochs)
        x = x.contiguous(memory_format=torch.channels_last)
        losses = config.objective(self.model, x, y, Step(epoch, draws, self.memory, share))
        self.descent.follow(losses, self.position.scale)
        return losses

    def end_epoch(self) -> EpochRecord:
        """Measure, write the checkpoints and the metrics, move on to the next epoch."""
        position = self.position
        started = time.monotonic()
        if not finite_logits(self.model, self.evaluation, self.device):
            message = f"a logit is not a finite number in epoch {self.epochs_after}"
            raise TrainingError(message, hint="lower the learning rate or the method's weight")
        accuracy, attacked = self.measure()
        tally = position.tally
        record = EpochRecord(
            epoch=self.epochs_after,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            loss=tally.loss / tally.images,
            train_accuracy=tally.correct / tally.images,
            accuracy=accuracy,
            attacked_accuracy=attacked,
            images_per_second=tally.images / max(tally.seconds, 1e-9),
            seconds=tally.seconds + time.monotonic() - started,
            measured={name: value / tally.images for name, value in tally.measured.items()},
        )
        position.warnings += overfitting(position.records, record)
        position.records.append(record)
        position.epoch, position.batch, position.tally = position.epoch + 1, 0, Tally()
        if accuracy is not None and accuracy > position.best:
            position.best, position.best_epoch = accuracy, record.epoch
            self._save_weights(self.out / BEST)
        every = self.config.evaluation.keep_every
        if every and (position.epoch % every == 0 or position.epoch == self.passes):
            self._save_weights(kept_checkpoint(self.out, record.epoch))
        self.save()
        return record

    def measure(self) -> tuple[float | None, float | None]:
        """Clean and attacked accuracy, each where it is due after the running epoch."""
        settings = self.config.evaluation.against(self.config.objective)
        done = self.position.epoch + 1
        last = done == self.passes
        clean = attacked = None
        if last or done % settings.every == 0:
            clean = clean_accuracy(self.model, self.evaluation, self.device, self.processes)
        if settings.attack_every and (last or done % settings.attack_every == 0):
            attacked = attacked_accuracy(
                self.model, self.evaluation, settings, self.device, self.processes
            )
        return clean, attacked

    def save(self) -> None:
        """Write the checkpoint, what a resumed run needs, the configuration and the metrics."""
        state = self._state()
        if self.processes.first:
            description = self.description()
            save_checkpoint(self.out / WEIGHTS, self.model.state_dict(), description)
            text = json.dumps(description.to_json(), indent=2)
            write_whole(self.out / CONFIG, f"{text}\n".encode())
            write_metrics(self.out, self.position.records)
            save_state(self.out, state, self.position, self._identity())
        self.processes.wait()

    def resume(self) -> None:
        """Go back to the state saved in the run folder."""
        tensors, self.position = load_state(self.out, self._identity())
        self.model.load_state_dict(_part(tensors, "model."))
        self.memory = {
            name: self.processes.share.part(rows).to(self.device)
            for name, rows in _part(tensors, "memory.").items()
        }
        momentum = _part(tensors, "momentum.")
        for number, parameter in enumerate(self.model.parameters()):
            if str(number) in momentum:
                buffer = momentum[str(number)].to(parameter.device)
                self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                    parameter
                ).copy_(buffer)

    def _save_weights(self, path: Path) -> None:
        if self.processes.first:
            path.parent.mkdir(exist_ok=True)
            save_checkpoint(path, self.model.state_dict(), self.description())

    def description(self) -> Description:
        """What the checkpoint says of itself."""
        records = self.position.records
        state = {"epoch": records[-1].epoch, "accuracy": records[-1].accuracy} if records else {}
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
        """Indices of the running epoch's batches, each of which the processes share evenly."""
        config, count = self.config, self.processes.share.count
        order = epoch_order(
            len(self.images), config.batch_size, seed=config.seed, epoch=self.position.epoch
        )
        if len(order[0]) % count:
            message = f"{count} processes cannot share batches of {len(order[0])} images evenly"
            raise TrainingError(message, hint=f"use a batch size that {count} divides")
        return order

    def _identity(self) -> dict[str, Any]:
        """What two runs must share for one to go on with the other's state."""
        training = self.config.to_json()
        del training["evaluation"]["keep_every"]  # changes nothing that goes on
        return {**training, "images": _identity_of(self.images)}


def _identity_of(images: TrainingImages) -> dict[str, Any]:
    return {"name": images.name, "sha256": images.sha256, "count": len(images)}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
